//! Tables on a terminal that is narrower than they are.
//!
//! The line of a row keeps the cells of a short, known length. What has none stands below it, indented and broken at its
//! blanks; a name too long for its column has a line of its own. So one long name or note never breaks the lines of the
//! others.

use crate::config::text::{columns, meanings, wrap};
use crate::visible::visible;

/// A name has this many characters in any case.
const LEAST_NAME: usize = 8;

/// A row of a narrow table.
pub struct Row {
    /// What its first cell says; of any length.
    pub name: String,
    /// The others, which are short.
    pub short: Vec<String>,
    /// What goes below.
    pub notes: String,
}

/// Whether a table as it is laid out has room in lines of `width`.
pub fn fits(table: &str, width: Option<usize>) -> bool {
    width.is_none_or(|width| table.lines().all(|line| line.chars().count() <= width))
}

/// The head and each row, as the lines that they take.
pub fn narrow(head: &[&str], rows: &[Row], width: usize) -> Vec<String> {
    let cells = |name: &str, short: &[String]| -> Vec<String> {
        std::iter::once(name.to_owned()).chain(short.iter().cloned()).collect()
    };
    let (first, others) = head.split_first().map_or(("", &[][..]), |(first, others)| (*first, others));
    let others: Vec<String> = others.iter().map(|word| (*word).to_owned()).collect();
    let nameless: Vec<_> =
        std::iter::once(cells("", &others)).chain(rows.iter().map(|row| cells("", &row.short))).collect();
    let taken = columns("", &nameless).lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(taken).max(LEAST_NAME);
    let has_room = |row: &Row| visible(&row.name).chars().count() <= room;
    let named = rows.iter().map(|row| cells(if has_room(row) { &row.name } else { "" }, &row.short));
    let table = columns("", &std::iter::once(cells(first, &others)).chain(named).collect::<Vec<_>>());
    let mut lines = table.lines();
    let mut text = vec![format!("{}\n", lines.next().unwrap_or_default())];
    text.extend(rows.iter().zip(lines).map(|(row, line)| {
        let own = if has_room(row) { String::new() } else { format!("{}\n", visible(&row.name)) };
        format!("{own}{line}\n{}", wrap("    ", width, &visible(&row.notes)))
    }));
    text
}

/// Aligned columns of which the last may be long: it goes on below where it began.
pub fn hanging<const N: usize>(indent: &str, width: Option<usize>, rows: &[[String; N]]) -> String {
    let leads: Vec<&[String]> = rows.iter().map(|row| row.split_last().map_or(&[][..], |(_, lead)| lead)).collect();
    let leads = columns("", &leads);
    let lasts = rows.iter().map(|row| row.last().map_or_else(String::new, |last| visible(last).into_owned()));
    let pairs: Vec<_> = leads.lines().zip(lasts).map(|(lead, last)| [lead.to_owned(), last]).collect();
    meanings(indent, width, &pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_stands_below() {
        let row = |name: &str, notes: &str| Row { name: name.into(), short: vec!["up".into()], notes: notes.into() };
        let rows = [row("a", "one two three"), row("a-name-that-is-long", "")];
        let text = narrow(&["port", "state"], &rows, 16);
        assert_eq!(text, ["port  state\n", "a     up\n    one two\n    three\n", "a-name-that-is-long\n      up\n"]);
        assert!(fits("abc\nd\n", Some(3)) && !fits("abc\nd\n", Some(2)) && fits("abc", None));
    }

    #[test]
    fn a_last_column_goes_on_below_itself() {
        let rows = [["a", "1", "x y"], ["long", "22", "z"]].map(|row| row.map(str::to_owned));
        assert_eq!(hanging(" ", None, &rows), " a     1   x y\n long  22  z\n");
        let long = ["a", "1", &"word ".repeat(9)].map(str::to_owned);
        let line = "word word word word word word";
        assert_eq!(hanging("", Some(36), &[long]), format!("a  1  {line}\n      word word word\n"));
    }
}
