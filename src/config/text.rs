//! Text for people: aligned columns, and words quoted for a shell.

use std::borrow::Cow;

/// Aligns `rows` in columns two blanks apart; the last column of a row is not padded. Each line starts with `indent`
/// and ends with a newline.
pub fn columns<R: AsRef<[C]>, C: AsRef<str>>(indent: &str, rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = cell.as_ref().chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths);
        let line: String = cells.map(|(cell, &width)| format!("{:width$}  ", cell.as_ref())).collect();
        text.push_str(format!("{indent}{line}").trim_end());
        text.push('\n');
    }
    text
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

/// `text` as one word of a POSIX shell: as it is if nothing in it is special, otherwise in single quotes.
pub fn shell(text: &str) -> Cow<'_, str> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,@+%".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a", "bcd", "e"], vec!["äöü", "b"], vec!["", "", "f"]];
        assert_eq!(columns(" ", &rows), " a    bcd  e\n äöü  b\n           f\n");
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
}
