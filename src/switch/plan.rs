//! The decisions for the frames of one batch: a list of frames per port, and one list of flooded frames.
//!
//! A flooded frame is not noted once for each of a thousand ports; it is noted once, and merged into each port's list,
//! in order, when that port's turn to send comes.

use crate::frame::PortId;
use std::ops::Range;

/// The decisions for one batch. Empty again after the batch was sent.
#[derive(Default)]
pub struct Plan {
    pub(super) unicast: Vec<Vec<u32>>,
    /// Ports whose unicast list is not empty, in the order in which they were met.
    pub(super) touched: Vec<PortId>,
    pub(super) flood: Vec<u32>,
}

impl Plan {
    pub(super) fn reserve(&mut self, ports: usize) {
        if self.unicast.len() < ports {
            self.unicast.resize_with(ports, Vec::new);
        }
    }

    /// Always inlined: a call would be a twentieth of what a frame to one station among many costs.
    #[inline(always)]
    pub(super) fn send(&mut self, frames: Range<u32>, port: PortId) {
        let list = &mut self.unicast[port.index()];
        if list.is_empty() {
            self.touched.push(port);
        }
        // One, for a station among many.
        list.push(frames.start);
        if frames.len() > 1 {
            list.extend(frames.start + 1..frames.end);
        }
    }

    #[inline]
    pub(super) fn flood(&mut self, frames: Range<u32>) {
        self.flood.extend(frames);
    }
}

/// Merges two ascending lists of frames into `merged`, of `flood` only those that `takes` says yes to.
pub(super) fn merge(unicast: &[u32], flood: &[u32], takes: impl Fn(u32) -> bool, merged: &mut Vec<u32>) {
    merged.clear();
    let mut unicast = unicast.iter().copied().peekable();
    for &frame in flood.iter().filter(|&&frame| takes(frame)) {
        while let Some(earlier) = unicast.next_if(|&other| other < frame) {
            merged.push(earlier);
        }
        merged.push(frame);
    }
    merged.extend(unicast);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_the_order() {
        let mut merged = vec![9];
        merge(&[1, 4, 6], &[0, 2, 3, 5, 7], |frame| frame != 3, &mut merged);
        assert_eq!(merged, [0, 1, 2, 4, 5, 6, 7]);
    }
}
