//! The generators' ends of a switch's ports: stream, packet and VDE sockets, and UDP sockets behind a TAP.

use super::frames::ETHERNET;
use super::{Fault, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with,
};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};
use support::Namespace;

/// How long a link may take to come to be, or to take a frame.
const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 9;
/// Bytes that may wait at a UDP receiver, so that what is lost was lost before.
const UDP_ROOM: usize = 64 << 20;

/// What lies on a link beside payloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Four bytes of length before each frame.
    Prefixed,
    /// One frame a packet.
    Packet,
    /// One payload a packet; the kernel makes the frame.
    Payload,
}

impl Framing {
    /// Bytes before each frame.
    pub fn prefix(self) -> usize {
        if self == Self::Prefixed { 4 } else { 0 }
    }

    /// Bytes of a frame before its payload.
    pub fn header(self) -> usize {
        if self == Self::Payload { 0 } else { ETHERNET }
    }

    /// What has to be sent so that the frame on the wire has `len` bytes.
    pub fn sent_len(self, len: usize) -> usize {
        // Ethernet, IPv4 and UDP headers
        if self == Self::Payload { len - (14 + 20 + 8) } else { len }
    }
}

/// One end.
pub struct Link {
    fd: OwnedFd,
    /// See [`Framing`].
    pub framing: Framing,
    /// A socket whose end would be the link's.
    _control: Option<OwnedFd>,
}

impl Link {
    fn new(fd: OwnedFd, framing: Framing) -> Result<Self> {
        set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
        Ok(Self { fd, framing, _control: None })
    }

    /// Connects to a stream or SOCK_SEQPACKET socket, as soon as somebody listens there.
    pub fn dial(path: &Path, kind: SocketType) -> Result<Self> {
        let framing = if kind == SocketType::STREAM { Framing::Prefixed } else { Framing::Packet };
        Self::new(dial(path, kind)?, framing)
    }

    /// Binds a datagram socket.
    pub fn gram(own: &Path) -> Result<Self> {
        let fd = socket(SocketType::DGRAM)?;
        bind(&fd, &SocketAddrUnix::new(own)?)?;
        Self::new(fd, Framing::Packet)
    }

    /// Gives a datagram socket its peer, as soon as that is there.
    pub fn aim(&self, peer: &Path) -> Result<()> {
        patiently(peer, || connect(&self.fd, &SocketAddrUnix::new(peer)?))
    }

    /// Becomes a port of the vde_switch whose folder is `folder`; `serial` tells the ports of this process apart.
    ///
    /// vde-2 `datasock.c`: over a stream socket go a request (magic, version 3, type 0, the client's `sockaddr_un`, a
    /// description) and the answer, the `sockaddr_un` where the switch receives. The stream stays open.
    pub fn vde(folder: &Path, own: &Path, serial: usize) -> Result<Self> {
        let control = dial(&folder.join("ctl"), SocketType::STREAM)?;
        let link = Self::gram(own)?;
        let mut request = Vec::new();
        for word in [0xfeed_face_u32, 3, 0] {
            request.extend_from_slice(&word.to_ne_bytes());
        }
        let path = own.as_os_str().as_encoded_bytes();
        let mut address = [0; 110];
        address[..2].copy_from_slice(&(AddressFamily::UNIX.as_raw()).to_ne_bytes());
        address[2..2 + path.len()].copy_from_slice(path);
        request.extend_from_slice(&address);
        request.extend_from_slice(format!("compare {serial}").as_bytes());
        send(&control, &request, SendFlags::NOSIGNAL)?;
        let mut answer = [0; 110];
        let (_, got) = recv(&control, &mut answer[..], RecvFlags::WAITALL)?;
        let path = answer.get(2..got).unwrap_or_default().split(|&byte| byte == 0).next().unwrap_or_default();
        if path.is_empty() {
            return Err("vde_switch did not accept the port".into());
        }
        connect(&link.fd, &SocketAddrUnix::new(path)?)?;
        Ok(Self { _control: Some(control), ..link })
    }

    /// A UDP socket on `near` in a namespace, which speaks to `far`.
    pub fn udp(namespace: &Namespace, near: Ipv4Addr, far: Ipv4Addr) -> Result<Self> {
        let socket = namespace.inside(|| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((near, PORT))?;
            socket.connect((far, PORT))?;
            Ok(socket)
        })?;
        set_socket_recv_buffer_size_force(&socket, UDP_ROOM)?;
        Self::new(socket.into(), Framing::Payload)
    }

    /// Sends bytes as they are: on a stream all of them, else one packet.
    pub fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match send(&self.fd, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                // by UDP: what was sent before found nobody
                Err(Errno::CONNREFUSED) if self.framing == Framing::Payload => {}
                Err(errno) => return Err(format!("the switch takes no more: {errno}").into()),
            }
        }
        Ok(())
    }

    /// Receives bytes as they come, at once or, with `wait`, when there are any (or none for the receive timeout).
    /// `None` when there are none.
    pub fn receive(&self, room: &mut [u8], wait: bool) -> Result<Option<usize>> {
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        match recv(&self.fd, room, flags) {
            Ok((_, 0)) => Err("the switch has closed a port".into()),
            Ok((_, got)) => Ok(Some(got)),
            Err(Errno::INTR | Errno::AGAIN | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Bounds how long a receive waits.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        Ok(set_socket_timeout(&self.fd, Timeout::Recv, Some(patience))?)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn socket(kind: SocketType) -> std::result::Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

fn dial(path: &Path, kind: SocketType) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    patiently(path, || connect(&fd, &SocketAddrUnix::new(path)?))?;
    Ok(fd)
}

/// Connects, as soon as it works.
fn patiently(path: &Path, attempt: impl Fn() -> std::result::Result<(), Errno>) -> Result<()> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(errno) if start.elapsed() > PATIENCE => {
                return Err(Fault::from(format!("nobody is at {}: {errno}", path.display())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
