//! ICMP echo (RFC 792; RFC 4443, section 4): requests, replies and round trip times.
//!
//! `type u8 · code u8 · checksum u16 · identifier u16 · sequence number u16 · data`

use std::collections::VecDeque;
use std::net::IpAddr;

use super::ip::{ICMPV4, ICMPV6, Packet, start};
use super::scratch::Scratch;
use crate::time::{Duration, Instant};
use crate::wire::Checksum;
use crate::wire::headers::finish_icmp;

/// Bytes before the data.
const HEADER: usize = 8;
/// Requests remembered, for their round trip times.
const OPEN: usize = 256;

/// Echo request, IPv4 and IPv6.
const REQUEST: (u8, u8) = (8, 128);
/// Echo reply, IPv4 and IPv6.
const REPLY: (u8, u8) = (0, 129);

/// A valid echo message.
pub(super) enum Echo<'a> {
    Request { message: &'a [u8] },
    Reply { ident: u16, seq: u16, len: usize },
}

/// Whether the ICMP checksum of `packet` is right.
pub(super) fn checksum_fits(packet: &Packet<'_>) -> bool {
    packet.payload.len() >= 4 && packet.checksum_fits(Checksum::None)
}

/// Reads an echo message from a packet whose checksum fits. `None`: another message.
pub(super) fn parse<'a>(packet: &Packet<'a>) -> Option<Echo<'a>> {
    let (&[kind, 0, _, _, ident @ .., seq_high, seq_low], data) = packet.payload.split_first_chunk::<HEADER>()? else {
        return None;
    };
    let pick = |(v4, v6)| if packet.dst.is_ipv4() { v4 } else { v6 };
    if kind == pick(REQUEST) {
        Some(Echo::Request { message: packet.payload })
    } else if kind == pick(REPLY) {
        let seq = u16::from_be_bytes([seq_high, seq_low]);
        Some(Echo::Reply { ident: u16::from_be_bytes(ident), seq, len: data.len() })
    } else {
        None
    }
}

/// Writes the reply to `request`, from `src` to `dst`.
pub(super) fn reply(out: &mut Scratch, src: IpAddr, dst: IpAddr, request: &[u8]) {
    write(out, src, dst, request.len(), REPLY, |message| {
        message[4..].copy_from_slice(&request[4..]);
    });
}

/// Writes a request.
pub(super) fn request(out: &mut Scratch, src: IpAddr, dst: IpAddr, ident: u16, seq: u16, data: &[u8]) {
    write(out, src, dst, HEADER + data.len(), REQUEST, |message| {
        message[4..6].copy_from_slice(&ident.to_be_bytes());
        message[6..HEADER].copy_from_slice(&seq.to_be_bytes());
        message[HEADER..].copy_from_slice(data);
    });
}

fn write(
    out: &mut Scratch,
    src: IpAddr,
    dst: IpAddr,
    len: usize,
    (kind_v4, kind_v6): (u8, u8),
    fill: impl FnOnce(&mut [u8]),
) {
    if src.is_ipv4() != dst.is_ipv4() {
        return out.clear();
    }
    let (protocol, kind) = if dst.is_ipv4() { (ICMPV4, kind_v4) } else { (ICMPV6, kind_v6) };
    let message = start(out, (src, dst), protocol, None, len);
    fill(message);
    message[..2].copy_from_slice(&[kind, 0]);
    finish_icmp(message, (src, dst));
}

/// Bytes of headers in front of the data of an echo message from or to `addr`.
pub(super) fn overhead(addr: IpAddr) -> usize {
    HEADER + if addr.is_ipv4() { 20 } else { 40 }
}

/// Unanswered requests.
#[derive(Default)]
pub(super) struct Pings {
    open: VecDeque<(IpAddr, u16, u16, Instant)>,
}

impl Pings {
    /// A request was sent.
    pub fn asked(&mut self, now: Instant, addr: IpAddr, ident: u16, seq: u16) {
        if self.open.len() >= OPEN {
            self.open.pop_front();
        }
        self.open.push_back((addr, ident, seq, now));
    }

    /// The round trip time of a reply. `None`: there was no such request, it was answered before, or it is too old.
    pub fn answered(&mut self, now: Instant, addr: IpAddr, ident: u16, seq: u16) -> Option<Duration> {
        let at = self.open.iter().position(|open| (open.0, open.1, open.2) == (addr, ident, seq))?;
        self.open.remove(at).map(|(_, _, _, asked)| now.since(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::endpoint::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, parse as parse_ip};

    #[test]
    fn a_reply_carries_the_request_back() {
        for (own, peer) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
            let (own, peer): (IpAddr, IpAddr) = (own.parse().unwrap(), peer.parse().unwrap());
            let ethertype = if own.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
            let (mut asked, mut answered) = (Scratch::new(1500), Scratch::new(1500));
            request(&mut asked, own, peer, 0x1234, 7, b"odd");
            let question = parse_ip(ethertype, asked.packet()).unwrap();
            assert!(checksum_fits(&question));
            let Some(Echo::Request { message }) = parse(&question) else { panic!("not a request") };
            reply(&mut answered, peer, own, message);
            let answer = parse_ip(ethertype, answered.packet()).unwrap();
            assert!(checksum_fits(&answer));
            assert_eq!(&answer.payload[4..], &question.payload[4..]);
            assert!(matches!(parse(&answer), Some(Echo::Reply { ident: 0x1234, seq: 7, len: 3 })));
        }
    }

    #[test]
    fn an_answer_counts_once() {
        let addr = IpAddr::from([192, 0, 2, 2]);
        let mut pings = Pings::default();
        pings.asked(Instant::ZERO, addr, 1, 1);
        let later = Instant::from_millis(5);
        assert_eq!(pings.answered(later, addr, 1, 2), None);
        assert_eq!(pings.answered(later, addr, 1, 1), Some(Duration::from_millis(5)));
        assert_eq!(pings.answered(later, addr, 1, 1), None);
        for seq in 0..=OPEN as u16 {
            pings.asked(Instant::ZERO, addr, 1, seq);
        }
        assert_eq!(pings.answered(later, addr, 1, 0), None);
        assert_eq!(pings.open.len(), OPEN);
    }
}
