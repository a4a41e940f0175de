//! Descriptors that carry one frame a call: TAPs, datagram and packet sockets.
//!
//! Each of them says how to receive and send one frame and what its errors mean ([`FrameIo`]); the loops, the budgets
//! and the counting are here, once. A few dozen frames are taken at a time: that is where the gain is by measurement;
//! recvmmsg(2) adds hardly any.

use super::{Broken, Gone, Inhaled};
use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{INHALE_BYTES, MAX_FRAME, PREFIX};
use crate::wire::Offload;
use rustix::io::Errno;

/// Free space in a batch for one more frame: its prefix, a header that is not kept, the frame, and one byte to detect a
/// longer one.
const ROOM: usize = PREFIX + Offload::LEN + MAX_FRAME + 1;

/// The meaning of an error on one frame for the port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// This frame is lost, for this reason; the port lives on.
    Drop(DropReason),
    /// The descriptor is of no more use.
    Gone(Gone),
}

/// One received frame.
pub struct Got {
    /// Its length in bytes, which may exceed the room: then it was cut and is counted as oversize.
    pub len: usize,
    /// Its offload, from the descriptor.
    pub offload: Offload,
}

/// A descriptor that carries one frame a call.
pub trait FrameIo {
    /// Receives a frame into `room`, which has [`MAX_FRAME`] bytes at least, without blocking.
    ///
    /// # Errors
    /// The system call's; [`FrameIo::refusal`] says what it means. EINTR need not be handled.
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno>;

    /// The same into the room of a batch, where a frame lies behind [`PREFIX`] bytes, or behind some more: how many
    /// more is returned too. For a descriptor that puts a header before each frame.
    ///
    /// # Errors
    /// As in [`FrameIo::recv`].
    fn recv_in_place(&mut self, room: &mut [u8]) -> Result<(Got, usize), Errno> {
        self.recv(&mut room[PREFIX..]).map(|got| (got, 0))
    }

    /// Sends a frame without blocking.
    ///
    /// # Errors
    /// As in [`FrameIo::recv`].
    fn send(&mut self, frame: &[u8], offload: &Offload) -> Result<(), Errno>;

    /// The meaning of an error of either call. EAGAIN and EINTR never come here.
    fn refusal(&mut self, errno: Errno, sending: bool) -> Refusal;
}

/// Receives frames up to a number, and none after [`INHALE_BYTES`].
pub fn receive(
    io: &mut impl FrameIo,
    batch: &mut Batch,
    id: PortId,
    frames: usize,
    counters: &mut Counters,
) -> Result<Inhaled, Gone> {
    let before = batch.free();
    for _ in 0..frames {
        if batch.free() < ROOM || before - batch.free() >= INHALE_BYTES {
            return Ok(Inhaled::More);
        }
        match io.recv_in_place(batch.room()) {
            Ok((got, _)) if got.len > MAX_FRAME => {
                counters.received(1, got.len as u64);
                counters.drop(DropReason::Oversize, 1);
            }
            Ok((got, gap)) => {
                batch.skip(gap);
                batch.commit(got.len, id, got.offload);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Inhaled::Drained),
            Err(errno) => match io.refusal(errno, false) {
                Refusal::Drop(DropReason::Malformed) => {
                    counters.received(1, 0);
                    counters.drop(DropReason::Malformed, 1);
                }
                // An error without a frame (a link that went down): there may be frames behind it.
                Refusal::Drop(_) => {}
                Refusal::Gone(gone) => return Err(gone),
            },
        }
    }
    Ok(Inhaled::More)
}

/// Sends what the descriptor takes. Returns the number of frames that are done with.
pub fn transmit(io: &mut impl FrameIo, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
    let mut done = 0;
    while done < out.len() {
        let (frame, bytes) = out.at(done);
        match io.send(bytes, &frame.offload) {
            Ok(()) => counters.sent(1, bytes.len() as u64),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Ok(done),
            Err(errno) => match io.refusal(errno, true) {
                Refusal::Drop(reason) => counters.drop(reason, 1),
                Refusal::Gone(gone) => return Err(Broken { done, gone }),
            },
        }
        done += 1;
    }
    Ok(done)
}
