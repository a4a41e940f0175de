//! Frames as they are kept in files for other programs to read.

pub(crate) mod pcap;
