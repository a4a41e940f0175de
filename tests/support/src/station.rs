//! A simulated host: an address pair that asks and answers, one frame at a time.

use crate::frame::{self, Mac};
use std::net::Ipv4Addr;

/// A host on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// Its MAC address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ip: Ipv4Addr,
}

impl Station {
    /// Host `n` of the documentation network: 02:00:00:00:00:n, 192.0.2.n.
    pub const fn new(n: u8) -> Self {
        Self { mac: [2, 0, 0, 0, 0, n], ip: Ipv4Addr::new(192, 0, 2, n) }
    }

    /// Asks everybody for the MAC address of `ip`: 42 octets.
    pub fn arp_request(&self, ip: Ipv4Addr) -> Vec<u8> {
        frame::ethernet(frame::BROADCAST, self.mac, frame::ARP, &frame::arp(1, (self.mac, self.ip), ([0; 6], ip)))
    }

    /// Tells `asker` its MAC address: 42 octets.
    pub fn arp_reply(&self, asker: Self) -> Vec<u8> {
        let packet = frame::arp(2, (self.mac, self.ip), (asker.mac, asker.ip));
        frame::ethernet(asker.mac, self.mac, frame::ARP, &packet)
    }

    /// Pings `target` with number `sequence` and `data`.
    pub fn echo_request(&self, target: Self, sequence: u16, data: &[u8]) -> Vec<u8> {
        self.icmp(target, &frame::icmp_echo(8, IDENTIFIER, sequence, data))
    }

    /// The answer to [`echo_request`](Self::echo_request) of `asker`.
    pub fn echo_reply(&self, asker: Self, sequence: u16, data: &[u8]) -> Vec<u8> {
        self.icmp(asker, &frame::icmp_echo(0, IDENTIFIER, sequence, data))
    }

    /// What a host answers to `frame`: to an ARP request for its address, and to a ping. Tags are not understood.
    pub fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (head, packet) = frame.split_at_checked(14)?;
        match u16::from_be_bytes([head[12], head[13]]) {
            frame::ARP => {
                let packet = packet.get(..28)?;
                let asked = packet[6..8] == [0, 1] && packet[24..28] == self.ip.octets();
                asked.then(|| self.arp_reply(host(&packet[8..18])))
            }
            frame::IPV4 => {
                let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
                let packet = packet.get(..length)?;
                let message = packet.get(20..)?;
                let asked = head[..6] == self.mac
                    && packet[0] == 0x45
                    && packet[9] == ICMP
                    && packet[16..20] == self.ip.octets()
                    && message.len() >= 8
                    && message[0] == 8;
                asked.then(|| {
                    let asker = host(&[&head[6..12], &packet[12..16]].concat());
                    let [identifier, sequence] = [4, 6].map(|at| u16::from_be_bytes([message[at], message[at + 1]]));
                    self.icmp(asker, &frame::icmp_echo(0, identifier, sequence, &message[8..]))
                })
            }
            _ => None,
        }
    }

    fn icmp(&self, target: Self, message: &[u8]) -> Vec<u8> {
        frame::ethernet(target.mac, self.mac, frame::IPV4, &frame::ipv4(ICMP, self.ip, target.ip, message))
    }
}

/// IP protocol number of ICMP (RFC 792).
const ICMP: u8 = 1;
/// The identifier of all our pings.
const IDENTIFIER: u16 = 0x7a62;

/// The host whose MAC and IPv4 address stand behind each other in ten octets.
fn host(addresses: &[u8]) -> Station {
    let (mac, ip) = addresses.split_first_chunk().expect("six octets");
    let ip: [u8; 4] = ip.try_into().expect("four octets");
    Station { mac: *mac, ip: ip.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Station = Station::new(1);
    const B: Station = Station::new(2);

    #[test]
    fn arp_finds_the_one_asked_for() {
        let request = A.arp_request(B.ip);
        assert_eq!(request.len(), 42);
        assert_eq!(B.answer(&request), Some(B.arp_reply(A)));
        assert_eq!(Station::new(3).answer(&request), None);
        assert_eq!(A.answer(&B.arp_reply(A)), None);
    }

    #[test]
    fn pings_come_back_with_their_data() {
        let request = A.echo_request(B, 7, b"data");
        assert_eq!(B.answer(&request), Some(B.echo_reply(A, 7, b"data")));
        // padding to 60 octets is no part of the packet
        let padded = [request.clone(), vec![0; 14]].concat();
        assert_eq!(B.answer(&padded), Some(B.echo_reply(A, 7, b"data")));
        assert_eq!(B.answer(&B.echo_reply(A, 7, b"data")), None);
        for len in 0..request.len() {
            assert_eq!(B.answer(&request[..len]), None, "{len}");
        }
    }
}
