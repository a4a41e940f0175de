//! Control messages of Contiki's nodes on a SLIP line, beside packets, and the answers of its host tools (tunslip6).
//!
//! ```text
//! ?P                   which IPv6 prefix?       answered with !P and 8 octets of prefix
//! ?M                   which MAC address?       answered with !M and 16 hexadecimal digits, an EUI-64
//! !M0011223344556677   my MAC address is …      to be logged
//! \r text              a line of debug output   to be logged
//! ```
//!
//! Firmware without a multiplexer on its line also prints bare lines, without `\r` and between packets ([`text`]).
//!
//! Each is a SLIP packet of its own. They are told from frames and IP packets by their exact form: no IP packet begins
//! with one of these octets, and no Ethernet frame is as short as a question, or has only text behind `\r`.

/// A control message: a packet that is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word<'a> {
    /// `?P`.
    WhichPrefix,
    /// `?M`.
    WhichMac,
    /// `!M` and 16 hexadecimal digits, which these are.
    Mac(&'a str),
    /// Text behind `\r`: printable ASCII, tabs and ends of lines.
    Debug(&'a str),
}

impl<'a> Word<'a> {
    /// Reads a SLIP packet; `None`: it is something else.
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        match packet {
            b"?P" => Some(Self::WhichPrefix),
            b"?M" => Some(Self::WhichMac),
            [b'!', b'M', digits @ ..] if digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit) => {
                str::from_utf8(digits).ok().map(Self::Mac)
            }
            [b'\r', rest @ ..] => text(rest).map(Self::Debug),
            _ => None,
        }
    }
}

/// `bytes` as text: printable ASCII, tabs and ends of lines. Of a packet that is no IP packet this is what firmware has
/// printed; one that is may look like text, too, so that it has to be asked first.
pub fn text(bytes: &[u8]) -> Option<&str> {
    let is_text = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    str::from_utf8(bytes).ok().filter(|text| text.bytes().all(is_text))
}

/// The answer to `?P`: the first 8 octets of an IPv6 address.
pub fn prefix_answer(address: [u8; 16]) -> [u8; 10] {
    let [a, b, c, d, e, f, g, h, ..] = address;
    [b'!', b'P', a, b, c, d, e, f, g, h]
}

/// The answer to `?M`: an EUI-64 made of a MAC address, as IEEE's guidelines have it: FF-FE in the middle.
pub fn mac_answer(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("!M{a:02X}{b:02X}{c:02X}FFFE{d:02X}{e:02X}{f:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_their_exact_form() {
        assert_eq!(Word::read(b"?P"), Some(Word::WhichPrefix));
        assert_eq!(Word::read(b"?M"), Some(Word::WhichMac));
        assert_eq!(Word::read(b"!M0012740000001234"), Some(Word::Mac("0012740000001234")));
        assert_eq!(Word::read(b"\rRime started\n"), Some(Word::Debug("Rime started\n")));
        for other in [&b""[..], b"?", b"?PP", b"!M001274", b"!M001274000000123g", b"\rx\x00y", b"\r\x1b[1m", b"E\0"] {
            assert_eq!(Word::read(other), None, "{other:?}");
        }
        // To 0d:0a:…: a frame, as no text has the rest in it.
        let frame = [&b"\r\n234567890 "[..], &[8, 0, 0x45, 0]].concat();
        assert_eq!(Word::read(&frame), None);
    }

    #[test]
    fn answers_are_tunslips() {
        let address = "2001:db8:0:5::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        assert_eq!(prefix_answer(address), *b"!P\x20\x01\x0d\xb8\0\0\0\x05");
        let answer = mac_answer([2, 0, 0x5e, 0, 0x53, 1]);
        assert_eq!(answer, "!M02005EFFFE005301");
        assert!(matches!(Word::read(answer.as_bytes()), Some(Word::Mac(_))));
    }
}
