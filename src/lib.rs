//! zbridge
#![deny(unsafe_code)]

pub mod error;
pub mod time;
pub mod usb;
pub mod usbip;
pub mod wire;
