//! Counters of the gateway: flows begun, and packets dropped by reason.

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
