//! Option 81, a client's FQDN (RFC 4702): `flags u8 · two obsolete bytes · name`.
//!
//! The name is in DNS wire format (flag E) or, of older clients, ASCII. The segment's resolver answers for every
//! client, so the answer says that the server has updated DNS, whatever the client wished (flags S and O).

use crate::service::lan::name;

/// The server updates DNS.
const SERVER: u8 = 0x01;
/// The server overrides the client's wish.
const OVERRIDDEN: u8 = 0x02;
/// The name is in DNS wire format.
const WIRE: u8 = 0x04;
/// The two obsolete bytes (RCODE) in a server's answer (RFC 4702, section 2.2).
const CODES: [u8; 2] = [255, 255];

/// The first label of the client's name, whatever bytes it has. `None`: the option is cut short, or has no name.
pub fn called(value: &[u8]) -> Option<&[u8]> {
    let (&[flags, _, _], name) = value.split_first_chunk::<3>()?;
    let first = match flags & WIRE {
        0 => name.split(|byte| matches!(byte, b'.' | 0)).next()?,
        _ => name.split_first().and_then(|(len, rest)| rest.get(..usize::from(*len)))?,
    };
    (!first.is_empty()).then_some(first)
}

/// The answer to `value`: the client's name is `host` in `domain`. Without a `host` the client's own name stays.
pub fn answer(value: &[u8], host: Option<&str>, domain: Option<&str>) -> Option<Vec<u8>> {
    let (&[flags, _, _], own) = value.split_first_chunk::<3>()?;
    let overridden = if flags & SERVER == 0 { OVERRIDDEN } else { 0 };
    let mut out = vec![SERVER | overridden | flags & WIRE];
    out.extend(CODES);
    match host {
        None => out.extend_from_slice(own),
        Some(host) => {
            let whole = domain.map_or_else(|| host.to_owned(), |domain| format!("{host}.{domain}"));
            out.extend(if flags & WIRE == 0 { whole.into_bytes() } else { name::wire(&whole) });
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_forms() {
        for (value, wanted) in [
            (&b"\x05\0\0\x06board7\x03lab\0"[..], Some(&b"board7"[..])),
            (b"\x05\0\0\x06board7", Some(b"board7")),
            (b"\x01\0\0board9", Some(b"board9")),
            (b"\x00\0\0board9.example.org", Some(b"board9")),
            (b"\x04\0\0\x09board7", None),
            (b"\x04\0\0\0", None),
            (b"\x04\0\0", None),
            (b"\x01\0\0", None),
            (b"\x01\0", None),
        ] {
            assert_eq!(called(value), wanted, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_answer_has_the_form_of_the_question() {
        let wire = answer(b"\x05\0\0\x06board7\0", Some("board7-2"), Some("lab"));
        assert_eq!(wire.as_deref(), Some(&b"\x05\xff\xff\x08board7-2\x03lab\0"[..]));
        // one that wished to see to its name itself, and one that wished nobody to
        for flags in [0, 8] {
            let text = answer(&[flags, 0, 0, b'b'], Some("b"), Some("lab"));
            assert_eq!(text.as_deref(), Some(&b"\x03\xff\xffb.lab"[..]));
        }
        assert_eq!(answer(b"\x01\0\0???", None, Some("lab")).as_deref(), Some(&b"\x01\xff\xff???"[..]));
        assert_eq!(answer(b"\x01", None, None), None);
    }
}
