//! What on this machine, or on the bridges that run, keeps frames from where they should go, and the command that mends it.
//!
//! Theory of operation. [`Facts::gather`] asks the kernel, the files of `/proc`, the firewall and the bridges; it changes
//! nothing and sends no frame. Each of the [`CHECKS`] is a function from these facts to its [`Finding`]s, so that any machine
//! can be made up for its tests. What could not be looked at is said as well: silence means that it is in order.

mod benches;
mod facts;
mod firewall;
mod machine;
mod taps;
#[cfg(test)]
mod tests;

pub use facts::{Bench, Facts, Held};

use serde::Serialize;

/// How much a finding weighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Frames are lost by it, or something cannot be opened.
    Bad,
    /// It is in the way of some use that one may have in mind.
    Note,
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// The word of its check.
    pub check: &'static str,
    /// What it is about: an interface, a port, a setting.
    pub about: String,
    /// What is wrong with it, and what that does.
    pub what: String,
    /// The command that mends it.
    pub mend: String,
}

/// A check: its word, what it looks at, and what it finds.
pub struct Check {
    /// Its word.
    pub word: &'static str,
    /// What it looks at.
    pub looks_at: &'static str,
    /// What it finds.
    find: fn(&Facts, &mut Findings),
}

/// Every check, in the order of what is shown.
pub const CHECKS: &[Check] = &[
    Check { word: "device", looks_at: "/dev/net/tun, which a TAP needs", find: machine::device },
    Check {
        word: "namespaces",
        looks_at: "settings and AppArmor, which may keep ordinary users from `zbridge run`",
        find: machine::namespaces,
    },
    Check {
        word: "links",
        looks_at: "TAPs of ports that are down, have no address, or nobody has open",
        find: taps::links,
    },
    Check { word: "offloads", looks_at: "offloads that a TAP's former program has left on", find: taps::offloads },
    Check { word: "mtu", looks_at: "interfaces of one switch with different MTUs", find: taps::mtus },
    Check { word: "networks", looks_at: "two interfaces with one network", find: taps::networks },
    Check {
        word: "kernel-bridge",
        looks_at: "kernel bridges that TAPs are in: br_netfilter, spanning tree, multicast snooping",
        find: taps::kernel_bridges,
    },
    Check { word: "firewall", looks_at: "rules of nftables in the way of TAPs", find: firewall::rules },
    Check { word: "forwarding", looks_at: "whether this host forwards what TAPs send", find: machine::forwarding },
    Check { word: "switches", looks_at: "switches that ended, ports that do not run", find: benches::switches },
    Check { word: "doubles", looks_at: "one MAC or IP address on two ports", find: benches::doubles },
    Check { word: "redial", looks_at: "QEMUs that do not dial again", find: benches::redial },
];

/// What the checks have found.
pub struct Findings {
    check: &'static str,
    found: Vec<Finding>,
}

impl Findings {
    fn bad(&mut self, about: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Weight::Bad, about.into(), what.into(), mend.into());
    }

    fn note(&mut self, about: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Weight::Note, about.into(), what.into(), mend.into());
    }

    fn add(&mut self, weight: Weight, about: String, what: String, mend: String) {
        self.found.push(Finding { weight, check: self.check, about, what, mend });
    }
}

/// What every check finds in these facts, the bad before the notes.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Findings { check: "", found: Vec::new() };
    for check in CHECKS {
        findings.check = check.word;
        (check.find)(facts, &mut findings);
    }
    findings.found.sort_by_key(|finding| finding.weight);
    findings.found
}
