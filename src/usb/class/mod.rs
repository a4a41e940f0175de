//! Functions that come with zbridge.
