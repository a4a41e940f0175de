//! `nat:CIDR`: the way out, a gateway that lets every port of the switch reach the host's networks.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::ip::PUBLIC;
use super::lan::{self, Lan};
use super::{Attach, KeyRow, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value::{self, Parsed};
use crate::wire::{Cidr, Mac};

pub(super) static ROW: KindRow = KindRow {
    word: "nat",
    target: "CIDR",
    summary: "a gateway to the host's networks, without any right",
    keys: &[
        KeyRow {
            word: "ipv6",
            value: Some("CIDR"),
            repeatable: false,
            live: false,
            summary: "its IPv6 address and network, too",
        },
        KeyRow {
            word: "forward",
            value: Some("PROTO:HOST:PORT->GUEST:PORT"),
            repeatable: true,
            live: false,
            summary: "lead an address of the host to a guest, PROTO is tcp or udp",
        },
        KeyRow { summary: "allow forwards that other hosts than this one can reach", ..PUBLIC },
        KeyRow {
            word: "host-loopback",
            value: Some("on|off"),
            repeatable: false,
            live: false,
            summary: "whether guests reach this host: its loopback by the gateway's address, and its other addresses \
                      (default: on, or off where a port leads to a network)",
        },
        KeyRow {
            word: "restrict",
            value: None,
            repeatable: false,
            live: false,
            summary: "nothing goes out: only its own services and forwards",
        },
        lan::DHCP,
        lan::LEASE,
        lan::HOST,
        lan::DNS,
        lan::DOMAIN,
        lan::TFTP,
        lan::TFTP_WRITE,
        lan::BOOTFILE,
        lan::LEASES,
        KeyRow {
            word: "mac",
            value: Some("MAC"),
            repeatable: false,
            live: false,
            summary: "the gateway's MAC address (default: made of its address)",
        },
    ],
    example: "nat:10.0.2.2/24,forward=tcp:127.0.0.1:2222->10.0.2.15:22",
    note: "Connections of guests are made again as ordinary sockets of the host, so no right is needed and they reach \
           what the user who runs it reaches: TCP, UDP and pings. Connections of a forward come from the gateway's \
           address; a shell needs quotes around one, because of the '>'. Hosts on the switch get address, route, resolver and boot file by DHCP or BOOTP, and over IPv6 by \
           router advertisements or DHCPv6; each has a name (`inst1.lab`), and all other names come from the host's \
           resolvers.",
    choices: None,
    parse,
};

/// The transport of a forward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// An address of the host that leads to a guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub struct Forward {
    /// Its transport.
    pub protocol: Protocol,
    /// Where the host listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the guest does.
    pub guest: SocketAddr,
}

impl Forward {
    /// Reads `tcp:127.0.0.1:2222->10.0.2.15:22`. The error says what is expected.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Parsed<Self> {
        forward(text)
    }

    /// Reads the part of one that says where the host listens, `tcp:127.0.0.1:2222`, or all of it.
    ///
    /// # Errors
    /// It is none.
    pub fn parse_listen(text: &str) -> Parsed<(Protocol, SocketAddr)> {
        let form = || "PROTO:HOST:PORT with an address, as tcp:127.0.0.1:2222".to_owned();
        let (protocol, rest) = text.split_once(':').ok_or_else(form)?;
        let listen = rest.split_once("->").map_or(rest, |(listen, _)| listen);
        Ok((Protocol::parse(protocol).ok_or_else(form)?, listen.parse().map_err(|_| form())?))
    }

    /// Whether its guest may be in one of these networks of a gateway.
    pub fn leads_into(&self, networks: &[Cidr]) -> bool {
        networks.iter().any(|network| network.contains(self.guest.ip()) && network.addr != self.guest.ip())
    }

    /// Whether it may be a forward of a gateway of these networks. `public`: other hosts may reach it.
    ///
    /// # Errors
    /// A fault that says why not.
    pub fn check(&self, networks: &[Cidr], public: bool) -> Result<(), Fault> {
        if !self.leads_into(networks) {
            return Err(Fault::new(format!("forward={self}: {} is no guest of the network", self.guest.ip()))
                .hint("the address behind -> is one of the gateway's network; ipv6= adds an IPv6 network"));
        }
        if !public && !self.listen.ip().is_loopback() {
            return Err(Fault::new(format!("forward={self}: {} is not this machine's loopback", self.listen))
                .hint("anyone who can reach it can reach the guest; add the key public if that is meant"));
        }
        Ok(())
    }
}

/// `tcp:127.0.0.1:2222->10.0.2.15:22`.
impl fmt::Display for Forward {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}->{}", self.protocol, self.listen, self.guest)
    }
}

/// A gateway to the host's networks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Nat {
    /// Its IPv4 address, and the network behind it.
    pub gateway: Ipv4Addr,
    /// Bits of that network's prefix, at most 30.
    pub prefix: u8,
    /// Its IPv6 address and network.
    pub ipv6: Option<Cidr>,
    /// Addresses of the host that lead to guests.
    pub forwards: Vec<Forward>,
    /// They may be addresses that other hosts can reach.
    pub public: bool,
    /// Guests reach the host itself: its loopback by the gateway's address, and its own addresses; `None`: unless a port
    /// of the switch leads to a network.
    pub host_loopback: Option<bool>,
    /// Nothing goes out.
    pub restrict: bool,
    /// Its MAC address, if it was given one; see [`Nat::mac`].
    pub own_mac: Option<Mac>,
    /// Its services for its segment.
    pub lan: Lan,
}

impl Nat {
    /// Its MAC address. Without `mac=` it is derived from its address, so that guests' neighbour caches stay valid in
    /// the next run: 02:6e (locally administered, `n`), and the four octets.
    pub fn mac(&self) -> Mac {
        self.own_mac.unwrap_or_else(|| Mac::from_u64(0x026e << 32 | u64::from(u32::from(self.gateway))))
    }

    /// Its addresses with their networks.
    pub fn addrs(&self) -> Vec<Cidr> {
        let four = Cidr { addr: self.gateway.into(), prefix: self.prefix };
        std::iter::once(four).chain(self.ipv6).collect()
    }
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let cidr = value::cidr(target).map_err(|form| bad_target(&ROW, target, &form))?;
    let IpAddr::V4(gateway) = cidr.addr else {
        return Err(bad_target(&ROW, target, "the gateway's IPv4 address; ipv6= adds the other family"));
    };
    if !(1..=30).contains(&cidr.prefix) {
        return Err(bad_target(&ROW, target, "a network with room for guests, a prefix of 1 to 30 bits"));
    }
    let (first, last) = lan::ends(gateway, cidr.prefix);
    if [first, last].contains(&gateway.to_bits()) {
        let what = format!("{target}: the network itself or its broadcast address, not that of a host");
        let first = Ipv4Addr::from_bits(first + 1);
        return Err(Fault::new(what).hint(format!("for example nat:{first}/{}", cidr.prefix)));
    }
    let nat = Nat {
        gateway,
        prefix: cidr.prefix,
        ipv6: keys.value("ipv6", ipv6)?,
        forwards: keys.values("forward", forward)?,
        public: keys.flag("public")?.unwrap_or(false),
        host_loopback: keys.flag("host-loopback")?,
        restrict: keys.flag("restrict")?.unwrap_or(false),
        own_mac: keys.value("mac", value::station)?,
        lan: Lan::parse(keys, (gateway, cidr.prefix))?,
    };
    check(&nat)?;
    Ok(PortKind::Nat(nat))
}

fn ipv6(text: &str) -> Parsed<Cidr> {
    let good = |cidr: &Cidr| cidr.addr.is_ipv6() && (1..=126).contains(&cidr.prefix);
    value::cidr(text).ok().filter(good).ok_or_else(|| "an IPv6 address with its prefix, as 2001:db8::2/64".to_owned())
}

fn forward(text: &str) -> Parsed<Forward> {
    let form = || {
        let quoted = if text.ends_with('-') { "; quote it, for a shell takes the '>'" } else { "" };
        format!("PROTO:HOST:PORT->GUEST:PORT with addresses, as tcp:127.0.0.1:2222->10.0.2.15:22{quoted}")
    };
    let (protocol, rest) = text.split_once(':').ok_or_else(form)?;
    let protocol = Protocol::parse(protocol).ok_or_else(form)?;
    let (listen, guest) = rest.split_once("->").ok_or_else(form)?;
    let (listen, guest): (SocketAddr, SocketAddr) =
        (listen.parse().map_err(|_| form())?, guest.parse().map_err(|_| form())?);
    if guest.port() == 0 {
        return Err(form());
    }
    Ok(Forward { protocol, listen, guest })
}

fn check(nat: &Nat) -> Result<(), Fault> {
    let networks = nat.addrs();
    nat.forwards.iter().try_for_each(|forward| forward.check(&networks, nat.public))?;
    let mut claimed = BTreeSet::new();
    match claims(nat).find(|it| !claimed.insert(it.clone())) {
        Some(twice) => Err(Fault::new(format!("two forwards want {twice}"))),
        None => Ok(()),
    }
}

fn claims(nat: &Nat) -> impl Iterator<Item = String> {
    let listens = nat.forwards.iter().filter(|forward| forward.listen.port() != 0);
    listens.map(|forward| match forward.protocol {
        Protocol::Tcp => format!("TCP address {}", forward.listen),
        Protocol::Udp => format!("UDP address {}", forward.listen),
    })
}

impl KindText for Nat {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        format!("{}/{}", self.gateway, self.prefix)
    }

    fn default_name(&self) -> String {
        "nat".to_owned()
    }

    fn write(&self, out: &mut Writer) {
        out.option("ipv6", self.ipv6);
        for forward in &self.forwards {
            out.value("forward", forward);
        }
        if self.public {
            out.flag("public");
        }
        if let Some(on) = self.host_loopback {
            out.value("host-loopback", if on { "on" } else { "off" });
        }
        if self.restrict {
            out.flag("restrict");
        }
        out.option("mac", self.own_mac);
        self.lan.write(out, (self.gateway, self.prefix));
    }

    fn claims(&self) -> Vec<String> {
        claims(self).collect()
    }

    fn attach(&self, _name: &str) -> Option<Attach> {
        let line = match self.lan.dhcp {
            Some(_) => "udhcpc -i eth0".to_owned(),
            None => format!("ip route add default via {}", self.gateway),
        };
        Attach::new("guest", line)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{PortKind, PortSpec};

    fn refusal(text: &str) -> String {
        PortSpec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn everything_said_is_kept() {
        for text in [
            "nat:10.0.2.2/24",
            "nat:10.0.2.2/24,ipv6=2001:db8::2/64,forward=tcp:127.0.0.1:2222->10.0.2.15:22,\
             forward=udp:[::1]:69->[2001:db8::15]:69,public,host-loopback=off,restrict,mac=02:00:00:00:00:01,mtu=1400",
            "nat:10.0.2.2/24,dhcp=10.0.2.20-10.0.2.30,lease=600s,host=02:00:00:00:00:09/10.0.2.9/board1,\
             host=02:00:00:00:00:08/10.0.2.8,dns=10.0.2.3,domain=bench.test,tftp=/srv/boot,tftp-write,\
             bootfile=zephyr.bin,bootfile=http://192.0.2.1/boot.ipxe@user:iPXE,bootfile=snp.efi@arch:7,leases=/tmp/leases",
            "nat:10.0.2.2/24,dhcp=off,dns=off",
        ] {
            assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        }
    }

    #[test]
    fn the_mac_address_is_made_of_the_address() {
        let PortKind::Nat(nat) = PortSpec::parse("nat:10.0.2.2/24").unwrap().kind else { panic!("not a nat") };
        assert_eq!(nat.mac().to_string(), "02:6e:0a:00:02:02");
    }

    #[test]
    fn a_segment_has_a_pool_of_its_own() {
        let pool = |text| match PortSpec::parse(text).unwrap().kind {
            PortKind::Nat(nat) => nat.lan.dhcp.map(|(first, last)| format!("{first}-{last}")).unwrap_or_default(),
            _ => panic!("not a nat"),
        };
        assert_eq!(pool("nat:10.0.2.2/24"), "10.0.2.15-10.0.2.99");
        assert_eq!(pool("nat:10.9.2.2/16"), "10.9.0.15-10.9.0.99");
        assert_eq!(pool("nat:10.0.2.66/29"), "10.0.2.65-10.0.2.70");
        assert_eq!(pool("nat:10.0.2.2/24,dhcp=.30-.31"), "10.0.2.30-10.0.2.31");
        assert_eq!(pool("nat:10.0.2.2/16,dhcp=.1.0-.1.255"), "10.0.1.0-10.0.1.255");
        let PortKind::Nat(nat) =
            PortSpec::parse("nat:10.0.2.2/24,host=02:00:00:00:00:01,,10.0.2.20,,Board1").unwrap().kind
        else {
            panic!("not a nat")
        };
        assert_eq!(nat.lan.hosts[0].to_string(), "02:00:00:00:00:01/10.0.2.20/board1");
    }

    #[test]
    fn faults_of_services_say_what_to_do() {
        for (keys, said) in [
            ("dhcp=15-99", ".15-.99"),
            ("dhcp=.99-.15", "10.0.2.1 to 10.0.2.254"),
            ("dhcp=10.0.3.1-10.0.3.9", "10.0.2.1 to 10.0.2.254"),
            ("dns=10.0.3.3", "not in the network"),
            ("dns=2001:db8::3", "or off"),
            ("lease=59s", "60s at least"),
            ("host=02:00:00:00:00:01", "MAC/ADDR"),
            ("host=02:00:00:00:00:01/10.0.2.2", "not an address for a host"),
            ("host=02:00:00:00:00:01/10.0.2.9/a_b", "board1"),
            ("host=02:00:00:00:00:01/10.0.2.9,host=02:00:00:00:00:02/10.0.2.9", "the same host"),
            ("domain=-", "a domain of letters"),
            ("bootfile=zephyr.bin", "tftp=FOLDER"),
            ("tftp-write", "tftp=FOLDER"),
            ("tftp=/srv,bootfile=a,bootfile=b", "for the same clients"),
            ("tftp=/srv,bootfile=a@arch:65536", "@arch:NUMBER"),
            ("tftp=/srv,bootfile=@user:iPXE", "@user:CLASS"),
            ("tftp=/srv,bootfile=a@user:", "@user:CLASS"),
        ] {
            let text = refusal(&format!("nat:10.0.2.2/24,{keys}"));
            assert!(text.contains(said), "{keys}: {text}");
        }
    }

    #[test]
    fn faults_say_what_to_do() {
        assert!(refusal("nat:10.0.2.2").contains("192.0.2.2/24"));
        for bad in ["nat:10.0.2.0/24", "nat:10.0.2.255/24"] {
            let said = refusal(bad);
            assert!(said.contains("network itself") && !said.contains("dns="), "{said}");
        }
        assert!(refusal("nat:2001:db8::2/64").contains("ipv6="));
        assert!(refusal("nat:10.0.2.2/32").contains("room for guests"));
        assert!(refusal("nat:10.0.2.2/24,forward=tcp:127.0.0.1:2222-").contains("quote it"));
        assert!(refusal("nat:10.0.2.2/24,forward=sctp:127.0.0.1:1->10.0.2.15:1").contains("tcp:127.0.0.1:2222"));
        assert!(refusal("nat:10.0.2.2/24,forward=tcp:127.0.0.1:1->10.0.3.15:1").contains("no guest"));
        assert!(refusal("nat:10.0.2.2/24,forward=tcp:127.0.0.1:1->10.0.2.2:1").contains("no guest"));
        assert!(refusal("nat:10.0.2.2/24,forward=tcp:127.0.0.1:1->[2001:db8::1]:1").contains("ipv6="));
        for listen in ["0.0.0.0", "[::]", "192.0.2.7"] {
            let text = format!("nat:10.0.2.2/24,forward=tcp:{listen}:22->10.0.2.15:22");
            assert!(refusal(&text).contains("add the key public"), "{listen}");
            assert!(PortSpec::parse(&format!("{text},public")).is_ok(), "{listen}");
        }
        let twice = "nat:10.0.2.2/24,forward=tcp:127.0.0.1:1->10.0.2.15:1,forward=tcp:127.0.0.1:1->10.0.2.16:1";
        assert!(refusal(twice).contains("two forwards want TCP address 127.0.0.1:1"));
    }
}
