//! Router advertisements of a segment (RFC 4861, section 6.2): periodic ones, and answers to solicitations. From one, a
//! host makes itself an address (SLAAC, RFC 4862) and learns its default router and its resolver (RFC 8106).
//!
//! A solicitation with a source address is answered at once by unicast; one without by multicast, at most once in three
//! seconds.

use std::net::Ipv6Addr;

use crate::service::endpoint::link_local;
use crate::time::{Duration, Instant, earliest};
use crate::wire::Mac;
use crate::wire::checksum::{Sum, pseudo_v6};

/// ff02::1, every host of the link.
const ALL_HOSTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ICMP for IPv6.
const ICMPV6: u8 = 58;
/// Router solicitation.
const SOLICITATION: u8 = 133;
/// Router advertisement.
const ADVERTISEMENT: u8 = 134;

/// Interval of periodic advertisements.
const INTERVAL: Duration = Duration::from_secs(300);
/// The first ones come sooner (MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_INITIAL_RTR_ADVERT_INTERVAL).
const FIRST: (u8, Duration) = (3, Duration::from_secs(16));
/// Pause between two multicast ones (MIN_DELAY_BETWEEN_RAS).
const PAUSE: Duration = Duration::from_secs(3);

/// Lifetime of the router, the resolvers and the domain, in seconds.
const LIFETIME: u16 = 1800;
/// Seconds for which addresses of the prefix are preferred, and valid.
const PREFERRED: u32 = 14_400;
const VALID: u32 = 86_400;

/// Most answers that wait to be sent.
const WAITING: usize = 64;

/// Configuration of the router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaConfig {
    /// The router's MAC, of which its link-local address is made.
    pub mac: Mac,
    /// The segment's prefix; hosts make addresses of one of 64 bits only.
    pub prefix: (Ipv6Addr, u8),
    /// The segment's MTU.
    pub mtu: u16,
    /// Whether it is a default router.
    pub router: bool,
    /// Resolvers.
    pub dns: Vec<Ipv6Addr>,
    /// The segment's domain.
    pub domain: Option<String>,
    /// Whether DHCPv6 is answered.
    pub dhcp6: bool,
}

/// An ICMPv6 message, checksum included. Its packet's hop limit is 255.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// The router's link-local address.
    pub src: Ipv6Addr,
    /// A host, or all hosts.
    pub dst: Ipv6Addr,
    /// The host's MAC; `None`: the multicast one.
    pub mac: Option<Mac>,
    /// The message.
    pub message: Vec<u8>,
}

/// See the module.
pub struct Ra {
    src: Ipv6Addr,
    message: Vec<u8>,
    /// Hosts that wait for a unicast answer.
    asked: Vec<(Ipv6Addr, Mac)>,
    /// When the next multicast one is due.
    next: Instant,
    /// When the last multicast one was sent.
    last: Option<Instant>,
    sent: u8,
}

impl Ra {
    /// A router that advertises when it is first polled.
    pub fn new(config: &RaConfig) -> Self {
        let message = write(config);
        Self { src: link_local(config.mac), message, asked: Vec::new(), next: Instant::ZERO, last: None, sent: 0 }
    }

    /// Takes an ICMPv6 message whose checksum has been verified, and the sender's MAC. Returns whether it is a valid
    /// solicitation (RFC 4861, section 6.1.1).
    pub fn handle(&mut self, now: Instant, (src, mac): (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]) -> bool {
        let Some((&[SOLICITATION, 0, ..], options)) = message.split_first_chunk::<8>() else { return false };
        if hop_limit != 255 || src.is_multicast() || mac.is_group() || !options_fit(options) {
            return false;
        }
        if !src.is_unspecified() {
            if self.asked.len() < WAITING && !self.asked.contains(&(src, mac)) {
                self.asked.push((src, mac));
            }
        } else {
            let soonest = self.last.map_or(now, |last| last + PAUSE);
            self.next = self.next.min(soonest.max(now));
        }
        true
    }

    /// The next advertisement that is due.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Advertisement> {
        let (dst, mac) = match self.asked.pop() {
            Some((host, mac)) => (host, Some(mac)),
            None if now >= self.next => {
                self.last = Some(now);
                self.sent = self.sent.saturating_add(1);
                self.next = now + if self.sent < FIRST.0 { FIRST.1 } else { INTERVAL };
                (ALL_HOSTS, None)
            }
            None => return None,
        };
        let mut message = self.message.clone();
        let sum = pseudo_v6(self.src.octets(), dst.octets(), ICMPV6, message.len() as u32)
            .join(Sum::ZERO.add_bytes(&message));
        if let Some(field) = message.get_mut(2..4) {
            field.copy_from_slice(&sum.checksum().to_be_bytes());
        }
        Some(Advertisement { src: self.src, dst, mac, message })
    }

    /// When [`Ra::poll_transmit`] has something again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let at_once = (!self.asked.is_empty()).then_some(Instant::ZERO);
        earliest(at_once, Some(self.next))
    }
}

/// Whether options are whole, none of length 0 (RFC 4861, section 6.1.1).
fn options_fit(mut options: &[u8]) -> bool {
    while let [_, words, ..] = *options {
        let Some(rest) = options.get(8 * usize::from(words)..).filter(|_| words > 0) else { return false };
        options = rest;
    }
    options.is_empty()
}

/// `type · code · checksum u16 · hop limit · flags · lifetime u16 · reachable u32 · retransmit u32`, then options of
/// `type · length in 8 bytes · value` (RFC 4861, sections 4.2 and 4.6; RFC 8106, section 5). The checksum is 0.
fn write(config: &RaConfig) -> Vec<u8> {
    /// Addresses by DHCPv6; everything else by DHCPv6.
    const MANAGED: u8 = 0x80;
    const OTHER: u8 = 0x40;
    /// On-link; for addresses that hosts make.
    const ON_LINK: u8 = 0x80;
    const AUTONOMOUS: u8 = 0x40;
    let (prefix, len) = config.prefix;
    let slaac = len == 64;
    let flags = match (config.dhcp6, slaac) {
        (true, true) => OTHER,
        (true, false) => MANAGED | OTHER,
        (false, _) => 0,
    };
    let lifetime = if config.router { LIFETIME } else { 0 };
    let mut out = vec![ADVERTISEMENT, 0, 0, 0, 64, flags];
    out.extend(lifetime.to_be_bytes());
    out.extend([0; 8]);
    out.extend([1, 1]);
    out.extend(config.mac.0);
    out.extend([5, 1, 0, 0]);
    out.extend(u32::from(config.mtu).to_be_bytes());
    out.extend([3, 4, len, ON_LINK | if slaac { AUTONOMOUS } else { 0 }]);
    out.extend(VALID.to_be_bytes());
    out.extend(PREFERRED.to_be_bytes());
    out.extend([0; 4]);
    let mask = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    out.extend((prefix.to_bits() & mask).to_be_bytes());
    let dns: Vec<_> = config.dns.iter().take(8).collect();
    if !dns.is_empty() {
        out.extend([25, 1 + 2 * dns.len() as u8, 0, 0]);
        out.extend(u32::from(LIFETIME).to_be_bytes());
        dns.iter().for_each(|addr| out.extend(addr.octets()));
    }
    if let Some(domain) = &config.domain {
        let mut name = super::name::wire(domain);
        name.resize(name.len().next_multiple_of(8), 0);
        out.extend([31, 1 + (name.len() / 8) as u8, 0, 0]);
        out.extend(u32::from(LIFETIME).to_be_bytes());
        out.extend(name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = Mac([0x02, 0x6e, 0x0a, 0, 2, 2]);
    const HOST: Mac = Mac([2, 0, 0, 0, 0, 10]);

    /// A solicitation with the sender's MAC.
    const SOLICIT: [u8; 16] = [133, 0, 0x7a, 0xa2, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 10];

    fn config() -> RaConfig {
        RaConfig {
            mac: MAC,
            prefix: ("2001:db8::2".parse().unwrap(), 64),
            mtu: 1400,
            router: true,
            dns: vec!["2001:db8::2".parse().unwrap()],
            domain: Some("lab".into()),
            dhcp6: true,
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_secs(secs)
    }

    fn drain(ra: &mut Ra, now: Instant) -> Vec<Advertisement> {
        std::iter::from_fn(|| ra.poll_transmit(now)).collect()
    }

    #[test]
    fn an_advertisement_layout() {
        let mut ra = Ra::new(&config());
        let sent = ra.poll_transmit(at(0)).unwrap();
        assert_eq!((sent.src.to_string(), sent.dst), ("fe80::6e:aff:fe00:202".into(), ALL_HOSTS));
        let sum = pseudo_v6(sent.src.octets(), sent.dst.octets(), ICMPV6, sent.message.len() as u32);
        assert_eq!(sum.join(Sum::ZERO.add_bytes(&sent.message)).checksum(), 0);
        let message = &sent.message;
        assert_eq!(message[..2], [134, 0]);
        assert_eq!(message[4..16], [64, 0x40, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(message[16..24], [1, 1, 0x02, 0x6e, 0x0a, 0, 2, 2]);
        assert_eq!(message[24..32], [5, 1, 0, 0, 0, 0, 5, 0x78]);
        assert_eq!(message[32..48], [3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
        assert_eq!(message[48..64], "2001:db8::".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(message[64..72], [25, 3, 0, 0, 0, 0, 7, 8]);
        assert_eq!(message[72..88], config().dns[0].octets());
        assert_eq!(message[88..], [31, 2, 0, 0, 0, 0, 7, 8, 3, b'l', b'a', b'b', 0, 0, 0, 0]);
    }

    #[test]
    fn a_segment_without_a_way_out() {
        let mut ra = Ra::new(&RaConfig { router: false, dhcp6: false, prefix: (config().prefix.0, 80), ..config() });
        let message = ra.poll_transmit(at(0)).unwrap().message;
        assert_eq!(message[5..8], [0, 0, 0], "no flags, lifetime 0");
        assert_eq!(message[32..36], [3, 4, 80, 0x80], "on the link, no address can be made of it");
    }

    #[test]
    fn it_speaks_from_time_to_time() {
        let mut ra = Ra::new(&config());
        let mut times = Vec::new();
        while times.len() < 5 {
            let now = ra.poll_timeout().unwrap();
            times.push(now.as_millis() / 1000);
            assert_eq!(drain(&mut ra, now).len(), 1);
        }
        assert_eq!(times, [0, 16, 32, 332, 632]);
    }

    #[test]
    fn who_asks_is_answered() {
        let mut ra = Ra::new(&config());
        drain(&mut ra, at(0));
        let host: Ipv6Addr = "fe80::ff:fe00:a".parse().unwrap();
        assert!(ra.handle(at(1), (host, HOST), 255, &SOLICIT));
        assert!(ra.poll_timeout().unwrap() <= at(1));
        let sent = drain(&mut ra, at(1));
        assert_eq!((sent.len(), sent[0].dst, sent[0].mac), (1, host, Some(HOST)));
        // without an address: multicast, after a pause
        assert!(ra.handle(at(1), (Ipv6Addr::UNSPECIFIED, HOST), 255, &SOLICIT[..8]));
        assert_eq!((drain(&mut ra, at(1)).len(), ra.poll_timeout()), (0, Some(at(3))));
        assert_eq!(drain(&mut ra, at(3))[0].dst, ALL_HOSTS);
    }

    #[test]
    fn what_is_no_solicitation() {
        let mut ra = Ra::new(&config());
        let host: Ipv6Addr = "fe80::1".parse().unwrap();
        assert!(!ra.handle(at(0), (host, HOST), 254, &SOLICIT), "from beyond a router");
        assert!(!ra.handle(at(0), (host, HOST), 255, &SOLICIT[..7]));
        assert!(!ra.handle(at(0), (host, HOST), 255, &SOLICIT[..15]));
        assert!(!ra.handle(at(0), (host, HOST), 255, &[&SOLICIT[..9], &[0; 7]].concat()), "an option of length 0");
        assert!(!ra.handle(at(0), (host, HOST), 255, &[135, 0, 0, 0, 0, 0, 0, 0]));
    }

    proptest! {
        #[test]
        fn answers_are_few(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..32), 0..200)) {
            let mut ra = Ra::new(&config());
            for (number, message) in messages.iter().enumerate() {
                let src = Ipv6Addr::from_bits(number as u128);
                ra.handle(at(0), (src, HOST), 255, &[&[133, 0, 0, 0, 0, 0, 0, 0][..], message].concat());
                ra.handle(at(0), (src, HOST), 255, message);
            }
            prop_assert!(drain(&mut ra, at(0)).len() <= WAITING + 1);
        }
    }
}
