//! The words on a dry run: what a switch would do with a frame, for people.

use super::prospect;
use crate::control::{TraceCopy, TraceInfo, TraceStep, hex};
use crate::counters::DropReason;
use crate::engine::command::Handle;
use crate::engine::trace::{Report, View};
use crate::error::Result;
use crate::frame::PortId;
use crate::switch::{Address, Forecast, LeftOut, Outcome, Source, Step, Waits};
use crate::wire::{Checksum, Gso, Mac, Offload, vlan_tags};
use std::net::{IpAddr, Ipv4Addr};

/// Copies that are put into words; a switch may have thousands of ports.
const COPIES: usize = 256;

/// Traces a frame that would come in by `port`; `segment`: it is a super-frame of TCP segments of so many bytes.
pub fn of(handle: &Handle, port: &str, frame: Vec<u8>, segment: Option<u16>) -> Result<TraceInfo> {
    let offload = segment.and_then(|size| offload(&frame, size)).unwrap_or(Offload::NONE);
    let report = handle.trace(port, frame, offload)?;
    Ok(Words { report: &report }.all(handle.name()))
}

/// What a port with offloads would say of a frame that carries TCP.
fn offload(frame: &[u8], gso_size: u16) -> Option<Offload> {
    let at = 14 + 4 * vlan_tags(frame);
    let is_v4 = match frame.get(at - 2..at)? {
        [0x08, 0x00] => true,
        [0x86, 0xdd] => false,
        _ => return None,
    };
    let header = if is_v4 { usize::from(frame.get(at)? & 0x0f) * 4 } else { 40 };
    let protocol = *frame.get(at + if is_v4 { 9 } else { 6 })?;
    let ecn = false;
    let gso = if is_v4 { Gso::Tcp4 { ecn } } else { Gso::Tcp6 { ecn } };
    let checksum = Checksum::Partial { start: u16::try_from(at + header).ok()?, offset: 16 };
    (protocol == 6).then_some(Offload { gso, gso_size, header_len: 0, checksum })
}

struct Words<'a> {
    report: &'a Report,
}

impl Words<'_> {
    fn all(&self, switch: &str) -> TraceInfo {
        let Report { ingress, frame, traced, .. } = self.report;
        let mut info = TraceInfo::default();
        (info.switch, info.port, info.hex) = (switch.to_owned(), self.name(*ingress), hex(frame));
        info.radio = self.report.radio;
        info.steps = self.steps();
        let (outcome, last) = match traced.outcome {
            Outcome::Dropped(reason) => {
                info.reason = Some(reason.row().word.to_owned());
                ("dropped", format!("dropped: {}", explained(reason)))
            }
            Outcome::Unicast(port) => ("unicast", format!("it goes to {} alone", self.name(port))),
            Outcome::Flood => ("flood", "it goes to every other port that may take it".to_owned()),
            Outcome::Radiated => ("radio", "it is on the air: every node in range hears it".to_owned()),
        };
        info.outcome = outcome.to_owned();
        info.steps.push(TraceStep::new("verdict", last));
        info.copies = traced.copies.iter().take(COPIES).map(|copy| self.copy(copy)).collect();
        if let Some(more) = traced.copies.len().checked_sub(COPIES).filter(|more| *more > 0) {
            info.left_out.push(TraceStep::new("…", format!("{more} more copies are not shown")));
        }
        info.left_out.extend(traced.left_out.iter().take(COPIES).map(|(port, why)| {
            let why = match why {
                LeftOut::Down => "it is down, and gets no copy",
                LeftOut::Pulled => "it was set down (`zbridge set PORT up` ends it), and gets no copy",
                LeftOut::Isolated => "both ports are isolated (`isolate`): it gets no copy",
                _ => "it is out of range, and hears nothing",
            };
            TraceStep::new(self.name(*port), why)
        }));
        info
    }

    fn view(&self, port: PortId) -> Option<&View> {
        self.report.views.get(&port)
    }

    fn name(&self, port: PortId) -> String {
        self.view(port).map_or_else(|| "a port that is gone".to_owned(), |view| view.name.clone())
    }

    fn steps(&self) -> Vec<TraceStep> {
        let Report { ingress, frame, traced, .. } = self.report;
        let mut steps = Vec::new();
        if let Some(View { name, kind, state, translates, .. }) = self.view(*ingress) {
            let kind = if kind.is_empty() { String::new() } else { format!("{kind}, ") };
            steps.push(TraceStep::new("in", format!("by {name} ({kind}{state})")));
            if *translates {
                steps
                    .push(TraceStep::new("rewrite", "`rewrite=` of the port has given it its addresses on the switch"));
            }
        }
        if let Some(line) = &traced.line {
            steps.push(TraceStep::new("line", prospect::words(line)));
        }
        if !self.report.radio {
            steps.push(TraceStep::new("tag", tags(frame)));
        }
        steps.extend(traced.steps.iter().map(|step| self.step(step)));
        steps
    }

    fn step(&self, step: &Step) -> TraceStep {
        let (word, text) = match *step {
            Step::Guarded(Some(claim)) => {
                ("guard", format!("it claims {}, which is that of {}", claim.address, self.name(claim.owner)))
            }
            Step::Guarded(None) => ("guard", "neighbour discovery in fragments cannot be checked".to_owned()),
            Step::Learned(mac, source) => ("source", self.source(mac, source)),
            Step::NotLearned(mac, true) => ("source", format!("{mac} is no station's address: not learned")),
            Step::NotLearned(mac, false) => ("source", format!("{mac} is not learned: the port has learn=off")),
            Step::Says(addr, mac, None) => ("address", format!("it says that {addr} is at {mac}")),
            Step::Says(addr, mac, Some(before)) => {
                ("address", format!("it says that {addr} is at {mac}; before, it was at {before}"))
            }
            Step::Group(Mac::BROADCAST) => ("destination", "to all (broadcast)".to_owned()),
            Step::Group(mac) => ("destination", format!("to the group {mac}, for all")),
            Step::Known(mac, port, age) => {
                let age =
                    age.map_or_else(|| "for good (static)".to_owned(), |age| format!("heard {} s ago", age.as_secs()));
                ("destination", format!("{mac} is on {}, {age}", self.name(port)))
            }
            Step::Unknown(mac, false) => ("destination", format!("{mac} is not known: for all")),
            Step::Unknown(mac, true) => {
                ("destination", format!("{mac} has left a moment ago: for all, and the switch asks for its successor"))
            }
        };
        TraceStep::new(word, text)
    }

    fn source(&self, mac: Mac, source: Source) -> String {
        match source {
            Source::Known => format!("{mac} is known on this port, or static"),
            Source::New => format!("{mac} is new: it would be learned on this port"),
            Source::Moved(from) => {
                format!("{mac} has moved from {}: it would be learned on this port", self.name(from))
            }
            Source::NoRoom(true) => format!("{mac} would not be learned: the port has its share of the table"),
            Source::NoRoom(false) => format!("{mac} would not be learned: the table is full"),
        }
    }

    fn copy(&self, copy: &Forecast) -> TraceCopy {
        let count = |wanted: fn(&Waits) -> bool| copy.pieces.iter().filter(|piece| wanted(piece)).count() as u64;
        let sent = count(|piece| *piece == Waits::No);
        let waiting = count(|piece| matches!(piece, Waits::Behind(_)));
        let held = count(|piece| *piece == Waits::Held);
        let lost = copy.pieces.iter().find_map(|piece| match piece {
            Waits::Dropped(reason) => Some(*reason),
            _ => None,
        });
        let (frames, mut parts) = (copy.pieces.len() as u64, Vec::new());
        if copy.mirror {
            parts.push("for its mirror".to_owned());
        }
        if frames > 1 {
            parts.push(format!("cut into {frames} frames"));
        }
        // What its line does is first, and what becomes of the rest thereafter.
        if let Some(line) = &copy.line {
            parts.push(format!("on its line: {}", prospect::words(line)));
        }
        if sent > 0 {
            let rest = if copy.line.as_ref().is_some_and(|line| !line.is_certain()) { "else " } else { "" };
            parts.push(format!("{rest}sent at once"));
        }
        if let Some(Waits::Behind(first)) = copy.pieces.iter().find(|piece| matches!(piece, Waits::Behind(_))) {
            let what = if frames > 1 { format!("{waiting} wait") } else { "waits".to_owned() };
            parts.push(format!("{what} in its queue behind {first}"));
        }
        if copy.pauses {
            parts.push("its sender is paused until the queue has drained".to_owned());
        }
        if let Some(reason) = lost {
            let what =
                if frames > 1 { format!("{} dropped", frames - sent - waiting - held) } else { "dropped".to_owned() };
            parts.push(format!("{what}: {}", explained(reason)));
        }
        let view = self.view(copy.port);
        if view.is_some_and(|view| view.translates) {
            parts.push("`rewrite=` gives it other addresses as it leaves".to_owned());
        }
        let reason = lost.map(|reason| reason.row().word.to_owned());
        let behind = view.filter(|_| sent + waiting + held > 0).and_then(|view| behind(view, &self.report.frame));
        let dropped = frames - sent - waiting - held;
        let (port, text) = (self.name(copy.port), parts.join("; "));
        TraceCopy { port, frames, sent, waiting, held, dropped, reason, text, behind }
    }
}

fn explained(reason: DropReason) -> String {
    let row = reason.row();
    format!("{}: {}; {}", row.word, row.meaning, row.advice)
}

/// The VLAN tags of a frame.
fn tags(frame: &[u8]) -> String {
    let id = |tag: usize| match frame.get(14 + 4 * tag..16 + 4 * tag) {
        Some(&[high, low]) => Some(u16::from_be_bytes([high & 0x0f, low])),
        _ => None,
    };
    let ids: Vec<String> = (0..vlan_tags(frame)).filter_map(id).map(|id| id.to_string()).collect();
    match ids.as_slice() {
        [] => "none".to_owned(),
        ids => format!("VLAN {}: a switch does not tell VLANs apart, the tag stays as it is", ids.join(" in ")),
    }
}

/// What a service behind a port does with a frame, as far as its addresses tell.
fn behind(view: &View, frame: &[u8]) -> Option<String> {
    let gateway = match view.kind {
        "nat" => true,
        "usbip" => false,
        _ => return None,
    };
    let what = if gateway { "the gateway" } else { "its host" };
    let own = |addr: IpAddr| view.own.contains(&Address::Ip(addr));
    let addr = |at: usize| frame.get(at..at + 4).and_then(|it| <[u8; 4]>::try_from(it).ok()).map(Ipv4Addr::from);
    let at = 14 + 4 * vlan_tags(frame);
    match frame.get(at - 2..at)? {
        [0x08, 0x06] if frame.get(at + 7) == Some(&1) => {
            let target = addr(at + 24)?;
            Some(match own(target.into()) {
                true => format!("{what} answers ARP for {target}"),
                false => format!("{what} does not have {target} by its configuration, and so does not answer"),
            })
        }
        [0x08, 0x00] => {
            let (target, mac) = (addr(at + 16)?, frame.get(..6).and_then(|it| it.try_into().ok()).map(Mac)?);
            Some(if own(target.into()) {
                format!("{target} is {what} itself: it answers, or refuses, by its own servers and forwards")
            } else if gateway && view.own.contains(&Address::Mac(mac)) {
                format!(
                    "{what} passes it on to {target} by a socket of the host, as far as its rules and the host let it"
                )
            } else {
                format!("{what} has no use for it, but for what is for its segment (DHCP, multicast)")
            })
        }
        _ => None,
    }
}
