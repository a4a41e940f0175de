//! Counters of the gateway: flows begun, and packets dropped by reason.

use crate::service::report::LostRow;

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// TCP connections that were begun, of guests and of forwards.
    pub tcp: u64,
    /// UDP ports of guests, and clients of UDP forwards, that were given a socket or a port.
    pub udp: u64,
    /// Pings of guests that were given a socket.
    pub echo: u64,
    /// Packets whose lengths or checksums are wrong.
    pub malformed: u64,
    /// Packets whose source is no guest's address.
    pub foreign: u64,
    /// Packets of a protocol that is not translated, to nobody, with hop limit 1, or of datagrams that did not become
    /// whole.
    pub ignored: u64,
    /// Packets to destinations that are forbidden.
    pub forbidden: u64,
    /// Flows that were refused, or took another's place, because there were as many as there may be, or as one guest
    /// may have.
    pub flows: u64,
    /// Bytes of guests that found no memory; they are sent again.
    pub memory: u64,
    /// Frames for guests, and questions to the gateway's servers, that were lost because too many waited.
    pub overrun: u64,
    /// Failures of the host: no descriptors, no buffers.
    pub host: u64,
}

/// A counter of them.
type Count = fn(&Stats) -> u64;

/// What the gateway drops, by reason: the row, and its counter.
pub const DROPS: &[(LostRow, Count)] = &[
    (
        LostRow {
            word: "malformed",
            meaning: "packets whose lengths or checksums are wrong",
            advice: "look at one with `zbridge capture`: the sender's stack or driver is at fault",
        },
        |stats| stats.malformed,
    ),
    (
        LostRow {
            word: "foreign",
            meaning: "packets whose source is no address of the segment",
            advice: "give the guest an address of the gateway's network, by DHCP or by hand",
        },
        |stats| stats.foreign,
    ),
    (
        LostRow {
            word: "ignored",
            meaning: "packets of a protocol that is not translated, to nobody, or at the end of their hop limit",
            advice: "TCP, UDP and pings pass; what else is to leave the segment needs `tap:` or `packet:`",
        },
        |stats| stats.ignored,
    ),
    (
        LostRow {
            word: "forbidden",
            meaning: "packets to destinations that are forbidden",
            advice: "the host itself is reached with `host-loopback=on`; isolated guests not at all",
        },
        |stats| stats.forbidden,
    ),
    (
        LostRow {
            word: "refused",
            meaning: "flows that were refused, or took another's place, as there were as many as there may be",
            advice: "a guest opens very many connections, or scans: `zbridge capture` shows which",
        },
        |stats| stats.flows,
    ),
    (
        LostRow {
            word: "memory",
            meaning: "bytes of guests that found no memory; they are sent again",
            advice: "the other ends read too slowly: nothing is lost, only late",
        },
        |stats| stats.memory,
    ),
    (
        LostRow {
            word: "overrun",
            meaning: "frames for guests, and questions to the gateway's servers, of which too many waited",
            advice: "a guest reads more slowly than it is sent to; TCP sends again",
        },
        |stats| stats.overrun,
    ),
    (
        LostRow {
            word: "host",
            meaning: "failures of the host: no descriptors, no buffers",
            advice: "raise `ulimit -n`, and look at the host's memory",
        },
        |stats| stats.host,
    ),
];

/// Present flows, and their memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flows {
    /// TCP connections, in whatever state.
    pub tcp: usize,
    /// UDP ports of guests, and clients of UDP forwards.
    pub udp: usize,
    /// Pings.
    pub echo: usize,
    /// Bytes that connections hold.
    pub held: usize,
}

/// `3 tcp, 1 udp, 0 ping`.
impl std::fmt::Display for Flows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} tcp, {} udp, {} ping", self.tcp, self.udp, self.echo)
    }
}
