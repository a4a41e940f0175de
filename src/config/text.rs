//! Text for people: aligned columns, and words quoted for a shell.

use crate::visible::visible;
use std::borrow::Cow;

/// The least width of a meaning beside its word.
const LEAST_ROOM: usize = 30;

/// Aligns `rows` in columns two blanks apart; the last column of a row is not padded. Each line starts with `indent`
/// and ends with a newline. Cells may have untrusted text: it is escaped by [`visible`].
pub fn columns<R: AsRef<[C]>, C: AsRef<str>>(indent: &str, rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = visible(cell.as_ref()).chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths);
        text.push_str(indent);
        for (cell, &width) in cells {
            let cell = visible(cell.as_ref());
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', pad));
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// `text` with blanks behind it up to `width` characters. (Not by a width in a format: that is a `u16`, and a longer word
/// a panic.)
fn padded(text: &str, width: usize) -> String {
    let blanks = width.saturating_sub(text.chars().count());
    [text, &" ".repeat(blanks)].concat()
}

/// Breaks `text` at its blanks into lines of at most `width` characters, `indent` included; a longer word stands alone.
/// Each line starts with `indent` and ends with a newline.
pub fn wrap(indent: &str, width: usize, text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let length = indent.chars().count() + line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && length > width {
            lines.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        lines.push_str(&format!("{indent}{line}\n"));
    }
    lines
}

/// Aligns words and their meanings in two columns. Where a `width` is given, no line is longer, the indent included: a
/// meaning goes on below where it began, or begins below its word where there is little room beside.
pub fn meanings(indent: &str, width: Option<usize>, rows: &[[String; 2]]) -> String {
    let Some(width) = width else { return columns(indent, rows) };
    let widest = rows.iter().map(|[word, _]| word.chars().count()).max().unwrap_or(0);
    let beside = indent.chars().count() + widest + 2;
    let margin = if beside + LEAST_ROOM <= width { beside } else { indent.chars().count() + 4 };
    let mut text = String::new();
    for [word, meaning] in rows {
        let head = format!("{indent}{word}");
        let lines = wrap(&" ".repeat(margin), width, meaning);
        if head.chars().count() + 2 <= margin {
            text.push_str(&padded(&head, margin));
            text.push_str(lines.get(margin..).unwrap_or("\n"));
        } else {
            text.push_str(&format!("{head}\n{lines}"));
        }
    }
    text
}

/// `text` as one word of a POSIX shell on one line: as it is if nothing in it is special, otherwise in single quotes, or
/// with control characters, a line's end among them, in dollar-single-quotes (POSIX.1-2024, XCU 2.2.4).
pub fn shell(text: &str) -> Cow<'_, str> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,@+%".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else if text.chars().any(char::is_control) {
        Cow::Owned(format!("$'{}'", text.chars().map(escaped).collect::<String>()))
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

fn escaped(char: char) -> String {
    match char {
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        '\\' | '\'' => format!("\\{char}"),
        _ if char.is_control() => char.to_string().bytes().map(|byte| format!("\\{byte:03o}")).collect(),
        _ => char.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a", "bcd", "e"], vec!["äöü", "b"], vec!["", "", "f"]];
        assert_eq!(columns(" ", &rows), " a    bcd  e\n äöü  b\n           f\n");
        assert_eq!(columns("", &[["\x1b[2J", "b"], ["a", "b\n"]]), "\\x1b[2J  b\na        b\\x0a\n");
    }

    #[test]
    fn a_word_may_be_of_any_length() {
        let long = "x".repeat(70_000);
        assert_eq!(columns("", &[[&long, "a"], ["b", "c"]]), format!("{long}  a\nb{}c\n", " ".repeat(70_001)));
        let rows = [[long.clone(), "a".to_owned()]];
        assert_eq!(meanings("", Some(80), &rows), format!("{long}\n    a\n"));
        assert_eq!(meanings("", Some(100_000), &rows), format!("{long}  a\n"));
    }

    #[test]
    fn lines_are_as_long_as_asked() {
        assert_eq!(wrap("  ", 7, "ab cd  efg hijklmn o"), "  ab cd\n  efg\n  hijklmn\n  o\n");
        assert_eq!(wrap("  ", 7, " "), "");
    }

    #[test]
    fn only_special_words_are_quoted() {
        assert_eq!(shell("unix:/tmp/a,mode=0600"), "unix:/tmp/a,mode=0600");
        assert_eq!(shell("a b"), "'a b'");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell(""), "''");
        assert_eq!(shell("udp:a:1->b:2"), "'udp:a:1->b:2'");
    }

    #[test]
    fn a_word_of_several_lines_is_on_one() {
        assert_eq!(shell("a 'b'\n\tc\\d\r\u{9b}0"), r"$'a \'b\'\n\tc\\d\015\302\2330'");
    }

    #[test]
    fn meanings_stay_beside_their_words_or_below() {
        let rows = [["ab", "one two three four"], ["abcdef", "five"], ["c", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(meanings(" ", None, &rows), " ab      one two three four\n abcdef  five\n c\n");
        let wide =
            meanings(" ", Some(9 + LEAST_ROOM), &[["ab", &"word ".repeat(9)].map(str::to_owned), rows[1].clone()]);
        let line = "word word word word word word";
        assert_eq!(wide, format!(" ab      {line}\n         word word word\n abcdef  five\n"));
        assert_eq!(meanings(" ", Some(16), &rows[..2]), " ab  one two\n     three four\n abcdef\n     five\n");
    }
}
