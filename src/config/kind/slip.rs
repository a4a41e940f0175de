//! `slip:TRANSPORT`: frames or packets on a serial line, as RFC 1055 frames them.

use std::net::IpAddr;

use super::access::{GROUP, USER};
use super::transport::{self, ANYBODY, CONNECT, LISTEN, Transport};
use super::uart::{PARITY, RTSCTS, STOP};
use super::{Attach, KeyRow, KindRow, KindText, PortKind};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value;
use crate::wire::{Cidr, Mac};

pub(super) const IP: KeyRow = KeyRow {
    word: "ip",
    value: Some("CIDR"),
    repeatable: true,
    live: false,
    summary: "mode=ip: an address of the peer and its network (default: learned from what it sends)",
};
pub(super) const GATEWAY: KeyRow = KeyRow {
    word: "gateway",
    value: Some("IP"),
    repeatable: true,
    live: false,
    summary: "mode=ip: the next hop for what is not in the peer's networks",
};
pub(super) const MAC: KeyRow = KeyRow {
    word: "mac",
    value: Some("MAC"),
    repeatable: false,
    live: false,
    summary: "mode=ip: the address by which the peer is known (default: made from the port's name)",
};

pub(super) static ROW: KindRow = KindRow {
    word: "slip",
    target: "TRANSPORT",
    summary: "SLIP on a serial line: Ethernet frames or bare IP packets",
    keys: &[
        KeyRow {
            word: "mode",
            value: Some("ether|ip|OCTAL"),
            repeatable: true,
            live: false,
            summary: "what a SLIP packet holds: an Ethernet frame, or an IP packet (default: ether); or permission bits of \
                      what is made: a socket, a terminal, FIFOs (default: 0600)",
        },
        IP,
        GATEWAY,
        MAC,
        KeyRow {
            word: "contiki",
            value: Some("on|off"),
            repeatable: false,
            live: false,
            summary: "answer ?P and ?M, and log !M and debug lines, as Contiki's tools do (default: on)",
        },
        CONNECT,
        LISTEN,
        ANYBODY,
        PARITY,
        STOP,
        RTSCTS,
        USER,
        GROUP,
    ],
    choices: None,
    example: "slip:unix:/tmp/slip.sock",
    note: "What Zephyr calls SLIP_TAP; SLIP without Ethernet is mode=ip, whose port then answers ARP and neighbour \
           discovery for its peer and finds the way for what it sends. There mtu= is the longest packet for the peer, 576 or \
           more (default: 576, and 1280 for IPv6, which needs as much). The port stays \
           when its peer leaves, and serves the next one.",
    parse,
};

/// The IP adapter of a port with bare IP packets.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct IpPeer {
    /// Addresses of the peer and their networks; none: they are learned.
    pub addrs: Vec<Cidr>,
    /// Next hops for everything else, one a family at most.
    pub gateways: Vec<IpAddr>,
    /// The address by which the peer is known; `None`: made from the port's name.
    pub mac: Option<Mac>,
}

impl IpPeer {
    /// Writes its keys.
    pub(super) fn write(&self, out: &mut Writer) {
        out.value("mode", "ip");
        self.addrs.iter().for_each(|addr| out.value("ip", addr));
        self.gateways.iter().for_each(|gateway| out.value("gateway", gateway));
        out.option("mac", self.mac);
    }
}

/// SLIP on a serial line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Slip {
    /// Its transport.
    pub transport: Transport,
    /// `mode=ip`: SLIP packets are IP packets; otherwise they are Ethernet frames.
    pub ip: Option<IpPeer>,
    /// Contiki's conventions are understood.
    pub contiki: bool,
}

/// A word of the key `mode`, which says two things.
#[derive(PartialEq)]
enum Mode {
    Ip(bool),
    Bits(u32),
}

fn mode(text: &str) -> value::Parsed<Mode> {
    match text {
        "ether" => Ok(Mode::Ip(false)),
        "ip" => Ok(Mode::Ip(true)),
        _ => value::mode(text).map(Mode::Bits).map_err(|_| "ether or ip, or octal permission bits, as 0660".to_owned()),
    }
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let (mut is_ip, mut bits) = (None, None);
    for word in keys.values("mode", mode)? {
        let twice = match word {
            Mode::Ip(ip) => is_ip.replace(ip).is_some(),
            Mode::Bits(mode) => bits.replace(mode).is_some(),
        };
        if twice {
            return Err(Fault::new("mode= says the same thing twice"));
        }
    }
    let mut transport = transport::parse(&ROW, target, keys)?;
    if let Some(mode) = bits {
        transport.set_mode(mode)?;
    }
    let ip = ip_peer(is_ip == Some(true), keys)?;
    Ok(PortKind::Slip(Slip { transport, ip, contiki: keys.flag("contiki")?.unwrap_or(true) }))
}

/// The keys of a peer with bare IP packets, where it is one.
pub(super) fn ip_peer(is_ip: bool, keys: &mut Keys) -> Result<Option<IpPeer>, Fault> {
    if !is_ip {
        for word in ["ip", "gateway", "mac"] {
            keys.refuse(word, "without mode=ip")?;
        }
        return Ok(None);
    }
    let gateways = keys.values("gateway", |text| {
        let unicast = |ip: &IpAddr| !ip.is_multicast() && !ip.is_unspecified();
        text.parse().ok().filter(unicast).ok_or_else(|| "one host's address, as 192.0.2.2 or 2001:db8::2".to_owned())
    })?;
    if gateways.iter().filter(|ip| ip.is_ipv4()).count() > 1 || gateways.iter().filter(|ip| ip.is_ipv6()).count() > 1 {
        return Err(Fault::new("more than one gateway of a family").hint("give one IPv4 and one IPv6 gateway at most"));
    }
    Ok(Some(IpPeer { addrs: keys.values("ip", value::cidr)?, gateways, mac: keys.value("mac", value::station)? }))
}

impl KindText for Slip {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        self.transport.target()
    }

    fn default_name(&self) -> String {
        self.transport.default_name(ROW.word)
    }

    fn write(&self, out: &mut Writer) {
        if let Some(ip) = &self.ip {
            ip.write(out);
        }
        if !self.contiki {
            out.value("contiki", "off");
        }
        self.transport.write(out);
    }

    fn claims(&self) -> Vec<String> {
        self.transport.claims()
    }

    fn attach(&self, _name: &str) -> Option<Attach> {
        self.transport.attach()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::PortSpec;

    #[test]
    fn a_path_without_its_transport_is_given_one() {
        let hint = |text| PortSpec::parse(text).unwrap_err().advice().unwrap_or_default().to_owned();
        assert_eq!(hint("slip:/dev/ttyUSB0"), "write slip:serial:/dev/ttyUSB0");
        assert_eq!(hint("slip:/tmp/a"), "write slip:unix:/tmp/a");
        assert_eq!(hint("slip:a"), "for example slip:unix:/tmp/slip.sock");
    }

    #[test]
    fn a_mode_has_its_keys() {
        let text = "slip:unix:/tmp/s,mode=ip,ip=192.0.2.1/24,ip=2001:db8::1/64,gateway=192.0.2.2,gateway=2001:db8::2,\
                    mac=02:00:5e:00:53:09,contiki=off,mtu=1280";
        assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        let text = "slip:pty:/tmp/s,mode=ip,mode=0660,user=joe,group=dialout";
        assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        assert_eq!(PortSpec::parse("slip:unix:/tmp/s,mode=ether").unwrap().canonical(), "slip:unix:/tmp/s");
        for bad in [
            "slip:unix:/tmp/s,ip=192.0.2.1/24",
            "slip:unix:/tmp/s,mode=ether,gateway=192.0.2.2",
            "slip:unix:/tmp/s,mode=tap",
            "slip:unix:/tmp/s,mode=ip,mode=ether",
            "slip:unix:/tmp/s,mode=0660,mode=0640",
            "slip:unix:/tmp/s,connect,mode=0660",
            "slip:tcp:127.0.0.1:1,mode=0660",
            "slip:unix:/tmp/s,mode=ip,gateway=192.0.2.2,gateway=192.0.2.3",
            "slip:unix:/tmp/s,mode=ip,gateway=224.0.0.1",
            "slip:unix:/tmp/s,mode=ip,mtu=575",
        ] {
            assert!(PortSpec::parse(bad).is_err(), "{bad}");
        }
    }
}
