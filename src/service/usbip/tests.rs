//! The service under a virtual clock.
