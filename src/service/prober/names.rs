//! A question for a name, and its answer, as they go over TCP: `length u16 · message` (RFC 1035, section 4).

use std::net::IpAddr;

/// Records of an answer that are looked at.
const RECORDS: u16 = 64;
const A: u16 = 1;
const AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Asks for an address of `name`.
pub fn query(id: u16, name: &str, six: bool) -> Vec<u8> {
    let mut message = Vec::new();
    // Recursion desired; one question.
    for field in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.get(..63).unwrap_or(label).as_bytes();
        message.push(label.len() as u8);
        message.extend_from_slice(label);
    }
    message.push(0);
    message.extend(if six { AAAA } else { A }.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &message].concat()
}

/// The addresses in an answer to the question `id`; nothing until it is whole. What is no answer has none.
pub fn answer(heard: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    let length = usize::from(number(heard, 0)?);
    let message = heard.get(2..2 + length)?;
    Some(addresses(message, id).unwrap_or_default())
}

fn addresses(message: &[u8], id: u16) -> Option<Vec<IpAddr>> {
    let (questions, answers) = (number(message, 4)?, number(message, 6)?);
    if number(message, 0)? != id || message.get(2)? & 0x80 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..questions.min(RECORDS) {
        at = behind_name(message, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers.min(RECORDS) {
        at = behind_name(message, at)?;
        let (kind, length) = (number(message, at)?, usize::from(number(message, at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        match kind {
            A => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            AAAA => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
        at += 10 + length;
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Where a name ends, which a pointer does, too.
fn behind_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_asked_for_and_found() {
        let asked = query(7, "box.lan", false);
        assert_eq!(asked[..2], [0, 25]);
        assert_eq!(asked[14..], *b"\x03box\x03lan\0\0\x01\0\x01");
        let mut message = asked[2..].to_vec();
        (message[2], message[7]) = (0x81, 2);
        // An alias first, whose data is a pointer.
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12]);
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
        let heard = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        assert_eq!(answer(&heard, 7), Some(vec![IpAddr::from([192, 0, 2, 7])]));
        assert_eq!(answer(&heard, 8), Some(Vec::new()), "another question's");
        assert_eq!(answer(&heard[..heard.len() - 1], 7), None, "it is not whole");
        assert_eq!(answer(&asked, 7), Some(Vec::new()), "it is no answer");
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            std::hint::black_box(answer(&bytes, 0));
            let framed = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
            prop_assert!(answer(&framed, 0).is_some());
        }
    }
}
