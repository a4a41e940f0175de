//! Addresses as people write them: MAC-48 (`02:00:5e:00:53:3b`) and IP with a prefix length (`192.0.2.2/24`).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A 48-bit MAC address in transmission order (IEEE 802-2014, 8.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Group bit set: multicast or broadcast.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Locally administered bit set: not from a vendor's block.
    pub const fn is_local(self) -> bool {
        self.0[0] & 2 != 0
    }

    /// 01-80-C2-00-00-00 to -0F: never relayed by a bridge (IEEE 802.1Q-2022, table 8-1).
    pub const fn is_reserved_group(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }

    /// The address as a number below 2^48, first octet highest.
    pub const fn as_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// An address made of a name: one station's, locally administered, the same each time, with 46 bits of an FNV-1a
    /// hash.
    pub fn made_of(name: &str) -> Self {
        let (start, prime) = (0xcbf2_9ce4_8422_2325_u64, 0x0000_0100_0000_01b3);
        let hash = name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(prime));
        let Self([first, rest @ ..]) = Self::from_u64(hash);
        let [b, c, d, e, f] = rest;
        Self([(first & 0xfc) | 0x02, b, c, d, e, f])
    }

    /// The low 48 bits of `value`, first octet highest.
    pub const fn from_u64(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: there may be a million of them in a table.
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).map_or(b'0', |digit| digit as u8);
        let mut text = [b':'; 17];
        for (pair, octet) in text.chunks_mut(3).zip(self.0) {
            if let [high, low, ..] = pair {
                (*high, *low) = (digit(octet >> 4), digit(octet & 0xf));
            }
        }
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not six pairs of hexadecimal digits joined by `:` or `-`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a MAC address (write six hexadecimal pairs: 02:00:5e:00:53:01)")]
pub struct BadMac;

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().ok_or(BadMac)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadMac);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        parts.next().is_none().then_some(Self(octets)).ok_or(BadMac)
    }
}

/// An IP address and the length of its network's prefix (RFC 4632): 0..=32 for IPv4, 0..=128 for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Cidr {
    /// The address.
    pub addr: IpAddr,
    /// Bits of the network's prefix.
    pub prefix: u8,
}

impl Cidr {
    /// Whether `addr` is in the network.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(addr)) => {
                let host = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (u32::from(own) ^ u32::from(addr)) & !host == 0
            }
            (IpAddr::V6(own), IpAddr::V6(addr)) => {
                let host = u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
                (u128::from(own) ^ u128::from(addr)) & !host == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.addr, self.prefix)
    }
}

/// The text is not an address with a prefix length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an address with a prefix length (write 192.0.2.2/24 or 2001:db8::2/64)")]
pub struct BadCidr;

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (addr, prefix) = text.split_once('/').ok_or(BadCidr)?;
        let addr: IpAddr = addr.parse().map_err(|_| BadCidr)?;
        let prefix: u8 = prefix.parse().map_err(|_| BadCidr)?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Self { addr, prefix }).ok_or(BadCidr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_text_round_trips() {
        let mac: Mac = "02:00:5E:00:53:3b".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:00:53:3b");
        assert_eq!("02-00-5e-00-53-3b".parse(), Ok(mac));
        assert_eq!(Mac::from_u64(mac.as_u64()), mac);
        for bad in ["", "02:00:5e:00:53", "02:00:5e:00:53:3b:00", "2:0:5e:0:53:3b", "02:00:5e:00:53:+b"] {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac), "{bad}");
        }
    }

    #[test]
    fn reserved_groups_end_at_0f() {
        assert!(Mac([0x01, 0x80, 0xc2, 0, 0, 0x0f]).is_reserved_group());
        assert!(!Mac([0x01, 0x80, 0xc2, 0, 0, 0x10]).is_reserved_group());
        assert!(Mac::BROADCAST.is_group());
    }

    #[test]
    fn cidr_bounds() {
        assert_eq!("192.0.2.2/24".parse::<Cidr>().unwrap().to_string(), "192.0.2.2/24");
        assert!("2001:db8::2/128".parse::<Cidr>().is_ok());
        for bad in ["192.0.2.2", "192.0.2.2/33", "::/129", "x/8", "192.0.2.2/-1"] {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr), "{bad}");
        }
    }

    #[test]
    fn prefixes_of_no_bits_and_of_all() {
        let within = |cidr: &str, addr: &str| cidr.parse::<Cidr>().unwrap().contains(addr.parse().unwrap());
        assert!(within("192.0.2.1/0", "203.0.113.9"));
        assert!(!within("192.0.2.1/32", "192.0.2.0"));
        assert!(within("2001:db8::1/64", "2001:db8::ffff"));
        assert!(!within("2001:db8::1/64", "2001:db8:0:1::1"));
        assert!(!within("192.0.2.1/0", "::1"));
    }
}
