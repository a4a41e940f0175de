//! Puts an endpoint's frames straight into the batch of a port.

use super::Endpoint;
use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::time::Instant;
use crate::wire::Offload;

/// Frames that it may send before its service handles arrived ones.
const BUDGET: usize = 64;
/// Frames of one call, and the bytes after which there is no further call.
const TURN: usize = 16;
const ENOUGH: usize = 2 * (PREFIX + MAX_FRAME);

impl Endpoint {
    /// Puts frames into `out`, a bounded number, as many as fit. True if there may be more.
    pub fn fill(&mut self, now: Instant, out: &mut Batch) -> bool {
        let before = (out.len(), out.free());
        while out.len() - before.0 < BUDGET && before.1 - out.free() < ENOUGH {
            // As many as there is room for, however long they are.
            let count = (out.free() / (PREFIX + MAX_FRAME)).min(TURN);
            if count == 0 {
                break;
            }
            let put = &mut |frame: &[u8]| {
                out.push(frame, PortId(0), Offload::NONE);
            };
            if self.poll_transmit(now, count, put) < count {
                return false;
            }
        }
        true
    }
}
