//! The command line. What a port or a switch is, is left to [`crate::config`]; its errors read better than a parser's
//! of options can.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use ::log::LevelFilter;
use clap::{ArgAction, Parser, Subcommand};
use clap_complete::{ArgValueCandidates, ArgValueCompleter};

use super::capture::{CaptureArgs, ExtcapArgs};
use super::events::EventsArgs;
use super::fates::FatesArgs;
use super::fdb::FdbVerb;
use super::gateway::{DnsVerb, ForwardVerb, LeaseVerb};
use super::graph::GraphArgs;
pub use super::look::{Look, Which};
use super::play::PlayArgs;
use super::ps::Programs;
use super::sandbox::SandboxArgs;
use super::up::UpArgs;
use super::verbs::PortVerb;
use super::view::ViewArgs;
use super::{complete, help};
use crate::config::{DEFAULT_HOST, HostAddr, MetricsAt, value};
use crate::wire::Rule;

/// The arguments of the program.
#[derive(Parser, Debug)]
#[command(
    name = "zbridge",
    version,
    about = "A userspace Ethernet switch for simulated and real devices",
    long_about = help::ABOUT,
    override_usage = "zbridge [OPTIONS] --port SPEC...\n       zbridge [OPTIONS] --config FILE\n       zbridge COMMAND",
    after_help = "`zbridge --help` says more, `zbridge ports` lists the port kinds.",
    after_long_help = help::after(),
    arg_required_else_help = true,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND"
)]
pub struct Args {
    /// A port of the switch, TYPE:TARGET[,key[=value]]...; may be given often
    #[arg(short, long = "port", value_name = "SPEC", add = ArgValueCompleter::new(complete::specs))]
    pub ports: Vec<String>,

    /// A switch with settings of its own, NAME[,key=value]...; may be given often
    #[arg(short, long = "switch", value_name = "SPEC")]
    pub switches: Vec<String>,

    /// Ports and switches from a TOML file; --port and --switch add to it and replace those of the same name
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The bridge's name, for `zbridge status NAME` and its like (default: default, or default-2 … if that runs)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Tell the bridge's figures to programs that watch it, as OpenMetrics: ADDR:PORT or unix:PATH
    #[arg(long, value_name = "ADDR:PORT|unix:PATH", value_parser = metrics)]
    pub metrics: Option<MetricsAt>,

    /// What is written and replayed of impairments.
    #[command(flatten)]
    pub fates: FatesArgs,

    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,

    /// What it gives up.
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// What to do instead of running a switch.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Args {
    /// What is said of the sandbox, before a command and behind it.
    pub fn all_of_sandbox(&self) -> SandboxArgs {
        let first = self.sandbox.clone();
        match &self.command {
            Some(Command::Run(run)) => first.overlaid(&run.sandbox),
            Some(Command::Up(up)) => first.overlaid(&up.sandbox),
            _ => first,
        }
    }
}

/// What the program does instead of running a switch.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Two simulated hosts ping each other across a switch: no root, no arguments
    Demo,
    /// Run a program on the network, in a namespace of its own where its TAP is: no root
    Run(RunArgs),
    /// Every port kind with its grammar, keys and an example
    Ports {
        /// One kind only
        #[arg(add = ArgValueCandidates::new(complete::kinds))]
        kind: Option<String>,
    },
    /// Run a bench: the programs of a file and the network between them
    #[command(after_help = help::instances())]
    Up(UpArgs),
    /// Check a configuration file and print what would run
    Check {
        /// The file
        file: PathBuf,
        /// As JSON, one object on one line, also what is wrong with it
        #[arg(long)]
        json: bool,
    },
    /// The bridges that run, one line each
    Ls {
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// The ports of a running bridge, with state, peer and counters, and how to attach to what waits (-v: to all)
    #[command(after_long_help = help::columns(super::table::COLUMNS))]
    Status {
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
        /// As JSON, one object on one line
        #[arg(long)]
        json: bool,
        /// Go on, and print with the time what has changed, until interrupted
        #[arg(long)]
        watch: bool,
        /// All columns, however wide the terminal is
        #[arg(long)]
        wide: bool,
    },
    /// A live view of a running bridge: ports with rates and drops, stations, instances, events; ? shows the keys
    Top {
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
    },
    /// What comes, changes and goes on a running bridge, a line each: ports, stations, leases, drops that begin, programs
    #[command(after_help = help::events())]
    Events(EventsArgs),
    /// End a running bridge, and its programs before it; it is gone when the command is done
    Down {
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
    },
    /// Have a bridge read its --config file again: what differs is carried out, and no other port loses a frame
    Reload {
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
        /// As JSON, one object on one line
        #[arg(long)]
        json: bool,
    },
    /// Add ports to a running bridge, or remove them
    Port {
        /// What to do with it.
        #[command(subcommand)]
        verb: PortVerb,
    },
    /// Change settings of a port of a running bridge: down, up, isolate, mtu=1400, tx.loss=1%, mirror=PORT
    #[command(after_help = help::settings())]
    Set {
        /// The port, by name
        #[arg(add = ArgValueCandidates::new(complete::ports))]
        port: String,
        /// What is set: down, up, or key=value
        #[arg(required = true, value_name = "KEY=VALUE", add = ArgValueCandidates::new(complete::settings))]
        settings: Vec<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Cut ports of a running bridge from each other, while each goes on with all others; `heal` ends it
    Cut {
        /// Whom from whom, `inst1,inst2 from inst3`; one way only, `inst1 to inst3`: what inst1 sends to inst3 is lost. A
        /// group is names, `all`, or `rest`: all that the other group has not. Ports that come later under these names
        /// are cut too
        #[arg(required = true, value_name = "PORTS from|to PORTS", add = ArgValueCandidates::new(complete::parted))]
        words: Vec<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// End all cuts of a running bridge, or take ports out of them; impairments and ports that are down stay as they are
    Heal {
        /// These ports only
        #[arg(value_name = "PORT", add = ArgValueCandidates::new(complete::ports))]
        ports: Vec<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// The addresses that a running bridge has learned; add, del, flush change them
    #[command(
        args_conflicts_with_subcommands = true,
        after_long_help = help::columns(super::ask::FDB_COLUMNS)
    )]
    Fdb {
        /// What to do with them.
        #[command(subcommand)]
        verb: Option<FdbVerb>,
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
        /// One switch only
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::switches))]
        switch: Option<String>,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Who is on a running bridge: MAC and IP addresses, names, ports, and which of them two have
    #[command(after_long_help = help::columns(super::stations::COLUMNS.map(|(head, _, means)| (head, means))))]
    Stations {
        /// Which bridge, and how it is shown.
        #[command(flatten)]
        look: Look,
    },
    /// What a running bridge would do with a frame and why, step by step, without sending it
    Trace {
        /// The port that it would come in by, in=NAME
        #[arg(value_name = "in=PORT", add = ArgValueCandidates::new(complete::entrances))]
        port: String,
        /// The frame: `arp who-has 192.0.2.2`, `udp A:1 > B:2`, `from MAC to MAC`, hexadecimal digits; `last`: the one that
        /// the port has dropped last
        #[arg(value_name = "FRAME")]
        frame: Vec<String>,
        /// A frame of a capture instead, pcapng: the last of it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// The frame with this number in it
        #[arg(long = "frame", value_name = "N", requires = "file", value_parser = clap::value_parser!(u32).range(1..))]
        number: Option<u32>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
        /// As JSON, one object on one line
        #[arg(long)]
        json: bool,
    },
    /// The programs of a running bench: state, process, restarts, how each ended, and its last line
    #[command(after_long_help = help::columns(super::ps::COLUMNS.map(|(head, _, means)| (head, means))))]
    Ps {
        /// Which bridge.
        #[command(flatten)]
        bridge: Which,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
        /// All columns, however wide the terminal is
        #[arg(long)]
        wide: bool,
    },
    /// Start programs of a running bench that do not run
    Start(Programs),
    /// Stop programs of a running bench; their ports keep their places, settings and counters
    Stop(Programs),
    /// Stop programs of a running bench, and start them again
    Restart(Programs),
    /// Kill a program of a running bench, or send it another signal
    Kill {
        /// The program, by name; several with commas between
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::programs))]
        instances: String,
        /// The signal, as TERM or 15
        #[arg(default_value = "KILL")]
        signal: String,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// The flows of a running bridge's gateways: who talks with whom, bytes, round trips, and the forwards
    #[command(after_long_help = help::columns(super::flows::COLUMNS.map(|(head, _, means)| (head, means))))]
    Flows {
        /// Which bridge, and how it is shown.
        #[command(flatten)]
        look: Look,
    },
    /// Addresses of this machine that lead to guests, through a gateway of a running bridge: add, del, ls
    Forward {
        /// What to do with them.
        #[command(subcommand)]
        verb: ForwardVerb,
    },
    /// Names that the resolver of a running bridge's gateway knows: add, del, ls
    Dns {
        /// What to do with them.
        #[command(subcommand)]
        verb: DnsVerb,
    },
    /// Addresses that a running bridge's gateway leases to hosts: pin, drop, ls
    Lease {
        /// What to do with them.
        #[command(subcommand)]
        verb: LeaseVerb,
    },
    /// The USB devices of a running bridge, who uses them, and their transfers
    #[command(
        args_conflicts_with_subcommands = true,
        after_long_help = help::columns(super::usb::COLUMNS.map(|(head, _, means)| (head, means)))
    )]
    Usb {
        /// What to do with them.
        #[command(subcommand)]
        verb: Option<UsbVerb>,
        /// Which bridge, and how it is shown.
        #[command(flatten)]
        look: Look,
    },
    /// A picture of a running bridge: its switches, ports, programs, stations, rates and drops, or of a file's bench
    Graph(GraphArgs),
    /// The same picture live in a browser of this machine: rates, drops, the frames of a port, programs and events
    View(ViewArgs),
    /// Why frames were dropped: how many by each port, when, an example, and what to do
    Drops {
        /// Only these ports; a listener with its clients
        #[arg(value_name = "PORT", add = ArgValueCandidates::new(complete::ports))]
        ports: Vec<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
        /// As JSON, one port a line: also those that have dropped nothing
        #[arg(long)]
        json: bool,
        /// Go on, and print with the time what is dropped, until interrupted
        #[arg(long)]
        watch: bool,
    },
    /// Frames of a running bridge: as lines, as a pcapng file, or in Wireshark; no root, and no frame is slowed
    Capture(CaptureArgs),
    /// What is in the way of frames on this machine and its bridges, each with the command that mends it
    #[command(after_help = super::doctor::looks_at())]
    Doctor {
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Wait for a port, a program, a line of its output, a figure or a host (status 6 if it does not come in time)
    #[command(after_help = help::figures())]
    Wait {
        /// `port=NAME [STATE]` (up, listening, connecting, waiting, down, stalled, gone), `NAME ready`, `log NAME /REGEX/`,
        /// `ping ADDR`, `tcp ADDR:PORT`, `dns NAME at ADDR`, or an expression as `drops(inst1) > 0`
        #[arg(required = true, value_name = "CONDITION", add = ArgValueCandidates::new(complete::conditions))]
        words: Vec<String>,
        /// The longest to wait, also for the bridge to start: 500ms, 5s, 2m
        #[arg(long, value_name = "TIME", default_value = "30s")]
        timeout: String,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Check something of a running bridge, as `drops(inst1) == 0` (status 6, and its value, if it does not hold)
    #[command(after_help = help::figures())]
    Assert {
        /// What shall hold: an expression, or what `wait` waits for
        #[arg(required = true, value_name = "CONDITION")]
        words: Vec<String>,
        /// The bridge (default: the one called default, or the only one)
        #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
        to: Option<String>,
    },
    /// Play the scenarios of a file on a running bridge (status 6 if something is not as expected)
    Play(PlayArgs),
    /// Running bridges and their ports in Wireshark's list of interfaces: --install puts it there
    Extcap(ExtcapArgs),
    /// The guide, by topic: without one, the list of topics
    Help {
        /// One topic, as `zbridge help` lists them, or a command
        #[arg(add = ArgValueCandidates::new(complete::topics))]
        topic: Option<String>,
    },
    /// Print a completion script
    Completions {
        /// The shell
        #[arg(add = ArgValueCandidates::new(complete::shells))]
        shell: String,
    },
    /// Print the manual page (zbridge man | man -l -)
    Man,
}

/// A program to run, and its network.
#[derive(clap::Args, Debug)]
pub struct RunArgs {
    /// A port beside the program, TYPE:TARGET[,key[=value]]...; may be given often
    #[arg(short, long = "port", value_name = "SPEC", add = ArgValueCompleter::new(complete::specs))]
    pub ports: Vec<String>,

    /// The TAPs that the program opens: zeth0,zeth1 [default: zeth, unless there is a --host]; those that it makes of
    /// other names are on the switch as well
    #[arg(long = "tap", value_name = "NAMES", value_delimiter = ',')]
    pub taps: Vec<String>,

    /// The TUN that the program opens, if it speaks bare IP (Contiki-NG) [without NAME: tun0]; may have ip=CIDR, gateway=IP
    /// and mac=MAC behind it, as packet:…,mode=ip; may be given often
    #[arg(long = "tun", value_name = "NAME[,ip=CIDR]", num_args = 0..=1, require_equals = true,
          default_missing_value = "tun0")]
    pub tuns: Vec<String>,

    /// An interface with this address for the program's own sockets, or with one that a DHCP server on the switch gives it;
    /// may be given often
    #[arg(long, value_name = "CIDR|dhcp", value_parser = HostAddr::parse)]
    pub host: Vec<HostAddr>,

    /// What that interface is called
    #[arg(long, value_name = "NAME", requires = "host", default_value = DEFAULT_HOST)]
    pub iface: String,

    /// The default gateway of that interface; one for IPv4, one for IPv6
    #[arg(long, value_name = "IP", requires = "host")]
    pub gateway: Vec<IpAddr>,

    /// A name server for the program; may be given often
    #[arg(long, value_name = "IP", requires = "host")]
    pub dns: Vec<IpAddr>,

    /// The mtu of that interface in bytes
    #[arg(long, value_name = "BYTES", requires = "host", value_parser = clap::value_parser!(u32).range(68..=65_521))]
    pub mtu: Option<u32>,

    /// Other addresses on the switch, for copies of one image: mac, mac=OLD:NEW or ip=OLD:NEW; may be given often
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule)]
    pub rewrite: Vec<Rule>,

    /// Joins a running bridge instead of one of its own; its name as `zbridge ls` shows it
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    pub join: Option<String>,

    /// The name of its own bridge, for --join and `zbridge status` (default: default, or default-2 … if that runs)
    #[arg(long, value_name = "NAME")]
    pub bridge: Option<String>,

    /// Tell the figures of its own bridge to programs that watch it, as OpenMetrics: ADDR:PORT or unix:PATH
    #[arg(long, value_name = "ADDR:PORT|unix:PATH", value_parser = metrics, conflicts_with = "join")]
    pub metrics: Option<MetricsAt>,

    /// What is written and replayed of impairments.
    #[command(flatten)]
    pub fates: FatesArgs,

    /// The switch of the bridge that the program joins [default: the only one, or default]
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::switches))]
    pub switch: Option<String>,

    /// The program keeps the rights of who starts it, and may get more by set-uid programs (matters to root)
    #[arg(long)]
    pub privileged: bool,

    /// What the program's port is called [default: the program's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// What its bridge gives up.
    #[command(flatten)]
    pub sandbox: SandboxArgs,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM",
          add = ArgValueCompleter::new(complete::Program))]
    pub command: Vec<OsString>,
}

pub(super) fn metrics(text: &str) -> Result<MetricsAt, String> {
    MetricsAt::parse(text).map_err(|form| format!("expected {form}"))
}

fn rule(text: &str) -> Result<Rule, String> {
    value::rewrite(text).map_err(|form| format!("expected {form}"))
}

/// What is done with USB devices of a running bridge.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum UsbVerb {
    /// List them, as `zbridge usb` does
    #[command(after_long_help = help::columns(super::usb::COLUMNS.map(|(head, _, means)| (head, means))))]
    Ls {
        /// Which bridge, and how it is shown.
        #[command(flatten)]
        look: Look,
    },
}

/// How much is said on standard error. RUST_LOG, where it is set, decides instead.
#[derive(clap::Args, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Verbosity {
    /// Say more (-vv: everything)
    #[arg(short, long, action = ArgAction::Count, global = true, display_order = 900)]
    pub verbose: u8,

    /// Say less (-qq: errors only)
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "verbose", display_order = 901)]
    pub quiet: u8,
}

impl Verbosity {
    /// The least important message that is said.
    pub fn level(self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (0, 0) => LevelFilter::Info,
            (0, 1) => LevelFilter::Debug,
            (0, _) => LevelFilter::Trace,
            (1, _) => LevelFilter::Warn,
            _ => LevelFilter::Error,
        }
    }

    /// The same beside a program whose terminal it is: one step less.
    pub fn level_beside(self) -> LevelFilter {
        match (self.quiet, self.verbose) {
            (0, 0) => LevelFilter::Warn,
            (0, verbose) => Self { quiet: 0, verbose: verbose - 1 }.level(),
            _ => LevelFilter::Error,
        }
    }

    /// Whether lines that are only for a person's comfort are left out.
    pub fn is_quiet(self) -> bool {
        self.quiet > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn verbosity_counts() {
        let level = |args: &[&str]| Args::try_parse_from(args).unwrap().verbosity.level();
        assert_eq!(level(&["zbridge", "demo"]), LevelFilter::Info);
        assert_eq!(level(&["zbridge", "-v", "demo"]), LevelFilter::Debug);
        assert_eq!(level(&["zbridge", "demo", "-vvv"]), LevelFilter::Trace);
        assert_eq!(level(&["zbridge", "-p", "tap:z", "-q"]), LevelFilter::Warn);
        assert_eq!(level(&["zbridge", "-qq", "demo"]), LevelFilter::Error);
        assert!(Args::try_parse_from(["zbridge", "-q", "-v", "demo"]).is_err());
    }
}
