//! What there is on a bridge, thing by thing, and what has become of it from one look to the next.
//!
//! A look asks the switches and the services as `status`, `stations` and `usb` do. What only lasts while it goes on, as
//! frames that are dropped, is a thing as long as its count rises.

use super::answer::with_clients;
use super::board::Board;
use super::details;
use crate::control::{EventInfo, PortInfo};
use crate::engine::command::Handle;
use crate::engine::status::{Condition, PortStatus};
use crate::service::report::LOST;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For how long nothing is dropped until a drop is over.
const QUIET: Duration = Duration::from_secs(10);

/// What a thing is: of what, on which switch, at which port, called how.
type Key = (&'static str, String, String, String);

/// All things of a look, each with its port, where that may change, and its state.
#[derive(Default)]
pub struct Look(BTreeMap<Key, (String, String)>);

/// The counts that last as long as they rise.
#[derive(Default)]
pub struct Counts(HashMap<Key, (u64, Option<Instant>)>);

impl Counts {
    /// Whether a count rises, or has within [`QUIET`]. What was counted before the first look is history.
    fn rises(&mut self, key: &Key, count: u64, first: bool, now: Instant) -> bool {
        let (before, risen) = self.0.entry(key.clone()).or_insert((if first { count } else { 0 }, None));
        if count > *before {
            *risen = Some(now);
        }
        *before = count;
        risen.is_some_and(|at| now.duration_since(at) < QUIET)
    }
}

impl Look {
    /// Looks. What does not answer, or is too much to be read at a glance, is as it was at the look before: nothing; then
    /// it is the first.
    pub fn taken(handles: &[Handle], board: &Arc<Board>, counts: &mut Counts, before: Option<&Self>) -> Self {
        let (mut look, now) = (Self::default(), Instant::now());
        for handle in handles {
            look.add_switch(handle, counts, before, now);
        }
        let running: Vec<Handle> = handles.iter().filter(|handle| !handle.has_ended()).cloned().collect();
        let devices = details::usb(&running).map(|told| told.devices);
        if devices.is_err() {
            look.keep(before, |(of, ..)| *of == "usb");
        }
        for device in devices.unwrap_or_default() {
            let state = match &device.importer {
                Some(importer) => format!("{} by {}", device.state, importer.peer),
                None => device.state.clone(),
            };
            look.add(("usb", device.switch, device.port, device.busid), "", state);
        }
        for it in board.instances() {
            let end = it.end.map(|end| format!(", {end}")).unwrap_or_default();
            look.add(("instance", String::new(), String::new(), it.name), "", format!("{}{end}", it.state));
        }
        look
    }

    fn add(&mut self, key: Key, port: &str, state: String) {
        self.0.insert(key, (port.to_owned(), state));
    }

    /// Takes over what was before.
    fn keep(&mut self, before: Option<&Self>, which: impl Fn(&Key) -> bool) {
        let kept = before.into_iter().flat_map(|before| &before.0).filter(|(key, _)| which(key));
        self.0.extend(kept.map(|(key, state)| (key.clone(), state.clone())));
    }

    fn add_switch(&mut self, handle: &Handle, counts: &mut Counts, before: Option<&Self>, now: Instant) {
        let Ok(status) = handle.status() else { return };
        let switch = status.name.clone();
        let state = match &status.condition {
            Condition::Runs => "runs".to_owned(),
            Condition::Hangs(why) => format!("hangs: {}", why.what()),
            Condition::Ended(why) => format!("ended: {}", why.what()),
        };
        self.add(("switch", String::new(), String::new(), switch.clone()), "", state);
        if matches!(status.condition, Condition::Hangs(_)) {
            self.keep(before, |(_, of, ..)| *of == switch);
        }
        if status.condition != Condition::Runs {
            return;
        }
        for (index, port) in status.ports.iter().enumerate() {
            // A listener is as the best of its clients, as `status` has it.
            let state = with_clients(port, status.ports.get(index + 1..).unwrap_or_default()).state;
            self.add_port(&switch, (port, state), counts, before.is_none(), now);
        }
        let stations = handle.fdb_at_a_glance();
        if stations.is_none() {
            self.keep(before, |(of, at, ..)| *of == "station" && *at == switch);
        }
        for (entry, port) in stations.unwrap_or_default() {
            let key = ("station", switch.clone(), String::new(), entry.mac.to_string());
            self.add(key, &port, String::new());
        }
        for (known, port) in handle.known().map(|(known, _)| known).unwrap_or_default() {
            let key = ("address", switch.clone(), String::new(), known.addr.to_string());
            self.add(key, &port, known.mac.to_string());
        }
    }

    fn add_port(
        &mut self,
        switch: &str,
        (port, state): (&PortStatus, &str),
        counts: &mut Counts,
        first: bool,
        now: Instant,
    ) {
        let key = |of, name: &str| (of, switch.to_owned(), port.name.clone(), name.to_owned());
        let mut state = vec![state.to_owned()];
        // A service's peer is a count of its flows.
        state.extend(Some(port.peer.clone()).filter(|peer| !peer.is_empty() && port.figures.is_empty()));
        state.extend(port.impairments.iter().cloned());
        self.add(("port", switch.to_owned(), String::new(), port.name.clone()), "", state.join(", "));
        let wall = SystemTime::now();
        for lease in port.leases.iter().filter(|lease| lease.until > wall) {
            let name = lease.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
            self.add(key("lease", &lease.addr.to_string()), &port.name, format!("{}{name}", lease.mac));
        }
        for (reason, count) in PortInfo::counted(&port.counters, port.queued).drops {
            let key = key("drop", &reason);
            if counts.rises(&key, count, first, now) {
                self.add(key, &port.name, String::new());
            }
        }
        let refused = port.figures.iter().filter(|figures| figures.of == LOST).flat_map(|figures| &figures.each);
        let flows = port.figures.iter().filter(|figures| figures.of != LOST).flat_map(|figures| &figures.each);
        let flows = flows.filter(|(word, _)| ["refused", "forbidden"].contains(word));
        for (word, count) in refused.chain(flows) {
            let key = key("refused", word);
            if counts.rises(&key, *count, first, now) {
                self.add(key, &port.name, String::new());
            }
        }
    }

    /// All of it, as it was before a subscription.
    pub fn initial(&self) -> Vec<EventInfo> {
        self.0.iter().map(|(key, now)| event("initial", key, now, "")).collect()
    }

    /// What has become of `before`: what is gone first, so that a name that comes again comes behind it.
    pub fn since(&self, before: &Self) -> Vec<EventInfo> {
        let gone = before.0.iter().filter(|(key, _)| !self.0.contains_key(*key));
        let mut events: Vec<EventInfo> = gone.map(|(key, was)| event("gone", key, was, "")).collect();
        for (key, now) in &self.0 {
            match before.0.get(key) {
                None => events.push(event("new", key, now, "")),
                Some(was) if was != now => {
                    let was = if was.1 == now.1 { &was.0 } else { &was.1 };
                    events.push(event("changed", key, now, was));
                }
                Some(_) => {}
            }
        }
        events
    }
}

/// Milliseconds since 1970.
pub fn wall_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis().try_into().unwrap_or(u64::MAX))
}

fn event(what: &str, (of, switch, at, name): &Key, (port, state): &(String, String), was: &str) -> EventInfo {
    EventInfo {
        time: wall_millis(),
        of: (*of).to_owned(),
        what: what.to_owned(),
        switch: switch.clone(),
        name: name.clone(),
        port: if port.is_empty() { at.clone() } else { port.clone() },
        state: state.clone(),
        was: was.to_owned(),
        ..EventInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: &'static str, name: &str) -> Key {
        (of, "default".into(), String::new(), name.into())
    }

    #[test]
    fn what_is_other_than_before_is_an_event() {
        let (mut before, mut now) = (Look::default(), Look::default());
        before.add(key("port", "a"), "", "up".into());
        before.add(key("port", "b"), "", "up".into());
        before.add(key("station", "02:00:00:00:00:01"), "a", String::new());
        now.add(key("port", "a"), "", "listening".into());
        now.add(key("port", "c"), "", "up".into());
        now.add(key("station", "02:00:00:00:00:01"), "c", String::new());
        let said: Vec<String> = now
            .since(&before)
            .iter()
            .map(|it| format!("{} {} {} {} {} {}", it.of, it.what, it.name, it.port, it.state, it.was))
            .collect();
        let wanted = [
            "port gone b  up ",
            "port changed a  listening up",
            "port new c  up ",
            "station changed 02:00:00:00:00:01 c  a",
        ];
        assert_eq!(said, wanted);
        assert!(now.since(&now).is_empty() && now.initial().iter().all(|it| it.what == "initial"));
    }

    #[test]
    fn a_drop_begins_with_the_first_and_ends_when_there_are_none_for_a_while() {
        let (mut counts, begun, drop) = (Counts::default(), Instant::now(), key("drop", "stalled"));
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(!counts.rises(&drop, 7, true, at(0)), "that was before");
        assert!(counts.rises(&drop, 8, false, at(1)) && counts.rises(&drop, 8, false, at(10)));
        assert!(!counts.rises(&drop, 8, false, at(11)));
        assert!(counts.rises(&key("drop", "mtu"), 1, false, at(11)), "one that comes later begins with its first");
    }
}
