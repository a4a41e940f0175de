//! Unpredictable numbers: identifiers of queries, ports of transfers.
//!
//! SipHash of a secret seed and a counter: not a cipher, but an attacker that sees some of its 16-bit numbers has 2^64
//! seeds to try. One seed always gives the same sequence, for tests.

use std::hash::{DefaultHasher, Hasher};

/// The sequence of one seed.
#[derive(Clone, Debug)]
pub(super) struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// The sequence of `seed` for one purpose; other purposes have other sequences.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        hasher.write(purpose.as_bytes());
        Self { seed: hasher.finish(), drawn: 0 }
    }

    /// The next number.
    pub fn word(&mut self) -> u16 {
        self.drawn += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.drawn);
        hasher.finish() as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_is_a_sequence_of_many_numbers() {
        let draw = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..1000).map(|_| random.word()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "dns"), draw(1, "dns"));
        assert_ne!(draw(1, "dns"), draw(1, "tftp"));
        assert_ne!(draw(1, "dns"), draw(2, "dns"));
        assert!(draw(1, "dns").into_iter().collect::<BTreeSet<_>>().len() > 950);
    }
}
