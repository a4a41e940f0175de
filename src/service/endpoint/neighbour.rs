//! The neighbour table: which MAC an address of the link has (ARP, RFC 826; ND, RFC 4861).
//!
//! # Theory of operation
//! A packet to an unknown neighbour is parked in its entry and the neighbour is solicited, at once and then every
//! second. An answer releases the packets; after three unanswered solicitations the entry and its packets go. A known
//! neighbour is confirmed by every packet that comes from it. One that has been silent for a minute is probed at its
//! old MAC, while packets keep going there; after three unanswered probes it is unknown.
//!
//! Only an answer, or a solicitation to us, makes an entry. A claim to an address alone does not move it: its station
//! is probed at the old MAC first, and only if it stays silent does the new one follow. So a guest that really moves is
//! found within a second, and a forged claim fails while the other answers.
//!
//! The table is bounded, and so is what each port of the switch has of it ([`Shares`]): a new entry replaces the one
//! confirmed longest ago of its own port, or of the one that has most.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::service::shares::Shares;
use crate::service::station::{Ingress, Station};
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// A confirmation is good for this long.
const CONFIRMED_FOR: Duration = Duration::from_secs(60);
/// Time between two questions (RFC 4861, section 10, RETRANS_TIMER).
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Questions before giving up (RFC 4861, section 10, MAX_MULTICAST_SOLICIT).
const PROBES: u8 = 3;
/// Time between two probes of a station whose address another claims.
const CLAIM_EVERY: Duration = Duration::from_millis(300);
/// A further claim waits this long after its station has answered one.
const SETTLED_FOR: Duration = Duration::from_secs(1);
/// Packets parked for one neighbour.
const PARKED_EACH: usize = 64;
/// Packets parked in all.
const PARKED: usize = 512;

/// An ARP request or neighbour solicitation that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Probe {
    /// The target.
    pub addr: IpAddr,
    /// Its last known MAC: sent there alone. `None`: broadcast, or multicast.
    pub mac: Option<Mac>,
}

struct Entry {
    mac: Option<Mac>,
    /// The port of the switch where it is, and for which it counts.
    ingress: Ingress,
    /// Another station that claims the address, while the holder is probed.
    claim: Option<Station>,
    /// When it last answered a claim.
    denied: Option<Instant>,
    confirmed: Instant,
    probes: u8,
    probe_at: Option<Instant>,
    parked: Vec<Box<[u8]>>,
}

/// See the module.
pub(super) struct Neighbours {
    entries: HashMap<IpAddr, Entry, FixedState>,
    probing: BTreeSet<(Instant, IpAddr)>,
    limit: usize,
    shares: Shares,
    parked: usize,
    /// Packets given up because their neighbour did not answer, or too many waited.
    pub dropped: u64,
}

impl Neighbours {
    pub fn new(limit: usize, seed: u64) -> Self {
        let entries = HashMap::with_hasher(FixedState::with_seed(seed));
        Self { entries, probing: BTreeSet::new(), limit, shares: Shares::default(), parked: 0, dropped: 0 }
    }

    /// The MAC to send to. `None`: not known yet; [`Self::park`] the packet. Makes a solicitation due if needed.
    pub fn resolve(&mut self, now: Instant, addr: IpAddr) -> Option<Mac> {
        let known = self.entries.get(&addr).map(|entry| (entry.mac, entry.confirmed, entry.probe_at.is_some()));
        match known {
            Some((Some(mac), confirmed, _)) if now.since(confirmed) < CONFIRMED_FOR => Some(mac),
            Some((mac, _, true)) => mac,
            Some((mac, _, false)) => {
                self.start_probing(now, addr);
                mac
            }
            None => {
                self.insert(now, addr, None, Ingress::NONE);
                self.start_probing(now, addr);
                None
            }
        }
    }

    /// Whether an unknown neighbour is being solicited.
    pub fn is_sought(&self, addr: IpAddr) -> bool {
        self.entries.get(&addr).is_some_and(|entry| entry.mac.is_none())
    }

    /// Keeps a frame for a neighbour that is being solicited.
    pub fn park(&mut self, addr: IpAddr, frame: &[u8]) {
        match self.entries.get_mut(&addr) {
            Some(entry) if entry.parked.len() < PARKED_EACH && self.parked < PARKED => {
                entry.parked.push(frame.into());
                self.parked += 1;
            }
            _ => self.dropped += 1,
        }
    }

    /// The station of a neighbour, if it is known; no solicitation is sent.
    pub fn station(&self, addr: IpAddr) -> Option<Station> {
        let entry = self.entries.get(&addr)?;
        entry.mac.map(|mac| Station { mac, ingress: entry.ingress })
    }

    /// ARP or ND says that `addr` is at `station`. `create`: it may make an entry; `replace`: it may be a claim to
    /// another's address. Returns the frames that waited for it.
    pub fn learn(
        &mut self,
        now: Instant,
        addr: IpAddr,
        station: Station,
        create: bool,
        replace: bool,
    ) -> Vec<Box<[u8]>> {
        let Some(entry) = self.entries.get_mut(&addr) else {
            if create {
                self.insert(now, addr, Some(station.mac), station.ingress);
            }
            return Vec::new();
        };
        if entry.mac.is_some_and(|old| old != station.mac) {
            if replace {
                self.claim(now, addr, station);
            }
            return Vec::new();
        }
        let parked = std::mem::take(&mut entry.parked);
        self.parked -= parked.len();
        self.settle(now, addr, station);
        parked
    }

    /// A packet came from `addr` at `station`: if another station has the address, that is a claim as well.
    pub fn dispute(&mut self, now: Instant, addr: IpAddr, station: Station) {
        if self.station(addr).is_some_and(|known| known.mac != station.mac) {
            self.claim(now, addr, station);
        }
    }

    /// Probes the station that has `addr`, because another claims it.
    fn claim(&mut self, now: Instant, addr: IpAddr, station: Station) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        // The newest claim counts: an earlier claimant may have gone again.
        if entry.claim.replace(station).is_some() {
            return;
        }
        // A guest that really moves may say so only once: its claim waits, and is not forgotten.
        let at = entry.denied.map_or(now, |denied| now.max(denied + SETTLED_FOR));
        self.stop_probing(addr);
        self.start_probing(at, addr);
    }

    /// `addr` is at `station`, for certain.
    fn settle(&mut self, now: Instant, addr: IpAddr, station: Station) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        if entry.claim.take().is_some_and(|claim| claim.mac != station.mac) {
            entry.denied = Some(now);
        }
        (entry.mac, entry.confirmed) = (Some(station.mac), now);
        if entry.ingress != station.ingress {
            self.shares.give(entry.ingress.port);
            self.shares.take(station.port());
            entry.ingress = station.ingress;
        }
        self.stop_probing(addr);
    }

    /// A packet came from `addr` at `station`: it is alive.
    pub fn confirm(&mut self, now: Instant, addr: IpAddr, station: Station) {
        if let Some(entry) = self.entries.get_mut(&addr)
            && entry.mac == Some(station.mac)
        {
            entry.confirmed = now;
            if entry.probe_at.is_some() || entry.ingress != station.ingress {
                self.settle(now, addr, station);
            }
        }
    }

    /// When the next probe is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.probing.first().map(|&(at, _)| at)
    }

    /// The next probe that is due at `now`; removes neighbours that never answered.
    pub fn next_probe(&mut self, now: Instant) -> Option<Probe> {
        while let Some(&(at, addr)) = self.probing.first() {
            if at > now {
                return None;
            }
            let entry = self.entries.get_mut(&addr)?;
            if entry.probes >= PROBES {
                match entry.claim {
                    Some(station) => self.settle(now, addr, station),
                    None => self.remove(addr),
                }
                continue;
            }
            entry.probes += 1;
            let again = now + if entry.claim.is_some() { CLAIM_EVERY } else { PROBE_EVERY };
            entry.probe_at = Some(again);
            let probe = Probe { addr, mac: entry.mac };
            self.probing.pop_first();
            self.probing.insert((again, addr));
            return Some(probe);
        }
        None
    }

    fn start_probing(&mut self, now: Instant, addr: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.probes = 0;
            entry.probe_at = Some(now);
            self.probing.insert((now, addr));
        }
    }

    fn stop_probing(&mut self, addr: IpAddr) {
        if let Some(entry) = self.entries.get_mut(&addr)
            && let Some(at) = entry.probe_at.take()
        {
            self.probing.remove(&(at, addr));
        }
    }

    fn insert(&mut self, now: Instant, addr: IpAddr, mac: Option<Mac>, ingress: Ingress) {
        let within = self.shares.is_within(ingress.port, self.limit);
        if self.entries.len() >= self.limit || !within {
            let whose = if within { self.shares.greediest() } else { Some(ingress.port) };
            let its = self.entries.iter().filter(|(_, entry)| Some(entry.ingress.port) == whose);
            let oldest = its.min_by_key(|(addr, entry)| (entry.confirmed, **addr));
            if let Some(oldest) = oldest.map(|(addr, _)| *addr) {
                self.remove(oldest);
            }
        }
        let (claim, denied, parked) = (None, None, Vec::new());
        let entry = Entry { mac, ingress, claim, denied, confirmed: now, probes: 0, probe_at: None, parked };
        self.shares.take(ingress.port);
        self.entries.insert(addr, entry);
    }

    fn remove(&mut self, addr: IpAddr) {
        self.stop_probing(addr);
        if let Some(entry) = self.entries.remove(&addr) {
            self.shares.give(entry.ingress.port);
            self.parked -= entry.parked.len();
            self.dropped += entry.parked.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 8]);

    fn from(mac: Mac) -> Station {
        Station { mac, ingress: Ingress::ONLY }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    #[test]
    fn packets_wait_for_the_answer() {
        let mut table = Neighbours::new(4, 1);
        assert_eq!(table.resolve(at(0), ip(7)), None);
        table.park(ip(7), b"one");
        assert_eq!(table.next_probe(at(0)), Some(Probe { addr: ip(7), mac: None }));
        assert_eq!(table.next_probe(at(0)), None);
        let released = table.learn(at(0), ip(7), from(MAC), false, true);
        assert_eq!(released, [Box::from(&b"one"[..])]);
        assert_eq!(table.resolve(at(1), ip(7)), Some(MAC));
        assert_eq!((table.poll_timeout(), table.parked, table.dropped), (None, 0, 0));
    }

    #[test]
    fn three_questions_and_it_is_given_up() {
        let mut table = Neighbours::new(4, 1);
        table.resolve(at(0), ip(7));
        table.park(ip(7), b"one");
        for secs in 0..3 {
            assert!(table.next_probe(at(secs)).is_some());
        }
        assert_eq!(table.next_probe(at(3)), None);
        assert_eq!((table.poll_timeout(), table.parked, table.dropped), (None, 0, 1));
    }

    #[test]
    fn a_silent_neighbour_is_asked_again_while_packets_flow() {
        let mut table = Neighbours::new(4, 1);
        table.learn(at(0), ip(7), from(MAC), true, true);
        table.confirm(at(30), ip(7), from(MAC));
        table.confirm(at(80), ip(7), from(OTHER));
        assert_eq!(table.resolve(at(89), ip(7)), Some(MAC));
        assert_eq!(table.poll_timeout(), None);
        assert_eq!(table.resolve(at(90), ip(7)), Some(MAC));
        assert_eq!(table.next_probe(at(90)), Some(Probe { addr: ip(7), mac: Some(MAC) }));
        table.confirm(at(91), ip(7), from(MAC));
        assert_eq!(table.poll_timeout(), None);
        table.resolve(at(200), ip(7));
        for secs in 200..204 {
            table.next_probe(at(secs));
        }
        assert_eq!(table.resolve(at(204), ip(7)), None);
    }

    #[test]
    fn only_the_told_make_and_replace_entries() {
        let mut table = Neighbours::new(4, 1);
        table.learn(at(0), ip(7), from(MAC), false, true);
        assert!(table.entries.is_empty());
        table.learn(at(0), ip(7), from(MAC), true, true);
        table.learn(at(0), ip(7), from(OTHER), true, false);
        assert_eq!(table.resolve(at(0), ip(7)), Some(MAC));
    }

    /// The MAC after another station's claim, when the holder answers or does not.
    fn after_a_claim(answers: bool) -> Option<Mac> {
        let mut table = Neighbours::new(4, 1);
        table.learn(at(0), ip(7), from(MAC), true, true);
        let mut now = at(5);
        for _ in 0..50 {
            table.learn(now, ip(7), from(OTHER), true, true);
            while let Some(probe) = table.next_probe(now) {
                assert_eq!(probe, Probe { addr: ip(7), mac: Some(MAC) }, "it is asked where it was");
                if answers {
                    table.learn(now, ip(7), from(MAC), false, true);
                }
            }
            if table.station(ip(7)).unwrap().mac == OTHER {
                break;
            }
            now += Duration::from_millis(50);
        }
        table.station(ip(7)).map(|station| station.mac)
    }

    #[test]
    fn an_address_is_another_s_only_when_its_station_is_silent() {
        assert_eq!(after_a_claim(true), Some(MAC));
        assert_eq!(after_a_claim(false), Some(OTHER));
    }

    /// One guest after another has the address, each for a moment, and each says so once.
    #[test]
    fn a_claim_that_comes_too_early_is_looked_into_later() {
        let mut table = Neighbours::new(4, 1);
        let mut now = at(0);
        for last in 1..6 {
            let guest = Mac([2, 0, 0, 0, 0, last]);
            table.learn(now, ip(7), from(guest), true, true);
            let patience = now + Duration::from_secs(3);
            while let Some(due) = table.poll_timeout().filter(|due| *due <= patience) {
                now = now.max(due);
                table.next_probe(now);
            }
            assert_eq!(table.station(ip(7)), Some(from(guest)), "guest {last}");
        }
        // while the first is asked, one comes and goes, and another
        for last in 6..9 {
            table.learn(now, ip(7), from(Mac([2, 0, 0, 0, 0, last])), true, true);
            now += Duration::from_millis(100);
        }
        while let Some(due) = table.poll_timeout() {
            now = now.max(due);
            table.next_probe(now);
        }
        assert_eq!(table.station(ip(7)), Some(from(Mac([2, 0, 0, 0, 0, 8]))));
        // it denies a claim, leaves, and the claim of the next one waits a little
        let (old, new) = (from(Mac([2, 0, 0, 0, 0, 8])), from(MAC));
        table.learn(now, ip(7), new, true, true);
        table.learn(now, ip(7), old, false, true);
        table.learn(now, ip(7), new, true, true);
        assert_eq!(table.next_probe(now), None);
        while let Some(due) = table.poll_timeout() {
            table.next_probe(due);
        }
        assert_eq!(table.station(ip(7)), Some(new));
    }

    #[test]
    fn the_entries_of_one_port_are_not_lost_to_another_s() {
        let mut table = Neighbours::new(16, 1);
        let behind = |port: u16| Station { mac: MAC, ingress: Ingress { port: PortId(port), isolated: false } };
        table.learn(at(0), ip(200), behind(1), true, true);
        (0..100).for_each(|last| drop(table.learn(at(last.into()), ip(last), behind(2), true, true)));
        assert_eq!(table.station(ip(200)), Some(behind(1)));
        assert!(table.station(ip(99)).is_some() && table.entries.len() <= 16);
    }

    #[test]
    fn the_table_and_what_waits_are_bounded() {
        let mut table = Neighbours::new(4, 1);
        for last in 0..100 {
            table.learn(at(last.into()), ip(last), from(MAC), true, true);
            assert_eq!(table.resolve(at(last.into()), ip(200)), None);
        }
        assert_eq!(table.entries.len(), 4);
        for _ in 0..100 {
            table.park(ip(200), b"x");
        }
        assert_eq!((table.parked, table.dropped), (PARKED_EACH, 100 - PARKED_EACH as u64));
    }
}
