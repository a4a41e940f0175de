//! Text that others wrote, made fit to be shown: what would act on a terminal is seen instead.
//!
//! A process chooses its name, a peer the reason why it left, a device its strings, and each may put escape sequences in
//! it that move the cursor, change the window's title or turn the line around. So whatever is shown goes through here:
//! tables (`config::text`), messages and the log, lines of instances, and JSON, which has an escape of
//! its own for each sign that [`is_unseen`].

use std::borrow::Cow;

/// `text` as it may be shown, whoever wrote it: signs that would do something instead of being seen are written out, as
/// `\x1b` or `\u{202e}`. They are control characters, a line's end among them, and those that turn the direction of what
/// is beside them, or cannot be seen at all.
pub fn visible(text: &str) -> Cow<'_, str> {
    // Most are letters and digits, and there may be a million of them.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(|char| !is_unseen(char)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|char| push_visible(&mut shown, char));
    Cow::Owned(shown)
}

/// The same for text of several lines, whose ends and tabs stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let keeps = |char: char| matches!(char, '\n' | '\t');
    if text.chars().all(|char| keeps(char) || !is_unseen(char)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|char| if keeps(char) { shown.push(char) } else { push_visible(&mut shown, char) });
    Cow::Owned(shown)
}

/// The same for bytes that may be no text; what is no UTF-8 is written out as well.
pub fn visible_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push_visible(&mut shown, char));
        chunk.invalid().iter().for_each(|byte| shown.push_str(&format!("\\x{byte:02x}")));
    }
    shown
}

/// Adds one sign as [`visible`] has it.
pub fn push_visible(text: &mut String, char: char) {
    match u32::from(char) {
        number if is_unseen(char) && number < 0x100 => text.push_str(&format!("\\x{number:02x}")),
        number if is_unseen(char) => text.push_str(&format!("\\u{{{number:x}}}")),
        _ => text.push(char),
    }
}

/// Whether a sign is written out: Unicode's general categories Cc and, of Cf, Zl and Zp, those that a line has no use for.
pub fn is_unseen(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(char, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_is_seen() {
        for (given, shown) in [
            ("zephyr-1 é 中 \\", "zephyr-1 é 中 \\"),
            ("\x1b]0;X\x07\r\n\t", r"\x1b]0;X\x07\x0d\x0a\x09"),
            ("\u{9b}31m\u{7f}", r"\x9b31m\x7f"),
            ("a\u{202e}b\u{2028}\u{feff}", r"a\u{202e}b\u{2028}\u{feff}"),
        ] {
            assert_eq!(visible(given), shown);
            assert_eq!(visible_bytes(given.as_bytes()), shown);
        }
        assert_eq!(visible_bytes(b"a\xff\x9b"), r"a\xff\x9b");
        assert_eq!(visible_lines("a\n\tb\r\x1b"), "a\n\tb\\x0d\\x1b");
    }
}
