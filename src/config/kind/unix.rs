//! `unix:PATH`, `unixgram:PATH`, `unixseq:PATH`: frames on UNIX sockets, as QEMU, passt, socket_vmnet and VDE plugs
//! speak them.

use std::path::{Path, PathBuf};

use super::access::{Access, GROUP, MODE, USER};
use super::{Attach, KeyRow, KindRow, KindText, PortKind, absolute, bad_target};
use crate::config::grammar::{Fault, Keys, Writer, escape};
use crate::config::text::shell;
use crate::config::value;
use crate::limits::PORTS_MAX;

const CONNECT: KeyRow = KeyRow {
    word: "connect",
    value: None,
    repeatable: false,
    live: false,
    summary: "dial instead of listening, and keep dialling",
};

/// How many clients a listener has at once.
pub(super) const CLIENTS: KeyRow = KeyRow {
    word: "clients",
    value: Some("N"),
    repeatable: false,
    live: false,
    summary: "clients at once, the others are turned away, 1 to 16384 (default: as many as there are descriptors for)",
};

/// The value of [`CLIENTS`], which means nothing to a port that dials.
pub(super) fn clients(keys: &mut Keys, dials: Option<&str>) -> Result<Option<usize>, Fault> {
    if let Some(why) = dials {
        keys.refuse("clients", why)?;
    }
    keys.value("clients", |text| value::number(text, 1..=PORTS_MAX))
}

pub(super) static STREAM: KindRow = KindRow {
    word: "unix",
    target: "PATH",
    summary: "UNIX stream socket, length before each frame (QEMU, passt)",
    keys: &[CONNECT, MODE, USER, GROUP, CLIENTS],
    example: "unix:/tmp/inst1",
    note: "It listens, and each client that connects becomes a port of its own: inst1#1, inst1#2 and so on. The length \
           has 4 bytes, big-endian, as QEMU -netdev stream, passt and socket_vmnet have it. A QEMU from 8.0 on comes \
           back after a restart of zbridge with reconnect=1 added to its -netdev (9.2 and later: reconnect-ms=1000); one \
           that is told server=on and dialled with connect always does.",
    choices: None,
    parse: parse_stream,
};

pub(super) static GRAM: KindRow = KindRow {
    word: "unixgram",
    target: "PATH",
    summary: "UNIX datagram socket, one frame a datagram (QEMU)",
    keys: &[
        KeyRow {
            word: "peer",
            value: Some("PATH"),
            repeatable: false,
            live: false,
            summary: "the peer's socket (default: whoever sent last)",
        },
        MODE,
        USER,
        GROUP,
    ],
    example: "unixgram:/tmp/inst1,peer=/tmp/inst1.qemu",
    note: "What QEMU calls -netdev dgram. Both ends are bound to a path of their own.",
    choices: None,
    parse: parse_gram,
};

pub(super) static SEQ: KindRow = KindRow {
    word: "unixseq",
    target: "PATH",
    summary: "UNIX SOCK_SEQPACKET socket, one frame a packet",
    keys: &[CONNECT, MODE, USER, GROUP, CLIENTS],
    example: "unixseq:/tmp/inst1",
    note: "It listens as unix does, each client a port of its own, but packets keep the frames apart.",
    choices: None,
    parse: parse_seq,
};

/// How a connected socket keeps frames apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// A length before each, on SOCK_STREAM.
    Prefix,
    /// One frame a packet, on SOCK_SEQPACKET.
    Packets,
}

/// A socket that listens, each client a port of its own, or dials.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UnixSocket {
    /// How it keeps frames apart.
    pub framing: Framing,
    /// The path that is listened on or dialled.
    pub path: PathBuf,
    /// Dial instead of listening.
    pub connect: bool,
    /// Who may use a socket that listens.
    pub access: Access,
    /// Clients at once, 1..=[`PORTS_MAX`]; `None`: as many as there can be.
    pub clients: Option<usize>,
}

impl UnixSocket {
    /// A stream socket that listens on `path`, for its own user, or dials it with `connect`.
    pub fn stream(path: impl Into<PathBuf>, connect: bool) -> Self {
        Self { framing: Framing::Prefix, path: path.into(), connect, access: Access::default(), clients: None }
    }
}

/// One frame a datagram on a SOCK_DGRAM socket.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct UnixGram {
    /// The path that is bound.
    pub path: PathBuf,
    /// Where frames are sent; `None`: to whoever sent the last one.
    pub peer: Option<PathBuf>,
    /// Who may use the bound socket.
    pub access: Access,
}

fn path(row: &KindRow, target: &str) -> Result<PathBuf, Fault> {
    value::sun_path(target).map_err(|form| bad_target(row, target, &form))
}

fn parse_stream(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    parse_socket(Framing::Prefix, path(&STREAM, target)?, keys)
}

fn parse_seq(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    parse_socket(Framing::Packets, path(&SEQ, target)?, keys)
}

/// `connect` excludes who may use the socket, and how many clients.
fn parse_socket(framing: Framing, path: PathBuf, keys: &mut Keys) -> Result<PortKind, Fault> {
    let connect = keys.flag("connect")?.unwrap_or(false);
    let clients = clients(keys, connect.then_some("with connect: it has one peer"))?;
    let access = if connect {
        Access::refuse(keys, "with connect: the other end makes the socket")?;
        Access::default()
    } else {
        Access::take(keys)?
    };
    Ok(PortKind::Unix(UnixSocket { framing, path, connect, access, clients }))
}

fn parse_gram(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let path = path(&GRAM, target)?;
    let peer = keys.value("peer", value::sun_path)?;
    if peer.as_ref() == Some(&path) {
        return Err(Fault::new("the peer's socket is the port's own").hint("each end is bound to a path of its own"));
    }
    Ok(PortKind::UnixGram(UnixGram { path, peer, access: Access::take(keys)? }))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| value::name_from(&name.to_string_lossy())).unwrap_or_default()
}

/// The path of a bound socket; `//` and `/./` make no difference.
pub(super) fn claim(path: &Path) -> String {
    format!("path {}", path.components().collect::<PathBuf>().display())
}

impl KindText for UnixSocket {
    fn row(&self) -> &'static KindRow {
        match self.framing {
            Framing::Prefix => &STREAM,
            Framing::Packets => &SEQ,
        }
    }

    fn target(&self) -> String {
        self.path.display().to_string()
    }

    fn default_name(&self) -> String {
        name_of(&self.path)
    }

    fn write(&self, out: &mut Writer) {
        if self.connect {
            out.flag("connect");
        }
        self.access.write(out);
        out.option("clients", self.clients);
    }

    fn claims(&self) -> Vec<String> {
        if self.connect { Vec::new() } else { vec![claim(&self.path)] }
    }

    fn attach(&self, name: &str) -> Option<Attach> {
        let path = escape(&absolute(&self.path));
        match self.framing {
            // Accepted by every QEMU that has the stream netdev, which is 7.2.
            Framing::Prefix => {
                let server = if self.connect { "on" } else { "off" };
                Attach::qemu(name, "stream", &format!("server={server},addr.type=unix,addr.path={path}"))
            }
            Framing::Packets => {
                let other = if self.connect { "" } else { ",connect" };
                Attach::new("zbridge", format!("zbridge --port {}", shell(&format!("unixseq:{path}{other}"))))
            }
        }
    }
}

impl KindText for UnixGram {
    fn row(&self) -> &'static KindRow {
        &GRAM
    }

    fn target(&self) -> String {
        self.path.display().to_string()
    }

    fn default_name(&self) -> String {
        name_of(&self.path)
    }

    fn write(&self, out: &mut Writer) {
        out.option("peer", self.peer.as_ref().map(|peer| peer.display()));
        self.access.write(out);
    }

    fn claims(&self) -> Vec<String> {
        vec![claim(&self.path)]
    }

    fn attach(&self, name: &str) -> Option<Attach> {
        let own = absolute(&self.path);
        let peer = self.peer.as_ref().map_or_else(|| format!("{own}.qemu"), |peer| absolute(peer));
        let (own, peer) = (escape(&own), escape(&peer));
        let settings = format!("local.type=unix,local.path={peer},remote.type=unix,remote.path={own}");
        Attach::qemu(name, "dgram", &settings)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::PortSpec;
    use crate::wire::Mac;

    fn line(text: &str) -> String {
        PortSpec::parse(text).unwrap().attach_hint().unwrap().to_string()
    }

    /// Each of these was accepted by QEMU 7.2.
    #[test]
    fn lines_for_qemu() {
        let stream = "QEMU: -netdev stream,id=a,server=off,addr.type=unix,addr.path=/tmp/a \
                      -net nic,netdev=a,macaddr=MAC";
        let stream = stream.replace("MAC", &Mac::made_of("a").to_string());
        assert_eq!(line("unix:/tmp/a"), stream);
        assert_eq!(line("unix:/tmp/a,connect"), stream.replace("off", "on"));
        assert_eq!(
            line("unixgram:/tmp/a"),
            format!(
                "QEMU: -netdev dgram,id=a,local.type=unix,local.path=/tmp/a.qemu,remote.type=unix,remote.path=/tmp/a \
                 -net nic,netdev=a,macaddr={}",
                Mac::made_of("a")
            )
        );
        assert!(line("unixgram:/tmp/a,peer=/tmp/b").contains("local.path=/tmp/b,"));
    }

    #[test]
    fn lines_are_quoted_twice() {
        let line = line("unix:/tmp/it's a,,b");
        assert!(line.contains(r"addr.path=/tmp/it'\''s a,,b' -net nic,netdev=it-s-a-b,"), "{line}");
    }

    #[test]
    fn zbridge_is_the_peer_of_a_packet_socket() {
        assert_eq!(line("unixseq:/tmp/a"), "zbridge: zbridge --port unixseq:/tmp/a,connect");
        assert_eq!(line("unixseq:/tmp/a,connect"), "zbridge: zbridge --port unixseq:/tmp/a");
    }

    #[test]
    fn only_a_bound_path_is_claimed() {
        let claims = |text: &str| PortSpec::parse(text).unwrap().kind.text().claims();
        assert_eq!(claims("unix:/tmp//./a"), claims("unixgram:/tmp/a"));
        assert!(claims("unixseq:/tmp/a,connect").is_empty());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let what = |text: &str| PortSpec::parse(text).unwrap_err().what().to_owned();
        assert!(what("unix:/tmp/a,connect,mode=0660").contains("means nothing with connect"));
        assert!(what("unix:/tmp/a,connect,clients=4").contains("means nothing with connect"));
        assert!(what("unixseq:/tmp/a,clients=0").contains("a number from 1 to 16384"));
        assert!(what("unixgram:/tmp/a,peer=/tmp/a").contains("the port's own"));
        assert!(what(&format!("unix:/{}", "p".repeat(107))).contains("1 to 107 bytes (it has 108)"));
    }
}
