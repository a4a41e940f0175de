//! What stands between a device and its back end: bytes of a serial port, blocks of a disk, lines of a script.
//!
//! A driver holds no more than one window of bytes for the device, whoever they came from, and takes from the device only
//! what the back end has room for.

use crate::service::machine::Unsent;
use crate::service::outside::{Input, Output, Stream, WINDOW};
use crate::time::Instant;
use crate::usb::class::cdc_acm::Line;
use crate::usb::class::cdc_acm::serial_state::{RX_CARRIER, TX_CARRIER};
use crate::usb::class::hid::ScriptError;
use crate::usb::class::{CdcAcm, Hid, MassStorage};
use crate::usbip::Server;
use std::collections::VecDeque;

/// Bytes of a script's line; one that is longer is refused.
const LINE: usize = 64 << 10;

/// See the module.
pub(super) enum Driver {
    Serial(SerialPort),
    Disk(Disk),
    Script(Script),
}

impl Driver {
    /// Takes what came from the outside, if it is for this device.
    pub fn handle_input(&mut self, now: Instant, server: &mut Server, input: &Input, out: &mut VecDeque<Output>) {
        match self {
            Self::Serial(driver) => driver.pipe.handle_input(input, out),
            Self::Script(driver) => driver.pipe.handle_input(input, out),
            Self::Disk(driver) => driver.handle_input(now, server, input),
        }
    }

    /// There is no host any more: what comes for it is forgotten, since a socket that is closed with bytes unread throws
    /// away what is on its way to the other end.
    pub fn close(&mut self, out: &mut VecDeque<Output>) {
        if let Self::Serial(SerialPort { pipe, .. }) = self {
            pipe.forgets = true;
            pipe.used(pipe.inbox.len(), out);
        }
    }

    /// Bytes of the device that its back end has not taken.
    pub fn unsent(&self, server: &Server) -> Option<Unsent> {
        match self {
            Self::Serial(driver) => driver.unsent(server),
            Self::Script(_) | Self::Disk(_) => None,
        }
    }

    /// Moves what can be moved.
    pub fn work(&mut self, now: Instant, server: &mut Server, out: &mut VecDeque<Output>) {
        match self {
            Self::Serial(driver) => driver.work(now, server, out),
            Self::Script(driver) => driver.work(now, server, out),
            Self::Disk(driver) => driver.work(now, server, out),
        }
    }
}

/// One stream at a time, and what came from it.
struct Pipe {
    want: usize,
    stream: Option<Stream>,
    /// Somebody is at the other end.
    peer: bool,
    inbox: VecDeque<u8>,
    /// Nobody wants what comes.
    forgets: bool,
    /// Bytes under way to the stream.
    unsent: usize,
}

impl Pipe {
    fn new(want: usize) -> Self {
        Self { want, stream: None, peer: false, inbox: VecDeque::new(), forgets: false, unsent: 0 }
    }

    fn handle_input(&mut self, input: &Input, out: &mut VecDeque<Output>) {
        match input {
            Input::Opened { want, stream, .. } if *want == self.want => {
                if let Some(before) = self.stream.replace(*stream) {
                    out.push_back(Output::Close(before));
                }
                self.unsent = 0;
                self.peer = true;
                // What the client before has left there is not yet used up.
                out.push_back(Output::Room(*stream, WINDOW.saturating_sub(self.inbox.len())));
            }
            Input::Peer(stream, peer) if self.stream == Some(*stream) => self.peer = *peer,
            Input::Data(stream, bytes) if self.stream == Some(*stream) && self.forgets => {
                out.push_back(Output::Room(*stream, bytes.len()));
            }
            Input::Data(stream, bytes) if self.stream == Some(*stream) => self.inbox.extend(bytes),
            Input::Sent(stream, count) if self.stream == Some(*stream) => {
                self.unsent = self.unsent.saturating_sub(*count);
            }
            // Who says nothing more has left, and lets the next one in.
            Input::PeerClosed(stream) if self.stream == Some(*stream) => {
                out.push_back(Output::Close(*stream));
                self.leave();
            }
            Input::Ended(stream) if self.stream == Some(*stream) => self.leave(),
            _ => {}
        }
    }

    /// The stream is no more, and what was under way to it is lost.
    fn leave(&mut self) {
        (self.stream, self.peer, self.unsent) = (None, false, 0);
    }

    /// So many bytes of the inbox are done with.
    fn used(&mut self, count: usize, out: &mut VecDeque<Output>) {
        self.inbox.drain(..count);
        if let Some(stream) = self.stream.filter(|_| count > 0) {
            out.push_back(Output::Room(stream, count));
        }
    }
}

/// A serial port and its line.
pub(super) struct SerialPort {
    busid: String,
    pipe: Pipe,
    line: Line,
    /// The stream that knows of it.
    shown: Option<Stream>,
}

impl SerialPort {
    pub fn new(busid: &str, want: usize) -> Self {
        Self { busid: busid.to_owned(), pipe: Pipe::new(want), line: Line::default(), shown: None }
    }

    fn unsent(&self, server: &Server) -> Option<Unsent> {
        let port: Option<&CdcAcm> = server.function(&self.busid);
        let bytes = self.pipe.unsent + port.map_or(0, CdcAcm::for_backend);
        (bytes > 0).then(|| Unsent { from: self.busid.clone(), bytes, taken: self.pipe.peer })
    }

    /// Somebody at the other end is a carrier. Without one the host's bytes wait.
    fn work(&mut self, now: Instant, server: &mut Server, out: &mut VecDeque<Output>) {
        let Self { busid, pipe, line, shown } = self;
        let moved = server.with_function(now, busid, |port: &mut CdcAcm| {
            port.set_serial_state(if pipe.peer { RX_CARRIER | TX_CARRIER } else { 0 });
            while let Some(stream) = pipe.stream {
                let bytes = port.poll_backend();
                let piece = bytes.get(..WINDOW - pipe.unsent).unwrap_or(bytes);
                if piece.is_empty() {
                    break;
                }
                let count = piece.len();
                out.push_back(Output::Send(stream, piece.to_vec()));
                pipe.unsent += count;
                port.backend_took(count);
            }
            if let Some(changed) = port.poll_line() {
                log::info!("{busid}: {changed}");
                (*line, *shown) = (changed, None);
            }
            if let Some(stream) = pipe.stream.filter(|stream| *shown != Some(*stream)) {
                out.push_back(Output::Line(stream, *line));
                *shown = Some(stream);
            }
            let mut taken = 0;
            for bytes in [pipe.inbox.as_slices().0, pipe.inbox.as_slices().1] {
                taken += port.handle_backend(bytes);
            }
            taken
        });
        pipe.used(moved.unwrap_or(0), out);
    }
}

/// A disk and its file.
pub(super) struct Disk {
    busid: String,
    want: usize,
}

impl Disk {
    pub fn new(busid: &str, want: usize) -> Self {
        Self { busid: busid.to_owned(), want }
    }

    fn handle_input(&self, now: Instant, server: &mut Server, input: &Input) {
        if let Input::Done { want, id, result } = input
            && *want == self.want
        {
            if let Err(error) = result {
                log::warn!("{}: a job of its disk failed: {error:?}", self.busid);
            }
            server.with_function(now, &self.busid, |disk: &mut MassStorage| disk.handle_job_done(*id, result.clone()));
        }
    }

    fn work(&self, now: Instant, server: &mut Server, out: &mut VecDeque<Output>) {
        let jobs = |disk: &mut MassStorage| {
            while let Some(job) = disk.poll_job() {
                out.push_back(Output::Job(self.want, job));
            }
        };
        server.with_function(now, &self.busid, jobs);
    }
}

/// A keyboard or a mouse, and what plays it.
pub(super) struct Script {
    busid: String,
    pipe: Pipe,
    /// What comes belongs to a line that was too long.
    skips: bool,
}

impl Script {
    pub fn new(busid: &str, want: usize) -> Self {
        Self { busid: busid.to_owned(), pipe: Pipe::new(want), skips: false }
    }

    fn work(&mut self, now: Instant, server: &mut Server, out: &mut VecDeque<Output>) {
        let Self { busid, pipe, skips } = self;
        let done = server.with_function(now, busid, |hid: &mut Hid| {
            if let Some(leds) = hid.poll_leds() {
                let lights = [("num", leds.num_lock()), ("caps", leds.caps_lock()), ("scroll", leds.scroll_lock())];
                let lit: Vec<_> = lights.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
                log::info!("{busid}: lights on: {}", if lit.is_empty() { "none".to_owned() } else { lit.join(", ") });
            }
            play(busid, hid, pipe.inbox.make_contiguous(), pipe.stream.is_none(), skips)
        });
        pipe.used(done.unwrap_or(0), out);
    }
}

/// Plays the whole lines of `bytes`, and the last one too if nothing follows. Gives the bytes that are done with.
/// `skips`: they begin in a line that was too long.
fn play(busid: &str, hid: &mut Hid, bytes: &[u8], last: bool, skips: &mut bool) -> usize {
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
                log::warn!("{busid}: its script: a line of more than {LINE} bytes is left out");
            }
            done += length;
            continue;
        }
        match hid.script(&String::from_utf8_lossy(line)) {
            // The host has to fetch some first.
            Err(ScriptError::Full) if hid.waiting() > 0 => break,
            Err(error) => log::warn!("{busid}: its script: {error}"),
            Ok(()) => {}
        }
        done += length;
    }
    done
}
