//! DHCP and BOOTP messages (RFC 2131, section 2; RFC 951) as bytes.
//!
//! `op u8 · htype u8 · hlen u8 · hops u8 · xid u32 · secs u16 · flags u16 · ciaddr · yiaddr · siaddr · giaddr (4 each) ·
//! chaddr 16 · sname 64 · file 128 · cookie 4 · options`, an option being `code u8 · length u8 · value`, and 0 (padding)
//! and 255 (end) single bytes (RFC 2132, section 2).

use std::net::Ipv4Addr;

use crate::service::lease::Who;
use crate::wire::Mac;

/// Bytes in front of the options, cookie included.
pub const HEADER: usize = 240;

/// The first four bytes of the options (RFC 2132, section 2).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// No message is shorter: some BOOTP clients and relays take no less (RFC 1542, section 2.1).
const SHORTEST: usize = 300;

/// Numbers of options (RFC 2132, unless said otherwise).
pub mod option {
    /// Subnet mask.
    pub const MASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// Domain name servers.
    pub const DNS: u8 = 6;
    /// The client's name.
    pub const HOST_NAME: u8 = 12;
    /// Domain for names without a dot.
    pub const DOMAIN: u8 = 15;
    /// Interface MTU.
    pub const MTU: u8 = 26;
    /// Broadcast address.
    pub const BROADCAST: u8 = 28;
    /// Requested IP address.
    pub const WANTED: u8 = 50;
    /// Lease time in seconds.
    pub const LEASE: u8 = 51;
    /// Overload: options are in the fields `file` (1), `sname` (2) or both (3), too.
    pub const OVERLOAD: u8 = 52;
    /// Type of the message.
    pub const TYPE: u8 = 53;
    /// Server identifier.
    pub const SERVER: u8 = 54;
    /// Parameter request list.
    pub const ASKED: u8 = 55;
    /// Error message.
    pub const MESSAGE: u8 = 56;
    /// Maximum message size, in bytes of the IP packet.
    pub const LONGEST: u8 = 57;
    /// Renewal time T1, in seconds.
    pub const RENEW: u8 = 58;
    /// Rebinding time T2, in seconds.
    pub const REBIND: u8 = 59;
    /// Client identifier.
    pub const CLIENT: u8 = 61;
    /// TFTP server, as text.
    pub const TFTP: u8 = 66;
    /// Boot file.
    pub const BOOT_FILE: u8 = 67;
    /// User class, as `iPXE` (RFC 3004).
    pub const USER_CLASS: u8 = 77;
    /// The client's FQDN (RFC 4702).
    pub const FQDN: u8 = 81;
    /// Relay agent information: the client's place, from a relay or switch (RFC 3046).
    pub const RELAY: u8 = 82;
    /// The client's architecture, for its boot loader (RFC 4578, section 2.1).
    pub const ARCH: u8 = 93;
    /// Classless routes (RFC 3442).
    pub const ROUTES: u8 = 121;
    /// TFTP servers, as addresses (RFC 5859).
    pub const TFTP_ADDR: u8 = 150;
    /// Rapid commit: answer a DISCOVER with an ACK (RFC 4039).
    pub const RAPID: u8 = 80;
    /// Padding.
    pub const PAD: u8 = 0;
    /// End of the options.
    pub const END: u8 = 255;
}

/// Types of messages (RFC 2132, section 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The client looks for servers.
    Discover = 1,
    /// A server offers an address.
    Offer,
    /// The client takes it, or renews its lease.
    Request,
    /// The client found it in use.
    Decline,
    /// The server grants the lease.
    Ack,
    /// The server refuses it.
    Nak,
    /// The client gives the lease back.
    Release,
    /// The client has an address and asks for options.
    Inform,
}

impl Kind {
    /// Reads the value of [`option::TYPE`].
    pub fn read(value: &[u8]) -> Option<Self> {
        use Kind::{Ack, Decline, Discover, Inform, Nak, Offer, Release, Request};
        let all = [Discover, Offer, Request, Decline, Ack, Nak, Release, Inform];
        all.into_iter().find(|kind| value == [*kind as u8])
    }
}

/// A client's message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    options: &'a [u8],
    /// Its type; `None`: BOOTP.
    pub kind: Option<Kind>,
    /// The client's MAC; where the message has none, that of the frame it came in.
    pub mac: Mac,
    /// Whether the client wants its answer broadcast.
    pub broadcast: bool,
    /// The address that it has; 0 if none.
    pub ciaddr: Ipv4Addr,
    /// The relay that passed it on; 0 if none.
    pub giaddr: Ipv4Addr,
}

impl<'a> Message<'a> {
    /// Reads the message of an Ethernet client, from a frame with the source MAC `link`. `None`: it is malformed, or of
    /// an unknown type.
    ///
    /// A MAC of all zeroes is valid (Zephyr has such drivers).
    pub fn read(link: Mac, bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        if header[..3] != [1, 1, 6] || header[236..] != COOKIE {
            return None;
        }
        let addr = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let mac = Mac([header[28], header[29], header[30], header[31], header[32], header[33]]);
        let mac = if mac == Mac::default() { link } else { mac };
        let mut message = Self {
            bytes,
            options: &bytes[HEADER..],
            kind: None,
            mac,
            broadcast: header[10] & 0x80 != 0,
            ciaddr: addr(12),
            giaddr: addr(24),
        };
        if let Some(kind) = message.option(option::TYPE) {
            message.kind = Some(Kind::read(kind)?);
        }
        (!mac.is_group()).then_some(message)
    }

    /// The value of an option, the first if there are several. Options in `file` and `sname` (overload) are found too.
    pub fn option(&self, wanted: u8) -> Option<&'a [u8]> {
        let found = find(self.options, wanted);
        if found.is_some() {
            return found;
        }
        let overload = find(self.options, option::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        let file = self.bytes.get(108..236).filter(|_| overload & 1 != 0);
        let sname = self.bytes.get(44..108).filter(|_| overload & 2 != 0);
        file.into_iter().chain(sname).find_map(|field| find(field, wanted))
    }

    /// The value of an option that is an address.
    pub fn addr(&self, wanted: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.option(wanted)?.try_into().ok()?;
        Some(octets.into())
    }

    /// The client.
    pub fn who(&self) -> Who {
        Who::new(self.mac, self.option(option::CLIENT))
    }

    /// Whether the client asked for an option; one that lists none gets everything.
    pub fn asks(&self, wanted: u8) -> bool {
        self.option(option::ASKED).is_none_or(|list| list.contains(&wanted))
    }
}

/// The value of the first option `wanted`; options behind a truncated one are ignored.
pub fn find(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match *options {
            [option::PAD, ref rest @ ..] => options = rest,
            [option::END, ..] => return None,
            [code, len, ref rest @ ..] => {
                let (value, rest) = rest.split_at_checked(len.into())?;
                if code == wanted {
                    return Some(value);
                }
                options = rest;
            }
            _ => return None,
        }
    }
}

/// An answer under construction.
pub struct Writer {
    bytes: Vec<u8>,
    longest: usize,
    /// Option 82 as it came, which goes back behind all others (RFC 3046, section 2.2).
    relay: Vec<u8>,
}

impl Writer {
    /// An answer to `message` with no options, of `longest` bytes at most.
    pub fn new(message: &Message<'_>, longest: usize) -> Self {
        let mut bytes = vec![0; HEADER];
        let copied = HEADER.min(message.bytes.len());
        bytes[..copied].copy_from_slice(&message.bytes[..copied]);
        bytes[0] = 2;
        // hops and secs; yiaddr and siaddr; sname and file
        for cleared in [3..4, 8..10, 16..24, 44..236] {
            bytes[cleared].fill(0);
        }
        let relay = message.option(option::RELAY).map(|value| [&[option::RELAY, value.len() as u8], value].concat());
        let relay = relay.unwrap_or_default();
        // the relay added it, so it does not count for the client's maximum size
        Self { bytes, longest, relay }
    }

    /// The relay is to broadcast it (RFC 2131, section 4.1).
    pub fn set_broadcast(&mut self) {
        self.bytes[10] |= 0x80;
    }

    /// Clears the client's address, as a NAK requires (RFC 2131, table 3).
    pub fn clear_ciaddr(&mut self) {
        self.bytes[12..16].fill(0);
    }

    /// The client's address.
    pub fn set_yiaddr(&mut self, addr: Ipv4Addr) {
        self.bytes[16..20].copy_from_slice(&addr.octets());
    }

    /// The next server: that of the boot file.
    pub fn set_next_server(&mut self, server: Ipv4Addr) {
        self.bytes[20..24].copy_from_slice(&server.octets());
    }

    /// The boot file's name, where that fits.
    pub fn set_boot_file(&mut self, file: &[u8]) {
        // a zero has to end it
        if file.len() < 128 {
            self.bytes[108..108 + file.len()].copy_from_slice(file);
        }
    }

    /// Adds an option, if it and the end fit.
    pub fn option(&mut self, code: u8, value: &[u8]) {
        let Ok(len) = u8::try_from(value.len()) else { return };
        if self.bytes.len() + 2 + value.len() < self.longest {
            self.bytes.extend([code, len]);
            self.bytes.extend_from_slice(value);
        }
    }

    /// Adds a text option, and padding behind it, for firmware that reads on to a zero; the length is that of the text
    /// alone (RFC 2132, section 2).
    pub fn text(&mut self, code: u8, text: &[u8]) {
        let before = self.bytes.len();
        self.option(code, text);
        if self.bytes.len() > before && self.bytes.len() + 1 < self.longest {
            self.bytes.push(option::PAD);
        }
    }

    /// Adds an option that is a number of seconds.
    pub fn seconds(&mut self, code: u8, seconds: u32) {
        self.option(code, &seconds.to_be_bytes());
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.append(&mut self.relay);
        self.bytes.push(option::END);
        if self.bytes.len() < SHORTEST {
            self.bytes.resize(SHORTEST, option::PAD);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn request(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
        bytes[33] = 7;
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn options_end_where_they_are_cut() {
        for (options, value) in [
            (&[0, 0, 50, 2, 1, 2, 255][..], Some(&[1, 2][..])),
            (&[12, 1, 9, 50, 1, 3], Some(&[3])),
            (&[255, 50, 1, 3], None),
            (&[12, 9, 50, 1, 3], None),
            (&[50, 2, 1], None),
            (&[50], None),
            (&[50, 0], Some(&[])),
        ] {
            assert_eq!(Message::read(LINK, &request(options)).unwrap().option(50), value, "{options:?}");
        }
    }

    #[test]
    fn options_that_overflow_stand_in_other_fields() {
        let mut bytes = request(&[52, 1, 3, 255]);
        bytes[44..48].copy_from_slice(&[12, 1, b'n', 255]);
        bytes[108..112].copy_from_slice(&[53, 1, 1, 255]);
        let message = Message::read(LINK, &bytes).unwrap();
        assert_eq!(message.option(option::HOST_NAME), Some(&b"n"[..]));
        assert_eq!(message.kind, Some(Kind::Discover));
        bytes[242] = 1;
        assert_eq!(Message::read(LINK, &bytes).unwrap().option(option::HOST_NAME), None);
    }

    #[test]
    fn what_is_no_request_of_an_ethernet_client() {
        let good = request(&[53, 1, 1, 255]);
        assert!(Message::read(LINK, &good).is_some());
        assert!(Message::read(LINK, &request(&[])).is_some_and(|message| message.kind.is_none()));
        for (at, value) in [(0, 2), (1, 6), (2, 16), (28, 1), (236, 0), (242, 9), (242, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Message::read(LINK, &bad).is_none(), "byte {at} is {value}");
        }
        assert!(Message::read(LINK, &good[..239]).is_none());
        let mut nameless = good.clone();
        nameless[33] = 0;
        assert_eq!(Message::read(LINK, &nameless).map(|it| it.mac), Some(LINK), "the frame has a MAC");
        assert_eq!(Message::read(Mac::default(), &nameless).map(|it| it.mac), Some(Mac::default()), "none has");
    }

    #[test]
    fn options_that_do_not_fit_are_left_out() {
        let bytes = request(&[]);
        let mut writer = Writer::new(&Message::read(LINK, &bytes).unwrap(), 310);
        writer.option(12, &[1; 64]);
        writer.option(15, &[2; 64]);
        writer.option(3, &[3; 1]);
        writer.option(4, &[4; 1]);
        let reply = writer.finish();
        assert_eq!(reply.len(), HEADER + 66 + 3 + 1);
        assert_eq!(find(&reply[HEADER..], 3), Some(&[3][..]));
        assert_eq!(find(&reply[HEADER..], 15), None);
    }

    #[test]
    fn what_a_relay_says_goes_back_behind_all_others() {
        let bytes = request(&[82, 3, 1, 1, 9, 53, 1, 1, 255]);
        let mut writer = Writer::new(&Message::read(LINK, &bytes).unwrap(), 548);
        writer.text(67, b"boot");
        let reply = writer.finish();
        assert_eq!(reply[HEADER..HEADER + 13], [67, 4, b'b', b'o', b'o', b't', 0, 82, 3, 1, 1, 9, 255]);
    }
}
