//! A network namespace for each system test, and a port to hold in one's hand.
//!
//! A namespace is made with ip(8), entered by the test's thread and deleted with everything in it when the test ends.
//! Where that is not permitted the test says so and passes; with ZBRIDGE_REQUIRE=1 it fails.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zbridge::counters::Counters;
use zbridge::frame::{Batch, Outgoing, PortId};
use zbridge::limits::{BATCH_BYTES, INHALE_FRAMES};
use zbridge::port::Gone;
use zbridge::port::frame_io::{self, FrameIo};
use zbridge::wire::Offload;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace.
pub struct NetNs {
    pub name: String,
}

impl NetNs {
    /// Makes one. None, with the reason said, where that is not permitted.
    pub fn new() -> Option<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("zbridge-{}-{serial}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let tun = File::options().read(true).write(true).open("/dev/net/tun");
        if made.as_ref().is_ok_and(|made| made.status.success()) && tun.is_ok() {
            let made = Self { name };
            made.ip("link set lo up");
            return Some(made);
        }
        let reason = format!("needs root, ip(8) and /dev/net/tun ({made:?}, {tun:?})");
        assert!(std::env::var_os("ZBRIDGE_REQUIRE").is_none_or(|value| value != "1"), "{reason}");
        eprintln!("skipped: {reason}");
        None
    }

    /// Makes one and moves the calling thread into it.
    pub fn entered() -> Option<Self> {
        let made = Self::new()?;
        made.enter();
        Some(made)
    }

    /// Moves the calling thread into it.
    pub fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Runs `ip ARGS` in it.
    pub fn ip(&self, args: &str) {
        self.run(&format!("ip {args}"));
    }

    /// Runs a command in it, and gives what it wrote.
    pub fn run(&self, line: &str) -> String {
        let mut words = vec!["netns", "exec", &self.name];
        words.extend(line.split_whitespace());
        let output = Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

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

    /// Sends one frame. It counts as sent or dropped.
    pub fn send(&mut self, frame: &[u8], offload: Offload) -> Result<(), Gone> {
        self.batch.clear();
        assert!(self.batch.push(frame, PortId(0), offload));
        let out = Outgoing::rest_of(&self.batch, 0);
        let done = frame_io::transmit(&mut self.io, out, &mut self.counters).map_err(|broken| broken.gone)?;
        assert_eq!(done, 1, "would block");
        Ok(())
    }
}
