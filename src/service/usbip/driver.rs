//! Drivers between a device and its back end: bytes of a serial port, blocks of a disk, lines of a script.
//!
//! A driver holds no more than one [`WINDOW`] of bytes in each direction, over all clients: while the host reads
//! nothing it reads nothing, and it takes from the device no more than there is room for.

use super::transport::CHUNK;
use crate::codec::ByteQueue;
use crate::service::allowance::Allowance;
use crate::service::machine::Unsent;
use crate::service::outside::{Outside, SocketId};
use crate::time::{Duration, Instant};
use crate::usb::class::cdc_acm::Line;
use crate::usb::class::cdc_acm::serial_state::{RX_CARRIER, TX_CARRIER};
use crate::usb::class::hid::ScriptError;
use crate::usb::class::{CdcAcm, Hid, MassStorage};
use crate::usbip::Server;
use std::collections::VecDeque;
use std::io::ErrorKind;

/// Bytes held in each direction.
pub(super) const WINDOW: usize = 256 << 10;
/// Reads of one stream in a round.
const READS: usize = 2 * WINDOW / CHUNK;
/// Bytes of a script's line; one that is longer is refused.
const LINE: usize = 64 << 10;

/// Context of a driver in one round.
pub(super) struct Bench<'a> {
    pub now: Instant,
    pub server: &'a mut Server,
    pub outside: &'a mut dyn Outside,
    /// Read buffer.
    pub buffer: &'a mut [u8],
    /// A driver has used up its turn and has more to do.
    pub more: bool,
    /// Bytes were moved, so that a URB may be complete and its line have a reply.
    pub moved: bool,
}

/// See the module.
pub(super) enum Driver {
    Serial(SerialPort),
    Disk(Disk),
    Script(Script),
}

impl Driver {
    /// The port is closed: bytes for the host are read and dropped, as closing a socket with unread bytes resets it,
    /// and bytes on their way to the other end would be lost.
    pub fn close(&mut self) {
        if let Self::Serial(SerialPort { pipe, .. }) = self {
            pipe.forgets = true;
            pipe.inbox.clear();
        }
    }

    /// Bytes of the device that its back end has not taken.
    pub fn unsent(&self, server: &Server, outside: &dyn Outside) -> Option<Unsent> {
        match self {
            Self::Serial(driver) => driver.unsent(server, outside),
            Self::Script(_) | Self::Disk(_) => None,
        }
    }

    /// Moves bytes between the device and its back end.
    pub fn work(&mut self, bench: &mut Bench) {
        match self {
            Self::Serial(driver) => driver.work(bench),
            Self::Script(driver) => driver.work(bench),
            Self::Disk(driver) => driver.work(bench),
        }
    }
}

/// A back end for bytes.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// A stream that is there from the beginning.
    Stream(SocketId),
    /// A listener: one client at a time.
    Listener(SocketId),
}

/// One stream at a time, and the bytes from it and to it.
struct Pipe {
    source: Source,
    stream: Option<SocketId>,
    /// A peer is at the other end.
    peer: bool,
    inbox: VecDeque<u8>,
    outbox: ByteQueue,
    /// Sending has failed for good. Bytes that came before are still read.
    broken: bool,
    /// Bytes that come are dropped.
    forgets: bool,
}

impl Pipe {
    fn new(source: Source) -> Self {
        let stream = if let Source::Stream(stream) = source { Some(stream) } else { None };
        Self {
            source,
            stream,
            peer: false,
            inbox: VecDeque::new(),
            outbox: ByteQueue::default(),
            broken: false,
            forgets: false,
        }
    }

    /// Accepts a client, and reads.
    fn fill(&mut self, bench: &mut Bench) {
        if let (Source::Listener(listener), None) = (self.source, self.stream) {
            self.stream = bench.outside.accept(listener).ok().map(|(stream, _)| stream);
        }
        let Some(stream) = self.stream else { return };
        self.peer = bench.outside.is_there(stream);
        for _ in 0..READS {
            let room = if self.forgets { CHUNK } else { (WINDOW - self.inbox.len()).min(CHUNK) };
            let room = bench.buffer.get_mut(..room).filter(|room| !room.is_empty());
            let Some(room) = room else { return };
            match bench.outside.recv(stream, room) {
                Ok(count) if count > 0 => {
                    let bytes = room.get(..count).filter(|_| !self.forgets);
                    self.inbox.extend(bytes.unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.broken => return,
                // At its end of file a client counts as gone, and the next one is accepted.
                _ => return self.leave(stream, bench),
            }
        }
        bench.more = true;
    }

    /// Sends waiting bytes, as many as are taken.
    fn flush(&mut self, bench: &mut Bench) {
        let Some(stream) = self.stream else { return };
        while !self.outbox.is_empty() {
            match bench.outside.send_queue(stream, &self.outbox) {
                Ok(count) => self.outbox.took(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::debug!("a stream takes no more: {error}");
                    self.outbox.clear();
                    (self.broken, bench.more) = (true, true);
                }
            }
        }
    }

    /// The stream is closed, and bytes for it are lost.
    fn leave(&mut self, stream: SocketId, bench: &mut Bench) {
        self.flush(bench);
        bench.outside.close(stream, false);
        self.outbox.clear();
        (self.stream, self.peer, self.broken, bench.more) = (None, false, false, true);
    }

    /// Removes `count` bytes of the inbox. If it was full there may be more to read.
    fn used(&mut self, count: usize, bench: &mut Bench) {
        bench.more |= count > 0 && self.inbox.len() >= WINDOW;
        self.inbox.drain(..count);
    }
}

/// A serial port and its line.
pub(super) struct SerialPort {
    busid: String,
    pipe: Pipe,
    line: Line,
    /// The stream that the line's settings were shown to.
    shown: Option<SocketId>,
}

impl SerialPort {
    pub fn new(busid: &str, source: Source) -> Self {
        Self { busid: busid.to_owned(), pipe: Pipe::new(source), line: Line::default(), shown: None }
    }

    fn unsent(&self, server: &Server, outside: &dyn Outside) -> Option<Unsent> {
        let port: Option<&CdcAcm> = server.function(&self.busid);
        let unwritten = self.pipe.stream.map_or(0, |stream| outside.unwritten(stream));
        let bytes = self.pipe.outbox.len() + unwritten + port.map_or(0, CdcAcm::for_backend);
        (bytes > 0).then(|| Unsent { from: self.busid.clone(), bytes, taken: self.pipe.peer })
    }

    /// A peer at the other end is carrier (DCD). Without it the host's bytes wait.
    fn work(&mut self, bench: &mut Bench) {
        self.pipe.fill(bench);
        let Self { busid, pipe, line, shown } = self;
        let before = pipe.outbox.len();
        let taken = bench.server.with_function(bench.now, busid, |port: &mut CdcAcm| {
            port.set_serial_state(if pipe.peer { RX_CARRIER | TX_CARRIER } else { 0 });
            while pipe.stream.is_some() {
                let bytes = port.poll_backend();
                let chunk = bytes.get(..WINDOW.saturating_sub(pipe.outbox.len())).unwrap_or(bytes);
                if chunk.is_empty() {
                    break;
                }
                let count = chunk.len();
                pipe.outbox.extend(chunk);
                port.backend_took(count);
            }
            if let Some(changed) = port.poll_line() {
                log::info!("{busid}: {changed}");
                (*line, *shown) = (changed, None);
            }
            let mut taken = 0;
            for bytes in [pipe.inbox.as_slices().0, pipe.inbox.as_slices().1] {
                taken += port.handle_backend(bytes);
            }
            taken
        });
        bench.moved |= pipe.outbox.len() > before || taken.is_some_and(|taken| taken > 0);
        pipe.used(taken.unwrap_or(0), bench);
        if let Some(stream) = pipe.stream.filter(|stream| *shown != Some(*stream)) {
            let begun = bench.outside.set_line(stream, line);
            pipe.outbox.extend(&begun);
            *shown = Some(stream);
        }
        let full = pipe.outbox.len() >= WINDOW;
        pipe.flush(bench);
        bench.more |= full && pipe.outbox.len() < WINDOW;
    }
}

/// Rate limit of log lines that an importer or a script can cause at will: a burst, then one a second. The next one
/// says how many were left out.
struct Sayings {
    allowance: Allowance,
    unsaid: u64,
}

impl Sayings {
    fn new() -> Self {
        Self { allowance: Allowance::new(20, Duration::from_secs(1)), unsaid: 0 }
    }

    /// The number of lines left out before this one; `None`: it is left out, too.
    fn turn(&mut self, now: Instant) -> Option<u64> {
        let may = self.allowance.take(now);
        self.unsaid += u64::from(!may);
        may.then(|| std::mem::take(&mut self.unsaid))
    }

    fn say(&mut self, now: Instant, level: log::Level, busid: &str, what: impl FnOnce() -> String) {
        match self.turn(now) {
            None => {}
            Some(0) => log::log!(level, "{busid}: {}", what()),
            Some(unsaid) => log::log!(level, "{busid}: {} (and {unsaid} lines more that were left out)", what()),
        }
    }
}

/// A disk and its file.
pub(super) struct Disk {
    busid: String,
    disk: SocketId,
    sayings: Sayings,
}

impl Disk {
    pub fn new(busid: &str, disk: SocketId) -> Self {
        Self { busid: busid.to_owned(), disk, sayings: Sayings::new() }
    }

    fn work(&mut self, bench: &mut Bench) {
        let Bench { now, server, outside, moved, .. } = bench;
        server.with_function(*now, &self.busid, |disk: &mut MassStorage| {
            while let Some((id, result)) = outside.job_done(self.disk) {
                *moved = true;
                if let Err(error) = &result {
                    let why = || format!("a job of its disk failed: {error:?}");
                    self.sayings.say(*now, log::Level::Warn, &self.busid, why);
                }
                disk.handle_job_done(id, result);
            }
        });
        // Its last job may have let the device go on.
        server.with_function(*now, &self.busid, |disk: &mut MassStorage| {
            while let Some(job) = disk.poll_job() {
                outside.submit(self.disk, job);
            }
        });
    }
}

/// A keyboard or a mouse, and its script.
pub(super) struct Script {
    busid: String,
    pipe: Pipe,
    /// Skipping the rest of a line that was too long.
    skips: bool,
    sayings: Sayings,
}

impl Script {
    pub fn new(busid: &str, source: SocketId) -> Self {
        Self { busid: busid.to_owned(), pipe: Pipe::new(Source::Stream(source)), skips: false, sayings: Sayings::new() }
    }

    fn work(&mut self, bench: &mut Bench) {
        self.pipe.fill(bench);
        let Self { busid, pipe, skips, sayings } = self;
        let mut say = |level, what| sayings.say(bench.now, level, busid, || what);
        let done = bench.server.with_function(bench.now, busid, |hid: &mut Hid| {
            if let Some(leds) = hid.poll_leds() {
                let lights = [("num", leds.num_lock()), ("caps", leds.caps_lock()), ("scroll", leds.scroll_lock())];
                let lit: Vec<_> = lights.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
                let lit = if lit.is_empty() { "none".to_owned() } else { lit.join(", ") };
                say(log::Level::Info, format!("lights on: {lit}"));
            }
            play(hid, pipe.inbox.make_contiguous(), pipe.stream.is_none(), skips, &mut |what| {
                say(log::Level::Warn, what)
            })
        });
        bench.moved |= done.is_some_and(|done| done > 0);
        pipe.used(done.unwrap_or(0), bench);
    }
}

/// Plays the whole lines of `bytes`, and the last one too if nothing follows. Gives the bytes that are done with.
/// `skips`: they begin in a line that was too long. `warn` takes errors.
fn play(hid: &mut Hid, bytes: &[u8], last: bool, skips: &mut bool, warn: &mut dyn FnMut(String)) -> usize {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let length = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if last || *skips || rest.len() > LINE => rest.len(),
            None => break,
        };
        let line = rest.get(..length).unwrap_or_default();
        let whole = last || line.ends_with(b"\n");
        if *skips || line.len() > LINE || !whole {
            if !std::mem::replace(skips, !whole) {
                warn(format!("its script: a line of more than {LINE} bytes is left out"));
            }
            done += length;
            continue;
        }
        match hid.script(&String::from_utf8_lossy(line)) {
            // The host has to fetch some first.
            Err(ScriptError::Full) if hid.waiting() > 0 => break,
            Err(error) => warn(format!("its script: {error}")),
            Ok(()) => {}
        }
        done += length;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_somebody_causes_at_will_are_bounded_and_counted() {
        let mut sayings = Sayings::new();
        let mut said = |second: u64, tries: usize| {
            let turns: Vec<_> = (0..tries).filter_map(|_| sayings.turn(Instant::from_secs(second))).collect();
            (turns.len(), turns.iter().sum::<u64>())
        };
        assert_eq!(said(0, 100_000), (20, 0));
        assert_eq!(said(1, 5), (1, 99_980), "the next says how many there were");
        assert_eq!(said(100, 2), (2, 4));
    }
}
