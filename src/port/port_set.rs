//! A set of ports of a switch, as a bit for each, shared with the other ends of its channels.
//!
//! The switch's thread writes, services read. A port's bit is set before its first frame goes to a channel, which is what
//! orders the two.

use crate::frame::PortId;
use crate::limits::PORTS_MAX;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
pub struct PortSet(Box<[AtomicU64]>);

impl Default for PortSet {
    fn default() -> Self {
        Self((0..PORTS_MAX.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }
}

impl PortSet {
    /// Adds a port, or removes it.
    pub fn set(&self, port: PortId, has: bool) {
        let Some(word) = self.0.get(port.index() / 64) else { return };
        let bit = 1 << (port.index() % 64);
        if has {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether a port is in the set.
    pub fn has(&self, port: PortId) -> bool {
        let word = self.0.get(port.index() / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        word >> (port.index() % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_a_port_s_alone() {
        let set = PortSet::default();
        set.set(PortId(64), true);
        set.set(PortId(u16::MAX), true);
        assert_eq!([0, 63, 64, 65, u16::MAX].map(|port| set.has(PortId(port))), [false, false, true, false, false]);
        set.set(PortId(64), false);
        assert!(!set.has(PortId(64)));
    }
}
