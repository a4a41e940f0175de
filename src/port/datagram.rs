//! Packet-keeping sockets: `unixseq:` (SOCK_SEQPACKET), `unixgram:` and `udp:` (SOCK_DGRAM), one frame a packet.
//!
//! Theory of operation. A sequenced-packet socket is connected and tells when its peer has left. A datagram socket
//! has no connection to lose: its peer may be away, come back under the same name, or never have been there; frames
//! meanwhile are dropped and counted as `no-peer`.
//!
//! A UNIX datagram socket is never connected: a connected one refuses everybody else, the restarted peer included, and
//! when it is disconnected the kernel throws away what waits in it (`unix_dgram_disconnected`). The price is that the
//! kernel looks the peer up by its path for every frame. But an unconnected socket is not told when its peer, whose
//! queue was full, has read. So there is a second socket, the *lookout*, which is connected to a peer that took nothing,
//! never carries a frame, and becomes writable when the peer has read or died.

use super::Gone;
use super::frame_io::{FrameIo, Got, Refusal};
use crate::counters::DropReason;
use crate::limits::MAX_FRAME;
use crate::rights::deed;
use crate::wire::Offload;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, connect, recv, recvfrom, send, sendto};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Lookups of a peer through the keeper of rights, per [`REST`].
const ASKS: u32 = 32;
/// See [`ASKS`].
const REST: Duration = Duration::from_millis(20);

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
        let room = &mut room[..=MAX_FRAME];
        let (_, mut len) = recv(&self.0, &mut *room, RecvFlags::TRUNC)?;
        // An empty packet reads as the end does. It is none while the peer is there, nor while more comes.
        if len == 0 && has_left(&self.0) {
            (_, len) = recv(&self.0, room, RecvFlags::TRUNC)?;
            if len == 0 {
                return Err(Errno::PIPE);
            }
        }
        Ok(Got { len, offload: Offload::NONE })
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

/// Whether the peer sends no more.
fn has_left(fd: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(fd, PollFlags::RDHUP)];
    // If the poll fails, there is no peer.
    poll(&mut asked, Some(&Timespec::default())) != Ok(0)
}

impl AsFd for Sequenced {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A bound UNIX datagram socket and its peer.
pub struct UnixGram {
    fd: OwnedFd,
    /// Becomes writable when a peer that took nothing has room.
    lookout: OwnedFd,
    peer: Option<SocketAddrUnix>,
    /// The peer is whoever sent last, because none was given.
    follows: bool,
    /// Requests to the keeper of rights that are left before a rest, and when they began.
    asks: (u32, Instant),
}

impl UnixGram {
    /// Takes over a bound, non-blocking socket, and another datagram socket as its lookout. Without a `peer`, it is
    /// whoever sent last.
    pub fn new(fd: OwnedFd, lookout: OwnedFd, peer: Option<SocketAddrUnix>) -> Self {
        Self { fd, lookout, follows: peer.is_none(), peer, asks: (ASKS, Instant::now()) }
    }

    /// The descriptor that becomes writable when a peer that took nothing has room, if the socket itself does not.
    pub fn lookout(&self) -> BorrowedFd<'_> {
        self.lookout.as_fd()
    }

    /// The peer's path, for messages.
    pub fn peer(&self) -> String {
        let path = self.peer.as_ref().and_then(SocketAddrUnix::path_bytes);
        path.map_or_else(|| "nobody yet".into(), |path| String::from_utf8_lossy(path).into_owned())
    }

    /// Sends by the lookout, which the keeper of rights connects if this thread may not reach the peer by its path. A
    /// peer that was restarted is connected anew.
    fn send_connected(&mut self, frame: &[u8], refused: Errno) -> Result<(), Errno> {
        match send(&self.lookout, frame, SendFlags::NOSIGNAL) {
            Err(errno @ (Errno::NOTCONN | Errno::CONNREFUSED | Errno::CONNRESET | Errno::DESTADDRREQ)) => {
                if !self.may_ask() {
                    return Err(errno);
                }
                let path = self.peer.as_ref().and_then(SocketAddrUnix::path_bytes).ok_or(refused)?;
                let path = Path::new(OsStr::from_bytes(path));
                deed::connect(&self.lookout, path, refused)?;
                send(&self.lookout, frame, SendFlags::NOSIGNAL).map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Whether the keeper may be asked once more: a flood to a peer that is away is not worth a question a frame.
    fn may_ask(&mut self) -> bool {
        let (left, since) = &mut self.asks;
        if since.elapsed() >= REST {
            (*left, *since) = (ASKS, Instant::now());
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// After a peer took nothing: whether to try again at once. If not, the lookout becomes writable later.
    fn may_try_again(&self, peer: &SocketAddrUnix) -> bool {
        // A peer that is connected to the socket itself refuses the lookout; and then it is the socket that tells.
        if connect(&self.lookout, peer).is_err() {
            return true;
        }
        // This poll also makes the kernel report writability.
        let mut asked = [PollFd::new(&self.lookout, PollFlags::OUT)];
        let told = poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        told != Ok(0)
    }
}

impl FrameIo for UnixGram {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        let room = &mut room[..=MAX_FRAME];
        if !self.follows {
            let (_, len) = recv(&self.fd, room, RecvFlags::TRUNC)?;
            return Ok(Got { len, offload: Offload::NONE });
        }
        let (_, len, from) = recvfrom(&self.fd, room, RecvFlags::TRUNC)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        self.peer = from.filter(|from| from.path_bytes().is_some()).or(self.peer.take());
        Ok(Got { len, offload: Offload::NONE })
    }

    fn send(&mut self, frame: &[u8], _: &Offload) -> Result<(), Errno> {
        let Some(peer) = &self.peer else { return Err(Errno::DESTADDRREQ) };
        match sendto(&self.fd, frame, SendFlags::NOSIGNAL, peer) {
            // Not with this thread's rights.
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => self.send_connected(frame, errno),
            Err(Errno::AGAIN) if self.may_try_again(peer) => {
                sendto(&self.fd, frame, SendFlags::NOSIGNAL, peer).map(drop)
            }
            done => done.map(drop),
        }
    }

    fn refusal(&mut self, errno: Errno, _: bool) -> Refusal {
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
            // An ICMP error of an earlier datagram: nobody was there to take it.
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

#[cfg(test)]
mod tests {
    use super::super::frame_io;
    use super::*;
    use crate::counters::Counters;
    use crate::frame::{Batch, Outgoing, PortId};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::unix::net::UnixDatagram;

    const FRAME: [u8; 60] = [0x53; 60];

    const BACKLOG: usize = 1 << 10;

    /// A port at `port` with its peer at `peer`, and a third socket, all in a folder of their own.
    fn three(name: &str) -> (UnixGram, UnixDatagram, UnixDatagram, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("zbridge-gram-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bind = |name: &str| UnixDatagram::bind(folder.join(name)).unwrap();
        let (port, peer, other) = (bind("port"), bind("peer"), bind("other"));
        for socket in [&port, &peer, &other] {
            socket.set_nonblocking(true).unwrap();
        }
        let lookout = UnixDatagram::unbound().unwrap();
        let peer_path = SocketAddrUnix::new(folder.join("peer")).unwrap();
        (UnixGram::new(port.into(), lookout.into(), Some(peer_path)), peer, other, folder)
    }

    fn send(gram: &mut UnixGram, frames: usize) -> (usize, Counters) {
        let mut batch = Batch::new(256 * 1024);
        (0..frames).for_each(|_| assert!(batch.push(&FRAME, PortId(0), Offload::NONE)));
        let mut counters = Counters::default();
        (frame_io::transmit(gram, Outgoing::rest_of(&batch, 0), &mut counters).unwrap(), counters)
    }

    fn tells_of_room(gram: &UnixGram) -> bool {
        let mut asked = [PollFd::new(&gram.lookout, PollFlags::OUT)];
        poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    fn drain(socket: &UnixDatagram) -> usize {
        let mut room = [0; 100];
        std::iter::from_fn(|| socket.recv(&mut room).ok()).count()
    }

    #[test]
    fn an_empty_packet_is_a_runt_and_not_the_end() {
        let flags = SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let mut port = Sequenced::new(near);
        let say = |bytes: &[u8]| super::send(&far, bytes, SendFlags::NOSIGNAL).unwrap();
        let mut room = vec![0; 2 * MAX_FRAME];
        say(&[]);
        assert_eq!(port.recv(&mut room).map(|got| got.len), Ok(0));
        assert_eq!(port.recv(&mut room).map(|got| got.len), Err(Errno::AGAIN));
        say(&FRAME);
        say(&[]);
        say(&FRAME);
        drop(far);
        assert_eq!(port.recv(&mut room).map(|got| got.len), Ok(60));
        assert_eq!(port.recv(&mut room).map(|got| got.len), Ok(60), "what the peer said before it left is heard");
        assert_eq!(port.recv(&mut room).map(|got| got.len), Err(Errno::PIPE));
    }

    #[test]
    fn what_waits_in_a_blocked_port_is_not_lost_and_anybody_may_speak_to_it() {
        let (mut gram, peer, other, folder) = three("blocked");
        let port = folder.join("port");
        peer.send_to(&FRAME, &port).unwrap();
        other.send_to(&FRAME, &port).unwrap();
        let taken = send(&mut gram, BACKLOG).0;
        assert!((1..BACKLOG).contains(&taken), "{taken}");
        assert!(!tells_of_room(&gram));
        other.send_to(&FRAME, &port).unwrap();
        assert_eq!(drain(&peer), taken);
        assert!(tells_of_room(&gram));
        assert_eq!(send(&mut gram, 3).0, 3);
        peer.send_to(&FRAME, &port).unwrap();
        let mut room = vec![0; 2 * MAX_FRAME];
        assert_eq!(std::iter::from_fn(|| gram.recv(&mut room).ok()).count(), 4);
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Then the kernel bounds what waits by its bytes, and it is the socket itself that becomes writable.
    #[test]
    fn a_peer_that_is_connected_to_the_port_bounds_it_too() {
        let (mut gram, peer, _other, folder) = three("connected");
        peer.connect(folder.join("port")).unwrap();
        let taken = send(&mut gram, BACKLOG).0;
        assert!((1..BACKLOG).contains(&taken), "{taken}");
        let room = |gram: &UnixGram| {
            let mut asked = [PollFd::new(&gram.fd, PollFlags::OUT)];
            poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
        };
        assert!(!room(&gram));
        assert_eq!(drain(&peer), taken);
        assert!(room(&gram));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_peer_that_left_is_a_counted_drop_and_its_successor_gets_the_next_frame() {
        let (mut gram, peer, _other, folder) = three("leaves");
        let taken = send(&mut gram, BACKLOG).0;
        assert!(!tells_of_room(&gram), "{taken}");
        drop(peer);
        assert!(tells_of_room(&gram), "a dead peer is told of");
        let (done, counters) = send(&mut gram, 3);
        assert_eq!((done, counters.dropped(DropReason::NoPeer), counters.tx_frames), (3, 3, 0));
        std::fs::remove_file(folder.join("peer")).unwrap();
        let successor = UnixDatagram::bind(folder.join("peer")).unwrap();
        successor.set_nonblocking(true).unwrap();
        assert_eq!(send(&mut gram, 2).1.tx_frames, 2);
        assert_eq!(drain(&successor), 2);
        successor.send_to(&FRAME, folder.join("port")).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
