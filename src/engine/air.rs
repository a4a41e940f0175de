//! What is on the air of a radio medium, written to a file as it is sent.

use crate::capture::pcap;
use crate::error::{Error, Result};
use crate::frame::Batch;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::SystemTime;

/// A capture of every frame that a node sends, once, whoever hears it.
pub(super) struct Air {
    /// `None` after a failure.
    file: Option<BufWriter<File>>,
    path: String,
}

impl Air {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let cannot = |error: &io::Error| Error::system(format_args!("cannot capture to {}", path.display()), error);
        let mut file = BufWriter::new(File::create(path).map_err(|error| cannot(&error))?);
        let begun = file.write_all(&pcap::header(pcap::IEEE802_15_4_NOFCS)).and_then(|()| file.flush());
        begun.map_err(|error| cannot(&error))?;
        Ok(Self { file: Some(file), path: path.display().to_string() })
    }

    /// Writes all frames of a breath, so that a reader of the file is never behind.
    pub fn write(&mut self, batch: &Batch) {
        let Some(file) = &mut self.file else { return };
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut written = Ok(());
        for frame in batch.frames() {
            written = written
                .and_then(|()| file.write_all(&pcap::record(since, frame.len())))
                .and_then(|()| file.write_all(batch.bytes(frame)));
        }
        if let Err(error) = written.and_then(|()| file.flush()) {
            log::error!("capture to {} ends: {error}", self.path);
            self.file = None;
        }
    }
}
