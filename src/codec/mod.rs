//! Framings of byte streams: where a frame begins and ends on a line that only carries bytes.
//!
//! A decoder holds what its connection has sent of an unfinished frame, so it belongs to that connection: it is made
//! when the connection is and dropped with it. It takes bytes in chunks of any size, and nothing is allocated per frame. The
//! length prefix, which carries the bulk of the traffic, leaves frames where they were read; the codecs of slow lines
//! hand out one event at a time, a frame or a fault to be counted. [`ByteQueue`] holds a stream's bytes while they wait.

mod byte_queue;
pub(crate) mod contiki;
mod length_prefix;
pub(crate) mod slip;
pub(crate) mod uart_pipe;

pub use byte_queue::ByteQueue;
pub use length_prefix::{BadLength, LengthPrefix, Misfits};
