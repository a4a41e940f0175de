//! `reload`: the changed configuration file as a difference.
//!
//! Theory of operation. The file is read and checked as a whole, and compared with what it said before, not with what is
//! there: a port that was added by hand stays, and one that was removed by hand stays away. A file with a fault changes
//! nothing. Then the ports that differ go, come and change one after the other; all others are not touched. A port that
//! cannot be opened anew is put back as it was, and the answer says so.

use super::answer::{Told, as_value};
use super::aside::ROLE;
use crate::config::{Config, Forward, PortSpec, Source, Step, difference};
use crate::control::ReloadedInfo;
use crate::engine::command::Handle;
use crate::error::{Class, Error, Result};
use crate::rights::{self, deed};
use crate::service::Change;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::path::Path;
use std::sync::Arc;

/// A bridge's file, and what it said when it was last read.
pub struct Reloader {
    source: Source,
    /// Held while a reload is under way, so that there is one at a time.
    present: Mutex<Config>,
}

impl Reloader {
    /// Of a bridge that was started as `config` says, if that is from a file.
    pub fn of(config: &Config) -> Option<Self> {
        let source = config.source.as_deref()?.clone();
        Some(Self { source, present: Mutex::new(config.settled()) })
    }

    /// Reads the file again on a thread of its own, as a signal asks for, and logs what came of it.
    pub fn begin(self: &Arc<Self>, handles: Vec<Handle>) {
        let this = self.clone();
        let work = move || match this.reload(&handles, "SIGHUP").map_err(Error::told) {
            Ok(info) => info.warnings.iter().for_each(|warning| log::warn!("{warning}")),
            Err(error) => log::error!("{error}"),
        };
        if let Err(error) = rights::spawn("zb-reload", &ROLE, work) {
            log::warn!("cannot start a thread: {error}");
        }
    }

    /// Reads the file again, and carries out what differs.
    pub fn told(&self, handles: &[Handle], who: &str) -> Told {
        let reloaded = self.reload(handles, who);
        Told::Asked(reloaded.map_err(Error::told).and_then(|info| as_value(&info)))
    }

    fn reload(&self, handles: &[Handle], who: &str) -> Result<ReloadedInfo> {
        let mut present = self.present.lock();
        let file = self.source.file.display();
        let (next, warnings) = self.read(&present, handles)?;
        let steps = difference(&present, &next);
        let mut info = ReloadedInfo { file: file.to_string(), warnings, ..ReloadedInfo::default() };
        let mut failed = Vec::new();
        for step in steps {
            if let Err(error) = carry_out(&step, handles, &mut info) {
                // The file is kept as far as it holds.
                let (Step::Remove(port) | Step::Add(port) | Step::Replace(port, _) | Step::Change { port, .. }) = &step;
                failed.push((port.name.clone(), error));
            }
        }
        let is_failed = |port: &PortSpec| failed.iter().any(|(name, _)| *name == port.name);
        let kept = present.ports.iter().filter(|port| is_failed(port)).cloned();
        let held: Vec<PortSpec> = next.ports.iter().filter(|port| !is_failed(port)).cloned().chain(kept).collect();
        *present = Config { ports: held, ..next };
        log::info!("{file}: read again by {who}: {}", info.summary());
        match failed.into_iter().next() {
            None => Ok(info),
            Some((name, error)) => {
                let what = format!("{file}: {name}: {}", error.what());
                let rest = format!("the rest of it holds: {}", info.summary());
                let hint = error.advice().map_or_else(|| rest.clone(), |hint| format!("{hint}\n        {rest}"));
                Err(Error::new(error.class(), what).hint(hint).because(error))
            }
        }
    }

    /// What the file says now, and warnings about it.
    fn read(&self, present: &Config, handles: &[Handle]) -> Result<(Config, Vec<String>)> {
        let several = |mut errors: Vec<Error>| {
            let first = errors.drain(..).next().unwrap_or_else(|| Error::usage("wrong").at(self.source.file.display()));
            let rest = "nothing was changed; `zbridge check FILE` says all that is wrong";
            let hint = first.advice().map_or_else(|| rest.to_owned(), |hint| format!("{hint}\n        {rest}"));
            first.hint(hint)
        };
        // Perhaps a file that only who has started the bridge may read.
        let open = |path: &Path| deed::file(path, OFlags::RDONLY | OFlags::NONBLOCK);
        let mut next = Config::load_by(&self.source.file, open).map_err(several)?;
        next.overlay(self.source.over.clone());
        let warnings = next.check().map_err(|error| several(vec![error.at(self.source.file.display())]))?;
        let next = next.settled();
        let differs = |what: &str| {
            let what = format!("{}: {what} cannot change while the bridge runs", self.source.file.display());
            Err(Error::usage(what).hint("nothing was changed; start the bridge anew for that"))
        };
        // Of what is there, as the file may have named none of it for a while.
        if let Some(new) = next.switches_in_use().into_iter().find(|new| switch(handles, &new.name).is_err()) {
            return differs(&format!("switch {} is not there, and switches", new.name));
        }
        if next.switches != present.switches {
            return differs("settings of a switch");
        }
        if next.metrics != present.metrics {
            return differs("metrics");
        }
        Ok((next, warnings))
    }
}

fn switch<'a>(handles: &'a [Handle], name: &str) -> Result<&'a Handle> {
    let found = handles.iter().find(|handle| handle.name() == name);
    found.ok_or_else(|| Error::new(Class::NoObject, format!("no switch is named {name}")))
}

/// Removes a port; one that somebody has removed before is no obstacle.
fn remove(handles: &[Handle], port: &PortSpec) -> Result<()> {
    match switch(handles, &port.switch)?.remove_port(&port.name) {
        Err(error) if error.class() == Class::NoObject => Ok(()),
        done => done,
    }
}

fn carry_out(step: &Step, handles: &[Handle], info: &mut ReloadedInfo) -> Result<()> {
    match step {
        Step::Remove(port) => {
            remove(handles, port)?;
            info.removed.push(port.name.clone());
        }
        Step::Add(port) => {
            switch(handles, &port.switch)?.add_port((**port).clone())?;
            info.added.push(port.name.clone());
        }
        Step::Replace(old, new) => {
            remove(handles, old)?;
            if let Err(error) = switch(handles, &new.switch)?.add_port((**new).clone()) {
                let back = switch(handles, &old.switch)?.add_port((**old).clone());
                return Err(match back {
                    Ok(()) => error.hint("the port is as it was"),
                    Err(gone) => error.hint(format!("and it cannot be put back: {}", gone.what())),
                });
            }
            info.replaced.push(new.name.clone());
        }
        Step::Change { port, settings, ended, begun } => {
            let handle = switch(handles, &port.switch)?;
            if !settings.is_empty() {
                handle.set(&port.name, settings.clone())?;
            }
            forwards(handle, port, ended, begun)?;
            info.changed.push(port.name.clone());
        }
    }
    Ok(())
}

/// Ends and begins forwards of a gateway.
fn forwards(handle: &Handle, port: &PortSpec, ended: &[Forward], begun: &[Forward]) -> Result<()> {
    if ended.is_empty() && begun.is_empty() {
        return Ok(());
    }
    let services = handle.services()?;
    let found = services.iter().find(|(name, _)| *name == port.name);
    let (_, inquirer) = found.ok_or_else(|| Error::new(Class::NoObject, format!("no port is named {}", port.name)))?;
    let gone = ended.iter().map(|it| Change::DelForward { protocol: it.protocol, listen: it.listen });
    let new = begun.iter().map(|it| Change::AddForward { forward: *it, public: false });
    for change in gone.chain(new) {
        let unanswered = |why| Error::new(Class::Runtime, format!("{}: {why}", port.name)).because(why);
        inquirer.change(change).map_err(unanswered)??;
    }
    Ok(())
}
