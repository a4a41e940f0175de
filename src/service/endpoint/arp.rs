//! ARP for Ethernet and IPv4 (RFC 826): 28 bytes behind the Ethernet header.
//!
//! `htype u16 = 1 · ptype u16 = 0x0800 · hlen u8 = 6 · plen u8 = 4 · op u16 (1 request, 2 reply) · sender MAC ·
//! sender IP · target MAC · target IP`

use std::net::Ipv4Addr;

use crate::wire::{Ethernet, Mac};

/// EtherType of ARP.
pub(super) const ETHERTYPE: u16 = 0x0806;
/// Bytes of a message.
pub(super) const LEN: usize = 28;
/// Hardware type 1, protocol type IPv4, lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a message wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    Request,
    Reply,
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub operation: Operation,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Message {
    /// Reads a message; padding may follow it. `None`: not ARP for Ethernet and IPv4, another operation, or a sender
    /// with a group MAC.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (prefix, rest) = bytes.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target, _) = rest.split_first_chunk::<4>()?;
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return None,
        };
        let message = Self {
            operation,
            sender_mac: Mac(*sender_mac),
            sender: (*sender).into(),
            target_mac: Mac(*target_mac),
            target: (*target).into(),
        };
        (*prefix == PREFIX && !message.sender_mac.is_group()).then_some(message)
    }

    /// The message as bytes.
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..6].copy_from_slice(&PREFIX);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..].copy_from_slice(&self.target.octets());
        bytes
    }
}

/// Who says in an ARP frame of no VLAN that it has which address. `None`: another frame, or nobody does.
pub fn sender(frame: &Ethernet<'_>) -> Option<(Ipv4Addr, Mac)> {
    let is_arp = frame.ether_type().0 == ETHERTYPE && frame.is_untagged();
    let message = is_arp.then(|| Message::parse(frame.payload()))??;
    (!message.sender.is_unspecified()).then_some((message.sender, message.sender_mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_layout() {
        let message = Message {
            operation: Operation::Reply,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender: [192, 0, 2, 1].into(),
            target_mac: Mac([2, 0, 0, 0, 0, 2]),
            target: [192, 0, 2, 2].into(),
        };
        #[rustfmt::skip]
        let bytes = [
            0, 1, 8, 0, 6, 4, 0, 2,
            2, 0, 0, 0, 0, 1, 192, 0, 2, 1,
            2, 0, 0, 0, 0, 2, 192, 0, 2, 2,
        ];
        assert_eq!(message.emit(), bytes);
        assert_eq!(Message::parse(&bytes), Some(message));
        assert_eq!(Message::parse(&bytes[..27]), None);
        for (at, value) in [(1, 6), (3, 1), (4, 8), (7, 3), (8, 3)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(Message::parse(&bad), None, "byte {at}");
        }
    }
}
