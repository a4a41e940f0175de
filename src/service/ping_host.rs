//! A simulated host that pings a peer: an endpoint, an interval, and statistics.
//!
//! Sans-I/O as the endpoint in it. It answers pings like any endpoint, so two of them can ping each other.

use std::net::IpAddr;

use super::endpoint::{Endpoint, EndpointConfig, Event};
use crate::error::Result;
use crate::frame::Batch;
use crate::service::machine::{Arrived, Service};
use crate::service::outside::Outside;
use crate::time::{Duration, Instant, earliest};

/// Data of one ping, in bytes: what ping(8) sends.
const DATA: usize = 56;

/// Statistics of the pings.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct PingStats {
    /// Requests sent.
    pub sent: u64,
    /// Replies received; duplicates do not count.
    pub received: u64,
    /// Shortest round trip.
    pub min: Option<Duration>,
    /// Longest round trip.
    pub max: Option<Duration>,
    /// Last round trip.
    pub last: Option<Duration>,
    /// Sum of all round trips: over `received` it is their mean.
    pub total: Duration,
}

impl PingStats {
    fn answered(&mut self, rtt: Duration) {
        self.received += 1;
        self.min = Some(self.min.map_or(rtt, |min| min.min(rtt)));
        self.max = Some(self.max.map_or(rtt, |max| max.max(rtt)));
        self.last = Some(rtt);
        self.total += rtt;
    }

    /// The mean round trip.
    pub fn mean(&self) -> Option<Duration> {
        self.total.checked_div(u32::try_from(self.received).ok()?)
    }
}

/// See the module.
pub struct PingHost {
    endpoint: Endpoint,
    peer: IpAddr,
    interval: Duration,
    next: Instant,
    seq: u16,
    ident: u16,
    stats: PingStats,
}

impl PingHost {
    /// A host that pings `peer` every `interval` (not below a millisecond), first when it is first polled.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn new(config: &EndpointConfig, peer: IpAddr, interval: Duration) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(config)?,
            peer,
            interval: interval.max(Duration::from_millis(1)),
            next: Instant::ZERO,
            seq: 0,
            ident: config.seed as u16,
            stats: PingStats::default(),
        })
    }

    /// The endpoint below.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Statistics of the pings.
    pub fn stats(&self) -> PingStats {
        self.stats
    }
}

impl Service for PingHost {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        self.endpoint.handle_frame_from(now, arrived.ingress, arrived.frame);
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::EchoReply { rtt, ident, .. } = event
                && ident == self.ident
            {
                self.stats.answered(rtt);
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        self.endpoint.fill(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        earliest(Some(self.next), self.endpoint.poll_timeout())
    }

    /// Pings, when it is time. After a pause the pings that were missed are not made up for.
    fn handle_timeout(&mut self, now: Instant, _: &mut dyn Outside) {
        self.endpoint.handle_timeout(now);
        if now < self.next {
            return;
        }
        self.next = now + self.interval;
        self.seq = self.seq.wrapping_add(1);
        self.stats.sent += 1;
        // Without a route it counts as sent and not answered.
        let _ = self.endpoint.ping(now, self.peer, self.ident, self.seq, &[0x5a; DATA]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::script::{Script, arrived, sent};
    use crate::wire::Mac;

    fn host(last: u8, peer: u8) -> PingHost {
        let mut config =
            EndpointConfig::new(Mac([2, 0, 0, 0, 0, last]), vec![format!("192.0.2.{last}/24").parse().unwrap()]);
        config.seed = last.into();
        PingHost::new(&config, IpAddr::from([192, 0, 2, peer]), Duration::from_millis(100)).unwrap()
    }

    /// Runs two hosts for `millis`, each frame taking one millisecond; `lost`: whether the frames are.
    fn run(hosts: &mut [PingHost; 2], from: u64, millis: u64, lost: bool) {
        let mut wire: Vec<(usize, Vec<u8>)> = Vec::new();
        for at in from..from + millis {
            let now = Instant::from_millis(at);
            for (to, frame) in wire.drain(..).filter(|_| !lost) {
                hosts[to].handle_frame(now, arrived(&frame), &mut Script::default());
            }
            for (from, host) in hosts.iter_mut().enumerate() {
                wire.extend(sent(host, now, &mut Script::default()).into_iter().map(|frame| (1 - from, frame)));
                assert!(host.poll_timeout().is_some_and(|next| next > now));
            }
        }
    }

    #[test]
    fn two_hosts_ping_each_other() {
        let mut hosts = [host(1, 2), host(2, 1)];
        run(&mut hosts, 0, 1000, false);
        for host in &hosts {
            let stats = host.stats();
            assert_eq!((stats.sent, stats.received), (10, 10));
            assert_eq!(stats.last, Some(Duration::from_millis(2)));
            assert!(stats.max >= stats.min && stats.mean() >= stats.min && stats.mean() <= stats.max);
        }
        run(&mut hosts, 1000, 1000, true);
        assert_eq!((hosts[0].stats().sent, hosts[0].stats().received), (20, 10));
    }
}
