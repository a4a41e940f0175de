//! A service's streams under one poll.
//!
//! Theory of operation. A service says what is to be done ([`Reactor::perform`]), and its own thread does it and sleeps
//! here ([`Reactor::wait`]), so that a byte needs no second thread on its way. A stream (`stream.rs`) is worked on
//! whenever it has become readable or writable, its window has opened, or something waits to be sent. How much is read
//! is bounded by that window, so one pass over a stream is bounded, too. Files cannot be waited for: those that are read
//! are always ready, those that are written have a thread of their own.

use super::append::Append;
use super::keep_alive;
use super::stream::{Owned, StreamSlot};
use super::terminal::Terminal;
use crate::config::value::HostPort;
use crate::error::{Error, Result};
use crate::limits::DEAD_PEER;
use crate::port::{Listener, inet, names};
use crate::service::outside::{Input, Output, Stream};
use crate::usb::class::cdc_acm::Line;
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are listeners, whatever the size of a token.
const LISTENERS: usize = 1 << (usize::BITS - 2);
/// Tokens from here on are the watches of terminals, below they are streams.
const WATCHES: usize = 1 << (usize::BITS - 3);
const EVENTS: usize = 128;
/// Streams that one listener may have at once; further clients wait in the kernel's queue.
const MOST: usize = 256;
/// After this long a listener tries again for which the system had no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// Sleeps shorter than this are not left to mio, which knows milliseconds only.
const COARSE: Duration = Duration::from_millis(10);

struct ListenerSlot {
    want: usize,
    listener: Listener,
    /// One client at a time.
    single: bool,
    /// How long a client may be silent.
    patience: Duration,
    /// Clients there are.
    streams: usize,
    /// Clients may be waiting that were not accepted.
    waiting: bool,
    /// The system had nothing left for a client, which was said.
    starved: bool,
}

/// What a name came to.
type Lookup = (usize, Result<SocketAddr>);

/// See the module.
pub(super) struct Reactor {
    poll: Poll,
    waker: Arc<Waker>,
    events: Events,
    inputs: VecDeque<Input>,
    listeners: Vec<ListenerSlot>,
    streams: BTreeMap<u64, StreamSlot>,
    /// Streams that the service has done something to since they were worked on.
    touched: BTreeSet<u64>,
    /// Terminals that have something to show later.
    late: BTreeSet<u64>,
    dials: BTreeMap<usize, HostPort>,
    /// Addresses of what is to be dialled, as they are found.
    found: (Sender<Lookup>, Receiver<Lookup>),
    next: u64,
    buffer: Vec<u8>,
}

impl Reactor {
    pub fn new() -> Result<Self> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        Ok(Self {
            poll,
            waker,
            events: Events::with_capacity(EVENTS),
            inputs: VecDeque::new(),
            listeners: Vec::new(),
            streams: BTreeMap::new(),
            touched: BTreeSet::new(),
            late: BTreeSet::new(),
            dials: BTreeMap::new(),
            found: unbounded(),
            next: 0,
            buffer: Vec::new(),
        })
    }

    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub fn add_listener(&mut self, want: usize, listener: Listener, single: bool, patience: Duration) -> Result<()> {
        self.register(listener.fd(), Token(LISTENERS + self.listeners.len()), Interest::READABLE)
            .map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        self.listeners.push(ListenerSlot {
            want,
            listener,
            single,
            patience,
            streams: 0,
            waiting: false,
            starved: false,
        });
        Ok(())
    }

    /// A stream that is there from the start.
    pub fn add_stream(&mut self, want: usize, owned: Owned) -> Result<()> {
        let stream = self.insert(owned, None, None);
        let stream = stream.map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        self.tell(Input::Opened { want, stream, peer: None });
        Ok(())
    }

    /// A terminal, at whose other end nobody is yet.
    pub fn add_terminal(&mut self, want: usize, terminal: Terminal) -> Result<()> {
        let stream = Stream(self.next);
        self.add_stream(want, Owned::Terminal(terminal))?;
        self.tell(Input::Peer(stream, false));
        self.look(stream.0);
        Ok(())
    }

    /// A file that a thread of its own appends to. `tell` takes what comes of it.
    pub fn add_append(
        &mut self,
        want: usize,
        file: (&Path, File),
        tell: impl Fn(Input) -> bool + Send + 'static,
    ) -> Result<()> {
        let append = Append::new(file, Stream(self.next), tell)?;
        self.add_stream(want, Owned::Append(append))
    }

    pub fn add_dial(&mut self, want: usize, addr: HostPort) {
        self.dials.insert(want, addr);
    }

    fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token, interest)
    }

    fn insert(&mut self, owned: Owned, listener: Option<usize>, dialling: Option<usize>) -> io::Result<Stream> {
        let name = self.next;
        let token = Token(name as usize);
        match &owned {
            Owned::Polled(fd) => {
                // A listener whose clients take turns is a serial line: a terminal at its end may be stopped.
                let slot = listener.and_then(|index| self.listeners.get(index));
                if listener.is_some() || dialling.is_some() {
                    let (single, patience) = slot.map_or((false, DEAD_PEER), |slot| (slot.single, slot.patience));
                    keep_alive::watch(fd.into(), !single, patience)?;
                }
                self.register(fd.as_raw_fd(), token, Interest::READABLE | Interest::WRITABLE)?;
            }
            Owned::Terminal(terminal) => {
                let [master, watch] = terminal.fds();
                self.register(master, token, Interest::READABLE | Interest::WRITABLE)?;
                self.register(watch, Token(WATCHES + name as usize), Interest::READABLE)?;
            }
            // No event will come of it.
            Owned::Read(_) | Owned::Append(_) => _ = self.touched.insert(name),
        }
        self.next += 1;
        self.streams.insert(name, StreamSlot::new(owned, listener, dialling));
        Ok(Stream(name))
    }

    fn tell(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// What came, in order.
    pub fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Sleeps until something comes, but not longer than `patience`, and takes what is there.
    ///
    /// # Errors
    /// The poll itself does not work.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        while let Some(name) = self.touched.pop_first() {
            self.work(name);
        }
        self.accept_all();
        let late = self.catch_up();
        let patience = match patience.into_iter().chain(late).min() {
            _ if !self.inputs.is_empty() => Some(Duration::ZERO),
            Some(short) if Duration::ZERO < short && short < COARSE => {
                self.sleep(short)?;
                Some(Duration::ZERO)
            }
            other => {
                let again = self.listeners.iter().any(|slot| slot.starved).then_some(PAUSE);
                other.into_iter().chain(again).min()
            }
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = self.poll.poll(&mut events, patience);
        for event in &events {
            match event.token() {
                WAKER => {}
                Token(token) if token >= LISTENERS => {
                    if let Some(slot) = self.listeners.get_mut(token - LISTENERS) {
                        slot.waiting = true;
                    }
                }
                Token(token) if token >= WATCHES => self.look((token - WATCHES) as u64),
                Token(token) => self.stream_event(token as u64, event),
            }
        }
        self.events = events;
        self.accept_all();
        while let Ok((want, addr)) = self.found.1.try_recv() {
            self.dial_at(want, addr);
        }
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Sleeps until the poll has something to tell, to the nanosecond.
    fn sleep(&self, time: Duration) -> io::Result<()> {
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(self.poll.registry().as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&time)) {
            Err(errno) if errno != Errno::INTR => Err(errno.into()),
            _ => Ok(()),
        }
    }

    /// Does what the service says, or notes it for [`Reactor::wait`]: what is sent in pieces leaves in one.
    pub fn perform(&mut self, output: Output) {
        match output {
            Output::Send(Stream(name), bytes) => {
                if let Some(slot) = self.streams.get_mut(&name) {
                    slot.outbox.push(bytes);
                    self.touched.insert(name);
                }
            }
            Output::Room(Stream(name), count) => {
                if let Some(slot) = self.streams.get_mut(&name) {
                    slot.room += count;
                    self.touched.insert(name);
                }
            }
            Output::Close(Stream(name)) => {
                // What was sent before has left, as far as it can at once.
                if let Some(slot) = self.streams.get_mut(&name).filter(|_| self.touched.remove(&name)) {
                    let _ = slot.flush(&mut 0);
                }
                self.remove(name);
            }
            Output::Line(Stream(name), line) => self.set_line(name, &line),
            Output::Dial(want) => self.dial(want),
            Output::GiveUp(want) => {
                let under_way = self.streams.iter().find(|(_, slot)| slot.dialling == Some(want));
                if let Some(name) = under_way.map(|(name, _)| *name) {
                    self.remove(name);
                }
            }
            Output::Probe(Stream(name)) => {
                if let Some(Owned::Polled(fd)) = self.streams.get(&name).map(|slot| &slot.owned)
                    && let Err(error) = keep_alive::probe(fd.into())
                {
                    log::debug!("a connection cannot be probed: {error}");
                }
            }
            // A disk has a thread of its own.
            Output::Job(..) => {}
        }
    }

    fn stream_event(&mut self, name: u64, event: &mio::event::Event) {
        let Some(slot) = self.streams.get_mut(&name) else { return };
        let ended = event.is_read_closed() || event.is_error();
        slot.readable |= event.is_readable() || ended;
        slot.short_is_empty &= !ended;
        slot.writable |= event.is_writable() || event.is_error();
        if matches!(slot.owned, Owned::Terminal(_)) {
            return self.look(name);
        }
        if let Some(want) = slot.dialling.filter(|_| slot.writable) {
            return self.settle(name, want);
        }
        self.work(name);
    }

    /// Tells who has come to the other end of a terminal or has left it, and moves what that allows.
    fn look(&mut self, name: u64) {
        if let Some(there) = self.streams.get_mut(&name).and_then(StreamSlot::look) {
            self.tell(Input::Peer(Stream(name), there));
        }
        self.work(name);
    }

    /// Lets terminals show what is late. Gives the time until the next has something to show.
    fn catch_up(&mut self) -> Option<Duration> {
        let Self { late, streams, .. } = self;
        let mut next = None;
        late.retain(|name| {
            let Some(Owned::Terminal(terminal)) = streams.get_mut(name).map(|slot| &mut slot.owned) else {
                return false;
            };
            terminal.catch_up();
            let due = terminal.late_in();
            next = next.into_iter().chain(due).min();
            due.is_some()
        });
        next
    }

    /// Shows what the service's side has set to the program at a terminal. Other streams have no place for it.
    fn set_line(&mut self, name: u64, line: &Line) {
        let Some(slot) = self.streams.get_mut(&name) else { return };
        let Owned::Terminal(terminal) = &mut slot.owned else { return };
        let bytes = terminal.set(line);
        if terminal.late_in().is_some() {
            self.late.insert(name);
        }
        slot.uncounted += bytes.len();
        slot.outbox.push(bytes);
        self.touched.insert(name);
    }

    /// What programs at terminals have not read, if there are any: a terminal forgets it when its master is closed.
    pub fn unread(&mut self) -> Option<usize> {
        self.streams.values_mut().filter_map(StreamSlot::unread).reduce(|sum, count| sum + count)
    }

    /// Moves what one stream can move.
    fn work(&mut self, name: u64) {
        let Some(slot) = self.streams.get_mut(&name).filter(|slot| slot.dialling.is_none()) else { return };
        let mut sent = 0;
        if let Err(why) = slot.flush(&mut sent) {
            log::debug!("a stream takes no more: {why}");
            slot.fail();
        }
        let inputs = &mut self.inputs;
        if sent > 0 {
            inputs.push_back(Input::Sent(Stream(name), sent));
        }
        let finished = slot.finished;
        let read = slot.read(&mut self.buffer, |bytes| inputs.push_back(Input::Data(Stream(name), bytes)));
        if slot.finished && !finished {
            inputs.push_back(Input::PeerClosed(Stream(name)));
        }
        if let Err(why) = read {
            log::debug!("a stream has ended: {why}");
            self.remove(name);
            self.tell(Input::Ended(Stream(name)));
        }
    }

    fn remove(&mut self, name: u64) {
        let Some(slot) = self.streams.remove(&name) else { return };
        let fds = match &slot.owned {
            Owned::Polled(fd) => vec![fd.as_raw_fd()],
            Owned::Terminal(terminal) => terminal.fds().to_vec(),
            Owned::Read(_) | Owned::Append(_) => Vec::new(),
        };
        for fd in fds {
            // The kernel forgets a descriptor when it is closed; this only says it a moment earlier.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
        if let Some(listener) = slot.listener.and_then(|index| self.listeners.get_mut(index)) {
            listener.streams -= 1;
        }
    }

    fn accept_all(&mut self) {
        (0..self.listeners.len()).for_each(|index| self.accept(index));
    }

    /// Lets clients in, as far as there is room.
    fn accept(&mut self, index: usize) {
        loop {
            let Some(slot) = self.listeners.get_mut(index) else { return };
            let most = if slot.single { 1 } else { MOST };
            if !slot.waiting || slot.streams >= most {
                return;
            }
            let want = slot.want;
            match slot.listener.accept_socket() {
                Ok(Some((fd, _))) => {
                    slot.starved = false;
                    let peer = peer_ip(&fd);
                    match self.insert(Owned::Polled(fd), Some(index), None) {
                        Ok(stream) => {
                            self.listeners[index].streams += 1;
                            self.tell(Input::Opened { want, stream, peer });
                        }
                        Err(error) => log::error!("cannot wait for a client: {error}"),
                    }
                }
                Ok(None) => (slot.waiting, slot.starved) = (false, false),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    if !std::mem::replace(&mut slot.starved, true) {
                        let cause = io::Error::from(errno);
                        log::error!("cannot accept a client: {cause}; trying again until it can");
                    }
                    return;
                }
            }
        }
    }

    /// Connects to what `want` names, once its address is known.
    fn dial(&mut self, want: usize) {
        let Some(addr) = self.dials.get(&want).cloned() else {
            return self.tell(Input::Unreachable(want, "nothing to dial".into()));
        };
        let (found, waker) = (self.found.0.clone(), self.waker.clone());
        let tell = move |addr| {
            // The service may have ended in the meantime.
            let _ = found.send((want, addr));
            let _ = waker.wake();
        };
        if let Err(error) = names::look_up(move || names::resolve(&addr), tell) {
            self.tell(Input::Unreachable(want, error.what().to_owned()));
        }
    }

    fn dial_at(&mut self, want: usize, addr: Result<SocketAddr>) {
        let begun = addr.and_then(inet::dial_at).and_then(|socket| {
            let inserted = self.insert(Owned::Polled(socket), None, Some(want));
            inserted.map_err(|error| Error::system("cannot wait for its descriptor", &error))
        });
        if let Err(error) = begun {
            self.tell(Input::Unreachable(want, error.what().to_owned()));
        }
    }

    /// A connection that was begun stands, or does not.
    fn settle(&mut self, name: u64, want: usize) {
        let Some(StreamSlot { owned: Owned::Polled(fd), dialling, .. }) = self.streams.get_mut(&name) else { return };
        match inet::connected(&*fd) {
            None => {}
            Some(Ok(())) => {
                let peer = peer_ip(fd);
                *dialling = None;
                self.tell(Input::Opened { want, stream: Stream(name), peer });
                self.work(name);
            }
            Some(Err(error)) => {
                self.remove(name);
                self.tell(Input::Unreachable(want, error.to_string()));
            }
        }
    }
}

/// The address of the other end, where it has one.
fn peer_ip(fd: &OwnedFd) -> Option<IpAddr> {
    Some(socket2::SockRef::from(fd).peer_addr().ok()?.as_socket()?.ip())
}
