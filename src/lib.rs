//! zbridge
#![deny(unsafe_code)]

pub mod codec;
pub mod error;
pub mod time;
pub mod wire;
