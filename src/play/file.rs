//! The file of a JUnit report. It is whole at any time: written when it is opened, and anew after each step.

use crate::error::{Error, Result};
use crate::scenario::{Report, junit};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// See the head of the file.
pub struct JunitFile {
    path: PathBuf,
    file: File,
    bench: String,
    /// It was said that it cannot be written.
    told: bool,
}

impl JunitFile {
    /// Creates it, for the bench of this name.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path, bench: &str) -> Result<Self> {
        let file = File::create(path).map_err(|cause| Error::system(path.display(), &cause))?;
        Ok(Self { path: path.to_owned(), file, bench: bench.to_owned(), told: false })
    }

    /// Writes a report. `trouble`: why the bench itself has failed.
    pub fn write(&mut self, report: &Report, trouble: Option<&str>) {
        let text = junit(&self.bench, report, trouble);
        let written = self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.write_all(text.as_bytes()));
        // What is longer of the report before goes only then, so that who reads it meanwhile finds its beginning.
        let written = written.and_then(|()| self.file.set_len(text.len() as u64));
        if let (Err(cause), false) = (written, self.told) {
            self.told = true;
            log::error!("{}: {cause}; the report is not complete", self.path.display());
        }
    }
}
