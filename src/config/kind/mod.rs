//! The one table of port kinds.
//!
//! A kind is a file here: its [`KindRow`] (what help, man page, completion and README print), the typed struct that
//! its words become, and its way back into words. [`KINDS`] and [`PortKind`] (`port_kind.rs`) list them. To add one: the
//! file, a row in [`KINDS`], a variant in [`PortKind`]. The compiler asks for the rest, as no match over kinds has a
//! wildcard.

mod access;
mod ip;
mod lan;
mod nat;
mod packet;
mod port_kind;
mod slip;
mod tap;
mod transport;
mod uart;
mod unix;
mod usb_device;
mod usbip;
mod wpan;

use std::fmt;
use std::path::Path;

use crate::config::text::shell;
use crate::wire::Mac;

use super::grammar::{Fault, Keys, Writer, nearest};

pub use access::Access;

pub use ip::{Tcp, Udp};
pub use lan::{BootClient, BootFile, Lan, LanHost};
pub use nat::{Forward, Nat, Protocol};
pub use packet::Packet;
pub(crate) use port_kind::Arrival;
pub use port_kind::PortKind;
pub use slip::{IpPeer, Slip};
pub use tap::Tap;
pub use transport::Transport;
pub(crate) use transport::{TRANSPORTS, command_words};
pub use uart::{Parity, Uart};
pub use unix::{Framing, UnixGram, UnixSocket};

pub use usb_device::{Serial, UsbDevice, UsbKind, UsbSpeed};
pub use usbip::{Import, Usbip};
pub use wpan::Wpan;

/// One key of a specification, as help prints it.
#[derive(Clone, Copy)]
pub struct KeyRow {
    /// The key.
    pub word: &'static str,
    /// The metavar of its value; `None` is a flag: bare, or `=on`, or `=off`.
    pub value: Option<&'static str>,
    /// Whether it may be given more than once.
    pub repeatable: bool,
    /// Whether it can be changed while the port is there: `zbridge set`.
    pub live: bool,
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
    /// The word before the colon.
    pub word: &'static str,
    /// The metavar of what stands behind it.
    pub target: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// Its own keys, beside [`COMMON`].
    pub keys: &'static [KeyRow],
    /// A specification to copy.
    pub example: &'static str,
    /// Notes, in a few sentences.
    pub note: &'static str,
    /// The values of a key of its whose values are specifications themselves.
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

/// The values of a key that are specifications themselves: `WORD[+key[=value]]…`.
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
        live: false,
        summary: "what the port is called in logs and commands",
    },
    KeyRow {
        word: "switch",
        value: Some("NAME"),
        repeatable: false,
        live: false,
        summary: "the switch that it joins (default: default)",
    },
    KeyRow {
        word: "learn",
        value: Some("on|off"),
        repeatable: false,
        live: true,
        summary: "whether source addresses are learned here (default: on)",
    },
    KeyRow {
        word: "mtu",
        value: Some("BYTES"),
        repeatable: false,
        live: true,
        summary: "the longest payload that is forwarded, VLAN tags not counted, 68 to 65535 (of a service 1280 to 65521)",
    },
    KeyRow {
        word: "queue",
        value: Some("FRAMES"),
        repeatable: false,
        live: true,
        summary: "frames that wait for a busy peer, 1 to 1000000 (default: 8192, on a serial line 16 to 256)",
    },
    KeyRow {
        word: "isolate",
        value: None,
        repeatable: false,
        live: true,
        summary: "no traffic to and from other isolated ports",
    },
    KeyRow {
        word: "guard",
        value: None,
        repeatable: false,
        live: true,
        summary: "addresses used first here, or leased, are this port's alone; isolated ports have it (guard=off denies it)",
    },
    KeyRow {
        word: "optional",
        value: None,
        repeatable: false,
        live: false,
        summary: "start without it if it cannot be opened, and try again",
    },
    KeyRow {
        word: "down",
        value: None,
        repeatable: false,
        live: false,
        summary: "set down from the start, as if its cable were pulled, until `zbridge set NAME up`",
    },
    KeyRow {
        word: "capture",
        value: Some("FILE"),
        repeatable: false,
        live: false,
        summary: "writes what comes in here, and what is dropped, to a pcapng file, or to a FIFO while somebody reads it",
    },
    KeyRow {
        word: "mirror",
        value: Some("PORT[:rx|tx|both]"),
        repeatable: true,
        live: true,
        summary: "gets a copy of what that port sends (rx), is sent (tx), or both; for a monitor on the switch",
    },
    KeyRow {
        word: "tx.KEY",
        value: Some("VALUE"),
        repeatable: true,
        live: true,
        summary: "impairments of what it is sent: delay, loss …; rx. of what comes from it, both.: `zbridge help impair`",
    },
    KeyRow {
        word: "static",
        value: Some("MAC"),
        repeatable: true,
        live: true,
        summary: "a station that is always here, never moved or forgotten",
    },
    KeyRow {
        word: "rewrite",
        value: Some("RULE"),
        repeatable: true,
        live: false,
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

/// The way from a typed kind back into words.
pub trait KindText {
    /// Its row of the table.
    fn row(&self) -> &'static KindRow;

    /// The part behind the colon.
    fn target(&self) -> String;

    /// The name of a port that was given none.
    fn default_name(&self) -> String;

    /// Writes its own keys, leaving out what is the default.
    fn write(&self, out: &mut Writer);

    /// Its exclusive resources in the process: `interface zeth0`, `path /tmp/inst1`.
    fn claims(&self) -> Vec<String>;

    /// A peer that is there from the start: the devices of a service.
    fn peer(&self) -> String {
        String::new()
    }

    /// The command that attaches a peer to the port called `name`, if one is needed.
    fn attach(&self, name: &str) -> Option<Attach>;
}

/// The command that attaches a peer to a port: who runs it, and the line to paste.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
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

/// The absolute `path`, so that a pasted line means the same in any folder.
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
