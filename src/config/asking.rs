//! A question that is asked of a host from inside a switch, in words: a ping, a TCP connection, a name.

use std::net::{IpAddr, SocketAddr};

use super::instance::{Ready, ready};
use super::value;
use crate::wire::Cidr;

/// The port of name servers.
const DOMAIN: u16 = 53;

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asking {
    /// Whether an address answers a ping, or accepts a connection: never [`Ready::Log`].
    Host(Ready),
    /// Whether a server knows a name. It is asked over TCP (RFC 7766).
    Name {
        /// The name.
        name: String,
        /// The address that it shall have; `None`: any.
        addr: Option<IpAddr>,
        /// The server.
        server: SocketAddr,
        /// The asker's address; `None`: a free one of the server's network.
        from: Option<Cidr>,
    },
}

impl Asking {
    /// Reads `ping ADDR`, `tcp ADDR:PORT` or `dns NAME[=ADDR] at ADDR[:PORT]`, each with `from CIDR` behind it or without.
    ///
    /// # Errors
    /// The accepted form.
    pub fn parse(text: &str) -> value::Parsed<Self> {
        let (how, what) = text.trim().split_once(' ').unwrap_or((text, ""));
        match how {
            "dns" => name(what.trim()),
            "ping" | "tcp" => ready(text.trim()).map(Self::Host),
            _ => Err("ping ADDR, tcp ADDR:PORT or dns NAME at ADDR".to_owned()),
        }
    }

    /// Who is asked.
    pub fn of(&self) -> IpAddr {
        match self {
            Self::Host(Ready::Tcp { addr, .. }) => addr.ip(),
            Self::Host(Ready::Ping { addr, .. }) => *addr,
            Self::Host(Ready::Log(_)) => IpAddr::from([0, 0, 0, 0]),
            Self::Name { server, .. } => server.ip(),
        }
    }

    /// The asker's address, where it is given.
    pub fn from(&self) -> Option<Cidr> {
        match self {
            Self::Host(Ready::Tcp { from, .. } | Ready::Ping { from, .. }) | Self::Name { from, .. } => *from,
            Self::Host(Ready::Log(_)) => None,
        }
    }
}

fn name(what: &str) -> value::Parsed<Asking> {
    let form = || "dns NAME at ADDR, as \"dns box.lan at 10.0.2.2\", or NAME=ADDR for the answer".to_owned();
    let (what, from) = match what.split_once(" from ") {
        Some((what, from)) => (what, Some(value::cidr(from.trim())?)),
        None => (what, None),
    };
    let (name, server) = what.split_once(" at ").ok_or_else(form)?;
    let (name, addr) = match name.trim().split_once('=') {
        Some((name, addr)) => (name, Some(addr.parse().map_err(|_| form())?)),
        None => (name.trim(), None),
    };
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic());
    let plain = name.strip_suffix('.').unwrap_or(name);
    if plain.len() > 253 || !plain.split('.').all(is_label) {
        return Err(form());
    }
    let server = server.trim();
    let server =
        server.parse().ok().or_else(|| Some(SocketAddr::new(server.parse().ok()?, DOMAIN))).ok_or_else(form)?;
    Ok(Asking::Name { name: plain.to_owned(), addr, server, from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_in_words() {
        let name = |name: &str, addr: Option<&str>, server: &str, from: Option<&str>| Asking::Name {
            name: name.to_owned(),
            addr: addr.map(|addr| addr.parse().unwrap()),
            server: server.parse().unwrap(),
            from: from.map(|from| from.parse().unwrap()),
        };
        for (text, meant) in [
            ("dns box.lan at 10.0.2.2", name("box.lan", None, "10.0.2.2:53", None)),
            (
                "dns box.lan.=10.0.2.15 at [2001:db8::1]:5353 from 2001:db8::9/64",
                name("box.lan", Some("10.0.2.15"), "[2001:db8::1]:5353", Some("2001:db8::9/64")),
            ),
        ] {
            assert_eq!(Asking::parse(text), Ok(meant), "{text}");
        }
        assert_eq!(Asking::parse("ping 192.0.2.1").unwrap().of(), IpAddr::from([192, 0, 2, 1]));
        for wrong in ["dns box.lan", "dns  at 10.0.2.2", "dns a..b at 10.0.2.2", "dns a at b", "log x", "arp 192.0.2.1"]
        {
            assert!(Asking::parse(wrong).is_err(), "{wrong}");
        }
    }
}
