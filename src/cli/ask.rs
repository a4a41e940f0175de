//! What is asked of a running bridge: `ls`, `status`, `port`, `set`, `cut`, `fdb`, `stations`, `drops`, `wait` and the like, over
//! its control socket.

use super::args::Look;
use super::capture::{self, Asked};
use super::fdb::{self, FdbVerb};
use super::graph::{self, GraphArgs};
use super::style::width_of;
use super::units::span;
use super::verbs::PortVerb;
use super::view::{self, ViewArgs};
use super::waiting::{self, Awaited};
use super::watch::{LOOK, Watch};
use super::{
    Label, complain, doctor, drops, ending, events, flows, gateway, print, ps, stations, table, top, trace, usb,
};
use crate::config::text::columns;
use crate::config::{
    Cut, PortKind, PortSpec, Serial, Slip, Transport, UsbDevice, UsbKind, Wpan, command_words, settings, value,
};
use crate::control::{Added, Command, FdbInfo, Lifetime, StatusInfo};
use crate::engine::control::{Called, Client, each_bridge, where_looked};
use crate::error::{Class, Error, Result};
use crate::play::assert;
use crate::scenario::Condition;
use crate::visible::visible;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// After how long `ls` shows the bridges that have answered, where some have not.
const GLANCE: Duration = Duration::from_millis(200);

/// The columns of `fdb`, with what each means.
pub const FDB_COLUMNS: [(&str, &str); 4] = [
    ("address", "a MAC address"),
    ("port", "the port that it was heard on"),
    ("switch", "its switch"),
    ("age", "since when it was not heard any more; static: its place was given"),
];

/// What is asked of a running bridge. `name` and `to` are its name; without one, that called `default` is meant, or
/// the only one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Which bridges run.
    List {
        /// As JSON.
        json: bool,
    },
    /// Its ports.
    Status {
        /// The bridge.
        name: Option<String>,
        /// As JSON.
        json: bool,
        /// Goes on with what changes.
        watch: bool,
        /// All columns.
        wide: bool,
        /// How to attach also to ports that have a peer.
        all: bool,
    },
    /// Opens a port.
    Add {
        /// Its specification, with paths that mean the same elsewhere.
        spec: String,
        /// There may be the same already.
        may_exist: bool,
        /// The bridge.
        to: Option<String>,
    },
    /// Removes a port.
    Del {
        /// Its name.
        port: String,
        /// There may be none.
        if_exists: bool,
        /// The bridge.
        to: Option<String>,
    },
    /// Changes settings of a port.
    Set {
        /// Its name.
        port: String,
        /// `key[=value]` each.
        settings: Vec<String>,
        /// The bridge.
        to: Option<String>,
    },
    /// Cuts ports from each other.
    Cut {
        /// Whom from whom.
        cut: Cut,
        /// The bridge.
        to: Option<String>,
    },
    /// Ends cuts.
    Heal {
        /// These ports', or all.
        ports: Vec<String>,
        /// The bridge.
        to: Option<String>,
    },
    /// What it has learned.
    Fdb {
        /// The bridge.
        name: Option<String>,
        /// One switch only.
        switch: Option<String>,
        /// As JSON.
        json: bool,
    },
    /// Who is on it.
    Stations(Look),
    /// Its programs.
    Ps {
        /// The bridge.
        name: Option<String>,
        /// As JSON.
        json: bool,
        /// All columns.
        wide: bool,
    },
    /// Starts, stops, restarts or kills programs of it.
    Order {
        /// What is ordered.
        command: Command,
        /// The bridge.
        to: Option<String>,
    },
    /// What it would do with a frame.
    Trace(trace::Asked),
    /// All of it, live.
    Top {
        /// The bridge.
        name: Option<String>,
    },
    /// The flows of its gateways.
    Flows(Look),
    /// What happens on it.
    Events(events::EventsArgs),
    /// That it ends.
    Down(Option<String>),
    /// That it reads its file again.
    Reload {
        /// The bridge.
        name: Option<String>,
        /// As JSON.
        json: bool,
    },
    /// Stations that it shall bind or forget.
    ChangeFdb(FdbVerb),
    /// Forwards, names and leases of its gateways.
    Gateway(gateway::Asked),
    /// Its USB devices.
    Usb(Look),
    /// A picture of it.
    Graph(GraphArgs),
    /// The same in a browser.
    View(ViewArgs),
    /// What it has dropped, and why.
    Drops(drops::Asked),
    /// What is in the way of frames.
    Doctor {
        /// As JSON.
        json: bool,
    },
    /// Its frames.
    Capture(Box<Asked>),
    /// Waits for something.
    Wait {
        /// For what.
        awaited: Awaited,
        /// The longest to wait.
        timeout: Duration,
        /// The bridge.
        to: Option<String>,
    },
    /// Checks that something holds.
    Assert {
        /// As it is written.
        text: String,
        /// What it is.
        condition: Condition,
        /// The bridge.
        to: Option<String>,
    },
}

impl Ask {
    /// What a port verb asks.
    ///
    /// # Errors
    /// The specification is wrong.
    pub fn port(verb: &PortVerb) -> Result<Self> {
        match verb {
            PortVerb::Add { spec, may_exist, to } => {
                let mut port = PortSpec::parse(spec)?;
                let here = std::env::current_dir().map_err(|cause| Error::system("current directory", &cause))?;
                make_absolute(&mut port, &here);
                Ok(Self::Add { spec: port.canonical(), may_exist: *may_exist, to: to.clone() })
            }
            PortVerb::Del { port, if_exists, to } => {
                Ok(Self::Del { port: port.clone(), if_exists: *if_exists, to: to.clone() })
            }
        }
    }

    /// What `set PORT key=value…` asks.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn set(port: &str, words: &[String], to: Option<&str>) -> Result<Self> {
        // Before anybody is asked.
        settings(words)?;
        Ok(Self::Set { port: port.to_owned(), settings: words.to_vec(), to: to.map(str::to_owned) })
    }

    /// What `wait CONDITION --timeout TIME` asks.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn wait(words: &[String], timeout: &str, to: Option<&str>) -> Result<Self> {
        let timeout = value::duration(timeout)
            .ok_or_else(|| Error::usage(format!("--timeout {timeout:?}: expected a time, as 500ms, 5s or 2m")))?;
        Ok(Self::Wait { awaited: waiting::awaited(words)?, timeout, to: to.map(str::to_owned) })
    }

    /// What `assert CONDITION` asks.
    ///
    /// # Errors
    /// The condition is wrong.
    pub fn assert(words: &[String], to: Option<&str>) -> Result<Self> {
        let text = words.join(" ");
        let condition = Condition::parse(&text)?;
        Ok(Self::Assert { text, condition, to: to.map(str::to_owned) })
    }

    /// The request that this is, if it changes a bridge, and which bridge it names.
    pub(super) fn into_request(self) -> Option<(Command, Option<String>)> {
        Some(match self {
            Self::Add { spec, may_exist, to } => {
                (Command::PortAdd { spec, fd: false, lifetime: Lifetime::Bridge, may_exist }, to)
            }
            Self::Del { port, if_exists, to } => (Command::PortDel { port, for_now: false, if_exists }, to),
            Self::Set { port, settings, to } => (Command::Set { port, settings }, to),
            Self::Cut { cut, to } => {
                let (ports, from, one_way) = cut.groups();
                (Command::Cut { ports, from, one_way }, to)
            }
            Self::Heal { ports, to } => (Command::Heal { ports }, to),
            Self::Order { command, to } => (command, to),
            Self::ChangeFdb(verb) => fdb::change(verb),
            Self::Gateway(asked) => return gateway::change(asked),
            _ => return None,
        })
    }

    /// Asks, and prints the answer.
    ///
    /// # Errors
    /// No bridge runs (class no-daemon); what it answers.
    pub(super) fn perform(self) -> Result<()> {
        match self {
            Self::List { json } => list(json),
            Self::Status { name, json, watch, wide, all } => {
                let width = width_of(std::io::stdout()).filter(|_| !wide);
                status(&mut connect(name.as_deref())?, json, watch, (width, all))
            }
            Self::Add { spec, may_exist, to } => add(&mut connect(to.as_deref())?, &spec, may_exist),
            Self::Del { port, if_exists, to } => {
                let command = Command::PortDel { port, for_now: false, if_exists };
                connect(to.as_deref())?.request(command).map(|_: serde_json::Value| ())
            }
            Self::Set { port, settings, to } => connect(to.as_deref())?.set(&port, &settings),
            Self::Cut { cut, to } => connect(to.as_deref())?.cut(&cut),
            Self::Heal { ports, to } => {
                let ports: Vec<String> = ports.iter().flat_map(|word| word.split(',')).map(str::to_owned).collect();
                print(healed(&connect(to.as_deref())?.heal(&ports)?))
            }
            Self::Fdb { name, switch, json } => {
                let entries = connect(name.as_deref())?.fdb(switch.as_deref())?;
                print(if json { lines(&entries) } else { fdb(&entries).into_bytes() })
            }
            Self::Stations(look) => stations::perform(&look),
            Self::Ps { name, json, wide } => ps::list(name.as_deref(), json, wide),
            Self::Order { command, to } => connect(to.as_deref())?.order(command),
            Self::Trace(asked) => trace::run(&asked),
            Self::Top { name } => top::run(name),
            Self::Flows(look) => flows::perform(&look),
            Self::Events(args) => events::run(&args),
            Self::Down(name) => ending::down(name.as_deref()),
            Self::Reload { name, json } => ending::reload(name.as_deref(), json),
            Self::ChangeFdb(verb) => fdb::perform(verb),
            Self::Gateway(asked) => gateway::perform(asked),
            Self::Usb(look) => usb::perform(&look),
            Self::View(args) => view::run(&args),
            Self::Graph(args) => graph::run(&args),
            Self::Drops(asked) => drops::run(&asked),
            Self::Doctor { json } => doctor::visit(json),
            Self::Capture(asked) => capture::run(*asked),
            Self::Wait { awaited, timeout, to } => waiting::wait(&awaited, timeout, to.as_deref()),
            Self::Assert { text, condition, to } => assert(&mut connect(to.as_deref())?, &text, &condition),
        }
    }
}

/// The paths in a specification as they are meant where the command is typed.
fn make_absolute(port: &mut PortSpec, here: &Path) {
    let absolute = |path: &mut PathBuf| *path = here.join(&*path);
    port.capture.iter_mut().for_each(absolute);
    match &mut port.kind {
        PortKind::Unix(unix) => absolute(&mut unix.path),
        PortKind::UnixGram(unix) => {
            absolute(&mut unix.path);
            unix.peer.iter_mut().for_each(absolute);
        }
        PortKind::Nat(nat) => nat.lan.tftp.iter_mut().for_each(absolute),
        PortKind::Slip(Slip { transport, .. }) | PortKind::Wpan(Wpan { transport }) => {
            if let Transport::Exec { command } = transport {
                program_absolute(command, here);
            }
            transport_path(transport).into_iter().for_each(absolute);
        }
        PortKind::Usbip(usbip) => usbip.devices.iter_mut().filter_map(device_path).for_each(absolute),
        PortKind::Tap(_) | PortKind::Tcp(_) | PortKind::Udp(_) | PortKind::Packet(_) => {}
    }
}

/// A program that is named by a path, as `./sim` is, not one that PATH finds.
fn program_absolute(command: &mut String, here: &Path) {
    let mut words = command_words(command).unwrap_or_default();
    if let Some(program) = words.first_mut().filter(|program| program.contains('/'))
        && let Some(path) = here.join(&*program).components().collect::<PathBuf>().to_str()
    {
        path.clone_into(program);
        // Nothing that was split cannot be joined.
        *command = shlex::try_join(words.iter().map(String::as_str)).unwrap_or(std::mem::take(command));
    }
}

fn transport_path(transport: &mut Transport) -> Option<&mut PathBuf> {
    match transport {
        Transport::Unix { path, .. } | Transport::Pty { path, .. } | Transport::Pipe { path, .. } => Some(path),
        Transport::Serial(uart) => Some(&mut uart.device),
        Transport::Tcp { .. } | Transport::Fd(_) | Transport::Exec { .. } => None,
    }
}

fn device_path(device: &mut UsbDevice) -> Option<&mut PathBuf> {
    match &mut device.kind {
        UsbKind::CdcAcm(Serial::Pty(path, _) | Serial::Unix(path, _) | Serial::File(path)) => Some(path),
        UsbKind::MassStorage { image, .. } => Some(image),
        UsbKind::Keyboard(script) | UsbKind::Mouse(script) => script.as_mut(),
        UsbKind::CdcAcm(Serial::Echo | Serial::Tcp(_)) | UsbKind::Loopback => None,
    }
}

/// The bridge of this name, or the one that is meant when none is named.
pub(super) fn connect(name: Option<&str>) -> Result<Client> {
    name.map_or_else(Client::connect_default, Client::connect)
}

/// Shows what answers at a glance, and then the rest: one that hangs holds up no other.
fn list(json: bool) -> Result<()> {
    let (names, answers) = each_bridge(|mut client| client.status());
    let mut wide: Vec<Vec<String>> = names.into_iter().map(|name| vec![name]).collect();
    let mut any = false;
    for until in [Instant::now().checked_add(GLANCE), None] {
        let next = || match until {
            Some(until) => answers.recv_deadline(until).ok(),
            None => answers.recv().ok(),
        };
        let mut found: Vec<Called<StatusInfo>> = std::iter::from_fn(next).filter(is_there).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        any |= !found.is_empty();
        if json {
            print(lines(&found.iter().filter_map(|called| called.answer.as_ref().ok()).collect::<Vec<_>>()))?;
            found.iter().filter(|called| called.answer.is_err()).for_each(complain_of);
        } else {
            // As wide as what was shown before, and as the names that are still to come.
            let count = found.len();
            wide.splice(0..0, found.iter().map(called_row));
            print(columns("", &wide).split_inclusive('\n').take(count).collect::<String>())?;
        }
    }
    if !any && !json {
        complain(Label::Warning, &format!("no bridge runs\n  hint: {}", where_looked()));
    }
    Ok(())
}

/// Whether it has not just left its socket behind.
fn is_there(called: &Called<StatusInfo>) -> bool {
    !matches!(&called.answer, Err(error) if error.class() == Class::NoDaemon)
}

fn complain_of(called: &Called<StatusInfo>) {
    complain(Label::Warning, &called_row(called).join(", "));
}

/// The line of a bridge, also of one that does not answer.
fn called_row(called: &Called<StatusInfo>) -> Vec<String> {
    let error = match &called.answer {
        Ok(status) => return bridge_row(status).to_vec(),
        Err(error) => error.what(),
    };
    let own = format!("{} ", called.name);
    let why = error.strip_prefix("the bridge ").or_else(|| error.strip_prefix(&own)).unwrap_or(error);
    let pid = called.pid.map_or_else(|| "-".to_owned(), |pid| format!("pid {pid}"));
    vec![called.name.clone(), pid, why.to_owned()]
}

fn bridge_row(bridge: &StatusInfo) -> [String; 4] {
    let ports = table::counted(bridge.switches.iter().flat_map(|switch| &switch.ports));
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let switches = count(bridge.switches.len(), "switch").replace("switchs", "switches");
    [bridge.name.clone(), format!("pid {}", bridge.pid), switches, ports]
}

fn status(client: &mut Client, json: bool, watch: bool, (width, all): (Option<usize>, bool)) -> Result<()> {
    let mut last = client.status()?;
    print(if json { stamped(&last, watch) } else { table::status(&last.switches, width, all).into_bytes() })?;
    if !watch {
        return Ok(());
    }
    let merged = |status: &StatusInfo| {
        let mut status = status.clone();
        status.switches.iter_mut().for_each(|switch| switch.ports = table::merged(&switch.ports));
        status
    };
    let mut shown = Watch::new(Instant::now(), &merged(&last), width);
    loop {
        std::thread::sleep(LOOK);
        let now = client.status()?;
        let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
        let changes = shown.changes(Instant::now(), &time, &merged(&now));
        match json {
            true if now != last => print(stamped(&now, watch))?,
            true => {}
            false => print(changes)?,
        }
        last = now;
    }
}

/// A status as JSON; where several follow each other, with the time.
fn stamped(status: &StatusInfo, several: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Stamped<'a> {
        /// Milliseconds since 1970.
        time: u128,
        #[serde(flatten)]
        status: &'a StatusInfo,
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    if several { crate::control::print(&Stamped { time, status }) } else { crate::control::print(status) }
}

/// Opens a port, and says how to attach to it.
fn add(client: &mut Client, spec: &str, may_exist: bool) -> Result<()> {
    let command = Command::PortAdd { spec: spec.to_owned(), fd: false, lifetime: Lifetime::Bridge, may_exist };
    let added: Added = client.request(command)?;
    let status = client.status()?;
    let ports = status.switches.iter().flat_map(|switch| &switch.ports).filter(|port| port.name == added.port);
    print(columns("", &[[&added.port]]) + &table::attachments(ports, width_of(std::io::stdout())))
}

/// What was healed, a line each.
fn healed(cuts: &[String]) -> String {
    match cuts {
        [] => "there was no cut\n".to_owned(),
        cuts => cuts.iter().map(|cut| format!("healed: {}\n", visible(cut))).collect(),
    }
}

pub(super) fn lines<T: serde::Serialize>(items: &[T]) -> Vec<u8> {
    items.iter().flat_map(crate::control::print).collect()
}

fn fdb(entries: &[FdbInfo]) -> String {
    let head = FDB_COLUMNS.map(|(head, _)| head.to_owned());
    let rows = entries.iter().map(|entry| {
        let age = entry.age.map_or_else(|| "static".to_owned(), span);
        [entry.mac.clone(), entry.port.clone(), entry.switch.clone(), age]
    });
    columns("", &std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{bridge, port};
    use super::*;

    #[test]
    fn a_bridge_is_one_line() {
        assert_eq!(bridge_row(&bridge(vec![port("a", "up", 1)])), ["default", "pid 42", "1 switch", "1 port"]);
    }

    #[test]
    fn paths_mean_where_they_were_typed() {
        let mut spec = PortSpec::parse("unixgram:a,peer=b/c").unwrap();
        make_absolute(&mut spec, Path::new("/run/x"));
        assert_eq!(spec.canonical(), "unixgram:/run/x/a,peer=/run/x/b/c");
        for (given, meant) in [
            ("slip:unix:a", "slip:unix:/run/x/a"),
            ("slip:pty:a/b,mode=ip", "slip:pty:/run/x/a/b,mode=ip"),
            ("wpan:pipe:a", "wpan:pipe:/run/x/a"),
            ("slip:exec:./sim --seed 1 'a b'", "slip:exec:/run/x/sim --seed 1 'a b'"),
            ("slip:exec:build/sim", "slip:exec:/run/x/build/sim"),
            ("wpan:exec:sim ./a", "wpan:exec:sim ./a"),
            ("usbip:192.0.2.1/24,device=cdc-acm+pty=a", "usbip:192.0.2.1/24,device=cdc-acm+pty=/run/x/a"),
            ("usbip:192.0.2.1/24,device=hid-mouse+script=a", "usbip:192.0.2.1/24,device=hid-mouse+script=/run/x/a"),
        ] {
            let mut spec = PortSpec::parse(given).unwrap();
            make_absolute(&mut spec, Path::new("/run/x"));
            // the name may still be that of the path as it was given
            assert!(spec.canonical().starts_with(meant), "{given}: {spec}");
        }
        let mut there = PortSpec::parse("unix:/tmp/a").unwrap();
        make_absolute(&mut there, Path::new("/run/x"));
        assert_eq!(there.canonical(), "unix:/tmp/a");
    }
}
