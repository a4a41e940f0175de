//! Reading a forwarding database while the switch goes on.
//!
//! Theory of operation. A table of a million entries takes tens of milliseconds to go through, in which frames would
//! wait. So whoever asks ([`Handle::fdb`]) has the engine look at [`SLOTS`] slots of the table at a time, each in a breath
//! of its own, and puts names to addresses and all in order on its own thread. The engine says the names of the ports
//! that it met, each once a look. What stays in the table from the first look to the last is there; what is learned,
//! forgotten or moved meanwhile may be there as it was or as it is.

use super::Engine;
use super::command::{Command, Handle};
use crate::error::Result;
use crate::frame::PortId;
use crate::switch::{Entry, Scan, Scanned};
use std::sync::Arc;

/// Slots of the table that one breath looks at: some tens of microseconds.
const SLOTS: usize = 4096;

/// Looks that see all of a table of that many slots, which may be moving from an older one.
const GLANCE: usize = 4;

/// Numbers that ports may have.
const PORTS: usize = 1 << 16;

/// An entry of the forwarding database, with its port's name.
pub type NamedEntry = (Entry, Arc<str>);

/// A reading on its way between its reader and the engine.
#[derive(Debug)]
pub(super) struct Look {
    scan: Scan,
    /// How it goes on.
    scanned: Scanned,
    /// What the last look has met.
    entries: Vec<Entry>,
    /// The ports of these.
    names: Vec<(PortId, String)>,
}

impl Look {
    fn new() -> Self {
        // With the room that a look needs, which the engine then has not to make.
        let entries = Vec::with_capacity(SLOTS + SLOTS / 4);
        Self { scan: Scan::default(), scanned: Scanned::More, entries, names: Vec::new() }
    }
}

impl Engine {
    /// Looks at the next part of the table.
    pub(super) fn look(&self, mut look: Look) -> Look {
        look.scanned = self.switch.scan_fdb(self.clock.now(), &mut look.scan, SLOTS, &mut look.entries);
        let mut named = [0_u64; PORTS / 64];
        for port in look.entries.iter().map(|entry| entry.port) {
            if let Some(word) = named.get_mut(port.index() / 64)
                && *word & 1 << (port.index() % 64) == 0
            {
                *word |= 1 << (port.index() % 64);
                look.names.push((port, self.port_name(port).to_owned()));
            }
        }
        look
    }
}

impl Handle {
    /// The forwarding database, in the order of its addresses. The switch goes on meanwhile; see the head of the file.
    ///
    /// # Errors
    /// The switch has ended.
    pub fn fdb(&self) -> Result<Vec<NamedEntry>> {
        Ok(self.read(usize::MAX)?.unwrap_or_default())
    }

    /// The same where the table is so small that a few looks see all of it.
    pub(super) fn fdb_at_a_glance(&self) -> Option<Vec<NamedEntry>> {
        self.read(GLANCE).ok().flatten()
    }

    /// Reads it in `most` looks; `None`: it takes more.
    fn read(&self, most: usize) -> Result<Option<Vec<NamedEntry>>> {
        let mut look = Look::new();
        let mut names: Vec<Option<Arc<str>>> = Vec::new();
        let mut found: Vec<NamedEntry> = Vec::new();
        for count in 0.. {
            if count >= most {
                return Ok(None);
            }
            look = self.ask(|answer| Command::Look(look, answer))?;
            if look.scanned == Scanned::Anew {
                found.clear();
            }
            for (port, name) in look.names.drain(..) {
                if names.len() <= port.index() {
                    names.resize(port.index() + 1, None);
                }
                names[port.index()] = Some(name.into());
            }
            let named = |entry: Entry| Some((entry, names.get(entry.port.index())?.clone()?));
            found.extend(look.entries.drain(..).filter_map(named));
            if look.scanned == Scanned::All {
                break;
            }
        }
        found.sort_by_key(|(entry, _)| (entry.mac.as_u64(), entry.vid));
        // Of what was met twice the later counts.
        found.dedup_by(|later, earlier| {
            let same = (later.0.mac, later.0.vid) == (earlier.0.mac, earlier.0.vid);
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Ok(Some(found))
    }
}
