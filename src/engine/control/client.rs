//! The client of the control socket, for `zbridge status` and its like, and for programs that embed this crate.

use super::place::{DEFAULT_NAME, directories, of_others, socket_of, sockets};
use super::stranger;
use crate::config::Cut;
use crate::config::grammar::nearest;
use crate::control::{
    Added, Command, Cursor, DropsInfo, EventInfo, FdbInfo, FdbPage, FlowsInfo, Greeting, HealedInfo, Lifetime, Lines,
    PROTOCOL, REPLY_BYTES, RadioInfo, Reply, Request, StationsInfo, StatusInfo, TraceInfo, UsbInfo, hex, print,
};
use crate::error::{Class, Error, Result};
use crate::port::sys::peer_credentials;
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, unbounded};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};
use rustix::process::geteuid;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a bridge may take to answer a request that does not wait for something.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a running bridge.
pub struct Client {
    socket: UnixStream,
    lines: Lines,
    greeting: Greeting,
    last_id: u64,
}

/// How much later than asked a bridge may say that a wait was in vain.
const LATE: Duration = Duration::from_secs(1);

/// The same if all bridges are asked: one that hangs should not delay the answer.
const CALL: Duration = Duration::from_secs(1);

/// It dials a control socket, and reads what is said there. The control sockets are the caller's, who may be another
/// user than a bridge runs as: so it keeps the caller's rights, unless these were given up.
static ROLE: Role = Role::new("call", &[BASE, SOCKETS, NETWORK, READ]);

/// A bridge that was called, and its answer.
pub struct Called<T> {
    /// Its name.
    pub name: String,
    /// Its process, if one listens at its socket that has a number here.
    pub pid: Option<u32>,
    /// Its answer, or why there is none: it has ended (class no-daemon), or does not answer.
    pub answer: Result<T>,
}

/// Calls all bridges of this user at once, with `ask`. Returns their names, and a channel of their answers; a bridge
/// that does not answer a request within a second gives an error.
pub fn each_bridge<T: Send + 'static>(ask: fn(Client) -> Result<T>) -> (Vec<String>, Receiver<Called<T>>) {
    let (sender, answers) = unbounded();
    let mut names = Vec::new();
    for (name, path) in sockets() {
        names.push(name.clone());
        let told = sender.clone();
        let work = move || {
            let (mut pid, mut socket) = (None, call(&path, CALL));
            if let Ok(socket) = &mut socket {
                pid = peer_credentials(socket).ok().and_then(|peer| peer.pid);
            }
            let answer = socket.and_then(|socket| Client::greeted(socket, &path, Named::No)).and_then(ask);
            // Fails only when the receiver was dropped.
            let _ = told.send(Called { name, pid, answer });
        };
        if let Err(cause) = rights::spawn_to_look("zb-call", &ROLE, work) {
            log::warn!("cannot start a thread: {cause}");
        }
    }
    (names, answers)
}

/// Every bridge of this user that answers, by name.
pub fn bridges() -> Vec<Client> {
    let (_, answers) = each_bridge(Ok);
    let mut found: Vec<Client> = answers.iter().filter_map(|called| called.answer.ok()).collect();
    found.sort_by(|a, b| a.greeting.name.cmp(&b.greeting.name));
    found
}

/// Whether the user has named the bridge. Then root connects to it, whoever runs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Yes,
    No,
}

/// Connects to a control socket, on which nothing then takes longer than `patience`.
fn call(path: &Path, patience: Duration) -> Result<UnixStream> {
    let failed = |errno: Errno| match errno {
        Errno::NOENT | Errno::CONNREFUSED => none_runs(format!("nobody answers at {}", path.display())).because(errno),
        Errno::AGAIN => silent("the bridge"),
        _ => Error::system(format_args!("cannot talk to {}", path.display()), &errno.into()),
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, direction, Some(patience)).map_err(failed)?;
    }
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    Ok(socket.into())
}

fn silent(who: &str) -> Error {
    Error::new(Class::Runtime, format!("{who} does not answer"))
        .hint("its process may be stopped: `zbridge ls` tries all")
        .because(Errno::AGAIN)
}

/// Whether a bridge is there, and has not answered in time.
pub fn is_silent(error: &Error) -> bool {
    error.class() == Class::Runtime && error.raw_os_error() == Some(Errno::AGAIN.raw_os_error())
}

fn none_runs(what: String) -> Error {
    let start = "start one: zbridge --port …, or see which run: zbridge ls";
    Error::new(Class::NoDaemon, what).hint(format!("{start}\n        {}", where_looked()))
}

/// Where bridges were looked for, and whose are found there.
pub fn where_looked() -> String {
    let folders: Vec<_> = directories().iter().map(|folder| folder.display().to_string()).collect();
    format!("looked in {}: only its own user sees a bridge", folders.join(" and "))
}

impl Client {
    /// Connects to the bridge called `name`, or at the path `name` if that has a slash in it. Of another user's, only
    /// root does.
    ///
    /// # Errors
    /// Class no-daemon if none of this name runs; permission if it is another user's; one that does not answer.
    pub fn connect(name: &str) -> Result<Self> {
        Self::connect_to(name, Named::Yes, PATIENCE)
    }

    /// The same, or [`Client::connect_default`] where none is named, with a bridge that takes no longer than `patience` to
    /// answer, now and later.
    ///
    /// # Errors
    /// As of these.
    pub(crate) fn connect_within(name: Option<&str>, patience: Duration) -> Result<Self> {
        match name {
            Some(name) => Self::connect_to(name, Named::Yes, patience),
            None => Self::connect_meant(patience),
        }
    }

    fn connect_to(name: &str, named: Named, patience: Duration) -> Result<Self> {
        let path = socket_of(name)?;
        call(&path, patience).and_then(|socket| Self::greeted(socket, &path, named)).map_err(|error| {
            match error.class() {
                Class::NoDaemon => {
                    let what = format!("no bridge named {name} runs");
                    if let Some(path) = of_others(name).first() {
                        let hint = format!("if another user's is meant, name it by its path: {}", path.display());
                        return Error::new(Class::NoDaemon, what).hint(hint);
                    }
                    // Not the caller's own bridge: it is about to end.
                    let others = bridges().into_iter().filter(|client| client.greeting.pid != std::process::id());
                    let others: Vec<String> = others.map(|client| client.greeting.name).collect();
                    if others.is_empty() || name == DEFAULT_NAME {
                        return none_runs(what);
                    }
                    Error::new(Class::NoDaemon, what).hint(nearest(name, others.iter().map(String::as_str)))
                }
                _ => error.at(name),
            }
        })
    }

    /// Connects to the bridge that is meant when none is named: the one called `default`, or the only one.
    ///
    /// # Errors
    /// As [`Client::connect`]; several run and none is the default. One that does not answer is one that runs.
    pub fn connect_default() -> Result<Self> {
        Self::connect_meant(PATIENCE)
    }

    fn connect_meant(patience: Duration) -> Result<Self> {
        match Self::connect_to(DEFAULT_NAME, Named::No, patience) {
            Err(error) if error.class() == Class::NoDaemon => {}
            done => return done,
        }
        let (_, answers) = each_bridge(Ok);
        let mut found: Vec<(String, Result<Self>)> =
            answers.iter().map(|called| (called.name, called.answer)).collect();
        found.retain(|(_, answer)| answer.as_ref().err().is_none_or(is_silent));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        match (found.pop(), found.as_slice()) {
            (None, _) => Err(none_runs("no bridge runs".into())),
            (Some((name, only)), []) => only.map_err(|error| error.at(&name)),
            (Some((last, _)), others) => {
                let names = others.iter().map(|(name, _)| name).chain([&last]).cloned().collect::<Vec<_>>().join(", ");
                Err(Error::usage(format!("several bridges run: {names}"))
                    .hint("say which one is meant: zbridge status NAME, zbridge port add SPEC --to NAME"))
            }
        }
    }

    /// The client on a connected socket, when it is the bridge's at `path`.
    fn greeted(socket: UnixStream, path: &Path, named: Named) -> Result<Self> {
        let may_be_anybodys = named == Named::Yes && geteuid().is_root();
        if let Some(uid) = stranger(&socket, path)?.filter(|_| !may_be_anybodys) {
            let what = format!("{}: user {uid} answers there, and not this user's bridge", path.display());
            let hint = if geteuid().is_root() {
                format!(
                    "if that one is meant, name it: zbridge status {0}, zbridge port add SPEC --to {0}",
                    path.display()
                )
            } else {
                "as that user: zbridge ls shows it".to_owned()
            };
            return Err(Error::new(Class::Permission, what).hint(hint));
        }
        let greeting = Greeting { zbridge: 0, version: String::new(), name: String::new(), pid: 0 };
        let mut client = Self { socket, lines: Lines::new(REPLY_BYTES), greeting, last_id: 0 };
        let line = client.next_line()?;
        client.greeting = match serde_json::from_slice(&line) {
            Ok(greeting) => greeting,
            // A refusal comes instead of the greeting.
            Err(_) => match serde_json::from_slice::<Reply<serde_json::Value>>(&line) {
                Ok(Reply { error: Some(failure), .. }) => return Err(failure.into()),
                _ => return Err(Error::new(Class::Runtime, format!("{} is no bridge's", path.display()))),
            },
        };
        if client.greeting.zbridge != PROTOCOL {
            let Greeting { zbridge, version, .. } = &client.greeting;
            let what = format!("zbridge {version} speaks protocol {zbridge}, and this one {PROTOCOL}");
            return Err(Error::new(Class::Runtime, what).hint("use the same version for both"));
        }
        Ok(client)
    }

    /// The bridge's greeting.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the bridge answers; that it has ended (no-daemon), or does not answer.
    pub fn request<T: DeserializeOwned>(&mut self, command: Command) -> Result<T> {
        self.ask(command, None)
    }

    /// Opens a port on it, which stays until it is removed or, with [`Lifetime::Connection`], until this is dropped.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn add_port(&mut self, spec: &str, lifetime: Lifetime) -> Result<Added> {
        self.request(Command::PortAdd { spec: spec.to_owned(), fd: false, lifetime, may_exist: false })
    }

    /// Hands it the descriptor of a TAP or of a bound packet socket, from whatever network namespace, as the port that
    /// `spec` says: `packet:zeth,name=inst1`. The port is removed when this is dropped, or its process ends.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn add_port_with_fd(&mut self, spec: &str, fd: BorrowedFd<'_>) -> Result<Added> {
        let lifetime = Lifetime::Connection;
        self.ask(Command::PortAdd { spec: spec.to_owned(), fd: true, lifetime, may_exist: false }, Some(fd))
    }

    /// Removes a port, a listener with all its clients.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn remove_port(&mut self, port: &str) -> Result<()> {
        let command = Command::PortDel { port: port.to_owned(), for_now: false, if_exists: false };
        self.request(command).map(|_: serde_json::Value| ())
    }

    /// The same for a port whose program may be started again: what was set of it applies to the next of this name.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub(crate) fn remove_port_for_now(&mut self, port: &str) -> Result<()> {
        let command = Command::PortDel { port: port.to_owned(), for_now: true, if_exists: false };
        self.request(command).map(|_: serde_json::Value| ())
    }

    /// Subscribes to what comes, changes and goes: [`Client::next_event`] has it from then on. With `initial` it begins with
    /// what there is.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn subscribe(&mut self, initial: bool) -> Result<()> {
        self.request(Command::Events { initial }).map(|_: serde_json::Value| ())?;
        let never = set_socket_timeout(&self.socket, Timeout::Recv, None);
        never.map_err(|errno| Error::system("cannot wait for events", &errno.into()))
    }

    /// The next event. Waits for it.
    ///
    /// # Errors
    /// The bridge has ended (no-daemon).
    pub fn next_event(&mut self) -> Result<EventInfo> {
        let line = self.next_line()?;
        serde_json::from_slice(&line)
            .map_err(|cause| Error::new(Class::Runtime, format!("not an event: {cause}")).because(cause))
    }

    /// Its switches and their ports.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn status(&mut self) -> Result<StatusInfo> {
        self.request(Command::Status)
    }

    /// Its forwarding databases, or that of one switch, sorted by switch and address.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn fdb(&mut self, switch: Option<&str>) -> Result<Vec<FdbInfo>> {
        let mut entries = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page: FdbPage = self.request(Command::Fdb { switch: switch.map(str::to_owned), after })?;
            entries.extend(page.entries);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(entries),
            }
        }
    }

    /// Changes settings of a port, `key[=value]` each.
    ///
    /// # Errors
    /// There is none of this name; a setting is wrong.
    pub fn set(&mut self, port: &str, settings: &[String]) -> Result<()> {
        let command = Command::Set { port: port.to_owned(), settings: settings.to_vec() };
        self.request(command).map(|_: serde_json::Value| ())
    }

    /// Cuts ports from each other, those that come later under these names too.
    ///
    /// # Errors
    /// A port is not known; they are on different switches.
    pub fn cut(&mut self, cut: &Cut) -> Result<()> {
        let (ports, from, one_way) = cut.groups();
        self.request(Command::Cut { ports, from, one_way }).map(|_: serde_json::Value| ())
    }

    /// Ends all cuts, or takes these ports out of them. Gives the cuts that this was about.
    ///
    /// # Errors
    /// A port is not known.
    pub fn heal(&mut self, ports: &[String]) -> Result<Vec<String>> {
        let healed: HealedInfo = self.request(Command::Heal { ports: ports.to_vec() })?;
        Ok(healed.healed)
    }

    /// Its data on stations beyond its forwarding databases.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn stations(&mut self) -> Result<StationsInfo> {
        self.request(Command::Stations)
    }

    /// The flows of its gateways.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn flows(&mut self) -> Result<FlowsInfo> {
        self.request(Command::Flows)
    }

    /// Its USB devices and their importers.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn usb(&mut self) -> Result<UsbInfo> {
        self.request(Command::Usb)
    }

    /// What its ports made of their frames, and what is known of those that ended early.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn drops(&mut self) -> Result<DropsInfo> {
        self.request(Command::Drops)
    }

    /// Who hears whom on its radio media.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn radio(&mut self) -> Result<RadioInfo> {
        self.request(Command::Radio)
    }

    /// What would become of `frame` if it came in by `port`; `segment`: it is a super-frame of TCP segments of so many
    /// bytes. Nothing is sent or learned.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn trace(&mut self, port: &str, frame: &[u8], segment: Option<u16>) -> Result<TraceInfo> {
        self.request(Command::Trace { port: port.to_owned(), frame: hex(frame), segment })
    }

    /// Waits until a port is in a state ([`PORT_STATES`](crate::control::PORT_STATES)).
    ///
    /// # Errors
    /// As [`Client::request`], and class unmet when the time is over.
    pub fn wait(&mut self, port: &str, state: &str, timeout: Duration) -> Result<()> {
        let timeout_ms = timeout.as_millis().try_into().unwrap_or(u64::MAX);
        let cannot = |cause| Error::system("control socket", &cause);
        self.socket.set_read_timeout(timeout.checked_add(LATE)).map_err(cannot)?;
        let waited = self.request(Command::Wait { port: port.to_owned(), state: state.to_owned(), timeout_ms });
        self.socket.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
        waited.map(|_: serde_json::Value| ())
    }

    /// Asks for something whose answer may take `patience`.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub(super) fn request_within(&mut self, command: Command, patience: Duration) -> Result<()> {
        let cannot = |cause| Error::system("control socket", &cause);
        self.socket.set_read_timeout(Some(patience)).map_err(cannot)?;
        let done = self.request(command);
        self.socket.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
        done.map(|_: serde_json::Value| ())
    }

    /// The connection, and bytes that were received behind the last answer.
    pub(super) fn into_stream(self) -> (UnixStream, Vec<u8>) {
        (self.socket, self.lines.into_rest())
    }

    fn ask<T: DeserializeOwned>(&mut self, command: Command, fd: Option<BorrowedFd<'_>>) -> Result<T> {
        self.last_id += 1;
        let id = Some(self.last_id);
        let line = print(&Request { id, command });
        let sent = match fd {
            Some(fd) => self.send_with(&line, fd),
            None => self.socket.write_all(&line),
        };
        sent.map_err(|cause| self.broken(&cause))?;
        loop {
            let line = self.next_line()?;
            let odd = |cause: serde_json::Error| {
                Error::new(Class::Runtime, format!("an answer that cannot be read: {cause}")).because(cause)
            };
            let reply: Reply<T> = match serde_json::from_slice(&line) {
                Ok(reply) => reply,
                // An answer to an earlier request, or a refusal, may be of another shape.
                Err(cause) => {
                    let other: Reply<IgnoredAny> = serde_json::from_slice(&line).map_err(odd)?;
                    if other.id.is_none_or(|other| Some(other) == id) && other.error.is_none() {
                        return Err(odd(cause));
                    }
                    Reply { id: other.id, ok: None, error: other.error }
                }
            };
            if reply.id.is_some() && reply.id != id {
                continue;
            }
            return match reply.error {
                Some(failure) => Err(failure.into()),
                None => reply.ok.ok_or_else(|| Error::new(Class::Runtime, "an answer without what was asked for")),
            };
        }
    }

    /// Sends the descriptor with the first bytes of the line.
    fn send_with(&mut self, line: &[u8], fd: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [fd];
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(fits, "there is room for one");
        let sent = sendmsg(&self.socket, &[IoSlice::new(line)], &mut control, SendFlags::NOSIGNAL)?;
        self.socket.write_all(line.get(sent..).unwrap_or_default())
    }

    fn next_line(&mut self) -> Result<Vec<u8>> {
        let mut room = [0; 64 * 1024];
        loop {
            let too_long =
                |error: crate::control::TooLong| Error::new(Class::Runtime, error.to_string()).because(error);
            if let Some(line) = self.lines.next_line().map_err(too_long)? {
                return Ok(line.to_vec());
            }
            match self.socket.read(&mut room) {
                Ok(0) => return Err(self.broken(&std::io::ErrorKind::UnexpectedEof.into())),
                Ok(got) => self.lines.push(room.get(..got).unwrap_or_default()),
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.broken(&cause)),
            }
        }
    }

    fn broken(&self, cause: &std::io::Error) -> Error {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        let name = if self.greeting.name.is_empty() { "the bridge" } else { &self.greeting.name };
        match cause.kind() {
            UnexpectedEof | BrokenPipe | ConnectionReset => {
                Error::new(Class::NoDaemon, format!("{name} has ended or closed the connection"))
            }
            WouldBlock | TimedOut => silent(name),
            _ => Error::system(format_args!("cannot talk to {name}"), cause),
        }
    }
}

/// Becomes readable when the bridge has ended.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
