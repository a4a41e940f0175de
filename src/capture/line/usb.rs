//! A USB transfer behind the header of usbmon, in brief.

use super::Bytes;
use std::fmt::Write as _;

/// What is said of it.
pub fn urb(bytes: Bytes<'_>, out: &mut String) -> Option<()> {
    let (kind, endpoint, device) = (bytes.u8(9)?, bytes.u8(10)?, bytes.u8(11)?);
    let bus = u16::from_le_bytes(bytes.array(12)?);
    let status = i32::from_le_bytes(bytes.array(28)?);
    let length = u32::from_le_bytes(bytes.array(32)?);
    let is_submission = bytes.u8(8)? == b'S';
    let transfer = match kind {
        0 => "isochronous",
        1 => "interrupt",
        2 => "control",
        _ => "bulk",
    };
    let way = if endpoint & 0x80 == 0 { "OUT" } else { "IN" };
    let done = if is_submission { "" } else { " done" };
    let _ = write!(out, "USB {bus}.{device}.{} {transfer} {way}{done}", endpoint & 15);
    if is_submission && bytes.u8(14)? == 0 {
        let setup: [u8; 8] = bytes.array(40)?;
        let [kind, request, value @ .., _, _] = setup;
        let [v0, v1, i0, i1] = value;
        let (value, index) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([i0, i1]));
        let _ = write!(out, ", request {kind:#04x} {request:#04x} {value:#06x} {index:#06x}");
    }
    if !is_submission && status != 0 {
        let why = match status {
            -32 => " (stall)",
            -104 => " (unlinked)",
            -108 => " (gone)",
            -121 => " (short)",
            _ => "",
        };
        let _ = write!(out, ", status {status}{why}");
    }
    write!(out, ", length {length}").ok()
}
