//! One configured instance: a program that belongs to a bench, a table `[[instance]]` of its file.
//!
//! An instance has no form on the command line, so its words come from the file alone ([`InstanceSpec::from_words`]).
//! Dependencies are checked over all instances (`order.rs`).

mod network;

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::bytes::Regex;

use super::bend::{self, Bend};
use super::grammar::{Fault, Key, Keys};
use super::kind::KeyRow;
use super::port::{DEFAULT_SWITCH, PortSpec, rewrite};
use super::value;
use crate::wire::{Cidr, Rule};
use network::network;

pub use network::{DEFAULT_HOST, Host, HostAddr, Network, port_name};

/// How long an instance may take to become ready, unless said.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The keys of an instance.
pub static INSTANCE_KEYS: &[KeyRow] = &[
    row("name", "NAME", "what it is called in output and in `after`; its port has the same name"),
    row(
        "count",
        "N",
        "start N of them, NAME1, NAME2 …; {i} in any value is the number, {i+10} ten more, {{i}} a literal {i}",
    ),
    row("command", "WORDS", "the program and its arguments, split as a shell does; or a list of words"),
    KeyRow {
        repeatable: true,
        live: false,
        ..row(
            "tap",
            "IFNAME",
            "the interface it opens, made in a network namespace of its own; keys of a port may follow. Those that it \
             makes of other names are on the switch as well",
        )
    },
    KeyRow {
        repeatable: true,
        live: false,
        ..row(
            "tun",
            "IFNAME",
            "the TUN it opens, if it speaks bare IP; may have ip=, gateway= and mac= behind it, as packet:…,mode=ip",
        )
    },
    KeyRow {
        repeatable: true,
        live: false,
        ..row("host", "CIDR|dhcp", "an interface with this address, or one from the switch, for any host tool")
    },
    row("iface", "NAME", "with host: what that interface is called (default: eth0)"),
    KeyRow { repeatable: true, live: false, ..row("gateway", "ADDR", "with host: the router of its default route") },
    KeyRow { repeatable: true, live: false, ..row("dns", "ADDR", "with host: its name server") },
    row("qemu", "on|MODEL", "instead: add the arguments that attach a QEMU, with its usual network card or this one"),
    row("mac", "MAC", "with qemu: the card's address (default: one made of the name)"),
    KeyRow {
        repeatable: true,
        live: false,
        ..row(
            "rewrite",
            "RULE",
            "other addresses on the switch, for copies of one image: mac, mac=OLD:NEW or ip=OLD:NEW",
        )
    },
    row("tx.KEY", "VALUE", "impairments of what its ports are sent; rx. of what they send, both.: zbridge help impair"),
    row("switch", "NAME", "the switch that it joins (default: default)"),
    KeyRow {
        repeatable: true,
        live: false,
        ..row("env", "NAME=VALUE", "a variable of its environment; or a table of them")
    },
    row("cwd", "FOLDER", "where it runs (default: where zbridge was started)"),
    KeyRow {
        repeatable: true,
        live: false,
        ..row("after", "NAME", "start it when that instance is ready, stop it before that one")
    },
    row("ready", "HOW", "log REGEX, ping ADDR or tcp ADDR:PORT: when it counts as ready (default: when it runs)"),
    row("ready-timeout", "TIME", "how long that may take (default: 30s)"),
    row("restart", "no|on-failure", "whether it is started again when it fails (default: no)"),
    KeyRow {
        word: "privileged",
        value: None,
        repeatable: false,
        live: false,
        summary: "it keeps the rights of who starts it, and may get more by set-uid programs (matters to root)",
    },
    row("capture", "FILE", "a pcapng file of what its ports send, and what is dropped"),
    row("log", "FILE", "where its output is kept (default: NAME.log in the folder that `up` names)"),
];

const fn row(word: &'static str, value: &'static str, summary: &'static str) -> KeyRow {
    KeyRow { word, value: Some(value), repeatable: false, live: false, summary }
}

/// A program of a bench.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct InstanceSpec {
    /// Its name, unique among the instances and ports.
    pub name: String,
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// Its attachment to the network.
    pub network: Network,
    /// The translation rules of its ports, unless a TAP of it has rules of its own.
    pub rewrite: Vec<Rule>,
    /// What bad lines do to the frames of its ports, unless a TAP of it has that of its own.
    pub bends: Vec<Bend>,
    /// The switch that it joins, unless a TAP of it names another.
    pub switch: String,
    /// Variables of its environment beside those of zbridge itself.
    pub env: Vec<(String, String)>,
    /// Where it runs; `None`: where zbridge does.
    pub cwd: Option<PathBuf>,
    /// The instances that have to be ready before it starts.
    pub after: Vec<String>,
    /// When it counts as ready; `None`: as soon as it runs.
    pub ready: Option<Ready>,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// Whether it is started again.
    pub restart: Restart,
    /// It keeps the rights of the user who starts it.
    pub privileged: bool,
    /// Where the frames of its ports are captured.
    pub capture: Option<PathBuf>,
    /// Where its output is kept; `None`: in the bench's folder.
    pub log: Option<PathBuf>,
    /// Shell syntax in its command, which no shell interprets.
    pub for_a_shell: Option<String>,
}

/// When an instance counts as ready.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ready {
    /// A line of its output matches this regular expression.
    Log(String),
    /// This address answers a ping on the instance's switch.
    Ping {
        /// Who is asked.
        addr: IpAddr,
        /// The probe's address; `None`: an address of the same network that the file does not name.
        from: Option<Cidr>,
    },
    /// This address accepts a connection on the instance's switch.
    Tcp {
        /// Who is asked.
        addr: SocketAddr,
        /// The probe's address; `None`: as for a ping.
        from: Option<Cidr>,
    },
}

/// Whether an instance is started again when it ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Restart {
    /// It is not.
    #[default]
    No,
    /// It is, unless it ended with status 0.
    OnFailure,
}

impl InstanceSpec {
    /// A program without a network and with no other wishes.
    pub fn new(name: &str, command: Vec<OsString>) -> Self {
        Self {
            name: name.to_owned(),
            command,
            network: Network::Own,
            rewrite: Vec::new(),
            bends: Vec::new(),
            switch: DEFAULT_SWITCH.to_owned(),
            env: Vec::new(),
            cwd: None,
            after: Vec::new(),
            ready: None,
            ready_timeout: READY_TIMEOUT,
            restart: Restart::default(),
            privileged: false,
            capture: None,
            log: None,
            for_a_shell: None,
        }
    }

    /// The same under another name, which its ports have too.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.network.call_ports(name);
    }

    /// Has it, and all of its ports, join this switch.
    pub fn join(&mut self, switch: &str) {
        switch.clone_into(&mut self.switch);
        self.network.ports_mut().for_each(|port| switch.clone_into(&mut port.switch));
    }

    /// Understands a table of the file: the command's words, and the other keys.
    pub(super) fn from_words(command: Vec<String>, keys: Vec<Key>) -> Result<Self, Fault> {
        let (bends, keys) = bend::apart(keys)?;
        let mut keys = Keys::new("an instance", keys, &[INSTANCE_KEYS])?;
        let missing = |what: &str| Fault::new(format!("an instance needs a {what}"));
        let name = keys.value("name", value::name)?.ok_or_else(|| missing("name: name = \"NAME\""))?;
        if command.first().is_none_or(String::is_empty) {
            return Err(missing("command: command = \"PROGRAM ARGUMENTS\""));
        }
        let switch = keys.value("switch", value::name)?.unwrap_or_else(|| DEFAULT_SWITCH.to_owned());
        let rules = rewrite(&mut keys)?;
        let mut network = network(&name, &switch, &mut keys)?;
        match &network {
            Network::Own if !rules.is_empty() => {
                return Err(Fault::new("rewrite means nothing without tap, host or qemu")
                    .hint("it is a key of the port that the program is attached to"));
            }
            Network::Interfaces { .. } => {
                let ports = network.ports_mut().filter(|port| port.rewrite.is_empty());
                ports.for_each(|port| port.rewrite.clone_from(&rules));
                let ports = network.ports_mut().filter(|port| port.bends.is_empty());
                ports.for_each(|port| port.bends.clone_from(&bends));
            }
            Network::Own if !bends.is_empty() => {
                return Err(Fault::new("impairments mean nothing without tap, host or qemu")
                    .hint("they are keys of the port that the program is attached to"));
            }
            Network::Own | Network::Qemu { .. } => {}
        }
        let capture = keys.value("capture", value::path)?;
        if capture.is_some() && matches!(network, Network::Own) {
            return Err(Fault::new("capture means nothing without tap, host or qemu")
                .hint("it is a key of the port that the program is attached to"));
        }
        let spec = Self {
            network,
            rewrite: rules,
            bends,
            env: keys.values("env", variable)?,
            cwd: keys.value("cwd", folder)?,
            after: keys.values("after", value::name)?,
            ready: keys.value("ready", ready)?,
            ready_timeout: keys.value("ready-timeout", time)?.unwrap_or(READY_TIMEOUT),
            restart: keys.value("restart", restart)?.unwrap_or_default(),
            privileged: keys.flag("privileged")?.unwrap_or_default(),
            capture,
            log: keys.value("log", value::path)?,
            switch,
            ..Self::new(&name, command.into_iter().map(Into::into).collect())
        };
        keys.finish()?;
        Ok(spec)
    }

    /// The switches that it joins: that of each TAP, or its own; and that of its readiness check.
    pub fn switches(&self) -> Vec<&str> {
        let asked = matches!(self.ready, Some(Ready::Ping { .. } | Ready::Tcp { .. }));
        let mut names: Vec<&str> = match &self.network {
            Network::Interfaces { .. } => self.network.ports().map(|port| port.switch.as_str()).collect(),
            Network::Own => Vec::new(),
            Network::Qemu { .. } => vec![&self.switch],
        };
        if asked && !names.contains(&self.switch.as_str()) {
            names.push(&self.switch);
        }
        names
    }

    /// The names of its ports.
    pub fn ports(&self) -> Vec<&str> {
        match &self.network {
            Network::Own => Vec::new(),
            Network::Interfaces { .. } => self.network.ports().map(|port| port.name.as_str()).collect(),
            Network::Qemu { .. } => vec![&self.name],
        }
    }

    /// The files that its frames are captured in, each with the names of the ports that it is for.
    pub fn captures(&self) -> Vec<(&Path, Vec<&str>)> {
        let own = self.capture.as_deref().map(|path| (path, self.ports()));
        let ports = match &self.network {
            Network::Interfaces { .. } => self.network.ports().collect(),
            Network::Own | Network::Qemu { .. } => Vec::new(),
        };
        let of_ports = ports.into_iter().filter_map(|port| Some((port.capture.as_deref()?, vec![port.name.as_str()])));
        own.into_iter().chain(of_ports).collect()
    }

    /// The command as a person would type it.
    pub fn command_line(&self) -> String {
        let words = self.command.iter().map(|word| super::text::shell(&word.to_string_lossy()).into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    /// What `zbridge check` prints of it beside name and command: `tap zeth`, `after zephyr`, `ready ping 192.0.2.1`. With
    /// `several` switches `tap zeth1 on switch right`.
    pub fn settings(&self, several: bool) -> String {
        let on = |switch: &str| if several { format!(" on switch {switch}") } else { String::new() };
        let mut words = Vec::new();
        match &self.network {
            Network::Own => {}
            Network::Interfaces { taps, tuns, host } => {
                let named =
                    |word: &str, port: &PortSpec| format!("{word} {}{}", port.kind.text().target(), on(&port.switch));
                words.extend(taps.iter().map(|tap| named("tap", tap)));
                words.extend(tuns.iter().map(|tun| named("tun", tun)));
                if let Some((host, _)) = host {
                    words.extend(host.dhcp.then(|| format!("host dhcp{}", on(&self.switch))));
                    words.extend(host.addrs.iter().map(|addr| format!("host {addr}{}", on(&self.switch))));
                }
            }
            Network::Qemu { model, mac } => {
                words.push(format!("qemu {} {mac}{}", model.as_deref().unwrap_or("usual card"), on(&self.switch)));
            }
        }
        words.extend(self.rewrite.iter().map(|rule| format!("rewrite {rule}")));
        words.extend(self.bends.iter().map(ToString::to_string));
        words.extend(self.after.iter().map(|name| format!("after {name}")));
        words.extend(self.ready.iter().map(|ready| match ready {
            Ready::Log(_) => format!("ready {ready}"),
            Ready::Ping { .. } | Ready::Tcp { .. } => format!("ready {ready}{}", on(&self.switch)),
        }));
        if self.restart == Restart::OnFailure {
            words.push("restart on-failure".to_owned());
        }
        if self.privileged {
            words.push("privileged".to_owned());
        }
        words.join(", ")
    }
}

/// The form in which it is written.
impl fmt::Display for Ready {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self {
            Self::Log(regex) => return write!(out, "log {regex}"),
            Self::Ping { addr, from } => {
                write!(out, "ping {addr}")?;
                from
            }
            Self::Tcp { addr, from } => {
                write!(out, "tcp {addr}")?;
                from
            }
        };
        from.as_ref().map_or(Ok(()), |from| write!(out, " from {from}"))
    }
}

fn variable(text: &str) -> value::Parsed<(String, String)> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty() && !text.contains('\0'));
    let (name, value) = pair.ok_or_else(|| "NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn folder(text: &str) -> value::Parsed<PathBuf> {
    let trimmed = if text == "/" { text } else { text.trim_end_matches('/') };
    value::path(trimmed).or_else(|form| if text == "/" { Ok(PathBuf::from("/")) } else { Err(form) })
}

fn time(text: &str) -> value::Parsed<Duration> {
    value::duration(text).filter(|time| !time.is_zero()).ok_or_else(|| "a time, as 500ms, 30s or 5m".to_owned())
}

fn restart(text: &str) -> value::Parsed<Restart> {
    match text {
        "no" => Ok(Restart::No),
        "on-failure" => Ok(Restart::OnFailure),
        _ => Err("no or on-failure".to_owned()),
    }
}

/// When an instance counts as ready, in words.
pub(super) fn ready(text: &str) -> value::Parsed<Ready> {
    let form = || "log REGEX, ping ADDR or tcp ADDR:PORT, as \"ping 192.0.2.1\"".to_owned();
    let (how, what) = text.split_once(' ').ok_or_else(form)?;
    if how == "log" {
        return match Regex::new(what) {
            Ok(_) => Ok(Ready::Log(what.to_owned())),
            Err(error) => Err(format!("a regular expression behind \"log\" ({})", last_line(&error.to_string()))),
        };
    }
    let (addr, from) = match what.split_once(" from ") {
        Some((addr, from)) => (addr, Some(value::cidr(from.trim())?)),
        None => (what, None),
    };
    let asked = match how {
        "ping" => Ready::Ping { addr: addr.trim().parse().map_err(|_| by_name(addr).unwrap_or_else(form))?, from },
        "tcp" => Ready::Tcp { addr: addr.trim().parse().map_err(|_| by_name(addr).unwrap_or_else(form))?, from },
        _ => return Err(form()),
    };
    Ok(asked)
}

/// The expected form, if `addr` is an instance's name: the program chooses its address, which the file does not know.
fn by_name(addr: &str) -> Option<String> {
    let (name, port) = addr.trim().rsplit_once(':').map_or((addr.trim(), ""), |(name, port)| (name, port));
    let is_name = name.contains(|char: char| char.is_ascii_alphabetic()) && value::name(name).is_ok();
    let example = if port.is_empty() { "192.0.2.1".to_owned() } else { format!("192.0.2.1:{port}") };
    is_name.then(|| {
        format!("an IP address, not the name {name:?}, which nobody looks up: {example}, what the program has")
    })
}

/// The last line of a regular expression parser's message: the cause, without its picture of the place.
fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ")
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
