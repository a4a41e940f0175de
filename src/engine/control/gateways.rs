//! Changes of gateways that run, for clients: forwards, names of the resolver, and leases.
//!
//! Theory of operation. The gateways are asked one after the other, past the switches and on a thread of their own
//! (`aside.rs`), until one says that the change is its own: the guest, or the address, is of its network. A client may
//! name the gateway instead.

use super::answer::{Answerer, Outcome, Told, as_value};
use super::details::ask;
use crate::config::text::shell;
use crate::config::{Forward, LanHost};
use crate::control::{ChangedInfo, Command, ForwardInfo, ForwardsInfo, HeldInfo, LeasesInfo, NameInfo, NamesInfo};
use crate::engine::command::Handle;
use crate::error::{Class, Error, Result};
use crate::port::inquiry::Inquirer;
use crate::service::{Change, Changed, Holder};

/// What a change shall come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Something is there that was not.
    New,
    /// Something is there, and may have been before.
    There,
    /// Something is gone that was there.
    Ended,
    /// Something is not there, and may not have been.
    Gone,
}

impl Wanted {
    /// Of something that is added.
    pub fn added(may_exist: bool) -> Self {
        if may_exist { Self::There } else { Self::New }
    }

    /// Of something that is removed.
    pub fn removed(if_exists: bool) -> Self {
        if if_exists { Self::Gone } else { Self::Ended }
    }
}

/// A change for a gateway.
pub struct Wish {
    /// What it is called in errors.
    pub of: String,
    /// The gateway's port, if it was named.
    pub port: Option<String>,
    /// The change.
    pub change: Change,
    /// What it shall come to.
    pub wanted: Wanted,
}

impl Wish {
    /// What a command wants of a gateway.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn of(command: Command) -> Result<Self> {
        let (of, port, change, wanted) = match command {
            Command::ForwardAdd { forward: text, port, public, may_exist } => {
                let change = Change::AddForward { forward: forward(&text)?, public };
                (text, port, change, Wanted::added(may_exist))
            }
            Command::ForwardDel { forward, port, if_exists } => {
                let change = no_forward(&forward)?;
                (format!("forward {forward}"), port, change, Wanted::removed(if_exists))
            }
            Command::DnsAdd { name, addrs, port, may_exist } => {
                (name.clone(), port, Change::AddName { name, addrs }, Wanted::added(may_exist))
            }
            Command::DnsDel { name, port, if_exists } => {
                (format!("added name {name}"), port, Change::DelName { name }, Wanted::removed(if_exists))
            }
            Command::LeasePin { host, port, may_exist } => {
                let change = Change::Pin(pinned(&host)?);
                (host, port, change, Wanted::added(may_exist))
            }
            Command::LeaseDrop { host, port, if_exists } => {
                let change = Change::DropLease(holder(&host)?);
                (format!("lease of {host}"), port, change, Wanted::removed(if_exists))
            }
            _ => return Err(Error::usage("it is no change of a gateway")),
        };
        Ok(Self { of, port, change, wanted })
    }
}

/// The forward that a client has written.
fn forward(text: &str) -> Result<Forward> {
    Forward::parse(text).map_err(|form| Error::usage(format!("forward {text:?}: expected {form}")))
}

/// The change that removes the forward that a client has written.
fn no_forward(text: &str) -> Result<Change> {
    let parsed = Forward::parse_listen(text);
    let (protocol, listen) = parsed.map_err(|form| Error::usage(format!("forward {text:?}: expected {form}")))?;
    Ok(Change::DelForward { protocol, listen })
}

/// The host that a client has written.
fn pinned(text: &str) -> Result<LanHost> {
    LanHost::parse(text).map_err(|form| Error::usage(format!("host {text:?}: expected {form}")))
}

/// Whose lease a client means.
fn holder(text: &str) -> Result<Holder> {
    let addr = text.parse().map(Holder::Addr).ok();
    let mac = || crate::config::value::station(text).map(Holder::Mac).ok();
    addr.or_else(mac).ok_or_else(|| {
        Error::usage(format!(
            "host {text:?}: expected an address, as 10.0.2.20, or a MAC address, as 02:00:5e:00:53:01"
        ))
    })
}

impl Answerer {
    /// Has a gateway changed.
    pub(super) fn change_gateway(&self, wish: Wish, who: &str) -> Outcome {
        let handles: Vec<Handle> = self.handles.iter().filter(|handle| !handle.has_ended()).cloned().collect();
        let who = who.to_owned();
        Outcome::Aside(Box::new(move || {
            let changed = change(&handles, &wish).inspect(|info| {
                if info.changed {
                    log::info!("{}: {} by {who}", info.port, describe(&wish, info));
                }
            });
            Told::Asked(changed.map_err(Error::told).and_then(|info| as_value(&info)))
        }))
    }
}

/// What was changed, for the log.
fn describe(wish: &Wish, info: &ChangedInfo) -> String {
    let of = info.forward.as_ref().unwrap_or(&wish.of);
    match wish.wanted {
        Wanted::New | Wanted::There => format!("{of} is added"),
        Wanted::Ended | Wanted::Gone => format!("{of} is removed"),
    }
}

/// The gateways that may be meant, by the names of their ports.
fn gateways(handles: &[Handle], port: Option<&str>) -> Result<Vec<(String, Inquirer)>> {
    let mut found = Vec::new();
    let mut others = false;
    for handle in handles {
        let services = handle.services()?;
        if services.is_empty() {
            continue;
        }
        let ports = handle.status()?.ports;
        let is_gateway = |name: &str| ports.iter().any(|port| port.name == name && port.kind == "nat");
        for (name, inquirer) in services {
            if port.is_none_or(|port| port == name) && is_gateway(&name) {
                found.push((name, inquirer));
            } else {
                others |= port.is_some_and(|port| port == name);
            }
        }
    }
    match port {
        _ if !found.is_empty() => Ok(found),
        Some(port) if others => Err(Error::usage(format!("{port} is no gateway (nat:)"))),
        Some(port) => Err(Error::new(Class::NoObject, format!("no gateway is named {port}"))
            .hint("`zbridge status` shows the ports; a gateway is one of kind nat")),
        None => Err(Error::new(Class::NoObject, "this bridge has no gateway")
            .hint("zbridge port add nat:10.0.2.2/24 adds one; see `zbridge help gateway`")),
    }
}

/// Has the change carried out by the gateway whose it is.
fn change(handles: &[Handle], wish: &Wish) -> Result<ChangedInfo> {
    let gateways = gateways(handles, wish.port.as_deref())?;
    if let (Change::AddName { .. }, [_, _, ..]) = (&wish.change, gateways.as_slice()) {
        let names: Vec<_> = gateways.iter().map(|(name, _)| name.as_str()).collect();
        let error = Error::usage(format!("several gateways have a resolver: {}", names.join(", ")));
        return Err(error.hint(format!("say which one is meant: --port {}", shell(names.first().unwrap_or(&"nat")))));
    }
    let mut missing = None;
    for (port, inquirer) in &gateways {
        let unanswered = |why| Error::new(Class::Runtime, format!("{port}: {why}")).because(why);
        let info = |changed, forward| ChangedInfo { port: port.clone(), changed, forward };
        return match inquirer.change(wish.change.clone()).map_err(unanswered)?.map_err(|error| error.at(port))? {
            Changed::Elsewhere => continue,
            Changed::Missing => {
                missing = Some(info(false, None));
                continue;
            }
            Changed::Done => Ok(info(true, None)),
            Changed::Forward(forward) => Ok(info(true, Some(forward.to_string()))),
            Changed::Already if wish.wanted == Wanted::New => {
                Err(Error::usage(format!("{port}: {} is there already", wish.of)).hint("--may-exist allows that"))
            }
            Changed::Already => Ok(info(false, None)),
            Changed::Otherwise(before) => {
                let what = format!("{port}: {} is there already, as {before}", wish.of);
                Err(Error::usage(what).hint("remove that first"))
            }
        };
    }
    match missing {
        Some(info) if wish.wanted == Wanted::Gone => Ok(info),
        Some(_) => Err(Error::new(Class::NoObject, format!("there is no {}", wish.of)).hint("--if-exists allows that")),
        None => {
            let names: Vec<_> = gateways.iter().map(|(name, _)| name.as_str()).collect();
            let what = format!("{}: its address is in the network of no gateway", wish.of);
            Err(Error::usage(what).hint(format!("the gateways are {}", names.join(", "))))
        }
    }
}

/// The forwards of all gateways, sorted by port and where the host listens.
///
/// # Errors
/// A switch or a service does not answer.
pub fn forwards(handles: &[Handle]) -> Result<ForwardsInfo> {
    let mut forwards = Vec::new();
    ask(handles, |told| {
        let inward = || told.details.flows.iter().filter(|flow| flow.inward);
        forwards.extend(inward().filter(|flow| flow.state == "listening").filter_map(|flow| {
            let is_client = |other: &&crate::service::FlowDetail| {
                other.state != "listening" && other.guest == flow.guest && other.protocol == flow.protocol
            };
            Some(ForwardInfo {
                switch: told.switch.to_owned(),
                port: told.port.clone(),
                protocol: flow.protocol.to_owned(),
                listen: flow.remote?,
                guest: flow.guest,
                name: told.names.get(&flow.guest.ip()).cloned(),
                clients: inward().filter(is_client).count() as u64,
            })
        }));
    })?;
    forwards.sort_by(|a, b| {
        let place = |it: &ForwardInfo| (it.switch.clone(), it.port.clone(), it.listen, it.protocol.clone());
        place(a).cmp(&place(b))
    });
    Ok(ForwardsInfo { forwards })
}

/// The names of all resolvers, sorted by port and name.
///
/// # Errors
/// As [`forwards`].
pub fn names(handles: &[Handle]) -> Result<NamesInfo> {
    let mut names = Vec::new();
    ask(handles, |told| {
        names.extend(told.details.names.iter().map(|it| NameInfo {
            switch: told.switch.to_owned(),
            port: told.port.clone(),
            name: it.name.clone(),
            addrs: it.addrs.clone(),
            source: it.source.to_owned(),
        }));
    })?;
    names.sort_by(|a: &NameInfo, b| (&a.switch, &a.port, &a.name).cmp(&(&b.switch, &b.port, &b.name)));
    Ok(NamesInfo { names })
}

/// The leases of all gateways, sorted by port and address.
///
/// # Errors
/// As [`forwards`].
pub fn leases(handles: &[Handle]) -> Result<LeasesInfo> {
    let mut leases = Vec::new();
    ask(handles, |told| {
        leases.extend(told.details.leases.iter().map(|it| HeldInfo {
            switch: told.switch.to_owned(),
            port: told.port.clone(),
            addr: it.addr,
            mac: it.mac.to_string(),
            name: it.name.clone(),
            left: it.left.map(|left| left.as_secs()),
            pinned: it.pinned,
        }));
    })?;
    leases.sort_by(|a: &HeldInfo, b| (&a.switch, &a.port, a.addr).cmp(&(&b.switch, &b.port, b.addr)));
    Ok(LeasesInfo { leases })
}
