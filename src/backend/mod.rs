//! Back ends: the descriptors behind a service's [`Outside`](crate::service::outside::Outside).
//!
//! Theory of operation. One table ([`slot`]) maps a service's names to descriptors, and all that can be polled are in
//! one poll, in which the service's own thread sleeps ([`Backend::wait`]): a byte needs no second thread on its way. A
//! name is its token, and neither is ever used twice, so a late event of a closed socket finds nothing. mio is
//! edge-triggered: an event marks a socket as readable or writable ([`Backend::poll_event`]) until a call has returned
//! `WouldBlock`; a further call returns that too, without a system call.
//!
//! Calls that may block on a disk or a name server have threads of their own, which send their results ([`Told`]):
//! disks (`disk.rs`), files that are written (`append.rs`), a folder that is served (`folder.rs`, `uploads.rs`), leases
//! (`lease_file.rs`), look-ups. Nothing wakes up without work. When the back end is dropped its threads end, and UNIX
//! sockets and links that it made are removed.
//!
//! | | |
//! |---|---|
//! | `open` | opens a [`Want`](crate::service::outside::Want) |
//! | `calls` | the implementation of the trait |
//! | `flows` | the sockets of a gateway's flows: options, resets, ICMP errors |
//! | `slot`, `terminal` | the things behind names |

mod append;
mod calls;
mod disk;
mod flows;
mod folder;
pub(crate) mod full;
mod keep_alive;
mod lease_file;
mod open;
mod resolvers;
mod slot;
mod terminal;
mod uploads;
mod writer;

use crate::error::{Error, Result};
use crate::port::memory::Peak;
use crate::port::netlink::Netlink;
use crate::port::{descriptors, inet};
use crate::service::outside::{Event, JobDone, SocketId};
use crossbeam_channel::{Receiver, Sender, unbounded};
use folder::Folder;
use lease_file::LeaseFile;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use resolvers::Resolvers;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use slot::{Owned, Slot};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use writer::Writer;

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are the watches of terminals; below they are names.
const WATCHES: usize = 1 << (usize::BITS - 2);
const EVENTS: usize = 256;
/// A listener that got no descriptor for a client tries again after this long.
const PAUSE: Duration = Duration::from_millis(100);
/// Shorter sleeps bypass mio, whose timeout has milliseconds only.
const COARSE: Duration = Duration::from_millis(10);
/// One part in so many of the descriptor limit, the highest numbers, is kept from flows for the rest of the process. A
/// new descriptor has the lowest free number, so the number tells how many there are.
const KEPT: u64 = 4;

/// Results of the threads.
enum Told {
    /// The address of a host that is dialled.
    Address(Result<SocketAddr>),
    /// A disk has done a job.
    Job(JobDone),
    /// So many bytes were written to a file.
    Written(usize),
    /// Writing a file has failed for good.
    Failed,
}

/// A name, and a thread's result for it.
type Word = (u64, Told);

/// Sends a thread's result; false when nobody receives any more.
type Tell = Box<dyn Fn(Told) -> bool + Send>;

/// The descriptors of one service.
pub struct Backend {
    poll: Poll,
    waker: Arc<Waker>,
    events: Events,
    /// Events, in order. The service takes them all before the next wait, so they are bounded by one poll.
    happened: VecDeque<Event>,
    slots: HashMap<u64, Slot, foldhash::fast::RandomState>,
    next: u64,
    /// Terminals with a line change to show later, and listeners that try again later.
    late: BTreeSet<u64>,
    /// Results of threads. Bounded by use: one for each job, look-up or window of bytes.
    told: (Sender<Word>, Receiver<Word>),
    /// The descriptors of flows are below this number.
    below: u64,
    resolvers: Resolvers,
    folder: Option<Folder>,
    writer: Option<Writer>,
    leases: Option<LeaseFile>,
    /// For the machine's own addresses; opened at first use.
    routes: Option<Netlink>,
    /// The largest size of the table.
    peak: Peak,
}

impl Backend {
    /// An empty back end. Raises the process's limit of descriptors to the hard one.
    ///
    /// # Errors
    /// The system has none left.
    pub fn new() -> Result<Self> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        let limit = descriptors::raise();
        Ok(Self {
            poll,
            waker,
            events: Events::with_capacity(EVENTS),
            happened: VecDeque::new(),
            slots: HashMap::default(),
            next: 0,
            late: BTreeSet::new(),
            told: unbounded(),
            below: limit - limit / KEPT,
            resolvers: Resolvers::default(),
            folder: None,
            writer: None,
            leases: None,
            routes: None,
            peak: Peak::default(),
        })
    }

    /// Ends [`Backend::wait`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.happened.pop_front()
    }

    /// Sleeps until an event, the waker, or the end of `patience`; not at all while events wait.
    ///
    /// # Errors
    /// The system's poll does not work.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<()> {
        let late = self.catch_up();
        let mut patience = patience.into_iter().chain(late).min();
        if !self.happened.is_empty() {
            patience = Some(Duration::ZERO);
        }
        let polled = match patience {
            Some(short) if Duration::ZERO < short && short < COARSE => {
                self.sleep(short).map(|()| Duration::ZERO).map(Some)
            }
            other => Ok(other),
        };
        let polled = polled.and_then(|patience| self.poll.poll(&mut self.events, patience));
        self.hear_events();
        while let Ok((name, told)) = self.told.1.try_recv() {
            self.hear(name, told);
        }
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(Error::system("back ends: cannot wait", &error))
            }
            _ => Ok(()),
        }
    }

    /// Sleeps until the poll has an event, with a timeout in nanoseconds.
    fn sleep(&self, time: Duration) -> io::Result<()> {
        let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(self.poll.registry().as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&time)) {
            Err(errno) if errno != Errno::INTR => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn hear_events(&mut self) {
        let Self { events, slots, happened, .. } = self;
        for event in events.iter().filter(|event| event.token() != WAKER) {
            let Token(token) = event.token();
            let name = if token >= WATCHES { token - WATCHES } else { token } as u64;
            let Some(slot) = slots.get_mut(&name) else { continue };
            let (readable, writable) = slot.hear(event);
            happened.push_back(Event { socket: SocketId(name), readable, writable, refused: event.is_error() });
        }
    }

    /// Takes a thread's result.
    fn hear(&mut self, name: u64, told: Told) {
        let Some(slot) = self.slots.get_mut(&name) else { return };
        if let Told::Address(addr) = told {
            let begun = addr.and_then(inet::dial_at);
            let begun = begun.map_err(|error| io::Error::other(error.what().to_owned()));
            let placed = begun.and_then(|socket| self.place(name, Slot::dialled(socket)?));
            if let (Err(error), Some(slot)) = (placed, self.slots.get_mut(&name)) {
                slot.owned = Owned::Unreachable(Some(error));
                self.happen(name);
            }
            return;
        }
        match (&mut slot.owned, told) {
            (Owned::Disk(_, done), Told::Job(job)) => done.push_back(job),
            (Owned::Append(file), Told::Written(count)) => file.wrote(count),
            (Owned::Append(file), Told::Failed) => file.fail(),
            _ => return,
        }
        (slot.readable, slot.writable) = (true, true);
        self.happen(name);
    }

    fn happen(&mut self, name: u64) {
        self.happened.push_back(Event { socket: SocketId(name), readable: true, writable: true, refused: false });
    }

    /// Lets terminals show their late line changes, and listeners try again. Gives the time until the next is due.
    fn catch_up(&mut self) -> Option<Duration> {
        let Self { late, slots, happened, .. } = self;
        let mut next = None;
        late.retain(|name| {
            let Some(slot) = slots.get_mut(name) else { return false };
            let due = match &mut slot.owned {
                Owned::Terminal(terminal) => {
                    terminal.catch_up();
                    terminal.late_in()
                }
                Owned::Listener(listener) => listener.starved.map(|since| PAUSE.saturating_sub(since.elapsed())),
                _ => None,
            };
            if due == Some(Duration::ZERO) && matches!(slot.owned, Owned::Listener(_)) {
                slot.readable = true;
                let socket = SocketId(*name);
                happened.push_back(Event { socket, readable: true, writable: false, refused: false });
                return false;
            }
            next = next.into_iter().chain(due).min();
            due.is_some()
        });
        next
    }

    /// A fresh name.
    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Puts a slot into the table and the poll, under a name.
    fn place(&mut self, name: u64, slot: Slot) -> io::Result<()> {
        let [own, watch] = slot.fds();
        let register = |fd: Option<RawFd>, token, interest| match fd {
            Some(fd) => self.poll.registry().register(&mut SourceFd(&fd), Token(token), interest),
            None => Ok(()),
        };
        register(own, name as usize, Interest::READABLE | Interest::WRITABLE)?;
        register(watch, WATCHES + name as usize, Interest::READABLE)?;
        self.slots.insert(name, slot);
        self.peak.note(self.slots.len());
        Ok(())
    }

    /// The same under a fresh name.
    fn add(&mut self, slot: Slot) -> io::Result<SocketId> {
        let name = self.name();
        self.place(name, slot)?;
        Ok(SocketId(name))
    }

    /// The sender for results of a name.
    fn tell(&self, name: u64) -> Tell {
        let (told, waker) = (self.told.0.clone(), self.waker.clone());
        Box::new(move |what| told.send((name, what)).is_ok() && waker.wake().is_ok())
    }

    fn slot(&mut self, socket: SocketId) -> io::Result<&mut Slot> {
        self.slots.get_mut(&socket.0).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Bytes in pseudo-terminals that the programs there have not read, if there are such programs. For the end only:
    /// programs that leave later are not noticed.
    pub fn unread(&mut self) -> Option<usize> {
        let terminals = self.slots.values_mut().filter_map(|slot| match &mut slot.owned {
            Owned::Terminal(terminal) => terminal.unread(),
            _ => None,
        });
        terminals.reduce(|sum, count| sum + count)
    }
}
