//! Cuts a stream of bytes into lines of bounded length.

use memchr::memchr;

/// A line that is too long. The input behind it cannot be told apart: the connection is unusable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a line of more than {limit} bytes")]
pub struct TooLong {
    /// The bytes that it may have.
    pub limit: usize,
}

/// Bytes that have come and are not yet taken as lines. Holds at most one line, and what came in the same read behind
/// it.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Bytes at the start that were taken.
    taken: usize,
    /// Bytes that were searched for the end of a line.
    searched: usize,
    limit: usize,
}

impl Lines {
    /// For lines of at most `limit` bytes, their ends not counted.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), taken: 0, searched: 0, limit }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes behind the lines that were taken, which belong to no line.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.taken);
        self.bytes
    }

    /// Takes the next whole line, without its `\n`. `None` until more has come.
    ///
    /// # Errors
    /// [`TooLong`], and from then on always.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let too_long = TooLong { limit: self.limit };
        let fresh = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(end) = memchr(b'\n', fresh).map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            return if self.searched - self.taken > self.limit { Err(too_long) } else { Ok(None) };
        };
        let start = self.taken;
        if end - start > self.limit {
            return Err(too_long);
        }
        self.taken = end + 1;
        self.searched = end + 1;
        Ok(self.bytes.get(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_line_is_the_end() {
        let mut lines = Lines::new(4);
        lines.push(b"abcd\nabcde");
        assert_eq!(lines.next_line(), Ok(Some(&b"abcd"[..])));
        assert_eq!(lines.next_line(), Err(TooLong { limit: 4 }));
        lines.push(b"\nab\n");
        assert_eq!(lines.next_line(), Err(TooLong { limit: 4 }));
    }

    proptest! {
        /// However a text is cut into reads, its lines are the same, and no more is kept than came in one read and
        /// belongs to one line.
        #[test]
        fn lines_do_not_depend_on_the_reads(text in "[ab\n]{0,60}", cuts in prop::collection::vec(1_usize..9, 1..80)) {
            let mut lines = Lines::new(60);
            let (mut got, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.into_iter().cycle() {
                let (line, behind) = rest.split_at(cut.min(rest.len()));
                lines.push(line);
                while let Some(line) = lines.next_line().unwrap() {
                    got.push(line.to_vec());
                }
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            let mut expected: Vec<_> = text.as_bytes().split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop();
            prop_assert_eq!(got, expected);
        }
    }
}
