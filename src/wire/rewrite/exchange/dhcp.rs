//! DHCP and DHCPv6: the addresses that clients and servers tell each other, and those by which a server tells its clients
//! apart.

use super::{Change, Exchange, replace};

/// The ports of DHCP's server and client (RFC 2131, 4.1).
const DHCP: [u16; 2] = [67, 68];
/// The ports of DHCPv6's client and server (RFC 8415, 7.2).
const DHCP6: [u16; 2] = [546, 547];
/// Messages of DHCPv6 that a relay wraps have another head (RFC 8415, 9); they pass as they are.
const RELAYED: [u8; 2] = [12, 13];

impl Exchange {
    /// The addresses in the payload of a UDP datagram, where its ports are those of DHCP.
    pub(super) fn configuration(&self, datagram: &mut [u8]) -> Change {
        let Some((&mut [s0, s1, d0, d1, _, _, _, _], message)) = datagram.split_first_chunk_mut() else {
            return Change::NONE;
        };
        let ports = [[s0, s1], [d0, d1]].map(u16::from_be_bytes);
        match ports {
            _ if ports.iter().all(|port| DHCP.contains(port)) => self.dhcp(message),
            _ if ports.iter().all(|port| DHCP6.contains(port)) => self.dhcp6(message),
            _ => Change::NONE,
        }
    }

    /// Addresses of a DHCP message (RFC 2131, 2): the client's hardware address, by
    /// which a server tells its clients apart; the IPv4 addresses of client and servers; and of the options, which may
    /// lie at odd places, the address asked for, the server's, and the client identifier where it is a hardware address
    /// (RFC 2132, 9.1, 9.7, 9.14).
    fn dhcp(&self, message: &mut [u8]) -> Change {
        if !matches!(message, [1 | 2, 1, 6, ..]) {
            return Change::NONE;
        }
        let mut all = self.mac(message, 28, true);
        for at in [12, 16, 20, 24] {
            all = all.and(self.ip(message, at, true));
        }
        if message.get(236..240) != Some(&[99, 130, 83, 99]) {
            return all;
        }
        let mut at = 240;
        while let Some(&code) = message.get(at) {
            // The pad option is a byte alone, and the end option ends them.
            match code {
                0 => {
                    at += 1;
                    continue;
                }
                255 => break,
                _ => {}
            }
            let Some(&length) = message.get(at + 1) else { break };
            let value = at + 2;
            let even = value.is_multiple_of(2);
            all = all.and(match (code, length) {
                (50 | 54, 4) => self.ip(message, value, even),
                (61, 7) if message.get(value) == Some(&1) => self.mac(message, value + 1, !even),
                _ => Change::NONE,
            });
            at = value + usize::from(length);
        }
        all
    }

    /// The options of a DHCPv6 message (RFC 8415, 8), behind its type and the number of the transaction.
    fn dhcp6(&self, message: &mut [u8]) -> Change {
        if message.first().is_some_and(|kind| RELAYED.contains(kind)) {
            return Change::NONE;
        }
        self.options(message, 4, message.len())
    }

    /// Options from `at` on: the DUIDs of client and server where they hold a MAC address (RFC 8415, 11.2 and 11.4),
    /// the associations with their addresses (21.4 to 21.6), and the address of a server (21.12).
    fn options(&self, message: &mut [u8], mut at: usize, end: usize) -> Change {
        let mut all = Change::NONE;
        while let Some(&[c0, c1, l0, l1]) = message.get(at..end).and_then(|rest| rest.first_chunk()) {
            let (value, length) = (at + 4, usize::from(u16::from_be_bytes([l0, l1])));
            let Some(next) = value.checked_add(length).filter(|&next| next <= end) else { break };
            let even = value.is_multiple_of(2);
            let inside = match (u16::from_be_bytes([c0, c1]), message.get(value..next)) {
                // By link layer and time: two bytes of type, two of hardware, four of time.
                (1 | 2, Some([0, 1, 0, 1, _, _, _, _, ..])) if length == 14 => self.mac(message, value + 8, even),
                (1 | 2, Some([0, 3, 0, 1, ..])) if length == 10 => self.mac(message, value + 4, even),
                // Associations hold options: behind identifier and two times, or behind the identifier alone.
                (3, _) => self.options(message, value + 12, next),
                (4, _) => self.options(message, value + 4, next),
                (5, _) if length >= 24 => self.given(message, value, even),
                (12, _) if length == 16 => self.given(message, value, even),
                _ => Change::NONE,
            };
            all = all.and(inside);
            at = next;
        }
        all
    }

    /// An IPv6 address that stands at any place, even or odd: one of a pair, or one that is made of a MAC address.
    fn given(&self, bytes: &mut [u8], at: usize, even: bool) -> Change {
        let change = replace(&self.ips6, bytes, at, even);
        if change.is_none() { replace(&self.iids, bytes, at + 8, even) } else { change }
    }
}
