//! The clients of a control socket, and who may be one.
//!
//! Theory of operation. [`PASSING`] clients may be connected that only ask. When one more comes, the client that has
//! been silent the longest is dropped, and told so; only if all of them are being served, the new one is refused. So
//! abandoned connections never lock anybody out. Two kinds are not counted there. A client that has ports for as long
//! as it stays, as a program of `run --join` has, is bounded by the ports that a switch may have. One for which frames
//! are captured is one of [`CAPTURES`]. One that waits, for a port or for work that is done aside, is one of
//! [`WAITING`].

use super::captures::CAPTURES;
use super::session::Session;

/// Clients at a time that only ask.
pub const PASSING: usize = 64;
/// Clients that may wait for something at a time.
pub const WAITING: usize = 1024;

/// The place of one more client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// There is room.
    Free,
    /// There is, when this one is dropped.
    Of(usize),
    /// There is none.
    None,
}

/// The clients, each with an index, which is free for another one when it has left.
#[derive(Default)]
pub struct Clients(Vec<Option<Session>>);

impl Clients {
    /// Takes one in, and gives its index.
    pub fn add(&mut self, session: Session) -> usize {
        match self.0.iter().position(Option::is_none) {
            Some(index) => {
                self.0[index] = Some(session);
                index
            }
            None => {
                self.0.push(Some(session));
                self.0.len() - 1
            }
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, index: usize) -> Option<Session> {
        let session = self.0.get_mut(index)?.take();
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        session
    }

    /// The client at `index`.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Session> {
        self.0.get_mut(index)?.as_mut()
    }

    /// The client with this number, and its index.
    pub fn find(&mut self, number: u64) -> Option<(usize, &mut Session)> {
        self.iter_mut().find(|(_, session)| session.number == number)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.0.iter().enumerate().filter_map(|(index, session)| Some((index, session.as_ref()?)))
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Session)> {
        self.0.iter_mut().enumerate().filter_map(|(index, session)| Some((index, session.as_mut()?)))
    }

    /// Whether one more may wait.
    pub fn may_wait(&self) -> bool {
        self.iter().filter(|(_, session)| session.is_waiting()).count() < WAITING
    }

    /// Whether one more may have frames captured.
    pub fn may_capture(&self) -> bool {
        self.iter().filter(|(_, session)| session.capture.is_some()).count() < CAPTURES
    }

    /// The place for one more client. `is_served`: input of the client with this index is still to be handled.
    pub fn place(&self, is_served: impl Fn(usize) -> bool) -> Place {
        let passing = || {
            self.iter()
                .filter(|(_, session)| !session.is_waiting() && session.ports.is_empty() && session.capture.is_none())
        };
        if passing().count() < PASSING {
            return Place::Free;
        }
        let silent = passing().filter(|(index, _)| !is_served(*index));
        silent
            .min_by_key(|(_, session)| (session.heard, session.number))
            .map_or(Place::None, |(index, _)| Place::Of(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::control::session::tests::pair;
    use crate::time::{Duration, Instant};

    #[test]
    fn who_has_been_silent_longest_makes_room() {
        let mut clients = Clients::default();
        for number in 0..PASSING as u64 {
            assert_eq!(clients.place(|_| false), Place::Free);
            let (mut session, _) = pair();
            (session.number, session.heard) = (number, Instant::ZERO + Duration::from_secs(100 - number));
            clients.add(session);
        }
        assert_eq!(clients.place(|_| false), Place::Of(PASSING - 1));
        assert_eq!(clients.place(|index| index > 3), Place::Of(3), "others have asked for something");
        assert_eq!(clients.place(|_| true), Place::None);
        // those who have a port, or wait, are not counted
        clients.get_mut(5).unwrap().ports.push(("default".into(), "a".into()));
        assert_eq!(clients.place(|_| true), Place::Free);
        clients.add(pair().0);
        clients.get_mut(6).unwrap().busy = true;
        assert_eq!(clients.place(|_| true), Place::Free);
        assert_eq!(clients.add(pair().0), PASSING + 1);
        assert!(clients.remove(2).is_some() && clients.remove(2).is_none());
        assert_eq!((clients.iter().count(), clients.add(pair().0)), (PASSING + 1, 2));
        assert!(clients.may_wait());
    }
}
