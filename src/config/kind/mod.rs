//! The one table of port kinds.
//!
//! A kind is a file here: its [`KindRow`] (what help, man page, completion and README print), the typed struct that
//! its words become, and its way back into words. [`KINDS`] and [`PortKind`] list them; nothing else names a kind.
//! To add one: the file, a row in [`KINDS`], a variant with its arm in [`PortKind`]. The compiler asks for the rest.

mod access;
mod ip;
mod lan;
mod nat;
mod packet;
mod slip;
mod tap;
mod transport;
mod uart;
mod unix;
mod usb_device;
mod usbip;
mod wpan;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use crate::config::text::shell;
use crate::limits::QUEUE_FRAMES;
use crate::switch::Address;
use crate::wire::Mac;

use super::grammar::{Fault, Keys, Writer, nearest};

pub use access::{Access, DEFAULT_MODE};
pub use ip::{Tcp, Udp};
pub use lan::{BootClient, BootFile, Lan, LanHost};
pub use nat::{Forward, Nat, Protocol};
pub use packet::Packet;
pub use slip::{IpPeer, Slip};
pub use tap::Tap;
pub use transport::{TRANSPORTS, Transport, TransportRow, command_words};
pub use uart::{Parity, Uart};
pub use unix::{UnixGram, UnixSeq, UnixStream};
pub use usb_device::{DEVICES, Serial, UsbDevice, UsbKind, UsbSpeed};
pub use usbip::{Import, Usbip};
pub use wpan::Wpan;

/// One key of a specification, as help prints it.
pub struct KeyRow {
    /// The key.
    pub word: &'static str,
    /// The metavar of its value; `None` is a flag: bare, or `=on`, or `=off`.
    pub value: Option<&'static str>,
    /// Whether it may be given more than once.
    pub repeatable: bool,
    /// One line on what it does.
    pub summary: &'static str,
}

impl KeyRow {
    /// The key with its metavar: `mtu=BYTES`, `up`.
    pub fn form(&self) -> String {
        match self.value {
            Some(value) => format!("{}={value}", self.word),
            None => self.word.to_owned(),
        }
    }
}

/// One kind of port, as help prints it, and the parser of its words.
pub struct KindRow {
    /// What stands before the colon.
    pub word: &'static str,
    /// The metavar of what stands behind it.
    pub target: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// Its own keys, beside [`COMMON`].
    pub keys: &'static [KeyRow],
    /// A specification to copy.
    pub example: &'static str,
    /// What else there is to know, in a few sentences.
    pub note: &'static str,
    /// What the values of one of its keys can be, where they are specifications themselves.
    pub choices: Option<&'static Choices>,
    /// Makes the typed kind of a target and keys.
    pub parse: fn(&str, &mut Keys) -> Result<PortKind, Fault>,
}

impl KindRow {
    /// The kind with its target's metavar: `tap:NAME`.
    pub fn form(&self) -> String {
        format!("{}:{}", self.word, self.target)
    }

    /// The key of this name, its own or a common one.
    pub fn key(&self, word: &str) -> Option<&'static KeyRow> {
        self.keys.iter().chain(COMMON).find(|row| row.word == word)
    }
}

/// What the values of a key can be that are specifications themselves: `WORD[+key[=value]]…`.
pub struct Choices {
    /// The key: `device`.
    pub key: &'static str,
    /// Its values.
    pub rows: &'static [&'static Choice],
    /// The keys that all of them have.
    pub common: &'static [KeyRow],
}

/// One of them, as help prints it.
pub struct Choice {
    /// The word that it begins with.
    pub word: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// Its own keys.
    pub keys: &'static [KeyRow],
    /// A value to copy.
    pub example: &'static str,
}

/// Every kind of port.
pub static KINDS: &[&KindRow] = &[
    &tap::ROW,
    &unix::STREAM,
    &unix::GRAM,
    &unix::SEQ,
    &ip::TCP,
    &ip::UDP,
    &packet::ROW,
    &slip::ROW,
    &wpan::ROW,
    &usbip::ROW,
    &nat::ROW,
];

/// The keys that every kind of port has.
pub static COMMON: &[KeyRow] = &[
    KeyRow {
        word: "name",
        value: Some("NAME"),
        repeatable: false,
        summary: "what the port is called in logs and commands",
    },
    KeyRow {
        word: "switch",
        value: Some("NAME"),
        repeatable: false,
        summary: "the switch that it joins (default: default)",
    },
    KeyRow {
        word: "learn",
        value: Some("on|off"),
        repeatable: false,
        summary: "whether source addresses are learned here (default: on)",
    },
    KeyRow {
        word: "mtu",
        value: Some("BYTES"),
        repeatable: false,
        summary: "the longest payload that is forwarded, VLAN tags not counted, 68 to 65535 (of a service 1280 to 65521)",
    },
    KeyRow {
        word: "queue",
        value: Some("FRAMES"),
        repeatable: false,
        summary: "frames that wait for a busy peer, 1 to 1000000 (default: 8192, on a serial line 16 to 256)",
    },
    KeyRow { word: "isolate", value: None, repeatable: false, summary: "no traffic to and from other isolated ports" },
    KeyRow {
        word: "guard",
        value: None,
        repeatable: false,
        summary: "addresses used first here, or leased, are this port's alone; isolated ports have it (guard=off denies it)",
    },
    KeyRow {
        word: "optional",
        value: None,
        repeatable: false,
        summary: "start without it if it cannot be opened, and try again",
    },
    KeyRow {
        word: "static",
        value: Some("MAC"),
        repeatable: true,
        summary: "a station that is always here, never moved or forgotten",
    },
    KeyRow {
        word: "rewrite",
        value: Some("RULE"),
        repeatable: true,
        summary: "other addresses on the switch, for copies of one image: mac, mac=OLD:NEW, ip=OLD:NEW or ip=[OLD6]:[NEW6]",
    },
];

/// The row of a kind.
///
/// # Errors
/// A fault that names the nearest kind.
pub fn find(word: &str) -> Result<&'static KindRow, Fault> {
    KINDS.iter().copied().find(|row| row.word == word).ok_or_else(|| {
        let known = nearest(word, KINDS.iter().map(|row| row.word));
        Fault::new(format!("unknown port kind {word:?}; {known}")).hint("`zbridge ports` lists the kinds")
    })
}

/// What a port is, by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortKind {
    /// A TAP interface of this machine.
    Tap(Tap),
    /// Length-prefixed frames on a UNIX stream socket.
    Unix(UnixStream),
    /// One frame a datagram on a UNIX socket.
    UnixGram(UnixGram),
    /// One frame a packet on a UNIX SOCK_SEQPACKET socket.
    UnixSeq(UnixSeq),
    /// Length-prefixed frames on a TCP connection.
    Tcp(Tcp),
    /// One frame a UDP datagram.
    Udp(Udp),
    /// An existing interface of this machine.
    Packet(Packet),
    /// SLIP on a serial line.
    Slip(Slip),
    /// A node of an IEEE 802.15.4 medium, on a serial line.
    Wpan(Wpan),
    /// A USB/IP server with its devices.
    Usbip(Usbip),
    /// A gateway to the host's networks.
    Nat(Nat),
}

impl PortKind {
    /// The addresses of the host on the switch that it is, if it is one.
    pub fn hosts(&self) -> Vec<IpAddr> {
        let cidrs = match self {
            Self::Nat(nat) => nat.addrs(),
            Self::Usbip(usbip) => usbip.addrs.clone(),
            _ => Vec::new(),
        };
        cidrs.into_iter().map(|cidr| cidr.addr).collect()
    }

    /// The addresses that are its own on the switch, as far as its words tell, which no other port has: those of a
    /// service, of the machine on its TAP, of a peer with bare IP packets.
    pub fn own_addresses(&self) -> Vec<Address> {
        let (mac, cidrs) = match self {
            Self::Nat(nat) => (Some(nat.mac()), &[][..]),
            Self::Usbip(usbip) => (Some(usbip.mac()), &[][..]),
            Self::Tap(tap) => (tap.mac, &tap.addrs[..]),
            Self::Slip(Slip { ip: Some(peer), .. }) | Self::Packet(Packet { ip: Some(peer), .. }) => {
                (peer.mac, &peer.addrs[..])
            }
            _ => (None, &[][..]),
        };
        let addrs = self.hosts().into_iter().chain(cidrs.iter().map(|cidr| cidr.addr));
        mac.map(Address::Mac).into_iter().chain(addrs.map(Address::Ip)).collect()
    }

    /// Whether it is a host of its own on the switch.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Nat(_) | Self::Usbip(_))
    }

    /// Whether machines beyond this one reach the switch by it: an interface of this one, or a socket that is public.
    pub fn leads_to_a_network(&self) -> bool {
        match self {
            Self::Packet(_) => true,
            Self::Tcp(tcp) => tcp.public,
            Self::Udp(udp) => udp.public,
            Self::Slip(Slip { transport: Transport::Tcp { public, .. }, .. }) => *public,
            _ => false,
        }
    }

    /// What stands before the colon: `tap`.
    pub fn word(&self) -> &'static str {
        self.text().row().word
    }

    /// Whether it is a node of a radio medium, and not a port of an Ethernet switch.
    pub fn is_radio(&self) -> bool {
        matches!(self, Self::Wpan(_))
    }

    /// Whether the port itself sees to its mtu, by telling senders of it, and not the switch, by dropping.
    pub fn tells_mtu(&self) -> bool {
        match self {
            Self::Slip(slip) => slip.ip.is_some(),
            Self::Packet(packet) => packet.ip.is_some(),
            _ => false,
        }
    }

    /// Frames that wait for a busy peer unless `queue=` says otherwise.
    pub fn queue(&self) -> usize {
        match self {
            Self::Slip(Slip { transport, .. }) | Self::Wpan(Wpan { transport }) => transport.queue(),
            _ => QUEUE_FRAMES,
        }
    }

    /// The clients that a listener lets in at once.
    pub fn clients(&self) -> usize {
        let given = match self {
            Self::Unix(unix) => unix.clients,
            Self::UnixSeq(unix) => unix.clients,
            Self::Tcp(tcp) => tcp.clients,
            _ => None,
        };
        given.unwrap_or(usize::MAX)
    }

    /// The one place where the kinds are told apart for their words.
    pub fn text(&self) -> &dyn KindText {
        match self {
            Self::Tap(kind) => kind,
            Self::Unix(kind) => kind,
            Self::UnixGram(kind) => kind,
            Self::UnixSeq(kind) => kind,
            Self::Tcp(kind) => kind,
            Self::Udp(kind) => kind,
            Self::Packet(kind) => kind,
            Self::Slip(kind) => kind,
            Self::Wpan(kind) => kind,
            Self::Usbip(kind) => kind,
            Self::Nat(kind) => kind,
        }
    }
}

/// The way from a typed kind back into words.
pub trait KindText {
    /// Its row of the table.
    fn row(&self) -> &'static KindRow;

    /// What stands behind the colon.
    fn target(&self) -> String;

    /// The name of a port that was given none.
    fn default_name(&self) -> String;

    /// Writes its own keys, leaving out what is the default.
    fn write(&self, out: &mut Writer);

    /// What no second port of the process can have: `interface zeth0`, `path /tmp/inst1`.
    fn claims(&self) -> Vec<String>;

    /// Who is at the other end from the start: the devices of a service.
    fn peer(&self) -> String {
        String::new()
    }

    /// How a peer is attached to the port called `name`, where there is anything left to do.
    fn attach(&self, name: &str) -> Option<Attach>;
}

/// How a peer is attached to a port: who, and the line to paste.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attach {
    /// Who runs the line: `QEMU`, `native_sim`, `host`.
    pub who: &'static str,
    /// What to paste, quoted for a shell.
    pub line: String,
}

impl Attach {
    fn new(who: &'static str, line: String) -> Option<Self> {
        Some(Self { who, line })
    }

    /// A QEMU guest: the `netdev` and a network card of its own behind it. Both carry the name of the port, so that the
    /// lines of several ports fit behind one QEMU, and the MAC address is made of it. `-net nic` takes the card that a
    /// machine has on its board, and puts one into a slot where there is none.
    fn qemu(name: &str, backend: &str, settings: &str) -> Option<Self> {
        let (id, mac) = (qemu_id(name), Mac::made_of(name));
        let netdev = format!("{backend},id={id},{settings}");
        Self::new("QEMU", format!("-netdev {} -net nic,netdev={id},macaddr={mac}", shell(&netdev)))
    }
}

/// A port's name as QEMU takes an identifier: a letter, then letters, digits, `-`, `.` and `_` (QEMU's util/id.c).
fn qemu_id(name: &str) -> String {
    let letter = if name.starts_with(|first: char| first.is_ascii_alphabetic()) { "" } else { "n" };
    let kept = |char: char| if char.is_ascii_alphanumeric() || "-._".contains(char) { char } else { '-' };
    letter.chars().chain(name.chars().map(kept)).collect()
}

/// `path` from the root on, so that a line which is pasted in another folder means the same.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// `QEMU: -netdev …`.
impl fmt::Display for Attach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.who, self.line)
    }
}

/// A fault of the target, which is not of the accepted `form`.
fn bad_target(row: &KindRow, target: &str, form: &str) -> Fault {
    Fault::new(format!("{} {target:?}: expected {form}", row.target)).hint(format!("for example {}", row.example))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortSpec;

    #[test]
    fn every_row_is_its_own() {
        for row in KINDS {
            assert_eq!(KINDS.iter().filter(|other| other.word == row.word).count(), 1, "{}", row.word);
            for key in row.keys.iter().chain(COMMON) {
                let all = row.keys.iter().chain(COMMON);
                assert_eq!(all.filter(|other| other.word == key.word).count(), 1, "{}: {}", row.word, key.word);
            }
        }
    }

    #[test]
    fn every_example_parses_to_its_row() {
        for row in KINDS {
            let port = PortSpec::parse(row.example).unwrap();
            assert_eq!(port.kind.text().row().word, row.word);
        }
    }

    #[test]
    fn an_unknown_kind_names_the_nearest() {
        assert_eq!(
            find("tpa").map(|row| row.word).unwrap_err().what,
            "unknown port kind \"tpa\"; the nearest is \"tap\""
        );
    }
}
