//! The load: one thread sends the numbered frames of all flows in turn, another receives and checks them.
//!
//! A sender is as fast as it can (a full socket stops it), or keeps to a rate, or to a window of frames under way. The
//! receiver notes for each flow what is missing, doubled or late ([`Track`]), and goes on until all has come or
//! nothing comes any more. Rates and times end with the last arrival, so that nothing which is under way counts.

use super::Result;
use super::frames::{HELLO, Random, STAMP, Stamp, now, port_mac, put_dst, put_header, put_src, spread_mac};
use super::link::{Framing, Link};
use super::track::Track;
use rustix::event::epoll;
use rustix::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// After so long without a frame, what is missing is lost.
const LULL: u64 = 400_000_000;
/// After so long without progress, what fills a window is taken as lost.
const GIVE_UP: u64 = 30_000_000;
const ROOM: usize = 256 * 1024;
/// Packets that one link may bring in before the next one's turn.
const DRAIN: usize = 64;

/// The addresses of a flow's frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// Always this one.
    One(u64),
    /// One of the first so many spread addresses, at random.
    Spread(u64),
    /// The next spread address for each frame.
    Fresh,
}

/// What one link sends.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its link's index.
    pub link: usize,
    /// Where its frames go.
    pub dst: Address,
    /// Where they come from.
    pub src: Address,
}

impl Flow {
    /// From the station on one port to that on another.
    pub fn between(link: usize, other: usize) -> Self {
        Self { link, dst: Address::One(port_mac(other)), src: Address::One(port_mac(link)) }
    }
}

/// How fast is sent: with neither bound, as fast as the switch takes it.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Pace {
    /// So many frames a second, all flows together.
    pub rate: Option<f64>,
    /// So many frames may be under way.
    pub window: Option<u64>,
}

/// When the sender stops.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After so many frames of each flow.
    Count(u64),
}

/// One load.
pub struct Load<'a> {
    /// Every end there is.
    pub links: &'a [Link],
    /// Who sends; a flow's number is its index.
    pub flows: Vec<Flow>,
    /// Who sends to those who do not read.
    pub unread: Vec<Flow>,
    /// The indices of the links that receive.
    pub receivers: Vec<usize>,
    /// How many of them get each frame.
    pub copies: u64,
    /// Bytes of a frame on the wire.
    pub len: usize,
    /// Frames that a sender hands over at once.
    pub chunk: usize,
    /// See [`Pace`].
    pub pace: Pace,
    /// See [`Until`].
    pub until: Until,
}

/// What came of a load.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Outcome {
    /// Copies that should have come.
    pub sent: u64,
    /// Different ones that came.
    pub delivered: u64,
    /// Those that came after a later one.
    pub reordered: u64,
    /// Those that had come before.
    pub doubled: u64,
    /// From the start to the last arrival, in seconds.
    pub seconds: f64,
    /// Times under way in nanoseconds, of a part of the frames.
    pub delays: Vec<u64>,
}

impl Outcome {
    /// Copies a second.
    pub fn rate(&self) -> f64 {
        self.delivered as f64 / self.seconds.max(1e-9)
    }

    /// The part of the copies that did not come, in percent.
    pub fn loss(&self) -> f64 {
        100.0 * self.sent.saturating_sub(self.delivered) as f64 / self.sent.max(1) as f64
    }
}

#[derive(Default)]
struct Shared {
    received: AtomicU64,
    sent: AtomicU64,
    done: AtomicBool,
}

impl Load<'_> {
    /// Runs it.
    pub fn run(&self) -> Result<Outcome> {
        let shared = Shared::default();
        let start = now();
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(&shared));
            let numbers = self.send(&shared);
            shared.done.store(true, Relaxed);
            let (receivers, last) = receiver.join().map_err(|_| "the receiver panicked")??;
            let numbers = numbers?;
            let mut outcome = Outcome { seconds: last.saturating_sub(start) as f64 / 1e9, ..Outcome::default() };
            outcome.sent = numbers.iter().sum::<u64>() * self.copies;
            for mut receiver in receivers {
                outcome.delivered += receiver.tracks.iter().map(Track::seen).sum::<u64>();
                outcome.reordered += receiver.tracks.iter().map(|track| track.reordered).sum::<u64>();
                outcome.doubled += receiver.tracks.iter().map(|track| track.doubled).sum::<u64>();
                outcome.delays.append(&mut receiver.delays);
            }
            Ok(outcome)
        })
    }

    /// Sends until the end. Returns how many frames of each flow there were.
    fn send(&self, shared: &Shared) -> Result<Vec<u64>> {
        let mut bursts: Vec<Burst> = (0..).zip(&self.flows).map(|(id, flow)| Burst::new(self, id, flow)).collect();
        let mut unread: Vec<Burst> = self.unread.iter().map(|flow| Burst::new(self, HELLO, flow)).collect();
        let start = now();
        let mut total = 0;
        let mut forgiven = 0;
        loop {
            for burst in &mut bursts {
                self.hold(total, start, &mut forgiven, shared);
                burst.send(&self.links[burst.flow.link])?;
                total += self.chunk as u64;
                shared.sent.store(total * self.copies, Relaxed);
            }
            for burst in &mut unread {
                burst.send(&self.links[burst.flow.link])?;
            }
            let over = match self.until {
                Until::Time(time) => now() - start > time.as_nanos() as u64,
                Until::Count(count) => total >= count * bursts.len() as u64,
            };
            if over {
                return Ok(bursts.iter().map(|burst| burst.number).collect());
            }
        }
    }

    /// Waits until the next burst may leave, when `total` frames have.
    fn hold(&self, total: u64, start: u64, forgiven: &mut u64, shared: &Shared) {
        if let Some(rate) = self.pace.rate {
            let due = start + (total as f64 / rate * 1e9) as u64;
            if let Some(early) = due.checked_sub(now()) {
                std::thread::sleep(Duration::from_nanos(early));
            }
        }
        let Some(window) = self.pace.window else { return };
        let under_way = |forgiven: u64| (total * self.copies).saturating_sub(shared.received.load(Relaxed) + forgiven);
        let asked = now();
        while under_way(*forgiven) > window * self.copies {
            std::thread::sleep(Duration::from_micros(5));
            if now() - asked > GIVE_UP {
                *forgiven += under_way(*forgiven);
            }
        }
    }

    /// Receives until the end. Returns what came, and when the last of it did.
    fn receive(&self, shared: &Shared) -> Result<(Vec<Receiver<'_>>, u64)> {
        let mut receivers: Vec<_> = self.receivers.iter().map(|&link| Receiver::new(&self.links[link])).collect();
        let ready = Ready::new(&receivers)?;
        let mut indices = Vec::new();
        let mut last = now();
        let mut total = 0;
        loop {
            ready.wait(&mut indices)?;
            let mut came = 0;
            for &index in &indices {
                came += receivers[index].drain(indices.len() == 1 && self.receivers.len() == 1)?;
            }
            if came > 0 {
                last = now();
                total += came;
                shared.received.store(total, Relaxed);
            }
            if shared.done.load(Relaxed) {
                let all = total >= shared.sent.load(Relaxed);
                if all || now() - last > LULL {
                    return Ok((receivers, last));
                }
            }
        }
    }
}

/// Which receivers have something.
enum Ready {
    One,
    Many(rustix::fd::OwnedFd),
}

impl Ready {
    fn new(receivers: &[Receiver<'_>]) -> Result<Self> {
        let patience = Duration::from_millis(20);
        if let [only] = receivers {
            only.link.set_patience(patience)?;
            return Ok(Self::One);
        }
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, receiver) in (0..).zip(receivers) {
            epoll::add(&poll, receiver.link.as_fd(), epoll::EventData::new_u64(index), epoll::EventFlags::IN)?;
        }
        Ok(Self::Many(poll))
    }

    /// Waits for a while; a single receiver does its own waiting.
    fn wait(&self, indices: &mut Vec<usize>) -> Result<()> {
        indices.clear();
        let Self::Many(poll) = self else {
            indices.push(0);
            return Ok(());
        };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let count = epoll::wait(poll, &mut events[..], Some(&patience))?;
        indices.extend(events[..count].iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}

/// One receiving end.
struct Receiver<'a> {
    link: &'a Link,
    room: Vec<u8>,
    /// Bytes at the start of the room that are the beginning of a frame.
    carried: usize,
    tracks: Vec<Track>,
    delays: Vec<u64>,
}

impl<'a> Receiver<'a> {
    fn new(link: &'a Link) -> Self {
        Self { link, room: vec![0; ROOM], carried: 0, tracks: Vec::new(), delays: Vec::new() }
    }

    /// Takes what there is. Returns how many measured frames it was.
    fn drain(&mut self, wait: bool) -> Result<u64> {
        let mut came = 0;
        let mut last = None;
        let calls = if self.link.framing == Framing::Prefixed { 1 } else { DRAIN };
        for call in 0..calls {
            let Some(got) = self.link.receive(&mut self.room[self.carried..], wait && call == 0)? else { break };
            came += if self.link.framing == Framing::Prefixed {
                self.take_stream(self.carried + got, &mut last)?
            } else {
                let stamp = Stamp::get(&self.room[self.link.framing.header()..got]);
                self.note(stamp, &mut last)
            };
        }
        if let Some(sent) = last {
            self.delays.push(now().saturating_sub(sent));
        }
        Ok(came)
    }

    /// Takes the frames out of the first `filled` bytes.
    fn take_stream(&mut self, filled: usize, last: &mut Option<u64>) -> Result<u64> {
        let mut at = 0;
        let mut came = 0;
        while let Some(prefix) = self.room[at..filled].first_chunk::<4>() {
            let len = u32::from_be_bytes(*prefix) as usize;
            if !(14..=65_535).contains(&len) {
                return Err(format!("the stream is broken: a frame of {len} bytes").into());
            }
            let Some(frame) = self.room[at + 4..filled].get(..len) else { break };
            let stamp = Stamp::get(&frame[self.link.framing.header()..]);
            came += self.note(stamp, last);
            at += 4 + len;
        }
        self.room.copy_within(at..filled, 0);
        self.carried = filled - at;
        Ok(came)
    }

    #[inline]
    fn note(&mut self, stamp: Option<Stamp>, last: &mut Option<u64>) -> u64 {
        let Some(stamp) = stamp.filter(|stamp| stamp.flow != HELLO) else { return 0 };
        let flow = usize::from(stamp.flow);
        if self.tracks.len() <= flow {
            self.tracks.resize_with(flow + 1, Track::default);
        }
        self.tracks[flow].saw(stamp.number);
        *last = Some(stamp.time);
        1
    }
}

/// The frames that one flow sends at once, made once and numbered anew each time.
struct Burst {
    flow: Flow,
    id: u16,
    bytes: Vec<u8>,
    framing: Framing,
    /// Bytes from one frame to the next.
    stride: usize,
    number: u64,
    random: Random,
}

impl Burst {
    fn new(load: &Load<'_>, id: u16, flow: &Flow) -> Self {
        let framing = load.links[flow.link].framing;
        let len = framing.sent_len(load.len);
        let stride = framing.prefix() + len;
        let mut bytes = vec![0; stride * load.chunk];
        for frame in bytes.chunks_mut(stride) {
            if framing == Framing::Prefixed {
                frame[..4].copy_from_slice(&(len as u32).to_be_bytes());
            }
            if framing != Framing::Payload {
                let one = |address| if let Address::One(mac) = address { mac } else { 0 };
                put_header(&mut frame[framing.prefix()..], one(flow.dst), one(flow.src));
            }
        }
        Self { flow: *flow, id, bytes, framing, stride, number: 0, random: Random::new(u64::from(id) + 7) }
    }

    fn send(&mut self, link: &Link) -> Result<()> {
        let time = now();
        let payload = self.framing.prefix() + self.framing.header();
        for frame in self.bytes.chunks_mut(self.stride) {
            Stamp { flow: self.id, number: self.number, time }.put(&mut frame[payload..payload + STAMP]);
            if let Address::Spread(count) = self.flow.dst {
                put_dst(&mut frame[self.framing.prefix()..], spread_mac(self.random.below(count)));
            }
            if self.flow.src == Address::Fresh {
                put_src(&mut frame[self.framing.prefix()..], spread_mac(self.number));
            }
            self.number += 1;
        }
        match self.framing {
            Framing::Prefixed => link.send(&self.bytes),
            _ => self.bytes.chunks(self.stride).try_for_each(|packet| link.send(packet)),
        }
    }
}

/// Makes stations known: a frame from each of `macs` to itself, which a switch learns from and does not pass on.
pub fn introduce(link: &Link, macs: impl Iterator<Item = u64>) -> Result<()> {
    let framing = link.framing;
    let mut bytes = Vec::new();
    for mac in macs {
        let mut frame = vec![0; framing.prefix() + framing.sent_len(64)];
        if framing == Framing::Prefixed {
            frame[3] = 64;
        }
        if framing != Framing::Payload {
            put_header(&mut frame[framing.prefix()..], mac, mac);
        }
        Stamp { flow: HELLO, number: 0, time: 0 }.put(&mut frame[framing.prefix() + framing.header()..]);
        bytes.append(&mut frame);
        if framing != Framing::Prefixed || bytes.len() > 16_384 {
            link.send(&bytes)?;
            bytes.clear();
        }
    }
    link.send(&bytes)
}
