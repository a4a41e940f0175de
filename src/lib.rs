//! zbridge
#![deny(unsafe_code)]

pub mod cli;
pub mod codec;
pub mod config;
pub mod counters;
pub mod engine;
pub mod error;
pub mod frame;
pub mod limits;
pub mod port;
pub mod service;
pub mod switch;
pub mod time;
pub mod wire;
