//! The writer of a capture: from the notes of switches to the blocks of a file.
//!
//! Theory of operation. A switch hands over its notes in pieces, with the names of its ports in order among them
//! ([`PortNews`]), as the number of a removed port is reused. Frames that match the wish become blocks. The beginning
//! of the file (its header, the interfaces and names so far) is kept, so that a later reader begins with it, too.
//! Interfaces are told apart by switch, name and link type; a port that comes with the name of one that has gone is the
//! same to the file.

use super::filter::{Filter, Seen, is_port};
use super::pcapng::write::{self, Direction, Interface, Packet, Statistics};
use super::pcapng::{LinkType, TAP_HEAD};
use super::sight::{Part, Sight};
use super::wish::Wish;
use crate::counters::{DROP_REASONS, DropReason};
use crate::error::Result;
use crate::frame::PortId;
use crate::switch::{Note, Notes, Wanted};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Interfaces of a file at most; frames of further ones are noted under the last.
const INTERFACES: usize = 4096;
/// Names of hosts that it has at most.
const NAMES: usize = 65_536;

/// The description of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortNews {
    /// Its switch.
    pub switch: Arc<str>,
    /// Its name.
    pub name: String,
    /// Its kind and peer.
    pub description: String,
    /// The link type of its frames.
    pub link: LinkType,
    /// Bits per second, where that is known.
    pub speed: Option<u64>,
}

/// A piece that a switch hands over.
#[derive(Clone, Default, Debug)]
pub struct Piece {
    /// The number of the switch among those of the bridge.
    pub switch: u16,
    /// Nanoseconds since 1970 when its clock began.
    pub epoch: u64,
    /// Its notes.
    pub notes: Notes,
    /// Descriptions of ports, each before the note at this index.
    pub news: Vec<(usize, PortId, Arc<PortNews>)>,
    /// What services on ports have seen, with the time in nanoseconds since 1970.
    pub sights: Vec<(PortId, u64, Sight)>,
    /// The names of hosts.
    pub names: Vec<(IpAddr, String)>,
}

/// The counters of a capture.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Frames that were seen.
    pub seen: u64,
    /// Frames that passed.
    pub passed: u64,
    /// Frames that the capture has lost.
    pub missed: u64,
}

/// A port that notes are of.
struct Port {
    news: Arc<PortNews>,
    /// It is one of those that are meant.
    meant: bool,
    interface: Option<u32>,
    /// Of what cannot be shown as what the port's frames are.
    other: Option<u32>,
}

struct Known {
    switch: Arc<str>,
    name: String,
    link: LinkType,
    counted: Counted,
}

/// See the head of the file.
pub struct Recorder {
    wish: Wish,
    filter: Option<Filter>,
    wanted: Wanted,
    ports: HashMap<(u16, PortId), Port>,
    interfaces: Vec<Known>,
    header: Vec<u8>,
    names: HashMap<IpAddr, String>,
    comments: Vec<String>,
    /// Lost frames that are not reported in the file yet.
    lost: u64,
    missed: u64,
    began: u64,
}

impl Recorder {
    /// A recorder for a wish, from `now` on.
    ///
    /// # Errors
    /// As [`Wish::understood`].
    pub fn new(wish: Wish, now: u64) -> Result<Self> {
        let (filter, wanted) = wish.understood()?;
        let mut header = Vec::new();
        write::section(&mut header, concat!("zbridge ", env!("CARGO_PKG_VERSION")));
        let comments = DROP_REASONS.iter().map(|row| format!("dropped: {}: {}", row.word, row.meaning));
        Ok(Self {
            wish,
            filter,
            wanted,
            ports: HashMap::new(),
            interfaces: Vec::new(),
            header,
            names: HashMap::new(),
            comments: comments.collect(),
            lost: 0,
            missed: 0,
            began: now,
        })
    }

    /// The notes that it needs from switches.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The beginning of a file that is started now.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// `frames` were lost on their way here, or on that to the file.
    pub fn miss(&mut self, frames: u64) {
        self.lost += frames;
        self.missed += frames;
    }

    /// The counters so far.
    pub fn counted(&self) -> Counted {
        let mut sum = Counted { missed: self.missed, ..Counted::default() };
        for known in &self.interfaces {
            sum.seen += known.counted.seen;
            sum.passed += known.counted.passed;
        }
        sum
    }

    /// Writes matching frames to `out`, and the end of each block to `ends`.
    pub fn take(&mut self, piece: &Piece, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        self.name(&piece.names, out, ends);
        let mut news = piece.news.iter().peekable();
        for (index, (note, bytes)) in piece.notes.iter().enumerate() {
            while let Some((_, id, its)) = news.next_if(|(at, ..)| *at <= index) {
                self.meet(piece.switch, *id, its, out, ends);
            }
            self.note(piece, note, bytes, out, ends);
        }
        for (_, id, its) in news {
            self.meet(piece.switch, *id, its, out, ends);
        }
        for (id, at, sight) in &piece.sights {
            self.see((piece.switch, *id), *at, sight, out, ends);
        }
        self.miss(piece.notes.missed);
    }

    /// What a service has seen, which has an interface of its own.
    fn see(&mut self, place: (u16, PortId), at: u64, sight: &Sight, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let Some(port) = self.ports.get(&place).filter(|_| !self.wish.drops) else { return };
        let Part { name, description, link, speed } = &*sight.part;
        let part = PortNews {
            switch: port.news.switch.clone(),
            name: format!("{}#{name}", port.news.name),
            description: description.clone(),
            link: *link,
            speed: *speed,
        };
        // It may be named alone.
        if !port.meant && !self.wish.ports.contains(&part.name) {
            return;
        }
        let interface = self.interface(&part, part.link, out, ends);
        if sight.bytes.is_empty() {
            return;
        }
        let kept = self.wish.snap.and_then(|snap| sight.bytes.get(..snap as usize)).unwrap_or(&sight.bytes);
        let Sight { incoming, len, .. } = *sight;
        let seen = Seen { port: &part.name, incoming, reason: None, bytes: kept, len, ethernet: false };
        if !self.passes(&seen, interface) {
            return;
        }
        let lost = std::mem::take(&mut self.lost);
        let direction = if incoming { Direction::In } else { Direction::Out };
        let (head, bytes, from) = (&[][..], kept, out.len());
        write::packet(out, &Packet { interface, at, head, bytes, len, direction, comment: None, id: 0, lost });
        if sight.part.link == LinkType::USB {
            usb_time(out.get_mut(from..).unwrap_or_default(), kept.len(), at);
        }
        ends.push(out.len());
    }

    /// Counts what was seen at an interface, and whether it passes the filter.
    fn passes(&mut self, seen: &Seen<'_>, interface: u32) -> bool {
        let passes = self.filter.as_ref().is_none_or(|filter| filter.takes(seen));
        if let Some(known) = self.interfaces.get_mut(interface as usize) {
            known.counted.seen += 1;
            known.counted.passed += u64::from(passes);
        }
        passes
    }

    /// Adds names that are not known.
    fn name(&mut self, names: &[(IpAddr, String)], out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let fresh = names.iter().filter(|(addr, name)| self.names.get(addr) != Some(name));
        let fresh: Vec<_> = fresh.map(|(addr, name)| (*addr, name.as_str())).collect();
        if fresh.is_empty() || self.names.len() + fresh.len() > NAMES {
            return;
        }
        let from = out.len();
        write::names(out, fresh.iter().copied());
        self.header.extend_from_slice(out.get(from..).unwrap_or_default());
        ends.push(out.len());
        self.names.extend(fresh.into_iter().map(|(addr, name)| (addr, name.to_owned())));
    }

    /// A port is called so from now on, and is an interface of the file, be it quiet.
    fn meet(&mut self, switch: u16, id: PortId, news: &Arc<PortNews>, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let meant = self.wish.ports.is_empty() || self.wish.ports.iter().any(|port| is_port(&news.name, port));
        let mut port = Port { news: news.clone(), meant, interface: None, other: None };
        if meant {
            port.interface = Some(self.interface(news, news.link, out, ends));
        }
        self.ports.insert((switch, id), port);
    }

    /// The number of the interface of `news` for frames of this type.
    fn interface(&mut self, news: &PortNews, link: LinkType, out: &mut Vec<u8>, ends: &mut Vec<usize>) -> u32 {
        let same = |known: &Known| known.link == link && known.name == news.name && known.switch == news.switch;
        if let Some(number) = self.interfaces.iter().position(same) {
            return number as u32;
        }
        if self.interfaces.len() >= INTERFACES {
            return (INTERFACES - 1) as u32;
        }
        let on = if news.switch.is_empty() { String::new() } else { format!(", switch {}", news.switch) };
        let description = format!("{}{on}", news.description);
        let snap = self.wish.snap.unwrap_or(0);
        let from = out.len();
        write::interface(
            out,
            &Interface { link, snap, name: &news.name, description: &description, speed: news.speed },
        );
        self.header.extend_from_slice(out.get(from..).unwrap_or_default());
        ends.push(out.len());
        let (switch, name) = (news.switch.clone(), news.name.clone());
        self.interfaces.push(Known { switch, name, link, counted: Counted::default() });
        (self.interfaces.len() - 1) as u32
    }

    fn note(&mut self, piece: &Piece, note: &Note, bytes: &[u8], out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let place = (piece.switch, note.port);
        let Some(port) = self.ports.get(&place).filter(|port| port.meant) else { return };
        let reason = note.noted.reason();
        if reason.is_none() && self.wish.drops || !note.noted.is_in() && reason.is_none() && !self.wanted.copies {
            return;
        }
        let news = port.news.clone();
        // Others may have wanted more of it.
        let kept = self.wish.snap.and_then(|snap| bytes.get(..snap as usize)).unwrap_or(bytes);
        let Shown { head, bytes: shown, len, link } = shown(news.link, kept, note.len);
        let known = if link == news.link { port.interface } else { port.other };
        let interface = known.unwrap_or_else(|| self.interface(&news, link, out, ends));
        if let Some(port) = self.ports.get_mut(&place) {
            *if link == news.link { &mut port.interface } else { &mut port.other } = Some(interface);
        }
        let incoming = note.noted.is_in();
        let ethernet = news.link != LinkType::IEEE802_15_4_TAP;
        let seen = Seen { port: &news.name, incoming, reason, bytes, len: note.len, ethernet };
        if !self.passes(&seen, interface) {
            return;
        }
        let comment = reason.and_then(|reason: DropReason| self.comments.get(reason as usize));
        let packet = Packet {
            interface,
            at: piece.epoch.saturating_add(note.at.as_nanos()),
            head,
            bytes: shown,
            len,
            direction: if incoming { Direction::In } else { Direction::Out },
            comment: comment.map(String::as_str),
            id: note.number,
            lost: std::mem::take(&mut self.lost),
        };
        write::packet(out, &packet);
        ends.push(out.len());
    }

    /// Writes the statistics: the end of a file. One that no port has come for, as nobody has connected to its listener,
    /// has an interface too: without one tools refuse it.
    pub fn finish(&mut self, now: u64, out: &mut Vec<u8>) {
        if self.interfaces.is_empty() {
            let name = if self.wish.ports.is_empty() { "all ports".to_owned() } else { self.wish.ports.join(" ") };
            let none = PortNews {
                switch: "".into(),
                name,
                description: "no port was there".to_owned(),
                link: LinkType::ETHERNET,
                speed: None,
            };
            self.interface(&none, none.link, out, &mut Vec::new());
        }
        for (number, known) in self.interfaces.iter().enumerate() {
            let counted = Statistics {
                interface: number as u32,
                from: self.began,
                to: now,
                seen: known.counted.seen,
                // By which port it would have come is not known.
                missed: if number == 0 { self.missed } else { 0 },
                accepted: known.counted.passed,
                delivered: known.counted.passed,
            };
            write::statistics(out, &counted);
        }
    }
}

/// Puts the time into the header of usbmon, which a packet's block has behind its own 28 bytes: seconds at 16 of it, and
/// microseconds at 24.
fn usb_time(block: &mut [u8], kept: usize, at: u64) {
    const HEADER: usize = 28;
    if kept < 28 {
        return;
    }
    let (seconds, micros) = (at / 1_000_000_000, (at % 1_000_000_000 / 1000) as u32);
    if let Some(place) = block.get_mut(HEADER + 16..HEADER + 28) {
        let (whole, rest) = place.split_at_mut(8);
        whole.copy_from_slice(&seconds.to_le_bytes());
        rest.copy_from_slice(&micros.to_le_bytes());
    }
}

/// A frame as its interface shows it.
struct Shown<'a> {
    head: &'static [u8],
    bytes: &'a [u8],
    len: u32,
    link: LinkType,
}

/// Of a line with bare IP packets, these without what the switch has before them; ARP and the like is spoken for it.
fn shown(link: LinkType, bytes: &[u8], len: u32) -> Shown<'_> {
    let as_is = Shown { head: &[], bytes, len, link };
    match link {
        LinkType::IEEE802_15_4_TAP => Shown { head: &TAP_HEAD, len: len + TAP_HEAD.len() as u32, ..as_is },
        LinkType::RAW => match (bytes.get(12..14), bytes.get(14..)) {
            (Some([0x08, 0x00] | [0x86, 0xdd]), Some(packet)) => Shown { bytes: packet, len: len - 14, ..as_is },
            _ => Shown { link: LinkType::ETHERNET, ..as_is },
        },
        _ => as_is,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcapng::read::Blocks;
    use super::*;
    use crate::switch::Noted;
    use crate::time::Instant;

    fn news(name: &str, link: LinkType) -> Arc<PortNews> {
        Arc::new(PortNews { switch: "lab".into(), name: name.into(), description: "unix".into(), link, speed: None })
    }

    fn piece(notes: &[(u16, Noted, &[u8])], news: Vec<(usize, PortId, Arc<PortNews>)>) -> Piece {
        let mut piece = Piece { epoch: 5_000_000_000, news, ..Piece::default() };
        for (number, (port, noted, bytes)) in notes.iter().enumerate() {
            let (at, port) = (Instant::from_nanos(7), PortId(*port));
            let (len, kept) = (bytes.len() as u32, bytes.len() as u32);
            piece.notes.notes.push(Note { at, number: number as u64, port, ingress: port, noted: *noted, len, kept });
            piece.notes.bytes.extend_from_slice(bytes);
        }
        piece
    }

    /// Name and link type of the interface, direction, bytes and comment of each frame.
    fn read(bytes: &[u8]) -> Vec<String> {
        let (mut blocks, mut interfaces, mut found) = (Blocks::default(), Vec::new(), Vec::new());
        blocks.push(bytes);
        while let Some(block) = blocks.next_block().unwrap() {
            interfaces.extend(block.interface());
            if let Some(packet) = block.packet() {
                let its = &interfaces[packet.interface as usize];
                let (out, comment) = (if packet.out { "out" } else { "in" }, packet.comment.unwrap_or_default());
                let (first, at) = (packet.bytes[0], packet.at);
                found.push(format!("{} {} {out} {at} {first} {} {comment}", its.name, its.link.0, packet.len));
            }
        }
        found
    }

    const ETHER: [u8; 20] = [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0x45, 0, 0, 0, 0, 0];
    const ARP: [u8; 20] = [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 0, 0, 0, 0, 0];

    #[test]
    fn each_port_has_its_interface_and_each_drop_its_reason() {
        let mut recorder = Recorder::new(Wish::default(), 0).unwrap();
        let (mut out, mut ends) = (recorder.header().to_vec(), Vec::new());
        let lost = Noted::Lost(DropReason::QueueFull);
        let notes: [(u16, Noted, &[u8]); 5] = [
            (0, Noted::Arrived, &ETHER),
            (1, Noted::Arrived, &ETHER),
            (1, Noted::Arrived, &ARP),
            (2, lost, &[5; 9]),
            (0, Noted::Arrived, &ETHER),
        ];
        let ports = vec![
            (0, PortId(0), news("a", LinkType::ETHERNET)),
            (0, PortId(1), news("line", LinkType::RAW)),
            (0, PortId(2), news("n1", LinkType::IEEE802_15_4_TAP)),
            (4, PortId(0), news("b#1", LinkType::ETHERNET)),
        ];
        recorder.take(&piece(&notes, ports), &mut out, &mut ends);
        let dropped = "n1 283 out 5000000007 0 21 dropped: queue-full: the port's queue was full: of frames (`queue=`), or of bytes (8 MiB)";
        let wanted = [
            "a 1 in 5000000007 9 20 ",
            "line 101 in 5000000007 69 6 ",
            "line 1 in 5000000007 7 20 ",
            dropped,
            "b#1 1 in 5000000007 9 20 ",
        ];
        assert_eq!(read(&out), wanted);
        assert_eq!(ends.last(), Some(&out.len()));
        // A file that begins later has all interfaces.
        let mut later = recorder.header().to_vec();
        recorder.take(&piece(&notes[..1], Vec::new()), &mut later, &mut ends);
        assert_eq!(read(&later), ["b#1 1 in 5000000007 9 20 "]);
        recorder.miss(3);
        recorder.finish(9, &mut later);
        let mut blocks = Blocks::default();
        blocks.push(&later);
        let mut sum = Counted::default();
        while let Some(block) = blocks.next_block().unwrap() {
            if let Some((_, counted)) = block.statistics() {
                (sum.seen, sum.passed, sum.missed) =
                    (sum.seen + counted.seen, sum.passed + counted.accepted, sum.missed + counted.missed);
            }
        }
        assert_eq!((sum, recorder.counted()), (Counted { seen: 6, passed: 6, missed: 3 }, sum));
    }

    #[test]
    fn only_what_is_wished_passes() {
        let wish = Wish { ports: vec!["b".into()], filter: "not arp".into(), snap: Some(14), ..Wish::default() };
        let mut recorder = Recorder::new(wish, 0).unwrap();
        let (mut out, mut ends) = (recorder.header().to_vec(), Vec::new());
        let ports =
            vec![(0, PortId(0), news("a", LinkType::ETHERNET)), (0, PortId(1), news("b#7", LinkType::ETHERNET))];
        let left = Noted::Left;
        let notes: [(u16, Noted, &[u8]); 4] =
            [(0, Noted::Arrived, &ETHER), (1, Noted::Arrived, &ETHER), (1, Noted::Arrived, &ARP), (1, left, &ETHER)];
        recorder.take(&piece(&notes, ports), &mut out, &mut ends);
        assert_eq!(read(&out), ["b#7 1 in 5000000007 9 20 "]);
        assert_eq!(recorder.counted(), Counted { seen: 2, passed: 1, missed: 0 });
    }
}
