//! Devices of other servers, exported again (`import=HOST:PORT/BUSID`).
//!
//! Theory of operation. An import is requested from its own server, under its bus id there. Of the reply only path and
//! bus id are rewritten, so that bus and device number stay those of the server, and with them every URB: from then on
//! bytes pass both ways as they are, with back-pressure by each side's window. With `split=` a [`Splitter`] is between,
//! for a server that has no room for long transfers. A list is requested from every server anew, since devices come and
//! go; one that does not answer within [`PATIENCE`] has none.

use super::line::World;
use super::transport::{Transport, Via, Ways};
use super::watch::Foreign;
use crate::config::Import;
use crate::time::{Duration, Instant};
use crate::usbip::op::{
    self, BUSID_LENGTH, OP_LENGTH, PATH_LENGTH, RECORD_LENGTH, REQ_DEVLIST, REQ_IMPORT, REQUEST, REQUEST_LENGTH,
    SPEED_OFFSET,
};
use crate::usbip::{
    Client, ConnectionId, DeviceRecord, Dialect, Event, OpStatus, Server, SpeedCode, SplitFault, Splitter, VERSION,
};
use std::io::ErrorKind;

/// How long another server may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of OP_REP_IMPORT when it succeeds.
const REPLY_LENGTH: usize = OP_LENGTH + RECORD_LENGTH;

/// The server that handles a request.
pub(super) enum Taken {
    /// It is not complete.
    Undecided,
    /// It is for the server's own devices.
    Local,
    /// It is for other servers.
    Foreign(Relay),
}

/// A line to another server, from the dial on.
struct Remote {
    transport: Option<Transport>,
    /// The connection stands.
    stands: bool,
    /// Why it has failed.
    failed: Option<String>,
}

impl Remote {
    fn dial(foreign: &Foreign, ways: &mut Ways) -> Self {
        match ways.outside.dial(&foreign.import.server) {
            Ok(stream) => Self { transport: Some(Transport::new(Via::Host(stream))), ..Self::idle() },
            Err(why) => Self { failed: Some(no_answer(&why)), ..Self::idle() },
        }
    }

    /// One that is not dialled.
    fn idle() -> Self {
        Self { transport: None, stands: false, failed: None }
    }

    /// The connection, once it stands.
    fn connection(&mut self, ways: &mut Ways) -> Option<&mut Transport> {
        let transport = self.transport.as_mut()?;
        if let Via::Host(stream) = transport.via
            && !self.stands
        {
            match ways.outside.connected(stream) {
                Ok(()) => self.stands = true,
                Err(why) if why.kind() == ErrorKind::WouldBlock => {}
                Err(why) => {
                    self.failed = Some(no_answer(&why));
                    transport.cut(ways);
                    self.transport = None;
                }
            }
        }
        self.transport.as_mut().filter(|_| self.stands)
    }

    /// After a read: notes whether it is at its end.
    fn look(&mut self) {
        if self.failed.is_none() && self.transport.as_ref().is_some_and(Transport::has_ended) {
            self.failed = Some("its server has closed the connection".into());
        }
    }

    fn close(self, ways: &mut Ways) {
        if let Some(mut transport) = self.transport {
            transport.cut(ways);
        }
    }
}

fn no_answer(why: &std::io::Error) -> String {
    format!("its server does not answer: {why}")
}

/// See the module.
pub(super) enum Relay {
    List(List),
    Device(Box<Device>),
}

/// A list, requested from all servers.
pub(super) struct List {
    own: Vec<u8>,
    asks: Vec<Ask>,
    due: Instant,
    /// The reply, and how much of it has left.
    out: Option<(Vec<u8>, usize)>,
}

/// A list request to one server.
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
    /// Received bytes of the reply, until it is passed on.
    reply: Option<Vec<u8>>,
    due: Instant,
    /// A refusal, the last thing to be sent.
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
                let remote = match refusal {
                    Some(_) => Remote::idle(),
                    None => Remote::dial(&world.foreign[foreign], &mut world.ways),
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

    /// Moves bytes between `line` and the other servers. True when it is over.
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
                // After a refusal for being busy another line has the device.
                if device.refusal != Some(OpStatus::Busy) {
                    world.foreign[device.foreign].busy = false;
                }
                device.remote.close(&mut world.ways);
            }
        }
    }
}

impl Ask {
    pub fn new(foreign: usize, world: &mut World) -> Self {
        let remote = Remote::dial(&world.foreign[foreign], &mut world.ways);
        let mut client = Client::new(Dialect::Linux, 0);
        client.list();
        Self { foreign, remote, client, answer: None }
    }

    pub fn close(self, world: &mut World) {
        self.remote.close(&mut world.ways);
    }

    /// Goes on with the request, unless it is too `late`, and notes the result at the device. True when there is one.
    pub fn work(&mut self, world: &mut World, late: bool) -> bool {
        if self.answer.is_some() {
            return true;
        }
        if let Some(transport) = self.remote.connection(&mut world.ways) {
            let request = self.client.transmit();
            transport.send(&mut world.ways, &request);
            let mut fault = None;
            let client = &mut self.client;
            while transport.receive(&mut world.ways, |bytes| {
                fault = client.handle_bytes(bytes).err();
                bytes.len()
            }) > 0
            {}
            if let Some(fault) = fault {
                self.remote.failed = Some(format!("its server does not speak USB/IP: {fault}"));
            }
        }
        self.remote.look();
        let found = match self.client.poll_event() {
            Some(Event::Devices(records)) => self.find(records, world),
            Some(_) => Err("its server gives no list".to_owned()),
            None if self.remote.failed.is_some() => Err(self.remote.failed.clone().unwrap_or_default()),
            None if late => Err(unanswered()),
            None => return false,
        };
        world.foreign[self.foreign].note = Some(found.as_ref().map(drop).map_err(Clone::clone));
        if let Ok(record) = &found {
            world.foreign[self.foreign].record = Some(record.clone());
        }
        self.answer = Some(found.ok());
        true
    }

    /// The device in its server's list, renamed to its bus id here.
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
        self.own = std::iter::from_fn(|| server.output(now, id)?.take_first()).flatten().collect();
    }

    fn work(&mut self, now: Instant, line: &mut Transport, world: &mut World) -> bool {
        let late = now >= self.due;
        let answered = self.asks.iter_mut().map(|ask| ask.work(world, late));
        let complete = answered.fold(true, |all, answered| all & answered);
        if self.out.is_none() && complete {
            self.out = Some((self.reply(), 0));
        }
        let Some((out, sent)) = &mut self.out else { return false };
        *sent += line.send(&mut world.ways, out.get(*sent..).unwrap_or_default());
        *sent >= out.len()
    }

    /// The server's own list, with the others appended and the number of devices raised.
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
            self.remote.look();
            let failure = self.remote.failed.clone().or_else(|| (now >= self.due).then(unanswered));
            match (self.refusal, &mut self.reply) {
                (None, Some(reply)) if reply.len() == REPLY_LENGTH => {
                    rewrite(reply, &world.foreign[self.foreign]);
                    line.send(&mut world.ways, reply);
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
                    line.send(&mut world.ways, &refused);
                    return true;
                }
            }
        }
        let Some(remote) = self.remote.connection(&mut world.ways) else { return true };
        if let Some(splitter) = &mut self.splitter {
            if let Err(why) = exchange(line, splitter, remote, world) {
                log::warn!("{}: {why}", world.foreign[self.foreign].busid);
                return true;
            }
        } else {
            while line.splice(remote, &mut world.ways) + remote.splice(line, &mut world.ways) > 0 {}
        }
        self.remote.look();
        if let Some(why) = &self.remote.failed {
            world.foreign[self.foreign].note = Some(Err(why.clone()));
        }
        self.remote.failed.is_some()
    }

    /// Sends the request with the bus id that the device has there, and collects the reply.
    fn ask(&mut self, world: &mut World) {
        let transport = self.remote.connection(&mut world.ways);
        let (Some(transport), Some(reply)) = (transport, &mut self.reply) else { return };
        if !self.asked {
            self.asked = true;
            let mut client = Client::new(Dialect::Linux, 0);
            client.import(&world.foreign[self.foreign].import.busid);
            transport.send(&mut world.ways, &client.transmit());
        }
        loop {
            let wanted = REPLY_LENGTH - reply.len();
            let taken = transport.receive(&mut world.ways, |bytes| {
                let chunk = bytes.get(..wanted).unwrap_or(bytes);
                reply.extend_from_slice(chunk);
                chunk.len()
            });
            if taken == 0 {
                break;
            }
        }
        if let Some(&[_, _, _, _, a, b, c, d]) = reply.first_chunk::<OP_LENGTH>() {
            let status = OpStatus::from_wire(u32::from_be_bytes([a, b, c, d]));
            self.refusal = (status != OpStatus::Ok).then_some(match status {
                // The importer is that server's, not ours: here it is not available.
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

/// The splitter for the device of this reply, if `split=` is set.
fn splitter(reply: &[u8], import: &Import) -> Option<Box<Splitter>> {
    let speed = reply.get(OP_LENGTH + SPEED_OFFSET..)?.first_chunk()?;
    import.split.map(|limit| Box::new(Splitter::new(limit, SpeedCode(u32::from_be_bytes(*speed)))))
}

/// Moves bytes through a splitter.
fn exchange(
    line: &mut Transport,
    splitter: &mut Splitter,
    remote: &mut Transport,
    world: &mut World,
) -> Result<(), SplitFault> {
    loop {
        let (mut moved, mut result) = (0, Ok(()));
        if splitter.wants_client() {
            moved += line.receive(&mut world.ways, |bytes| {
                result = splitter.handle_client(bytes);
                bytes.len()
            });
        }
        if result.is_ok() && splitter.wants_server() {
            moved += remote.receive(&mut world.ways, |bytes| {
                result = splitter.handle_server(bytes);
                bytes.len()
            });
        }
        result?;
        moved += remote.send_queue(&mut world.ways, splitter.to_server())
            + line.send_queue(&mut world.ways, splitter.to_client());
        if moved == 0 {
            return Ok(());
        }
    }
}
