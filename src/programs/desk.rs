//! Where orders come in by the control socket: names become places in the list, and answers find who asked.

use super::orders::Deed;
use crate::config::grammar::near;
use crate::engine::control::{Board, Order};
use crate::error::{Class, Error, Result};
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::Arc;

/// Names of instances that a hint has.
const SHOWN: usize = 32;

/// See the head of the file.
pub struct Desk {
    /// The orders.
    pub orders: Receiver<Order>,
    board: Arc<Board>,
    open: HashMap<u64, Sender<Result<()>>>,
    last: u64,
}

impl Desk {
    /// Takes the orders that come in by `board`.
    pub fn new(board: Arc<Board>) -> Self {
        Self { orders: board.attend(), board, open: HashMap::new(), last: 0 }
    }

    /// Takes an order for instances of these names. Gives its number, what is to be done, and the places of whom; nothing:
    /// it was refused.
    pub fn take(&mut self, order: Order, names: &[&str], alone: bool) -> Option<(u64, Deed, Vec<usize>)> {
        let deed = deed(&order);
        let refused = match deed {
            // Its terminal is that of zbridge, which ends with it.
            Deed::Signal(_) => None,
            Deed::Start | Deed::Stop | Deed::Restart => alone.then(|| {
                Error::usage(format!("the program of `zbridge run` is only killed, not {}", word_done(deed)))
                    .hint("zbridge kill NAME TERM; in a bench (zbridge up FILE) programs can be started again")
            }),
        };
        let found = refused.map_or_else(|| places(&order.instances, names), Err);
        match found {
            Ok(places) => {
                self.last += 1;
                self.open.insert(self.last, order.answer);
                Some((self.last, deed, places))
            }
            Err(error) => {
                // Who has asked may have left.
                let _ = order.answer.send(Err(error));
                None
            }
        }
    }

    /// Answers an order.
    pub fn answer(&mut self, number: u64, outcome: Result<()>) {
        // As above.
        self.open.remove(&number).into_iter().for_each(|asker| drop(asker.send(outcome.clone())));
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.board.close();
    }
}

fn deed(order: &Order) -> Deed {
    use crate::engine::control::Ordered;
    match order.what {
        Ordered::Start => Deed::Start,
        Ordered::Stop => Deed::Stop,
        Ordered::Restart => Deed::Restart,
        Ordered::Signal(signal) => Deed::Signal(signal),
    }
}

fn word_done(deed: Deed) -> &'static str {
    match deed {
        Deed::Start => "started",
        Deed::Stop => "stopped",
        Deed::Restart => "restarted",
        Deed::Signal(_) => "sent a signal",
    }
}

/// The places of the instances that are asked for, each once.
fn places(asked: &[String], names: &[&str]) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for name in asked {
        let place = names.iter().position(|known| known == name).ok_or_else(|| unknown(name, names))?;
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

/// The error of a name that no instance has.
pub fn unknown(name: &str, names: &[&str]) -> Error {
    let near = near(name, names.iter().copied());
    let near = near.map(|near| format!("the nearest is {near:?}; ")).unwrap_or_default();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let all = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    Error::new(Class::NoObject, format!("no instance is named {name}")).hint(format!("{near}there are {all}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::control::Ordered;
    use crossbeam_channel::unbounded;

    #[test]
    fn names_become_places_and_answers_find_their_askers() {
        let board = Arc::new(Board::default());
        let mut desk = Desk::new(board.clone());
        let order = |names: &[&str]| {
            let (answer, heard) = unbounded();
            let instances = names.iter().map(|name| (*name).to_owned()).collect();
            (Order { what: Ordered::Restart, instances, answer }, heard)
        };
        let names = ["sim1", "sim2", "router"];
        let (good, heard) = order(&["router", "sim1", "router"]);
        assert_eq!(desk.take(good, &names, false), Some((1, Deed::Restart, vec![2, 0])));
        desk.answer(1, Ok(()));
        assert_eq!(heard.try_recv(), Ok(Ok(())));
        let (bad, heard) = order(&["sim1", "sim3"]);
        assert_eq!(desk.take(bad, &names, false), None);
        let error = heard.try_recv().unwrap().unwrap_err();
        assert_eq!((error.class(), error.what()), (Class::NoObject, "no instance is named sim3"));
        assert_eq!(error.advice(), Some("the nearest is \"sim1\"; there are sim1, sim2, router"));
        let (alone, heard) = order(&["sim1"]);
        assert_eq!(desk.take(alone, &names, true), None);
        assert_eq!(heard.try_recv().unwrap().unwrap_err().class(), Class::Usage);
        drop(desk);
        assert!(board.order(Ordered::Stop, Vec::new()).is_err(), "nobody takes orders any more");
    }
}
