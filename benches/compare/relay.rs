//! The bare relays: the least a program can do with the same system calls, as the limit of what a switch can reach.
//!
//! They run in a process of their own (`compare --relay …`), so that their CPU time is read like any other's. They have
//! no queues with bounds, no counters and no errors worth the name; what a destination does not take waits in memory
//! while its sources are not read.

use super::link::Framing;
use super::{Fault, Result};
use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    recv, send, socket_with,
};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use zbridge::config;
use zbridge::internals::port::Tap;

const ROOM: usize = 128 * 1024;
/// Frames taken from one descriptor at a time.
const DRAIN: usize = 64;
/// Bytes that may wait for a destination before its sources are left alone.
const WAITING: usize = 1 << 20;

/// How a stream relay finds the way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Port 0 and port 1 are joined, 2 and 3, and so on; frames are not looked at.
    Pairs,
    /// A plain hash table, learned from source addresses.
    Table,
    /// Everything goes to all others; frames are not looked at.
    Flood,
}

/// Runs the relay that `words` ask for; returns only on failure.
pub fn run(words: &[String]) -> Result<()> {
    let word = |index: usize| words.get(index).map(String::as_str).ok_or("a relay needs more words");
    let number = |index: usize| word(index)?.parse::<usize>().map_err(Fault::from);
    match word(0)? {
        "stream" => {
            let way = match word(1)? {
                "pairs" => Way::Pairs,
                "table" => Way::Table,
                _ => Way::Flood,
            };
            Streams::accept(Path::new(word(2)?), number(3)?, way)?.run()
        }
        "seq" => packets(accept(Path::new(word(1)?), SocketType::SEQPACKET, number(2)?)?, Framing::Packet),
        "gram" => packets(grams(&words[1..])?, Framing::Packet),
        // the framing of a relay says read and write, not what lies around a frame
        "tap" => packets(taps(&words[1..], false)?, Framing::Payload),
        "gso" => packets(taps(&words[1..], true)?, Framing::Payload),
        other => Err(format!("there is no relay {other}").into()),
    }
}

fn accept(path: &Path, kind: SocketType, ports: usize) -> Result<Vec<OwnedFd>> {
    let listener = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&listener, &SocketAddrUnix::new(path)?)?;
    listen(&listener, 128)?;
    (0..ports).map(|_| Ok(accept_with(&listener, SocketFlags::NONBLOCK)?)).collect()
}

/// Datagram sockets, from words that name by turns an own path and its peer's.
fn grams(words: &[String]) -> Result<Vec<OwnedFd>> {
    let paths: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
    let mut sockets = Vec::new();
    for pair in paths.chunks_exact(2) {
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::NONBLOCK, None)?;
        bind(&fd, &SocketAddrUnix::new(&pair[0])?)?;
        connect(&fd, &SocketAddrUnix::new(&pair[1])?)?;
        sockets.push(fd);
    }
    Ok(sockets)
}

/// TAPs, with super-frames or without.
fn taps(names: &[String], offloads: bool) -> Result<Vec<OwnedFd>> {
    let open = |name: &String| {
        let mut options = config::Tap::new(name);
        options.offload = offloads;
        let tap = Tap::open(&options, None)?;
        Ok(tap.as_fd().try_clone_to_owned()?)
    };
    names.iter().map(open).collect()
}

fn watch(fds: &[OwnedFd]) -> Result<OwnedFd> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
    for (index, fd) in (0..).zip(fds) {
        epoll::add(&poll, fd, epoll::EventData::new_u64(index), flags)?;
    }
    Ok(poll)
}

fn wait(poll: BorrowedFd<'_>, patient: bool, ready: &mut Vec<(usize, epoll::EventFlags)>) -> Result<()> {
    let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 256];
    let now = rustix::event::Timespec::default();
    let count = epoll::wait(poll, &mut events[..], if patient { None } else { Some(&now) })?;
    ready.clear();
    ready.extend(events[..count].iter().map(|event| (event.data.u64() as usize, event.flags)));
    Ok(())
}

/// Stream sockets.
struct Streams {
    fds: Vec<OwnedFd>,
    way: Way,
    table: HashMap<u64, usize>,
    /// What waits for each port.
    waiting: Vec<Vec<u8>>,
    /// The beginning of a frame from each port.
    carried: Vec<Vec<u8>>,
    room: Vec<u8>,
}

impl Streams {
    fn accept(path: &Path, ports: usize, way: Way) -> Result<Self> {
        let fds = accept(path, SocketType::STREAM, ports)?;
        let (waiting, carried) = (vec![Vec::new(); ports], vec![Vec::new(); ports]);
        Ok(Self { fds, way, table: HashMap::new(), waiting, carried, room: vec![0; ROOM + 70_000] })
    }

    fn run(mut self) -> Result<()> {
        let poll = watch(&self.fds)?;
        let mut events = Vec::new();
        let mut ready = vec![false; self.fds.len()];
        let mut list = Vec::new();
        loop {
            wait(poll.as_fd(), list.is_empty(), &mut events)?;
            for &(port, flags) in &events {
                if flags.contains(epoll::EventFlags::OUT) && !self.waiting[port].is_empty() {
                    let waiting = std::mem::take(&mut self.waiting[port]);
                    self.put(port, &waiting)?;
                }
                if flags.contains(epoll::EventFlags::IN) && !std::mem::replace(&mut ready[port], true) {
                    list.push(port);
                }
            }
            let busy = self.waiting.iter().any(|waiting| waiting.len() > WAITING);
            if busy {
                // asks again when there is room
                wait(poll.as_fd(), true, &mut events)?;
                for &(port, _) in &events {
                    let waiting = std::mem::take(&mut self.waiting[port]);
                    self.put(port, &waiting)?;
                    if !std::mem::replace(&mut ready[port], true) {
                        list.push(port);
                    }
                }
                continue;
            }
            for port in std::mem::take(&mut list) {
                ready[port] = self.read(port)?;
                if ready[port] {
                    list.push(port);
                }
            }
        }
    }

    /// Relays one read. False when there is nothing left.
    fn read(&mut self, port: usize) -> Result<bool> {
        let carried = self.carried[port].len();
        self.room[..carried].copy_from_slice(&self.carried[port]);
        let got = match recv(&self.fds[port], &mut self.room[carried..carried + ROOM], RecvFlags::empty()) {
            Ok((_, 0)) => return Err("a port was closed".into()),
            Ok((_, got)) => got,
            Err(Errno::AGAIN) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        };
        let room = std::mem::take(&mut self.room);
        match self.way {
            Way::Pairs => self.put(port ^ 1, &room[..got])?,
            Way::Flood => {
                for other in (0..self.fds.len()).filter(|&other| other != port) {
                    self.put(other, &room[..got])?;
                }
            }
            Way::Table => self.look_up(port, &room[..carried + got])?,
        }
        self.room = room;
        Ok(got == ROOM)
    }

    /// Sends each run of frames to the port of its destination, if that is known and another.
    fn look_up(&mut self, port: usize, bytes: &[u8]) -> Result<()> {
        let word = |mac: &[u8]| mac.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let (mut at, mut from, mut way) = (0, 0, None);
        while let Some(prefix) = bytes[at..].first_chunk::<4>() {
            let len = u32::from_be_bytes(*prefix) as usize;
            let Some(frame) = bytes[at + 4..].get(..len) else { break };
            self.table.insert(word(&frame[6..12]), port);
            let out = self.table.get(&word(&frame[..6])).copied().filter(|&out| out != port);
            if out != way {
                self.put_some(way, &bytes[from..at])?;
                (from, way) = (at, out);
            }
            at += 4 + len;
        }
        self.put_some(way, &bytes[from..at])?;
        self.carried[port].clear();
        self.carried[port].extend_from_slice(&bytes[at..]);
        Ok(())
    }

    fn put_some(&mut self, port: Option<usize>, bytes: &[u8]) -> Result<()> {
        port.map_or(Ok(()), |port| self.put(port, bytes))
    }

    fn put(&mut self, port: usize, bytes: &[u8]) -> Result<()> {
        let mut sent = 0;
        if self.waiting[port].is_empty() && !bytes.is_empty() {
            sent = match send(&self.fds[port], bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => 0,
                Err(errno) => return Err(errno.into()),
            };
        }
        self.waiting[port].extend_from_slice(&bytes[sent..]);
        Ok(())
    }
}

/// Descriptors that carry one frame a call, joined in pairs.
fn packets(fds: Vec<OwnedFd>, framing: Framing) -> Result<()> {
    let poll = watch(&fds)?;
    let mut room = vec![0; 70_000];
    let mut events = Vec::new();
    let mut ready = vec![false; fds.len()];
    let mut list = Vec::new();
    let mut stuck: Vec<Option<Vec<u8>>> = vec![None; fds.len()];
    loop {
        wait(poll.as_fd(), list.is_empty(), &mut events)?;
        for &(port, flags) in &events {
            if flags.contains(epoll::EventFlags::OUT) && stuck[port].is_some() {
                let frame = stuck[port].take().unwrap_or_default();
                stuck[port] = (!put(&fds[port], &frame, framing)?).then_some(frame);
                if stuck[port].is_none() && !std::mem::replace(&mut ready[port ^ 1], true) {
                    list.push(port ^ 1);
                }
            }
            if flags.contains(epoll::EventFlags::IN) && !std::mem::replace(&mut ready[port], true) {
                list.push(port);
            }
        }
        for port in std::mem::take(&mut list) {
            ready[port] = false;
            let mut calls = 0;
            while stuck[port ^ 1].is_none() {
                if calls == DRAIN {
                    ready[port] = true;
                    list.push(port);
                    break;
                }
                calls += 1;
                let Some(got) = take(&fds[port], &mut room, framing)? else { break };
                if !put(&fds[port ^ 1], &room[..got], framing)? {
                    stuck[port ^ 1] = Some(room[..got].to_vec());
                }
            }
        }
    }
}

fn take(fd: &OwnedFd, room: &mut [u8], framing: Framing) -> Result<Option<usize>> {
    let got = match framing {
        Framing::Packet => recv(fd, room, RecvFlags::empty()).map(|(_, got)| got),
        _ => rustix::io::read(fd, room),
    };
    match got {
        Ok(0) => Err("a port was closed".into()),
        Ok(got) => Ok(Some(got)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// False when it has to wait.
fn put(fd: &OwnedFd, frame: &[u8], framing: Framing) -> Result<bool> {
    let sent = match framing {
        Framing::Packet => send(fd, frame, SendFlags::NOSIGNAL),
        _ => rustix::io::write(fd, frame),
    };
    match sent {
        Ok(_) | Err(Errno::IO | Errno::CONNREFUSED) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
