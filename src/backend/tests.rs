//! Streams and disks with real descriptors.
