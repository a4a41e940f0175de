//! A host that asks another whether it is there: by ping, or by opening a TCP connection.
//!
//! Sans-I/O as the endpoint in it. The question is asked every [`INTERVAL`] until it is answered. A connection that stands is the answer, and is reset at once: nothing was said on it.

use std::net::{IpAddr, SocketAddr};

use super::endpoint::{ConnId, Endpoint, EndpointConfig, Event};
use super::{Ingress, Service};
use crate::error::Result;
use crate::time::{Duration, Instant, earliest};

/// After how long a question is asked again.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// The identifier of its pings.
const IDENT: u16 = 0x7a62;
/// How long a connection may take to stand before it is tried anew.
const PATIENCE: Duration = Duration::from_millis(1000);

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Whether this address answers a ping.
    Ping(IpAddr),
    /// Whether this address accepts a connection.
    Tcp(SocketAddr),
}

/// See the module.
pub struct Prober {
    endpoint: Endpoint,
    question: Question,
    /// When it is asked next; `None`: it was answered.
    next: Option<Instant>,
    /// A connection under way, and when it is given up.
    under_way: Option<(ConnId, Instant)>,
    seq: u16,
}

impl Prober {
    /// A host with the endpoint of `config`, which asks when it is first polled.
    ///
    /// # Errors
    /// Those of [`Endpoint::new`].
    pub fn new(config: &EndpointConfig, question: Question) -> Result<Self> {
        Ok(Self { endpoint: Endpoint::new(config)?, question, next: Some(Instant::ZERO), under_way: None, seq: 0 })
    }

    /// Whether the question was answered. Nothing is asked any more then.
    pub fn is_answered(&self) -> bool {
        self.next.is_none()
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            let mine = |conn| self.under_way.is_some_and(|(mine, _)| mine == conn);
            match event {
                Event::EchoReply { from, .. } if self.question == Question::Ping(from) => self.next = None,
                Event::Connected(conn) if mine(conn) => {
                    self.endpoint.abort(conn);
                    (self.under_way, self.next) = (None, None);
                }
                Event::Closed(conn, _) if mine(conn) => {
                    (self.under_way, self.next) = (None, Some(now + INTERVAL));
                }
                _ => {}
            }
        }
    }

    /// Asks. That there is no route, or no room for a connection, is as good as no answer.
    fn ask(&mut self, now: Instant) {
        match self.question {
            Question::Ping(addr) => {
                self.seq = self.seq.wrapping_add(1);
                let _ = self.endpoint.ping(now, addr, IDENT, self.seq, b"zbridge asks whether you are ready");
            }
            Question::Tcp(addr) => {
                self.under_way = self.endpoint.connect(now, addr).ok().map(|conn| (conn, now + PATIENCE));
            }
        }
    }
}

impl Service for Prober {
    fn handle_frame(&mut self, now: Instant, ingress: Ingress, frame: &[u8]) {
        self.endpoint.handle_frame_from(now, ingress, frame);
        self.handle_events(now);
    }

    fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut dyn FnMut(&[u8])) -> usize {
        let sent = self.endpoint.poll_transmit(now, budget, &mut |frame: &[u8]| out(frame));
        self.handle_events(now);
        sent
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = self.under_way.map_or(self.next, |(_, until)| Some(until));
        earliest(own, self.endpoint.poll_timeout())
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        if let Some((conn, _)) = self.under_way.filter(|&(_, until)| until <= now) {
            self.endpoint.abort(conn);
            self.under_way = None;
        }
        if self.under_way.is_none() && self.next.is_some_and(|next| next <= now) {
            self.next = Some(now + INTERVAL);
            self.ask(now);
        }
        self.handle_events(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            to_prober.drain(..).for_each(|frame| prober.handle_frame(now, Ingress::ONLY, &frame));
            prober.handle_timeout(now);
            prober.poll_transmit(now, 100, &mut |frame| to_host.push(frame.to_vec()));
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
            let mut prober = prober(question);
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

    #[test]
    fn an_address_without_a_route_is_no_answer() {
        for question in
            ["198.51.100.1:80".parse().map(Question::Tcp).unwrap(), Question::Ping([198, 51, 100, 1].into())]
        {
            let mut prober = prober(question);
            assert_eq!(run(&mut prober, None, 0, 1000), None);
            assert!(prober.poll_timeout() >= Some(Instant::from_millis(1000)), "it does not spin");
        }
    }
}
