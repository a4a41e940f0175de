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
//! # The house
//!
//! Imports point downwards only; `tests/architecture` checks it.
//!
//! | layer | rooms | what it knows |
//! |---|---|---|
//! | program | `main.rs`, [`cli`] | words for people; no logic |
//! | programs | [`programs`] | the programs of a bench, be it one alone: in which order they start and stop, what they have before them, which bridge they join |
//! | instances | [`launch`] | what zbridge starts: programs in namespaces of their own, and their network |
//! | engine | [`engine`] | when: the poll loop, ready lists, timers, threads; no protocol |
//! | edges | [`port`], [`backend`] | descriptors and system calls: of ports, one file a kind, and with their sockets of services; not the switch |
//! | services | [`service`], [`usbip`], [`usb`] | protocols above Ethernet and devices, sans-I/O; neither switch nor descriptor. [`service`] has a plan of its own |
//! | rights | [`rights`] | what each thread gives up, and who does what still needs a right; no port |
//! | words | [`config`], [`control`], [`capture`] | what a person or a program may ask for: the one table of port kinds, the grammar, the file, the control socket's lines |
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
//! and copies made = sent + queued + dropped, always.
//!
//! # To embed
//!
//! [`engine::Bridge`] runs a configuration and hands out ports inside the process; [`switch::Switch`] is a switch under
//! your own clock. `examples/embed.rs` shows both.
#![deny(unsafe_code)]
// What it says of its own rooms is for who works on it: `cargo doc --document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]

mod backend;
mod capture;
mod cli;
mod codec;
pub mod config;
pub mod control;
pub mod counters;
pub mod engine;
pub mod error;
pub mod frame;
#[doc(hidden)]
pub mod internals;
mod launch;
mod limits;
mod port;
mod programs;
mod rights;
pub mod service;
pub mod switch;
pub mod time;
pub mod usb;
pub mod usbip;
mod visible;
pub mod wire;
