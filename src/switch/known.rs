//! Queries about stations beyond the forwarding database: the IP addresses that they claim, and addresses claimed by
//! two. The data are those of `hosts.rs` and `flap.rs`.

use super::hosts::TURN;
use super::{Flap, Switch};
use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use std::net::IpAddr;

/// An IP address, as its station has told others of it (ARP, neighbour discovery).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Known {
    /// The address.
    pub addr: IpAddr,
    /// The station.
    pub mac: Mac,
    /// Where it was heard last.
    pub port: PortId,
    /// How long ago that was.
    pub age: Duration,
    /// The other station that has the address, too, or had it a moment ago: it comes from both by turns.
    pub other: Option<Mac>,
}

impl Switch {
    /// The IP addresses that are known, of all ports that there are: a few thousand at most.
    pub fn known(&self, now: Instant) -> impl Iterator<Item = Known> {
        self.hosts.known.iter().filter(|(_, holder)| holder.there).map(move |((_, addr), holder)| {
            let recent = holder.before.is_some_and(|(_, at)| now - at < TURN);
            let pair = holder.pair.filter(|_| recent);
            let other = pair.and_then(|pair| pair.into_iter().find(|mac| *mac != holder.mac));
            Known { addr: *addr, mac: holder.mac, port: holder.port, age: now - holder.heard, other }
        })
    }

    /// The MAC addresses reported as those of two stations, heard on two ports by turns, with the last two.
    pub fn flapping(&self) -> impl Iterator<Item = Flap> {
        self.watch.told()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::frame::{Batch, Outgoing};
    use crate::switch::{PortConfig, SwitchConfig, Taken, Transmit};
    use crate::wire::Offload;
    use crate::wire::neighbour::{Said, Tags, announcement};

    struct Nowhere;

    impl Transmit for Nowhere {
        fn transmit(&mut self, _: PortId, out: Outgoing<'_>, _: &mut Counters) -> Taken {
            Taken { frames: out.len() }
        }
    }

    #[test]
    fn addresses_are_known_as_they_were_told() {
        let mut switch = Switch::new(&SwitchConfig::default());
        let ports: Vec<PortId> = (0..2).map(|_| switch.add_port(PortConfig::default()).unwrap()).collect();
        let mut say = |seconds: u64, mac: Mac, addr: &str, port: PortId| {
            let said = Said { tags: Tags::default(), addr: addr.parse().unwrap(), mac, router: None, answers: None };
            let mut batch = Batch::new(4096);
            assert!(batch.push(&announcement(&said), port, Offload::NONE));
            switch.run(Instant::from_secs(seconds), &batch, &mut Nowhere);
        };
        let (one, two) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        say(10, one, "192.0.2.1", ports[0]);
        say(12, two, "2001:db8::2", ports[1]);
        let mut known: Vec<Known> = switch.known(Instant::from_secs(15)).collect();
        known.sort_by_key(|known| known.addr);
        let row = |addr: &str, mac, port, age| {
            let (addr, age) = (addr.parse().unwrap(), Duration::from_secs(age));
            Known { addr, mac, port, age, other: None }
        };
        assert_eq!(known, [row("192.0.2.1", one, ports[0], 5), row("2001:db8::2", two, ports[1], 3)]);
        assert_eq!(switch.flapping().count(), 0);
        // The address comes from both by turns, and so does a MAC address.
        for second in 20..30 {
            let turn = ports[second % 2];
            let mut batch = Batch::new(4096);
            let mac = if second % 2 == 0 { one } else { two };
            let addr = "192.0.2.1".parse().unwrap();
            let said = Said { tags: Tags::default(), addr, mac, router: None, answers: None };
            assert!(batch.push(&announcement(&said), turn, Offload::NONE));
            let said = Said {
                tags: Tags::default(),
                addr: "192.0.2.9".parse().unwrap(),
                mac: Mac([2; 6]),
                router: None,
                answers: None,
            };
            assert!(batch.push(&announcement(&said), turn, Offload::NONE));
            switch.run(Instant::from_secs(second as u64), &batch, &mut Nowhere);
        }
        assert!(
            switch
                .known(Instant::from_secs(31))
                .any(|known| known.other.is_some() && known.addr.to_string() == "192.0.2.1")
        );
        let flapping: Vec<(Mac, [PortId; 2])> =
            switch.flapping().map(|flap| (flap.mac, [flap.from, flap.to])).collect();
        assert_eq!(flapping, [(Mac([2; 6]), [ports[0], ports[1]])]);
    }

    #[test]
    fn a_new_port_has_no_address_of_the_one_before() {
        let mut switch = Switch::new(&SwitchConfig::default());
        let [stays, leaves] = [(); 2].map(|()| switch.add_port(PortConfig::default()).unwrap());
        let said = |port: PortId, last: u8| {
            let (mac, addr) = (Mac([2, 0, 0, 0, 0, last]), IpAddr::from([192, 0, 2, last]));
            let said = Said { tags: Tags::default(), addr, mac, router: None, answers: None };
            let mut batch = Batch::new(4096);
            assert!(batch.push(&announcement(&said), port, Offload::NONE));
            batch
        };
        switch.run(Instant::from_secs(1), &said(stays, 1), &mut Nowhere);
        switch.run(Instant::from_secs(1), &said(leaves, 2), &mut Nowhere);
        assert!(switch.remove_port(Instant::from_secs(2), leaves).is_some());
        let comes = switch.add_port(PortConfig::default()).unwrap();
        assert_eq!(comes, leaves, "it has its number");
        let known = |switch: &Switch| {
            let mut ports: Vec<PortId> = switch.known(Instant::from_secs(3)).map(|known| known.port).collect();
            ports.sort();
            ports
        };
        assert_eq!(known(&switch), [stays]);
        switch.run(Instant::from_secs(3), &said(comes, 2), &mut Nowhere);
        assert_eq!(known(&switch), [stays, comes], "it is heard again");
    }
}
