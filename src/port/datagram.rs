//! Packet-keeping sockets: `unixseq:` (SOCK_SEQPACKET), `unixgram:` and `udp:` (SOCK_DGRAM), one frame a packet.
//!
//! Theory of operation. A sequenced-packet socket is connected and tells when its peer has left. A datagram socket
//! has no connection to lose: its peer may be away, come back under the same name, or never have been there; frames
//! meanwhile are dropped and counted as `no-peer`.
//!
//! A UNIX datagram socket stays unconnected, because a connected one refuses everybody else, the restarted peer
//! included. But only a connected one can wait for room in its peer's queue; the kernel looks an unconnected one's peer
//! up by its path for every frame; and it lets no more than ten frames wait for a socket that is not connected to their
//! sender, who sleeps and is woken all the time. Together that is a third of what a frame costs. So it is connected
//!
//! - while it is blocked (the kernel reports it writable when the peer has read or died),
//! - for the frames of one breath, if they are some,
//! - while its peer, if that was named, sends in bursts, and for [`HOLD`] after;
//!
//! the latter two only while its peer is all that it hears, as another would be refused meanwhile.

use super::Gone;
use super::frame_io::{FrameIo, Got, Refusal};
use crate::counters::DropReason;
use crate::limits::MAX_FRAME;
use crate::time::{Clock, Duration, Instant};
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
    /// The last frame that came was the peer's, from the address where frames go.
    is_heard: bool,
    /// So many came from it in a row, since there were none.
    burst: usize,
    /// What it sent last was not taken.
    is_blocked: bool,
    /// It is connected for what its peer sends, at least until then.
    hold: Option<Instant>,
    clock: Clock,
}

/// So many frames are worth connecting for.
const WORTH_CONNECTING: usize = 4;

/// How long a peer that has sent a burst may be silent before others may speak: a restart takes longer.
const HOLD: Duration = Duration::from_millis(2);

impl UnixGram {
    /// Takes over a bound, non-blocking socket. Without a `peer`, it is whoever sent last.
    pub fn new(fd: OwnedFd, peer: Option<SocketAddrUnix>) -> Self {
        let follows = peer.is_none();
        Self {
            fd,
            peer,
            follows,
            connected: false,
            is_heard: false,
            burst: 0,
            is_blocked: false,
            hold: None,
            clock: Clock::start(),
        }
    }

    /// Where frames go, as a person is told.
    pub fn peer(&self) -> String {
        let path = self.peer.as_ref().and_then(SocketAddrUnix::path_bytes);
        path.map_or_else(|| "nobody yet".into(), |path| String::from_utf8_lossy(path).into_owned())
    }

    /// The time until [`UnixGram::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        self.hold.map(|until| until - self.clock.now())
    }

    /// Lets others speak again, unless the peer is still speaking.
    pub fn handle_timeout(&mut self) {
        if self.burst > 0 {
            self.hold = Some(self.clock.now() + HOLD);
            return;
        }
        self.hold = None;
        if !self.is_blocked {
            self.release();
        }
    }

    /// Counts what comes in a row. Connects when it is a burst of the peer's.
    fn note_burst(&mut self) {
        self.burst = if self.is_heard { self.burst + 1 } else { 0 };
        if let Some(peer) = self.peer.as_ref().filter(|_| self.burst >= WORTH_CONNECTING && !self.follows)
            && self.hold.is_none()
        {
            self.connected = self.connected || connect(&self.fd, peer).is_ok();
            self.hold = self.connected.then(|| self.clock.now() + HOLD);
        }
    }

    /// Nothing more has come.
    fn note_silence(&mut self) {
        if std::mem::take(&mut self.burst) > 0 && self.hold.is_some() {
            self.hold = Some(self.clock.now() + HOLD);
        }
    }

    fn release(&mut self) {
        self.hold = None;
        if std::mem::take(&mut self.connected) {
            // Cannot fail on a socket that is connected; were it so, the next send would tell.
            let _ = connect_unspec(&self.fd);
        }
    }
}

impl FrameIo for UnixGram {
    fn recv(&mut self, room: &mut [u8]) -> Result<Got, Errno> {
        if self.hold.is_some() {
            // From the peer, but for what others had sent before.
            let (_, len) =
                recv(&self.fd, &mut room[..=MAX_FRAME], RecvFlags::TRUNC).inspect_err(|_| self.note_silence())?;
            self.burst += 1;
            return Ok(Got { len, offload: Offload::NONE });
        }
        let (_, len, from) =
            recvfrom(&self.fd, &mut room[..=MAX_FRAME], RecvFlags::TRUNC).inspect_err(|_| self.burst = 0)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        self.is_heard = from.is_some() && from == self.peer;
        self.note_burst();
        if self.follows && !self.connected && !self.is_heard {
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
        send(&self.fd, frame, SendFlags::NOSIGNAL).map(drop)
    }

    fn begin(&mut self, frames: usize) {
        if let Some(peer) =
            self.peer.as_ref().filter(|_| self.is_heard && !self.connected && frames >= WORTH_CONNECTING)
        {
            // When it fails, so does the first send, which says why.
            self.connected = connect(&self.fd, peer).is_ok();
        }
    }

    fn end(&mut self, blocked: bool) {
        self.is_blocked = blocked;
        if !blocked && self.hold.is_none() {
            self.release();
        }
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

#[cfg(test)]
mod tests {
    use super::super::frame_io;
    use super::*;
    use crate::counters::Counters;
    use crate::frame::{Batch, Outgoing, PortId};
    use std::os::unix::net::UnixDatagram;

    const FRAME: [u8; 60] = [0x53; 60];

    /// A port at `port` with its peer at `peer`, and a third socket, all in a folder of their own.
    fn three(name: &str) -> (UnixGram, UnixDatagram, UnixDatagram, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("zbridge-gram-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bind = |name: &str| UnixDatagram::bind(folder.join(name)).unwrap();
        let (port, peer, other) = (bind("port"), bind("peer"), bind("other"));
        port.set_nonblocking(true).unwrap();
        let gram = UnixGram::new(port.into(), Some(SocketAddrUnix::new(folder.join("peer")).unwrap()));
        (gram, peer, other, folder)
    }

    fn send(gram: &mut UnixGram, frames: usize) -> (usize, Counters) {
        let mut batch = Batch::new(64 * 1024);
        (0..frames).for_each(|_| assert!(batch.push(&FRAME, PortId(0), Offload::NONE)));
        let mut counters = Counters::default();
        (frame_io::transmit(gram, Outgoing::rest_of(&batch, 0), &mut counters).unwrap(), counters)
    }

    #[test]
    fn whoever_speaks_between_two_breaths_is_heard() {
        let (mut gram, peer, other, folder) = three("heard");
        let mut room = vec![0; 2 * MAX_FRAME];
        for (speaker, heard) in [(&peer, true), (&other, false), (&peer, true)] {
            speaker.send_to(&FRAME, folder.join("port")).unwrap();
            assert_eq!(gram.recv(&mut room).unwrap().len, FRAME.len());
            assert_eq!(gram.is_heard, heard);
            // it is connected for these only if nobody else would be refused, and never longer
            gram.begin(WORTH_CONNECTING);
            assert_eq!(gram.connected, heard);
            assert_eq!(send(&mut gram, WORTH_CONNECTING).0, WORTH_CONNECTING);
            assert!(!gram.connected);
            (0..WORTH_CONNECTING).for_each(|_| assert_eq!(peer.recv(&mut room).unwrap(), FRAME.len()));
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_peer_that_sends_in_bursts_is_the_only_one_that_is_heard_until_it_has_been_silent() {
        let (mut gram, peer, other, folder) = three("burst");
        let port = folder.join("port");
        let mut room = vec![0; 2 * MAX_FRAME];
        for _ in 0..WORTH_CONNECTING {
            peer.send_to(&FRAME, &port).unwrap();
            gram.recv(&mut room).unwrap();
        }
        assert!(gram.connected && gram.due_in().is_some());
        assert_eq!(other.send_to(&FRAME, &port).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        // what it sends meanwhile does not end it
        assert_eq!(send(&mut gram, WORTH_CONNECTING).0, WORTH_CONNECTING);
        gram.handle_timeout();
        assert!(gram.connected, "the peer was not silent");
        assert_eq!(gram.recv(&mut room).err(), Some(Errno::AGAIN));
        gram.handle_timeout();
        assert!(!gram.connected && gram.due_in().is_none());
        other.send_to(&FRAME, &port).unwrap();
        assert_eq!(gram.recv(&mut room).unwrap().len, FRAME.len());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_peer_that_leaves_in_the_middle_is_a_counted_drop_and_its_successor_gets_the_next_frame() {
        let (mut gram, peer, _other, folder) = three("leaves");
        peer.send_to(&FRAME, folder.join("port")).unwrap();
        gram.recv(&mut vec![0; 2 * MAX_FRAME]).unwrap();
        gram.begin(WORTH_CONNECTING);
        assert!(gram.connected);
        drop(peer);
        std::fs::remove_file(folder.join("peer")).unwrap();
        let successor = UnixDatagram::bind(folder.join("peer")).unwrap();
        let (done, counters) = send(&mut gram, 3);
        assert_eq!((done, counters.dropped(DropReason::NoPeer), counters.tx_frames), (3, 1, 2));
        let mut room = [0; 100];
        (0..2).for_each(|_| assert_eq!(successor.recv(&mut room).unwrap(), FRAME.len()));
        successor.send_to(&FRAME, folder.join("port")).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
