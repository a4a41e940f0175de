//! The resolver of a segment: names of its hosts from here, all others from the resolvers that the caller lists.
//!
//! # Theory of operation
//! A query for a name of the segment's domain, or for the name of one of its addresses, is answered at once. Any other
//! waits in a bounded table and goes out with a random identifier, from a socket of its own that the caller connects to
//! the resolver: so the port is random, too, and forged answers fail. An answer counts if identifier and question are
//! those of the query. After a resolver that fails or stays silent the next is asked; the one that answered last is
//! asked first. Queries and answers pass unchanged but for the identifier (RFC 5625, section 3), so extensions unknown
//! here work.
//!
//! An answer that is too long for the client's UDP is truncated to its question, and the client asks again over TCP.

pub(crate) mod message;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use self::message::{Code, Query, Record, kind};
use super::random::Random;
use crate::frame::PortId;
use crate::service::shares::is_within;
use crate::service::station::Station;
use crate::time::{Duration, Instant};
use crate::wire::Cidr;

/// The server's port.
pub const PORT: u16 = 53;

/// Queries that may wait for a resolver. A query without an answer takes its place for eight seconds.
const WAITING: usize = 1024;
/// Queries of one host among these.
const WAITING_OF_ONE: usize = 256;
/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often resolvers are asked before a query has failed.
const ATTEMPTS: u8 = 4;
/// The longest query that is passed on.
const QUERY_MAX: usize = 4096;

/// Source of the segment's names.
pub trait Names {
    /// The addresses of a host (a label).
    fn addrs(&self, now: Instant, label: &str) -> Vec<IpAddr>;
    /// The label of the host that has an address.
    fn name(&self, now: Instant, addr: IpAddr) -> Option<String>;
    /// The addresses that a whole name was given by hand, and the zone that they are of.
    fn given(&self, name: &str) -> Option<(Vec<IpAddr>, String)> {
        let _ = name;
        None
    }
    /// The whole name that was given to an address by hand.
    fn given_name(&self, addr: IpAddr) -> Option<String> {
        let _ = addr;
        None
    }
}

/// Configuration of a resolver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsConfig {
    /// The segment's domain; `None`: hosts have no names.
    pub domain: Option<String>,
    /// The segment's prefixes: only names of their addresses are known here.
    pub prefixes: Vec<Cidr>,
    /// The resolvers for everything else, in the order in which they are asked.
    pub resolvers: Vec<SocketAddr>,
    /// Whether only names of the segment are answered.
    pub restrict: bool,
    /// A number that nobody can guess.
    pub seed: u64,
}

/// The client of a query, and its transport.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Client {
    /// A datagram: its source, its destination, which is the answer's source, and its sender.
    Udp(SocketAddr, SocketAddr, Station),
    /// A stream: the caller's name for it, and the address of the host.
    Tcp(u64, IpAddr),
}

impl Client {
    fn host(self) -> IpAddr {
        match self {
            Self::Udp(from, ..) => from.ip(),
            Self::Tcp(_, host) => host,
        }
    }

    /// The port of the switch that a datagram came in by; streams have bounds of their own.
    fn port(self) -> Option<PortId> {
        match self {
            Self::Udp(.., from) => Some(from.port()),
            Self::Tcp(..) => None,
        }
    }
}

/// Something for the caller to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// An answer for a host of the segment. Over TCP its length, two bytes, goes before it.
    Answer(Client, Vec<u8>),
    /// A query for a resolver, over a new socket that this number names.
    Ask {
        /// Never used twice.
        attempt: u64,
        /// The resolver.
        resolver: SocketAddr,
        /// Whether over TCP.
        tcp: bool,
        /// The query.
        query: Vec<u8>,
    },
    /// The socket of this number is not needed any more.
    Forget(u64),
}

/// A query under way.
struct Waiting {
    client: Client,
    /// As the client sent it.
    query: Vec<u8>,
    id: u16,
    question: Range<usize>,
    longest: usize,
    /// The query has EDNS.
    extended: bool,
    resolver: usize,
    attempts: u8,
    sent_id: u16,
    until: Instant,
}

/// See the module.
pub struct Dns {
    config: DnsConfig,
    random: Random,
    attempts: u64,
    /// By attempt, in ascending order: the first has waited longest.
    waiting: BTreeMap<u64, Waiting>,
    outputs: VecDeque<Output>,
    /// The resolver that answered last.
    preferred: usize,
}

impl Dns {
    /// A resolver without queries.
    pub fn new(config: DnsConfig) -> Self {
        let random = Random::new(config.seed, "dns");
        Self { config, random, attempts: 0, waiting: BTreeMap::new(), outputs: VecDeque::new(), preferred: 0 }
    }

    /// Replaces the resolvers.
    pub fn set_resolvers(&mut self, resolvers: Vec<SocketAddr>) {
        self.config.resolvers = resolvers;
    }

    /// Takes a query from a host of the segment.
    pub fn handle(&mut self, now: Instant, names: &dyn Names, client: Client, bytes: &[u8]) {
        let query = match Query::read(bytes) {
            Ok(query) => query,
            Err(code) => {
                if let Some(refusal) = code.and_then(|code| message::refusal(bytes, code)) {
                    self.outputs.push_back(Output::Answer(client, refusal));
                }
                return;
            }
        };
        let answer = match self.local(now, names, &query) {
            Some((code, records, zone)) => message::answer(bytes, &query, code, &records, Some(&zone)),
            None if self.config.restrict => message::answer(bytes, &query, Code::Refused, &[], None),
            None => return self.forward(now, client, &query, bytes),
        };
        self.outputs.push_back(Output::Answer(client, answer));
    }

    /// A local answer: the code, the records and the zone. `None`: the name is not of this segment.
    fn local(&self, now: Instant, names: &dyn Names, query: &Query) -> Option<(Code, Vec<Record>, String)> {
        let name = query.name.as_deref().filter(|_| query.internet)?;
        if let Some(addr) = message::reverse(name) {
            return self.local_reverse(now, names, query, addr, name);
        }
        let domain = self.config.domain.as_deref();
        let whole = || domain.filter(|_| !name.contains('.')).map(|domain| format!("{name}.{domain}"));
        if let Some((addrs, zone)) = names.given(name).or_else(|| names.given(&whole()?)) {
            return Some((Code::Ok, of_kind(query, addrs), zone));
        }
        let domain = domain?;
        let label = if name == domain {
            return Some((Code::Ok, Vec::new(), domain.to_owned()));
        } else if let Some(front) = name.strip_suffix(domain).and_then(|front| front.strip_suffix('.')) {
            front
        } else if !name.contains('.') && !names.addrs(now, name).is_empty() {
            // a host that does not append the domain to a name without a dot
            name
        } else {
            return None;
        };
        let addrs = names.addrs(now, label);
        let code = if addrs.is_empty() { Code::NoName } else { Code::Ok };
        Some((code, of_kind(query, addrs), domain.to_owned()))
    }

    fn local_reverse(
        &self,
        now: Instant,
        names: &dyn Names,
        query: &Query,
        addr: IpAddr,
        zone: &str,
    ) -> Option<(Code, Vec<Record>, String)> {
        let name = match names.given_name(addr) {
            Some(whole) => Some(Record::Name(whole)),
            None => {
                let domain = self.config.domain.as_deref()?;
                self.config.prefixes.iter().find(|prefix| prefix.contains(addr))?;
                names.name(now, addr).map(|label| Record::Name(format!("{label}.{domain}")))
            }
        };
        let code = if name.is_some() { Code::Ok } else { Code::NoName };
        let records = name.into_iter().filter(|_| matches!(query.kind, kind::PTR | kind::ANY)).collect();
        Some((code, records, zone.to_owned()))
    }

    fn forward(&mut self, now: Instant, client: Client, query: &Query, bytes: &[u8]) {
        // A retransmitted query makes no second one. Streams lose nothing: each question there is a new one with its
        // own answer.
        let again = |other: &Waiting| other.client == client && other.query == bytes;
        if matches!(client, Client::Udp(..)) && self.waiting.values().any(again) {
            return;
        }
        let host = |client: Client| (client.host(), client.port());
        let of_one = self.waiting.values().filter(|other| host(other.client) == host(client)).count();
        let of_port = self.waiting.values().filter(|other| other.client.port() == client.port()).count();
        let within = is_within(of_port, self.waiting.len(), WAITING);
        let full = self.waiting.len() >= WAITING || of_one >= WAITING_OF_ONE || !within;
        if full || bytes.len() > QUERY_MAX || self.config.resolvers.is_empty() {
            let failed = message::answer(bytes, query, Code::Failed, &[], None);
            self.outputs.push_back(Output::Answer(client, failed));
            return;
        }
        let waiting = Waiting {
            client,
            query: bytes.to_vec(),
            id: query.id,
            question: query.question.clone(),
            longest: query.longest,
            extended: query.extended,
            resolver: self.preferred,
            attempts: 0,
            sent_id: 0,
            until: now,
        };
        self.ask(now, waiting);
    }

    /// Sends a query to its resolver.
    fn ask(&mut self, now: Instant, mut waiting: Waiting) {
        waiting.resolver %= self.config.resolvers.len().max(1);
        let Some(&resolver) = self.config.resolvers.get(waiting.resolver) else { return };
        waiting.attempts += 1;
        waiting.until = now + PATIENCE;
        waiting.sent_id = self.random.word();
        let mut query = waiting.query.clone();
        message::set_id(&mut query, waiting.sent_id);
        self.attempts += 1;
        let tcp = matches!(waiting.client, Client::Tcp(..));
        self.outputs.push_back(Output::Ask { attempt: self.attempts, resolver, tcp, query });
        self.waiting.insert(self.attempts, waiting);
    }

    /// Takes an answer on the socket of `attempt`. One that does not match is ignored.
    pub fn handle_answer(&mut self, now: Instant, attempt: u64, bytes: &[u8]) {
        let Some(waiting) = self.waiting.get(&attempt) else { return };
        if !message::fits(bytes, waiting.sent_id, &waiting.query, waiting.question.clone()) {
            return;
        }
        let unhelpful = [Code::Failed as u8, Code::NotDone as u8, Code::Refused as u8].contains(&message::code(bytes));
        if unhelpful && self.config.resolvers.len() > usize::from(waiting.attempts) {
            return self.handle_failure(now, attempt);
        }
        let Some(waiting) = self.waiting.remove(&attempt) else { return };
        self.outputs.push_back(Output::Forget(attempt));
        self.preferred = waiting.resolver;
        let mut answer = bytes.to_vec();
        message::set_id(&mut answer, waiting.id);
        if matches!(waiting.client, Client::Udp(..)) && answer.len() > waiting.longest {
            message::truncate(&mut answer, waiting.question, waiting.extended);
        }
        self.outputs.push_back(Output::Answer(waiting.client, answer));
    }

    /// The resolver of `attempt` cannot be reached: the next one, or the query has failed.
    pub fn handle_failure(&mut self, now: Instant, attempt: u64) {
        let Some(mut waiting) = self.waiting.remove(&attempt) else { return };
        self.outputs.push_back(Output::Forget(attempt));
        if waiting.attempts < ATTEMPTS {
            waiting.resolver += 1;
            return self.ask(now, waiting);
        }
        if let Ok(query) = Query::read(&waiting.query) {
            let failed = message::answer(&waiting.query, &query, Code::Failed, &[], None);
            self.outputs.push_back(Output::Answer(waiting.client, failed));
        }
    }

    /// The stream has ended: its queries are dropped.
    pub fn handle_closed(&mut self, stream: u64) {
        let gone = |waiting: &Waiting| matches!(waiting.client, Client::Tcp(name, _) if name == stream);
        let attempts: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| gone(waiting)).map(|(attempt, _)| *attempt).collect();
        for attempt in attempts {
            self.waiting.remove(&attempt);
            self.outputs.push_back(Output::Forget(attempt));
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many things there are to do.
    pub fn queued(&self) -> usize {
        self.outputs.len()
    }

    /// When [`Dns::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, waiting)| waiting.until)
    }

    /// Asks the next resolver where one has been silent for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((&attempt, waiting)) = self.waiting.first_key_value()
            && waiting.until <= now
        {
            self.handle_failure(now, attempt);
        }
    }

    /// Queries that wait for a resolver.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// The records of these addresses that a query asks for.
fn of_kind(query: &Query, addrs: Vec<IpAddr>) -> Vec<Record> {
    let wanted = |addr: &IpAddr| match query.kind {
        kind::A => addr.is_ipv4(),
        kind::AAAA => addr.is_ipv6(),
        kind::ANY => true,
        _ => false,
    };
    addrs.into_iter().filter(wanted).map(Record::Addr).collect()
}
