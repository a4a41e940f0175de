//! The outcomes of accept(2) on a listener, and their log messages.
//!
//! A client may be gone before it was let in, which concerns nobody else. But for want of descriptors or memory
//! (accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM) none can be let in for a while. That is logged once. No event tells
//! when it is over, so the listener's owner tries again until it can.

use rustix::io::Errno;
use std::fmt::Display;

/// The outcome.
#[derive(Debug)]
pub enum Accepted<T> {
    /// The next client.
    Client(T),
    /// Nobody waits.
    Nobody,
    /// One was gone before it was let in; the next may wait already.
    Gone,
    /// The system has nothing left for one.
    Starved,
}

/// Whether the system had nothing left for a client of a listener.
#[derive(Default, Debug)]
pub struct Starvation(bool);

impl Starvation {
    /// The outcome of an attempt on the listener of `whose`.
    pub fn judge<T>(&mut self, whose: impl Display, accepted: Result<Option<T>, Errno>) -> Accepted<T> {
        match accepted {
            Ok(client) => {
                self.0 = false;
                client.map_or(Accepted::Nobody, Accepted::Client)
            }
            Err(Errno::INTR | Errno::CONNABORTED) => Accepted::Gone,
            Err(errno) => {
                self.begins(whose, errno);
                Accepted::Starved
            }
        }
    }

    /// The system has nothing left for a client of `whose`: logs it once.
    pub fn begins(&mut self, whose: impl Display, errno: Errno) {
        if !std::mem::replace(&mut self.0, true) {
            let cause = std::io::Error::from(errno);
            log::error!("{whose}: cannot accept a client: {cause}; trying again until it can");
        }
    }

    /// Whether to try again without an event.
    pub fn lasts(&self) -> bool {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_somebody_could_be_let_in() {
        let mut starvation = Starvation::default();
        assert!(matches!(starvation.judge("a", Ok(Some(1))), Accepted::Client(1)));
        assert!(matches!(starvation.judge::<u8>("a", Err(Errno::CONNABORTED)), Accepted::Gone));
        assert!(!starvation.lasts(), "that was one client's affair");
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(matches!(starvation.judge::<u8>("a", Err(errno)), Accepted::Starved));
        }
        assert!(matches!(starvation.judge::<u8>("a", Err(Errno::INTR)), Accepted::Gone));
        assert!(starvation.lasts());
        assert!(matches!(starvation.judge::<u8>("a", Ok(None)), Accepted::Nobody));
        assert!(!starvation.lasts());
    }
}
