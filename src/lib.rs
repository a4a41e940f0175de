//! zbridge
#![deny(unsafe_code)]

pub mod time;
