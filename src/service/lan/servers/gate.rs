//! Filter of DHCP and ARP messages by station, before the servers get them.
//!
//! # Theory of operation
//! The client in a DHCP message (`chaddr`) can be forged. So the gate notes the station of a client's first message. As
//! long as the client's lease may stand, only that station, another behind the same port of the switch, or one with the
//! client's own MAC may send messages for it; RELEASE and DECLINE (RFC 2131, 4.4.4 and 4.4.6) count from that very
//! station alone. A client that changes its port becomes known there by its next request.
//!
//! Each port has its share ([`Shares`]) of the clients that there are addresses for, and of the addresses that are seen
//! in use by ARP: a port that forges clients or hosts takes no more than that from the others. Messages beyond it are
//! dropped.

use crate::config;
use crate::frame::PortId;
use crate::service::lan::dhcp4::message::{Kind, Message};
use crate::service::shares::Shares;
use crate::service::station::Station;
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How long a client without a lease counts, and an address seen in use.
const MOMENT: Duration = Duration::from_secs(60);
/// Shortest interval of scans for expired entries.
const SWEEP: Duration = Duration::from_secs(1);

struct Client {
    station: Station,
    until: Instant,
}

/// See the module.
pub(super) struct Gate {
    /// The pool, from the first address to the last.
    first: u32,
    last: u32,
    lease: Duration,
    /// Clients with a fixed address.
    fixed: Vec<Mac>,
    clients: HashMap<Mac, Client, RandomState>,
    of_clients: Shares,
    heard: HashMap<u32, (PortId, Instant), RandomState>,
    of_heard: Shares,
    /// When to scan for expired entries again.
    sweep: Instant,
    /// Messages dropped.
    pub dropped: u64,
}

impl Gate {
    /// The gate before a gateway's servers.
    pub fn new(nat: &config::Nat) -> Self {
        let (first, last) = nat.lan.dhcp.unwrap_or((Ipv4Addr::BROADCAST, Ipv4Addr::BROADCAST));
        Self {
            first: first.to_bits(),
            last: last.to_bits(),
            lease: nat.lan.lease,
            fixed: nat.lan.hosts.iter().map(|host| host.mac).collect(),
            clients: HashMap::default(),
            of_clients: Shares::default(),
            heard: HashMap::default(),
            of_heard: Shares::default(),
            sweep: Instant::ZERO,
            dropped: 0,
        }
    }

    /// A client has a fixed address from now on.
    pub fn pin(&mut self, client: Mac) {
        if !self.fixed.contains(&client) {
            self.fixed.push(client);
        }
    }

    /// Addresses of the pool.
    fn most(&self) -> usize {
        self.last.saturating_sub(self.first) as usize + 1
    }

    /// Whether a payload from `from` to the DHCP server is admitted.
    pub fn admits(&mut self, now: Instant, from: Station, bytes: &[u8]) -> bool {
        let Some(message) = Message::read(from.mac, bytes) else { return true };
        let admitted = match message.kind {
            Some(Kind::Release | Kind::Decline) => self.is_its_own(now, from, message.mac),
            Some(Kind::Request) | None => self.speaks(now, from, message.mac, self.lease),
            Some(Kind::Discover) => self.speaks(now, from, message.mac, MOMENT),
            _ => true,
        };
        self.dropped += u64::from(!admitted);
        admitted
    }

    fn is_its_own(&self, now: Instant, from: Station, client: Mac) -> bool {
        let its = |it: &Client| it.until > now && (it.station.mac, it.station.port()) == (from.mac, from.port());
        self.clients.get(&client).is_some_and(its)
    }

    /// Whether `from` may send for a client, which then counts for `span` at least.
    fn speaks(&mut self, now: Instant, from: Station, client: Mac, span: Duration) -> bool {
        let until = now + span;
        if let Some(known) = self.clients.get_mut(&client).filter(|known| known.until > now) {
            let its = known.station.port() == from.port() || [known.station.mac, client].contains(&from.mac);
            if its {
                self.of_clients.give(known.station.port());
                self.of_clients.take(from.port());
                (known.station, known.until) = (from, known.until.max(until));
            }
            return its;
        }
        self.sweep(now);
        if let Some(old) = self.clients.remove(&client) {
            self.of_clients.give(old.station.port());
        }
        let admitted = self.of_clients.admits(from.port(), self.most()) || self.fixed.contains(&client);
        if admitted {
            self.of_clients.take(from.port());
            self.clients.insert(client, Client { station: from, until });
        }
        admitted
    }

    /// Whether it is believed that a host at `from` uses `addr`.
    pub fn hears(&mut self, now: Instant, from: Station, addr: Ipv4Addr) -> bool {
        let addr = addr.to_bits();
        if !(self.first..=self.last).contains(&addr) {
            return true;
        }
        self.sweep(now);
        if let Some((port, until)) = self.heard.get_mut(&addr) {
            if *port == from.port() {
                *until = now + MOMENT;
            }
            return true;
        }
        let admitted = self.of_heard.admits(from.port(), self.most());
        if admitted {
            self.of_heard.take(from.port());
            self.heard.insert(addr, (from.port(), now + MOMENT));
        }
        self.dropped += u64::from(!admitted);
        admitted
    }

    /// Removes expired entries.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep {
            return;
        }
        self.sweep = now + SWEEP;
        let (of_clients, of_heard) = (&mut self.of_clients, &mut self.of_heard);
        self.clients.retain(|_, client| {
            let stays = client.until > now;
            if !stays {
                of_clients.give(client.station.port());
            }
            stays
        });
        self.heard.retain(|_, (port, until)| {
            if *until <= now {
                of_heard.give(*port);
            }
            *until > now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PortKind, PortSpec};
    use crate::service::station::Ingress;

    const A: Station = station(0x0a, 1);
    const B: Station = station(0x0b, 2);
    const T: Instant = Instant::from_secs(1);

    const fn station(last: u8, port: u16) -> Station {
        Station { mac: mac(last), ingress: Ingress { port: PortId(port), isolated: false } }
    }

    const fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    /// For eight addresses.
    fn gate() -> Gate {
        let spec = PortSpec::parse("nat:10.0.2.2/24,dhcp=.15-.22,host=02:00:00:00:00:63/10.0.2.9").unwrap();
        let PortKind::Nat(nat) = &spec.kind else { panic!("not a nat") };
        Gate::new(nat)
    }

    /// A message of `kind` of the client `mac` (RFC 2131, section 2).
    fn message(kind: u8, mac: Mac) -> Vec<u8> {
        let head = [&[1, 1, 6, 0][..], &[0; 24], &mac.0, &[0; 202], &[99, 130, 83, 99]].concat();
        [&head[..], &[53, 1, kind, 255]].concat()
    }

    const DISCOVER: u8 = 1;
    const REQUEST: u8 = 3;
    const DECLINE: u8 = 4;
    const RELEASE: u8 = 7;

    #[test]
    fn nobody_speaks_for_another_s_client() {
        let mut gate = gate();
        assert!(gate.admits(T, A, &message(REQUEST, A.mac)));
        for kind in [DISCOVER, REQUEST, DECLINE, RELEASE] {
            assert!(!gate.admits(T, B, &message(kind, A.mac)), "{kind}");
        }
        let same_mac = Station { mac: A.mac, ..B };
        assert!(!gate.admits(T, same_mac, &message(RELEASE, A.mac)), "from another port");
        assert!(gate.admits(T, A, &message(DECLINE, A.mac)) && gate.admits(T, A, &message(RELEASE, A.mac)));
        assert_eq!(gate.dropped, 5);
        // It has moved to another port, and is not known there until its next request.
        assert!(gate.admits(T, same_mac, &message(REQUEST, A.mac)));
        assert!(gate.admits(T, same_mac, &message(RELEASE, A.mac)));
        assert!(gate.admits(T + Duration::from_secs(3601), B, &message(REQUEST, A.mac)), "its lease is over");
    }

    #[test]
    fn clients_that_a_port_makes_up_leave_room_for_others() {
        let mut gate = gate();
        let taken = |gate: &mut Gate, now, from: Station, first: u8| {
            (first..first + 40).filter(|last| gate.admits(now, from, &message(DISCOVER, mac(*last)))).count()
        };
        assert_eq!(taken(&mut gate, T, B, 0x10), 7);
        assert!(gate.admits(T, A, &message(DISCOVER, A.mac)));
        assert!(gate.admits(T, B, &message(DISCOVER, mac(0x63))), "a host with an address of its own");
        assert_eq!(taken(&mut gate, T + MOMENT, B, 0x70), 7, "they never took what they were offered");
    }

    #[test]
    fn addresses_that_a_port_announces_leave_some_for_others() {
        let mut gate = gate();
        let heard =
            |gate: &mut Gate, now| (0..=255).filter(|last| gate.hears(now, B, [10, 0, 2, *last].into())).count();
        assert_eq!(heard(&mut gate, T), 256 - 8 + 7);
        assert!(gate.hears(T, A, [10, 0, 2, 22].into()));
        assert_eq!(heard(&mut gate, T), 256, "the one that is left is in use");
        assert_eq!(gate.dropped, 1);
    }
}
