//! IPv4, IPv6, and the protocols right above them.

use super::{Bytes, app};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Extension headers of IPv6 that have their length in their second byte.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// So many of them are passed over.
const EXTENSIONS_MAX: usize = 8;

pub fn v4(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    out.push_str("IP ");
    let header = usize::from(bytes.u8(0)? & 0x0f) * 4;
    let total = usize::from(bytes.u16(2)?);
    let (src, dst) = (Ipv4Addr::from(bytes.array(12)?), Ipv4Addr::from(bytes.array(16)?));
    let (piece, protocol) = (bytes.u16(6)?, bytes.u8(9)?);
    let offset = usize::from(piece & 0x1fff) * 8;
    let length = total.saturating_sub(header);
    if offset > 0 {
        let more = if piece & 0x2000 == 0 { "" } else { "+" };
        return write!(out, "{src} > {dst}: piece of {:#x}, {length}@{offset}{more}", bytes.u16(4)?).ok();
    }
    let inner = bytes.behind(header)?;
    let inner = Bytes(inner.0.get(..length).unwrap_or(inner.0));
    transport(protocol, (src.into(), dst.into()), inner, length, out)
}

pub fn v6(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    out.push_str("IP6 ");
    let (src, dst) = (Ipv6Addr::from(bytes.array::<16>(8)?), Ipv6Addr::from(bytes.array::<16>(24)?));
    let mut length = usize::from(bytes.u16(4)?);
    let (mut next, mut inner) = (bytes.u8(6)?, bytes.behind(40)?);
    inner = Bytes(inner.0.get(..length).unwrap_or(inner.0));
    for _ in 0..EXTENSIONS_MAX {
        let size = match next {
            44 if inner.u16(2)? & 0xfff8 != 0 => {
                let offset = inner.u16(2)? & 0xfff8;
                return write!(out, "{src} > {dst}: piece of {:#x}, {length}@{offset}", inner.u32(4)?).ok();
            }
            44 => 8,
            next if EXTENSIONS.contains(&next) => 8 + 8 * usize::from(inner.u8(1)?),
            _ => break,
        };
        (next, length) = (inner.u8(0)?, length.saturating_sub(size));
        inner = inner.behind(size)?;
    }
    transport(next, (src.into(), dst.into()), inner, length, out)
}

fn transport(
    protocol: u8,
    (src, dst): (IpAddr, IpAddr),
    bytes: Bytes<'_>,
    length: usize,
    out: &mut String,
) -> Option<()> {
    let ports = |out: &mut String| -> Option<(u16, u16)> {
        let ports = (bytes.u16(0)?, bytes.u16(2)?);
        let _ = write!(out, "{src}.{} > {dst}.{}: ", ports.0, ports.1);
        Some(ports)
    };
    match protocol {
        6 => {
            ports(out)?;
            tcp(bytes, length, out)
        }
        17 => {
            let ports = ports(out)?;
            let length = length.saturating_sub(8);
            let payload = bytes.behind(8)?;
            match app::describe(ports, payload, length, out) {
                Some(()) => Some(()),
                None => write!(out, "UDP, length {length}").ok(),
            }
        }
        1 => {
            let _ = write!(out, "{src} > {dst}: ICMP ");
            icmp4(bytes, length, out)
        }
        58 => {
            let _ = write!(out, "{src} > {dst}: ICMP6, ");
            icmp6(bytes, length, out)
        }
        2 => write!(out, "{src} > {dst}: IGMP, length {length}").ok(),
        59 => write!(out, "{src} > {dst}: nothing inside").ok(),
        132 => {
            ports(out)?;
            write!(out, "SCTP, length {length}").ok()
        }
        other => write!(out, "{src} > {dst}: protocol {other}, length {length}").ok(),
    }
}

/// The letters of TCP's flags, as tcpdump has them.
const FLAGS: [(u8, char); 8] = [(2, 'S'), (1, 'F'), (4, 'R'), (8, 'P'), (32, 'U'), (64, 'E'), (128, 'W'), (16, '.')];

fn tcp(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let (seq, ack, flags, window) = (bytes.u32(4)?, bytes.u32(8)?, bytes.u8(13)?, bytes.u16(14)?);
    let payload = length.saturating_sub(usize::from(bytes.u8(12)? >> 4) * 4);
    out.push_str("Flags [");
    out.extend(FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter));
    out.push(']');
    if payload > 0 {
        let _ = write!(out, ", seq {seq}:{}", seq.wrapping_add(payload as u32));
    } else if flags & 7 != 0 {
        let _ = write!(out, ", seq {seq}");
    }
    if flags & 16 != 0 {
        let _ = write!(out, ", ack {ack}");
    }
    write!(out, ", win {window}, length {payload}").ok()
}

/// Identifier and sequence of an echo.
fn echo(what: &str, bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    write!(out, "echo {what}, id {}, seq {}, length {length}", bytes.u16(4)?, bytes.u16(6)?).ok()
}

fn icmp4(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    match (bytes.u8(0)?, bytes.u8(1)?) {
        (8, _) => echo("request", bytes, length, out),
        (0, _) => echo("reply", bytes, length, out),
        (3, code) => {
            let host = Ipv4Addr::from(bytes.array(24)?);
            match code {
                0 => write!(out, "net {host} unreachable").ok(),
                1 => write!(out, "host {host} unreachable").ok(),
                3 => write!(out, "{host} port unreachable").ok(),
                4 => write!(out, "{host} needs pieces, mtu {}", bytes.u16(6)?).ok(),
                code => write!(out, "{host} unreachable, code {code}").ok(),
            }?;
            write!(out, ", length {length}").ok()
        }
        (5, _) => write!(out, "redirect to {}, length {length}", Ipv4Addr::from(bytes.array(4)?)).ok(),
        (11, _) => write!(out, "time exceeded, length {length}").ok(),
        (kind, code) => write!(out, "type {kind}, code {code}, length {length}").ok(),
    }
}

fn icmp6(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let target = || bytes.array::<16>(8).map(Ipv6Addr::from);
    match bytes.u8(0)? {
        128 => return echo("request", bytes, length, out),
        129 => return echo("reply", bytes, length, out),
        1 => write!(out, "unreachable, code {}", bytes.u8(1)?).ok(),
        2 => write!(out, "packet too big, mtu {}", bytes.u32(4)?).ok(),
        3 => write!(out, "time exceeded").ok(),
        130 => write!(out, "multicast listener query").ok(),
        131 | 143 => write!(out, "multicast listener report").ok(),
        133 => write!(out, "router solicitation").ok(),
        134 => write!(out, "router advertisement, lifetime {} s", bytes.u16(6)?).ok(),
        135 => write!(out, "neighbor solicitation, who has {}", target()?).ok(),
        136 => write!(out, "neighbor advertisement, tgt is {}", target()?).ok(),
        137 => write!(out, "redirect to {}", target()?).ok(),
        155 => write!(out, "RPL, code {}", bytes.u8(1)?).ok(),
        kind => write!(out, "type {kind}").ok(),
    }?;
    write!(out, ", length {length}").ok()
}
