//! Initial sequence numbers (RFC 6528, 3): a clock plus an offset for each connection, which cannot be computed from
//! the offsets of others.
//!
//! The offset is a keyed SipHash of both ends. Its key has no other use: a hash table's hash would tell, with every
//! SYN-ACK, in which bucket the connection is.

use super::flow::Key;
use crate::time::Instant;
use std::hash::{DefaultHasher, Hash, Hasher};

/// See the module.
pub(super) struct Isn {
    secret: [u64; 2],
}

impl Isn {
    /// Numbers under a key that is made of `seed`, which nobody can guess.
    pub fn new(seed: u64) -> Self {
        let part = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, "first sequence number", number).hash(&mut hasher);
            hasher.finish()
        };
        Self { secret: [part(0), part(1)] }
    }

    /// The number of a connection that begins at `now`. The clock has 4 µs (RFC 9293, 3.4.1).
    pub fn number(&self, now: Instant, key: &Key) -> u32 {
        let mut hasher = DefaultHasher::new();
        (self.secret, key).hash(&mut hasher);
        (hasher.finish() as u32).wrapping_add((now.as_micros() / 4) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use foldhash::fast::FixedState;
    use std::hash::BuildHasher;

    #[test]
    fn a_number_grows_with_the_time_and_is_no_bucket_of_the_table() {
        let key = |port: u16| Key {
            guest: std::net::SocketAddr::from(([10, 0, 2, 15], port)),
            remote: std::net::SocketAddr::from(([192, 0, 2, 1], 80)),
        };
        let (isn, later) = (Isn::new(7), Instant::from_millis(1));
        let first = isn.number(Instant::ZERO, &key(1));
        assert_eq!(isn.number(later, &key(1)).wrapping_sub(first), 250);
        assert_ne!(isn.number(Instant::ZERO, &key(2)).wrapping_sub(first), 1);
        assert_ne!(Isn::new(8).number(Instant::ZERO, &key(1)), first);
        assert_ne!(FixedState::with_seed(7).hash_one(key(1)) as u32, first, "the table's hash");
    }
}
