//! What has happened on a bridge between two looks at it.

use super::super::stations::Station;
use super::super::table::{dropped, peer, reasons};
use super::asker::Look;
use crate::control::{InstanceInfo, PortInfo};
use std::collections::BTreeMap;

/// Lines of one look; the rest is summed up. A bench that starts has hundreds of ports at once.
const MOST: usize = 20;

/// How much a line weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weight {
    /// As usual.
    Plain,
    /// Something is wrong.
    Warning,
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happened {
    /// When it was seen.
    pub time: String,
    /// What.
    pub text: String,
    /// How much it weighs.
    pub weight: Weight,
}

/// What happened between two looks, seen at `time`.
pub fn between(time: &str, before: &Look, now: &Look) -> Vec<Happened> {
    let mut all = switches(before, now);
    all.extend(ports(before, now));
    all.extend(stations(before, now));
    all.extend(instances(before, now));
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    if more > 0 {
        all.push((format!("and {more} changes more"), Weight::Plain));
    }
    all.into_iter().map(|(text, weight)| Happened { time: time.to_owned(), text, weight }).collect()
}

type Said = (String, Weight);

fn switches(before: &Look, now: &Look) -> Vec<Said> {
    let was = |name: &str| before.status.switches.iter().find(|switch| switch.name == name);
    let cuts = now.status.switches.iter().flat_map(|switch| {
        let old = was(&switch.name).map(|old| old.cuts.as_slice()).unwrap_or_default();
        let come =
            switch.cuts.iter().filter(|cut| !old.contains(cut)).map(|cut| (format!("cut: {cut}"), Weight::Warning));
        let gone = old.iter().filter(|cut| !switch.cuts.contains(cut));
        come.chain(gone.map(|cut| (format!("healed: {cut}"), Weight::Plain))).collect::<Vec<_>>()
    });
    let said = now.status.switches.iter().filter_map(|switch| {
        let old = was(&switch.name).and_then(|old| old.trouble.as_ref());
        match (&switch.trouble, old) {
            (Some(it), old) if old != Some(it) => {
                Some((format!("switch {} {}: {}", switch.name, it.state, it.reason), Weight::Warning))
            }
            (None, Some(_)) => Some((format!("switch {} runs again", switch.name), Weight::Plain)),
            _ => None,
        }
    });
    said.chain(cuts).collect()
}

fn by_name(look: &Look) -> BTreeMap<(&str, &str), &PortInfo> {
    let ports = look.status.switches.iter().flat_map(|switch| switch.ports.iter().map(move |port| (switch, port)));
    ports.map(|(switch, port)| ((switch.name.as_str(), port.name.as_str()), port)).collect()
}

fn ports(before: &Look, now: &Look) -> Vec<Said> {
    let (old, new) = (by_name(before), by_name(now));
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
    let mut said: Vec<Said> =
        gone.map(|((_, name), port)| (format!("{name} has left ({})", peer(port)), Weight::Plain)).collect();
    for (key, port) in &new {
        let name = &port.name;
        let Some(was) = old.get(key) else {
            said.push((format!("{name} came: {}, {} {}", port.state, port.kind, peer(port)), Weight::Plain));
            continue;
        };
        if was.state != port.state {
            let weight = if port.state == "up" || port.state == "listening" { Weight::Plain } else { Weight::Warning };
            let why = if port.set_down && !was.set_down { " (set down)" } else { "" };
            said.push((format!("{name}: {}, was {}{why}", port.state, was.state), weight));
        }
        if was.drops != port.drops && dropped(was) < dropped(port) {
            let fresh = port.drops.iter().filter(|(reason, _)| !was.drops.contains_key(*reason));
            let fresh: Vec<&str> = fresh.map(|(reason, _)| reason.as_str()).collect();
            if !fresh.is_empty() {
                said.push((format!("{name} drops frames: {}", reasons(port)), Weight::Warning));
            }
        }
    }
    said
}

/// Whether an instance has ended, and not well.
pub fn has_failed(instance: &InstanceInfo) -> bool {
    instance.state == "ended" && instance.end.as_deref().is_some_and(|end| end != "status 0")
}

fn instances(before: &Look, now: &Look) -> Vec<Said> {
    let said = now.instances.iter().filter_map(|it| {
        let was = before.instances.iter().find(|was| was.name == it.name);
        if was.is_some_and(|was| (&was.state, was.restarts) == (&it.state, it.restarts)) {
            return None;
        }
        let end = it.end.as_ref().map(|end| format!(", {end}")).unwrap_or_default();
        let weight = if has_failed(it) { Weight::Warning } else { Weight::Plain };
        Some((format!("instance {}: {}{end}", it.name, it.state), weight))
    });
    said.collect()
}

fn stations(before: &Look, now: &Look) -> Vec<Said> {
    let key = |station: &Station| (station.switch.clone(), station.mac.clone());
    let old: BTreeMap<_, _> = before.stations.iter().map(|station| (key(station), station)).collect();
    let mut said = Vec::new();
    for station in &now.stations {
        let (mac, port) = (&station.mac, &station.port);
        let was = old.get(&key(station));
        let addresses: Vec<&str> = station.addresses.iter().map(|address| address.addr.as_str()).collect();
        match was {
            None => {
                said.push((format!("{mac} is on {port} {}", addresses.join(" ")).trim_end().to_owned(), Weight::Plain))
            }
            Some(was) if was.port != *port => {
                said.push((format!("{mac} is on {port}, was on {}", was.port), Weight::Plain));
            }
            Some(_) => {}
        }
        if station.flapping && !was.is_some_and(|was| was.flapping) {
            said.push((format!("{mac} is heard on two ports by turns"), Weight::Warning));
        }
        for address in station.addresses.iter().filter(|address| address.shared) {
            let known = was.is_some_and(|was| was.addresses.contains(address));
            if !known {
                said.push((format!("{} is claimed by {mac}, and by another station", address.addr), Weight::Warning));
            }
        }
    }
    said
}
