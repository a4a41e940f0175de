//! zbridge
#![deny(unsafe_code)]

pub mod error;
pub mod service;
pub mod time;
pub mod wire;
