//! The seat of an edge in its port. A failed edge leaves it at once, and nothing can be offered to it any more.
//!
//! Theory of operation. A connection has state (how much of a frame has left, what a decoder has in hand) that means
//! nothing after its error. So an edge is used through its seat alone: the call that fails moves the edge out of reach,
//! together with the reason, before it returns. Frames that are offered to the seat from then on end as `no-peer`,
//! in the same breath too. The engine takes the failed edge out ([`Seat::into_failed`]) and lets it go, or gives it a new
//! seat when it can wait for its next peer with a clean state.
//!
//! Every frame that is offered is accounted for here: it was sent or dropped, and counted, or the edge is busy.

use super::{Broken, Budget, Gone, Inhaled};
use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Outgoing, PortId};

/// A carrier of frames: an [`Edge`](super::Edge), or a script in a test.
///
/// After an error of either call the state of the connection means nothing, so neither may be called again. A [`Seat`]
/// sees to that.
pub trait Carrier {
    /// Receives what has come, within `budget`.
    ///
    /// # Errors
    /// [`Gone`]; the frames before it are in the batch.
    fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        budget: Budget,
        counters: &mut Counters,
    ) -> Result<Inhaled, Gone>;

    /// Sends what the descriptor takes. Returns the number of frames that are done with: sent or dropped, and counted.
    ///
    /// # Errors
    /// [`Broken`]; the frames that were not done with are the caller's to count.
    fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken>;

    /// Whether part of the first frame that was not done with has left.
    fn has_begun(&self) -> bool {
        false
    }
}

/// The place of an edge. See the head of the file.
pub struct Seat<E> {
    edge: E,
    /// Why the edge has failed.
    gone: Option<Gone>,
}

impl<E> Seat<E> {
    /// A seat with `edge` on it.
    pub fn new(edge: E) -> Self {
        Self { edge, gone: None }
    }

    /// The edge, as long as it is whole.
    pub fn edge(&self) -> Option<&E> {
        self.gone.is_none().then_some(&self.edge)
    }

    /// The same, to be asked or set.
    pub fn edge_mut(&mut self) -> Option<&mut E> {
        self.gone.is_none().then_some(&mut self.edge)
    }

    /// Marks the edge as failed. The first reason stands.
    pub fn fail(&mut self, gone: Gone) {
        self.gone.get_or_insert(gone);
    }

    /// Whether its edge has failed.
    pub fn has_failed(&self) -> bool {
        self.gone.is_some()
    }

    /// Takes the edge out, and why it has failed, if it has.
    pub fn into_failed(self) -> Option<(E, Gone)> {
        Some((self.edge, self.gone?))
    }
}

impl<E: Carrier> Seat<E> {
    /// Whether the first frame that is not done with has left in part.
    pub fn has_begun(&self) -> bool {
        self.edge().is_some_and(Carrier::has_begun)
    }

    /// Receives what has come, within `budget`. `None`: the edge has failed, now or before.
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        budget: Budget,
        counters: &mut Counters,
    ) -> Option<Inhaled> {
        match self.edge_mut()?.receive(batch, id, budget, counters) {
            Ok(inhaled) => Some(inhaled),
            Err(gone) => {
                self.fail(gone);
                None
            }
        }
    }

    /// Offers frames. Returns how many are done with: sent or dropped, and counted. When these are not all, the edge is
    /// busy. After a failure they are all dropped.
    pub fn offer(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> usize {
        let done = match self.edge_mut().map(|edge| edge.transmit(out, counters)) {
            Some(Ok(taken)) => return taken,
            Some(Err(Broken { done, gone })) => {
                self.fail(gone);
                done
            }
            None => 0,
        };
        counters.drop(DropReason::NoPeer, out.len().saturating_sub(done) as u64);
        out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Offload;

    /// Takes so many frames and then fails; it must not be called after that.
    struct Fragile {
        left: usize,
        dead: bool,
    }

    impl Carrier for Fragile {
        fn receive(&mut self, _: &mut Batch, _: PortId, _: Budget, _: &mut Counters) -> Result<Inhaled, Gone> {
            assert!(!std::mem::replace(&mut self.dead, true), "used after its error");
            Err(Gone("read".into()))
        }

        fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
            assert!(!self.dead, "used after its error");
            let done = out.len().min(self.left);
            self.left -= done;
            counters.sent(done as u64, 0);
            self.dead = done < out.len();
            if self.dead { Err(Broken { done, gone: Gone("write".into()) }) } else { Ok(done) }
        }
    }

    fn batch() -> Batch {
        let mut batch = Batch::new(4096);
        (0..10).for_each(|_| assert!(batch.push(&[0; 60], PortId(0), Offload::NONE)));
        batch
    }

    #[test]
    fn an_edge_that_failed_is_offered_nothing_more_and_every_frame_is_counted() {
        let (batch, mut counters) = (batch(), Counters::default());
        let mut seat = Seat::new(Fragile { left: 13, dead: false });
        for round in 0..4 {
            assert_eq!(seat.offer(Outgoing::rest_of(&batch, 0), &mut counters), 10, "round {round}");
            assert_eq!((seat.edge().is_none(), seat.has_failed()), (round > 0, round > 0));
        }
        assert_eq!((counters.tx_frames, counters.dropped(DropReason::NoPeer)), (13, 27));
        seat.fail(Gone("again".into()));
        assert_eq!(seat.into_failed().unwrap().1, Gone("write".into()), "the first reason stands");
    }

    #[test]
    fn an_edge_that_failed_while_it_was_read_is_not_written_to() {
        let (mut room, mut counters) = (Batch::new(100), Counters::default());
        let mut seat = Seat::new(Fragile { left: 99, dead: false });
        let budget = Budget { bytes: 9, frames: 9 };
        for _ in 0..2 {
            assert_eq!(seat.receive(&mut room, PortId(0), budget, &mut counters), None);
        }
        assert_eq!(seat.offer(Outgoing::rest_of(&batch(), 0), &mut counters), 10);
        assert_eq!(counters.dropped(DropReason::NoPeer), 10);
        seat = Seat::new(Fragile { left: 99, dead: false });
        assert_eq!(seat.offer(Outgoing::rest_of(&batch(), 0), &mut counters), 10);
        assert_eq!(counters.tx_frames, 10);
    }
}
