//! A port that is the embedding program's own: the program sends and receives its frames.
//!
//! [`Link`] is what [`Bridge::add_channel`](crate::engine::Bridge::add_channel) gives out. A program may sleep in it
//! ([`Link::recv`]), or in a `poll` of its own, an executor's for example: each direction has a descriptor ([`AsFd`]) that
//! is readable until the program has been told that it has to wait.
//!
//! Theory of operation. That descriptor is an eventfd(2), a [`Bell`]. It rings from the start. Only a caller that finds
//! nothing (no frame, or no room) silences it. That caller sets a flag for the switch and checks once more, so that no
//! wake-up is lost. The switch rings it only if the flag is set, once.

use super::channel;
pub use super::channel::Closed;
use crate::error::{Error, Result};
use crate::frame::{Batch, MAX_FRAME, Outgoing, PREFIX, PortId};
use crate::service::report::Report;
use crate::wire::Offload;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

impl From<Closed> for io::Error {
    fn from(closed: Closed) -> Self {
        Self::new(io::ErrorKind::BrokenPipe, closed)
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The switch has not taken the frames before it yet. The descriptor of the sender is readable once it has.
    #[error("there is no room for the frame yet")]
    Full,
    /// It is longer than [`MAX_FRAME`]: no port could carry it.
    #[error("the frame is longer than {MAX_FRAME} bytes")]
    TooLong,
    /// The other end is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Full => io::ErrorKind::WouldBlock,
            SendError::TooLong => io::ErrorKind::InvalidInput,
            SendError::Closed(_) => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

/// An eventfd that is readable while it rings.
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// One that rings.
    fn new() -> Result<Arc<Self>> {
        let fd = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let fd = fd.map_err(|errno| Error::system("cannot make a descriptor for a port", &errno.into()))?;
        Ok(Arc::new(Self(fd)))
    }

    /// A second ring changes nothing; that there is no room for it is no failure.
    pub(super) fn ring(&self) {
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    /// A silent bell stays silent.
    pub(super) fn silence(&self) {
        let _ = read(&self.0, &mut [0; 8]);
    }
}

/// The program's end of a port. The port is there until this is dropped.
pub struct Link {
    sender: LinkSender,
    receiver: LinkReceiver,
}

/// The half that sends. The port is there until one of its halves is dropped.
///
/// Its descriptor is readable until [`LinkSender::try_send`] has found no room, and again when there is some.
pub struct LinkSender {
    link: Arc<channel::ServiceEnd>,
    room: Arc<Bell>,
}

/// The half that receives. The port is there until one of its halves is dropped.
///
/// Its descriptor is readable until [`LinkReceiver::try_recv`] has found nothing, and again when there is a frame or the
/// port is gone.
pub struct LinkReceiver {
    link: Arc<channel::ServiceEnd>,
    frames: Arc<Bell>,
    /// Frames of a batch that are not handed out yet.
    pending: VecDeque<Vec<u8>>,
}

impl Link {
    /// The public end of what the switch has made.
    pub(crate) fn new(link: channel::ServiceEnd) -> Result<Self> {
        let (room, frames) = (Bell::new()?, Bell::new()?);
        link.set_bells(frames.clone(), room.clone());
        let link = Arc::new(link);
        let receiver = LinkReceiver { link: link.clone(), frames, pending: VecDeque::new() };
        Ok(Self { sender: LinkSender { link, room }, receiver })
    }

    /// The end that runs a service behind it.
    pub(crate) fn channel(&self) -> &channel::ServiceEnd {
        &self.sender.link
    }

    /// The two halves, for two threads or two tasks.
    pub fn split(self) -> (LinkSender, LinkReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`LinkSender::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.sender.send(frame)
    }

    /// See [`LinkSender::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.sender.try_send(frame)
    }

    /// See [`LinkSender::send_batch`].
    ///
    /// # Errors
    /// [`Closed`].
    pub fn send_batch(&self, batch: Batch) -> Result<(), Closed> {
        self.sender.send_batch(batch)
    }

    /// See [`LinkReceiver::recv`].
    ///
    /// # Errors
    /// [`Closed`].
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Closed> {
        self.receiver.recv(timeout)
    }

    /// See [`LinkReceiver::try_recv`].
    ///
    /// # Errors
    /// [`Closed`].
    pub fn try_recv(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        self.receiver.try_recv()
    }

    /// See [`LinkReceiver::recv_batch`].
    ///
    /// # Errors
    /// [`Closed`].
    pub fn recv_batch(&self, timeout: Option<Duration>) -> Result<Option<Batch>, Closed> {
        self.receiver.recv_batch(timeout)
    }

    /// Reports the state for the port to show in the bridge's status, for example its figures.
    pub fn tell(&self, report: Report) {
        self.channel().tell(report);
    }

    /// Begins to collect the ports of the switch that lose their peers. Until they are taken the descriptor is
    /// readable.
    pub fn watch_departures(&self) {
        self.channel().watch_departures();
    }

    /// The ports that have lost their peers since the last call.
    pub fn take_departures(&self) -> BTreeSet<PortId> {
        self.channel().take_departures()
    }
}

impl LinkSender {
    /// Sends one frame to the switch, from the destination address on, without a checksum behind it. Waits while there is
    /// no room.
    ///
    /// # Errors
    /// [`SendError::TooLong`], [`SendError::Closed`].
    pub fn send(&self, frame: &[u8]) -> Result<(), SendError> {
        Ok(self.send_batch(self.batch_of(frame)?)?)
    }

    /// Sends one frame to the switch if there is room for it. Each call takes one of some sixty places, whatever the
    /// length: send many frames at once by [`LinkSender::try_send_batch`].
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send(&self, frame: &[u8]) -> Result<(), SendError> {
        self.try_send_batch(self.batch_of(frame)?).map_err(|(error, _)| error)
    }

    /// Sends a batch of frames to the switch. Waits while there is no room.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn send_batch(&self, batch: Batch) -> Result<(), Closed> {
        self.link.send_batch(batch)
    }

    /// Sends a batch of frames to the switch if there is room for it; gives it back otherwise.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn try_send_batch(&self, batch: Batch) -> Result<(), (SendError, Batch)> {
        self.link.try_send_batch(batch)
    }

    fn batch_of(&self, frame: &[u8]) -> Result<Batch, SendError> {
        let mut batch = self.link.spare(frame.len() + PREFIX);
        match batch.push(frame, PortId(0), Offload::NONE) {
            true => Ok(batch),
            false => Err(SendError::TooLong),
        }
    }
}

impl LinkReceiver {
    /// The next frame from the switch; `None` when none comes within `timeout`.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn recv(&mut self, timeout: Duration) -> Result<Option<Vec<u8>>, Closed> {
        if self.pending.is_empty()
            && let Some(batch) = self.recv_batch(Some(timeout))?
        {
            self.take_apart(batch);
        }
        Ok(self.pending.pop_front())
    }

    /// The next frame from the switch that is there; `None` if there is none.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn try_recv(&mut self) -> Result<Option<Vec<u8>>, Closed> {
        if self.pending.is_empty()
            && let Some(batch) = self.try_recv_batch()?
        {
            self.take_apart(batch);
        }
        Ok(self.pending.pop_front())
    }

    /// The next batch of frames from the switch; `None` when none comes within `timeout`, which may be for ever.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn recv_batch(&self, timeout: Option<Duration>) -> Result<Option<Batch>, Closed> {
        self.link.recv_batch(timeout)
    }

    /// The next batch of frames that is there; `None` if there is none.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn try_recv_batch(&self) -> Result<Option<Batch>, Closed> {
        if let Some(batch) = self.link.try_recv_batch()? {
            return Ok(Some(batch));
        }
        self.frames.silence();
        let late = match self.link.fall_asleep() {
            true => None,
            false => {
                self.link.wake_up();
                self.frames.ring();
                self.link.try_recv_batch()?
            }
        };
        Ok(late)
    }

    fn take_apart(&mut self, batch: Batch) {
        self.pending.extend(Outgoing::rest_of(&batch, 0).frames().map(|(_, bytes)| bytes.to_vec()));
        self.link.done_with(batch);
    }
}

impl Drop for LinkSender {
    fn drop(&mut self) {
        self.link.leave();
    }
}

impl Drop for LinkReceiver {
    fn drop(&mut self) {
        self.link.leave();
    }
}

/// The descriptor of the direction from the switch, as [`LinkReceiver`]'s.
impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl AsFd for LinkSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.room.0.as_fd()
    }
}

impl AsFd for LinkReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.0.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for LinkSender {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for LinkReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
