//! `unix:PATH`, `unixgram:PATH`, `unixseq:PATH`: frames on UNIX sockets, as QEMU, passt, socket_vmnet and VDE plugs
//! speak them.

use std::path::{Path, PathBuf};

use super::{Attach, KeyRow, KindRow, KindText, PortKind, absolute, bad_target};
use crate::config::grammar::{Fault, Keys, Writer, escape};
use crate::config::text::shell;
use crate::config::value;

/// The permission bits of a socket that is bound: this user alone.
pub const DEFAULT_MODE: u32 = 0o600;

const CONNECT: KeyRow =
    KeyRow { word: "connect", value: None, repeatable: false, summary: "dial instead of listening, and keep dialling" };

const MODE: KeyRow = KeyRow {
    word: "mode",
    value: Some("OCTAL"),
    repeatable: false,
    summary: "permission bits of the socket (default: 0600)",
};

pub(super) static STREAM: KindRow = KindRow {
    word: "unix",
    target: "PATH",
    summary: "UNIX stream socket, length before each frame (QEMU, passt)",
    keys: &[CONNECT, MODE],
    example: "unix:/tmp/inst1",
    note: "It listens, and each client that connects becomes a port of its own: inst1, inst1#2 and so on. The length \
           has 4 bytes, big-endian, as QEMU -netdev stream, passt and socket_vmnet have it. A QEMU from 8.0 on comes back after a restart of zbridge with reconnect=1 added to its \
           -netdev (9.2 and later: reconnect-ms=1000); one that is told server=on and dialled with connect always does.",
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
            summary: "the peer's socket (default: whoever sent last)",
        },
        MODE,
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
    keys: &[CONNECT, MODE],
    example: "unixseq:/tmp/inst1",
    note: "It listens as unix does, each client a port of its own, but packets keep the frames apart.",
    choices: None,
    parse: parse_seq,
};

/// Length-prefixed frames on a SOCK_STREAM socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixStream {
    /// The path that is listened on or dialled.
    pub path: PathBuf,
    /// Dial instead of listening.
    pub connect: bool,
    /// Permission bits of a socket that listens; [`DEFAULT_MODE`] when it dials.
    pub mode: u32,
}

/// One frame a datagram on a SOCK_DGRAM socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixGram {
    /// The path that is bound.
    pub path: PathBuf,
    /// Where frames are sent; `None`: to whoever sent the last one.
    pub peer: Option<PathBuf>,
    /// Permission bits of the bound socket.
    pub mode: u32,
}

/// One frame a packet on a SOCK_SEQPACKET socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnixSeq {
    /// The path that is listened on or dialled.
    pub path: PathBuf,
    /// Dial instead of listening.
    pub connect: bool,
    /// Permission bits of a socket that listens; [`DEFAULT_MODE`] when it dials.
    pub mode: u32,
}

fn path(row: &KindRow, target: &str) -> Result<PathBuf, Fault> {
    value::sun_path(target).map_err(|form| bad_target(row, target, &form))
}

/// `connect` and `mode`, which excludes it.
fn connect_and_mode(keys: &mut Keys) -> Result<(bool, u32), Fault> {
    let connect = keys.flag("connect")?.unwrap_or(false);
    if connect {
        keys.refuse("mode", "with connect: the other end makes the socket")?;
    }
    Ok((connect, keys.value("mode", value::mode)?.unwrap_or(DEFAULT_MODE)))
}

fn parse_stream(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let path = path(&STREAM, target)?;
    let (connect, mode) = connect_and_mode(keys)?;
    Ok(PortKind::Unix(UnixStream { path, connect, mode }))
}

fn parse_seq(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let path = path(&SEQ, target)?;
    let (connect, mode) = connect_and_mode(keys)?;
    Ok(PortKind::UnixSeq(UnixSeq { path, connect, mode }))
}

fn parse_gram(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let path = path(&GRAM, target)?;
    let peer = keys.value("peer", value::sun_path)?;
    if peer.as_ref() == Some(&path) {
        return Err(Fault::new("the peer's socket is the port's own").hint("each end is bound to a path of its own"));
    }
    let mode = keys.value("mode", value::mode)?.unwrap_or(DEFAULT_MODE);
    Ok(PortKind::UnixGram(UnixGram { path, peer, mode }))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| value::name_from(&name.to_string_lossy())).unwrap_or_default()
}

fn write_keys(out: &mut Writer, connect: bool, mode: u32) {
    if connect {
        out.flag("connect");
    }
    if mode != DEFAULT_MODE {
        out.value("mode", format_args!("{mode:04o}"));
    }
}

/// The path of a bound socket; `//` and `/./` make no difference.
pub(super) fn claim(path: &Path) -> String {
    format!("path {}", path.components().collect::<PathBuf>().display())
}

impl KindText for UnixStream {
    fn row(&self) -> &'static KindRow {
        &STREAM
    }

    fn target(&self) -> String {
        self.path.display().to_string()
    }

    fn default_name(&self) -> String {
        name_of(&self.path)
    }

    fn write(&self, out: &mut Writer) {
        write_keys(out, self.connect, self.mode);
    }

    fn claims(&self) -> Vec<String> {
        if self.connect { Vec::new() } else { vec![claim(&self.path)] }
    }

    /// Accepted by every QEMU that has the stream netdev, which is 7.2.
    fn attach(&self, name: &str) -> Option<Attach> {
        let server = if self.connect { "on" } else { "off" };
        let path = escape(&absolute(&self.path));
        Attach::qemu(name, "stream", &format!("server={server},addr.type=unix,addr.path={path}"))
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
        write_keys(out, false, self.mode);
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

impl KindText for UnixSeq {
    fn row(&self) -> &'static KindRow {
        &SEQ
    }

    fn target(&self) -> String {
        self.path.display().to_string()
    }

    fn default_name(&self) -> String {
        name_of(&self.path)
    }

    fn write(&self, out: &mut Writer) {
        write_keys(out, self.connect, self.mode);
    }

    fn claims(&self) -> Vec<String> {
        if self.connect { Vec::new() } else { vec![claim(&self.path)] }
    }

    fn attach(&self, _name: &str) -> Option<Attach> {
        let other = if self.connect { "" } else { ",connect" };
        let spec = format!("unixseq:{}{other}", escape(&absolute(&self.path)));
        Attach::new("zbridge", format!("zbridge --port {}", shell(&spec)))
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
        assert!(what("unixgram:/tmp/a,peer=/tmp/a").contains("the port's own"));
        assert!(what(&format!("unix:/{}", "p".repeat(107))).contains("1 to 107 bytes (it has 108)"));
    }
}
