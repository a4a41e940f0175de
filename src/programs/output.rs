//! Output of programs, for a reader: cut into lines, and made safe for a terminal.
//!
//! A program writes bytes, not lines: chunks of a line, a prompt without an end, binary garbage, escape sequences that
//! move the cursor. [`Lines`] puts chunks together and cuts at line ends; [`readable`] lets colours through if wanted,
//! drops every other escape sequence, and shows bytes that are no text as `\x1f`.

use crate::visible::push_visible;
use std::mem::take;

/// A line that is longer is cut into several, in bytes.
pub const LONGEST_LINE: usize = 8192;

/// Puts the chunks of lines together.
#[derive(Default, Debug)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes what was read, and gives every line that is complete to `out`, without its end (`\n` or `\r\n`).
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match chunk.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (chunk, false),
            };
            for part in text.chunks(LONGEST_LINE) {
                self.partial.extend_from_slice(part);
                while self.partial.len() > LONGEST_LINE {
                    let rest = self.partial.split_off(LONGEST_LINE);
                    out(&self.partial);
                    self.partial = rest;
                }
            }
            if ended {
                let line = take(&mut self.partial);
                out(line.strip_suffix(b"\r").unwrap_or(&line));
            }
        }
    }

    /// Whether a line has begun and not ended.
    pub fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Gives an unfinished line to `out`: no more of it is expected soon.
    pub fn flush(&mut self, out: &mut impl FnMut(&[u8])) {
        if self.has_partial() {
            out(&take(&mut self.partial));
        }
    }
}

/// A line as a person reads it. With `colour`, escape sequences that set colours (SGR, ECMA-48, 8.3.117) stay, and are
/// reset at the end; all others go. Bytes that are no UTF-8, and control characters but the tab, are shown as `\x1f`.
pub fn readable(line: &[u8], colour: bool) -> String {
    let mut text = String::with_capacity(line.len());
    let mut coloured = false;
    for chunk in line.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(char) = rest.chars().next() {
            if let Some((sequence, behind)) = escape_sequence(rest) {
                if colour && sequence.ends_with('m') && sequence.starts_with("\x1b[") {
                    text.push_str(sequence);
                    coloured = true;
                }
                rest = behind;
                continue;
            }
            rest = rest.get(char.len_utf8()..).unwrap_or_default();
            match char {
                '\r' => {}
                '\t' => text.push('\t'),
                _ => push_visible(&mut text, char),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    if coloured {
        text.push_str("\x1b[0m");
    }
    text
}

/// A line without the escape sequences and carriage returns in it; all other bytes stay as they are.
pub fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(char) = rest.chars().next() {
            if let Some((_, behind)) = escape_sequence(rest) {
                rest = behind;
                continue;
            }
            let (taken, behind) = rest.split_at(char.len_utf8());
            if char != '\r' {
                plain.extend_from_slice(taken.as_bytes());
            }
            rest = behind;
        }
        plain.extend_from_slice(chunk.invalid());
    }
    plain
}

/// The control sequence that `text` begins with (CSI, ECMA-48, 5.4: parameters 30 to 3F, intermediates 20 to 2F, a
/// final byte 40 to 7E), and what stands behind it.
fn escape_sequence(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("\x1b[")?;
    let middle = body.find(|char: char| !('\x20'..='\x3f').contains(&char))?;
    let last = body[middle..].chars().next().filter(|char| ('\x40'..='\x7e').contains(char))?;
    text.split_at_checked(2 + middle + last.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut out = |line: &[u8]| seen.push(String::from_utf8_lossy(line).into_owned());
        chunks.iter().for_each(|chunk| lines.push(chunk, &mut out));
        lines.flush(&mut out);
        seen
    }

    #[test]
    fn chunks_become_lines() {
        assert_eq!(lines(&[b"one\ntw", b"o\r", b"\n\nuart:~$ "]), ["one", "two", "", "uart:~$ "]);
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let cut = lines(&[&[b'x'; LONGEST_LINE], &[b'y'; 2 * LONGEST_LINE], b"z\n"]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LONGEST_LINE, LONGEST_LINE, LONGEST_LINE, 1]);
    }

    #[test]
    fn colours_are_kept_for_a_terminal_only() {
        let line = b"\x1b[8D\x1b[J\x1b[1;31m<err>\x1b[m net: \xc3\xa9\tok\r";
        assert_eq!(readable(line, false), "<err> net: é\tok");
        assert_eq!(readable(line, true), "\x1b[1;31m<err>\x1b[m net: é\tok\x1b[0m");
    }

    #[test]
    fn only_escapes_are_taken_away() {
        assert_eq!(without_escapes(b"\x1b[8D\x1b[1m\xff\x00\r\xc3\xa9\x1b]0"), b"\xff\x00\xc3\xa9\x1b]0");
    }

    #[test]
    fn garbage_is_shown_as_what_it_is() {
        assert_eq!(readable(b"\x00a\xff\xfe\x1b]0;title\x07\x1b[", true), r"\x00a\xff\xfe\x1b]0;title\x07\x1b[");
        assert_eq!(readable(b"\xc2\x9b31m", false), r"\x9b31m", "the one-character CSI is no text either");
    }

    proptest! {
        /// However a text is cut into chunks, its lines are the same, and nothing is lost.
        #[test]
        fn cuts_make_no_difference(text in prop::collection::vec(0..4u8, 0..200), cuts in prop::collection::vec(0..200usize, 0..9)) {
            let text: Vec<u8> = text.into_iter().map(|byte| b"\n\rab"[usize::from(byte)]).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(lines(&chunks), lines(&[&text]));
        }

        /// What is shown moves no cursor and rings no bell.
        #[test]
        fn any_bytes_are_harmless(line in prop::collection::vec(any::<u8>(), 0..100)) {
            let plain = readable(&line, false);
            prop_assert!(plain.chars().all(|char| char == '\t' || !char.is_control()), "{plain:?}");
            let coloured = readable(&line, true);
            prop_assert!(!coloured.contains('\x07') && !coloured.contains('\r'), "{coloured:?}");
        }
    }
}
