//! Starts programs in namespaces of their own, each with its network, and with no rights beyond those needed there, for
//! root's programs, too ([`Spec::privileged`]).
//!
//! Theory of operation. [`start`] runs zbridge itself once more ([`take_over`]). That process, the *stage*, has one
//! thread and moves into new namespaces: user (not for one who may do all this anyway), network, mount, PID. It makes
//! the interfaces there, and sends a descriptor of each back: of a TAP that the program will open, a packet socket on
//! it; of an interface that is for the program itself (`--host`), the TAP. These are ports for the switch: frames pass
//! through no further process. Then it splits. The new half is PID 1 of the new PID namespace, the *init*: it starts
//! the program, reaps orphans, delivers signals and tells how the program ended. The stage stays as the only child
//! that the caller can see.
//!
//! ```text
//! zbridge ── stage ─┊─ init (1) ── program (2) ── …      ┊ user, network, mount and PID namespace
//!    └───── socket ─┊────┘            └ /dev/net/tun: zeth
//!    └─ packet socket ─── zeth ───────┘
//! ```
//!
//! A program that makes a TAP of its own (one whose name it leaves to the kernel, `tap%d`, or a second one) has it on the
//! switch as well: the init takes it over (`adopt.rs`).
//!
//! Where the program's address comes from the network ([`Host::dhcp`]), the init asks for it before it starts the
//! program, and goes on asking beside it (`dhcp.rs`); the caller has made ports of the interfaces by then.
//!
//! One socket joins caller and init (`talk.rs`). When the caller dies, however it does, the socket ends; the init ends
//! with it, and the kernel ends all that is left in the namespace. When the program ends, so does what it left behind, but
//! not what it has sent: the init stays until that has arrived (`drain.rs`).
//! A stage that is killed takes the init along (PR_SET_PDEATHSIG).
//!
//! The program shares the caller's process group and terminal ([`Output::Inherit`]), so that a shell sees one job:
//! keys for signals, stop and continue work as if zbridge were not there.

mod adopt;
mod asker;
mod child;
mod dhcp;
mod drain;
mod explain;
mod init;
mod ipv6;
mod network;
mod program;
mod stage;
mod talk;
mod watch;

pub use child::{Child, exit_code};
pub use explain::{in_container, obstacles, setting};
pub use program::check as check_program;
pub use stage::take_over;
pub use watch::Watch;

pub use crate::config::Host;
use crate::config::{self, IpPeer, PortKind, PortSpec};
use crate::error::{Class, Error, Result};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout};

/// The TAP that a program gets unless something else is said: what Zephyr's native_sim opens.
pub const DEFAULT_TAP: &str = "zeth";

/// A program to be started, and its network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name in messages.
    pub name: String,
    /// The program and its arguments; one word at least. Without a slash it is looked for in PATH.
    pub command: Vec<OsString>,
    /// Variables that are added to its environment, which is the caller's otherwise.
    pub env: Vec<(OsString, OsString)>,
    /// Where it runs; `None`: where the caller does.
    pub cwd: Option<PathBuf>,
    /// The network namespace that it is in.
    pub namespace: Namespace,
    /// Its unique identity on a network, from which the MAC addresses of its interfaces are derived, so that they stay
    /// the same at its next start.
    pub identity: String,
    /// Its standard streams.
    pub output: Output,
    /// It keeps all rights of the caller. Otherwise it has those that it needs in its network namespace (`init`), root's
    /// too, and never gets more.
    pub privileged: bool,
    /// The option for a TUN, for hints: `--tun=NAME`, with NAME to be replaced.
    pub tun_words: &'static str,
}

impl Spec {
    /// Will start `command` with the TAP [`DEFAULT_TAP`], on the caller's terminal.
    pub fn new(name: &str, command: Vec<OsString>) -> Self {
        let namespace = Namespace::Own(Interfaces { taps: vec![DEFAULT_TAP.to_owned()], ..Interfaces::default() });
        let (env, output, tun_words) = (Vec::new(), Output::Inherit, "--tun=NAME");
        let privileged = false;
        let identity = name.to_owned();
        Self { name: name.to_owned(), identity, command, env, cwd: None, namespace, output, privileged, tun_words }
    }

    /// Whether the program waits until the network has given it an address.
    fn asks_for_address(&self) -> bool {
        matches!(&self.namespace, Namespace::Own(Interfaces { host: Some(host), .. }) if host.dhcp)
    }
}

/// The network namespace of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Namespace {
    /// Its own, with these interfaces beside the loopback interface.
    Own(Interfaces),
    /// The caller's, as it is: for a program that reaches the switch in a way of its own.
    Shared,
}

/// The interfaces of a program. Each becomes an [`InterfaceEnd`], in this order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interfaces {
    /// TAPs of these names, which the program opens itself. With at least one, TAPs of other names that it makes become
    /// links as well ([`Child::links`]).
    pub taps: Vec<String>,
    /// TUNs of these names, and who is behind each: for a program that opens one and speaks bare IP.
    pub tuns: Vec<(String, IpPeer)>,
    /// An interface for the program's own sockets.
    pub host: Option<Host>,
}

impl Interfaces {
    /// The names of all of them, in the order of their links.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let tuns = self.tuns.iter().map(|(name, _)| name);
        self.taps.iter().chain(tuns).chain(self.host.iter().map(|host| &host.ifname)).map(String::as_str)
    }
}

/// The standard streams of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Output {
    /// The caller's, with its terminal and its process group.
    Inherit,
    /// Output and errors are for the caller to read, the input is empty. It has a process group of its own, so that
    /// keys at the terminal are the caller's to handle.
    Piped,
}

/// The end of a started program's interface.
#[derive(Debug)]
pub struct InterfaceEnd {
    /// The interface's name there.
    pub ifname: String,
    /// The kind of the descriptor.
    pub kind: InterfaceKind,
    /// The peer behind it, if it is a TUN.
    pub peer: IpPeer,
    /// The descriptor; see [`crate::engine::Bridge::adopt_port`].
    pub fd: OwnedFd,
}

/// The kind of an [`InterfaceEnd`]'s descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum InterfaceKind {
    /// A packet socket on the TAP that the program opens.
    Packet,
    /// A packet socket on the TUN that the program opens.
    Tun,
    /// A TAP of which the program has the other end.
    Tap,
}

impl InterfaceEnd {
    /// The specification of the port that it is to become, with `name`. A text of more keys than a name's can be parsed
    /// by [`PortSpec::parse`] and given this one's `kind`.
    pub fn port(&self, name: &str) -> PortSpec {
        let kind = match self.kind {
            InterfaceKind::Packet => PortKind::Packet(config::Packet::new(&self.ifname)),
            InterfaceKind::Tun => {
                PortKind::Packet(config::Packet { ip: Some(self.peer.clone()), ..config::Packet::new(&self.ifname) })
            }
            InterfaceKind::Tap => PortKind::Tap(config::Tap::new(&self.ifname)),
        };
        let optional = self.may_wait();
        PortSpec { name: name.to_owned(), optional, ..PortSpec::new(kind) }
    }

    /// Whether its port stays while the interface is gone: the program may make it anew, under whatever name.
    pub fn may_wait(&self) -> bool {
        self.kind != InterfaceKind::Tap
    }
}

/// A program that was started.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub child: Child,
    /// Tells whether it opens its TAPs.
    pub watch: Watch,
    /// Its standard output, with [`Output::Piped`].
    pub stdout: Option<ChildStdout>,
    /// Its standard error, with [`Output::Piped`].
    pub stderr: Option<ChildStderr>,
}

/// Why a program was not started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotStarted {
    /// What failed, and what to do about it.
    pub error: Error,
    /// The exit status that tells it: 127 for a program that is not there, 126 for one that cannot be run, as a shell
    /// has it, else the error's own.
    pub status: u8,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> Self {
        Self { status: error.class().code(), error }
    }
}

impl From<NotStarted> for Error {
    fn from(failed: NotStarted) -> Self {
        failed.error
    }
}

/// Starts a program. `attach` gets its interfaces, in the order asked for, and makes ports of them; the namespace lives as
/// long as these do. Where the program needs an address from the network first ([`Host::dhcp`]) it starts after that,
/// and [`Child::wait_start`] waits for it; otherwise it runs when this returns.
///
/// Any thread may call it. The calling program must call [`take_over`] first thing in its `main`.
///
/// # Errors
/// No such program, no namespaces (which setting forbids them), no /dev/net/tun, a bad name or address; what `attach`
/// fails with. Nothing is left behind.
pub fn start(spec: &Spec, mut attach: impl FnMut(Vec<InterfaceEnd>) -> Result<()>) -> Result<Launched, NotStarted> {
    program::check(spec)?;
    check(spec)?;
    match child::begin(spec, true, &mut attach) {
        Err(child::Failed::NoProc) => {
            log::debug!("{}: /proc cannot be mounted here: it gets no PID namespace of its own", spec.name);
            child::begin(spec, false, &mut attach)
        }
        other => other,
    }
    .map_err(|failed| match failed {
        child::Failed::NoProc => Error::new(Class::Runtime, "/proc cannot be mounted").into(),
        child::Failed::Because(failed) => failed,
    })
}

/// Refuses an impossible specification.
fn check(spec: &Spec) -> Result<()> {
    let Namespace::Own(interfaces) = &spec.namespace else { return Ok(()) };
    let names: Vec<&str> = interfaces.names().collect();
    for (index, name) in names.iter().enumerate() {
        crate::port::interface::check_name(&format!("tap:{name}"), name)?;
        if *name == "lo" || names[..index].contains(name) {
            return Err(Error::usage(format!("tap:{name}: there is an interface of this name already")));
        }
    }
    if names.len() > talk::MOST_LINKS {
        return Err(Error::usage(format!("{} interfaces: a program gets {} at most", names.len(), talk::MOST_LINKS)));
    }
    Ok(())
}
