//! The counters of ports that are gone: removed, or handed over as a descriptor that was lost.
//!
//! A port that comes back under the same name (its instance was restarted) has a new row while it is there. When it
//! goes, its counters are added to the kept row of its kind and name, as a listener's clients' are. Only [`KEPT`] rows
//! are kept: a bridge may run for months.

use super::status::PortStatus;
use crate::counters::Counters;

/// Names that are kept: those that left last.
const KEPT: usize = 64;

/// See the head of the file.
#[derive(Default)]
pub(super) struct Departed {
    rows: Vec<PortStatus>,
}

impl Departed {
    /// Takes note of a port as it was last shown, and of all that it had counted. Gives the name whose row goes for it.
    pub fn keep(&mut self, port: PortStatus, counters: Counters) -> Option<String> {
        let (figures, leases) = Default::default();
        let mut row = PortStatus { state: "left", queued: 0, counters, attach: None, figures, leases, ..port };
        let before = self.rows.iter().position(|other| (&other.name, other.kind) == (&row.name, row.kind));
        let mut oldest = None;
        if let Some(index) = before {
            row.counters.add(&self.rows.remove(index).counters);
        } else if self.rows.len() >= KEPT {
            oldest = Some(self.rows.remove(0).name);
        }
        self.rows.push(row);
        oldest.filter(|oldest| self.rows.iter().all(|row| row.name != *oldest))
    }

    /// The kept rows, in the order in which the ports left.
    pub fn rows(&self) -> &[PortStatus] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn port(name: &str) -> PortStatus {
        PortStatus {
            name: name.to_owned(),
            kind: "tap",
            state: "up",
            peer: String::new(),
            queued: 3,
            counters: Counters::default(),
            target: String::new(),
            mirrors: Vec::new(),
            impairments: Vec::new(),
            set_down: false,
            cuts: Vec::new(),
            held: [0; 2],
            listener: None,
            attach: None,
            age: std::time::Duration::ZERO,
            figures: Vec::new(),
            leases: Arc::default(),
        }
    }

    fn counted(frames: u64) -> Counters {
        let mut counters = Counters::default();
        counters.received(frames, 60 * frames);
        counters
    }

    #[test]
    fn one_name_is_one_row_and_the_oldest_go() {
        let mut departed = Departed::default();
        for number in 0..KEPT as u64 {
            departed.keep(port(&number.to_string()), counted(number));
        }
        departed.keep(port("0"), counted(5));
        departed.keep(PortStatus { kind: "unix", ..port("0") }, counted(7));
        let rows: Vec<_> =
            departed.rows().iter().map(|row| (row.name.as_str(), row.kind, row.counters.rx_frames)).collect();
        assert_eq!((rows.len(), rows[0]), (KEPT, ("2", "tap", 2)), "1 was the oldest");
        assert_eq!(rows[KEPT - 2..], [("0", "tap", 5), ("0", "unix", 7)]);
        assert!(departed.rows().iter().all(|row| (row.state, row.queued) == ("left", 0)));
    }
}
