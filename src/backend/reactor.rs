//! The poll loop of a service's streams.
//!
//! Theory of operation. mio is edge-triggered: a stream notes that it is readable or writable until a system call says
//! otherwise, and is worked on whenever that, its window, or what waits to be sent has changed. How much is read is
//! bounded by the window that the service gives back, so one pass over a stream is bounded, too. Regular files cannot be
//! waited for and do not need to be: they are always ready.

use super::open::{self, Bound};
use super::pty::Link;
use crate::config::value::HostPort;
use crate::error::{Error, Result};
use crate::service::outside::{Input, Output, Stream, WINDOW};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(usize::MAX);
/// Tokens from here on are listeners, below they are streams.
const LISTENERS: usize = 1 << 62;
const EVENTS: usize = 128;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;
/// Streams that one listener may have at once; further clients wait in the kernel's queue.
const MOST: usize = 256;
/// After this long a listener without descriptors or room tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// What is listened on.
pub(super) enum Listener {
    Tcp(Socket),
    Unix { socket: UnixListener, _bound: Bound },
}

/// What a stream goes through.
pub(super) enum Owned {
    /// A socket, a terminal or a pipe.
    Polled(OwnedFd),
    /// A regular file to be read.
    Read(File),
    /// A file to be written.
    Written(File),
}

struct ListenerSlot {
    want: usize,
    listener: Listener,
    /// One client at a time.
    single: bool,
    /// Clients there are.
    streams: usize,
    /// Clients may be waiting that were not accepted.
    waiting: bool,
}

struct StreamSlot {
    owned: Owned,
    /// The listener whose client it is.
    listener: Option<usize>,
    /// The want that was dialled, until it is connected.
    dialling: Option<usize>,
    readable: bool,
    writable: bool,
    /// Bytes that may still be handed over.
    room: usize,
    unsent: VecDeque<u8>,
    _link: Option<Link>,
}

/// See the module.
pub(super) struct Reactor {
    poll: Poll,
    waker: Arc<Waker>,
    orders: Receiver<Output>,
    inputs: Sender<Input>,
    listeners: Vec<ListenerSlot>,
    streams: BTreeMap<u64, StreamSlot>,
    dials: BTreeMap<usize, HostPort>,
    next: u64,
    buffer: Vec<u8>,
}

impl Reactor {
    pub fn new(orders: Receiver<Output>, inputs: Sender<Input>) -> Result<Self> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(cannot)?);
        Ok(Self {
            poll,
            waker,
            orders,
            inputs,
            listeners: Vec::new(),
            streams: BTreeMap::new(),
            dials: BTreeMap::new(),
            next: 0,
            buffer: vec![0; CHUNK],
        })
    }

    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub fn add_listener(&mut self, want: usize, listener: Listener, single: bool) -> Result<()> {
        let fd = match &listener {
            Listener::Tcp(socket) => socket.as_raw_fd(),
            Listener::Unix { socket, .. } => socket.as_raw_fd(),
        };
        self.register(fd, Token(LISTENERS + self.listeners.len()), Interest::READABLE)
            .map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        self.listeners.push(ListenerSlot { want, listener, single, streams: 0, waiting: false });
        Ok(())
    }

    /// A stream that is there from the start.
    pub fn add_stream(&mut self, want: usize, owned: Owned, link: Option<Link>) -> Result<()> {
        let stream = self.insert(owned, None, None, link);
        let stream = stream.map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        self.tell(Input::Opened { want, stream, peer: None });
        Ok(())
    }

    pub fn add_dial(&mut self, want: usize, addr: HostPort) {
        self.dials.insert(want, addr);
    }

    fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token, interest)
    }

    fn insert(
        &mut self,
        owned: Owned,
        listener: Option<usize>,
        dialling: Option<usize>,
        link: Option<Link>,
    ) -> io::Result<Stream> {
        let name = self.next;
        let polled = match &owned {
            Owned::Polled(fd) => {
                self.register(fd.as_raw_fd(), Token(name as usize), Interest::READABLE | Interest::WRITABLE)?;
                true
            }
            _ => false,
        };
        self.next += 1;
        let slot = StreamSlot {
            readable: !polled,
            writable: !polled,
            owned,
            listener,
            dialling,
            room: WINDOW,
            unsent: VecDeque::new(),
            _link: link,
        };
        self.streams.insert(name, slot);
        Ok(Stream(name))
    }

    /// Tells the service. That it has ended is seen at the channel of orders.
    fn tell(&self, input: Input) {
        let _ = self.inputs.send(input);
    }

    /// Runs until the service has ended.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        // Files are ready from the start.
        let names: Vec<u64> = self.streams.keys().copied().collect();
        names.into_iter().for_each(|name| self.work(name));
        loop {
            let patience = self.listeners.iter().any(|slot| slot.waiting && !slot.single).then_some(PAUSE);
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return log::error!("back ends: poll: {error}");
                }
                _ => {}
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(token) if token >= LISTENERS => {
                        if let Some(slot) = self.listeners.get_mut(token - LISTENERS) {
                            slot.waiting = true;
                        }
                    }
                    Token(token) => self.stream_event(token as u64, event),
                }
            }
            if !self.obey() {
                return;
            }
            for index in 0..self.listeners.len() {
                self.accept(index);
            }
        }
    }

    /// Does what the service has sent. `false`: it has ended.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Output::Send(Stream(name), bytes)) => {
                    if let Some(slot) = self.streams.get_mut(&name) {
                        slot.unsent.extend(bytes);
                        self.work(name);
                    }
                }
                Ok(Output::Room(Stream(name), count)) => {
                    if let Some(slot) = self.streams.get_mut(&name) {
                        slot.room += count;
                        self.work(name);
                    }
                }
                Ok(Output::Close(Stream(name))) => self.remove(name),
                Ok(Output::Dial(want)) => self.dial(want),
                // A disk has a thread of its own.
                Ok(Output::Job(..)) => {}
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn stream_event(&mut self, name: u64, event: &mio::event::Event) {
        let Some(slot) = self.streams.get_mut(&name) else { return };
        slot.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        slot.writable |= event.is_writable() || event.is_error();
        if let Some(want) = slot.dialling.filter(|_| slot.writable) {
            return self.settle(name, want);
        }
        self.work(name);
    }

    /// Moves what one stream can move.
    fn work(&mut self, name: u64) {
        let Some(slot) = self.streams.get_mut(&name).filter(|slot| slot.dialling.is_none()) else { return };
        let mut sent = 0;
        let wrote = slot.flush(&mut sent);
        if sent > 0 {
            let _ = self.inputs.send(Input::Sent(Stream(name), sent));
        }
        let read = slot.read(&mut self.buffer, |bytes| {
            let _ = self.inputs.send(Input::Data(Stream(name), bytes.to_vec()));
        });
        if let Err(why) = wrote.and(read) {
            log::debug!("a stream has ended: {why}");
            self.remove(name);
            self.tell(Input::Ended(Stream(name)));
        }
    }

    fn remove(&mut self, name: u64) {
        let Some(slot) = self.streams.remove(&name) else { return };
        if let Owned::Polled(fd) = &slot.owned {
            // The kernel forgets a descriptor when it is closed; this only says it a moment earlier.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
        if let Some(listener) = slot.listener.and_then(|index| self.listeners.get_mut(index)) {
            listener.streams -= 1;
        }
    }

    /// Lets clients in, as far as there is room.
    fn accept(&mut self, index: usize) {
        loop {
            let Some(slot) = self.listeners.get_mut(index) else { return };
            let most = if slot.single { 1 } else { MOST };
            if !slot.waiting || slot.streams >= most {
                return;
            }
            let accepted = match &slot.listener {
                Listener::Tcp(socket) => socket.accept().and_then(|(client, from)| {
                    client.set_nonblocking(true)?;
                    client.set_tcp_nodelay(true)?;
                    Ok((OwnedFd::from(client), from.as_socket().map(|addr| addr.ip())))
                }),
                Listener::Unix { socket, .. } => socket.accept().and_then(|(client, _)| {
                    client.set_nonblocking(true)?;
                    Ok((OwnedFd::from(client), None))
                }),
            };
            let want = slot.want;
            match accepted {
                Ok((fd, peer)) => match self.insert(Owned::Polled(fd), Some(index), None, None) {
                    Ok(stream) => {
                        self.listeners[index].streams += 1;
                        self.tell(Input::Opened { want, stream, peer });
                    }
                    Err(error) => log::error!("cannot wait for a client: {error}"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => slot.waiting = false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return log::error!("cannot accept a client: {error}"),
            }
        }
    }

    fn dial(&mut self, want: usize) {
        let begun = self.begin(want).and_then(|socket| {
            self.insert(Owned::Polled(OwnedFd::from(socket)), None, Some(want), None).map_err(|error| error.to_string())
        });
        if let Err(why) = begun {
            self.tell(Input::Unreachable(want, why));
        }
    }

    fn begin(&self, want: usize) -> std::result::Result<Socket, String> {
        let addr = self.dials.get(&want).ok_or("nothing to dial")?;
        let addr = open::resolve(addr).map_err(|error| error.what().to_owned())?;
        let made = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            match socket.connect(&addr.into()) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
                _ => Ok(socket),
            }
        };
        made().map_err(|error: io::Error| format!("cannot connect to {addr}: {error}"))
    }

    /// A connection that was begun stands, or does not.
    fn settle(&mut self, name: u64, want: usize) {
        let Some(StreamSlot { owned: Owned::Polled(fd), dialling, .. }) = self.streams.get_mut(&name) else { return };
        let socket = socket2::SockRef::from(&*fd);
        let failed = match socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(error),
            Ok(None) => socket.peer_addr().err(),
        };
        match failed {
            None => {
                let peer: Option<IpAddr> = socket.peer_addr().ok().and_then(|addr| addr.as_socket()).map(|it| it.ip());
                *dialling = None;
                self.tell(Input::Opened { want, stream: Stream(name), peer });
                self.work(name);
            }
            Some(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Some(error) => {
                self.remove(name);
                self.tell(Input::Unreachable(want, error.to_string()));
            }
        }
    }
}

impl StreamSlot {
    /// Sends what waits. `sent` counts what has left.
    fn flush(&mut self, sent: &mut usize) -> io::Result<()> {
        while self.writable && !self.unsent.is_empty() {
            let piece = self.unsent.as_slices().0;
            let result = match &mut self.owned {
                Owned::Polled(fd) => rustix::io::write(&*fd, piece).map_err(io::Error::from),
                Owned::Written(file) => file.write(piece),
                // Nothing can be sent to what is only read.
                Owned::Read(_) => Ok(piece.len()),
            };
            match result {
                Ok(count) => {
                    self.unsent.drain(..count);
                    *sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the window allows. An end is an error.
    fn read(&mut self, buffer: &mut [u8], mut tell: impl FnMut(&[u8])) -> io::Result<()> {
        while self.readable && self.room > 0 {
            let length = self.room.min(buffer.len());
            let place = &mut buffer[..length];
            let result = match &mut self.owned {
                Owned::Polled(fd) => rustix::io::read(&*fd, &mut *place).map_err(io::Error::from),
                Owned::Read(file) => file.read(place),
                Owned::Written(_) => Err(Errno::AGAIN.into()),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.room -= count;
                    tell(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
