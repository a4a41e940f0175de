//! `tcp:HOST:PORT` and `udp:LOCAL->REMOTE`: the framings of the UNIX sockets over IP.
//!
//! There is no encryption and no authentication, so both keep to this machine unless `public` is given.

use super::unix::{CLIENTS, clients};
use super::{Attach, KeyRow, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::text::shell;
use crate::config::value::{self, HostPort};

pub(super) const PUBLIC: KeyRow = KeyRow {
    word: "public",
    value: None,
    repeatable: false,
    live: false,
    summary: "allow other hosts than this one: frames travel unprotected",
};

pub(super) static TCP: KindRow = KindRow {
    word: "tcp",
    target: "HOST:PORT",
    summary: "TCP connection, length before each frame (QEMU)",
    keys: &[
        KeyRow { word: "listen", value: None, repeatable: false, live: false, summary: "listen instead of dialling" },
        PUBLIC,
        CLIENTS,
    ],
    example: "tcp:127.0.0.1:5000,listen",
    note: "The framing of unix, which QEMU speaks with -netdev stream and -netdev socket. It dials, and keeps dialling. With listen each client that connects becomes a port of its own, and port 0 \
           takes a free one. An IPv6 host stands in brackets: tcp:[::1]:5000.",
    choices: None,
    parse: parse_tcp,
};

pub(super) static UDP: KindRow = KindRow {
    word: "udp",
    target: "LOCAL->REMOTE",
    summary: "UDP, one frame a datagram (QEMU)",
    keys: &[PUBLIC],
    example: "udp:127.0.0.1:5001->127.0.0.1:5002",
    note: "What QEMU calls -netdev dgram. LOCAL and REMOTE are HOST:PORT each. A shell needs quotes around it, because of the '>'. Both ends name \
           each other, and datagrams from elsewhere are not taken.",
    choices: None,
    parse: parse_udp,
};

/// Length-prefixed frames on a TCP connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tcp {
    /// The address to dial or listen on; port 0 only when listening.
    pub addr: HostPort,
    /// Listen instead of dialling.
    pub listen: bool,
    /// Other hosts than this one are allowed.
    pub public: bool,
    /// Clients at once, if it listens; `None`: as many as there can be.
    pub clients: Option<usize>,
}

/// One frame a UDP datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Udp {
    /// The bound address.
    pub local: HostPort,
    /// Where datagrams go and come from.
    pub remote: HostPort,
    /// Other hosts than this one are allowed.
    pub public: bool,
}

fn parse_tcp(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let listen = keys.flag("listen")?.unwrap_or(false);
    let lowest = if listen { 0 } else { 1 };
    let addr = value::host_port(target, lowest..=u16::MAX).map_err(|form| bad_target(&TCP, target, &form))?;
    let public = public(keys, &[&addr])?;
    let clients = clients(keys, (!listen).then_some("without listen: it has one peer"))?;
    Ok(PortKind::Tcp(Tcp { addr, listen, public, clients }))
}

fn parse_udp(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let (local, remote) = target
        .split_once("->")
        .ok_or_else(|| bad_target(&UDP, target, "LOCAL->REMOTE").hint("quote the '>': --port 'udp:LOCAL->REMOTE'"))?;
    let end = |text: &str| value::host_port(text, 1..=u16::MAX).map_err(|form| bad_target(&UDP, text, &form));
    let (local, remote) = (end(local)?, end(remote)?);
    if local == remote {
        return Err(Fault::new("both ends of the udp port are the same address").hint("its frames would come back"));
    }
    let families = (local.ip().map(|ip| ip.is_ipv4()), remote.ip().map(|ip| ip.is_ipv4()));
    if let (Some(one), Some(other)) = families
        && one != other
    {
        return Err(Fault::new("one end of the udp port is IPv4 and the other IPv6"));
    }
    let public = public(keys, &[&local, &remote])?;
    Ok(PortKind::Udp(Udp { local, remote, public }))
}

/// Takes `public`, without which every end has to be this machine.
pub(super) fn public(keys: &mut Keys, ends: &[&HostPort]) -> Result<bool, Fault> {
    let public = keys.flag("public")?.unwrap_or(false);
    match ends.iter().find(|end| !public && !end.is_loopback()) {
        Some(end) => Err(Fault::new(format!("{end} is not this machine's loopback"))
            .hint("anyone who can reach the port can send and read frames; add the key public if that is meant")),
        None => Ok(public),
    }
}

/// The address under which a peer on this machine finds what is bound to `end`.
fn reached(end: &HostPort) -> HostPort {
    let host = match end.ip() {
        Some(ip) if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        Some(ip) if ip.is_unspecified() => "::1".to_owned(),
        _ => end.host.clone(),
    };
    HostPort { host, port: end.port }
}

impl KindText for Tcp {
    fn row(&self) -> &'static KindRow {
        &TCP
    }

    fn target(&self) -> String {
        self.addr.to_string()
    }

    fn default_name(&self) -> String {
        value::name_from(&format!("tcp-{}-{}", self.addr.host, self.addr.port))
    }

    fn write(&self, out: &mut Writer) {
        if self.listen {
            out.flag("listen");
        }
        if self.public {
            out.flag("public");
        }
        out.option("clients", self.clients);
    }

    fn claims(&self) -> Vec<String> {
        let taken = self.listen && self.addr.port != 0;
        if taken { vec![format!("TCP address {}", self.addr)] } else { Vec::new() }
    }

    /// `addr.host` takes an IPv6 address without brackets.
    fn attach(&self, name: &str) -> Option<Attach> {
        let HostPort { host, port } = reached(&self.addr);
        let server = if self.listen { "off" } else { "on" };
        Attach::qemu(name, "stream", &format!("server={server},addr.type=inet,addr.host={host},addr.port={port}"))
    }
}

impl KindText for Udp {
    fn row(&self) -> &'static KindRow {
        &UDP
    }

    fn target(&self) -> String {
        format!("{}->{}", self.local, self.remote)
    }

    fn default_name(&self) -> String {
        value::name_from(&format!("udp-{}-{}", self.local.host, self.local.port))
    }

    fn write(&self, out: &mut Writer) {
        if self.public {
            out.flag("public");
        }
    }

    fn claims(&self) -> Vec<String> {
        vec![format!("UDP address {}", self.local)]
    }

    /// QEMU's dgram netdev resolves IPv4 only: over IPv6 the peer is another zbridge.
    fn attach(&self, name: &str) -> Option<Attach> {
        let (near, far) = (reached(&self.local), &self.remote);
        if near.ip().is_some_and(|ip| ip.is_ipv6()) {
            let public = if self.public { ",public" } else { "" };
            let spec = format!("udp:{far}->{near}{public}");
            return Attach::new("zbridge", format!("zbridge --port {}", shell(&spec)));
        }
        let local = format!("local.type=inet,local.host={},local.port={}", far.host, far.port);
        let remote = format!("remote.type=inet,remote.host={},remote.port={}", near.host, near.port);
        Attach::qemu(name, "dgram", &format!("{local},{remote}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::PortSpec;
    use crate::wire::Mac;

    fn line(text: &str) -> String {
        PortSpec::parse(text).unwrap().attach_hint().unwrap().to_string()
    }

    fn refusal(text: &str) -> String {
        PortSpec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn only_public_ports_leave_the_machine() {
        for text in ["tcp:192.0.2.1:5000", "tcp:0.0.0.0:5000,listen", "udp:127.0.0.1:1->192.0.2.1:2", "tcp:bench:1"] {
            assert!(refusal(text).contains("is not this machine's loopback"), "{text}");
            assert!(refusal(text).contains("add the key public"), "{text}");
            assert!(PortSpec::parse(&format!("{text},public")).is_ok(), "{text}");
        }
        assert!(PortSpec::parse("tcp:localhost:5000").is_ok());
    }

    #[test]
    fn targets_of_udp_name_both_ends() {
        assert!(PortSpec::parse("udp:[::1]:5001->[::1]:5002").is_ok());
        assert!(refusal("udp:127.0.0.1:5001").contains("LOCAL->REMOTE"));
        assert!(refusal("udp:127.0.0.1:1->127.0.0.1:1").contains("same address"));
        assert!(refusal("udp:127.0.0.1:1->[::1]:2").contains("IPv4"));
        assert!(refusal("udp:127.0.0.1:0->127.0.0.1:2").contains("a port from 1 to 65535"));
    }

    #[test]
    fn port_0_is_for_listeners() {
        assert!(PortSpec::parse("tcp:127.0.0.1:0,listen").is_ok());
        assert!(refusal("tcp:127.0.0.1:0").contains("a port from 1 to 65535"));
    }

    /// Each of these was accepted by QEMU 7.2, which refused an IPv6 dgram.
    #[test]
    fn lines_for_qemu() {
        assert_eq!(
            line("tcp:127.0.0.1:5000,listen"),
            format!(
                "QEMU: -netdev stream,id=tcp-127.0.0.1-5000,server=off,addr.type=inet,addr.host=127.0.0.1,\
                 addr.port=5000 -net nic,netdev=tcp-127.0.0.1-5000,macaddr={}",
                Mac::made_of("tcp-127.0.0.1-5000")
            )
        );
        assert!(line("tcp:[::1]:5000").contains("server=on,addr.type=inet,addr.host=::1,addr.port=5000"));
        assert!(line("tcp:[::]:5000,listen,public").contains("addr.host=::1,"));
        assert_eq!(
            line("udp:127.0.0.1:5001->127.0.0.1:5002,name=b"),
            format!(
                "QEMU: -netdev dgram,id=b,local.type=inet,local.host=127.0.0.1,local.port=5002,\
                 remote.type=inet,remote.host=127.0.0.1,remote.port=5001 -net nic,netdev=b,macaddr={}",
                Mac::made_of("b")
            )
        );
        assert_eq!(line("udp:[::1]:1->[::1]:2"), "zbridge: zbridge --port 'udp:[::1]:2->[::1]:1'");
    }
}
