//! How much of a bounded supply each port of the switch has taken.
//!
//! One port may have seven times as much as is left: seven eighths of all where it is alone, seven eighths of the rest
//! where another has taken that. So no port takes all, and later ones find a part, whatever addresses the others forge.

use crate::frame::PortId;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// A port may have this many times what is left.
const SHARE: usize = 7;

/// Whether `own` is less than a port's share of a supply of `most`, of which `total` is taken.
pub fn is_within(own: usize, total: usize, most: usize) -> bool {
    own < SHARE * most.saturating_sub(total).max(1)
}

/// See the module. A port that has nothing takes no room here.
#[derive(Clone, Default, Debug)]
pub struct Shares {
    of: HashMap<PortId, usize, RandomState>,
    total: usize,
}

impl Shares {
    /// Whether `port` may take one more of a supply of `most`. Not if it is used up.
    pub fn admits(&self, port: PortId, most: usize) -> bool {
        self.total < most && self.is_within(port, most)
    }

    /// Whether `port` has less than its share of a supply of `most`, used up or not.
    pub fn is_within(&self, port: PortId, most: usize) -> bool {
        is_within(self.of(port), self.total, most)
    }

    /// How much `port` has.
    pub fn of(&self, port: PortId) -> usize {
        self.of.get(&port).copied().unwrap_or(0)
    }

    /// The port that has most.
    pub fn greediest(&self) -> Option<PortId> {
        self.of.iter().max_by_key(|(port, count)| (**count, **port)).map(|(port, _)| *port)
    }

    /// `port` takes one.
    pub fn take(&mut self, port: PortId) {
        *self.of.entry(port).or_default() += 1;
        self.total += 1;
    }

    /// `port` gives one back.
    pub fn give(&mut self, port: PortId) {
        if let Some(count) = self.of.get_mut(&port) {
            *count -= 1;
            self.total -= 1;
            if *count == 0 {
                self.of.remove(&port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_finds_something() {
        let mut shares = Shares::default();
        let mut taken = |port: u16| {
            let mut count = 0;
            while shares.admits(PortId(port), 64) {
                shares.take(PortId(port));
                count += 1;
            }
            count
        };
        assert_eq!([taken(3), taken(4), taken(5)], [56, 7, 1]);
        assert_eq!(shares.greediest(), Some(PortId(3)));
        shares.give(PortId(4));
        assert!(shares.is_within(PortId(5), 64) && !shares.is_within(PortId(3), 64));
        (0..56).for_each(|_| shares.give(PortId(3)));
        assert_eq!((shares.of(PortId(3)), shares.total, shares.of.len()), (0, 7, 2));
        shares.give(PortId(3));
        assert_eq!(shares.total, 7, "what nobody has cannot be given back");
    }
}
