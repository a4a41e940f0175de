//! A port to hold in one's hand, without a switch: what it receives and sends, frame by frame.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use support::PATIENCE;
use zbridge::counters::Counters;
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::internals::limits::{BATCH_BYTES, INHALE_FRAMES};
use zbridge::internals::port::Gone;
use zbridge::internals::port::frame_io::{self, FrameIo};
use zbridge::wire::Offload;

/// A port with its counters.
pub struct Port<T> {
    pub io: T,
    pub counters: Counters,
    batch: Batch,
}

impl<T: FrameIo + AsFd> Port<T> {
    pub fn new(io: T) -> Self {
        Self { io, counters: Counters::default(), batch: Batch::new(BATCH_BYTES) }
    }

    /// What is there now.
    pub fn receive(&mut self) -> Result<Vec<(Vec<u8>, Offload)>, Gone> {
        self.batch.clear();
        frame_io::receive(&mut self.io, &mut self.batch, PortId(0), INHALE_FRAMES, &mut self.counters)?;
        Ok(self.batch.frames().iter().map(|frame| (self.batch.bytes(frame).to_vec(), frame.offload)).collect())
    }

    /// Waits for a frame that is `wanted`.
    pub fn wait_for(&mut self, wanted: impl Fn(&[u8]) -> bool) -> (Vec<u8>, Offload) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = self.receive().unwrap().into_iter().find(|(frame, _)| wanted(frame)) {
                return found;
            }
            self.wait(PollFlags::IN, Duration::from_millis(200));
        }
        panic!("the frame did not come");
    }

    /// Waits until the descriptor is ready in one of these ways, or for `at_most`. Gives how it is ready.
    pub fn wait(&self, flags: PollFlags, at_most: Duration) -> PollFlags {
        let mut asked = [PollFd::new(&self.io, flags)];
        let timeout = Timespec::try_from(at_most).unwrap();
        poll(&mut asked, Some(&timeout)).unwrap();
        asked[0].revents()
    }

    /// Sends one frame, once there is room for it. It counts as sent or dropped.
    pub fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), Gone> {
        self.batch.clear();
        assert!(self.batch.push(frame, PortId(0), offload));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let out = Outgoing::rest_of(&self.batch, 0);
            if frame_io::transmit(&mut self.io, out, &mut self.counters).map_err(|broken| broken.gone)? == 1 {
                return Ok(());
            }
            assert!(Instant::now() < deadline, "it would block for {PATIENCE:?}");
            self.wait(PollFlags::OUT, Duration::from_millis(200));
        }
    }
}
