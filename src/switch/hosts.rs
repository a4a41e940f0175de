//! Helps senders find the successor of a station that has left, and reports an IP address that two stations have.
//!
//! # Theory of operation
//! A restarted simulated instance often has a new MAC address and its old IP address, and announces nothing. Its peers
//! go on sending to the old MAC address, for half a minute or more. So the switch asks for them:
//!
//! ```text
//! A -> gone        10.0.2.2 > 192.0.2.1             flooded as ever, and a copy is held
//! switch, as A     who has 192.0.2.1? tell A        to everybody that A may speak to
//! new -> A         192.0.2.1 is at new              A knows by now
//! switch, as new   192.0.2.1 is at new              an announcement, for all others, and for an A that takes no answer
//!                                                   to what it has not asked itself
//! A -> new         10.0.2.2 > 192.0.2.1             the held copy: not even the first packet is lost
//! ```
//!
//! The alternatives are worse. An interface of the host could lose its carrier for a moment, which makes Linux drop all
//! its neighbours, routes and autoconfigured addresses; or its neighbour entries could be deleted, which needs
//! CAP_NET_ADMIN in each namespace, which the bridge has given up. Both help Linux alone. Asking disturbs nobody, needs
//! no rights, and works the same for a TAP, `--host`, services and other guests.
//!
//! A station has *left* when its port has lost its peer since it was learned: [`Fdb`](super::fdb::Fdb) knows until the
//! entry would have aged. A station that is only silent, or bound with `static`, is not asked for. Its addresses are
//! known from ARP and neighbour discovery. So a restarted router is found, too, although no packet to it has its
//! address, and is asked for once, however many hosts behind it are addressed. A request has the asker's own address,
//! known in the same way, or is not sent: a packet's source may be remote, and would mislead receivers; and a request
//! without a source would be taken for a probe (RFC 5227, 2.1.1) by a successor that is just probing the address
//! itself.
//!
//! The switch's frames go only where those of their nominal sender would go (`isolate`). Frames that the guard refuses
//! are not evaluated, nor messages that name another MAC address than the frame's source, which the guard has checked.
//!
//! The cost: a check of the type of each decided frame, behind its tags and up to the type of an ICMPv6 message; in a
//! run, only if its EtherType may matter. The state is bounded, in all and for each port, and so is the rate of
//! requests that a port causes.

use super::fdb::{Key, tick};
use super::twice::Answers;
use super::{Event, Switch};
use crate::frame::{Batch, Frame, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::switch::egress::Transmit;
use crate::time::{Duration, Instant};
use crate::wire::neighbour::{Said, Wanted, announcement, question, said, wanted};
use crate::wire::{Mac, Offload};
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Addresses that are remembered, in all and of one port.
const KNOWN: usize = 4096;
const KNOWN_EACH: usize = 128;
/// At this limit, addresses that were not heard for this long make room; searched for once in [`SWEEP_EVERY`].
const KEPT: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Interval at which a request is repeated, as a newly started instance may not hear it yet, and the time until it is
/// given up (RFC 4861, section 10: RETRANS_TIMER, MAX_MULTICAST_SOLICIT).
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKED_FOR: Duration = Duration::from_secs(3);
/// Requests that wait for an answer; and those that one port may cause in [`ASKS_IN`].
const ASKED: usize = 256;
const ASKS: u32 = 32;
const ASKS_IN: Duration = Duration::from_secs(1);
/// Addresses of one station that are asked for.
const ASKED_EACH: usize = 4;
/// The longest packet that is held.
const HELD: usize = 2048;
/// The switch's own frames that wait to be sent.
const OWN: usize = 256;
/// Two stations have an address if it changes back from one to the other within this time.
pub(super) const TURN: Duration = Duration::from_secs(60);
/// A station with so many addresses answers for others (proxy ARP): these have them, too.
const PROXY: usize = 16;
/// The shortest interval between reports that two stations have one address.
const SHARED_EVERY: Duration = Duration::from_secs(1);

/// An IP address that two stations have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Shared {
    /// The address.
    pub addr: IpAddr,
    /// The station that had it, and its port.
    pub one: (Mac, PortId),
    /// The other.
    pub other: (Mac, PortId),
}

/// An address in a VLAN.
pub(super) type Place = (u32, IpAddr);

/// The holder of an address.
pub(super) struct Holder {
    pub mac: Mac,
    pub port: PortId,
    pub heard: Instant,
    /// Its port is still there: another one may have that's number since.
    pub there: bool,
    /// The holder before, and until when.
    pub before: Option<(Mac, Instant)>,
    /// The holder before, which has left: some peers may not have heard of it.
    left: Option<Mac>,
    /// The holder before has left, and the change is not announced yet: a solicitation does not tell whether its sender
    /// is a router.
    owed: bool,
    /// It was reported that two stations have it.
    told: bool,
    /// These two stations.
    pub pair: Option<[Mac; 2]>,
}

impl Holder {
    /// Whether a successor at this address is sought for a station that has left.
    fn is_sought_for(&self, gone: Mac) -> bool {
        self.mac == gone || self.left == Some(gone)
    }
}

/// A request that waits for its answer.
struct Asked {
    place: Place,
    port: PortId,
    at: Instant,
    /// When it is repeated.
    again: Instant,
    question: Vec<u8>,
    /// The packet that caused it, for the station that answers.
    held: Option<(Vec<u8>, Offload)>,
}

/// A frame that the switch sends in the name of a station behind `ingress`: to one port, or to all that receive from
/// `ingress`.
struct Own {
    bytes: Vec<u8>,
    offload: Offload,
    ingress: PortId,
    to: Option<PortId>,
}

/// The state of a port.
#[derive(Default)]
struct Share {
    /// The addresses claimed there, in order of the first claim.
    places: Vec<Place>,
    /// Requests that it has caused since that time.
    asks: (Instant, u32),
}

/// Where a station is.
enum Whereabouts {
    Here(PortId),
    Left,
    Unknown,
}

/// See the module.
pub(super) struct Hosts {
    pub(super) known: HashMap<Place, Holder, FixedState>,
    shares: HashMap<PortId, Share, FixedState>,
    asked: VecDeque<Asked>,
    own: VecDeque<Own>,
    swept: Instant,
    shared_told: Option<Instant>,
    pub(super) answers: Answers,
}

impl Hosts {
    /// Nothing is known. `seed` must be unpredictable.
    pub fn new(seed: u64) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            known: HashMap::with_hasher(state.clone()),
            shares: HashMap::with_hasher(state),
            asked: VecDeque::new(),
            own: VecDeque::new(),
            swept: Instant::ZERO,
            shared_told: None,
            answers: Answers::default(),
        }
    }

    /// A port is gone: drops its requests and frames, so that the next port with its number does not inherit them.
    /// Addresses are kept, for their next holders, but are no longer known as the port's.
    pub fn remove_port(&mut self, port: PortId) {
        self.known.values_mut().filter(|host| host.port == port).for_each(|host| host.there = false);
        self.asked.retain(|asked| asked.port != port);
        self.own.retain(|own| own.ingress != port && own.to != Some(port));
        self.answers.remove_port(port);
    }

    /// Notes the holder of an address. Returns the one before, if that is another station.
    fn note(&mut self, now: Instant, port: PortId, place: Place, mac: Mac) -> Option<Mac> {
        let Some(host) = self.known.get_mut(&place) else {
            self.insert(now, port, place, mac);
            return None;
        };
        (host.heard, host.there) = (now, true);
        let former = (host.mac != mac).then_some(host.mac);
        let from = std::mem::replace(&mut host.port, port);
        host.mac = mac;
        if from != port {
            if let Some(share) = self.shares.get_mut(&from) {
                share.places.retain(|other| *other != place);
            }
            self.count(port, place);
        }
        former
    }

    fn insert(&mut self, now: Instant, port: PortId, place: Place, mac: Mac) {
        if self.known.len() >= KNOWN && now - self.swept >= SWEEP_EVERY {
            self.swept = now;
            self.known.retain(|_, host| now - host.heard < KEPT);
            let known = &self.known;
            self.shares.values_mut().for_each(|share| share.places.retain(|place| known.contains_key(place)));
        }
        self.count(port, place);
        if self.known.len() < KNOWN {
            let host = Holder {
                mac,
                port,
                heard: now,
                there: true,
                before: None,
                left: None,
                owed: false,
                told: false,
                pair: None,
            };
            self.known.insert(place, host);
        } else if let Some(share) = self.shares.get_mut(&port) {
            share.places.pop();
        }
    }

    /// Counts an address as one of a port, which may evict the one heard longest ago: behind an uplink there may be
    /// many stations, but its router is heard again and again.
    fn count(&mut self, port: PortId, place: Place) {
        let share = self.shares.entry(port).or_default();
        if share.places.len() >= KNOWN_EACH {
            let heard = |place: &Place| self.known.get(place).map(|host| host.heard);
            let oldest = share.places.iter().enumerate().min_by_key(|(_, place)| heard(place)).map(|(at, _)| at);
            if let Some(oldest) = oldest {
                self.known.remove(&share.places.remove(oldest));
            }
        }
        share.places.push(place);
    }

    /// The addresses of a station in this VLAN and of this family.
    fn addresses(&self, mac: Mac, vlan: u32, ipv4: bool) -> impl Iterator<Item = IpAddr> {
        let own = self
            .known
            .iter()
            .filter(move |((at, addr), host)| host.mac == mac && *at == vlan && addr.is_ipv4() == ipv4);
        own.map(|((_, addr), _)| *addr)
    }

    /// The source address for a request of a station: the one that it has just used, if that is its own, or else any of
    /// the same family.
    fn own_address(&self, mac: Mac, vlan: u32, used: IpAddr) -> Option<IpAddr> {
        if self.known.get(&(vlan, used)).is_some_and(|host| host.mac == mac) {
            return Some(used);
        }
        self.addresses(mac, vlan, used.is_ipv4()).next()
    }

    /// Whether a successor at an address is sought for a station that has left.
    fn is_sought_for(&self, gone: Mac, place: Place) -> bool {
        self.known.get(&place).is_some_and(|host| host.is_sought_for(gone))
    }

    /// The addresses to ask for when a packet for `addr` goes to a station that has left: `addr` itself first. If only
    /// other addresses of it are known, it was a router.
    fn targets(&self, gone: Mac, (vlan, addr): Place) -> Vec<IpAddr> {
        let is_other = |at: u32, known: IpAddr| at == vlan && known.is_ipv4() == addr.is_ipv4() && known != addr;
        let others = self.known.iter().filter(|&(&(at, known), host)| is_other(at, known) && host.is_sought_for(gone));
        let mut targets: Vec<IpAddr> = others.map(|((_, known), _)| *known).take(ASKED_EACH).collect();
        if targets.is_empty() || self.is_sought_for(gone, (vlan, addr)) {
            targets.insert(0, addr);
        }
        targets
    }

    /// Whether a request for an address, caused by this port, waits for its answer. It is repeated in time.
    fn waits(&self, port: PortId, place: Place) -> bool {
        self.asked.iter().any(|asked| asked.port == port && asked.place == place)
    }

    /// Whether a request that such a packet would cause waits already: see [`Hosts::targets`].
    fn waits_for(&self, port: PortId, gone: Mac, place: Place) -> bool {
        let goes_on = !self.is_sought_for(gone, place);
        let is_routers = |(vlan, addr): Place| {
            vlan == place.0 && addr.is_ipv4() == place.1.is_ipv4() && self.is_sought_for(gone, (vlan, addr))
        };
        self.waits(port, place)
            || (goes_on && self.asked.iter().any(|asked| asked.port == port && is_routers(asked.place)))
    }

    /// Keeps a request until it is answered. If there are too many, the port with the most loses its oldest.
    fn ask(&mut self, asked: Asked) {
        if self.asked.len() >= ASKED {
            let mut counts: HashMap<PortId, usize> = HashMap::new();
            self.asked.iter().for_each(|asked| *counts.entry(asked.port).or_default() += 1);
            let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(port, _)| port);
            let oldest = self.asked.iter().position(|asked| Some(asked.port) == most);
            oldest.and_then(|at| self.asked.remove(at));
        }
        self.asked.push_back(asked);
    }

    /// Takes one request from a port's allowance. False: it has none left now.
    fn may_ask(&mut self, now: Instant, port: PortId) -> bool {
        let (since, asks) = &mut self.shares.entry(port).or_default().asks;
        if now - *since >= ASKS_IN {
            (*since, *asks) = (now, 0);
        }
        *asks += 1;
        *asks <= ASKS
    }

    /// Gives up unanswered requests.
    fn give_up(&mut self, now: Instant) {
        while self.asked.front().is_some_and(|asked| now - asked.at >= ASKED_FOR) {
            self.asked.pop_front();
        }
    }

    /// When a request is repeated or given up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.again.min(asked.at + ASKED_FOR)).min()
    }

    /// Repeats requests that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.give_up(now);
        let own = &mut self.own;
        for asked in self.asked.iter_mut().filter(|asked| asked.again <= now) {
            asked.again = now + ASK_AGAIN;
            if own.len() < OWN {
                let bytes = asked.question.clone();
                own.push_back(Own { bytes, offload: Offload::NONE, ingress: asked.port, to: None });
            }
        }
    }

    fn say(&mut self, own: Own) {
        if self.own.len() < OWN {
            self.own.push_back(own);
        }
    }
}

impl Switch {
    fn whereabouts(&self, mac: Mac, now: Instant) -> Whereabouts {
        let key = Key::new(mac.as_u64(), 0);
        let hash = self.fdb.hash(key);
        match self.fdb.lookup(key, hash, tick(now)) {
            Some(port) => Whereabouts::Here(port),
            None if self.fdb.has_left(key, hash, tick(now)) => Whereabouts::Left,
            None => Whereabouts::Unknown,
        }
    }

    /// Notes the address holders that a frame tells of. Not inlined into the decision, as most frames tell of none.
    #[cold]
    #[inline(never)]
    pub(super) fn hear(&mut self, now: Instant, port: PortId, bytes: &[u8]) {
        let Some(said) = said(bytes) else { return };
        let place = (said.tags.vlan(), said.addr);
        let former = self.hosts.note(now, port, place, said.mac);
        let left = match former.map(|mac| (mac, self.whereabouts(mac, now))) {
            Some((_, Whereabouts::Left)) => true,
            Some((mac, Whereabouts::Here(at))) => {
                self.note_turn(now, place, Shared { addr: said.addr, one: (mac, at), other: (said.mac, port) });
                false
            }
            _ => false,
        };
        if let Some(host) = self.hosts.known.get_mut(&place) {
            if former.is_some() {
                host.left = former.filter(|_| left);
            }
            let owed = left || host.owed;
            host.owed = owed && said.addr.is_ipv6() && said.router.is_none();
            if owed && !host.owed {
                self.hosts.say(Own { bytes: announcement(&said), offload: Offload::NONE, ingress: port, to: None });
            }
        }
        if !self.hosts.asked.is_empty() {
            self.release(place, &said, port);
        }
        self.hear_answer(now, port, place, &said);
    }

    /// Notes that an address has changed from one station to another while both are present.
    fn note_turn(&mut self, now: Instant, place: Place, shared: Shared) {
        let Some(host) = self.hosts.known.get_mut(&place) else { return };
        let before = host.before.replace((shared.one.0, now));
        let is_back = before.is_some_and(|(mac, until)| mac == shared.other.0 && now - until < TURN);
        if is_back {
            self.tell_shared(now, place, shared);
        }
    }

    /// Reports that two stations have an address, once.
    pub(super) fn tell_shared(&mut self, now: Instant, place: Place, shared: Shared) {
        let Some(host) = self.hosts.known.get_mut(&place) else { return };
        let limited = self.hosts.shared_told.is_some_and(|at| now - at < SHARED_EVERY);
        if host.told || limited || shared.one.1 == shared.other.1 {
            return;
        }
        host.told = true;
        let speaks_for_others = |mac| self.hosts.addresses(mac, place.0, place.1.is_ipv4()).nth(PROXY - 1).is_some();
        if !speaks_for_others(shared.one.0) && !speaks_for_others(shared.other.0) {
            self.hosts.shared_told = Some(now);
            if let Some(host) = self.hosts.known.get_mut(&place) {
                host.pair = Some([shared.one.0, shared.other.0]);
            }
            self.tell(Event::Shared(shared));
        }
    }

    /// Sends the held packet for an address to the station that has claimed it.
    fn release(&mut self, place: Place, said: &Said, port: PortId) {
        // A station that is back with its old MAC address has got the packet by flooding.
        let got = |to: &[u8], renames: bool| to == said.mac.0 && !renames;
        let renames = self.port(port).is_some_and(|port| port.config.renames);
        let mut asked = std::mem::take(&mut self.hosts.asked);
        asked.retain_mut(|asked| {
            if asked.place != place || asked.port == port {
                return true;
            }
            let held = asked.held.take().filter(|_| self.may_pass(asked.port, port));
            if let Some((mut bytes, offload)) = held
                && let Some(to) = bytes.get_mut(..6).filter(|to| !got(to, renames))
            {
                to.copy_from_slice(&said.mac.0);
                self.hosts.say(Own { bytes, offload, ingress: asked.port, to: Some(port) });
            }
            false
        });
        self.hosts.asked = asked;
    }

    /// Whether frames pass from a port to another one.
    fn may_pass(&self, from: PortId, to: PortId) -> bool {
        self.is_up(from) && self.is_up(to) && !self.are_parted(from, to)
    }

    /// Asks for the successor of a station that has left, in the name of the sender of a frame to it.
    #[cold]
    #[inline(never)]
    pub(super) fn seek(&mut self, now: Instant, frame: &Frame, bytes: &[u8], (gone, asker): (Mac, Mac)) {
        let Some(Wanted { tags, addr, from, asks }) = wanted(bytes) else { return };
        let (vlan, port) = (tags.vlan(), frame.ingress);
        self.hosts.give_up(now);
        if asker.is_group() || self.hosts.waits_for(port, gone, (vlan, addr)) || !self.hosts.may_ask(now, port) {
            return;
        }
        let Some(own) = self.hosts.own_address(asker, vlan, from) else { return };
        let mut held = (!asks && bytes.len() <= HELD).then(|| (bytes.to_vec(), frame.offload));
        for addr in self.hosts.targets(gone, (vlan, addr)) {
            let place = (vlan, addr);
            let Some(question) = question(&tags, asker, own, addr).filter(|_| !self.hosts.waits(port, place)) else {
                continue;
            };
            let bytes = question.clone();
            self.hosts.say(Own { bytes, offload: Offload::NONE, ingress: port, to: None });
            let (again, held) = (now + ASK_AGAIN, held.take());
            self.hosts.ask(Asked { place, port, at: now, again, question, held });
        }
    }

    /// Whether [`Switch::speak`] has frames to send.
    pub fn has_to_speak(&self) -> bool {
        !self.hosts.own.is_empty()
    }

    /// Sends the switch's own frames, in the name of stations. To be called after [`Switch::run`] and
    /// [`Switch::handle_timeout`].
    pub fn speak(&mut self, now: Instant, edges: &mut impl Transmit) {
        if self.hosts.own.is_empty() {
            return;
        }
        self.set_time(now);
        let mut batch = self.solo.take().unwrap_or_else(|| Batch::new(PREFIX + MAX_FRAME));
        while let Some(own) = self.hosts.own.pop_front() {
            batch.clear();
            if !batch.push(&own.bytes, own.ingress, own.offload) {
                continue;
            }
            match own.to {
                Some(port) => self.plan.send(0..1, port),
                None => self.plan.flood(0..1),
            }
            if self.is_edited {
                self.edit_plan(&batch, false);
            }
            self.send_plan(now, &batch, edges);
        }
        self.solo = Some(batch);
    }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
