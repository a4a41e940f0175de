//! Emptied batches, reused for the next frames of a channel instead of allocating new ones.

use crate::frame::Batch;
use parking_lot::Mutex;

/// Batches that are kept. A burst may use more; the rest are freed.
const SPARES: usize = 4;

/// The spare batches of one direction.
#[derive(Default)]
pub struct Spares(Mutex<Vec<Batch>>);

impl Spares {
    /// An empty batch with room for `bytes`.
    pub fn take(&self, bytes: usize) -> Batch {
        let spare = self.0.lock().pop();
        spare.filter(|batch| batch.free() >= bytes).unwrap_or_else(|| Batch::new(bytes))
    }

    /// Keeps a batch that is done with.
    pub fn put(&self, mut batch: Batch) {
        batch.clear();
        let mut spares = self.0.lock();
        if spares.len() < SPARES {
            spares.push(batch);
        }
    }
}
