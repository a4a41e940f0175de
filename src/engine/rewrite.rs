//! Frames that leave by a port with a translation ([`crate::wire::rewrite`]).
//!
//! A frame in a batch is shared by all ports that it floods to, so what leaves translated is copied first. Frames that
//! the port does not take wait in its queue untranslated, and are copied again later: to the same bytes, as the rules
//! do not change.

use crate::counters::Counters;
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::Edge;
use crate::port::seat::Seat;
use crate::wire::Rewriter;

/// Bytes that are copied between two sends.
const ROOM: usize = 4 * (PREFIX + MAX_FRAME);

/// Room for the copies. Without a port that translates it takes none.
#[derive(Default)]
pub(super) struct Scratch(Option<Batch>);

impl Scratch {
    /// Offers `out` to the edge on `seat` with other addresses. As [`Seat::offer`].
    pub fn offer(
        &mut self,
        rewriter: &Rewriter,
        seat: &mut Seat<Edge>,
        out: Outgoing<'_>,
        counters: &mut Counters,
    ) -> usize {
        let batch = self.0.get_or_insert_with(|| Batch::new(ROOM));
        let mut done = 0;
        while done < out.len() {
            batch.clear();
            for (frame, bytes) in out.skip(done).frames() {
                if !batch.push(bytes, frame.ingress, frame.offload) {
                    break;
                }
            }
            batch.edit_from(0, |frame, offload| rewriter.outbound(frame, offload));
            let taken = seat.offer(Outgoing::rest_of(batch, 0), counters);
            done += taken;
            if taken == 0 || taken < batch.len() {
                break;
            }
        }
        done
    }
}
