//! A gateway for tests, and frames of a guest.

use super::Nat;
use super::packet::{Headers, MacPair};
use crate::config::{PortKind, PortSpec};
use crate::service::machine::{Arrived, Service};
pub(super) use crate::service::script::Script;
use crate::service::station::{Ingress, Station};
use crate::time::Instant;
use crate::wire::{Checksum, Ethernet, Mac, Offload};
use std::net::IpAddr;

pub(super) const GATEWAY: Mac = Mac([2, 0x6e, 10, 0, 2, 2]);
pub(super) const GUEST: Mac = Mac([2, 0, 0x5e, 0, 0x53, 9]);
/// The guest, behind the first port of the switch.
pub(super) const WHOM: Station = Station { mac: GUEST, ingress: Ingress::ONLY };

/// A gateway at 10.0.2.2.
pub(super) fn gateway() -> Nat {
    gateway_with("")
}

/// The same with more keys.
pub(super) fn gateway_with(keys: &str) -> Nat {
    let spec = PortSpec::parse(&format!("nat:10.0.2.2/24{keys}")).unwrap();
    let PortKind::Nat(config) = &spec.kind else { panic!("not a nat") };
    Nat::new(&spec, config, 7).unwrap()
}

/// Lets the gateway hear a packet of the guest; the transport's checksum is vouched for.
pub(super) fn hear(
    nat: &mut Nat,
    now: Instant,
    dst: Mac,
    addrs: (&str, &str),
    (protocol, hops): (u8, Option<u8>),
    parts: &[&[u8]],
    host: &mut Script,
) {
    hear_from(WHOM, nat, now, dst, addrs, (protocol, hops), parts, host);
}

/// The same for any station.
#[allow(clippy::too_many_arguments)] // what a frame is made of
pub(super) fn hear_from(
    whom: Station,
    nat: &mut Nat,
    now: Instant,
    dst: Mac,
    addrs: (&str, &str),
    (protocol, hops): (u8, Option<u8>),
    parts: &[&[u8]],
    host: &mut Script,
) {
    let length = parts.iter().map(|part| part.len()).sum();
    let addrs: (IpAddr, IpAddr) = (addrs.0.parse().unwrap(), addrs.1.parse().unwrap());
    let mut headers = Headers::new(MacPair { src: whom.mac, dst }, addrs, protocol, length, None);
    if let Some(hops) = hops {
        headers.set_hop_limit(hops);
    }
    let frame = [&[headers.bytes()], parts].concat().concat();
    let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
    nat.handle_frame(now, Arrived { ingress: whom.ingress, frame: &frame, offload }, host);
}

/// Frames that the gateway sends at this instant: destination MAC, EtherType, payload.
pub(super) fn said(nat: &mut Nat, now: Instant, host: &mut Script) -> Vec<(Mac, u16, Vec<u8>)> {
    let frames = crate::service::script::sent(nat, now, host);
    let views = frames.iter().map(|frame| Ethernet::new(frame).unwrap());
    views.map(|view| (view.destination(), view.ether_type().0, view.payload().to_vec())).collect()
}
