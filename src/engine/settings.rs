//! Settings of ports and stations of the forwarding database that change while a switch runs.
//!
//! Theory of operation. What a port has by its specification is changed in the specification first, whose checks hold, and
//! then in the switch: so it stays when the port is opened again, and a listener's later clients have it, too. A client
//! alone (`inst1#1`) is changed in the switch only.

use super::bends;
use super::cable;
use super::lives::Lives;
use super::slot::{Origin, PortSlot};
use crate::capture::filter::is_port;
use crate::config::{PortSpec, Setting};
use crate::error::{Class, Error, Result};
use crate::frame::PortId;
use crate::switch::Settings;
use crate::wire::Mac;
use std::sync::Arc;

/// A change of the forwarding database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stations {
    /// A station is bound to the port of this name for good.
    Bind(Mac, String),
    /// A station is forgotten, learned or bound.
    Forget(Mac),
    /// What was learned is forgotten, on the port of this name or on all.
    Flush(Option<String>),
}

impl Lives {
    /// Changes settings of a port, or of a listener with its clients. All are set, or none.
    pub fn set(&mut self, name: &str, settings: Vec<Setting>) -> Result<()> {
        let known = |name: &str| match self.is_taken(name) {
            true => Ok(()),
            false => Err(self.no_port(name)),
        };
        known(name)?;
        for setting in &settings {
            match setting {
                Setting::Mirrors(mirrors) => mirrors.iter().try_for_each(|mirror| {
                    known(&mirror.port)?;
                    let same = mirror.port == name;
                    if same { Err(Error::usage(format!("{name} cannot mirror itself"))) } else { Ok(()) }
                })?,
                Setting::Bends(bends) => bends::check(bends)?,
                Setting::Down(_) | Setting::Learn(_) | Setting::Mtu(_) | Setting::Queue(_) => {}
                Setting::Isolate(_) | Setting::Guard(_) | Setting::Statics(_) => {}
            }
        }
        let mirrors = |setting: &Setting| matches!(setting, Setting::Mirrors(_));
        if self.ports.switch.is_radio() && settings.iter().any(mirrors) {
            return Err(Error::usage("mirror means nothing on a radio medium"));
        }
        self.configure(name, &settings)?;
        for setting in settings {
            match setting {
                Setting::Mirrors(mirrors) => self.ports.set_mirrors(name, mirrors),
                Setting::Bends(bends) => self.ports.set_bends(name, &bends)?,
                Setting::Down(down) => cable::pull(&mut self.ports, name, down),
                Setting::Learn(_) | Setting::Mtu(_) | Setting::Queue(_) => {}
                Setting::Isolate(_) | Setting::Guard(_) | Setting::Statics(_) => {}
            }
        }
        Ok(())
    }

    /// The specification of the port or listener of this name.
    fn spec_of(&self, name: &str) -> Option<Arc<PortSpec>> {
        let of_slot = |slot: &PortSlot| (slot.name == name).then(|| slot.origin.spec().cloned()).flatten();
        let listener = self.listener_of(name).and_then(|index| self.listeners.get(index));
        listener.map(|slot| slot.spec.clone()).or_else(|| self.ports.edges.slots().find_map(of_slot))
    }

    /// Sets what a specification says.
    fn configure(&mut self, name: &str, settings: &[Setting]) -> Result<()> {
        let is_said =
            |setting: &&Setting| !matches!(setting, Setting::Down(_) | Setting::Bends(_) | Setting::Mirrors(_));
        if !settings.iter().any(|setting| is_said(&setting)) {
            return Ok(());
        }
        let before = self.spec_of(name);
        let after = before.as_ref().map(|before| changed(before, settings)).transpose()?;
        let statics = settings.iter().any(|setting| matches!(setting, Setting::Statics(_)));
        if before.is_none() && statics {
            return Err(Error::usage(format!("{name} has no specification of its own: static is set of its listener"))
                .hint(format!("zbridge fdb add MAC {name} binds a station to it")));
        }
        let ids: Vec<PortId> = self.ports.edges.ids().collect();
        let ids = ids.into_iter().filter(|&id| self.ports.edges.slot(id).is_some_and(|slot| is_port(&slot.name, name)));
        for id in ids.collect::<Vec<_>>() {
            self.ports.set_config(id, |config| enter(config, settings, after.as_ref()));
            if let (Some(before), Some(after), true) = (&before, &after, statics) {
                self.ports.set_statics(id, &before.statics, &after.statics);
            }
        }
        if let Some(after) = after {
            self.keep_spec(name, &Arc::new(after));
        }
        Ok(())
    }

    /// The port or listener of this name has another specification from now on.
    fn keep_spec(&mut self, name: &str, spec: &Arc<PortSpec>) {
        if let Some(slot) = self.listener_of(name).and_then(|index| self.listeners.get_mut(index)) {
            slot.spec = spec.clone();
        }
        let ids: Vec<PortId> = self.ports.edges.ids().collect();
        for id in ids {
            let slot = self.ports.edges.slot_mut(id).filter(|slot| slot.name == name);
            match slot.map(|slot| &mut slot.origin) {
                Some(Origin::Spec(own) | Origin::Given(own) | Origin::Apart(own)) => *own = spec.clone(),
                Some(Origin::Client { .. } | Origin::Inside) | None => {}
            }
        }
    }

    /// Changes the forwarding database. Gives whether it was not so before.
    pub fn change_stations(&mut self, change: &Stations) -> Result<bool> {
        if self.ports.switch.is_radio() {
            return Err(Error::usage("a radio medium has no forwarding database"));
        }
        let now = self.ports.clock.now();
        match change {
            Stations::Bind(mac, name) => {
                let id = self.only(name)?;
                if self.ports.switch.has_static(*mac, id, now) {
                    return Ok(false);
                }
                let full = || Error::new(Class::Runtime, format!("the forwarding database has no room for {mac}"));
                self.ports.switch.add_static(now, *mac, id).then_some(true).ok_or_else(full)
            }
            Stations::Forget(mac) => {
                let of: Vec<PortId> =
                    self.ports.switch.fdb(now).filter(|entry| entry.mac == *mac).map(|entry| entry.port).collect();
                of.iter().for_each(|id| self.ports.switch.remove_static(*mac, *id, now));
                self.ports.switch.forget(*mac);
                Ok(!of.is_empty())
            }
            Stations::Flush(name) => {
                let ids: Vec<PortId> = self.ports.edges.ids().collect();
                let meant = |id: &PortId| {
                    let slot = self.ports.edges.slot(*id);
                    slot.is_some_and(|slot| name.as_ref().is_none_or(|name| is_port(&slot.name, name)))
                };
                let ids: Vec<PortId> = ids.into_iter().filter(meant).collect();
                ids.iter().for_each(|id| self.ports.switch.flush_port(now, *id));
                Ok(!ids.is_empty())
            }
        }
    }

    /// The port of this name, or the only client of that listener.
    fn only(&self, name: &str) -> Result<PortId> {
        let edges = &self.ports.edges;
        let is_it = |id: &PortId| edges.slot(*id).is_some_and(|slot| is_port(&slot.name, name));
        let found: Vec<PortId> = edges.ids().filter(is_it).collect();
        match found.as_slice() {
            [only] => Ok(*only),
            [] => Err(Error::usage(format!("nobody is connected to {name}"))
                .hint(format!("zbridge set {name} static=MAC holds for whoever connects"))),
            _ => Err(Error::usage(format!("{name} has several clients: name one of them, as {name}#1"))),
        }
    }
}

/// A specification with settings, if it may have them.
fn changed(before: &PortSpec, settings: &[Setting]) -> Result<PortSpec> {
    let mut after = before.clone();
    settings.iter().for_each(|setting| setting.enter(&mut after));
    let mtu = settings.iter().any(|setting| matches!(setting, Setting::Mtu(_)));
    if mtu && (after.kind.is_service() || after.kind.tells_mtu()) {
        let what = format!("the mtu of {} is told to its hosts when it comes, and stays", after.name);
        return Err(Error::usage(what).hint("remove the port, and add it with another mtu="));
    }
    after.check_kind().map_err(|fault| Error::from(fault).at(&after.name))?;
    Ok(after)
}

/// Enters settings: of a port with a specification what that says now.
fn enter(config: &mut Settings, settings: &[Setting], spec: Option<&PortSpec>) {
    if let Some(spec) = spec {
        let queue = spec.queue.unwrap_or_else(|| spec.kind.queue());
        let mtu = spec.mtu.filter(|_| !spec.kind.tells_mtu());
        *config = Settings { learn: spec.learn, isolate: spec.isolate, guard: spec.is_guarded(), mtu, queue };
        return;
    }
    for setting in settings {
        match setting {
            Setting::Learn(on) => config.learn = *on,
            Setting::Mtu(mtu) => config.mtu = *mtu,
            Setting::Queue(queue) => config.queue = queue.unwrap_or(config.queue),
            Setting::Isolate(on) => config.isolate = *on,
            Setting::Guard(guard) => config.guard = guard.unwrap_or(config.isolate),
            Setting::Statics(_) | Setting::Down(_) | Setting::Mirrors(_) | Setting::Bends(_) => {}
        }
    }
}
