//! ARP for Ethernet and IPv4 (RFC 826), for hosts that read and write it.
//!
//! The bytes are etherparse's matter. Here a message is a request or a reply of one station, or it is none. A guard, who
//! has to see what others may make of a message, and a rewriter, who changes it where it lies, look at the bytes
//! themselves.

use super::{Ethernet, Mac};
use etherparse::{ArpEthIpv4Packet, ArpHardwareId, ArpOperation, ArpPacketSlice, ether_type};
use std::net::Ipv4Addr;

/// EtherType of ARP.
pub const ETHERTYPE: u16 = ether_type::ARP.0;
/// Bytes of a message.
pub const LEN: usize = ArpEthIpv4Packet::LEN;

/// The operation of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A request for the holder of the target's address.
    Request,
    /// To tell that its sender has its address.
    Reply,
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its operation.
    pub operation: Operation,
    /// The sender's MAC.
    pub sender_mac: Mac,
    /// His address; unspecified in a probe (RFC 5227, section 2.1.1).
    pub sender: Ipv4Addr,
    /// The target's MAC; undefined in a request.
    pub target_mac: Mac,
    /// The target's address: the one asked for, or the receiver's.
    pub target: Ipv4Addr,
}

impl Message {
    /// Reads a message; padding may follow it. `None`: not ARP for Ethernet and IPv4, another operation, or a sender
    /// with a group MAC.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let packet = ArpPacketSlice::from_slice(bytes).ok()?;
        if packet.hw_addr_type() != ArpHardwareId::ETHERNET || packet.proto_addr_type() != ether_type::IPV4 {
            return None;
        }
        let operation = match packet.operation() {
            ArpOperation::REQUEST => Operation::Request,
            ArpOperation::REPLY => Operation::Reply,
            _ => return None,
        };
        // None of another length is one of these.
        let mac = |bytes: &[u8]| bytes.try_into().map(Mac).ok();
        let addr = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from).ok();
        let message = Self {
            operation,
            sender_mac: mac(packet.sender_hw_addr())?,
            sender: addr(packet.sender_protocol_addr())?,
            target_mac: mac(packet.target_hw_addr())?,
            target: addr(packet.target_protocol_addr())?,
        };
        (!message.sender_mac.is_group()).then_some(message)
    }

    /// The message as bytes.
    pub fn bytes(&self) -> [u8; LEN] {
        let operation = match self.operation {
            Operation::Request => ArpOperation::REQUEST,
            Operation::Reply => ArpOperation::REPLY,
        };
        let packet = ArpEthIpv4Packet {
            operation,
            sender_mac: self.sender_mac.0,
            sender_ipv4: self.sender.octets(),
            target_mac: self.target_mac.0,
            target_ipv4: self.target.octets(),
        };
        packet.to_bytes()
    }
}

/// The sender's MAC and address in an untagged ARP frame. `None`: it is no such frame, or claims none.
pub fn sender(frame: &Ethernet<'_>) -> Option<(Ipv4Addr, Mac)> {
    let is_arp = frame.ether_type().0 == ETHERTYPE && frame.is_untagged();
    let message = is_arp.then(|| Message::read(frame.payload()))??;
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
        assert_eq!(message.bytes(), bytes);
        assert_eq!(Message::read(&bytes), Some(message));
        assert_eq!(Message::read(&bytes[..27]), None);
        for (at, value) in [(1, 6), (3, 1), (4, 8), (7, 3), (8, 3)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(Message::read(&bad), None, "byte {at}");
        }
    }
}
