//! Options of commands that look at a running bridge: which one, and how it is shown.

use super::complete;
use clap_complete::ArgValueCandidates;

/// The bridge that is asked: `--to lab`, as with every command. Where nothing else can be named, `status lab` does, too.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Which {
    /// The same as --to
    #[arg(hide = true, add = ArgValueCandidates::new(complete::running))]
    name: Option<String>,
    /// The bridge (default: the one called default, or the only one)
    #[arg(long, value_name = "NAME", conflicts_with = "name", add = ArgValueCandidates::new(complete::running))]
    to: Option<String>,
}

impl Which {
    /// Its name, if one was given.
    pub fn name(&self) -> Option<String> {
        self.name.clone().or_else(|| self.to.clone())
    }
}

/// How something of a running bridge is looked at.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// Which bridge.
    #[command(flatten)]
    pub bridge: Which,
    /// As JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// Go on, and print with the time what has come, changed or gone, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// All columns, however wide the terminal is
    #[arg(long)]
    pub wide: bool,
}
