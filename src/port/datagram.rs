//! Packet-keeping sockets: `unixseq:` (SOCK_SEQPACKET), `unixgram:` and `udp:` (SOCK_DGRAM), one frame a packet.
//!
//! Theory of operation. A sequenced-packet socket is connected and tells when its peer has left. A datagram socket
//! has no connection to lose: its peer may be away, come back under the same name, or never have been there; frames
//! meanwhile are dropped and counted as `no-peer`.
//!
//! A UNIX datagram socket stays unconnected, because a connected one refuses everybody else, the restarted peer
//! included. But only a connected one can wait for room in its peer's queue. So it is connected just while it is
//! blocked: then the kernel reports it writable when the peer has read or died, and the next send releases it.

use super::Gone;
use super::frame_io::{FrameIo, Got, Refusal};
use crate::counters::DropReason;
use crate::limits::MAX_FRAME;
use crate::wire::Offload;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, connect, connect_unspec, recv, recvfrom, send, sendto};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A connected SOCK_SEQPACKET socket.
pub struct Sequenced(OwnedFd);

impl Sequenced {
    /// Takes over a connected, non-blocking socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl FrameIo for Sequenced {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        match recv(&self.0, &mut room[..=MAX_FRAME], RecvFlags::TRUNC)? {
            // An empty packet cannot be told from the end, and is no frame either.
            (_, 0) => Err(Errno::PIPE),
            (_, len) => Ok(Got { len, offload: Offload::NONE }),
        }
    }

    fn send(&mut self, frame: &[u8], _: &Offload) -> Result<(), Errno> {
        send(&self.0, frame, SendFlags::NOSIGNAL).map(drop)
    }

    fn refusal(&mut self, errno: Errno, _: bool) -> Refusal {
        match errno {
            Errno::NOBUFS | Errno::NOMEM => Refusal::Drop(DropReason::System),
            Errno::MSGSIZE => Refusal::Drop(DropReason::TooBig),
            Errno::PIPE | Errno::CONNRESET => Refusal::Gone(Gone("its peer closed the connection".into())),
            errno => Refusal::Gone(Gone(format!("its socket failed: {}", std::io::Error::from(errno)))),
        }
    }
}

impl AsFd for Sequenced {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A bound UNIX datagram socket and its peer.
pub struct UnixGram {
    fd: OwnedFd,
    peer: Option<SocketAddrUnix>,
    /// The peer is whoever sent last, because none was given.
    follows: bool,
    connected: bool,
}

impl UnixGram {
    /// Takes over a bound, non-blocking socket. Without a `peer`, it is whoever sent last.
    pub fn new(fd: OwnedFd, peer: Option<SocketAddrUnix>) -> Self {
        Self { fd, follows: peer.is_none(), peer, connected: false }
    }

    /// Where frames go, as a person is told.
    pub fn peer(&self) -> String {
        let path = self.peer.as_ref().and_then(SocketAddrUnix::path_bytes);
        path.map_or_else(|| "nobody yet".into(), |path| String::from_utf8_lossy(path).into_owned())
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.connected) {
            // Cannot fail on a socket that is connected; were it so, the next send would tell.
            let _ = connect_unspec(&self.fd);
        }
    }
}

impl FrameIo for UnixGram {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        let (_, len, from) = recvfrom(&self.fd, &mut room[..=MAX_FRAME], RecvFlags::TRUNC)?;
        if self.follows && !self.connected {
            let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
            self.peer = from.filter(|from| from.path_bytes().is_some()).or(self.peer.take());
        }
        Ok(Got { len, offload: Offload::NONE })
    }

    fn send(&mut self, frame: &[u8], _: &Offload) -> Result<(), Errno> {
        let Some(peer) = &self.peer else { return Err(Errno::DESTADDRREQ) };
        if !self.connected {
            match sendto(&self.fd, frame, SendFlags::NOSIGNAL, peer) {
                Err(Errno::AGAIN) => self.connected = connect(&self.fd, peer).is_ok(),
                done => return done.map(drop),
            }
        }
        // Asked once more when connected: the peer may have read in between, and then nobody would tell.
        send(&self.fd, frame, SendFlags::NOSIGNAL)?;
        self.release();
        Ok(())
    }

    fn refusal(&mut self, errno: Errno, _: bool) -> Refusal {
        self.release();
        match errno {
            Errno::CONNREFUSED
            | Errno::NOENT
            | Errno::NOTCONN
            | Errno::CONNRESET
            | Errno::DESTADDRREQ
            | Errno::PERM => Refusal::Drop(DropReason::NoPeer),
            Errno::MSGSIZE => Refusal::Drop(DropReason::TooBig),
            Errno::NOBUFS | Errno::NOMEM | Errno::ACCESS => Refusal::Drop(DropReason::System),
            errno => Refusal::Gone(Gone(format!("its socket failed: {}", std::io::Error::from(errno)))),
        }
    }
}

impl AsFd for UnixGram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A UDP socket that is bound to one address and connected to another.
pub struct Udp(OwnedFd);

impl Udp {
    /// Takes over a bound, connected, non-blocking socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl FrameIo for Udp {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        let (_, len) = recv(&self.0, &mut room[..=MAX_FRAME], RecvFlags::TRUNC)?;
        Ok(Got { len, offload: Offload::NONE })
    }

    fn send(&mut self, frame: &[u8], _: &Offload) -> Result<(), Errno> {
        send(&self.0, frame, SendFlags::NOSIGNAL).map(drop)
    }

    fn refusal(&mut self, errno: Errno, _: bool) -> Refusal {
        match errno {
            // Tells of an earlier datagram that nobody was there to take.
            Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH => Refusal::Drop(DropReason::NoPeer),
            Errno::MSGSIZE => Refusal::Drop(DropReason::TooBig),
            Errno::NETDOWN => Refusal::Drop(DropReason::LinkDown),
            Errno::NOBUFS | Errno::NOMEM | Errno::PERM => Refusal::Drop(DropReason::System),
            errno => Refusal::Gone(Gone(format!("its socket failed: {}", std::io::Error::from(errno)))),
        }
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
