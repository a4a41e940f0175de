//! Devices of other servers, exported again (`import=HOST:PORT/BUSID`).
//!
//! Theory of operation. An import is asked for at its own server, under the name that it has there. Of the reply only
//! path and bus id are rewritten, so that bus and device number stay those of the server, and with them every URB: from
//! then on bytes pass both ways as they are, each side's window pushing back on the other. With `split=` a [`Splitter`]
//! is in the way, for a server that has no room for long transfers. A list is asked for at every
//! server anew, since devices come and go; one that does not answer within [`PATIENCE`] has none.

use super::line::World;
use super::transport::{Transport, Via};
use super::watch::Foreign;
use crate::codec::Pieces;
use crate::config::Import;
use crate::service::outside::{Input, Output};
use crate::time::{Duration, Instant};
use crate::usbip::op::{
    self, BUSID_LENGTH, OP_LENGTH, PATH_LENGTH, RECORD_LENGTH, REQ_DEVLIST, REQ_IMPORT, REQUEST, REQUEST_LENGTH,
    SPEED_OFFSET,
};
use crate::usbip::{
    Client, ConnectionId, DeviceRecord, Dialect, Event, OpStatus, Server, SpeedCode, SplitFault, Splitter, VERSION,
};

/// How long another server may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of OP_REP_IMPORT when it succeeds.
const REPLY_LENGTH: usize = OP_LENGTH + RECORD_LENGTH;

/// What a request comes to.
pub(super) enum Taken {
    /// More of it has to come.
    Undecided,
    /// It is for the server's own devices.
    Local,
    /// It is for others.
    Foreign(Relay),
}

/// A line to another server, from the dial on.
struct Remote {
    want: usize,
    dialled: bool,
    transport: Option<Transport>,
    /// Why it is of no more use.
    failed: Option<String>,
}

impl Remote {
    fn dial(want: usize, world: &mut World) -> Self {
        world.outputs.push_back(Output::Dial(want));
        Self { dialled: true, ..Self::idle(want) }
    }

    /// One that is not dialled.
    fn idle(want: usize) -> Self {
        Self { want, dialled: false, transport: None, failed: None }
    }

    /// Dials of one want are alike: the first that waits gets the stream.
    fn handle_input(&mut self, input: &mut Input) -> bool {
        match input {
            Input::Opened { want, stream, .. } if *want == self.want && self.waits() => {
                self.transport = Some(Transport::new(Via::Host(*stream)));
            }
            Input::Unreachable(want, why) if *want == self.want && self.waits() => {
                self.failed = Some(format!("its server does not answer: {why}"));
            }
            Input::PeerClosed(stream) | Input::Ended(stream)
                if self.transport.as_ref().is_some_and(|it| it.via == Via::Host(*stream)) =>
            {
                // What it has sent before is still there to be read.
                self.failed = Some("its server has closed the connection".into());
            }
            other => return self.transport.as_mut().is_some_and(|transport| transport.handle_input(other)),
        }
        true
    }

    fn waits(&self) -> bool {
        self.dialled && self.transport.is_none() && self.failed.is_none()
    }

    fn close(self, world: &mut World) {
        if let Some(mut transport) = self.transport {
            transport.cut(world.endpoint, world.outputs);
        } else if self.waits() {
            world.outputs.push_back(Output::GiveUp(self.want));
        }
    }
}

/// See the module.
pub(super) enum Relay {
    List(List),
    Device(Box<Device>),
}

/// A list, asked for everywhere.
pub(super) struct List {
    own: Vec<u8>,
    asks: Vec<Ask>,
    due: Instant,
    /// The reply, and how much of it has left.
    out: Option<(Vec<u8>, usize)>,
}

/// One server, asked for its list.
pub(super) struct Ask {
    foreign: usize,
    remote: Remote,
    client: Client,
    answer: Option<Option<DeviceRecord>>,
}

/// One device, on its way or attached.
pub(super) struct Device {
    foreign: usize,
    remote: Remote,
    asked: bool,
    /// What came of the reply, until it was passed on.
    reply: Option<Vec<u8>>,
    due: Instant,
    /// A refusal, which is all that is left to be said.
    refusal: Option<OpStatus>,
    splitter: Option<Box<Splitter>>,
}

impl Relay {
    /// Looks at the beginning of a request.
    pub fn for_request(now: Instant, head: &[u8], world: &mut World) -> Taken {
        let Some(&[v0, v1, c0, c1, ..]) = head.first_chunk::<OP_LENGTH>() else { return Taken::Undecided };
        if world.foreign.is_empty() {
            return Taken::Local;
        }
        let due = now + PATIENCE;
        match (u16::from_be_bytes([v0, v1]), u16::from_be_bytes([c0, c1])) {
            (VERSION, REQ_DEVLIST) => {
                let free: Vec<_> = (0..world.foreign.len()).filter(|at| !world.foreign[*at].busy).collect();
                let asks = free.into_iter().map(|foreign| Ask::new(foreign, world)).collect();
                Taken::Foreign(Self::List(List { own: Vec::new(), asks, due, out: None }))
            }
            (VERSION, REQ_IMPORT) if head.len() < REQUEST_LENGTH => Taken::Undecided,
            (VERSION, REQ_IMPORT) => {
                let name = head[OP_LENGTH..].split(|byte| *byte == 0).next().unwrap_or_default();
                let Some(foreign) = world.foreign.iter().position(|it| it.busid.as_bytes() == name) else {
                    return Taken::Local;
                };
                let refusal = world.foreign[foreign].busy.then_some(OpStatus::Busy);
                let want = world.foreign[foreign].want;
                let remote = match refusal {
                    Some(_) => Remote::idle(want),
                    None => Remote::dial(want, world),
                };
                world.foreign[foreign].busy = true;
                let reply = Some(Vec::new());
                Taken::Foreign(Self::Device(Box::new(Device {
                    foreign,
                    remote,
                    asked: false,
                    reply,
                    due,
                    refusal,
                    splitter: None,
                })))
            }
            _ => Taken::Local,
        }
    }

    /// Whether it has the device number `foreign`, or is on its way to it.
    pub fn holds(&self, foreign: usize) -> bool {
        matches!(self, Self::Device(it) if it.foreign == foreign && it.refusal != Some(OpStatus::Busy))
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::List(list) => list.out.is_none().then_some(list.due),
            Self::Device(device) => device.reply.as_ref().map(|_| device.due),
        }
    }

    pub fn handle_input(&mut self, input: &mut Input) -> bool {
        match self {
            Self::List(list) => list.asks.iter_mut().any(|ask| ask.handle_input(input)),
            Self::Device(device) => device.remote.handle_input(input),
        }
    }

    /// Moves what can be moved between `line` and the other servers. True when it is over.
    pub fn work(&mut self, now: Instant, line: &mut Transport, world: &mut World) -> bool {
        match self {
            Self::List(list) => list.work(now, line, world),
            Self::Device(device) => device.work(now, line, world),
        }
    }

    /// The line has ended.
    pub fn close(self, world: &mut World) {
        match self {
            Self::List(list) => list.asks.into_iter().for_each(|ask| ask.close(world)),
            Self::Device(device) => {
                // A refusal for being busy was another line's device.
                if device.refusal != Some(OpStatus::Busy) {
                    world.foreign[device.foreign].busy = false;
                }
                device.remote.close(world);
            }
        }
    }
}

impl Ask {
    pub fn new(foreign: usize, world: &mut World) -> Self {
        let remote = Remote::dial(world.foreign[foreign].want, world);
        let mut client = Client::new(Dialect::Linux, 0);
        client.list();
        Self { foreign, remote, client, answer: None }
    }

    pub fn handle_input(&mut self, input: &mut Input) -> bool {
        self.remote.handle_input(input)
    }

    pub fn close(self, world: &mut World) {
        self.remote.close(world);
    }

    /// Goes on asking, unless it is too `late`, and notes at the device what came of it. True when there is an answer.
    pub fn work(&mut self, world: &mut World, late: bool) -> bool {
        if self.answer.is_some() {
            return true;
        }
        if let Some(transport) = &mut self.remote.transport {
            let request = self.client.transmit();
            transport.send(world.endpoint, world.outputs, &request);
            let mut fault = None;
            let client = &mut self.client;
            while transport.receive(world.endpoint, world.outputs, |bytes| {
                fault = client.handle_bytes(bytes).err();
                bytes.len()
            }) > 0
            {}
            if let Some(fault) = fault {
                self.remote.failed = Some(format!("its server does not speak USB/IP: {fault}"));
            }
        }
        let found = match self.client.poll_event() {
            Some(Event::Devices(records)) => self.find(records, world),
            Some(_) => Err("its server gives no list".to_owned()),
            None if self.remote.failed.is_some() => Err(self.remote.failed.clone().unwrap_or_default()),
            None if late => Err(unanswered()),
            None => return false,
        };
        world.foreign[self.foreign].note = Some(found.as_ref().map(drop).map_err(Clone::clone));
        self.answer = Some(found.ok());
        true
    }

    /// The device among those of its server, under the name that it has here.
    fn find(&self, records: Vec<DeviceRecord>, world: &World) -> Result<DeviceRecord, String> {
        let foreign = &world.foreign[self.foreign];
        let found = records.into_iter().find(|record| record.busid == foreign.import.busid);
        let found = found.map(|record| DeviceRecord { path: foreign.path(), busid: foreign.busid.clone(), ..record });
        found.ok_or_else(|| unavailable(foreign))
    }
}

fn unavailable(foreign: &Foreign) -> String {
    format!("its server has no device {}, or it is in use there", foreign.import.busid)
}

fn unanswered() -> String {
    format!("its server does not answer within {PATIENCE:?}")
}

impl List {
    /// Takes the reply of the server itself.
    pub fn ask_own(&mut self, now: Instant, server: &mut Server, id: ConnectionId) {
        let mut request = Vec::new();
        op::put_op(&mut request, REQ_DEVLIST, OpStatus::Ok);
        server.handle_bytes(now, id, &request);
        self.own = std::iter::from_fn(|| server.transmit_piece(now, id)).flatten().collect();
    }

    fn work(&mut self, now: Instant, line: &mut Transport, world: &mut World) -> bool {
        let late = now >= self.due;
        let answered = self.asks.iter_mut().map(|ask| ask.work(world, late));
        let complete = answered.fold(true, |all, answered| all & answered);
        if self.out.is_none() && complete {
            self.out = Some((self.reply(), 0));
        }
        let Some((out, sent)) = &mut self.out else { return false };
        *sent += line.send(world.endpoint, world.outputs, out.get(*sent..).unwrap_or_default());
        *sent >= out.len()
    }

    /// The server's own list, with the others behind it and the number of devices raised.
    fn reply(&mut self) -> Vec<u8> {
        let mut reply = std::mem::take(&mut self.own);
        let records: Vec<_> = self.asks.iter().filter_map(|ask| ask.answer.as_ref()?.as_ref()).collect();
        if let Some(count) = reply.get_mut(OP_LENGTH..).and_then(|rest| rest.first_chunk_mut::<4>()) {
            *count = (u32::from_be_bytes(*count) + records.len() as u32).to_be_bytes();
        }
        records.iter().for_each(|record| record.encode(true, &mut reply));
        reply
    }
}

impl Device {
    fn work(&mut self, now: Instant, line: &mut Transport, world: &mut World) -> bool {
        if self.reply.is_some() {
            self.ask(world);
            let failure = self.remote.failed.clone().or_else(|| (now >= self.due).then(unanswered));
            match (self.refusal, &mut self.reply) {
                (None, Some(reply)) if reply.len() == REPLY_LENGTH => {
                    rewrite(reply, &world.foreign[self.foreign]);
                    line.send(world.endpoint, world.outputs, reply);
                    log::info!(
                        "{} attached from {}",
                        world.foreign[self.foreign].busid,
                        world.foreign[self.foreign].import
                    );
                    self.splitter = splitter(reply, &world.foreign[self.foreign].import);
                    self.reply = None;
                    world.foreign[self.foreign].note = Some(Ok(()));
                }
                (None, _) if failure.is_none() => return false,
                (refusal, _) => {
                    let why = match refusal {
                        None => failure,
                        // It is in use here.
                        Some(OpStatus::Busy) => None,
                        Some(_) => Some(unavailable(&world.foreign[self.foreign])),
                    };
                    if let Some(why) = why {
                        world.foreign[self.foreign].note = Some(Err(why));
                    }
                    let status = *self.refusal.get_or_insert(refusal.unwrap_or(OpStatus::NotAvailable));
                    let mut refused = Vec::new();
                    op::put_op(&mut refused, REQ_IMPORT & !REQUEST, status);
                    line.send(world.endpoint, world.outputs, &refused);
                    return true;
                }
            }
        }
        let Some(remote) = &mut self.remote.transport else { return true };
        if let Some(splitter) = &mut self.splitter {
            if let Err(why) = exchange(line, splitter, remote, world) {
                log::warn!("{}: {why}", world.foreign[self.foreign].busid);
                return true;
            }
        } else {
            while splice(line, remote, world) | splice(remote, line, world) {}
        }
        if let Some(why) = &self.remote.failed {
            world.foreign[self.foreign].note = Some(Err(why.clone()));
        }
        self.remote.failed.is_some()
    }

    /// Sends the request under the name that the device has there, and collects the reply.
    fn ask(&mut self, world: &mut World) {
        let (Some(transport), Some(reply)) = (&mut self.remote.transport, &mut self.reply) else { return };
        if !self.asked {
            self.asked = true;
            let mut client = Client::new(Dialect::Linux, 0);
            client.import(&world.foreign[self.foreign].import.busid);
            transport.send(world.endpoint, world.outputs, &client.transmit());
        }
        loop {
            let wanted = REPLY_LENGTH - reply.len();
            let taken = transport.receive(world.endpoint, world.outputs, |bytes| {
                let piece = bytes.get(..wanted).unwrap_or(bytes);
                reply.extend_from_slice(piece);
                piece.len()
            });
            if taken == 0 {
                break;
            }
        }
        if let Some(&[_, _, _, _, a, b, c, d]) = reply.first_chunk::<OP_LENGTH>() {
            let status = OpStatus::from_wire(u32::from_be_bytes([a, b, c, d]));
            self.refusal = (status != OpStatus::Ok).then_some(match status {
                // That server's importer is not this one's: what is told here is that it cannot be had.
                OpStatus::Busy => OpStatus::NotAvailable,
                other => other,
            });
        }
    }
}

/// Puts path and bus id of this server into the reply to an import.
fn rewrite(reply: &mut [u8], foreign: &Foreign) {
    let mut put = |at: usize, length: usize, text: &str| {
        if let Some(field) = reply.get_mut(at..at + length) {
            field.fill(0);
            field.iter_mut().take(length - 1).zip(text.bytes()).for_each(|(place, byte)| *place = byte);
        }
    };
    put(OP_LENGTH, PATH_LENGTH, &foreign.path());
    put(OP_LENGTH + PATH_LENGTH, BUSID_LENGTH, &foreign.busid);
}

/// What cuts the transfers of a device that was imported with this reply, if it was asked for.
fn splitter(reply: &[u8], import: &Import) -> Option<Box<Splitter>> {
    let speed = reply.get(OP_LENGTH + SPEED_OFFSET..)?.first_chunk()?;
    import.split.map(|limit| Box::new(Splitter::new(limit, SpeedCode(u32::from_be_bytes(*speed)))))
}

/// Moves what can be moved through a splitter.
fn exchange(
    line: &mut Transport,
    splitter: &mut Splitter,
    remote: &mut Transport,
    world: &mut World,
) -> Result<(), SplitFault> {
    loop {
        let (mut moved, mut result) = (0, Ok(()));
        if splitter.wants_client() {
            moved += line.receive(world.endpoint, world.outputs, |bytes| {
                result = splitter.handle_client(bytes);
                bytes.len()
            });
        }
        if result.is_ok() && splitter.wants_server() {
            moved += remote.receive(world.endpoint, world.outputs, |bytes| {
                result = splitter.handle_server(bytes);
                bytes.len()
            });
        }
        result?;
        moved += pour(splitter.to_server(), remote, world) + pour(splitter.to_client(), line, world);
        if moved == 0 {
            return Ok(());
        }
    }
}

/// Sends what there is room for. Gives how much that was.
fn pour(from: &mut Pieces, to: &mut Transport, world: &mut World) -> usize {
    let sent = to.send(world.endpoint, world.outputs, from.first());
    from.took(sent);
    sent
}

/// Moves one piece. True if there was one.
fn splice(from: &mut Transport, to: &mut Transport, world: &mut World) -> bool {
    let mut piece = Vec::new();
    // What is taken has to be sent, so a piece is looked at first and then as much taken as was sent.
    from.receive(world.endpoint, world.outputs, |bytes| {
        piece.extend_from_slice(bytes);
        0
    });
    if piece.is_empty() {
        return false;
    }
    let sent = to.send(world.endpoint, world.outputs, &piece);
    from.receive(world.endpoint, world.outputs, |_| sent);
    sent > 0
}
