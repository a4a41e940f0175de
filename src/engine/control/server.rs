//! The thread that answers clients of the control socket.
//!
//! Theory of operation. mio is edge-triggered, so a client that may have more input stays on the ready list; each turn
//! takes one request from every client on it, so that none is preferred. A client with unread answers is skipped until
//! its socket is writable, and one with work in progress (`aside.rs`) until that is done. `clients.rs` decides who may
//! be a client; a turn lets a bounded number in. Waits are checked together at the end of a turn (`waits.rs`). With
//! nothing to do the thread sleeps.

use super::answer::{Answerer, Outcome, Told, note_added};
use super::aside::{Aside, Asker};
use super::board::Board;
use super::captures::CAPTURES;
use super::clients::{Clients, PASSING, Place, WAITING};
use super::entries::{Readers, Reading};
use super::herald::{Herald, Join, Subscription};
use super::place::Claim;
use super::reload::Reloader;
use super::session::{Read, Session};
use super::stranger;
use super::waits::Looks;
use crate::control::{Command, Greeting, PROTOCOL, Reply, Request, print};
use crate::engine::command::Handle;
use crate::engine::fault::{Parts, contained};
use crate::engine::watcher::Watcher;
use crate::error::{Class, Error, Result};
use crate::port::accept::{Accepted, Starvation};
use crate::port::unix::UnixListener;
use crate::rights::role::{BASE, NETWORK, READ, REMOVE, SOCKETS};
use crate::rights::{self, Role};
use crate::time::{Clock, Duration};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// The control socket's thread looks up who its clients are, and removes the socket at the end.
static ROLE: Role = Role::new("control", &[BASE, SOCKETS, NETWORK, REMOVE, READ]);

/// Clients that one turn lets in.
const ACCEPTS: usize = 16;
const EVENTS: usize = 64;
/// The pause before accepting again, when the system had no descriptors.
const STARVED_RETRY: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// A served control socket. It is removed, and its clients are let go, when this is dropped.
pub struct Server {
    name: String,
    stop: Arc<AtomicBool>,
    /// The bridge ends, too: the ports of clients are kept for the summary.
    ends: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(
        claim: Claim,
        handles: Vec<Handle>,
        parts: Arc<Parts>,
        board: Arc<Board>,
        reloader: Option<Arc<Reloader>>,
    ) -> Result<Self> {
        let cannot = |error| Error::system("control socket: cannot wait for clients", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        let fd = claim.listener.as_fd().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), LISTENER, Interest::READABLE).map_err(cannot)?;
        let (stop, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let watcher = Watcher::new(waker.clone());
        handles.iter().for_each(|handle| handle.watch(&watcher));
        let Claim { name, path, listener } = claim;
        let greeting = Greeting {
            zbridge: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: name.clone(),
            pid: std::process::id(),
        };
        let serving = Serving {
            poll,
            listener,
            path,
            greeting: print(&greeting),
            answerer: Answerer {
                name: name.clone(),
                handles,
                since: SystemTime::now(),
                rates: Mutex::default(),
                opening: Arc::default(),
                board,
                reloader,
            },
            clients: Clients::default(),
            came: 0,
            ready: VecDeque::new(),
            accepting: false,
            starvation: Starvation::default(),
            told_refusal: false,
            aside: Aside::new(waker.clone()),
            readers: Readers::default(),
            looks: Looks::default(),
            herald: Herald::default(),
            waker: waker.clone(),
            clock: Clock::start(),
            watcher,
            stop: stop.clone(),
            ends: ends.clone(),
        };
        // A panic drops only this thread's state, with the socket; the switches go on.
        let run = move || {
            let ran = contained("the control socket", || {
                serving.run();
                Ok(())
            });
            ran.err().into_iter().for_each(|why| parts.note(why));
        };
        let thread = rights::spawn("zb-control", &ROLE, run).map_err(cannot)?;
        Ok(Self { name, stop, ends, waker, thread: Some(thread) })
    }

    /// The bridge's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends because the bridge is about to end: the ports of clients are kept for the summary. Call it before the
    /// bridge is stopped, so that a waiting client learns that the bridge has ended, not only its switch.
    pub fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let told = self.waker.wake().is_ok();
        if let Some(thread) = self.thread.take().filter(|_| told)
            && thread.join().is_err()
        {
            log::error!("control socket: its thread ended abnormally");
        }
    }
}

/// The state of the thread.
pub struct Serving {
    poll: Poll,
    listener: UnixListener,
    path: PathBuf,
    greeting: Vec<u8>,
    pub(super) answerer: Answerer,
    pub(super) clients: Clients,
    /// Clients so far.
    came: u64,
    /// Clients that may have input, each once.
    ready: VecDeque<usize>,
    /// More clients may be waiting to be let in.
    accepting: bool,
    starvation: Starvation,
    /// It was logged that there are too many, and there still are.
    told_refusal: bool,
    aside: Aside,
    readers: Readers,
    pub(super) looks: Looks,
    pub(super) herald: Herald,
    /// Its own.
    waker: Arc<Waker>,
    clock: Clock,
    pub(super) watcher: Arc<Watcher>,
    stop: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Serving {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return log::error!("control socket: it has ended: {error}");
            }
            for event in &events {
                match event.token() {
                    WAKER => self.looks.due = true,
                    LISTENER => self.accepting = true,
                    token => self.client_event(token, event.is_write_closed() || event.is_error()),
                }
            }
            if self.accepting || self.starvation.lasts() {
                self.accept();
            }
            for _ in 0..self.ready.len() {
                let Some(index) = self.ready.pop_front() else { break };
                self.turn(index);
            }
            while let Some((asker, told)) = self.aside.poll() {
                self.take_told(asker, told);
            }
            self.read_entries();
            let now = self.clock.now();
            self.readers.handle_timeout(now);
            self.look_at_waits(now);
            self.spread_news();
        }
        self.watcher.want(false);
        if !self.ends.load(Ordering::Relaxed) {
            let all: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
            all.into_iter().for_each(|index| self.dismiss(index));
        }
    }

    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() || self.accepting {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        let kept = self.readers.poll_timeout().map(|due| due - now);
        let waits = self.patience_of_waits(now);
        [kept, waits, self.starvation.lasts().then_some(STARVED_RETRY)].into_iter().flatten().min()
    }

    fn accept(&mut self) {
        self.accepting = true;
        for _ in 0..ACCEPTS {
            match self.starvation.judge("control socket", self.listener.accept_socket()) {
                Accepted::Client((socket, who)) => self.admit(socket, who),
                Accepted::Gone => {}
                Accepted::Nobody | Accepted::Starved => {
                    self.accepting = false;
                    return;
                }
            }
        }
    }

    /// Lets a client in, or tells it why not.
    fn admit(&mut self, socket: OwnedFd, who: String) {
        self.came += 1;
        let mut session = Session::new(socket, self.came, who, self.clock.now());
        let place = self.clients.place(|index| self.ready.contains(&index));
        let refusal = match (permitted(&session, &self.path), place) {
            (Err(error), _) => error,
            (Ok(()), Place::None) => Error::new(Class::Runtime, format!("{PASSING} clients are being served already")),
            (Ok(()), place) => {
                if let Place::Of(index) = place {
                    self.drop_silent(index);
                }
                self.told_refusal &= place != Place::Free;
                match self.register(&session) {
                    Ok(()) => {
                        log::debug!("control socket: {} is connected", session.who);
                        session.say(&self.greeting);
                        self.clients.add(session);
                        return;
                    }
                    Err(error) => error,
                }
            }
        };
        self.warn_of(&session.who, &format!("is refused: {}", refusal.what()), place != Place::Free);
        session.say(&print(&Reply::error(None, &refusal)));
    }

    /// Polls the socket of a client.
    fn register(&self, session: &Session) -> Result<()> {
        let fd = session.as_fd().as_raw_fd();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut SourceFd(&fd), token(session), interest);
        registered.map_err(|error| Error::system("cannot wait for it", &error))
    }

    /// Drops a silent client in favour of a new one.
    fn drop_silent(&mut self, index: usize) {
        let what = format!("it had said nothing for the longest time when {PASSING} clients were connected");
        if let Some(session) = self.clients.get_mut(index) {
            session.say(&print(&Reply::error(None, &Error::new(Class::Runtime, what.clone()))));
            let who = session.who.clone();
            self.warn_of(&who, &format!("is dropped: {what}"), true);
        }
        self.dismiss(index);
    }

    /// Logs what is wrong with a client; if there are `too_many`, once for all of them.
    fn warn_of(&mut self, who: &str, what: &str, too_many: bool) {
        let again = std::mem::replace(&mut self.told_refusal, too_many) && too_many;
        let level = if again { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "control socket: {who} {what}");
    }

    fn client_event(&mut self, of: Token, closed: bool) {
        let Some((index, session)) = self.clients.iter_mut().find(|(_, session)| token(session) == of) else { return };
        if closed {
            session.hang_up();
        }
        self.looks.due |= !session.waits.is_empty();
        self.make_ready(index);
    }

    fn make_ready(&mut self, index: usize) {
        if !self.ready.contains(&index) {
            self.ready.push_back(index);
        }
    }

    /// Takes one request of a client, and keeps it on the list if there may be more.
    fn turn(&mut self, index: usize) {
        let Some(session) = self.clients.get_mut(index) else { return };
        session.write();
        session.say_missed();
        let more = !session.is_behind() && !session.busy && self.take_one(index);
        if more {
            self.ready.push_back(index);
        } else if self.clients.get_mut(index).is_some_and(|session| session.is_over()) {
            self.dismiss(index);
        }
    }

    pub(super) fn dismiss(&mut self, index: usize) {
        let Some(session) = self.clients.remove(index) else { return };
        // Closing is not enough: while a capture's thread has a copy of the descriptor, the kernel goes on to report it.
        let _ = self.poll.registry().deregister(&mut SourceFd(&session.as_fd().as_raw_fd()));
        self.ready.retain(|&ready| ready != index);
        log::debug!("control socket: {} has left", session.who);
        self.answerer.leave(&session);
    }

    /// Answers the next request of a client, reading if there is none. True if there may be another.
    fn take_one(&mut self, index: usize) -> bool {
        let (now, may_wait, may_capture) = (self.clock.now(), self.clients.may_wait(), self.clients.may_capture());
        let Some(session) = self.clients.get_mut(index) else { return false };
        if session.capture.is_some() {
            session.hear_of_end();
            return false;
        }
        let ended = session.ended;
        let request = match session.next_line() {
            Ok(Some(line)) => Request::parse(line),
            Ok(None) if ended => return false,
            Ok(None) => return session.read() != Read::Nothing,
            Err(too_long) => {
                session.say(&print(&Reply::error(None, &Error::usage(too_long.to_string()))));
                // The rest of the input is meaningless.
                session.cut();
                return false;
            }
        };
        session.heard = now;
        let Request { id, command } = match request {
            Ok(request) => request,
            Err(bad) => {
                session.say(&print(&Reply::error(bad.id, &bad.error)));
                return true;
            }
        };
        if session.deaf && command.only_asks() {
            return true;
        }
        let waits = command.takes_its_time();
        let outcome = match waits && !may_wait {
            true => Err(Error::new(Class::Runtime, format!("{WAITING} clients wait for something already"))),
            false if matches!(command, Command::Capture { .. }) && !may_capture => {
                Err(Error::new(Class::Runtime, format!("{CAPTURES} captures of this bridge run already"))
                    .hint("end one of them: its zbridge capture, or its window of Wireshark"))
            }
            false => self.answerer.answer(now, id, command, session),
        };
        let asker = Asker { session: session.number, id };
        match outcome {
            Ok(Outcome::Done(value)) => session.say(&print(&Reply { id, ok: Some(value), error: None })),
            Ok(Outcome::Subscribed(initial)) => {
                session.say(&print(&Reply::ok(id, &serde_json::json!({}))));
                session.events = Some(Subscription::default());
                let (join, answerer) = (Join { session: session.number, initial }, &self.answerer);
                if let Err(error) = self.herald.join(join, &answerer.handles, &answerer.board, &self.waker) {
                    log::error!("control socket: {error}");
                    session.cut();
                }
            }
            Ok(Outcome::Later) => self.looks.due = true,
            Ok(Outcome::Taken) => {}
            Ok(Outcome::Aside(work)) => {
                session.busy = true;
                if let Err(error) = self.aside.begin(asker, work) {
                    self.finish(asker, |session| session.say(&print(&Reply::error(id, &error))));
                }
            }
            Ok(Outcome::Page(want)) => {
                session.busy = true;
                if let Some((asker, page)) = self.readers.ask(now, want) {
                    self.finish(asker, |session| session.say(&print(&Reply { id, ok: Some(page), error: None })));
                }
            }
            Err(error) => session.say(&print(&Reply::error(id, &error))),
        }
        true
    }

    /// Begins to read the forwarding databases, if somebody waits for that.
    fn read_entries(&mut self) {
        let Some(asker) = self.readers.begin() else { return };
        let handles = self.answerer.handles.clone();
        if let Err(error) = self.aside.begin(asker, move || Told::Read(Reading::of(&handles))) {
            self.fail_readers(asker, &error);
        }
    }

    /// The reading that was begun for `asker` has failed.
    fn fail_readers(&mut self, asker: Asker, error: &Error) {
        for asker in self.readers.failed(asker) {
            self.finish(asker, |session| session.say(&print(&Reply::error(asker.id, error))));
        }
    }

    /// Answers a request by the outcome of its work.
    fn take_told(&mut self, asker: Asker, told: Told) {
        let id = asker.id;
        match told {
            Told::Added(Ok(added), lifetime) => self.finish(asker, |session| {
                note_added(&added, lifetime, session);
                session.say(&print(&Reply { id, ok: Some(added), error: None }));
            }),
            Told::Added(Err(error), _) => {
                self.finish(asker, |session| session.say(&print(&Reply::error(id, &error))));
            }
            Told::Asked(answer) => self.finish(asker, |session| {
                let reply = match answer {
                    Ok(value) => Reply { id, ok: Some(value), error: None },
                    Err(error) => Reply::error(id, &error),
                };
                session.say(&print(&reply));
            }),
            Told::Read(reading) => {
                for (asker, page) in self.readers.done(self.clock.now(), reading) {
                    let reply = Reply { id: asker.id, ok: Some(page), error: None };
                    self.finish(asker, |session| session.say(&print(&reply)));
                }
            }
            Told::Abnormal => {
                let error = Error::new(Class::Runtime, "its thread ended abnormally")
                    .hint("this is a fault of zbridge; please report what its log says");
                self.fail_readers(asker, &error);
                self.finish(asker, |session| session.say(&print(&Reply::error(id, &error))));
            }
        }
    }

    /// Sends a client its answer, and reads on from it.
    fn finish(&mut self, asker: Asker, answer: impl FnOnce(&mut Session)) {
        if let Some((index, session)) = self.clients.find(asker.session)
            && std::mem::take(&mut session.busy)
        {
            answer(session);
            self.make_ready(index);
        }
    }
}

/// The token of a client: its number, which no other client gets. An event that comes late is then nobody's.
fn token(session: &Session) -> Token {
    Token(usize::try_from(session.number).unwrap_or(usize::MAX - 2))
}

/// Whether the process at the other end may command this one: the same user's, or root's. `path` is the socket's.
fn permitted(socket: &Session, path: &Path) -> Result<()> {
    match stranger(socket, path)? {
        None => Ok(()),
        Some(uid) => Err(Error::new(Class::Permission, format!("user {uid} may not command this bridge"))),
    }
}
