//! IEEE 802.15.4: the MAC header, in brief (IEEE 802.15.4-2020, 7.2).

use super::Bytes;
use std::fmt::Write as _;

/// A frame behind the header of a TAP.
pub fn tap(bytes: Bytes<'_>, len: u32, out: &mut String) -> Option<()> {
    let header = u16::from_le_bytes(bytes.array(2)?);
    frame(bytes.behind(header.into())?, len.saturating_sub(header.into()), out)
}

fn frame(bytes: Bytes<'_>, len: u32, out: &mut String) -> Option<()> {
    let control = u16::from_le_bytes(bytes.array(0)?);
    let kind = match control & 7 {
        0 => "beacon",
        1 => "data",
        2 => "ack",
        3 => "command",
        5 => "multipurpose",
        6 => "fragment",
        7 => "extended",
        _ => "reserved",
    };
    let _ = write!(out, "802.15.4 {kind}");
    let suppressed = control & 0x0100 != 0 && control >> 12 & 3 == 2;
    let mut at = 2;
    if !suppressed {
        let _ = write!(out, " {}", bytes.u8(2)?);
        at = 3;
    }
    let (to, from, within) = (control >> 10 & 3, control >> 14 & 3, control & 0x0040 != 0);
    // Later versions leave out identifiers of networks by rules of their own.
    if control >> 12 & 3 < 2 && kind != "ack" {
        if to != 0 {
            let _ = write!(out, ", PAN {:04x}", u16::from_le_bytes(bytes.array(at)?));
            at += 2;
        }
        let to = address(bytes, &mut at, to)?;
        if from != 0 && !within {
            at += 2;
        }
        let from = address(bytes, &mut at, from)?;
        let _ = write!(out, ", {from} > {to}");
    }
    if control & 8 != 0 {
        out.push_str(", secured");
    }
    write!(out, ", length {len}").ok()
}

fn address(bytes: Bytes<'_>, at: &mut usize, mode: u16) -> Option<String> {
    let (text, size) = match mode {
        2 => (format!("{:04x}", u16::from_le_bytes(bytes.array(*at)?)), 2),
        3 => (format!("{:016x}", u64::from_le_bytes(bytes.array(*at)?)), 8),
        _ => ("-".to_owned(), 0),
    };
    *at += size;
    Some(text)
}
