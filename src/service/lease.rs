//! A DHCP lease, and its client: a MAC and a client identifier, if it sends one.
//!
//! Several clients may share a MAC (containers with ipvlan), so the identifier counts (RFC 2131, section 2). Several
//! machines may share an identifier (copies of one image), so the MAC counts too. An identifier that repeats the MAC
//! says nothing. A board whose boot loader gives no identifier is the same client as its system that gives one: the
//! table of leases sees to that.

use crate::time::Duration;
use crate::wire::Mac;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// A client. Without an identifier it sorts before all others of the same MAC.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Who {
    /// Its MAC.
    pub mac: Mac,
    /// Its identifier (RFC 2132, section 9.14), at most 255 bytes; `None`: its MAC says it all.
    pub id: Option<Vec<u8>>,
}

/// A lease as reports and files show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The client's MAC.
    pub mac: Mac,
    /// The client.
    pub who: Who,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its name in the segment's domain.
    pub name: Option<String>,
    /// How long it still lasts.
    pub left: Duration,
}

impl Who {
    /// The client with this MAC and client identifier.
    pub fn new(mac: Mac, id: Option<&[u8]>) -> Self {
        // hardware type 1, Ethernet, and the MAC
        let repeats = |id: &&[u8]| id.split_first() == Some((&1, &mac.0[..]));
        Self { mac, id: id.filter(|id| !id.is_empty() && !repeats(id)).map(<[u8]>::to_vec) }
    }

    /// The identifier as in lease files: bytes in hexadecimal, `01:02`; `*` if there is none.
    pub fn id_text(&self) -> String {
        let Some(id) = &self.id else { return "*".to_owned() };
        id.iter().enumerate().fold(String::new(), |mut text, (at, byte)| {
            let _ = write!(text, "{}{byte:02x}", if at == 0 { "" } else { ":" });
            text
        })
    }

    /// Reads [`Who::id_text`]'s format. `None`: it is malformed.
    pub fn read(mac: Mac, text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::from(mac));
        }
        let byte = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(text, 16).ok().filter(|_| digits)
        };
        let id: Vec<u8> = text.split(':').map(byte).collect::<Option<_>>()?;
        (id.len() < 256).then(|| Self::new(mac, Some(&id)))
    }
}

impl From<Mac> for Who {
    fn from(mac: Mac) -> Self {
        Self { mac, id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    #[test]
    fn an_identifier_that_repeats_the_mac_is_none() {
        assert_eq!(Who::new(MAC, Some(&[1, 2, 0, 0, 0, 0, 7])), Who::from(MAC));
        assert_eq!(Who::new(MAC, Some(&[])), Who::from(MAC));
        assert!(Who::new(MAC, Some(&[1, 2, 0, 0, 0, 0, 8])).id.is_some());
    }

    #[test]
    fn texts_are_read_back() {
        for id in [None, Some(&[0xff, 0, 0x0a][..]), Some(&[7])] {
            let who = Who::new(MAC, id);
            assert_eq!(Who::read(MAC, &who.id_text()), Some(who));
        }
        assert_eq!(Who::new(MAC, Some(&[0xff, 0, 0x0a])).id_text(), "ff:00:0a");
        for bad in ["", "f", "ff:", "ff:0x", "ff-00", "+f"] {
            assert_eq!(Who::read(MAC, bad), None, "{bad}");
        }
    }
}
