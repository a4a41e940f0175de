//! Framings of byte streams: where a frame begins and ends on a line that only carries bytes.
//!
//! A decoder holds what its connection has sent of an unfinished frame, so it belongs to that connection: it is made
//! when the connection is and dropped with it. It takes bytes in any pieces and hands out one event at a time, a frame
//! or a fault to be counted, so that the caller keeps its budget. Nothing is allocated per frame.

pub mod slip;
pub mod uart_pipe;
