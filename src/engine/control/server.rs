//! The thread that answers clients of the control socket.
//!
//! Theory of operation. mio is edge-triggered, so a client of which more may be had stays on the ready list; each turn
//! takes one request from every client on it, so that none is ahead of another. A client that is behind with its
//! answers is left alone until it can be written to. With nothing to do the thread sleeps. While there are waits, the
//! switches wake it when a port has changed its state ([`Watcher`]), and only then it looks at them, or when the time of
//! one is over. Of one thing no switch may tell: that an interface in another network namespace was set down. Who waits
//! for that is looked at every [`LOOK`].

use super::answer::{Answerer, Outcome};
use super::place::Claim;
use super::session::{Read, Session};
use super::stranger;
use crate::control::{Greeting, PROTOCOL, Reply, Request, print};
use crate::engine::command::Handle;
use crate::engine::fault::{Parts, contained};
use crate::engine::watcher::Watcher;
use crate::error::{Class, Error, Result};
use crate::port::unix::UnixListener;
use crate::rights::role::{BASE, FILES, NETWORK, REMOVE, SOCKETS};
use crate::rights::{self, Role};
use crate::time::{Clock, Duration, Instant};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The control socket's thread looks names up for the ports that clients add, and says who they are.
static ROLE: Role = Role { loads: true, ..Role::new("control", &[BASE, SOCKETS, NETWORK, FILES, REMOVE]) };

/// Clients at a time. One more is told so and let go.
const CLIENTS: usize = 64;
/// How often a port is looked at that shall be down.
const LOOK: Duration = Duration::from_millis(250);
/// After how long it is tried again to let clients in, when the system had no descriptors.
const STARVED_RETRY: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);
const LISTENER: Token = Token(usize::MAX - 1);

/// A served control socket. It is removed, and its clients are let go, when this is dropped.
pub struct Server {
    name: String,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    /// The bridge ends too: the ports of clients stay to be counted, for nobody has left.
    ends: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(claim: Claim, handles: Vec<Handle>, parts: Arc<Parts>) -> Result<Self> {
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
            greeting: print(&greeting),
            answerer: Answerer { name: name.clone(), handles },
            clients: (0..CLIENTS).map(|_| None).collect(),
            ready: VecDeque::new(),
            starved: false,
            told_refusal: false,
            clock: Clock::start(),
            watcher,
            stop: stop.clone(),
            ends: ends.clone(),
        };
        // It takes nothing along: what it holds, the socket too, is dropped, and the switches go on.
        let run = move || {
            let ran = contained("the control socket", || {
                serving.run();
                Ok(())
            });
            ran.err().into_iter().for_each(|why| parts.note(why));
        };
        let thread = rights::spawn("zb-control", &ROLE, run).map_err(cannot)?;
        Ok(Self { name, path, stop, ends, waker, thread: Some(thread) })
    }

    /// The bridge's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Ends, and the bridge that it serves is about to: the ports of clients stay to be counted. It is called before the
    /// bridge is stopped, so that a client that waits for an answer learns that the bridge has ended, not only its switch.
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
struct Serving {
    poll: Poll,
    listener: UnixListener,
    greeting: Vec<u8>,
    answerer: Answerer,
    /// Indexed by token.
    clients: Vec<Option<Session>>,
    /// Clients of which something may be had, each once.
    ready: VecDeque<usize>,
    /// The system had no descriptor for a client.
    starved: bool,
    /// It was said that there are as many clients as there can be.
    told_refusal: bool,
    clock: Clock,
    /// Told by the switches, while there are waits.
    watcher: Arc<Watcher>,
    stop: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
}

impl Serving {
    fn run(mut self) {
        let mut events = Events::with_capacity(CLIENTS);
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                return log::error!("control socket: it has ended: {error}");
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => self.accept(),
                    Token(index) => self.client_event(index, event.is_write_closed() || event.is_error()),
                }
            }
            if self.starved {
                self.accept();
            }
            for _ in 0..self.ready.len() {
                let Some(index) = self.ready.pop_front() else { break };
                self.turn(index);
            }
            self.look_at_waits();
        }
        self.watcher.want(false);
        if !self.ends.load(Ordering::Relaxed) {
            (0..self.clients.len()).for_each(|index| self.dismiss(index));
        }
    }

    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        // Who is behind is answered when it has read.
        let waits = self.clients.iter().flatten().filter(|session| !session.is_behind());
        let waits = waits.flat_map(|session| &session.waits).map(|wait| match wait.until - now {
            left if wait.state == "down" => left.min(LOOK),
            left => left,
        });
        waits.chain(self.starved.then_some(STARVED_RETRY)).min()
    }

    fn accept(&mut self) {
        let told = std::mem::take(&mut self.starved);
        loop {
            match self.listener.accept_socket() {
                Ok(Some((socket, who))) => self.admit(socket, who),
                Ok(None) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    if !told {
                        log::warn!("control socket: cannot accept a client: {}", std::io::Error::from(errno));
                    }
                    self.starved = true;
                    return;
                }
            }
        }
    }

    /// Lets a client in, or tells it why not.
    fn admit(&mut self, socket: OwnedFd, who: String) {
        let allowed = permitted(&socket);
        let mut session = Session::new(socket, who);
        let free = self.clients.iter().position(Option::is_none);
        let refusal = match (allowed, free) {
            (Err(error), _) => error,
            (Ok(()), None) => Error::new(Class::Runtime, format!("{CLIENTS} clients are connected already")),
            (Ok(()), Some(index)) => {
                let fd = session.as_fd().as_raw_fd();
                let interest = Interest::READABLE | Interest::WRITABLE;
                match self.poll.registry().register(&mut SourceFd(&fd), Token(index), interest) {
                    Ok(()) => {
                        log::debug!("control socket: {} is connected", session.who);
                        session.say(&self.greeting);
                        if let Some(slot) = self.clients.get_mut(index) {
                            *slot = Some(session);
                        }
                        return;
                    }
                    Err(error) => Error::system("cannot wait for it", &error),
                }
            }
        };
        // What is the same for a thousand clients is said once.
        let level = if std::mem::replace(&mut self.told_refusal, free.is_none()) && free.is_none() {
            log::Level::Debug
        } else {
            log::Level::Warn
        };
        log::log!(level, "control socket: {} is refused: {}", session.who, refusal.what());
        session.say(&print(&Reply::error(None, &refusal)));
    }

    fn client_event(&mut self, index: usize, closed: bool) {
        let Some(session) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        if closed {
            session.hang_up();
        }
        if !self.ready.contains(&index) {
            self.ready.push_back(index);
        }
    }

    /// Takes one request of a client, and keeps it on the list if there may be more.
    fn turn(&mut self, index: usize) {
        let now = self.clock.now();
        let Some(session) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        session.write();
        let more = !session.is_behind() && take_one(&self.answerer, now, session);
        if more {
            self.ready.push_back(index);
        } else if session.is_over() {
            self.dismiss(index);
        }
    }

    fn dismiss(&mut self, index: usize) {
        let Some(session) = self.clients.get_mut(index).and_then(Option::take) else { return };
        self.ready.retain(|&ready| ready != index);
        log::debug!("control socket: {} has left", session.who);
        self.answerer.leave(&session);
    }

    fn look_at_waits(&mut self) {
        let now = self.clock.now();
        // First it is wanted, then asked, so that nothing changes unheard in between.
        self.watcher.want(self.clients.iter().flatten().any(|session| !session.waits.is_empty()));
        for index in 0..self.clients.len() {
            let Some(session) = self.clients.get_mut(index).and_then(Option::as_mut) else { continue };
            if session.waits.is_empty() || session.is_behind() {
                continue;
            }
            for wait in std::mem::take(&mut session.waits) {
                let reply = match self.answerer.holds(&wait.port, &wait.state) {
                    Ok(true) => Reply::ok(wait.id, &serde_json::json!({})),
                    Ok(false) if wait.until > now => {
                        session.waits.push(wait);
                        continue;
                    }
                    Ok(false) => Reply::error(wait.id, &self.answerer.unmet(&wait)),
                    Err(error) => Reply::error(wait.id, &error),
                };
                session.say(&print(&reply));
            }
            if session.is_over() {
                self.dismiss(index);
            }
        }
    }
}

/// Whether the process at the other end may command this one: the same user's, or root's.
fn permitted(socket: &OwnedFd) -> Result<()> {
    match stranger(socket)? {
        None => Ok(()),
        Some(uid) => Err(Error::new(Class::Permission, format!("user {uid} may not command this bridge"))),
    }
}

/// Answers the next request of a client, reading if there is none. True if there may be another.
fn take_one(answerer: &Answerer, now: Instant, session: &mut Session) -> bool {
    let ended = session.ended;
    let request = match session.next_line() {
        Ok(Some(line)) => Request::parse(line),
        Ok(None) if ended => return false,
        Ok(None) => return session.read() != Read::Nothing,
        Err(too_long) => {
            session.say(&print(&Reply::error(None, &Error::usage(too_long.to_string()))));
            // What follows means nothing.
            session.cut();
            return false;
        }
    };
    let reply = match request {
        Ok(Request { id, command }) => match answerer.answer(now, id, command, session) {
            Ok(Outcome::Done(value)) => Reply { id, ok: Some(value), error: None },
            Ok(Outcome::Later) => return true,
            Err(error) => Reply::error(id, &error),
        },
        Err(bad) => Reply::error(bad.id, &bad.error),
    };
    session.say(&print(&reply));
    true
}
