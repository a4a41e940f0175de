//! The other end of a port: something that sends and receives whole frames.
//!
//! Four carriers, one [`Peer`] trait: a byte stream with length prefixes, datagrams, sequenced packets, and a TAP. All
//! block with a timeout; none reads ahead unless it is asked to receive, so a peer that is left alone is a peer that
//! does not read.

use crate::{Namespace, PATIENCE, eventually};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Room for the longest frame and more.
const ROOM: usize = 70_000;

/// What a peer got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A whole frame.
    Frame(Vec<u8>),
    /// Nothing in the time given.
    Nothing,
    /// The other side has closed the connection.
    Closed,
}

/// Sends and receives whole frames.
pub trait Peer {
    /// Sends one frame.
    ///
    /// # Errors
    /// Those of the carrier; `WouldBlock` if it took none for a while, because the other side does not read.
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// Waits for a frame, for at most `timeout`.
    fn receive(&mut self, timeout: Duration) -> Received;

    /// Sends one frame.
    ///
    /// # Panics
    /// If the carrier does not take it.
    fn send(&mut self, frame: &[u8]) {
        self.try_send(frame).unwrap_or_else(|error| panic!("sending a frame of {} octets: {error}", frame.len()));
    }

    /// The first frame to come that `wanted` says yes to. Others are passed over: hosts and kernels send unasked.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`], or the other side closes.
    fn receive_where(&mut self, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<u8>
    where
        Self: Sized,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut others = 0;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now())) {
                Received::Frame(frame) if wanted(&frame) => return frame,
                Received::Frame(_) => others += 1,
                end => panic!("waiting for a frame: {end:?}, after {others} others"),
            }
        }
    }

    /// Waits for exactly `frame`, passing over others.
    ///
    /// # Panics
    /// As [`receive_where`](Self::receive_where).
    fn expect(&mut self, frame: &[u8])
    where
        Self: Sized,
    {
        self.receive_where(|got| got == frame);
    }

    /// Listens for `time` and gives all that came.
    fn listen_for(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + time;
        let mut frames = Vec::new();
        while let Received::Frame(frame) = self.receive(deadline.saturating_duration_since(Instant::now())) {
            frames.push(frame);
        }
        frames
    }

    /// Listens for `time`, in which no frame may come that `unwanted` says yes to.
    ///
    /// # Panics
    /// With the frame, if one does.
    fn expect_none(&mut self, time: Duration, mut unwanted: impl FnMut(&[u8]) -> bool) {
        let found = self.listen_for(time).into_iter().find(|frame| unwanted(frame));
        assert!(found.is_none(), "a frame that should not have come: {found:02x?}");
    }
}

/// A peer made of one connected socket.
pub trait Connected: From<Socket> {
    /// The type of its sockets.
    const TYPE: Type;
}

/// Waits for connections, as QEMU does with `server=on`: [`StreamPeer::listen`], [`SeqPeer::listen`].
#[derive(Debug)]
pub struct Listener<P> {
    socket: Socket,
    peer: PhantomData<P>,
}

impl<P: Connected> Listener<P> {
    fn bind(domain: Domain, address: &SockAddr) -> Self {
        let socket = Socket::new(domain, P::TYPE, None).expect("a socket");
        // connections of a former listener on the same TCP address may not have been forgotten yet
        socket.set_reuse_address(true).expect("an option of sockets");
        socket.bind(address).expect("a free address");
        socket.listen(16).expect("a socket that listens");
        Self { socket, peer: PhantomData }
    }

    /// The address of a listener on TCP.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket").as_socket().expect("an IP address")
    }

    /// Takes the next connection.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`].
    pub fn accept(&self) -> P {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        self.socket.accept().unwrap_or_else(|error| panic!("no connection in {PATIENCE:?}: {error}")).0.into()
    }
}

fn unix_address(path: &Path) -> SockAddr {
    SockAddr::unix(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Connects, as soon as somebody listens there.
fn connect(domain: Domain, kind: Type, address: &SockAddr, name: &str) -> Socket {
    eventually(&format!("connecting to {name}"), || {
        let socket = Socket::new(domain, kind, None).expect("a socket");
        socket.connect(address).ok().map(|()| socket)
    })
}

/// Sets how long a send may block: long enough for a busy program, short enough to end a test.
fn limit_sends(socket: &Socket) {
    socket.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
}

/// Waits for one packet of a socket that keeps packets apart.
fn receive_packet(socket: &mut Socket, timeout: Duration) -> Option<Vec<u8>> {
    let mut room = vec![0; ROOM];
    match read_within(socket, &mut room, timeout) {
        Ok(len) => {
            room.truncate(len);
            Some(room)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("receiving: {error}"),
    }
}

/// One `read` that gives up with `WouldBlock` after `timeout`; of no time left it makes the shortest time there is.
fn read_within(socket: &mut Socket, room: &mut [u8], timeout: Duration) -> io::Result<usize> {
    socket.set_read_timeout(Some(timeout.max(Duration::from_micros(100))))?;
    loop {
        match socket.read(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A connection over which each frame follows its length, 4 octets big-endian (QEMU's `-netdev stream`).
#[derive(Debug)]
pub struct StreamPeer {
    socket: Socket,
    /// Octets that came and are not yet a whole frame.
    pending: Vec<u8>,
}

impl From<Socket> for StreamPeer {
    fn from(socket: Socket) -> Self {
        limit_sends(&socket);
        Self { socket, pending: Vec::new() }
    }
}

/// One end of a pair.
impl From<UnixStream> for StreamPeer {
    fn from(stream: UnixStream) -> Self {
        Socket::from(stream).into()
    }
}

impl Connected for StreamPeer {
    const TYPE: Type = Type::STREAM;
}

impl StreamPeer {
    /// Connects to the UNIX socket at `path`, as soon as somebody listens there.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        connect(Domain::UNIX, Type::STREAM, &unix_address(path), &path.display().to_string()).into()
    }

    /// Connects to `address` by TCP, as soon as somebody listens there.
    pub fn tcp(address: SocketAddr) -> Self {
        let stream = eventually(&format!("connecting to {address}"), || TcpStream::connect(address).ok());
        stream.set_nodelay(true).expect("an option of TCP");
        Socket::from(stream).into()
    }

    /// Waits for a connection on a new UNIX socket at `path`.
    pub fn listen(path: impl AsRef<Path>) -> Listener<Self> {
        Listener::bind(Domain::UNIX, &unix_address(path.as_ref()))
    }

    /// Waits for a connection by TCP to `address`; port 0 takes a free one.
    pub fn listen_tcp(address: SocketAddr) -> Listener<Self> {
        Listener::bind(Domain::for_address(address), &address.into())
    }

    /// Sends octets as they are: half a frame, a wrong length.
    ///
    /// # Errors
    /// Those of the socket; `WouldBlock` if the other side does not read.
    pub fn send_raw(&mut self, octets: &[u8]) -> io::Result<()> {
        self.socket.write_all(octets)
    }

    /// Waits until the other side closes the connection, passing over frames.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    pub fn expect_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now())) {
                Received::Closed => return,
                Received::Frame(_) => {}
                Received::Nothing => panic!("the connection is still open after {PATIENCE:?}"),
            }
        }
    }

    /// Takes a whole frame off the front of what came.
    fn take(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.pending.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let frame = rest.get(..length)?.to_vec();
        self.pending.drain(..4 + length);
        Some(frame)
    }
}

impl Peer for StreamPeer {
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(|_| ErrorKind::InvalidInput)?;
        self.send_raw(&[&length.to_be_bytes(), frame].concat())
    }

    fn receive(&mut self, timeout: Duration) -> Received {
        let deadline = Instant::now() + timeout;
        let mut room = vec![0; ROOM];
        loop {
            if let Some(frame) = self.take() {
                return Received::Frame(frame);
            }
            match read_within(&mut self.socket, &mut room, deadline.saturating_duration_since(Instant::now())) {
                Ok(0) => return Received::Closed,
                Ok(len) => self.pending.extend(&room[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Received::Closed,
                Err(error) => panic!("receiving: {error}"),
            }
        }
    }
}

/// A pair of datagram sockets, one frame a datagram (QEMU's `-netdev dgram`).
#[derive(Debug)]
pub struct GramPeer {
    socket: Socket,
    remote: SockAddr,
}

impl GramPeer {
    /// Receives at the new UNIX socket `local` and sends to `remote`, which may come and go.
    pub fn unix(local: impl AsRef<Path>, remote: impl AsRef<Path>) -> Self {
        Self::bind(Domain::UNIX, &unix_address(local.as_ref()), unix_address(remote.as_ref()))
    }

    /// Receives at the UDP address `local` and sends to `remote`.
    pub fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self::bind(Domain::for_address(local), &local.into(), remote.into())
    }

    fn bind(domain: Domain, local: &SockAddr, remote: SockAddr) -> Self {
        let socket = Socket::new(domain, Type::DGRAM, None).expect("a socket");
        socket.bind(local).expect("a free address");
        limit_sends(&socket);
        Self { socket, remote }
    }
}

impl Peer for GramPeer {
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.socket.send_to(frame, &self.remote).map(drop)
    }

    fn receive(&mut self, timeout: Duration) -> Received {
        receive_packet(&mut self.socket, timeout).map_or(Received::Nothing, Received::Frame)
    }
}

/// A connection of UNIX SOCK_SEQPACKET, one frame a packet.
#[derive(Debug)]
pub struct SeqPeer {
    socket: Socket,
}

impl From<Socket> for SeqPeer {
    fn from(socket: Socket) -> Self {
        limit_sends(&socket);
        Self { socket }
    }
}

impl Connected for SeqPeer {
    const TYPE: Type = Type::SEQPACKET;
}

impl SeqPeer {
    /// Connects to the UNIX socket at `path`, as soon as somebody listens there.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        connect(Domain::UNIX, Type::SEQPACKET, &unix_address(path), &path.display().to_string()).into()
    }

    /// Waits for a connection on a new UNIX socket at `path`.
    pub fn listen(path: impl AsRef<Path>) -> Listener<Self> {
        Listener::bind(Domain::UNIX, &unix_address(path.as_ref()))
    }
}

impl Peer for SeqPeer {
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    fn receive(&mut self, timeout: Duration) -> Received {
        match receive_packet(&mut self.socket, timeout) {
            None => Received::Nothing,
            // a packet of no octets cannot be told from the end
            Some(frame) if frame.is_empty() => Received::Closed,
            Some(frame) => Received::Frame(frame),
        }
    }
}

/// The test as the owner of a TAP: what the kernel sends to the interface comes here. Beside a bridge it gives raw
/// access to any interface.
pub struct TapPeer {
    tap: tun_tap::Iface,
}

impl TapPeer {
    /// Opens or creates the TAP `name` in `namespace`, without packet information, and sets it up.
    pub fn open(namespace: &Namespace, name: &str) -> Self {
        Self::open_as(namespace, name, tun_tap::Mode::Tap)
    }

    /// The same for a TUN, whose frames are bare packets.
    pub fn open_tun(namespace: &Namespace, name: &str) -> Self {
        Self::open_as(namespace, name, tun_tap::Mode::Tun)
    }

    fn open_as(namespace: &Namespace, name: &str, mode: tun_tap::Mode) -> Self {
        let tap = namespace.inside(|| tun_tap::Iface::without_packet_info(name, mode));
        let tap = tap.unwrap_or_else(|error| panic!("{mode:?} {name}: {error}"));
        tap.set_non_blocking().expect("an option of the descriptor");
        namespace.ip(&format!("link set {name} up"));
        Self { tap }
    }
}

impl Peer for TapPeer {
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.tap.send(frame).map(drop)
    }

    fn receive(&mut self, timeout: Duration) -> Received {
        let deadline = Instant::now() + timeout;
        let mut room = vec![0; ROOM];
        loop {
            match self.tap.recv(&mut room) {
                Ok(len) => return Received::Frame(room[..len].to_vec()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("receiving: {error}"),
                Err(_) if Instant::now() >= deadline => return Received::Nothing,
                // tun-tap has no timeout
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
