//! A look at a part of the forwarding database: a reader asks for it, the switch's thread takes it (`fdb.rs`).

use super::ports::Ports;
use crate::frame::PortId;
use crate::switch::{Entry, Scan, Scanned};

/// Slots of the table that one breath looks at: some tens of microseconds.
const SLOTS: usize = 4096;

/// Size of the port number space.
const PORTS: usize = 1 << 16;

/// A reading of the table, passed between its reader and the engine.
#[derive(Debug)]
pub(super) struct Look {
    scan: Scan,
    /// Whether the table has more.
    pub scanned: Scanned,
    /// The entries found by the last look.
    pub entries: Vec<Entry>,
    /// The ports of these entries.
    pub names: Vec<(PortId, String)>,
}

impl Look {
    pub fn new() -> Self {
        // Allocated here, so that the engine need not allocate.
        let entries = Vec::with_capacity(SLOTS + SLOTS / 4);
        Self { scan: Scan::default(), scanned: Scanned::More, entries, names: Vec::new() }
    }

    /// Looks at the next part of the table.
    pub fn taken(mut self, ports: &Ports) -> Self {
        self.scanned = ports.switch.scan_fdb(ports.clock.now(), &mut self.scan, SLOTS, &mut self.entries);
        let mut named = [0_u64; PORTS / 64];
        for port in self.entries.iter().map(|entry| entry.port) {
            if let Some(word) = named.get_mut(port.index() / 64)
                && *word & 1 << (port.index() % 64) == 0
            {
                *word |= 1 << (port.index() % 64);
                self.names.push((port, ports.edges.name(port).to_owned()));
            }
        }
        self
    }
}
