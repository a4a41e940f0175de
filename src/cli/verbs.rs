//! What `zbridge port` can be told to do.

use super::complete;
use clap::Subcommand;
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

/// What is done with a port of a running bridge.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum PortVerb {
    /// Open a port: TYPE:TARGET[,key[=value]]..., as for --port
    Add {
        /// The port
        #[arg(add = ArgValueCompleter::new(complete::specs))]
        spec: String,
        /// It is no error if there is the same port already
        #[arg(long)]
        may_exist: bool,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Remove a port; a listener goes with all its clients
    Del {
        /// Its name, as `zbridge status` shows it
        #[arg(add = ArgValueCandidates::new(complete::ports))]
        port: String,
        /// It is no error if there is none
        #[arg(long)]
        if_exists: bool,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
}
