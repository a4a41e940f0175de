//! Frames of a host without an address: UDP from 0.0.0.0, port 68, to everybody, port 67, and what comes back.

use std::net::Ipv4Addr;

use crate::service::lan::dhcp4::{CLIENT_PORT, SERVER_PORT};
use crate::wire::Mac;
use crate::wire::checksum::{Sum, pseudo_v4};

const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
/// Bytes of the headers: Ethernet, IPv4 without options, UDP.
const HEADERS: usize = 14 + 20 + 8;

/// A frame that carries `payload` to every server.
pub fn write(mac: Mac, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len();
    let (src, dst) = (Ipv4Addr::UNSPECIFIED.octets(), Ipv4Addr::BROADCAST.octets());
    let mut out = Vec::with_capacity(HEADERS + payload.len());
    out.extend(Mac::BROADCAST.0);
    out.extend(mac.0);
    out.extend(IPV4);
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255];
    ip[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
    let sum = Sum::ZERO.add_bytes(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend(ip);
    let mut udp = [0; 8];
    udp[0..2].copy_from_slice(&CLIENT_PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&SERVER_PORT.to_be_bytes());
    udp[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    let sum = pseudo_v4(src, dst, UDP, length as u32).join(Sum::ZERO.add_bytes(&udp));
    udp[6..8].copy_from_slice(&sum.join(Sum::ZERO.add_bytes(payload)).checksum_nonzero().to_be_bytes());
    out.extend(udp);
    out.extend_from_slice(payload);
    out
}

/// The payload of a frame to a client's port, in one piece. Its UDP checksum may not be finished yet, and is not looked
/// at: whoever asked knows its number.
pub fn read(frame: &[u8]) -> Option<&[u8]> {
    let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&IPV4))?;
    let (&[version, _, l0, l1, _, _, f0, f1, _, protocol], _) = ip.split_first_chunk::<10>()?;
    let (length, total) = (usize::from(version & 0x0f) * 4, usize::from(u16::from_be_bytes([l0, l1])));
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    let udp = ip.get(..total)?.get(length..).filter(|_| version >> 4 == 4 && length >= 20)?;
    let (&[_, _, d0, d1, u0, u1, _, _], data) = udp.split_first_chunk::<8>()?;
    let ours = protocol == UDP && !fragment && u16::from_be_bytes([d0, d1]) == CLIENT_PORT;
    data.get(..usize::from(u16::from_be_bytes([u0, u1])).checked_sub(8)?).filter(|_| ours)
}
