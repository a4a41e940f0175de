//! Reading a forwarding database while the switch goes on.
//!
//! Theory of operation. Scanning a million entries takes tens of milliseconds, in which frames would wait. So the
//! reader ([`Handle::fdb`]) has the engine scan some slots at a time ([`Look`]), each in a breath of its own, and adds
//! the names and sorts on its own thread. The engine gives the name of each port that a look found, once. An entry that
//! stays in the table from the first look to the last is in the result; one that is learned, forgotten or moved
//! meanwhile may be in it as it was or as it is.

use super::command::{Command, Handle};
use super::look::Look;
use crate::error::Result;
use crate::switch::{Entry, Scanned};
use std::sync::Arc;

/// Looks that see all of a table of that many slots, which may be moving from an older one.
const GLANCE: usize = 4;

/// An entry of the forwarding database, with its port's name.
pub type NamedEntry = (Entry, Arc<str>);

impl Handle {
    /// The forwarding database, in the order of its addresses. The switch goes on meanwhile; see the head of the file.
    ///
    /// # Errors
    /// The switch has ended.
    pub fn fdb(&self) -> Result<Vec<NamedEntry>> {
        Ok(self.read(usize::MAX)?.unwrap_or_default())
    }

    /// The same, if the table is so small that a few looks see all of it.
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
        // Of an entry that was found twice, the later counts.
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
