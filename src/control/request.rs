//! The requests to a running bridge.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::capture::Wish;
use crate::error::Error;

/// The words of `command`, in the order of [`Command`]: listed in the answer to an unknown word.
const COMMANDS: &[&str] = &[
    "status",
    "port-add",
    "port-del",
    "fdb",
    "stations",
    "flows",
    "usb",
    "drops",
    "wait",
    "capture",
    "instances",
    "radio",
    "set",
    "trace",
    "forward-add",
    "forward-del",
    "forward-ls",
    "dns-add",
    "dns-del",
    "dns-ls",
    "lease-pin",
    "lease-drop",
    "lease-ls",
    "fdb-add",
    "fdb-del",
    "fdb-flush",
    "down",
    "reload",
    "events",
    "start",
    "stop",
    "restart",
    "kill",
    "logs",
    "probe",
    "cut",
    "heal",
];

/// The states that [`Command::Wait`] may wait for: those of a port that is shown, and `gone`.
pub const PORT_STATES: &[&str] = &["up", "listening", "connecting", "waiting", "down", "stalled", "gone"];

/// How long a port stays that was added over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lifetime {
    /// As long as the bridge runs, or until it is removed.
    #[default]
    Bridge,
    /// Until the connection that added it is closed, however that comes about.
    Connection,
}

/// Where a page of the forwarding databases begins: behind this address of this switch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Cursor {
    /// The switch.
    pub switch: String,
    /// The address, as it was shown.
    pub mac: String,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Command {
    /// The switches and their ports. Answered with a [`StatusInfo`](super::StatusInfo).
    Status,
    /// Opens a port. Answered with [`Added`](super::Added).
    PortAdd {
        /// `TYPE:TARGET[,key[=value]]…`; it joins the switch that `switch=` names.
        spec: String,
        /// Its descriptor comes with the line.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        fd: bool,
        /// How long it stays.
        #[serde(default)]
        lifetime: Lifetime,
        /// It is no error if there is the same port already.
        #[serde(default, skip_serializing_if = "is_off")]
        may_exist: bool,
    },
    /// Removes a port. Answered with `{}`.
    PortDel {
        /// Its name.
        port: String,
        /// One of this name may come again, to which applies what was set of this one: its program is started again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_now: bool,
        /// It is no error if there is none.
        #[serde(default, skip_serializing_if = "is_off")]
        if_exists: bool,
    },
    /// Changes settings of a port. Answered with `{}`.
    Set {
        /// Its name.
        port: String,
        /// `key[=value]` each: `mirror=inst1:rx`, `tx.loss=1%`, `down`, `up`. All are set, or none.
        settings: Vec<String>,
    },
    /// Cuts ports from each other, those that come later under these names too. Answered with `{}`.
    Cut {
        /// Names of ports or listeners; or `all`, or `rest` alone: all that the other group has not.
        ports: Vec<String>,
        /// The same of the others.
        from: Vec<String>,
        /// Only what goes from the former to the latter is lost.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        one_way: bool,
    },
    /// Ends all cuts, or takes ports out of them. Answered with a [`HealedInfo`](super::HealedInfo).
    Heal {
        /// These ports only.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<String>,
    },
    /// The forwarding databases. Answered with an [`FdbPage`](super::FdbPage).
    Fdb {
        /// One switch only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<String>,
        /// Goes on behind an entry: the `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Cursor>,
    },
    /// What is known of stations beyond the forwarding databases. Answered with a [`StationsInfo`](super::StationsInfo).
    Stations,
    /// The flows of gateways. Answered with a [`FlowsInfo`](super::FlowsInfo).
    Flows,
    /// The USB devices and their importers. Answered with a [`UsbInfo`](super::UsbInfo).
    Usb,
    /// What every port made of its frames, and what is known of those that ended early. Answered with a
    /// [`DropsInfo`](super::DropsInfo).
    Drops,
    /// Answered with `{}` when the port is in the state, or with an error of class `unmet` when the time is over.
    Wait {
        /// The port's name. There may be none yet.
        port: String,
        /// One of [`PORT_STATES`].
        state: String,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Answered with `{}`. What follows on the connection is no line any more but a pcapng file, which ends with its
    /// statistics when the asker has closed its side, or sent anything.
    Capture {
        /// One switch only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<String>,
        /// The wish.
        #[serde(flatten)]
        wish: Wish,
    },
    /// The programs that the bridge's process runs. Answered with an [`InstancesInfo`](super::InstancesInfo).
    Instances,
    /// Starts programs that do not run. Answered with `{}` when they do.
    Start {
        /// Their names.
        instances: Vec<String>,
    },
    /// Stops programs, as at the end of their bench. Answered with `{}` when they have ended.
    Stop {
        /// Their names.
        instances: Vec<String>,
    },
    /// Stops programs that run, and starts them. Answered with `{}` when they run again.
    Restart {
        /// Their names.
        instances: Vec<String>,
    },
    /// Sends programs a signal. Answered with `{}`: when they have ended if it is SIGKILL, else at once.
    Kill {
        /// Their names.
        instances: Vec<String>,
        /// Its name or number, as `TERM` or `15`; without one SIGKILL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<String>,
    },
    /// What a program has written. Answered with a [`LogInfo`](super::LogInfo).
    Logs {
        /// Its name.
        instance: String,
        /// Only lines behind the one with this number.
        #[serde(default)]
        after: u64,
    },
    /// Asks a host from inside a switch. Answered with `{}` when it has answered, or with an error of class `unmet` when the
    /// time is over.
    Probe {
        /// `ping ADDR`, `tcp ADDR:PORT` or `dns NAME[=ADDR] at ADDR`, each with `from CIDR` behind it or without.
        question: String,
        /// The switch; without one, all are asked, and one answer is enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<String>,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Who hears whom on its radio media. Answered with a [`RadioInfo`](super::RadioInfo).
    Radio,
    /// What would become of a frame, without sending it. Answered with a [`TraceInfo`](super::TraceInfo).
    Trace {
        /// The port that it would come in by.
        port: String,
        /// The frame in hexadecimal, from the destination address on, without FCS.
        frame: String,
        /// It is a super-frame of TCP segments of so many bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        segment: Option<u16>,
    },
    /// An address of the host leads to a guest from now on. Answered with a [`ChangedInfo`](super::ChangedInfo).
    ForwardAdd {
        /// As the key of `nat:` has it: `tcp:127.0.0.1:2222->10.0.2.15:22`. Port 0 takes a free one.
        forward: String,
        /// The gateway's port; without it that whose network has the guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// Other hosts than this one may reach it.
        #[serde(default, skip_serializing_if = "is_off")]
        public: bool,
        /// It is no error if the same is there already.
        #[serde(default, skip_serializing_if = "is_off")]
        may_exist: bool,
    },
    /// It does so no more; connections that stand go on. Answered with a [`ChangedInfo`](super::ChangedInfo).
    ForwardDel {
        /// The forward, or where the host listens: `tcp:127.0.0.1:2222`.
        forward: String,
        /// The gateway's port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// It is no error if there is none.
        #[serde(default, skip_serializing_if = "is_off")]
        if_exists: bool,
    },
    /// The forwards of gateways. Answered with a [`ForwardsInfo`](super::ForwardsInfo).
    ForwardLs,
    /// A gateway's resolver knows a name from now on. Answered with a [`ChangedInfo`](super::ChangedInfo).
    DnsAdd {
        /// A host's name, or `*.` and a zone for all names below it; one without a dot is of the network's domain.
        name: String,
        /// Its addresses, of either family.
        addrs: Vec<IpAddr>,
        /// The gateway's port; it may be left out where there is one gateway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// It is no error if the same is there already.
        #[serde(default, skip_serializing_if = "is_off")]
        may_exist: bool,
    },
    /// It knows the name no more. Answered with a [`ChangedInfo`](super::ChangedInfo).
    DnsDel {
        /// The name.
        name: String,
        /// The gateway's port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// It is no error if there is none.
        #[serde(default, skip_serializing_if = "is_off")]
        if_exists: bool,
    },
    /// The names that gateways know by themselves. Answered with a [`NamesInfo`](super::NamesInfo).
    DnsLs,
    /// A host always has an address from now on. Answered with a [`ChangedInfo`](super::ChangedInfo).
    LeasePin {
        /// As the key `host=` of `nat:` has it: `MAC/ADDR[/NAME]`.
        host: String,
        /// The gateway's port; without it that whose network has the address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// It is no error if the same is there already.
        #[serde(default, skip_serializing_if = "is_off")]
        may_exist: bool,
    },
    /// A host's lease ends, and it is pinned no more. Answered with a [`ChangedInfo`](super::ChangedInfo).
    LeaseDrop {
        /// The host's IPv4 or MAC address.
        host: String,
        /// The gateway's port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// It is no error if it has none.
        #[serde(default, skip_serializing_if = "is_off")]
        if_exists: bool,
    },
    /// The addresses that gateways lease. Answered with a [`LeasesInfo`](super::LeasesInfo).
    LeaseLs,
    /// The bridge ends, and its programs before it. Answered with `{}` when that has begun.
    Down,
    /// The bridge's configuration file is read again, and what differs carried out. Answered with a
    /// [`ReloadedInfo`](super::ReloadedInfo).
    Reload,
    /// Answered with `{}`. From then on an [`EventInfo`](super::EventInfo) is a line of its own, without an `id`, for all
    /// that comes, changes and goes; answers come between them. It ends with the connection.
    Events {
        /// First what there is now, as events of `initial`.
        #[serde(default, skip_serializing_if = "is_off")]
        initial: bool,
    },
    /// A station is bound to a port for good. Answered with `{}`.
    FdbAdd {
        /// The station.
        mac: String,
        /// The port, or a listener with one client.
        port: String,
        /// It is no error if it is bound there already.
        #[serde(default, skip_serializing_if = "is_off")]
        may_exist: bool,
    },
    /// A station is forgotten, bound or learned. Answered with `{}`.
    FdbDel {
        /// The station.
        mac: String,
        /// One switch only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<String>,
        /// It is no error if it is not known.
        #[serde(default, skip_serializing_if = "is_off")]
        if_exists: bool,
    },
    /// All that was learned is forgotten; what is bound stays. Answered with `{}`.
    FdbFlush {
        /// On this port only; a listener with its clients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// On one switch only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        switch: Option<String>,
    },
}

fn is_off(flag: &bool) -> bool {
    !flag
}

impl Command {
    /// Whether it does nothing but have an answer, so that it is vain where nobody will hear that.
    pub fn only_asks(&self) -> bool {
        match self {
            Self::Status | Self::Fdb { .. } | Self::Stations | Self::Flows | Self::Usb | Self::Drops => true,
            Self::Instances | Self::Radio => true,
            Self::Trace { .. } | Self::Wait { .. } | Self::Capture { .. } => true,
            Self::Logs { .. } | Self::Probe { .. } => true,
            Self::ForwardLs | Self::DnsLs | Self::LeaseLs => true,
            Self::ForwardAdd { .. } | Self::ForwardDel { .. } | Self::DnsAdd { .. } | Self::DnsDel { .. } => false,
            Self::LeasePin { .. } | Self::LeaseDrop { .. } => false,
            Self::Events { .. } => true,
            Self::Down | Self::Reload => false,
            Self::FdbAdd { .. } | Self::FdbDel { .. } | Self::FdbFlush { .. } => false,
            Self::PortAdd { .. } | Self::PortDel { .. } => false,
            Self::Set { .. } | Self::Cut { .. } | Self::Heal { .. } => false,
            Self::Start { .. } | Self::Stop { .. } | Self::Restart { .. } | Self::Kill { .. } => false,
        }
    }
}

impl Command {
    /// Whether its answer may come late, so that only so many clients may ask.
    pub fn takes_its_time(&self) -> bool {
        let of_a_bridge = matches!(
            self,
            Self::Wait { .. } | Self::Events { .. } | Self::PortAdd { fd: false, .. } | Self::Fdb { .. }
        );
        let asks_a_host = matches!(self, Self::Probe { .. });
        of_a_bridge
            || asks_a_host
            || matches!(self, Self::Start { .. } | Self::Stop { .. } | Self::Restart { .. } | Self::Kill { .. })
    }
}

/// A line that a client sends.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Request {
    /// The asker's number for it, which comes back in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What is asked.
    #[serde(flatten)]
    pub command: Command,
}

/// A line that is no request: the error to answer with, and the number that it had, as far as that could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRequest {
    /// The asker's number.
    pub id: Option<u64>,
    /// An error of class usage.
    pub error: Error,
}

impl Request {
    /// Parses a line without its end. Fields that are not known are ignored.
    ///
    /// # Errors
    /// [`BadRequest`]: no JSON object, no or an unknown command, a field of it missing or of another type.
    pub fn parse(line: &[u8]) -> Result<Self, BadRequest> {
        let no_request = |why: &str| BadRequest {
            id: None,
            error: Error::usage(format!("no request: {why}"))
                .hint("a request is a JSON object on one line: {\"id\":1,\"command\":\"status\"}"),
        };
        let fields: Map<String, Value> = serde_json::from_slice(line).map_err(|cause| no_request(&plain(&cause)))?;
        let id = match fields.get("id") {
            None | Some(Value::Null) => None,
            Some(number) => Some(number.as_u64().ok_or_else(|| no_request("its id is no number from 0 to 2^64-1"))?),
        };
        let bad = |error| BadRequest { id, error };
        let known = format!("known are {}", COMMANDS.join(", "));
        let Some(word) = fields.get("command").and_then(Value::as_str).map(str::to_owned) else {
            return Err(bad(Error::usage("there is no command").hint(known)));
        };
        if !COMMANDS.contains(&word.as_str()) {
            return Err(bad(Error::usage(format!("unknown command {word:?}")).hint(known)));
        }
        let command = serde_json::from_value(Value::Object(fields))
            .map_err(|cause| bad(Error::usage(format!("{word}: {}", plain(&cause)))))?;
        Ok(Self { id, command })
    }

    /// The line, with its end.
    pub fn print(&self) -> Vec<u8> {
        super::print(self)
    }
}

/// A parser's message without the characters of its input that a terminal would obey.
fn plain(cause: &serde_json::Error) -> String {
    let mut text = String::new();
    for char in cause.to_string().chars() {
        let written = if char.is_control() { write!(text, "{}", char.escape_debug()) } else { write!(text, "{char}") };
        debug_assert!(written.is_ok(), "a string takes what is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (Option<u64>, Command) {
        let request = Request::parse(line.as_bytes()).unwrap();
        assert_eq!(Request::parse(request.print().trim_ascii_end()), Ok(request.clone()));
        (request.id, request.command)
    }

    #[test]
    fn requests_as_they_are_written() {
        assert_eq!(parsed(r#"{"id":7,"command":"status","new":[1]}"#), (Some(7), Command::Status));
        let add = |fd, lifetime| Command::PortAdd { spec: "unix:/tmp/a".into(), fd, lifetime, may_exist: false };
        assert_eq!(parsed(r#"{"command":"port-add","spec":"unix:/tmp/a"}"#), (None, add(false, Lifetime::Bridge)));
        assert_eq!(
            parsed(r#"{"lifetime":"connection","fd":true,"spec":"unix:/tmp/a","command":"port-add"}"#).1,
            add(true, Lifetime::Connection)
        );
        assert_eq!(parsed(r#"{"command":"fdb"}"#).1, Command::Fdb { switch: None, after: None });
        let wait = Command::Wait { port: "a".into(), state: "up".into(), timeout_ms: 5000 };
        assert_eq!(parsed(r#"{"command":"wait","port":"a","state":"up","timeout_ms":5000}"#).1, wait);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_number() {
        for (line, id, says) in [
            ("", None, "no request: EOF"),
            ("[1]", None, "no request: "),
            (r#"{"id":"x"}"#, None, "no request: "),
            (r#"{"id":3}"#, Some(3), "there is no command"),
            (r#"{"id":3,"command":"reboot"}"#, Some(3), "unknown command \"reboot\""),
            (r#"{"id":3,"command":"port-del"}"#, Some(3), "port-del: missing field `port`"),
            (r#"{"id":3,"command":"wait","port":"a","state":"up","timeout_ms":-1}"#, Some(3), "wait: invalid value"),
            (
                r#"{"id":3,"command":"port-add","spec":"a","lifetime":"\u001b[2J"}"#,
                Some(3),
                "port-add: unknown variant",
            ),
        ] {
            let bad = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(bad.id, id, "{line}");
            assert!(bad.error.what().starts_with(says), "{line}: {}", bad.error);
            assert!(!bad.error.to_string().contains('\x1b'), "{line}");
        }
        let deep = [b'['; 60_000];
        assert!(Request::parse(&deep).is_err());
    }

    #[test]
    fn every_command_is_in_the_list() {
        let fields = r#""frame":"00","spec":"a","port":"a","state":"up","timeout_ms":1,"settings":["mirror=off"],"instances":["a"],"instance":"a","question":"ping 192.0.2.1","ports":[],"from":[],"forward":"a","name":"a","addrs":[],"host":"a","mac":"a""#;
        for word in COMMANDS {
            let line = format!(r#"{{"command":"{word}",{fields}}}"#);
            let request = Request::parse(line.as_bytes()).unwrap();
            assert!(String::from_utf8(request.print()).unwrap().contains(word));
        }
    }
}
