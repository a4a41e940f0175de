//! Checks whether a program opens its TAPs. A program that cannot may only log it and run on without a network.
//!
//! A TAP has a carrier while a process is attached to it, as netlink tells. A TAP that the program has made itself
//! counts as one that was made for it (`adopt.rs`). A TUN does not: it carries packets, not frames.

use super::{Interfaces, Namespace, Spec};
use crate::error::{Class, Error};
use crate::port::netlink::{Interface, Netlink};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// After this time a program is taken not to open the rest.
const PATIENCE: Duration = Duration::from_secs(3);

/// Watches the TAPs of one program.
pub struct Watch {
    netlink: Netlink,
    name: String,
    /// TAPs that it has not opened yet.
    missing: Vec<String>,
    taps: Vec<String>,
    since: Instant,
    tun_words: &'static str,
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
        let taps = match &spec.namespace {
            Namespace::Own(Interfaces { taps, .. }) => taps.clone(),
            Namespace::Shared => Vec::new(),
        };
        let missing = taps.clone();
        let (netlink, name, tun_words) = (Netlink::adopt(netlink), spec.name.clone(), spec.tun_words);
        Self { netlink, name, missing, taps, since: Instant::now(), tun_words }
    }

    /// Checks. Returns a warning, once, if the program has not opened its TAPs a few seconds after its start.
    pub fn look(&mut self) -> Option<Error> {
        if self.is_over() {
            return None;
        }
        let found = self.netlink.interfaces().ok()?;
        self.missing.retain(|name| !found.iter().any(|interface| interface.carrier && interface.name == *name));
        let own = found.iter().filter(|found| is_own(found, &self.taps) && found.tun.tap).count();
        self.missing.truncate(self.missing.len().saturating_sub(own));
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
        let error = Error::new(Class::Runtime, what);
        let own = found.iter().filter(|found| is_own(found, &self.taps) && !found.tun.tap);
        let tuns: Vec<String> = own.map(|tun| self.tun_words.replace("NAME", &tun.name)).collect();
        if tuns.is_empty() {
            return error
                .hint(format!("its log may tell why; a program that speaks bare IP wants a TUN: {}", self.tun_words));
        }
        error.hint(format!("it made itself a TUN, which carries packets and no frames: {}", tuns.join(" ")))
    }
}

/// Whether it is a TUN or TAP that the program has made itself, which has another name than those in `taps`.
fn is_own(found: &Interface, taps: &[String]) -> bool {
    found.kind.as_deref() == Some("tun") && !taps.contains(&found.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_may_want_is_told() {
        let tun = |name: &str, tap: bool| {
            let tun = crate::port::netlink::Tun { tap, ..crate::port::netlink::Tun::default() };
            Interface { name: name.into(), kind: Some("tun".into()), tun, ..Interface::default() }
        };
        let other = Interface { name: "lo".into(), ..Interface::default() };
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let mut watch = Watch::new(&Spec::new("inst1", Vec::new()), fd);
        let said = watch.explain(&[other.clone(), tun("zeth", true)]).to_string();
        assert!(said.starts_with("inst1: has not opened its TAP zeth after 3 s"), "{said}");
        assert!(said.ends_with("wants a TUN: --tun=NAME"), "{said}");
        let found = [other, tun("zeth", true), tun("tun0", false)];
        assert!(watch.explain(&found).to_string().ends_with("no frames: --tun=tun0"));
        watch.tun_words = "tun = \"NAME\"";
        assert!(watch.explain(&found).to_string().ends_with("no frames: tun = \"tun0\""));
    }
}
