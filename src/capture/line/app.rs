//! Payloads of UDP, in brief: DNS, DHCP, CoAP, and others by their names.

use super::Bytes;
use crate::visible::visible_bytes;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Labels and hops of a name of DNS that are followed.
const LABELS: usize = 64;

/// Adds a summary of a payload by its ports. `None`, with nothing added: it is unknown.
pub fn describe(ports: (u16, u16), payload: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let mut text = String::new();
    let is = |port: u16| ports.0 == port || ports.1 == port;
    let known = if is(53) || is(5353) {
        dns(payload, length, &mut text)
    } else if is(67) || is(68) {
        dhcp(payload, &mut text)
    } else if is(5683) {
        coap(payload, length, &mut text)
    } else if is(546) || is(547) {
        dhcp6(payload, length, &mut text)
    } else if is(69) {
        tftp(payload, length, &mut text)
    } else if is(123) {
        write!(text, "NTP, length {length}").ok()
    } else {
        None
    };
    known?;
    out.push_str(&text);
    Some(())
}

fn dns(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let (id, flags) = (bytes.u16(0)?, bytes.u16(2)?);
    let [questions, answers, authority, more] = [4, 6, 8, 10].map(|at| bytes.u16(at));
    let (mut at, mut asked) = (12, None);
    for _ in 0..questions?.min(4) {
        let (name, behind) = name(bytes, at)?;
        asked.get_or_insert((name, bytes.u16(behind)?));
        at = behind + 4;
    }
    if flags & 0x8000 == 0 {
        let wants = if flags & 0x0100 == 0 { "" } else { "+" };
        let _ = write!(out, "{id}{wants}");
        if let Some((name, kind)) = asked {
            let _ = write!(out, " {}? {name}", kind_of(kind));
        }
        return write!(out, " ({length})").ok();
    }
    let _ = write!(out, "{id}");
    match flags & 0xf {
        0 => {}
        3 => out.push_str(" NXDomain"),
        code => drop(write!(out, " error {code}")),
    }
    let _ = write!(out, " {}/{}/{}", answers?, authority?, more?);
    for number in 0..answers?.min(3) {
        let Some(next) = answer(bytes, at, number, out) else { break };
        at = next;
    }
    write!(out, " ({length})").ok()
}

/// Adds a record, and gives where the next one is.
fn answer(bytes: Bytes<'_>, at: usize, number: u16, out: &mut String) -> Option<usize> {
    let (_, at) = name(bytes, at)?;
    let (kind, size) = (bytes.u16(at)?, usize::from(bytes.u16(at + 8)?));
    let data = at + 10;
    let _ = write!(out, "{} {}", if number == 0 { "" } else { "," }, kind_of(kind));
    match kind {
        1 => drop(write!(out, " {}", Ipv4Addr::from(bytes.array(data)?))),
        28 => drop(write!(out, " {}", Ipv6Addr::from(bytes.array::<16>(data)?))),
        2 | 5 | 12 => drop(write!(out, " {}", name(bytes, data)?.0)),
        _ => {}
    }
    Some(data + size)
}

fn kind_of(kind: u16) -> String {
    let word = match kind {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        65 => "HTTPS",
        255 => "ANY",
        other => return format!("type {other}"),
    };
    word.to_owned()
}

/// The name at `at`, and the offset behind it.
fn name(bytes: Bytes<'_>, mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut end) = (String::new(), None);
    for _ in 0..LABELS {
        let size = bytes.u8(at)?;
        match size {
            0 => {
                if text.is_empty() {
                    text.push('.');
                }
                return Some((text, end.unwrap_or(at + 1)));
            }
            0xc0.. => {
                end.get_or_insert(at + 2);
                at = usize::from(bytes.u16(at)? & 0x3fff);
            }
            size => {
                let from = at + 1;
                at = from + usize::from(size);
                text.push_str(&visible_bytes(bytes.0.get(from..at)?));
                text.push('.');
            }
        }
    }
    None
}

fn dhcp(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    const KINDS: [&str; 8] = ["Discover", "Offer", "Request", "Decline", "ACK", "NAK", "Release", "Inform"];
    let way = if bytes.u8(0)? == 1 { "Request from" } else { "Reply to" };
    let _ = write!(out, "BOOTP/DHCP, {way} {}", bytes.mac(28)?);
    let given = Ipv4Addr::from(bytes.array(16)?);
    let mut at = 240;
    while let (Some(code), Some(size)) = (bytes.u8(at), bytes.u8(at + 1)) {
        if code == 255 {
            break;
        }
        if code == 53
            && let Some(word) = bytes.u8(at + 2).and_then(|kind| KINDS.get(usize::from(kind).checked_sub(1)?))
        {
            let _ = write!(out, ", {word}");
        }
        at += if code == 0 { 1 } else { 2 + usize::from(size) };
    }
    if !given.is_unspecified() {
        let _ = write!(out, ", {given}");
    }
    Some(())
}

fn dhcp6(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let word = match bytes.u8(0)? {
        1 => "solicit",
        2 => "advertise",
        3 => "request",
        5 => "renew",
        7 => "reply",
        8 => "release",
        11 => "information request",
        other => return write!(out, "DHCPv6, type {other}, length {length}").ok(),
    };
    write!(out, "DHCPv6, {word}, length {length}").ok()
}

fn tftp(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let word = match bytes.u16(0)? {
        1 => "RRQ",
        2 => "WRQ",
        3 => return write!(out, "TFTP, DATA block {}, length {length}", bytes.u16(2)?).ok(),
        4 => return write!(out, "TFTP, ACK block {}", bytes.u16(2)?).ok(),
        5 => return write!(out, "TFTP, ERROR {}", bytes.u16(2)?).ok(),
        _ => return None,
    };
    let name = bytes.0.get(2..)?.split(|&byte| byte == 0).next()?;
    write!(out, "TFTP, {word} \"{}\"", visible_bytes(name)).ok()
}

fn coap(bytes: Bytes<'_>, length: usize, out: &mut String) -> Option<()> {
    let (first, code, id) = (bytes.u8(0)?, bytes.u8(1)?, bytes.u16(2)?);
    if first >> 6 != 1 {
        return None;
    }
    let kind = ["CON", "NON", "ACK", "RST"].get(usize::from(first >> 4 & 3))?;
    let _ = write!(out, "CoAP {kind} ");
    match code {
        0 => out.push_str("empty"),
        1..=4 => out.push_str(["GET", "POST", "PUT", "DELETE"].get(usize::from(code) - 1)?),
        code => drop(write!(out, "{}.{:02}", code >> 5, code & 31)),
    }
    let (mut at, mut number, mut path) = (4 + usize::from(first & 15), 0, String::new());
    while let Some(head) = bytes.u8(at).filter(|head| *head != 0xff) {
        at += 1;
        let delta = extended(bytes, &mut at, head >> 4)?;
        let size = extended(bytes, &mut at, head & 15)?;
        number += delta;
        // Uri-Path
        if number == 11 {
            path.push('/');
            path.push_str(&visible_bytes(bytes.0.get(at..at + size)?));
        }
        at += size;
    }
    if !path.is_empty() {
        let _ = write!(out, " {path}");
    }
    write!(out, ", id {id}, length {length}").ok()
}

/// A number of an option, which may go on behind its head (RFC 7252, 3.1).
fn extended(bytes: Bytes<'_>, at: &mut usize, value: u8) -> Option<usize> {
    match value {
        13 => {
            *at += 1;
            Some(13 + usize::from(bytes.u8(*at - 1)?))
        }
        14 => {
            *at += 2;
            Some(269 + usize::from(bytes.u16(*at - 2)?))
        }
        15 => None,
        value => Some(value.into()),
    }
}
