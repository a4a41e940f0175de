//! `zbridge fdb add`, `del` and `flush`: the forwarding database is changed by hand.

use super::ask::connect;
use super::complete;
use crate::control::Command;
use crate::error::Result;
use clap::Subcommand;
use clap_complete::ArgValueCandidates;

/// What is done with the forwarding database of a running bridge.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum FdbVerb {
    /// Bind a station to a port: it is never moved or forgotten while the port is there, as with the key static=
    Add {
        /// The station
        mac: String,
        /// The port, or a listener with one client
        #[arg(add = ArgValueCandidates::new(complete::ports))]
        port: String,
        /// It is no error if it is bound there already
        #[arg(long)]
        may_exist: bool,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Forget a station, bound or learned
    Del {
        /// The station
        mac: String,
        /// One switch only
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::switches))]
        switch: Option<String>,
        /// It is no error if it is not known
        #[arg(long)]
        if_exists: bool,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Forget all that was learned, on one port or on all; what is bound stays
    Flush {
        /// The port; a listener with its clients
        #[arg(add = ArgValueCandidates::new(complete::ports))]
        port: Option<String>,
        /// One switch only
        #[arg(long, value_name = "NAME", conflicts_with = "port", add = ArgValueCandidates::new(complete::switches))]
        switch: Option<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
}

/// Has it changed.
///
/// # Errors
/// No bridge runs (class no-daemon); what it answers.
pub fn perform(verb: FdbVerb) -> Result<()> {
    let (command, to) = change(verb);
    connect(to.as_deref())?.request(command).map(|_: serde_json::Value| ())
}

/// The request of a verb, and the bridge that it names.
pub fn change(verb: FdbVerb) -> (Command, Option<String>) {
    match verb {
        FdbVerb::Add { mac, port, may_exist, to } => (Command::FdbAdd { mac, port, may_exist }, to),
        FdbVerb::Del { mac, switch, if_exists, to } => (Command::FdbDel { mac, switch, if_exists }, to),
        FdbVerb::Flush { port, switch, to } => (Command::FdbFlush { port, switch }, to),
    }
}
