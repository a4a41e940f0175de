//! Neighbour discovery (RFC 4861) and multicast listener reports (MLDv2, RFC 3810) as bytes.

use std::net::Ipv6Addr;

use super::ip::{ICMPV6, start};
use super::scratch::Scratch;
use crate::wire::Mac;
use crate::wire::headers::finish_icmp;

/// MLD query (RFC 3810, section 5.1).
pub(super) const MLD_QUERY: u8 = 130;
/// Neighbour solicitation (RFC 4861, section 4.3).
pub(super) const SOLICITATION: u8 = 135;
/// Neighbour advertisement (RFC 4861, section 4.4).
pub(super) const ADVERTISEMENT: u8 = 136;
/// MLDv2 report (RFC 3810, section 5.2).
const MLD_REPORT: u8 = 143;

/// ff02::16, every MLDv2 router, and so every switch that snoops.
const MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Hop-by-hop header with a router alert for MLD (RFC 2711) and padding.
const ROUTER_ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];
/// Record types MODE_IS_EXCLUDE and CHANGE_TO_EXCLUDE_MODE (RFC 3810, section 5.2.12): with no source excluded, that we
/// are in the group, and that we have joined it.
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_EXCLUDE_MODE: u8 = 4;

/// Option: the sender's MAC (RFC 4861, section 4.6.1).
const SOURCE_MAC: u8 = 1;
/// Option: the target's MAC.
const TARGET_MAC: u8 = 2;

/// Router flag of an advertisement. When a router clears it, hosts drop their default route through it.
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// A valid solicitation or advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// Asks for the MAC of `target`; `mac`: the sender's, if the option is there.
    Solicitation { target: Ipv6Addr, mac: Option<Mac> },
    /// `target` is at `mac`.
    Advertisement { target: Ipv6Addr, mac: Option<Mac>, replace: bool },
}

/// Reads a message whose ICMPv6 checksum has been verified, and applies the validity rules of RFC 4861, sections 7.1.1
/// and 7.1.2.
pub(super) fn parse(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, icmp: &[u8]) -> Option<Message> {
    let (&[kind, 0, _, _, flags, _, _, _], rest) = icmp.split_first_chunk::<8>()? else { return None };
    let (target, options) = rest.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*target);
    if hop_limit != 255 || target.is_multicast() {
        return None;
    }
    match kind {
        SOLICITATION => {
            let mac = mac_option(options, SOURCE_MAC)?;
            let probing = src.is_unspecified();
            let forged = probing && (mac.is_some() || !dst.is_multicast());
            (!forged).then_some(Message::Solicitation { target, mac })
        }
        ADVERTISEMENT => {
            let mac = mac_option(options, TARGET_MAC)?;
            let forged = dst.is_multicast() && flags & FLAG_SOLICITED != 0;
            (!forged).then_some(Message::Advertisement { target, mac, replace: flags & FLAG_OVERRIDE != 0 })
        }
        _ => None,
    }
}

/// The MAC in the option of type `wanted`. The outer `None`: an option of length 0, or cut short.
fn mac_option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, words, ..] = *options {
        let len = 8 * usize::from(words);
        let option = options.get(..len).filter(|option| !option.is_empty())?;
        if kind == wanted && len == 8 {
            let mac = option[2..].first_chunk().map(|mac| Mac(*mac));
            found = mac.filter(|mac| !mac.is_group());
        }
        options = &options[len..];
    }
    options.is_empty().then_some(found)
}

/// Writes a solicitation for `target`.
pub(super) fn solicit(out: &mut Scratch, (src, dst): (Ipv6Addr, Ipv6Addr), target: Ipv6Addr, own: Mac) {
    message(out, (src, dst), SOLICITATION, 0, target, (SOURCE_MAC, own));
}

/// Writes an advertisement: `target` is at `own`, which may be a `router`. `solicited`: it answers `dst`.
pub(super) fn advertise(
    out: &mut Scratch,
    (target, dst): (Ipv6Addr, Ipv6Addr),
    solicited: bool,
    (own, router): (Mac, bool),
) {
    let asked = if solicited { FLAG_SOLICITED } else { 0 };
    let flags = FLAG_OVERRIDE | asked | if router { FLAG_ROUTER } else { 0 };
    message(out, (target, dst), ADVERTISEMENT, flags, target, (TARGET_MAC, own));
}

fn message(
    out: &mut Scratch,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    (option, mac): (u8, Mac),
) {
    let addrs = (src.into(), dst.into());
    let icmp = start(out, addrs, ICMPV6, Some(255), 32);
    icmp[0] = kind;
    icmp[4] = flags;
    icmp[8..24].copy_from_slice(&target.octets());
    icmp[24..26].copy_from_slice(&[option, 1]);
    icmp[26..].copy_from_slice(&mac.0);
    finish_icmp(icmp, addrs);
}

/// Writes a report of `groups`. `asked`: it answers a query; else we have joined them. Returns its destination.
pub(super) fn report(out: &mut Scratch, src: Ipv6Addr, groups: &[Ipv6Addr], asked: bool) -> Ipv6Addr {
    const RECORD: usize = 20;
    let addrs = (src.into(), MLD_ROUTERS.into());
    let payload = start(out, addrs, 0, Some(1), ROUTER_ALERT.len() + 8 + RECORD * groups.len());
    payload[..8].copy_from_slice(&ROUTER_ALERT);
    let icmp = &mut payload[8..];
    icmp.fill(0);
    icmp[0] = MLD_REPORT;
    icmp[6..8].copy_from_slice(&(groups.len() as u16).to_be_bytes());
    for (record, group) in icmp[8..].chunks_exact_mut(RECORD).zip(groups) {
        record[0] = if asked { MODE_IS_EXCLUDE } else { CHANGE_TO_EXCLUDE_MODE };
        record[4..].copy_from_slice(&group.octets());
    }
    finish_icmp(icmp, addrs);
    MLD_ROUTERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::endpoint::ip::{ETHERTYPE_IPV6, parse as parse_ip};
    use smoltcp::wire::Icmpv6Packet;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn read(scratch: &Scratch, src: &str, dst: &str) -> Option<Message> {
        let packet = parse_ip(ETHERTYPE_IPV6, scratch.packet()).unwrap();
        assert!(Icmpv6Packet::new_unchecked(packet.payload).verify_checksum(&ip(src), &ip(dst)));
        parse(ip(src), ip(dst), packet.hop_limit, packet.payload)
    }

    #[test]
    fn messages_read_back() {
        let mut scratch = Scratch::new(1500);
        solicit(&mut scratch, (ip("fe80::1"), ip("ff02::1:ff00:2")), ip("fe80::2"), OWN);
        let question = Message::Solicitation { target: ip("fe80::2"), mac: Some(OWN) };
        assert_eq!(read(&scratch, "fe80::1", "ff02::1:ff00:2"), Some(question));
        advertise(&mut scratch, (ip("fe80::2"), ip("fe80::1")), true, (OWN, false));
        let answer = Message::Advertisement { target: ip("fe80::2"), mac: Some(OWN), replace: true };
        assert_eq!(read(&scratch, "fe80::2", "fe80::1"), Some(answer));
    }

    #[test]
    fn validity_rules() {
        let mut scratch = Scratch::new(1500);
        solicit(&mut scratch, (ip("fe80::1"), ip("ff02::1:ff00:2")), ip("fe80::2"), OWN);
        let icmp = parse_ip(ETHERTYPE_IPV6, scratch.packet()).unwrap().payload.to_vec();
        let (src, dst) = (ip("fe80::1"), ip("ff02::1:ff00:2"));
        assert!(parse(src, dst, 255, &icmp).is_some());
        assert_eq!(parse(src, dst, 254, &icmp), None, "came from beyond a router");
        assert_eq!(parse(ip("::"), dst, 255, &icmp), None, "a probe has no source MAC");
        assert_eq!(parse(src, dst, 255, &icmp[..23]), None, "cut short");
        assert_eq!(parse(src, dst, 255, &icmp[..31]), None, "option cut short");
        let zero_length = [&icmp[..25], &[0], &icmp[26..]].concat();
        assert_eq!(parse(src, dst, 255, &zero_length), None, "option of length 0");
        let long_option = [&icmp[..25], &[2], &icmp[26..], &[0; 8]].concat();
        let silent = Some(Message::Solicitation { target: ip("fe80::2"), mac: None });
        assert_eq!(parse(src, dst, 255, &long_option), silent, "a MAC is 8 bytes of option");
    }

    #[test]
    fn report_layout() {
        let mut scratch = Scratch::new(1500);
        let dst = report(&mut scratch, ip("fe80::1"), &[ip("ff02::1:ff00:1")], false);
        let packet = parse_ip(ETHERTYPE_IPV6, scratch.packet()).unwrap();
        assert!(Icmpv6Packet::new_unchecked(packet.payload).verify_checksum(&ip("fe80::1"), &dst));
        assert_eq!(packet.payload[..2], [143, 0]);
        assert_eq!(packet.payload[4..], [&[0, 0, 0, 1, 4, 0, 0, 0][..], &ip("ff02::1:ff00:1").octets()].concat());
        assert_eq!(packet.hop_limit, 1);
    }
}
