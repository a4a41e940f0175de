//! `device=KIND[+key[=value]]…`: the USB devices that a `usbip:` port exports.
//!
//! A kind of device is a row of [`DEVICES`] and a variant of [`UsbKind`], as a kind of port is one of its table.

use std::fmt;
use std::path::PathBuf;

use super::access::{Access, GROUP, MODE, USER};
use super::{Choice, KeyRow};
use crate::config::grammar::{Fault, Keys, NESTED, Writer, nearest, split_by};
use crate::config::value::{self, HostPort, Parsed};

const SCRIPT: KeyRow = KeyRow {
    word: "script",
    value: Some("PATH"),
    repeatable: false,
    live: false,
    summary: "play the lines of this file, or of this pipe as they come",
};

static CDC_ACM: Choice = Choice {
    word: "cdc-acm",
    summary: "serial port, /dev/ttyACM0; an echo unless a back end is named",
    keys: &[
        KeyRow {
            word: "pty",
            value: Some("PATH"),
            repeatable: false,
            live: false,
            summary: "back end: a pseudo-terminal, with a link to it at PATH",
        },
        KeyRow {
            word: "unix",
            value: Some("PATH"),
            repeatable: false,
            live: false,
            summary: "back end: whoever connects to this socket, one at a time",
        },
        KeyRow {
            word: "tcp",
            value: Some("HOST:PORT"),
            repeatable: false,
            live: false,
            summary: "back end: whoever connects to this address of this machine",
        },
        KeyRow {
            word: "file",
            value: Some("PATH"),
            repeatable: false,
            live: false,
            summary: "back end: what the host sends is appended to this file",
        },
        KeyRow {
            word: "echo",
            value: None,
            repeatable: false,
            live: false,
            summary: "what the host sends comes back (the default)",
        },
        MODE,
        USER,
        GROUP,
    ],
    example: "cdc-acm+pty=/tmp/ttyA",
};

static LOOPBACK: Choice = Choice {
    word: "loopback",
    summary: "gadget zero, for Linux's usbtest and testusb",
    keys: &[],
    example: "loopback+speed=super",
};

static MASS_STORAGE: Choice = Choice {
    word: "mass-storage",
    summary: "disk, its blocks in an image file",
    keys: &[
        KeyRow {
            word: "image",
            value: Some("PATH"),
            repeatable: false,
            live: false,
            summary: "the file, blocks of 512 bytes",
        },
        KeyRow { word: "ro", value: None, repeatable: false, live: false, summary: "write-protected" },
        KeyRow {
            word: "cow",
            value: None,
            repeatable: false,
            live: false,
            summary: "writes are kept aside and gone at the end; the file stays as it is",
        },
        KeyRow {
            word: "raw",
            value: None,
            repeatable: false,
            live: false,
            summary: "take the file's bytes as blocks, although it looks like qcow2, gzip or another format",
        },
    ],
    example: "mass-storage+image=disk.img+cow",
};

static KEYBOARD: Choice = Choice {
    word: "hid-keyboard",
    summary: "keyboard, typing what a script says: type=hello\\n, key=ctrl+c",
    keys: &[SCRIPT],
    example: "hid-keyboard+script=/tmp/keys",
};

static MOUSE: Choice = Choice {
    word: "hid-mouse",
    summary: "mouse, doing what a script says: move=10,-5, click=left, wheel=1",
    keys: &[SCRIPT],
    example: "hid-mouse+script=/tmp/mouse",
};

/// Every kind of device.
pub static DEVICES: &[&Choice] = &[&CDC_ACM, &LOOPBACK, &MASS_STORAGE, &KEYBOARD, &MOUSE];

/// The keys that every kind of device has.
pub(super) static COMMON: &[KeyRow] = &[
    KeyRow {
        word: "speed",
        value: Some("full|high|super"),
        repeatable: false,
        live: false,
        summary: "its speed (default: high)",
    },
    KeyRow {
        word: "vid",
        value: Some("HEX"),
        repeatable: false,
        live: false,
        summary: "its vendor id, four hexadecimal digits",
    },
    KeyRow { word: "pid", value: Some("HEX"), repeatable: false, live: false, summary: "its product id" },
    KeyRow {
        word: "serial",
        value: Some("TEXT"),
        repeatable: false,
        live: false,
        summary: "its serial number, up to 126 characters",
    },
    KeyRow {
        word: "busid",
        value: Some("N-M"),
        repeatable: false,
        live: false,
        summary: "the name to attach it by (default: the first free of 1-1, 1-2 …)",
    },
];

/// The speed of a device.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum UsbSpeed {
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    #[default]
    High,
    /// 5 Gbit/s.
    Super,
}

const SPEEDS: [(&str, UsbSpeed); 3] = [("full", UsbSpeed::Full), ("high", UsbSpeed::High), ("super", UsbSpeed::Super)];

/// The other end of a serial port.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Serial {
    /// The port itself: it echoes.
    Echo,
    /// A pseudo-terminal, to which this path is a link, and who may use it.
    Pty(PathBuf, Access),
    /// A client of the socket at this path, and who may be one.
    Unix(PathBuf, Access),
    /// A client of this TCP address.
    Tcp(HostPort),
    /// A file that grows.
    File(PathBuf),
}

/// A device, by kind.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UsbKind {
    /// A serial port.
    CdcAcm(Serial),
    /// Gadget zero.
    Loopback,
    /// A disk.
    MassStorage {
        /// The file with its blocks.
        image: PathBuf,
        /// The host may not write.
        read_only: bool,
        /// The host's writes go to a second file beside it.
        cow: bool,
        /// The file's bytes are the blocks, whatever they look like.
        raw: bool,
    },
    /// A keyboard, and the file or pipe that plays it.
    Keyboard(Option<PathBuf>),
    /// A mouse, likewise.
    Mouse(Option<PathBuf>),
}

/// A configured device.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UsbDevice {
    /// Its kind.
    pub kind: UsbKind,
    /// The speed that it reports.
    pub speed: UsbSpeed,
    /// `idVendor`, if not the kind's own.
    pub vendor: Option<u16>,
    /// `idProduct`, if not the kind's own.
    pub product: Option<u16>,
    /// The serial number, if not the kind's own.
    pub serial: Option<String>,
    /// The bus id, if it was given one.
    pub busid: Option<String>,
}

impl UsbDevice {
    /// A high-speed device of `kind` that shows itself as the kind does.
    pub fn new(kind: UsbKind) -> Self {
        Self { kind, speed: UsbSpeed::High, vendor: None, product: None, serial: None, busid: None }
    }

    /// The word of its kind: `cdc-acm`.
    pub fn word(&self) -> &'static str {
        let row = match self.kind {
            UsbKind::CdcAcm(_) => &CDC_ACM,
            UsbKind::Loopback => &LOOPBACK,
            UsbKind::MassStorage { .. } => &MASS_STORAGE,
            UsbKind::Keyboard(_) => &KEYBOARD,
            UsbKind::Mouse(_) => &MOUSE,
        };
        row.word
    }

    /// Its exclusive resource in the process: `path /tmp/ttyA`.
    pub(super) fn claim(&self) -> Option<String> {
        match &self.kind {
            UsbKind::CdcAcm(Serial::Pty(path, _) | Serial::Unix(path, _) | Serial::File(path)) => Some(path),
            UsbKind::MassStorage { image, read_only: false, cow: false, .. } => Some(image),
            UsbKind::CdcAcm(Serial::Tcp(addr)) if addr.port != 0 => return Some(format!("TCP address {addr}")),
            UsbKind::CdcAcm(Serial::Echo | Serial::Tcp(_)) | UsbKind::Loopback => None,
            UsbKind::MassStorage { .. } | UsbKind::Keyboard(_) | UsbKind::Mouse(_) => None,
        }
        .map(|path| format!("path {}", path.components().collect::<PathBuf>().display()))
    }
}

/// Parses `KIND[+key[=value]]…`.
///
/// # Errors
/// What is wrong, with the nearest known word.
pub(super) fn parse(text: &str) -> Result<UsbDevice, Fault> {
    let words = split_by(text, NESTED)?;
    let row = DEVICES.iter().find(|row| row.word == words.head).ok_or_else(|| {
        let known = nearest(&words.head, DEVICES.iter().map(|row| row.word));
        Fault::new(format!("unknown device {:?}; {known}", words.head)).hint("`zbridge ports usbip` lists the devices")
    })?;
    let mut keys = Keys::new(row.word, words.keys, &[row.keys, COMMON])?;
    let kind = match row.word {
        word if word == CDC_ACM.word => UsbKind::CdcAcm(serial(&mut keys)?),
        word if word == LOOPBACK.word => UsbKind::Loopback,
        word if word == MASS_STORAGE.word => UsbKind::MassStorage {
            image: keys.value("image", path)?.ok_or_else(|| {
                Fault::new("mass-storage needs its image").hint(format!("for example device={}", MASS_STORAGE.example))
            })?,
            read_only: keys.flag("ro")?.unwrap_or(false),
            cow: keys.flag("cow")?.unwrap_or(false),
            raw: keys.flag("raw")?.unwrap_or(false),
        },
        word if word == KEYBOARD.word => UsbKind::Keyboard(keys.value("script", path)?),
        _ => UsbKind::Mouse(keys.value("script", path)?),
    };
    let device = UsbDevice {
        kind,
        speed: keys.value("speed", speed)?.unwrap_or_default(),
        vendor: keys.value("vid", hex)?,
        product: keys.value("pid", hex)?,
        serial: keys.value("serial", serial_number)?,
        busid: keys.value("busid", busid)?,
    };
    keys.finish()?;
    Ok(device)
}

fn serial(keys: &mut Keys) -> Result<Serial, Fault> {
    let echo = keys.flag("echo")?.unwrap_or(false).then_some(Serial::Echo);
    let ends = [
        keys.value("pty", path)?.map(|path| Serial::Pty(path, Access::default())),
        keys.value("unix", value::sun_path)?.map(|path| Serial::Unix(path, Access::default())),
        keys.value("tcp", loopback)?.map(Serial::Tcp),
        keys.value("file", path)?.map(Serial::File),
        echo,
    ];
    let mut named = ends.into_iter().flatten();
    match (named.next(), named.next()) {
        (Some(Serial::Pty(path, _)), None) => Ok(Serial::Pty(path, Access::take(keys)?)),
        (Some(Serial::Unix(path, _)), None) => Ok(Serial::Unix(path, Access::take(keys)?)),
        (end, None) => {
            Access::refuse(keys, "without pty and unix: nothing else is made")?;
            Ok(end.unwrap_or(Serial::Echo))
        }
        _ => Err(Fault::new("cdc-acm has one back end").hint("name one of pty, unix, tcp, file and echo")),
    }
}

fn path(text: &str) -> Parsed<PathBuf> {
    let good = !text.is_empty() && !text.contains('\0') && !text.ends_with('/');
    good.then(|| PathBuf::from(text)).ok_or_else(|| "the path of a file".to_owned())
}

fn loopback(text: &str) -> Parsed<HostPort> {
    let addr = value::host_port(text, 0..=u16::MAX)?;
    if addr.is_loopback() { Ok(addr) } else { Err("an address of this machine's loopback, as 127.0.0.1:4000".into()) }
}

fn speed(text: &str) -> Parsed<UsbSpeed> {
    let found = SPEEDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, speed)| *speed).ok_or_else(|| "full, high or super".to_owned())
}

/// A 16-bit number in hexadecimal, with or without `0x`.
fn hex(text: &str) -> Parsed<u16> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let good = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u16::from_str_radix(digits, 16).ok().filter(|_| good);
    number.ok_or_else(|| "one to four hexadecimal digits, as 2fe3".to_owned())
}

/// A string descriptor holds 126 UTF-16 code units (USB 2.0, 9.6.7).
fn serial_number(text: &str) -> Parsed<String> {
    let good = (1..=126).contains(&text.encode_utf16().count()) && !text.chars().any(char::is_control);
    good.then(|| text.to_owned()).ok_or_else(|| "1 to 126 characters".to_owned())
}

/// `N-M`, as `usbip` names devices.
pub(super) fn busid(text: &str) -> Parsed<String> {
    let parts = text.split_once('-').map(|(bus, port)| (value::number(bus, 1..=255), value::number(port, 1..=254)));
    match parts {
        Some((Ok(bus), Ok(port))) => Ok(format!("{bus}-{port}")),
        _ => Err("N-M with N from 1 to 255 and M from 1 to 254, as 1-1".to_owned()),
    }
}

/// The text that parses to this device again.
impl fmt::Display for UsbDevice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Writer::nested(self.word());
        match &self.kind {
            UsbKind::CdcAcm(Serial::Pty(path, access)) => {
                text.value("pty", path.display());
                access.write(&mut text);
            }
            UsbKind::CdcAcm(Serial::Unix(path, access)) => {
                text.value("unix", path.display());
                access.write(&mut text);
            }
            UsbKind::CdcAcm(Serial::Tcp(addr)) => text.value("tcp", addr),
            UsbKind::CdcAcm(Serial::File(path)) => text.value("file", path.display()),
            UsbKind::CdcAcm(Serial::Echo) | UsbKind::Loopback => {}
            UsbKind::MassStorage { image, read_only, cow, raw } => {
                text.value("image", image.display());
                for (word, _) in [("ro", read_only), ("cow", cow), ("raw", raw)].iter().filter(|(_, on)| **on) {
                    text.flag(word);
                }
            }
            UsbKind::Keyboard(script) | UsbKind::Mouse(script) => {
                text.option("script", script.as_ref().map(|path| path.display()));
            }
        }
        let named = SPEEDS.iter().find(|(_, speed)| *speed == self.speed && self.speed != UsbSpeed::High);
        text.option("speed", named.map(|(word, _)| word));
        text.option("vid", self.vendor.map(|id| format!("{id:04x}")));
        text.option("pid", self.product.map(|id| format!("{id:04x}")));
        text.option("serial", self.serial.as_ref());
        text.option("busid", self.busid.as_ref());
        out.write_str(&text.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err().what
    }

    #[test]
    fn every_example_parses_to_its_row_and_back() {
        for row in DEVICES {
            let device = parse(row.example).unwrap();
            assert_eq!((device.word(), device.to_string()), (row.word, row.example.to_owned()));
            assert_eq!(parse(row.word).is_ok(), row.word != "mass-storage");
        }
    }

    #[test]
    fn everything_said_is_kept() {
        for text in [
            "cdc-acm",
            "cdc-acm+unix=/tmp/a++b+speed=full+vid=2fe3+pid=0100+serial=a+busid=2-7",
            "cdc-acm+tcp=[::1]:4000",
            "cdc-acm+file=log",
            "mass-storage+image=disk.img+ro+raw+speed=super",
            "cdc-acm+pty=/tmp/a+mode=0660+user=joe+group=dialout",
            "cdc-acm+unix=/tmp/a+group=20",
            "hid-keyboard",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse("cdc-acm+echo").unwrap().to_string(), "cdc-acm");
    }

    #[test]
    fn faults_name_the_nearest_word() {
        assert_eq!(refusal("cdcacm"), "unknown device \"cdcacm\"; the nearest is \"cdc-acm\"");
        assert!(refusal("loopback+pyt=/tmp/x").contains("loopback has no key \"pyt\""));
        assert!(refusal("cdc-acm+pty=/tmp/a+echo").contains("one back end"));
        assert!(refusal("cdc-acm+mode=0660").contains("means nothing without pty and unix"));
        assert!(refusal("mass-storage+ro").contains("needs its image"));
        for bad in ["speed=slow", "vid=12345", "vid=0x", "serial=", "busid=1-255", "busid=0-1", "busid=1-+1"] {
            assert!(parse(&format!("loopback+{bad}")).is_err(), "{bad}");
        }
        assert!(refusal("cdc-acm+tcp=0.0.0.0:1").contains("loopback"));
    }
}
