//! Stream sockets (`unix:`, `tcp:`): four bytes of length, big-endian, then the frame, as QEMU's `-netdev stream`.
//!
//! Theory of operation. In: one large read puts what has come right into the batch, where the decoder finds the frames
//! ([`LengthPrefix`]). Out: a batch keeps every frame with its length in front, so a run of neighbours leaves as one
//! buffer, and all buffers in one call. When the socket buffer ends in the middle of a frame, that frame is not done
//! with, so the switch keeps it and offers it first the next time; only the number of bytes sent of it (`cut`) is kept
//! here. After a failed call that is meaningless, and the stream is not called again ([`Seat`](super::seat::Seat)).
//!
//! An announced length that no frame can have is counted, and its bytes are skipped; see [`LengthPrefix`].

use super::{Broken, Gone, Inhaled};
use crate::codec::{LengthPrefix, Misfits};
use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Outgoing, PortId, Runs};
use crate::limits::{INHALE_BYTES, INHALE_ROOM, PREFIX};
use rustix::io::{Errno, IoSlice};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Buffers of a gather list that one call sends at most.
const BUFFERS: usize = 64;

/// The system calls of a stream, none of which blocks.
pub trait Octets {
    /// Reads into `room`; 0 at the end.
    ///
    /// # Errors
    /// The system call's.
    fn recv(&self, room: &mut [u8]) -> Result<usize, Errno>;

    /// Writes some of `bytes`, and says how many.
    ///
    /// # Errors
    /// The system call's.
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno>;

    /// Writes some of what lies in several buffers, and says how many bytes.
    ///
    /// # Errors
    /// The system call's.
    fn send_gathered(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno>;
}

impl Octets for OwnedFd {
    fn recv(&self, room: &mut [u8]) -> Result<usize, Errno> {
        recv(self, room, RecvFlags::empty()).map(|(_, got)| got)
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        send(self, bytes, SendFlags::NOSIGNAL)
    }

    fn send_gathered(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        sendmsg(self, buffers, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
    }
}

/// A connected stream socket.
pub struct Stream<S = OwnedFd> {
    fd: S,
    decoder: LengthPrefix,
    /// Bytes of the next frame, with its prefix, that have left already.
    cut: usize,
    /// The last write failed for want of memory.
    starved: bool,
}

impl<S: Octets> Stream<S> {
    /// Takes over a connected, non-blocking stream socket.
    pub fn new(fd: S) -> Self {
        Self { fd, decoder: LengthPrefix::default(), cut: 0, starved: false }
    }

    /// Receives what has come, in one read of `most` bytes, at most [`INHALE_BYTES`].
    ///
    /// # Errors
    /// [`Gone`] when the peer has left or does not speak this framing.
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        most: usize,
        counters: &mut Counters,
    ) -> Result<Inhaled, Gone> {
        if batch.free() < INHALE_ROOM {
            return Ok(Inhaled::More);
        }
        let room = batch.room();
        let carried = self.decoder.begin(room);
        let wanted = most.min(INHALE_BYTES - carried);
        let got = loop {
            match self.fd.recv(&mut room[carried..carried + wanted]) {
                Ok(0) => return Err(self.closed()),
                Ok(got) => break got,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Inhaled::Drained),
                // Data written after the peer had gone turns the end into a reset.
                Err(Errno::CONNRESET) => return Err(self.closed()),
                Err(errno) => return Err(Gone(format!("reading from it failed: {}", std::io::Error::from(errno)))),
            }
        };
        let misfits = self.decoder.take(batch, carried + got, id).map_err(|bad| Gone(bad.to_string()))?;
        if !misfits.is_empty() {
            count_misfits(&misfits, counters);
        }
        Ok(if got < wanted { Inhaled::Drained } else { Inhaled::More })
    }

    /// The last write failed for want of memory, not of room: the socket may be writable all along, and then no event
    /// tells when to try again.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether part of the first frame that was not done with has left.
    pub fn has_begun(&self) -> bool {
        self.cut > 0
    }

    fn closed(&self) -> Gone {
        let inside = if self.decoder.is_inside() { " in the middle of a frame" } else { "" };
        Gone(format!("its peer closed the connection{inside}"))
    }

    /// Sends what the socket takes. Returns the number of frames that are done with.
    ///
    /// # Errors
    /// [`Broken`] when the peer has left.
    pub fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        let mut done = 0;
        self.starved = false;
        match self.send_all(out, counters, &mut done) {
            Ok(()) => Ok(done),
            Err(gone) => Err(Broken { done, gone }),
        }
    }

    fn send_all(&mut self, out: Outgoing<'_>, counters: &mut Counters, done: &mut usize) -> Result<(), Gone> {
        while *done < out.len() {
            let rest = out.skip(*done);
            let mut runs = rest.runs();
            let left = runs.next().and_then(|run| run.get(self.cut..)).filter(|left| !left.is_empty());
            let Some(first) = left else { return Err(self.lost()) };
            // Most often the frames are neighbours. That spares the kernel the gather list, 60 ns of a frame that travels
            // alone, and us its making.
            let (offered, sent) = match runs.next() {
                None => (first.len(), self.write(|fd| fd.send(first))?),
                Some(second) => self.gather(first, second, runs)?,
            };
            let Some(sent) = sent else { break };
            *done += self.count(rest, sent, counters);
            if sent < offered {
                break;
            }
        }
        Ok(())
    }

    /// Counts the frames that have left whole after `sent` more bytes, notes how much of the next one has, and returns
    /// how many they are.
    fn count(&mut self, out: Outgoing<'_>, sent: usize, counters: &mut Counters) -> usize {
        let mut left = self.cut + sent;
        let mut bytes = 0;
        let mut frames = 0;
        while frames < out.len() {
            let len = out.frame(frames).len();
            let Some(more) = left.checked_sub(PREFIX + len) else { break };
            left = more;
            bytes += len;
            frames += 1;
        }
        self.cut = left;
        counters.sent(frames as u64, bytes as u64);
        frames
    }

    /// More bytes have left than the frame has: the switch has not offered the cut frame first.
    fn lost(&self) -> Gone {
        debug_assert!(false, "{} bytes of a shorter frame have left", self.cut);
        Gone("the place in its stream was lost, which is a fault of zbridge".into())
    }

    /// One write of as many buffers as allowed. Returns the bytes offered and the bytes taken.
    fn gather(&mut self, first: &[u8], second: &[u8], others: Runs<'_>) -> Result<(usize, Option<usize>), Gone> {
        let mut buffers = [IoSlice::new(&[]); BUFFERS];
        let (mut used, mut offered) = (0, 0);
        for (buffer, run) in buffers.iter_mut().zip([first, second].into_iter().chain(others)) {
            *buffer = IoSlice::new(run);
            used += 1;
            offered += run.len();
        }
        let buffers = &buffers[..used];
        Ok((offered, self.write(|fd| fd.send_gathered(buffers))?))
    }

    /// Makes one write. `None` when the socket takes nothing for now.
    fn write(&mut self, mut write: impl FnMut(&S) -> Result<usize, Errno>) -> Result<Option<usize>, Gone> {
        loop {
            match write(&self.fd) {
                // No socket returns 0; retrying would loop for ever.
                Ok(0) | Err(Errno::AGAIN) => return Ok(None),
                Ok(sent) => return Ok(Some(sent)),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS | Errno::NOMEM) => {
                    self.starved = true;
                    return Ok(None);
                }
                Err(errno) => return Err(broken(errno)),
            }
        }
    }
}

/// Counts correctly announced packets that are no frames.
#[cold]
fn count_misfits(misfits: &Misfits, counters: &mut Counters) {
    for ((frames, bytes), reason) in [(misfits.short, DropReason::Malformed), (misfits.long, DropReason::Oversize)] {
        counters.received(frames, bytes);
        counters.drop(reason, frames);
    }
}

fn broken(errno: Errno) -> Gone {
    match errno {
        Errno::PIPE | Errno::CONNRESET => Gone("its peer closed the connection".into()),
        errno => Gone(format!("writing to it failed: {}", std::io::Error::from(errno))),
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BATCH_BYTES;
    use crate::wire::Offload;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair() -> (Stream, UnixStream) {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        let peer = UnixStream::from(b);
        peer.set_nonblocking(false).unwrap();
        (Stream::new(a), peer)
    }

    fn batch_of(frames: impl Iterator<Item = Vec<u8>>) -> Batch {
        let mut batch = Batch::new(4 << 20);
        frames.for_each(|frame| assert!(batch.push(&frame, PortId(0), Offload::NONE)));
        batch
    }

    #[test]
    fn every_short_write_keeps_the_stream_whole() {
        let (mut port, mut peer) = pair();
        let batch = batch_of((0..2000_u32).map(|n| vec![n as u8; 14 + (n as usize * 37) % 1500]));
        let mut counters = Counters::default();
        let mut received = Vec::new();
        let mut done = 0;
        while done < batch.len() {
            done += port.transmit(Outgoing::rest_of(&batch, done), &mut counters).unwrap();
            let mut some = vec![0; 5001];
            let got = peer.read(&mut some).unwrap();
            received.extend_from_slice(&some[..got]);
        }
        drop(port);
        peer.read_to_end(&mut received).unwrap();
        let expected: Vec<u8> = Outgoing::rest_of(&batch, 0).runs().flatten().copied().collect();
        assert!(received == expected);
        assert_eq!(counters.tx_frames, 2000);
        assert_eq!(counters.tx_bytes as usize, expected.len() - 4 * 2000);
    }

    #[test]
    fn a_read_takes_all_that_has_come_and_keeps_what_is_unfinished() {
        let (mut port, mut peer) = pair();
        let (mut batch, mut counters) = (Batch::new(BATCH_BYTES), Counters::default());
        peer.write_all(&[0, 0, 0, 14, 1, 2, 3]).unwrap();
        assert_eq!(port.receive(&mut batch, PortId(1), INHALE_BYTES, &mut counters), Ok(Inhaled::Drained));
        assert!(batch.is_empty());
        peer.write_all(&[9; 11]).unwrap();
        peer.write_all(&[0, 0]).unwrap();
        assert_eq!(port.receive(&mut batch, PortId(1), INHALE_BYTES, &mut counters), Ok(Inhaled::Drained));
        assert_eq!(batch.bytes(&batch.frames()[0]), [1, 2, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        drop(peer);
        let gone = port.receive(&mut batch, PortId(1), INHALE_BYTES, &mut counters).unwrap_err();
        assert_eq!(gone.0, "its peer closed the connection in the middle of a frame");
    }

    #[test]
    fn what_is_no_frame_costs_itself_alone() {
        let (mut port, mut peer) = pair();
        let (mut batch, mut counters) = (Batch::new(BATCH_BYTES), Counters::default());
        let long = [&70_000_u32.to_be_bytes()[..], &[9; 70_000]].concat();
        let line = [&[0, 0, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0][..], &long, &[0, 0, 0, 14], &[7; 14]].concat();
        for chunk in line.chunks(40_000) {
            peer.write_all(chunk).unwrap();
            assert_eq!(port.receive(&mut batch, PortId(1), INHALE_BYTES, &mut counters), Ok(Inhaled::Drained));
        }
        let frames: Vec<_> = batch.frames().iter().map(|frame| batch.bytes(frame)).collect();
        assert_eq!(frames, [[7; 14]]);
        assert_eq!((counters.rx_frames, counters.rx_bytes), (3, 70_006));
        assert_eq!((counters.dropped(DropReason::Malformed), counters.dropped(DropReason::Oversize)), (2, 1));
        peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let gone = port.receive(&mut batch, PortId(1), INHALE_BYTES, &mut counters).unwrap_err();
        assert!(gone.0.starts_with("it announced a frame of 1195725856 bytes"), "{}", gone.0);
    }

    #[test]
    fn a_peer_that_left_is_gone_not_a_signal() {
        let (mut port, peer) = pair();
        drop(peer);
        let batch = batch_of(std::iter::once(vec![0; 60]));
        assert!(port.transmit(Outgoing::rest_of(&batch, 0), &mut Counters::default()).is_err());
    }
}
