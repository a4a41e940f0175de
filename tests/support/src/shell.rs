//! The result of a shell script, wherever it ran.

/// What came of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// Its exit status; 128 and the signal's number if a signal ended it.
    pub rc: i32,
    /// What it printed, on stdout and stderr alike.
    pub output: String,
}

impl Ran {
    /// The output of a script that must have succeeded.
    ///
    /// # Panics
    /// With the output, if its status was not 0. `place` and `script` say what it was.
    pub fn checked(self, place: &str, script: &str) -> String {
        assert!(self.rc == 0, "{place}: status {} from: {script}\n{}", self.rc, self.output);
        self.output
    }
}
