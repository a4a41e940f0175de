//! DHCP frames of a host without an address: UDP broadcast from 0.0.0.0, port 68, to port 67, and the answers.

use std::net::{Ipv4Addr, SocketAddr};

use crate::service::lan::dhcp4::{CLIENT_PORT, SERVER_PORT};
use crate::wire::checksum::Sum;
use crate::wire::headers::{Headers, MacPair, UDP_HEADER, udp};
use crate::wire::ip::{Packet, UDP};
use crate::wire::{Ethernet, Mac};

/// A frame that carries `payload` to every server.
pub fn write(mac: Mac, payload: &[u8]) -> Vec<u8> {
    let ends = |addr: Ipv4Addr, port| SocketAddr::new(addr.into(), port);
    let (from, to) = (ends(Ipv4Addr::UNSPECIFIED, CLIENT_PORT), ends(Ipv4Addr::BROADCAST, SERVER_PORT));
    let link = MacPair { src: mac, dst: Mac::BROADCAST };
    let headers = Headers::new(link, (from.ip(), to.ip()), UDP, UDP_HEADER + payload.len(), None);
    let (mut header, seed) = udp((from, to), payload.len());
    let sum = seed.join(Sum::ZERO.add_bytes(&header)).join(Sum::ZERO.add_bytes(payload));
    header[6..].copy_from_slice(&sum.checksum_nonzero().to_be_bytes());
    [headers.bytes(), &header, payload].concat()
}

/// The payload of an unfragmented frame to a client's port. Its UDP checksum may be partial, and is not checked: the
/// client checks the transaction id.
pub fn read(frame: &[u8]) -> Option<&[u8]> {
    let view = Ethernet::new(frame).ok()?;
    let packet = Packet::read(view.ether_type().0, view.payload()).ok()?;
    let (&[_, _, d0, d1, l0, l1, _, _], data) = packet.payload.split_first_chunk::<UDP_HEADER>()?;
    let whole = packet.dst.is_ipv4() && packet.protocol == UDP && packet.fragment.is_none();
    let ours = whole && u16::from_be_bytes([d0, d1]) == CLIENT_PORT;
    data.get(..usize::from(u16::from_be_bytes([l0, l1])).checked_sub(UDP_HEADER)?).filter(|_| ours)
}
