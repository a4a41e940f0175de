//! Whether a program opens its TAPs. One that cannot only logs it and runs on without a network.
//!
//! A TAP has a carrier while a process is attached to it, which the namespace's netlink socket tells. A TAP that the
//! program has made itself does for one that was made for it (`adopt.rs`). A TUN does not: it carries packets, not
//! frames.

use super::{Interfaces, Network, Spec};
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
        let taps = match &spec.network {
            Network::Own(Interfaces { taps, .. }) => taps.clone(),
            Network::Shared => Vec::new(),
        };
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
        let tuns: Vec<&str> =
            found.iter().filter(|found| is_own(found, &self.taps)).map(|found| found.name.as_str()).collect();
        if tuns.is_empty() {
            return error.hint("its log may tell why; a program with an interface of its own kind takes --host CIDR");
        }
        error.hint(format!("it made itself a TUN, {}, which carries no frames", tuns.join(", ")))
    }
}

/// Whether it is a TUN or TAP that the program has made itself, which has another name than those in `taps`.
fn is_own(found: &Interface, taps: &[String]) -> bool {
    found.kind.as_deref() == Some("tun") && !taps.contains(&found.name)
}
