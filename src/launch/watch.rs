//! Whether a program opens its TAPs. One that cannot only logs it and runs on without a network.
//!
//! A TAP has a carrier while a process is attached to it, which the namespace's netlink socket tells. It tells too if
//! the program has made itself a TAP of another name instead, as it may in a namespace of its own.

use super::{Network, Spec};
use crate::error::{Class, Error};
use crate::port::netlink::{Interface, Netlink};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// After so long a program is taken not to open what it has not opened.
const PATIENCE: Duration = Duration::from_secs(3);

/// Watches the TAPs of one program.
pub struct Watch {
    netlink: Netlink,
    name: String,
    /// Those that it has not opened yet.
    missing: Vec<String>,
    taps: Vec<String>,
    since: Instant,
    tap_words: &'static str,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watch").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl Watch {
    /// How often to call [`Watch::look`].
    pub const INTERVAL: Duration = Duration::from_millis(250);

    /// Watches over `netlink`, a socket to the program's network namespace.
    pub(super) fn new(spec: &Spec, netlink: OwnedFd) -> Self {
        let taps = if let Network::Taps(names) = &spec.network { names.clone() } else { Vec::new() };
        let missing = taps.clone();
        let (netlink, name, tap_words) = (Netlink::adopt(netlink), spec.name.clone(), spec.tap_words);
        Self { netlink, name, missing, taps, since: Instant::now(), tap_words }
    }

    /// Looks. Gives what to say of a program that has not opened its TAPs a few seconds after its start, once.
    pub fn look(&mut self) -> Option<Error> {
        if self.is_over() {
            return None;
        }
        let found = self.netlink.interfaces().ok()?;
        self.missing.retain(|name| !found.iter().any(|interface| interface.carrier && interface.name == *name));
        if self.missing.is_empty() || self.since.elapsed() < PATIENCE {
            return None;
        }
        let said = self.explain(&found);
        self.missing.clear();
        Some(said)
    }

    /// Whether there is nothing more to look for.
    pub fn is_over(&self) -> bool {
        self.missing.is_empty()
    }

    fn explain(&self, found: &[Interface]) -> Error {
        let missing = self.missing.join(", ");
        let after = PATIENCE.as_secs();
        let what = format!("{}: has not opened its TAP {missing} after {after} s; it runs without", self.name);
        let is_tun =
            |interface: &&Interface| interface.kind.as_deref() == Some("tun") && !self.taps.contains(&interface.name);
        let own: Vec<&str> = found.iter().filter(is_tun).map(|interface| interface.name.as_str()).collect();
        let error = Error::new(Class::Runtime, what);
        if own.is_empty() {
            return error.hint(format!("does it want another name? its log tells; then {}", self.tap_words));
        }
        let own = own.join(",");
        let words = self.tap_words.replace("NAME", &own);
        error.hint(format!("it made itself one called {own}, which leads nowhere: {words}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_it_wants_is_told() {
        let tap = |name: &str| Interface { name: name.into(), kind: Some("tun".into()), ..Interface::default() };
        let other = Interface { name: "lo".into(), ..Interface::default() };
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let mut watch = Watch::new(&Spec::new("inst1", Vec::new()), fd);
        let said = watch.explain(&[other.clone(), tap("zeth")]).to_string();
        assert!(said.starts_with("inst1: has not opened its TAP zeth after 3 s"), "{said}");
        assert!(said.contains("--tap NAME"), "{said}");
        let found = [other, tap("zeth"), tap("tap0")];
        assert!(watch.explain(&found).to_string().ends_with("which leads nowhere: --tap tap0"));
        watch.tap_words = "tap = \"NAME\"";
        assert!(watch.explain(&found).to_string().ends_with("which leads nowhere: tap = \"tap0\""));
    }
}
