//! zbridge is one process that is the whole network of a bench of simulated and real embedded devices: a learning
//! Ethernet switch in user space. Everything attaches in the same way, as a port.
//!
//! ```text
//!  native_sim ─ tap ───────────┐                     ┌─ services with a TCP/IP stack of their own in user space:
//!  QEMU ─ unix stream, dgram ──┤                     │  usbip exports USB devices; nat is the way out through the host's
//!  anything ─ tcp, udp ────────┼── switch (or more) ─┤  sockets, with all that a segment needs (DHCP, DNS, TFTP, IPv6)
//!  host ─ tap ─────────────────┤  learn · forward    └─ your program: Bridge::add_channel,
//!  board ─ packet (USB NIC) ───┘                        or a Switch of your own without any I/O
//! ```
//!
//! # To embed
//!
//! A network of two ports that are this program itself, and one where a QEMU may connect:
//!
//! ```
//! use std::time::Duration;
//! use zbridge::{config::PortSpec, engine::Bridge};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let socket = std::env::temp_dir().join(format!("zbridge-{}", std::process::id()));
//!     let bridge = Bridge::empty()?;
//!     bridge.add_port(PortSpec::parse(&format!("unix:{}", socket.display()))?)?;
//!     let (left, mut right) = (bridge.add_channel("default", "left")?, bridge.add_channel("default", "right")?);
//!
//!     // Destination, source and type, and what is said: a broadcast reaches all ports but its own.
//!     let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], b"hello"].concat();
//!     left.send(&frame)?;
//!     assert_eq!(right.recv(Duration::from_secs(5))?, Some(frame));
//!
//!     for port in &bridge.stop()?[0].ports {
//!         println!("{} {}: {} frames in, {} out", port.name, port.kind, port.counters.rx_frames, port.counters.tx_frames);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! | what you want | where it begins |
//! |---|---|
//! | the ports of a configuration, on threads of their own | [`engine::Bridge`], [`config::Config`], [`config::PortSpec`] |
//! | a port that is your program, in threads or in an executor | [`Bridge::add_channel`](engine::Bridge::add_channel), [`engine::Link`]; `examples/embed_tokio.rs`, `toy_port.rs` |
//! | a host or a server of your own on the network | [`Bridge::add_service`](engine::Bridge::add_service), [`service::Service`]; `examples/toy_service.rs` |
//! | a USB device of your own, over USB/IP | [`usb::Function`], [`service::UsbipPort`]; `examples/usb_own_device.rs` |
//! | a switch without any I/O, under your own clock | [`switch::Switch`]; `examples/embed.rs` |
//! | to command a bridge that runs in another process | [`engine::Client`] |
//! | what went wrong, without reading the text | [`error::Error::class`], [`error::Error::raw_os_error`] |
//!
//! # The house
//!
//! What follows is for who works on zbridge; most rooms are no part of what a program may use. Imports point downwards only; `tests/architecture` checks it.
//!
//! | layer | rooms | what it knows |
//! |---|---|---|
//! | program | `main.rs`, [`cli`] | words for people; no logic |
//! | doctor | [`doctor`] | what on the machine or on a bridge is in the way of frames, and the command that mends it |
//! | programs | [`programs`] | the programs of a bench, be it one alone: in which order they start and stop, what they have before them, which bridge they join |
//! | play | [`play`] | scenarios on a bridge that runs, over its control socket |
//! | instances | [`launch`] | what zbridge starts: programs in namespaces of their own, and their network |
//! | engine | [`engine`] | when: the poll loop, ready lists, timers, threads; no protocol |
//! | edges | [`port`], [`backend`], [`http`] | descriptors and system calls: of ports, one file a kind, and with their sockets of services; not the switch |
//! | services | [`service`], [`usbip`], [`usb`] | protocols above Ethernet and devices, sans-I/O; neither switch nor descriptor. [`service`] has a plan of its own |
//! | rights | [`rights`] | what each thread gives up, and who does what still needs a right; no port |
//! | words | [`config`], [`control`], [`capture`], [`scenario`] | what a person or a program may ask for: the one table of port kinds, the grammar, the file, the control socket's lines; what is played on a bench, and when |
//! | core | [`switch`] | where a frame goes; no system call, no clock |
//! | ground | [`wire`], [`codec`], [`frame`], [`counters`], [`time`], [`limits`], [`error`] | bytes, time and errors |
//!
//! Core, services, codecs and wire are **sans-I/O**: bytes and time come in as arguments, bytes and a next deadline come
//! out. They have one vocabulary: `handle_frame(now, …)`, `poll_transmit(…)`, `poll_timeout()`, `handle_timeout(now)`.
//!
//! # The way of a frame
//!
//! ```text
//! poll → inhale a bounded batch from each ready port → decide each frame (learn, look up)
//!      → each port's frames in one gather list → exhale → what a busy port refuses waits in its queue
//! ```
//!
//! A frame lies where it was read until it has left ([`frame::Batch`]): nothing is copied, altered or allocated for a
//! frame that finds its port free. Every frame that ends early ends in exactly one reason ([`counters::DROP_REASONS`]),
//! and copies made = sent + queued + held by impairments + dropped, always.
#![deny(unsafe_code, missing_docs)]
// What it says of its own rooms is for who works on it: `cargo doc --document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]

mod backend;
mod capture;
mod cli;
mod codec;
pub mod config;
pub mod control;
pub mod counters;
mod doctor;
pub mod engine;
pub mod error;
pub mod frame;
mod http;
#[doc(hidden)]
pub mod internals;
mod launch;
mod limits;
mod play;
mod port;
mod programs;
mod rights;
mod scenario;
pub mod service;
pub mod switch;
pub mod time;
pub mod usb;
pub mod usbip;
mod visible;
pub mod wire;
