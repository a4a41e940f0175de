//! Events and counters of an endpoint, and the names of its connections.

use std::net::{IpAddr, SocketAddr};

use crate::time::Duration;

/// A connection. The name of one that has ended is not used again: calls with it do nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A port that is listened on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub(super) u32);

/// Something happened. Events of one connection come in the order of this list, each at most once for several causes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer has opened a connection to a listener.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// The listener.
        listener: ListenerId,
        /// Our address, one of perhaps several.
        local: SocketAddr,
        /// The peer's address.
        peer: SocketAddr,
    },
    /// The connection that we opened stands.
    Connected(ConnId),
    /// Data has arrived since the last such event. Unread data makes no further event: a service that stops reading has
    /// to remember that.
    Readable(ConnId),
    /// A partial send can go on: at least a quarter of the buffer is free.
    Writable(ConnId),
    /// The peer has sent its FIN: nothing follows what can be read now. Sending is still possible.
    PeerClosed(ConnId),
    /// The end; the connection's name is void. For [`CloseReason::Finished`] it comes once everything has been read.
    Closed(ConnId, CloseReason),
    /// A ping was answered.
    EchoReply {
        /// The sender of the reply.
        from: IpAddr,
        /// The identifier of the request.
        ident: u16,
        /// The sequence number of the request.
        seq: u16,
        /// Bytes of data.
        len: usize,
        /// Round trip time, from the call to the reply's frame.
        rtt: Duration,
    },
}

/// Why a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides have closed, and each has the other's data.
    Finished,
    /// The peer refused the connection.
    Refused,
    /// The peer reset the connection; data may be lost.
    Reset,
    /// The peer did not answer for too long.
    TimedOut,
}

/// Counters since the endpoint was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Frames taken.
    pub frames_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Frames given out.
    pub frames_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// Frames to other hosts and groups, our own coming back, and protocols that are not served.
    pub ignored: u64,
    /// Frames with wrong lengths, checksums or addresses.
    pub malformed: u64,
    /// Fragments, which are not reassembled.
    pub fragments: u64,
    /// Packets and replies given up: too many waited, or their neighbour did not answer.
    pub dropped: u64,
    /// Packets that had no route.
    pub no_route: u64,
    /// Messages by which another host claimed one of our addresses.
    pub conflicts: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections refused, by RST, for a limit.
    pub refused: u64,
    /// Connection requests left unanswered because the listener's backlog was full; the peer asks again.
    pub backlogged: u64,
    /// Connections that the peer reset.
    pub resets: u64,
    /// Connections whose peer did not answer any more.
    pub timeouts: u64,
    /// Segments of connections from other stations than their peers.
    pub foreign: u64,
}
