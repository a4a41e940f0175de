//! Makes plain frames of what a port left unfinished, for ports that take nothing else.

use crate::counters::DropReason;
use crate::frame::{Batch, Frame};
use crate::wire::{Gso, Offload, segment};

/// Room for what one super-frame at most becomes: its bytes, and the headers of every segment.
pub(super) const ROOM: usize = 1024 * 1024;

/// Puts `frame` into `plain`, cut and summed as its offload asks. False when there is no room for the worst case; then
/// nothing was done.
///
/// # Errors
/// The frame is not what its port said of it.
pub(super) fn finish_into(frame: &Frame, bytes: &[u8], plain: &mut Batch) -> Result<bool, DropReason> {
    let worst = match frame.offload.gso {
        Gso::None => bytes.len(),
        _ => ROOM / 2,
    };
    if plain.free() < worst + crate::limits::PREFIX {
        return Ok(false);
    }
    let mut fits = true;
    let emit = |parts: &[&[u8]]| fits &= plain.push_parts(parts, frame.ingress, Offload::NONE);
    match segment::finish(bytes, &frame.offload, emit) {
        Ok(_) if fits => Ok(true),
        // Only headers of hundreds of bytes come to this.
        Ok(_) => Err(DropReason::TooBig),
        Err(_) => Err(DropReason::BadOffload),
    }
}
