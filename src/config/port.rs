//! One configured port: the keys that every kind has, and the kind.

use std::fmt;
use std::path::PathBuf;

use super::bend::{self, Bend};
use super::grammar::{Fault, Keys, Words, Writer, split};
use super::kind::{Attach, COMMON, PortKind, find};
use super::mirror::{self, Mirror};
use super::value;
use crate::error::{Error, Result};
use crate::limits::QUEUE_FRAMES_MAX;
use crate::switch::Address;
use crate::wire::{Mac, Rule};

/// The switch that a port joins if it names none.
pub const DEFAULT_SWITCH: &str = "default";

/// The range of `mtu=`: the least that IPv4 needs (RFC 791, 3.2), and the longest frame.
pub const MTU_RANGE: std::ops::RangeInclusive<u32> = 68..=65_535;

/// The range of `mtu=` of a service: what IPv6 wants of a link (RFC 8200, 5), and the longest frame without its Ethernet
/// header.
pub const SERVICE_MTU: std::ops::RangeInclusive<u32> = 1280..=65_521;

/// The least `mtu=` of a port with bare IP packets: what every IPv4 host takes (RFC 791, 3.1).
pub const LEAST_IP_MTU: u32 = 576;

/// A configured port.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PortSpec {
    /// Its name, unique in the process. Without `name=` that of its file or interface.
    pub name: String,
    /// The switch that it joins; [`DEFAULT_SWITCH`] unless said.
    pub switch: String,
    /// Whether source addresses are learned on it; they are unless said.
    pub learn: bool,
    /// The longest payload without VLAN tags, in bytes, within [`MTU_RANGE`]; `None`: the kind's own.
    pub mtu: Option<u32>,
    /// Frames that may wait for a busy peer, 1..=[`QUEUE_FRAMES_MAX`]; `None`: [`PortKind::queue`].
    pub queue: Option<usize>,
    /// No traffic to and from other isolated ports.
    pub isolate: bool,
    /// Addresses that are used first here are this port's alone; `None`: only where it is isolated.
    pub guard: Option<bool>,
    /// A failure to open it is no error; it is tried again.
    pub optional: bool,
    /// It is set down from the start, as if its cable were pulled.
    pub down: bool,
    /// Where its frames are captured.
    pub capture: Option<PathBuf>,
    /// Other ports of whose frames it gets copies, none of them itself.
    pub mirrors: Vec<Mirror>,
    /// What a bad line does to its frames.
    pub bends: Vec<Bend>,
    /// Stations that are always here: no group address, none twice.
    pub statics: Vec<Mac>,
    /// Addresses that are translated: no two rules contradict each other.
    pub rewrite: Vec<Rule>,
    /// Its kind.
    pub kind: PortKind,
}

impl PortSpec {
    /// Parses `TYPE:TARGET[,key[=value]]…`.
    ///
    /// # Errors
    /// A usage error that names `text`, what is wrong in it and the nearest known word. No text panics.
    pub fn parse(text: &str) -> Result<Self> {
        split(text).and_then(Self::from_words).map_err(|fault| Error::from(fault).at(format_args!("port {text:?}")))
    }

    /// A port of `kind` with every common key at its default, for a program that embeds the switch.
    pub fn new(kind: PortKind) -> Self {
        Self {
            name: default_name(&kind),
            switch: DEFAULT_SWITCH.to_owned(),
            learn: true,
            mtu: None,
            queue: None,
            isolate: false,
            guard: None,
            optional: false,
            down: false,
            capture: None,
            mirrors: Vec::new(),
            bends: Vec::new(),
            statics: Vec::new(),
            rewrite: Vec::new(),
            kind,
        }
    }

    /// Understands a specification that was taken apart.
    pub(super) fn from_words(words: Words) -> std::result::Result<Self, Fault> {
        let Some((word, target)) = words.head.split_once(':') else { return Err(headless(&words.head)) };
        let row = find(word)?;
        if target.is_empty() {
            return Err(Fault::new(format!("{word} needs a target: {}", row.form())));
        }
        let (bends, plain) = bend::apart(words.keys)?;
        let mut keys = Keys::new(row.word, plain, &[row.keys, COMMON])
            .map_err(|fault| fault.hint(format!("`zbridge ports {word}` lists its keys")))?;
        let mut port = Self::new((row.parse)(target, &mut keys)?);
        port.take_common(&mut keys)?;
        port.bends = bends;
        keys.finish()?;
        port.check_kind()?;
        Ok(port)
    }

    fn take_common(&mut self, keys: &mut Keys) -> std::result::Result<(), Fault> {
        if let Some(name) = keys.value("name", value::name)? {
            self.name = name;
        }
        if let Some(switch) = keys.value("switch", value::name)? {
            self.switch = switch;
        }
        self.learn = keys.flag("learn")?.unwrap_or(true);
        self.mtu = keys.value("mtu", |text| value::number(text, MTU_RANGE))?;
        self.queue = keys.value("queue", |text| value::number(text, 1..=QUEUE_FRAMES_MAX))?;
        self.isolate = keys.flag("isolate")?.unwrap_or(false);
        self.guard = keys.flag("guard")?;
        self.optional = keys.flag("optional")?.unwrap_or(false);
        self.down = keys.flag("down")?.unwrap_or(false);
        self.capture = keys.value("capture", value::path)?;
        self.mirrors = mirror::take(keys)?.unwrap_or_default();
        self.statics = keys.values("static", value::station)?;
        self.rewrite = rewrite(keys)?;
        Ok(())
    }

    /// Refuses common keys that mean nothing to the kind, or have bounds of its own there.
    pub(crate) fn check_kind(&self) -> std::result::Result<(), Fault> {
        if self.kind.tells_mtu() && self.mtu.is_some_and(|mtu| mtu < LEAST_IP_MTU) {
            return Err(Fault::new(format!("with mode=ip the mtu is {LEAST_IP_MTU} at least")));
        }
        if self.kind.is_service() && self.mtu.is_some_and(|mtu| !SERVICE_MTU.contains(&mtu)) {
            let (least, most) = (SERVICE_MTU.start(), SERVICE_MTU.end());
            return Err(Fault::new(format!("mtu of a service: expected {least} to {most}")));
        }
        if self.mirrors.iter().any(|mirror| mirror.port == self.name) {
            return Err(Fault::new(format!("{} cannot mirror itself", self.name)));
        }
        if self.kind.is_radio() && !self.mirrors.is_empty() {
            return Err(Fault::new("mirror means nothing on a radio medium").hint("links= says who hears whom"));
        }
        if self.kind.is_radio() && self.guard.is_some() {
            return Err(Fault::new("guard means nothing on a radio medium"));
        }
        if self.kind.is_radio() && !self.rewrite.is_empty() {
            return Err(Fault::new("rewrite means nothing on a radio medium"));
        }
        if self.kind.is_radio() && (!self.learn || self.mtu.is_some() || !self.statics.is_empty()) {
            return Err(Fault::new("learn, mtu and static mean nothing on a radio medium"));
        }
        Ok(())
    }

    /// The shortest text that parses to this port again.
    pub fn canonical(&self) -> String {
        let kind = self.kind.text();
        let mut out = Writer::new(&format!("{}:{}", self.kind.word(), kind.target()));
        kind.write(&mut out);
        if self.name != default_name(&self.kind) {
            out.value("name", &self.name);
        }
        if self.switch != DEFAULT_SWITCH {
            out.value("switch", &self.switch);
        }
        self.write_settings(&mut out);
        out.finish()
    }

    /// Its target and keys, without its kind and its names: `/tmp/inst1`, `zeth0,addr=192.0.2.2/24`.
    pub fn target(&self) -> String {
        let (target, settings) = (self.kind.text().target(), self.settings());
        if settings.is_empty() { target } else { format!("{target},{settings}") }
    }

    /// The keys that differ from their defaults, without the names of port and switch: `addr=192.0.2.2/24,mtu=9000`.
    pub fn settings(&self) -> String {
        let mut out = Writer::new("");
        self.kind.text().write(&mut out);
        self.write_settings(&mut out);
        out.finish().trim_start_matches(',').to_owned()
    }

    fn write_settings(&self, out: &mut Writer) {
        if !self.learn {
            out.value("learn", "off");
        }
        out.option("mtu", self.mtu);
        out.option("queue", self.queue);
        for (word, on) in [("isolate", self.isolate), ("optional", self.optional), ("down", self.down)] {
            if on {
                out.flag(word);
            }
        }
        match self.guard {
            Some(true) => out.flag("guard"),
            Some(false) => out.value("guard", "off"),
            None => {}
        }
        out.option("capture", self.capture.as_ref().map(|path| path.display()));
        for mirror in &self.mirrors {
            out.value("mirror", mirror);
        }
        for bend in &self.bends {
            out.value(&bend.key(), bend.text());
        }
        for mac in &self.statics {
            out.value("static", mac);
        }
        for rule in &self.rewrite {
            out.value("rewrite", rule);
        }
    }

    /// Whether its addresses are guarded: with `guard`, and on an isolated port unless `guard=off`.
    pub fn is_guarded(&self) -> bool {
        self.guard.unwrap_or(self.isolate)
    }

    /// Those of `addresses` that are the port's own on the switch: not those that `rewrite=` replaces.
    pub fn own_on_switch(&self, addresses: impl IntoIterator<Item = Address>) -> impl Iterator<Item = Address> {
        let is_rewritten = |address: &Address, rule: &Rule| match (*rule, *address) {
            (Rule::Mac, Address::Mac(_)) => true,
            (Rule::MacPair(old, _), Address::Mac(mac)) => old == mac,
            (Rule::Ip(old, _), Address::Ip(addr)) => addr == old,
            (Rule::Ip6(old, _), Address::Ip(addr)) => addr == old,
            _ => false,
        };
        addresses.into_iter().filter(move |address| !self.rewrite.iter().any(|rule| is_rewritten(address, rule)))
    }

    /// The command that attaches a peer, if one is needed.
    pub fn attach_hint(&self) -> Option<Attach> {
        self.kind.text().attach(&self.name)
    }
}

/// The canonical text.
impl fmt::Display for PortSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.canonical())
    }
}

impl std::str::FromStr for PortSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// The translation rules of a port, or of an instance's ports.
pub(super) fn rewrite(keys: &mut Keys) -> std::result::Result<Vec<Rule>, Fault> {
    let rules = keys.values("rewrite", value::rewrite)?;
    check_rules(&rules)?;
    Ok(rules)
}

/// Refuses rules that contradict each other.
pub fn check_rules(rules: &[Rule]) -> std::result::Result<(), Fault> {
    for (index, new) in rules.iter().enumerate() {
        if let Some(old) = rules.iter().take(index).find(|old| new.contradicts(old)) {
            let what = format!("rewrite={new} contradicts rewrite={old}");
            return Err(Fault::new(what).hint("an address may be in one of them only"));
        }
    }
    Ok(())
}

fn default_name(kind: &PortKind) -> String {
    let name = kind.text().default_name();
    if name.is_empty() { kind.word().to_owned() } else { name }
}

/// There is no colon: a kind without its target, or a target without its kind.
fn headless(head: &str) -> Fault {
    match find(head) {
        Ok(row) => Fault::new(format!("{head} needs a target: {}", row.form())),
        Err(_) => Fault::new(format!("{head:?} names no kind of port"))
            .hint("write TYPE:TARGET, as tap:zeth0 or unix:/tmp/inst1; `zbridge ports` lists the kinds"),
    }
}

#[cfg(test)]
#[path = "port_tests.rs"]
mod tests;
