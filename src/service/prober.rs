//! A host that probes whether another is up: by ping, by opening a TCP connection, or by asking it for a name.
//!
//! Sans-I/O as the endpoint in it. A probe is repeated after an eighth of the time waited so far, so a host that is
//! ready soon is noticed within [`SOONEST`], and one that takes seconds is not probed a hundred times a second. ARP or
//! ND is repeated each time, too: the host's MAC may be all that is missing. A connection that stands is the answer,
//! and is reset at once: it has carried nothing.

mod names;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::endpoint::{ConnId, Endpoint, EndpointConfig, Event};
use crate::error::Result;
use crate::frame::Batch;
use crate::service::machine::{Arrived, Service};
use crate::service::outside::Outside;
use crate::time::{Duration, Instant, earliest};
use crate::wire::Cidr;

/// The shortest interval between probes.
pub const SOONEST: Duration = Duration::from_millis(10);
/// The longest interval between probes.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// The identifier of its pings.
const IDENT: u16 = 0x7a62;
/// How long a connection may take to stand before it is tried anew: at first, and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1000));

/// The kind of probe, and its target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Whether this address answers a ping.
    Ping(IpAddr),
    /// Whether this address accepts a connection.
    Tcp(SocketAddr),
    /// Whether this name server has an address for the name, this one if it is given. It is asked over TCP (RFC 7766).
    Name(SocketAddr, String, Option<IpAddr>),
}

/// See the module.
pub struct Prober {
    endpoint: Endpoint,
    question: Question,
    /// When to probe next; `None`: it was answered.
    next: Option<Instant>,
    /// When the first probe was sent.
    begun: Option<Instant>,
    /// A connection under way, and when it is given up.
    under_way: Option<(ConnId, Instant)>,
    seq: u16,
    /// What a name server has answered so far.
    heard: Vec<u8>,
}

impl Prober {
    /// A host with the endpoint of `config`, which probes when it is first polled.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn new(config: &EndpointConfig, question: Question) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(config)?,
            question,
            next: Some(Instant::ZERO),
            begun: None,
            under_way: None,
            seq: 0,
            heard: Vec::new(),
        })
    }

    /// Whether the target has answered. There are no more probes then.
    pub fn is_answered(&self) -> bool {
        self.next.is_none()
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            let mine = |conn| self.under_way.is_some_and(|(mine, _)| mine == conn);
            match event {
                Event::EchoReply { from, .. } if self.question == Question::Ping(from) => self.next = None,
                Event::Connected(conn) if mine(conn) && matches!(self.question, Question::Name(..)) => {
                    self.heard.clear();
                    let query = self.query();
                    self.endpoint.send(conn, &query);
                }
                Event::Readable(conn) if mine(conn) => self.hear(now, conn),
                Event::Connected(conn) if mine(conn) => {
                    self.endpoint.abort(conn);
                    (self.under_way, self.next) = (None, None);
                }
                Event::Closed(conn, _) if mine(conn) => {
                    (self.under_way, self.next) = (None, Some(now + self.interval(now)));
                }
                _ => {}
            }
        }
    }

    /// The question for a name: for an IPv6 address if one is wanted, otherwise for either by turns.
    fn query(&self) -> Vec<u8> {
        let Question::Name(_, name, addr) = &self.question else { return Vec::new() };
        let six = addr.map_or(self.seq.is_multiple_of(2), |addr| addr.is_ipv6());
        names::query(self.seq, name, six)
    }

    /// Takes what a name server has sent.
    fn hear(&mut self, now: Instant, conn: ConnId) {
        let heard = &mut self.heard;
        self.endpoint.recv(conn, |bytes| {
            heard.extend_from_slice(bytes);
            bytes.len()
        });
        let Question::Name(_, _, wanted) = &self.question else { return };
        let Some(found) = names::answer(&self.heard, self.seq) else { return };
        self.endpoint.abort(conn);
        self.under_way = None;
        let is_it = found.iter().any(|addr| wanted.is_none_or(|wanted| wanted == *addr));
        self.next = if is_it { None } else { Some(now + self.interval(now)) };
    }

    /// Time since the first probe.
    fn waited(&self, now: Instant) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| now.since(begun))
    }

    fn interval(&self, now: Instant) -> Duration {
        (self.waited(now) / 8).clamp(SOONEST, INTERVAL)
    }

    /// Repeats ARP or ND for the host, if its MAC is missing.
    fn look_again(&mut self) -> bool {
        self.endpoint.look_again(match &self.question {
            Question::Ping(addr) => *addr,
            Question::Tcp(addr) | Question::Name(addr, ..) => addr.ip(),
        })
    }

    /// Sends a probe. No route, or no room for a connection, counts as no answer.
    fn ask(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
        if self.look_again() {
            // the probe before is parked until ARP or ND is answered
            return;
        }
        self.seq = self.seq.wrapping_add(1);
        match self.question {
            Question::Ping(addr) => {
                let _ = self.endpoint.ping(now, addr, IDENT, self.seq, b"zbridge asks whether you are ready");
            }
            Question::Tcp(addr) | Question::Name(addr, ..) => {
                self.under_way = self
                    .endpoint
                    .connect(now, addr)
                    .ok()
                    .map(|conn| (conn, now + (self.waited(now) / 4).clamp(PATIENCE.0, PATIENCE.1)));
            }
        }
    }
}

/// An address in the network of `addr`, taken to be an IPv4 /24 or an IPv6 /64, from the network's end: one that is not
/// taken.
pub fn free_beside(addr: IpAddr, is_taken: impl Fn(IpAddr) -> bool) -> Cidr {
    let candidates: Box<dyn Iterator<Item = IpAddr>> = match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, _] = addr.octets();
            Box::new((1..=253).rev().map(move |last| Ipv4Addr::new(a, b, c, last).into()))
        }
        IpAddr::V6(addr) => {
            let network = addr.to_bits() & !u128::from(u64::MAX);
            Box::new((0..=0xffff).rev().map(move |last| Ipv6Addr::from_bits(network | 0xfeed_0000 | last).into()))
        }
    };
    let prefix = if addr.is_ipv4() { 24 } else { 64 };
    let mut free = candidates.filter(|candidate| *candidate != addr && !is_taken(*candidate));
    Cidr { addr: free.next().unwrap_or(addr), prefix }
}

impl Service for Prober {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        self.endpoint.handle_frame_from(now, arrived.ingress, arrived.frame);
        self.handle_events(now);
    }

    fn poll_transmit(&mut self, now: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        let more = self.endpoint.fill(now, out);
        self.handle_events(now);
        more
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = self.under_way.map_or(self.next, |(_, until)| Some(until));
        earliest(own, self.endpoint.poll_timeout())
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut dyn Outside) {
        self.endpoint.handle_timeout(now);
        if let Some((conn, _)) = self.under_way.filter(|&(_, until)| until <= now) {
            match self.look_again() {
                true => self.under_way = Some((conn, now + self.interval(now))),
                false => {
                    self.endpoint.abort(conn);
                    self.under_way = None;
                }
            }
        }
        if self.under_way.is_none() && self.next.is_some_and(|next| next <= now) {
            self.next = Some(now + self.interval(now));
            self.ask(now);
        }
        self.handle_events(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::script::{Script, arrived, sent};
    use crate::wire::Mac;

    fn config(last: u8) -> EndpointConfig {
        let addrs = vec![format!("192.0.2.{last}/24").parse().unwrap()];
        EndpointConfig { seed: last.into(), ..EndpointConfig::new(Mac([2, 0, 0, 0, 0, last]), addrs) }
    }

    /// Runs a prober and a host for `millis`, each frame taking one millisecond. Gives when it was answered.
    fn run(prober: &mut Prober, mut host: Option<&mut Endpoint>, from: u64, millis: u64) -> Option<u64> {
        let (mut to_host, mut to_prober): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let mut answered = None;
        for at in from..from + millis {
            let now = Instant::from_millis(at);
            let outside = &mut Script::default();
            to_prober.drain(..).for_each(|frame| prober.handle_frame(now, arrived(&frame), outside));
            to_host.extend(sent(prober, now, outside));
            answered = answered.or(prober.is_answered().then_some(at));
            if let Some(host) = host.as_deref_mut() {
                to_host.drain(..).for_each(|frame| host.handle_frame(now, &frame));
                while host.poll_event().is_some() {}
                host.poll_transmit(now, 100, &mut |frame: &[u8]| to_prober.push(frame.to_vec()));
            }
            to_host.clear();
        }
        answered
    }

    fn prober(question: Question) -> Prober {
        Prober::new(&config(9), question).unwrap()
    }

    #[test]
    fn a_host_that_comes_is_noticed() {
        let ping = Question::Ping("192.0.2.1".parse().unwrap());
        let tcp = Question::Tcp("192.0.2.1:80".parse().unwrap());
        for question in [ping, tcp] {
            let mut prober = prober(question.clone());
            assert_eq!(run(&mut prober, None, 0, 5000), None);
            let mut host = Endpoint::new(&config(1)).unwrap();
            host.listen(80, 4).unwrap();
            let answered = run(&mut prober, Some(&mut host), 5000, 5000);
            assert!(answered.is_some_and(|at| at < 7100), "{question:?} {answered:?}");
            assert_eq!((prober.endpoint.connections(), host.connections()), (0, 0), "nothing is left open");
            let sent = prober.endpoint.stats().frames_out;
            run(&mut prober, Some(&mut host), 10_000, 2000);
            assert!(prober.endpoint.stats().frames_out <= sent + 1, "it asks no more");
        }
    }

    #[test]
    fn a_closed_port_is_asked_again_until_it_is_open() {
        let mut prober = prober(Question::Tcp("192.0.2.1:81".parse().unwrap()));
        let mut host = Endpoint::new(&config(1)).unwrap();
        assert_eq!(run(&mut prober, Some(&mut host), 0, 3000), None);
        host.listen(81, 4).unwrap();
        let answered = run(&mut prober, Some(&mut host), 3000, 1000);
        assert!(answered.is_some_and(|at| at < 3210), "{answered:?}");
    }

    /// A program that starts answers after some tens of milliseconds, and is not to wait for a second of ARP.
    #[test]
    fn a_host_that_comes_soon_is_noticed_soon() {
        for (ready, latest) in [(5, 20), (60, 75), (800, 905)] {
            for question in ["192.0.2.1", "2001:db8::1"]
                .map(|addr| Question::Ping(addr.parse().unwrap()))
                .into_iter()
                .chain(["192.0.2.1:80", "[2001:db8::1]:80"].map(|addr| Question::Tcp(addr.parse().unwrap())))
            {
                let six = |last: u8| {
                    let mut config = config(last);
                    config.addrs.push(format!("2001:db8::{last}/64").parse().unwrap());
                    config
                };
                let mut prober = Prober::new(&six(9), question.clone()).unwrap();
                assert_eq!(run(&mut prober, None, 0, ready), None);
                let mut host = Endpoint::new(&six(1)).unwrap();
                host.listen(80, 4).unwrap();
                let answered = run(&mut prober, Some(&mut host), ready, 2000);
                assert!(answered.is_some_and(|at| at <= latest), "{question:?} ready {ready} noticed {answered:?}");
            }
        }
    }

    #[test]
    fn an_address_without_a_route_is_no_answer() {
        for question in
            ["198.51.100.1:80".parse().map(Question::Tcp).unwrap(), Question::Ping([198, 51, 100, 1].into())]
        {
            let mut prober = prober(question.clone());
            assert_eq!(run(&mut prober, None, 0, 1000), None);
            assert!(prober.poll_timeout() >= Some(Instant::from_millis(1000)), "it does not spin");
        }
    }
}
