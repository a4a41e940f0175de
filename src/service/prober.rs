//! A host that asks others whether they are there: by ping, or by opening a TCP connection.
//!
//! Sans-I/O as the endpoint in it. Each question is asked every [`INTERVAL`] until it is answered or forgotten; an
//! answer is told once. A connection that stands is the answer, and is reset at once: nothing was said on it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::Service;
use super::endpoint::{ConnId, Endpoint, EndpointConfig, Event};
use crate::error::Result;
use crate::time::{Duration, Instant, earliest};

/// After how long a question is asked again.
pub const INTERVAL: Duration = Duration::from_millis(200);
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

struct Asked {
    key: usize,
    question: Question,
    /// When it is asked next.
    next: Instant,
    /// A connection under way, and when it is given up.
    under_way: Option<(ConnId, Instant)>,
}

/// See the module.
pub struct Prober {
    endpoint: Endpoint,
    asked: Vec<Asked>,
    answers: VecDeque<usize>,
    seq: u16,
}

impl Prober {
    /// A host with the endpoint of `config` that asks nothing yet.
    ///
    /// # Errors
    /// Those of [`Endpoint::new`].
    pub fn new(config: &EndpointConfig) -> Result<Self> {
        Ok(Self { endpoint: Endpoint::new(config)?, asked: Vec::new(), answers: VecDeque::new(), seq: 0 })
    }

    /// Begins to ask. `key` names the question in [`Prober::poll_answer`] and [`Prober::forget`]; an earlier question of
    /// this name is forgotten.
    pub fn ask(&mut self, key: usize, question: Question) {
        self.forget(key);
        self.asked.push(Asked { key, question, next: Instant::ZERO, under_way: None });
    }

    /// Stops asking.
    pub fn forget(&mut self, key: usize) {
        let (gone, kept) = std::mem::take(&mut self.asked).into_iter().partition(|asked| asked.key == key);
        self.asked = kept;
        let connections = Vec::into_iter(gone).filter_map(|asked: Asked| asked.under_way);
        connections.for_each(|(conn, _)| self.endpoint.abort(conn));
    }

    /// The next question that was answered.
    pub fn poll_answer(&mut self) -> Option<usize> {
        self.answers.pop_front()
    }

    /// Takes out the question that `is` is true of, and tells that it is answered.
    fn answered(&mut self, is: impl Fn(&Asked) -> bool) {
        while let Some(at) = self.asked.iter().position(&is) {
            let asked = self.asked.remove(at);
            if let Some((conn, _)) = asked.under_way {
                self.endpoint.abort(conn);
            }
            self.answers.push_back(asked.key);
        }
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::EchoReply { from, .. } => self.answered(|asked| asked.question == Question::Ping(from)),
                Event::Connected(conn) => self.answered(|asked| asked.under_way.is_some_and(|(mine, _)| mine == conn)),
                Event::Closed(conn, _) => {
                    for asked in &mut self.asked {
                        if asked.under_way.is_some_and(|(mine, _)| mine == conn) {
                            asked.under_way = None;
                            asked.next = now + INTERVAL;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

impl Service for Prober {
    fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        self.endpoint.handle_frame(now, frame);
        self.handle_events(now);
    }

    fn poll_transmit(&mut self, now: Instant, budget: usize, out: &mut dyn FnMut(&[u8])) -> usize {
        let sent = self.endpoint.poll_transmit(now, budget, &mut |frame: &[u8]| out(frame));
        self.handle_events(now);
        sent
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = self.asked.iter().map(|asked| asked.under_way.map_or(asked.next, |(_, until)| until)).min();
        earliest(own, self.endpoint.poll_timeout())
    }

    /// Asks what is due. That there is no route, or no room for a connection, is as good as no answer.
    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        for asked in &mut self.asked {
            match asked.under_way {
                Some((conn, until)) if until <= now => {
                    self.endpoint.abort(conn);
                    asked.under_way = None;
                }
                Some(_) => continue,
                None if asked.next > now => continue,
                None => {}
            }
            asked.next = now + INTERVAL;
            match asked.question {
                Question::Ping(addr) => {
                    self.seq = self.seq.wrapping_add(1);
                    let _ = self.endpoint.ping(now, addr, 0x7a62, self.seq, b"zbridge asks whether you are ready");
                }
                Question::Tcp(addr) => {
                    asked.under_way = self.endpoint.connect(now, addr).ok().map(|conn| (conn, now + PATIENCE));
                }
            }
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

    /// Runs a prober and a host for `millis`, each frame taking one millisecond. Gives the answers with their times.
    fn run(prober: &mut Prober, mut host: Option<&mut Endpoint>, from: u64, millis: u64) -> Vec<(u64, usize)> {
        let (mut to_host, mut to_prober): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let mut answers = Vec::new();
        for at in from..from + millis {
            let now = Instant::from_millis(at);
            to_prober.drain(..).for_each(|frame| prober.handle_frame(now, &frame));
            prober.handle_timeout(now);
            prober.poll_transmit(now, 100, &mut |frame| to_host.push(frame.to_vec()));
            answers.extend(std::iter::from_fn(|| prober.poll_answer()).map(|key| (at, key)));
            if let Some(host) = host.as_deref_mut() {
                to_host.drain(..).for_each(|frame| host.handle_frame(now, &frame));
                while host.poll_event().is_some() {}
                host.poll_transmit(now, 100, &mut |frame: &[u8]| to_prober.push(frame.to_vec()));
            }
            to_host.clear();
        }
        answers
    }

    #[test]
    fn a_host_that_comes_is_noticed_within_an_interval() {
        let mut prober = Prober::new(&config(9)).unwrap();
        prober.ask(7, Question::Ping("192.0.2.1".parse().unwrap()));
        prober.ask(8, Question::Tcp("192.0.2.1:80".parse().unwrap()));
        prober.ask(9, Question::Tcp("192.0.2.1:81".parse().unwrap()));
        assert_eq!(run(&mut prober, None, 0, 5000), []);
        let mut host = Endpoint::new(&config(1)).unwrap();
        host.listen(80, 4).unwrap();
        let answers = run(&mut prober, Some(&mut host), 5000, 3000);
        let keys: std::collections::BTreeSet<usize> = answers.iter().map(|&(_, key)| key).collect();
        assert_eq!((keys.into_iter().collect::<Vec<_>>(), answers.len()), (vec![7, 8], 2), "each once, 81 is closed");
        assert!(answers.iter().all(|&(at, _)| at < 7100), "{answers:?}");
        host.listen(81, 4).unwrap();
        let [(at, 9)] = run(&mut prober, Some(&mut host), 8000, 1000)[..] else { panic!("an answer") };
        assert!(at < 8210, "{at}");
        assert_eq!(run(&mut prober, Some(&mut host), 9000, 3000), []);
        assert_eq!((prober.endpoint.connections(), host.connections()), (0, 0), "nothing is left open");
    }

    #[test]
    fn what_is_forgotten_is_not_asked() {
        let mut prober = Prober::new(&config(9)).unwrap();
        prober.ask(1, Question::Ping("192.0.2.1".parse().unwrap()));
        prober.ask(2, Question::Tcp("192.0.2.1:80".parse().unwrap()));
        run(&mut prober, None, 0, 300);
        prober.forget(1);
        prober.forget(2);
        let mut host = Endpoint::new(&config(1)).unwrap();
        host.listen(80, 4).unwrap();
        assert_eq!(run(&mut prober, Some(&mut host), 300, 2000), []);
        assert_eq!(host.stats().accepted, 0);
    }

    #[test]
    fn an_address_without_a_route_is_no_answer() {
        let mut prober = Prober::new(&config(9)).unwrap();
        prober.ask(1, Question::Ping("198.51.100.1".parse().unwrap()));
        prober.ask(2, Question::Tcp("198.51.100.1:80".parse().unwrap()));
        assert_eq!(run(&mut prober, None, 0, 1000), []);
        assert!(prober.poll_timeout() >= Some(Instant::from_millis(1000)), "it does not spin");
    }
}
