//! Frames that leave by a port with a translation ([`crate::wire::rewrite`]).
//!
//! A frame in a batch is shared by all ports that it floods to, so what leaves translated is copied first. What the port
//! does not take then waits in its queue as it was, and is copied again: the same bytes, as the length and the rules
//! stay.

use crate::counters::Counters;
use crate::frame::{Batch, Outgoing};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::{Broken, Edge};
use crate::wire::Rewriter;

/// Bytes that are copied before they are sent.
const ROOM: usize = 4 * (PREFIX + MAX_FRAME);

/// Room for the copies. Without a port that translates it takes none.
#[derive(Default)]
pub(super) struct Scratch(Option<Batch>);

impl Scratch {
    /// Sends `out` by `edge` with other addresses. As [`Edge::transmit`].
    pub fn transmit(
        &mut self,
        rewriter: &Rewriter,
        edge: &mut Edge,
        out: Outgoing<'_>,
        counters: &mut Counters,
    ) -> Result<usize, Broken> {
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
            let more = |broken: Broken| Broken { done: done + broken.done, ..broken };
            let taken = edge.transmit(Outgoing::rest_of(batch, 0), counters).map_err(more)?;
            done += taken;
            if taken < batch.len() {
                break;
            }
        }
        Ok(done)
    }
}
