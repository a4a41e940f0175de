//! The transports of serial lines, for the bytes of a `slip:` or `wpan:` port. One table for all of them.
//!
//! ```text
//! slip:unix:/tmp/slip.sock,connect
//! kind │transport │its keys
//!      └ TRANSPORT:ADDRESS
//! ```
//!
//! A transport stands in the target of the port, its keys among the keys of the port. [`TRANSPORTS`] is the table that
//! help prints; [`Transport`] is what a row's words become.

use std::path::{Path, PathBuf};

use super::access::{Access, GROUP, MODE, USER};
use super::ip::{PUBLIC, public};
use super::uart::{PARITY, RTSCTS, STOP, Uart};
use super::unix::claim;
use super::{Attach, KeyRow, KindRow, absolute};
use crate::config::grammar::{Fault, Keys, Writer, escape, nearest};
use crate::config::text::shell;
use crate::config::value::{self, HostPort};
use crate::limits::{SERIAL_QUEUE_FRAMES, SERIAL_QUEUE_FRAMES_MIN};

/// One transport, as help prints it.
pub struct TransportRow {
    /// The word before its colon.
    pub word: &'static str,
    /// The metavar of what stands behind it.
    pub address: &'static str,
    /// One line on what it is, and its keys.
    pub summary: &'static str,
    parse: fn(&str, &mut Keys) -> Result<Transport, Fault>,
}

impl TransportRow {
    /// The transport with its metavar: `pty:PATH`.
    pub fn form(&self) -> String {
        format!("{}:{}", self.word, self.address)
    }
}

/// Every transport of a serial line.
pub static TRANSPORTS: &[TransportRow] = &[
    TransportRow {
        word: "unix",
        address: "PATH",
        summary: "UNIX stream socket: listens for one peer at a time; with connect it dials (QEMU -serial unix:PATH)",
        parse: unix,
    },
    TransportRow {
        word: "pty",
        address: "PATH",
        summary: "makes a pseudo-terminal and links it to PATH, for programs that want a terminal device",
        parse: pty,
    },
    TransportRow {
        word: "tcp",
        address: "HOST:PORT",
        summary: "TCP connection: dials; with listen it waits for one peer at a time (QEMU -serial tcp:HOST:PORT)",
        parse: tcp,
    },
    TransportRow {
        word: "serial",
        address: "DEVICE[@BAUD]",
        summary: "a UART of this machine, 115200 8N1 unless BAUD, parity=, stop= or rtscts say otherwise",
        parse: |address, keys| Uart::parse(address, keys).map(Transport::Serial),
    },
    TransportRow {
        word: "pipe",
        address: "PATH",
        summary: "the two FIFOs of QEMU -serial pipe:PATH, made if absent: QEMU reads PATH.in and writes PATH.out",
        parse: pipe,
    },
    TransportRow {
        word: "fd",
        address: "N",
        summary: "a descriptor that the program was started with: a socket, a terminal",
        parse: fd,
    },
    TransportRow {
        word: "exec",
        address: "COMMAND",
        summary: "a program's standard input and output; started again when it ends, and not by a shell",
        parse: exec,
    },
];

pub(super) const CONNECT: KeyRow =
    KeyRow { word: "connect", value: None, repeatable: false, live: false, summary: "unix: dial instead of listening" };
pub(super) const LISTEN: KeyRow =
    KeyRow { word: "listen", value: None, repeatable: false, live: false, summary: "tcp: listen instead of dialling" };
pub(super) const ANYBODY: KeyRow =
    KeyRow { summary: "tcp: allow other hosts than this one: frames travel unprotected", ..PUBLIC };

/// The keys of all transports.
pub(super) static KEYS: [KeyRow; 9] = [CONNECT, LISTEN, ANYBODY, PARITY, STOP, RTSCTS, MODE, USER, GROUP];

/// The transport of a serial line's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Transport {
    /// A UNIX stream socket.
    Unix {
        /// The path that is listened on or dialled.
        path: PathBuf,
        /// Dial instead of listening.
        connect: bool,
        /// Who may use a socket that listens.
        access: Access,
    },
    /// A pseudo-terminal.
    Pty {
        /// Where it is linked.
        path: PathBuf,
        /// Who may use it.
        access: Access,
    },
    /// A TCP connection.
    Tcp {
        /// The address to dial or listen on; port 0 only when listening.
        addr: HostPort,
        /// Listen instead of dialling.
        listen: bool,
        /// Other hosts than this one are allowed.
        public: bool,
    },
    /// A UART.
    Serial(Uart),
    /// Two FIFOs.
    Pipe {
        /// Their path without `.in` and `.out`.
        path: PathBuf,
        /// Who may use those that are made here.
        access: Access,
    },
    /// An inherited descriptor.
    Fd(i32),
    /// A child process.
    Exec {
        /// The command as it was given.
        command: String,
    },
}

/// Why `connect` excludes the keys of what is made.
const MADE_THERE: &str = "with connect: the other end makes the socket";

/// A byte on a UART: a start bit, 8 of data, a stop bit.
const BITS_A_BYTE: u32 = 10;

impl Transport {
    /// Frames that may wait for the line: before a UART what it carries in about a second, as frames of 1514 bytes.
    pub(super) fn queue(&self) -> usize {
        match self {
            Self::Serial(uart) => {
                let in_a_second = uart.baud / (BITS_A_BYTE * 1514);
                usize::try_from(in_a_second).unwrap_or(usize::MAX).clamp(SERIAL_QUEUE_FRAMES_MIN, SERIAL_QUEUE_FRAMES)
            }
            Self::Unix { .. } | Self::Pty { .. } | Self::Tcp { .. } => SERIAL_QUEUE_FRAMES,
            Self::Pipe { .. } | Self::Fd(_) | Self::Exec { .. } => SERIAL_QUEUE_FRAMES,
        }
    }
}

/// The words of a command: split at blanks, with a shell's quotes, and nothing else of a shell. `None`: a quote is not
/// closed.
pub fn command_words(command: &str) -> Option<Vec<String>> {
    shlex::split(command).filter(|words| words.first().is_some_and(|program| !program.is_empty()))
}

/// Takes the transport out of the target and keys of a port.
pub(super) fn parse(row: &KindRow, target: &str, keys: &mut Keys) -> Result<Transport, Fault> {
    let known = || TRANSPORTS.iter().map(|row| row.word);
    let Some((word, address)) = target.split_once(':') else {
        let hint = match likely(target) {
            Some(word) => format!("write {}:{word}:{target}", row.word),
            None => format!("for example {}", row.example),
        };
        return Err(Fault::new(format!("{target:?} names no transport; known are {}", join(known()))).hint(hint));
    };
    let transport = TRANSPORTS.iter().find(|row| row.word == word).ok_or_else(|| {
        Fault::new(format!("unknown transport {word:?}; {}", nearest(word, known()))).hint("`zbridge ports` lists them")
    })?;
    let made = (transport.parse)(address, keys)?;
    let own: &[&str] = match made {
        Transport::Unix { connect: true, .. } => &["connect"],
        Transport::Unix { .. } => &["connect", "mode", "user", "group"],
        Transport::Pty { .. } | Transport::Pipe { .. } => &["mode", "user", "group"],
        Transport::Tcp { .. } => &["listen", "public"],
        Transport::Serial(_) => &["parity", "stop", "rtscts"],
        Transport::Fd(_) | Transport::Exec { .. } => &[],
    };
    for key in KEYS.iter().filter(|key| !own.contains(&key.word)) {
        keys.refuse(key.word, &format!("with {word}:"))?;
    }
    Ok(made)
}

/// The transport that a path without one is likely meant for.
fn likely(target: &str) -> Option<&'static str> {
    match target {
        _ if target.starts_with("/dev/") => Some("serial"),
        _ if target.starts_with(['/', '.']) => Some("unix"),
        _ => None,
    }
}

fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn bad(word: &str, address: &str, form: &str) -> Fault {
    Fault::new(format!("{word}:{address}: expected {form}"))
}

fn unix(address: &str, keys: &mut Keys) -> Result<Transport, Fault> {
    let path = value::sun_path(address).map_err(|form| bad("unix", address, &form))?;
    let connect = keys.flag("connect")?.unwrap_or(false);
    if connect {
        Access::refuse(keys, MADE_THERE)?;
    }
    Ok(Transport::Unix { path, connect, access: Access::take(keys)? })
}

fn pty(address: &str, keys: &mut Keys) -> Result<Transport, Fault> {
    let path = value::path(address).map_err(|form| bad("pty", address, &form))?;
    Ok(Transport::Pty { path, access: Access::take(keys)? })
}

fn tcp(address: &str, keys: &mut Keys) -> Result<Transport, Fault> {
    let listen = keys.flag("listen")?.unwrap_or(false);
    let lowest = if listen { 0 } else { 1 };
    let addr = value::host_port(address, lowest..=u16::MAX).map_err(|form| bad("tcp", address, &form))?;
    let public = public(keys, &[&addr])?;
    Ok(Transport::Tcp { addr, listen, public })
}

fn pipe(address: &str, keys: &mut Keys) -> Result<Transport, Fault> {
    let path = value::path(address).map_err(|form| bad("pipe", address, &form))?;
    Ok(Transport::Pipe { path, access: Access::take(keys)? })
}

fn fd(address: &str, _: &mut Keys) -> Result<Transport, Fault> {
    value::number(address, 3..=i32::MAX).map(Transport::Fd).map_err(|form| bad("fd", address, &form))
}

fn exec(address: &str, _: &mut Keys) -> Result<Transport, Fault> {
    match command_words(address) {
        Some(_) => Ok(Transport::Exec { command: address.to_owned() }),
        None => Err(bad("exec", address, "a program and its arguments, every quote closed")),
    }
}

impl Transport {
    /// Whether other hosts reach the line.
    pub(super) fn is_public(&self) -> bool {
        matches!(self, Self::Tcp { public: true, .. })
    }

    /// Whether it connects to its peer.
    pub(super) fn dials(&self) -> bool {
        matches!(self, Self::Unix { connect: true, .. } | Self::Tcp { listen: false, .. })
    }

    /// Sets the permission bits of what it makes.
    pub(super) fn set_mode(&mut self, mode: u32) -> Result<(), Fault> {
        let why = match self {
            Self::Unix { connect: true, .. } => MADE_THERE,
            Self::Unix { access, .. } | Self::Pty { access, .. } | Self::Pipe { access, .. } => {
                access.set_mode(mode);
                return Ok(());
            }
            Self::Tcp { .. } | Self::Serial(_) | Self::Fd(_) | Self::Exec { .. } => "where nothing is made",
        };
        Err(Fault::new(format!("key \"mode\" means nothing {why}")))
    }

    /// `PATH.in`, which QEMU reads, and `PATH.out`, which it writes.
    pub fn fifos(path: &Path) -> [PathBuf; 2] {
        ["in", "out"].map(|end| PathBuf::from(format!("{}.{end}", path.display())))
    }

    /// The part behind the kind's colon: `unix:/tmp/slip.sock`.
    pub(super) fn target(&self) -> String {
        match self {
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
            Self::Pty { path, .. } => format!("pty:{}", path.display()),
            Self::Tcp { addr, .. } => format!("tcp:{addr}"),
            Self::Serial(uart) => format!("serial:{}@{}", uart.device.display(), uart.baud),
            Self::Pipe { path, .. } => format!("pipe:{}", path.display()),
            Self::Fd(number) => format!("fd:{number}"),
            Self::Exec { command } => format!("exec:{command}"),
        }
    }

    /// The name of a port that was given none.
    pub(super) fn default_name(&self, kind: &str) -> String {
        let file = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = match self {
            Self::Unix { path, .. } | Self::Pty { path, .. } | Self::Pipe { path, .. } => file(path),
            Self::Serial(uart) => file(&uart.device),
            Self::Tcp { addr, .. } => format!("{kind}-{}-{}", addr.host, addr.port),
            Self::Fd(number) => format!("{kind}-fd{number}"),
            Self::Exec { command } => {
                file(Path::new(command_words(command).unwrap_or_default().first().map_or("", String::as_str)))
            }
        };
        value::name_from(&name)
    }

    /// Writes its keys, leaving out what is the default.
    pub(super) fn write(&self, out: &mut Writer) {
        let flags: &[(&str, bool)] = match self {
            Self::Unix { connect, .. } => &[("connect", *connect)],
            Self::Tcp { listen, public, .. } => &[("listen", *listen), ("public", *public)],
            Self::Serial(uart) => {
                uart.write(out);
                &[]
            }
            Self::Pty { .. } | Self::Pipe { .. } | Self::Fd(_) | Self::Exec { .. } => &[],
        };
        flags.iter().filter(|(_, on)| *on).for_each(|(word, _)| out.flag(word));
        if let Self::Unix { access, .. } | Self::Pty { access, .. } | Self::Pipe { access, .. } = self {
            access.write(out);
        }
    }

    /// Its exclusive resources in the process.
    pub(super) fn claims(&self) -> Vec<String> {
        match self {
            Self::Unix { path, connect: false, .. } | Self::Pty { path, .. } => vec![claim(path)],
            Self::Tcp { addr, listen: true, .. } if addr.port != 0 => vec![format!("TCP address {addr}")],
            Self::Serial(uart) => vec![claim(&uart.device)],
            Self::Pipe { path, .. } => Self::fifos(path).iter().map(|path| claim(path)).collect(),
            Self::Fd(number) => vec![format!("descriptor {number}")],
            Self::Unix { .. } | Self::Tcp { .. } | Self::Exec { .. } => Vec::new(),
        }
    }

    /// The command that attaches a peer: for QEMU its second serial port, because the first is the console.
    pub(super) fn attach(&self) -> Option<Attach> {
        let qemu = |chardev: String| Attach::new("QEMU", format!("-serial mon:stdio -serial {}", shell(&chardev)));
        match self {
            Self::Unix { path, connect, .. } => {
                let server = if *connect { ",server=on,wait=off" } else { "" };
                qemu(format!("unix:{}{server}", escape(&absolute(path))))
            }
            Self::Pipe { path, .. } => qemu(format!("pipe:{}", escape(&absolute(path)))),
            Self::Tcp { addr, listen, .. } => {
                let server = if *listen { "" } else { ",server=on,wait=off" };
                qemu(format!("tcp:{addr}{server}"))
            }
            Self::Pty { path, .. } => Attach::new("the program's serial device", shell(&absolute(path)).into()),
            Self::Serial(_) | Self::Fd(_) | Self::Exec { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Parity, PortKind, PortSpec};

    fn transport(text: &str) -> Transport {
        match PortSpec::parse(text).unwrap().kind {
            PortKind::Slip(slip) => slip.transport,
            PortKind::Wpan(wpan) => wpan.transport,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(text: &str) -> String {
        PortSpec::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_row_has_a_form_that_parses() {
        for (row, target) in TRANSPORTS.iter().zip([
            "unix:/tmp/slip.sock",
            "pty:/tmp/slip.dev",
            "tcp:127.0.0.1:4000",
            "serial:/dev/ttyUSB0",
            "pipe:/tmp/p",
            "fd:3",
            "exec:cat",
        ]) {
            assert!(target.starts_with(row.word), "{}", row.form());
            for kind in ["slip", "wpan"] {
                let port = PortSpec::parse(&format!("{kind}:{target}")).unwrap();
                assert_eq!(PortSpec::parse(&port.canonical()), Ok(port));
            }
        }
    }

    #[test]
    fn lines_of_a_uart_are_set_by_keys() {
        let plain = Uart {
            device: "/dev/ttyUSB0".into(),
            baud: 115_200,
            parity: Parity::None,
            two_stop_bits: false,
            rtscts: false,
        };
        assert_eq!(transport("slip:serial:/dev/ttyUSB0"), Transport::Serial(plain.clone()));
        let text = "slip:serial:/dev/ttyUSB0@9600,parity=even,stop=2,rtscts";
        let other = Uart { baud: 9600, parity: Parity::Even, two_stop_bits: true, rtscts: true, ..plain };
        assert_eq!(transport(text), Transport::Serial(other));
        assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        assert!(refusal("slip:serial:/dev/ttyUSB0@49").contains("BAUD a number from 50 to 12000000"));
        assert!(refusal("slip:serial:/dev/ttyUSB0,parity=mark").contains("none, even or odd"));
    }

    #[test]
    fn a_slow_line_has_a_short_queue() {
        let queue = |text: &str| PortSpec::parse(text).unwrap().kind.queue();
        assert_eq!(queue("slip:serial:/dev/ttyUSB0@9600"), 16);
        assert_eq!(queue("wpan:serial:/dev/ttyUSB0@1000000"), 66);
        assert_eq!(queue("slip:serial:/dev/ttyUSB0@12000000"), 256);
        assert_eq!(queue("slip:unix:/tmp/slip.sock"), 256);
        assert_eq!(queue("unix:/tmp/inst1"), crate::limits::QUEUE_FRAMES);
    }

    #[test]
    fn keys_of_another_transport_are_refused() {
        assert!(refusal("slip:pty:/tmp/a,connect").contains("means nothing with pty:"));
        assert!(refusal("slip:unix:/tmp/a,stop=2").contains("means nothing with unix:"));
        assert!(refusal("wpan:pipe:/tmp/a,public").contains("means nothing with pipe:"));
        assert!(refusal("slip:tcp:192.0.2.1:4000").contains("add the key public"));
    }

    #[test]
    fn unknown_transports_name_the_nearest() {
        assert!(refusal("slip:unx:/tmp/a").contains("unknown transport \"unx\"; the nearest is \"unix\""));
        assert!(refusal("slip:/tmp/a").contains("names no transport"));
        assert!(refusal("slip:fd:2").contains("a number from 3"));
    }

    #[test]
    fn commands_are_words_and_no_shell() {
        assert_eq!(command_words("ssh 'my host' cat").unwrap(), ["ssh", "my host", "cat"]);
        assert_eq!(command_words("echo $HOME; true").unwrap(), ["echo", "$HOME;", "true"]);
        assert_eq!((command_words("a 'b"), command_words(" "), command_words("''")), (None, None, None));
        assert_eq!(PortSpec::parse("slip:exec:/usr/bin/socat - /dev/ttyS0,,raw").unwrap().name, "socat");
    }

    #[test]
    fn lines_for_qemu() {
        let line = |text: &str| PortSpec::parse(text).unwrap().attach_hint().unwrap().to_string();
        assert_eq!(line("slip:unix:/tmp/slip.sock"), "QEMU: -serial mon:stdio -serial unix:/tmp/slip.sock");
        assert_eq!(line("wpan:pipe:/tmp/node1"), "QEMU: -serial mon:stdio -serial pipe:/tmp/node1");
        let server = "QEMU: -serial mon:stdio -serial tcp:127.0.0.1:4000,server=on,wait=off";
        assert_eq!(line("slip:tcp:127.0.0.1:4000"), server);
        assert_eq!(line("slip:pty:/tmp/slip.dev"), "the program's serial device: /tmp/slip.dev");
    }

    #[test]
    fn only_what_is_made_or_opened_alone_is_claimed() {
        let claims = |text: &str| PortSpec::parse(text).unwrap().kind.text().claims();
        assert_eq!(claims("wpan:pipe:/tmp/n"), ["path /tmp/n.in", "path /tmp/n.out"]);
        assert!(claims("slip:unix:/tmp/a,connect").is_empty());
        assert_eq!(claims("slip:serial:/dev/ttyS0@9600"), claims("wpan:serial:/dev/ttyS0"));
    }
}
