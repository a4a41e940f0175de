//! `zbridge forward`, `dns` and `lease`: what is changed of a gateway that runs, and looked at.

use super::ask::{connect, lines};
use super::layout::{Column, Head, Table};
use super::style::width_of;
use super::units::span;
use super::{complete, print};
use crate::control::{ChangedInfo, Command, ForwardInfo, ForwardsInfo, HeldInfo, LeasesInfo, NameInfo, NamesInfo};
use crate::error::Result;
use clap::Subcommand;
use clap_complete::ArgValueCandidates;
use std::net::IpAddr;

/// Which gateway of which bridge.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Whose {
    /// The gateway's port (default: the one whose network it is, or the only one)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::ports))]
    port: Option<String>,
    /// The bridge (default: the one called default, or the only one)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    to: Option<String>,
}

/// How a list is shown.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Which bridge.
    #[command(flatten)]
    bridge: super::args::Which,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What is done with the forwards of a running bridge.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum ForwardVerb {
    /// Lead an address of this machine to a guest: tcp:127.0.0.1:2222->10.0.2.15:22, as the key forward= of nat:
    Add {
        /// The forward, in quotes because of the '>'; port 0 takes a free one, which is printed
        #[arg(value_name = "PROTO:HOST:PORT->GUEST:PORT")]
        forward: String,
        /// Other hosts than this one may reach it
        #[arg(long)]
        public: bool,
        /// It is no error if the same is there already
        #[arg(long)]
        may_exist: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// End a forward; connections that stand go on
    Del {
        /// The forward, or where this machine listens: tcp:127.0.0.1:2222
        #[arg(value_name = "PROTO:HOST:PORT", add = ArgValueCandidates::new(complete::forwards))]
        forward: String,
        /// It is no error if there is none
        #[arg(long)]
        if_exists: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// List them, with the number of their clients
    Ls(Listed),
}

/// What is done with the names of a running bridge's resolver.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum DnsVerb {
    /// Give a name to addresses: board1, printer.example, or *.example for all names below it
    Add {
        /// The name; one without a dot is of the network's domain (board1.lab)
        name: String,
        /// Its addresses, IPv4 or IPv6
        #[arg(required = true, value_name = "ADDR")]
        addrs: Vec<IpAddr>,
        /// It is no error if the same is there already
        #[arg(long)]
        may_exist: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// Take a name away that was added
    Del {
        /// The name
        #[arg(add = ArgValueCandidates::new(complete::added_names))]
        name: String,
        /// It is no error if there is none
        #[arg(long)]
        if_exists: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// List all names that the resolver knows by itself: added ones, of leases, of pinned hosts, the gateway's
    Ls(Listed),
}

/// What is done with the leases of a running bridge.
#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub enum LeaseVerb {
    /// Give a host an address for good, and a name: 02:00:5e:00:53:01/10.0.2.20/board1, as the key host= of nat:
    Pin {
        /// The host
        #[arg(value_name = "MAC/ADDR[/NAME]")]
        host: String,
        /// It is no error if the same is there already
        #[arg(long)]
        may_exist: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// End a host's lease, also one that is pinned; the host asks anew when half of it has passed, or restarts
    Drop {
        /// The host's address, or its MAC address
        #[arg(value_name = "ADDR|MAC", add = ArgValueCandidates::new(complete::leases))]
        host: String,
        /// It is no error if it has none
        #[arg(long)]
        if_exists: bool,
        /// Which gateway.
        #[command(flatten)]
        whose: Whose,
    },
    /// List the addresses that hosts have, with MAC address, name, and how long they still last
    Ls(Listed),
}

/// What is asked of gateways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Of their forwards.
    Forward(ForwardVerb),
    /// Of their names.
    Dns(DnsVerb),
    /// Of their leases.
    Lease(LeaseVerb),
}

/// Asks, and prints the answer.
///
/// # Errors
/// No bridge runs (class no-daemon); what it answers.
pub fn perform(asked: Asked) -> Result<()> {
    if let Some((command, to)) = change(asked.clone()) {
        let changed: ChangedInfo = connect(to.as_deref())?.request(command)?;
        return match asked {
            Asked::Forward(ForwardVerb::Add { forward, .. }) => print(changed.forward.unwrap_or(forward) + "\n"),
            _ => Ok(()),
        };
    }
    match asked {
        Asked::Forward(ForwardVerb::Ls(listed)) => forwards(&listed),
        Asked::Dns(DnsVerb::Ls(listed)) => names(&listed),
        Asked::Lease(LeaseVerb::Ls(listed)) => leases(&listed),
        _ => Ok(()),
    }
}

/// The request of a verb that changes something, and the bridge that it names.
pub fn change(asked: Asked) -> Option<(Command, Option<String>)> {
    let (command, whose) = match asked {
        Asked::Forward(ForwardVerb::Add { forward, public, may_exist, whose }) => {
            (Command::ForwardAdd { forward, port: whose.port, public, may_exist }, whose.to)
        }
        Asked::Forward(ForwardVerb::Del { forward, if_exists, whose }) => {
            (Command::ForwardDel { forward, port: whose.port, if_exists }, whose.to)
        }
        Asked::Dns(DnsVerb::Add { name, addrs, may_exist, whose }) => {
            (Command::DnsAdd { name, addrs, port: whose.port, may_exist }, whose.to)
        }
        Asked::Dns(DnsVerb::Del { name, if_exists, whose }) => {
            (Command::DnsDel { name, port: whose.port, if_exists }, whose.to)
        }
        Asked::Lease(LeaseVerb::Pin { host, may_exist, whose }) => {
            (Command::LeasePin { host, port: whose.port, may_exist }, whose.to)
        }
        Asked::Lease(LeaseVerb::Drop { host, if_exists, whose }) => {
            (Command::LeaseDrop { host, port: whose.port, if_exists }, whose.to)
        }
        Asked::Forward(ForwardVerb::Ls(_)) | Asked::Dns(DnsVerb::Ls(_)) | Asked::Lease(LeaseVerb::Ls(_)) => {
            return None;
        }
    };
    Some((command, whose))
}

fn forwards(Listed { bridge, json }: &Listed) -> Result<()> {
    let told: ForwardsInfo = connect(bridge.name().as_deref())?.request(Command::ForwardLs)?;
    let none = "no forwards: zbridge forward add 'tcp:127.0.0.1:2222->GUEST:22'";
    show(&told.forwards, *json, &FORWARDS, forward_row, none)
}

fn names(Listed { bridge, json }: &Listed) -> Result<()> {
    let told: NamesInfo = connect(bridge.name().as_deref())?.request(Command::DnsLs)?;
    show(&told.names, *json, &NAMES, name_row, "no names: no gateway (nat:) of this bridge has a resolver")
}

fn leases(Listed { bridge, json }: &Listed) -> Result<()> {
    let told: LeasesInfo = connect(bridge.name().as_deref())?.request(Command::LeaseLs)?;
    show(&told.leases, *json, &LEASES, lease_row, "no leases: no host has asked a gateway (nat:) for an address")
}

/// The columns of each list, with what each means.
pub const FORWARDS: [Head; 6] = [
    ("", Column::Short, ""),
    ("listens", Column::Long, "the address of this machine that leads to the guest"),
    ("guest", Column::Long, "the guest and its port"),
    ("name", Column::Least(2), "the name under which the guest has a lease"),
    ("clients", Column::Short, "who is connected now"),
    ("port", Column::Least(1), "the port of the gateway"),
];
pub const NAMES: [Head; 4] = [
    ("name", Column::Long, "what is asked for"),
    ("addresses", Column::Long, "what is answered"),
    ("source", Column::Short, "where the name comes from"),
    ("port", Column::Least(1), "the port of the gateway"),
];
pub const LEASES: [Head; 5] = [
    ("address", Column::Long, "the address that the host has"),
    ("mac", Column::Short, "the host"),
    ("name", Column::Long, "its name"),
    ("left", Column::Short, "how long the lease lasts"),
    ("port", Column::Least(1), "the port of the gateway"),
];

fn show<T: serde::Serialize, const N: usize>(
    rows: &[T],
    json: bool,
    columns: &[Head; N],
    row: fn(&T) -> Vec<String>,
    none: &str,
) -> Result<()> {
    if json {
        return print(lines(rows));
    }
    if rows.is_empty() {
        return print(format!("{none}\n"));
    }
    let table = Table { columns: columns.to_vec(), rows: rows.iter().map(row).collect() };
    print(table.text_or_json(width_of(std::io::stdout())))
}

fn forward_row(it: &ForwardInfo) -> Vec<String> {
    let name = it.name.clone().unwrap_or_default();
    vec![
        it.protocol.clone(),
        it.listen.to_string(),
        it.guest.to_string(),
        name,
        it.clients.to_string(),
        it.port.clone(),
    ]
}

fn name_row(it: &NameInfo) -> Vec<String> {
    let addrs: Vec<_> = it.addrs.iter().map(ToString::to_string).collect();
    vec![it.name.clone(), addrs.join(" "), it.source.clone(), it.port.clone()]
}

fn lease_row(it: &HeldInfo) -> Vec<String> {
    let left = match (it.left, it.pinned) {
        (_, true) => "pinned".to_owned(),
        (Some(left), false) => span(left),
        (None, false) => "-".to_owned(),
    };
    vec![it.addr.to_string(), it.mac.clone(), it.name.clone().unwrap_or_default(), left, it.port.clone()]
}
