//! Who speaks to a station that has left finds the one in its place; and an address that two stations have is told.
//!
//! # Theory of operation
//! A simulated instance that is started again often has a new MAC address and its old IP address, and announces nothing.
//! Whoever has spoken to it before goes on sending to the station that is gone, for half a minute or more. So the switch
//! asks for them:
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
//! There are other ways to the same end. An interface of the host could lose its carrier for a moment, which makes Linux
//! forget all its neighbours, its routes and its addresses made of advertisements; or its neighbour entries could be
//! deleted, which needs CAP_NET_ADMIN in each namespace, when the bridge has given that up. Both help Linux alone. Asking
//! disturbs nobody, needs no right, and is the same for a TAP, for `--host`, for services and for other guests.
//!
//! *Left* is a station whose port has lost its peer since it was learned: [`Fdb`](super::fdb::Fdb) knows until it would
//! have aged. One that is only silent is asked for by nobody, nor is one that was bound with `static`. Which addresses it
//! had is remembered from what stations tell each other of themselves: ARP, and neighbour discovery. So a router that was
//! started again is found, too, whose address is in no packet that it is sent, and is asked for once, however many are
//! spoken to behind it. A question is asked with the asker's own address, known from the same source, or not at all: a
//! packet's source may be far away, and would be a lie to those who hear it; and without one it would be taken for a probe
//! of one who wants the address for himself (RFC 5227, 2.1.1), by a successor that is just probing it.
//!
//! All that is said goes where its speaker's frames would go (`isolate`); what the guard refuses is not heard, nor is what
//! names another MAC address than that which the guard has seen, the frame's source.
//!
//! What it costs: a look at the type of a frame that is decided, behind its tags and as far as the kind of an ICMPv6
//! message; in a run, only where its type may say something. What is remembered is bounded, in all and for each port, and
//! so is how often a port makes the switch ask.

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
/// When there are so many, those that were not heard for so long make room; looked for once in [`SWEEP_EVERY`].
const KEPT: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A question is asked again after so long, as an instance that has just been started may not hear it yet, and given up
/// after so long (RFC 4861, section 10: RETRANS_TIMER, MAX_MULTICAST_SOLICIT).
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASKED_FOR: Duration = Duration::from_secs(3);
/// Questions that wait for an answer; and those that one port may cause in [`ASKS_IN`].
const ASKED: usize = 256;
const ASKS: u32 = 32;
const ASKS_IN: Duration = Duration::from_secs(1);
/// Addresses of one station that are asked for.
const ASKED_EACH: usize = 4;
/// The longest packet that is held.
const HELD: usize = 2048;
/// Frames that wait to be said.
const OWN: usize = 256;
/// Two stations have an address if it comes back from one to the other within this time.
pub(super) const TURN: Duration = Duration::from_secs(60);
/// A station with so many addresses answers for others (proxy ARP), which they have as well.
const PROXY: usize = 16;
/// How often it is told at most that two stations have one.
const SHARED_EVERY: Duration = Duration::from_secs(1);

/// An IP address that two stations have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Shared {
    /// The address.
    pub addr: IpAddr,
    /// The one that had it, and where that is.
    pub one: (Mac, PortId),
    /// The other.
    pub other: (Mac, PortId),
}

/// An address in a VLAN.
pub(super) type Place = (u32, IpAddr);

/// Who has an address.
pub(super) struct Holder {
    pub mac: Mac,
    pub port: PortId,
    pub heard: Instant,
    /// Who had it before, and until when.
    pub before: Option<(Mac, Instant)>,
    /// Who had it before and has left: there may be some who have not heard of it.
    left: Option<Mac>,
    /// The one before has left, and nobody was told yet: a solicitation does not say whether its sender is a router.
    owed: bool,
    /// It was said that two have it.
    told: bool,
    /// Which two.
    pub pair: Option<[Mac; 2]>,
}

impl Holder {
    /// Whether the address is sought in the place of a station that has left.
    fn is_sought_for(&self, gone: Mac) -> bool {
        self.mac == gone || self.left == Some(gone)
    }
}

/// A question without an answer.
struct Asked {
    place: Place,
    port: PortId,
    at: Instant,
    /// When it is asked again.
    again: Instant,
    question: Vec<u8>,
    /// The packet that made it, for whoever answers.
    held: Option<(Vec<u8>, Offload)>,
}

/// A frame that the switch says in the name of a station behind `ingress`: to one port, or to all that hear that.
struct Own {
    bytes: Vec<u8>,
    offload: Offload,
    ingress: PortId,
    to: Option<PortId>,
}

/// What is kept of a port.
#[derive(Default)]
struct Share {
    /// What it has said, in the order of the first time.
    places: Vec<Place>,
    /// Questions that it has caused since then.
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
    /// Nobody was heard. `seed` is a number that nobody can guess.
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

    /// A port is gone: whoever gets its number has asked nothing, and has nothing to say. What was said there is remembered.
    pub fn remove_port(&mut self, port: PortId) {
        self.asked.retain(|asked| asked.port != port);
        self.own.retain(|own| own.ingress != port && own.to != Some(port));
        self.answers.remove_port(port);
    }

    /// Notes who has an address. Gives who had it before, if that is another station.
    fn note(&mut self, now: Instant, port: PortId, place: Place, mac: Mac) -> Option<Mac> {
        let Some(host) = self.known.get_mut(&place) else {
            self.insert(now, port, place, mac);
            return None;
        };
        host.heard = now;
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
            let host = Holder { mac, port, heard: now, before: None, left: None, owed: false, told: false, pair: None };
            self.known.insert(place, host);
        } else if let Some(share) = self.shares.get_mut(&port) {
            share.places.pop();
        }
    }

    /// Counts an address as one of a port, which may cost it the one that was not heard for the longest time: behind an
    /// uplink there may be many stations, and its router is heard time and again.
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

    /// The address by which a station may ask for another of the same family: the one that it has just used, if that is
    /// its own, or else any.
    fn own_address(&self, mac: Mac, vlan: u32, used: IpAddr) -> Option<IpAddr> {
        if self.known.get(&(vlan, used)).is_some_and(|host| host.mac == mac) {
            return Some(used);
        }
        self.addresses(mac, vlan, used.is_ipv4()).next()
    }

    /// Whether an address is sought in the place of a station that has left.
    fn is_sought_for(&self, gone: Mac, place: Place) -> bool {
        self.known.get(&place).is_some_and(|host| host.is_sought_for(gone))
    }

    /// What to ask for when a packet to a station that has left is for this address. The packet's own comes first; where
    /// others are known and not this one, a router has left.
    fn targets(&self, gone: Mac, (vlan, addr): Place) -> Vec<IpAddr> {
        let is_other = |at: u32, known: IpAddr| at == vlan && known.is_ipv4() == addr.is_ipv4() && known != addr;
        let others = self.known.iter().filter(|&(&(at, known), host)| is_other(at, known) && host.is_sought_for(gone));
        let mut targets: Vec<IpAddr> = others.map(|((_, known), _)| *known).take(ASKED_EACH).collect();
        if targets.is_empty() || self.is_sought_for(gone, (vlan, addr)) {
            targets.insert(0, addr);
        }
        targets
    }

    /// Whether a question for an address that a port has caused waits for its answer. It is asked again in time.
    fn waits(&self, port: PortId, place: Place) -> bool {
        self.asked.iter().any(|asked| asked.port == port && asked.place == place)
    }

    /// Whether a question waits that such a packet would make: see [`Hosts::targets`].
    fn waits_for(&self, port: PortId, gone: Mac, place: Place) -> bool {
        let goes_on = !self.is_sought_for(gone, place);
        let is_routers = |(vlan, addr): Place| {
            vlan == place.0 && addr.is_ipv4() == place.1.is_ipv4() && self.is_sought_for(gone, (vlan, addr))
        };
        self.waits(port, place)
            || (goes_on && self.asked.iter().any(|asked| asked.port == port && is_routers(asked.place)))
    }

    /// Keeps a question until it is answered. Where there are too many, the port that has most of them loses its oldest.
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

    /// Whether a port may make the switch ask now; then that counts.
    fn may_ask(&mut self, now: Instant, port: PortId) -> bool {
        let (since, asks) = &mut self.shares.entry(port).or_default().asks;
        if now - *since >= ASKS_IN {
            (*since, *asks) = (now, 0);
        }
        *asks += 1;
        *asks <= ASKS
    }

    /// Gives up questions that nobody has answered.
    fn give_up(&mut self, now: Instant) {
        while self.asked.front().is_some_and(|asked| now - asked.at >= ASKED_FOR) {
            self.asked.pop_front();
        }
    }

    /// When a question is asked again or given up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asked.iter().map(|asked| asked.again.min(asked.at + ASKED_FOR)).min()
    }

    /// Asks again, as far as it is due.
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

    /// Hears what a frame says of who has an address. Apart from the decision, which most frames pass without it.
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

    /// An address has gone from one station to another, and both are there.
    fn note_turn(&mut self, now: Instant, place: Place, shared: Shared) {
        let Some(host) = self.hosts.known.get_mut(&place) else { return };
        let before = host.before.replace((shared.one.0, now));
        let is_back = before.is_some_and(|(mac, until)| mac == shared.other.0 && now - until < TURN);
        if is_back {
            self.tell_shared(now, place, shared);
        }
    }

    /// Tells that two stations have an address, once.
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

    /// Sends what was held for an address to the station that has said it has it.
    fn release(&mut self, place: Place, said: &Said, port: PortId) {
        // One that is back with the address that it had has got the packet when it flooded.
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
        let (Some(from), Some(to)) = (self.port(from), self.port(to)) else { return false };
        from.up && to.up && !(from.config.isolate && to.config.isolate)
    }

    /// Asks who is in the place of a station that has left, for the sender of a frame to it.
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

    /// Whether there is something for [`Switch::speak`].
    pub fn has_to_speak(&self) -> bool {
        !self.hosts.own.is_empty()
    }

    /// Sends what the switch has to say in the name of stations. To be called after [`Switch::run`] and
    /// [`Switch::handle_timeout`]; without that, nobody is helped.
    pub fn speak(&mut self, now: Instant, edges: &mut impl Transmit) {
        if self.hosts.own.is_empty() {
            return;
        }
        self.set_tape_time(now);
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
            self.send_plan(now, &batch, edges);
        }
        self.solo = Some(batch);
    }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
