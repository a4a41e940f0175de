//! Looks for the line of output that tells that an instance is ready.
//!
//! The match is on the program's bytes, not on the lines shown: on the line as a whole, however long the program paused
//! in it and wherever its display was cut. It is tried as it is, and once more without escape sequences and carriage
//! returns, since a prompt is often coloured. A line without an end (a prompt) is tried when no more of it is expected
//! soon.
//!
//! The buffer is bounded: a line that does not end is tried in chunks, which overlap.

use super::output::without_escapes;
use regex::bytes::Regex;

/// Bytes of a line that are tried together.
const LONGEST: usize = 64 << 10;
/// Bytes that the chunks of a longer line have in common. A match across a cut is found if it is no longer.
const OVERLAP: usize = 8 << 10;

/// See the module.
#[derive(Clone, Debug)]
pub struct ReadyLine {
    pattern: Regex,
    line: Vec<u8>,
    /// The beginning of the line was tried and dropped.
    cut: bool,
}

impl ReadyLine {
    /// Looks for `pattern`.
    pub fn new(pattern: Regex) -> Self {
        Self { pattern, line: Vec::new(), cut: false }
    }

    /// Takes what was read. True: a line that has ended, or a chunk of a long one, matches.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match chunk.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (chunk, false),
            };
            for part in text.chunks(OVERLAP) {
                self.line.extend_from_slice(part);
                if self.line.len() > LONGEST {
                    if self.chunk_matches() {
                        return true;
                    }
                    self.line.drain(..self.line.len() - OVERLAP);
                    self.cut = true;
                }
            }
            if ended {
                if self.matches() {
                    return true;
                }
                self.line.clear();
                self.cut = false;
            }
        }
        false
    }

    /// No more is expected soon. True: the unfinished line matches.
    pub fn pause(&self) -> bool {
        (!self.line.is_empty() || self.cut) && self.matches()
    }

    /// Whether an unfinished line matches already. A match that needs the end of the line here does not count.
    fn chunk_matches(&self) -> bool {
        let found = |line: &[u8]| {
            self.pattern.shortest_match_at(line, usize::from(self.cut)).is_some_and(|end| end < line.len())
        };
        found(&self.line) || found(&without_escapes(&self.line))
    }

    fn matches(&self) -> bool {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        // `^` must not match in the middle of a line.
        let from = usize::from(self.cut).min(line.len());
        self.pattern.is_match_at(line, from) || {
            let plain = without_escapes(line);
            plain != line && self.pattern.is_match_at(&plain, from.min(plain.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(pattern: &str, chunks: &[&[u8]]) -> Option<usize> {
        let mut line = ReadyLine::new(Regex::new(pattern).unwrap());
        chunks.iter().position(|chunk| if chunk.is_empty() { line.pause() } else { line.push(chunk) })
    }

    /// An empty chunk is a pause.
    #[test]
    fn a_pause_in_a_line_makes_no_difference() {
        assert_eq!(ready("booted OK", &[b"boo", b"", b"ted OK", b"\n"]), Some(3));
        assert_eq!(ready("booted OK", &[b"boo", b"", b"ted OK", b""]), Some(3));
        assert_eq!(ready("^ted", &[b"boo", b"", b"ted OK", b"", b"\n"]), None, "it is no line of its own");
        assert_eq!(ready("^prompt> $", &[b"x\nprompt> ", b""]), Some(1));
        assert_eq!(ready("^$", &[b"x", b"", b"\r\n", b"\r\n"]), Some(3));
    }

    #[test]
    fn a_line_may_be_long() {
        for before in [100, 8188, 20_000, LONGEST - 2, LONGEST, LONGEST + 1, 3 * LONGEST - 3] {
            let line = [&vec![b'x'; before][..], b"READY\n"].concat();
            assert_eq!(ready("READY", &[&line]), Some(0), "{before}");
            let chunks: Vec<&[u8]> = line.chunks(1000).collect();
            assert_eq!(ready("READY$", &chunks), Some(chunks.len() - 1), "{before}");
            assert_eq!(ready("^READY", &chunks), None, "{before}");
            assert_eq!(ready("^x+$", &chunks), None, "{before}");
        }
    }

    #[test]
    fn bytes_and_colours_are_the_programs_own() {
        assert_eq!(ready(r"^(?-u:\xff)$", &[b"\xff\n"]), Some(0));
        assert_eq!(ready(r"^uart:~\$ $", &[b"\x1b[1;32muart:~$ \x1b[m", b""]), Some(1));
        assert_eq!(ready(r"\x1b\[1;32muart", &[b"\x1b[1;32muart:~$ \x1b[m", b""]), Some(1));
        assert_eq!(ready(r"^ok$", &[b"[ .. ]\r\x1b[2Kok\r\n"]), None);
    }
}
