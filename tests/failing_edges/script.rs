//! Edges on scripted descriptors: each call takes as much as the script says, or fails; and none may come after the
//! error that ends a connection.
//!
//! The edges are those of the bridge (streams, serial lines, whatever carries one frame a call), on their seats, and
//! behind a real switch if wanted; only the system calls are made up. Used by the property tests beside this file and
//! by the fuzz targets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use rustix::io::Errno;
use zbridge::config::{PortKind, PortSpec};
use zbridge::counters::{Counters, DropReason, Stage};
use zbridge::frame::{Batch, MAX_FRAME, Outgoing, PREFIX, PortId};
use zbridge::internals::codec::{slip, uart_pipe};
use zbridge::internals::port::frame_io::{self, FrameIo, Got, Refusal};
use zbridge::internals::port::{Broken, Budget, Carrier, Gone, Inhaled, Seat, Serial, Stream, serial, stream};
use zbridge::switch::{Switch, Taken, Transmit};
use zbridge::wire::Offload;

/// What a descriptor does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It takes so many bytes, of one call or of several.
    Take(usize),
    /// It takes nothing for now.
    Full,
    /// A signal came (EINTR).
    Interrupted,
    /// The system has no memory (ENOBUFS).
    Starved,
    /// The peer is gone: the last answer of all.
    Dies,
}

/// A descriptor's past and future.
pub struct Tape {
    pub answers: VecDeque<Answer>,
    /// The answer when there are no others.
    pub then: Answer,
    /// Every byte that was taken; where frames are kept apart, each with its length before it.
    pub taken: Vec<u8>,
    /// What reads give, one chunk a call; an empty chunk is the end.
    pub incoming: VecDeque<Vec<u8>>,
    /// Calls so far.
    pub calls: usize,
    dead: bool,
}

/// A handle to a [`Tape`], and the descriptor itself.
#[derive(Clone)]
pub struct Script(pub Rc<RefCell<Tape>>);

impl Script {
    /// A descriptor that gives `answers`, and `then` for ever.
    pub fn new(answers: impl IntoIterator<Item = Answer>, then: Answer) -> Self {
        let tape = Tape {
            answers: answers.into_iter().collect(),
            then,
            taken: Vec::new(),
            incoming: VecDeque::new(),
            calls: 0,
            dead: false,
        };
        Self(Rc::new(RefCell::new(tape)))
    }

    /// How many of `offered` bytes are taken. `whole`: all of them, or none.
    fn write(&self, offered: &[u8], whole: bool) -> Result<usize, Errno> {
        let mut tape = self.0.borrow_mut();
        assert!(!tape.dead, "called after its error");
        assert!(whole || !offered.is_empty(), "asked to take nothing");
        tape.calls += 1;
        // A script that interrupts for ever would be no descriptor's.
        let answer = *tape.answers.front().unwrap_or(&tape.then);
        match answer {
            Answer::Take(0) => {
                tape.answers.pop_front();
                Err(Errno::AGAIN)
            }
            Answer::Take(room) => {
                let sent = if whole { offered.len() } else { offered.len().min(room) };
                if whole {
                    tape.taken.extend_from_slice(&(sent as u32).to_be_bytes());
                }
                tape.taken.extend_from_slice(&offered[..sent]);
                let left = room.saturating_sub(sent);
                if let Some(front) = tape.answers.front_mut() {
                    *front = Answer::Take(left);
                    if left == 0 {
                        tape.answers.pop_front();
                    }
                }
                Ok(sent)
            }
            other => {
                tape.answers.pop_front();
                tape.dead |= other == Answer::Dies;
                Err(match other {
                    Answer::Interrupted => Errno::INTR,
                    Answer::Starved => Errno::NOBUFS,
                    Answer::Dies => Errno::PIPE,
                    _ => Errno::AGAIN,
                })
            }
        }
    }

    /// The next chunk, as much as there is room for.
    fn read(&self, room: &mut [u8]) -> Result<usize, Errno> {
        let mut tape = self.0.borrow_mut();
        assert!(!tape.dead, "called after its error");
        tape.calls += 1;
        let mut chunk = tape.incoming.pop_front().ok_or(Errno::AGAIN)?;
        let got = chunk.len().min(room.len());
        room[..got].copy_from_slice(&chunk[..got]);
        if got < chunk.len() {
            chunk.drain(..got);
            tape.incoming.push_front(chunk);
        }
        tape.dead |= got == 0;
        Ok(got)
    }
}

impl stream::Octets for Script {
    fn recv(&self, room: &mut [u8]) -> Result<usize, Errno> {
        self.read(room)
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        self.write(bytes, false)
    }

    fn send_gathered(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.write(&buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect::<Vec<_>>(), false)
    }
}

impl serial::Octets for Script {
    fn read(&self, room: &mut [u8]) -> Result<usize, Gone> {
        match Self::read(self, room) {
            Ok(0) => Err(Gone("read".into())),
            Ok(got) => Ok(got),
            Err(_) => Ok(0),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Gone> {
        match Self::write(self, bytes, false) {
            Err(Errno::PIPE) => Err(Gone("write".into())),
            sent => Ok(sent.unwrap_or(0)),
        }
    }
}

impl FrameIo for Script {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        match self.read(&mut room[..=MAX_FRAME])? {
            0 => Err(Errno::PIPE),
            len => Ok(Got { len, offload: Offload::NONE }),
        }
    }

    fn send(&mut self, frame: &[u8], _: &Offload) -> Result<(), Errno> {
        self.write(frame, true).map(drop)
    }

    fn refusal(&mut self, errno: Errno, _: bool) -> Refusal {
        match errno {
            Errno::NOBUFS => Refusal::Drop(DropReason::System),
            _ => Refusal::Gone(Gone("gone".into())),
        }
    }
}

/// The kinds of edges, by what they do with a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Length and frame.
    Stream,
    /// Ethernet frames in SLIP.
    Slip,
    /// IP packets in SLIP, behind the adapter.
    SlipIp,
    /// IEEE 802.15.4.
    Wpan,
    /// One frame a call.
    Frames,
}

pub const KINDS: [Kind; 5] = [Kind::Stream, Kind::Slip, Kind::SlipIp, Kind::Wpan, Kind::Frames];

/// The MAC of the adapter of [`Kind::SlipIp`].
pub const ADAPTER: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 9];
const SLIP: &str = "slip:unix:line,mtu=65000";
const SLIP_IP: &str = "slip:unix:line,mode=ip,ip=192.0.2.1/24,mac=02:00:5e:00:53:09,mtu=1500";

/// An edge of the bridge on a scripted descriptor.
pub enum Scripted {
    Stream(Stream<Script>),
    Line(Box<Serial<Script>>),
    Frames(Script),
}

impl Scripted {
    pub fn new(kind: Kind, script: Script) -> Self {
        let slip = |text: &str, script| {
            let spec = PortSpec::parse(text).expect("a port");
            let PortKind::Slip(slip) = &spec.kind else { panic!("{text}") };
            Self::Line(Box::new(Serial::slip_over(script, &spec, slip)))
        };
        match kind {
            Kind::Stream => Self::Stream(Stream::new(script)),
            Kind::Slip => slip(SLIP, script),
            Kind::SlipIp => slip(SLIP_IP, script),
            Kind::Wpan => {
                let spec = PortSpec::parse("wpan:unix:line").expect("a port");
                Self::Line(Box::new(Serial::wpan_over(script, &spec)))
            }
            Kind::Frames => Self::Frames(script),
        }
    }
}

impl Carrier for Scripted {
    fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        budget: Budget,
        counters: &mut Counters,
    ) -> Result<Inhaled, Gone> {
        match self {
            Self::Stream(edge) => edge.receive(batch, id, budget.bytes, counters),
            Self::Line(edge) => edge.receive(batch, id, counters),
            Self::Frames(edge) => frame_io::receive(edge, batch, id, budget.frames, counters),
        }
    }

    fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        match self {
            Self::Stream(edge) => edge.transmit(out, counters),
            Self::Line(edge) => edge.transmit(out, counters),
            Self::Frames(edge) => frame_io::transmit(edge, out, counters),
        }
    }

    fn has_begun(&self) -> bool {
        match self {
            Self::Stream(edge) => edge.has_begun(),
            Self::Line(edge) => edge.has_begun(),
            Self::Frames(_) => false,
        }
    }
}

/// What `frame` is on the descriptor of an edge; `None` if it is nothing for its peer.
pub fn on_the_line(kind: Kind, frame: &[u8]) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    match kind {
        Kind::Stream | Kind::Frames => line = [&(frame.len() as u32).to_be_bytes()[..], frame].concat(),
        Kind::Slip => slip::encode(frame, &mut line),
        Kind::SlipIp if frame.starts_with(&ADAPTER) && frame[12..14] == [8, 0] => {
            slip::encode(&frame[14..], &mut line);
        }
        Kind::SlipIp => return None,
        Kind::Wpan => uart_pipe::encode(frame, &mut line).ok()?,
    }
    Some(line)
}

/// The descriptors behind a switch, and the ports whose edges have failed in this breath, as the engine has them.
pub struct Edges {
    pub seats: Vec<Seat<Scripted>>,
    pub failed: Vec<PortId>,
}

impl Transmit for Edges {
    fn transmit(&mut self, id: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
        assert!(!out.is_empty(), "nobody is asked to send nothing");
        let seat = &mut self.seats[id.index()];
        let had_failed = seat.has_failed();
        let frames = seat.offer(out, counters);
        assert!(frames <= out.len());
        if seat.has_failed() && !had_failed {
            self.failed.push(id);
        }
        Taken { frames }
    }

    fn has_begun(&self, id: PortId) -> bool {
        self.seats[id.index()].has_begun()
    }

    fn abandon(&mut self, id: PortId) {
        self.seats[id.index()].fail(Gone("no memory".into()));
        self.failed.push(id);
    }
}

/// The accounting that holds for each port at every moment.
pub fn assert_exact(switch: &Switch) {
    for id in switch.ports() {
        let (counters, state) = (switch.counters(id).expect("a port"), switch.state(id).expect("a port"));
        let ended = counters.tx_frames + state.queued as u64 + counters.dropped_at(Stage::Egress);
        assert_eq!(counters.copies, ended, "{id:?}: {counters:?}");
        assert_eq!(counters.rx_frames, counters.forwarded + counters.dropped_at(Stage::Ingress), "{id:?}");
    }
}

/// Puts frames into a batch of their own size.
pub fn batch_of(frames: &[Vec<u8>], ingress: PortId) -> Batch {
    let mut batch = Batch::new(frames.iter().map(|frame| PREFIX + frame.len()).sum());
    frames.iter().for_each(|frame| assert!(batch.push(frame, ingress, Offload::NONE)));
    batch
}
