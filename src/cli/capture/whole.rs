//! A file on a disk to which a capture is written: it ends with a whole block, also when it cannot be written on.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, Write};

/// Blocks that are to be written.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each block ends, and whether it is a frame.
    ends: Vec<(usize, bool)>,
}

impl Batch {
    /// Adds a block, which is a frame or not.
    pub fn push(&mut self, block: &[u8], is_frame: bool) {
        self.bytes.extend_from_slice(block);
        self.ends.push((self.bytes.len(), is_frame));
    }

    /// The bytes of all blocks.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Frames that are whole when so many bytes are written.
    pub fn frames_within(&self, bytes: usize) -> u64 {
        self.ends.iter().filter(|(end, is_frame)| *is_frame && *end <= bytes).count() as u64
    }

    /// All frames.
    pub fn frames(&self) -> u64 {
        self.frames_within(self.bytes.len())
    }

    /// Takes all blocks out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The end of the last block that is whole when so many bytes are written.
    fn whole_within(&self, bytes: usize) -> usize {
        self.ends.iter().map(|(end, _)| *end).take_while(|end| *end <= bytes).last().unwrap_or(0)
    }
}

/// See the head of the file.
pub struct Whole {
    file: File,
    frames: u64,
}

impl Whole {
    /// The blocks go behind what is in `file`.
    pub fn new(file: File) -> Self {
        Self { file, frames: 0 }
    }

    /// Frames that were written to it.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Writes all blocks, or as many as find room.
    ///
    /// # Errors
    /// One could not be written; what there was of it is cut off.
    pub fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let mut done = 0;
        let outcome = loop {
            let rest = batch.bytes.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.frames += batch.frames_within(done);
        if outcome.is_err() {
            self.cut((done - batch.whole_within(done)) as u64);
        }
        outcome
    }

    /// Cuts off so many bytes, which were written last.
    fn cut(&mut self, bytes: u64) {
        // It is a help only: what fails here is the disk, of which the error is said.
        let _ = self.file.stream_position().and_then(|at| {
            let end = at.saturating_sub(bytes);
            self.file.set_len(end)?;
            self.file.seek(io::SeekFrom::Start(end))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_knows_its_blocks() {
        let mut batch = Batch::default();
        for (block, is_frame) in [(&b"head"[..], false), (b"one", true), (b"two", true)] {
            batch.push(block, is_frame);
        }
        let within = [0, 3, 4, 6, 7, 9, 10].map(|bytes| (batch.whole_within(bytes), batch.frames_within(bytes)));
        assert_eq!(within, [(0, 0), (0, 0), (4, 0), (4, 0), (7, 1), (7, 1), (10, 2)]);
        assert_eq!(batch.frames(), 2);
        let mut file = Whole::new(tempfile::tempfile().unwrap());
        file.write(&batch).unwrap();
        file.cut(2);
        assert_eq!((file.frames(), file.file.metadata().unwrap().len()), (2, 8));
        batch.clear();
        assert!(batch.bytes().is_empty() && batch.frames() == 0);
    }
}
