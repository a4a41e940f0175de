//! What befalls the reference's network: cables that are pulled, cuts, mirrors, and bad lines.

use super::bad::{Fate, Line};
use super::ops::Bad;
use super::reference::{Arrival, Port, Reference, Verdict, is_longer};
use zbridge::time::Instant;

impl Reference {
    /// It is up while its link is there and its cable is in.
    pub fn pull(&mut self, id: u16, pulled: bool) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        port.pulled = pulled;
        self.settle(id, ["rx-down", "tx-down"]);
    }

    pub fn settle(&mut self, id: u16, reasons: [&'static str; 2]) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        let up = port.linked && !port.pulled;
        if port.up == up {
            return;
        }
        port.up = up;
        port.busy = false;
        if !up {
            self.drop_held(id, reasons);
            self.empty(id, reasons[1]);
            self.table.forget_port(id, false);
        }
    }

    /// What is held on its lines is lost: what it has sent counts as received.
    pub fn drop_held(&mut self, id: u16, [rx, tx]: [&'static str; 2]) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        let [came, goes] = port.lines.each_mut().map(|line| line.as_mut().map(Line::clear).unwrap_or_default());
        came.iter().for_each(|arrival| port.refuse(arrival, rx));
        *port.counts.drops.entry(tx).or_default() += goes.len() as u64;
        port.counts.drops.retain(|_, frames| *frames > 0);
    }

    pub fn impair(&mut self, id: u16, out: bool, bad: &Bad) {
        let Some(port) = self.ports.get_mut(&id) else { return };
        match &mut port.lines[usize::from(out)] {
            Some(line) => line.bad = bad.clone(),
            none => {
                let line = Line::new(bad);
                if line.is_whole() {
                    return;
                }
                *none = Some(line);
            }
        }
        if !self.bent.contains(&id) {
            self.bent.push(id);
        }
    }

    pub fn set_mirrors(&mut self, mirrors: &[(u16, u16, [bool; 2])]) {
        self.mirrors = mirrors.to_vec();
        self.mirrors.retain(|(monitor, source, _)| monitor != source && self.ports.contains_key(monitor));
    }

    /// What comes into the switch of frames that were sent: the others are lost or held.
    pub fn arrive(&mut self, now: Instant, mut arrivals: Vec<Arrival>) -> Vec<Arrival> {
        arrivals.retain(|arrival| {
            let Some(port) = self.ports.get_mut(&arrival.ingress).filter(|port| port.up) else { return true };
            let Some(line) = &mut port.lines[0] else { return true };
            match line.judge(now, arrival) {
                Fate::Passes => return true,
                Fate::Held => {}
                Fate::Lost => port.refuse(arrival, "rx-lost"),
                Fate::Full => port.refuse(arrival, "rx-full"),
            }
            false
        });
        arrivals
    }

    /// What was held and whose time has come goes on.
    pub fn let_go(&mut self, now: Instant) -> Result<(), String> {
        if self.next_held().is_none_or(|due| due > now) {
            return Ok(());
        }
        self.send_due(now);
        loop {
            let mut due = Vec::new();
            for id in &self.bent {
                let port = self.ports.get_mut(id).expect("a port");
                due.extend(port.lines[0].iter_mut().flat_map(|line| line.take_due(now)));
            }
            if due.is_empty() {
                break;
            }
            self.switch(now, &due, false, None)?;
        }
        self.send_due(now);
        Ok(())
    }

    fn send_due(&mut self, now: Instant) {
        for id in self.bent.clone() {
            let port = self.ports.get_mut(&id).expect("a port");
            let due: Vec<_> = port.lines[1].iter_mut().flat_map(|line| line.take_due(now)).collect();
            due.iter().for_each(|arrival| self.place(now, id, arrival, false));
        }
    }

    pub fn next_held(&self) -> Option<Instant> {
        self.ports.values().flat_map(|port| port.lines.iter().flatten()).filter_map(Line::next).min()
    }

    pub fn is_cut(&self, from: u16, to: u16) -> bool {
        let parts = |a: &[u16], b: &[u16]| a.contains(&from) && b.contains(&to);
        self.cuts.iter().any(|(a, b, one_way)| parts(a, b) || !one_way && parts(b, a))
    }

    /// Copies across cuts are made, and lost.
    pub fn cut(&mut self, batch: &[Arrival], verdicts: &[Verdict]) {
        for (arrival, verdict) in batch.iter().zip(verdicts) {
            let reached: Vec<u16> = match *verdict {
                Verdict::One(egress) => vec![egress],
                Verdict::All => {
                    let all = self.ports.keys().copied();
                    all.filter(|&egress| self.flood_reaches(arrival.ingress, egress)).collect()
                }
                Verdict::Drop(_) => Vec::new(),
            };
            for egress in reached {
                if self.is_cut(arrival.ingress, egress) {
                    let counts = &mut self.ports.get_mut(&egress).expect("a port").counts;
                    counts.copies += 1;
                    *counts.drops.entry("cut").or_default() += 1;
                }
            }
        }
    }

    /// Whether a frame is for this port itself.
    pub fn is_for(&self, egress: u16, arrival: &Arrival, verdict: Verdict) -> bool {
        let goes = match verdict {
            Verdict::One(port) => port == egress,
            Verdict::All => self.flood_reaches(arrival.ingress, egress),
            Verdict::Drop(_) => false,
        };
        goes && !self.is_cut(arrival.ingress, egress)
    }

    /// Whether a mirror shows it to this port.
    pub fn is_shown(&self, egress: u16, arrival: &Arrival, verdict: Verdict) -> bool {
        let is_up = |id| self.ports.get(&id).is_some_and(|port| port.up);
        let shows = |&(monitor, source, [rx, tx]): &(u16, u16, [bool; 2])| {
            let of_it = || rx && arrival.ingress == source || tx && self.is_for(source, arrival, verdict);
            monitor == egress && is_up(source) && of_it()
        };
        let could = arrival.ingress != egress && arrival.packet.bytes.len() >= 14 && is_up(egress);
        could && self.mirrors.iter().any(shows)
    }

    /// New copies for a port: first those that are too long are left out, then its line has its say.
    pub fn copies_to(&mut self, now: Instant, egress: u16, copies: &[&Arrival], takes: bool) {
        let Some(port) = self.ports.get_mut(&egress) else { return };
        port.counts.copies += copies.len() as u64;
        let mut passed = Vec::new();
        for &copy in copies {
            let too_long = is_longer(&copy.packet, port.config.mtu);
            let line = port.lines[1].as_mut().filter(|_| port.up && !too_long);
            match line.map_or(Fate::Passes, |line| line.judge(now, copy)) {
                Fate::Passes => passed.push(copy),
                Fate::Held => {}
                Fate::Lost => *port.counts.drops.entry("tx-lost").or_default() += 1,
                Fate::Full => *port.counts.drops.entry("tx-full").or_default() += 1,
            }
        }
        passed.into_iter().for_each(|copy| self.place(now, egress, copy, takes));
    }
}

impl Port {
    /// A frame of its own ends before it has come into the switch.
    pub fn refuse(&mut self, arrival: &Arrival, reason: &'static str) {
        self.counts.rx_frames += 1;
        self.counts.rx_bytes += arrival.packet.bytes.len() as u64;
        *self.counts.drops.entry(reason).or_default() += 1;
    }

    /// Frames that are held of those that it sends, and of those that it is sent.
    pub fn held(&self) -> [usize; 2] {
        self.lines.each_ref().map(|line| line.as_ref().map_or(0, Line::held))
    }
}
