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

/// Lines of at most `width` characters: what has no room goes on below, indented.
pub fn hung(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|_| !fits(text, width)) else { return text.to_owned() };
    let one = |line: &str| {
        if line.chars().count() <= width {
            return format!("{line}\n");
        }
        // The blanks of columns stay as they are: only what is behind the break is taken apart.
        let end = line.char_indices().nth(width).map_or(line.len(), |(at, _)| at);
        let (head, _) = line.split_at(end);
        let at = head.rfind(' ').filter(|at| !head.get(..*at).unwrap_or_default().trim().is_empty());
        let (head, rest) = line.split_at(at.unwrap_or(end));
        format!("{}\n{}", head.trim_end(), wrap("    ", width, rest))
    };
    text.lines().map(one).collect()
}

/// What becomes of a column of a [`Table`] that is wider than the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// It is short, and stays.
    Short,
    /// It may be long: where lines have no room for it, it goes below.
    Long,
    /// It is left out, that with the greatest number first.
    Least(u8),
}

/// A column of a [`Table`]: its head, what becomes of it where there is little room, and what it means, for the help.
pub type Head = (&'static str, Column, &'static str);

/// A table that leaves out what has no room. Columns without one word are left out in any case.
pub struct Table {
    /// The head of each column, and what becomes of it.
    pub columns: Vec<Head>,
    /// The rows, of as many cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The table, in lines of `width` characters as far as that is possible, and below it which columns had no room.
    pub fn text(&self, width: Option<usize>) -> String {
        self.noted(width, "--wide")
    }

    /// The same of a command without `--wide`.
    pub fn text_or_json(&self, width: Option<usize>) -> String {
        self.noted(width, "--json")
    }

    fn noted(&self, width: Option<usize>, option: &str) -> String {
        let (lines, left_out) = self.lines(width);
        let note = match (width, left_out.as_slice()) {
            (Some(width), [_, ..]) => {
                wrap("  ", width, &format!("no room for: {} ({option} has all columns)", left_out.join(", ")))
            }
            _ => String::new(),
        };
        lines.concat() + &note
    }

    /// The head and each row, as the lines that they take, and the heads of columns that had no room.
    pub fn lines(&self, width: Option<usize>) -> (Vec<String>, Vec<&'static str>) {
        let ranks = self.columns.iter().filter_map(|(_, column, _)| match column {
            Column::Least(rank) => Some(*rank),
            Column::Short | Column::Long => None,
        });
        let mut ranks: Vec<u8> = ranks.collect();
        ranks.sort_unstable();
        loop {
            let most = ranks.last().copied().unwrap_or(0);
            let kept = |column| !matches!(column, Column::Least(rank) if rank > most);
            let whole = self.with(kept);
            if fits(&whole, width) {
                return (whole.split_inclusive('\n').map(str::to_owned).collect(), self.without(kept));
            }
            if ranks.pop().is_none() {
                let below = width.map(|width| self.below(width));
                let lines = below.unwrap_or_else(|| whole.split_inclusive('\n').map(str::to_owned).collect());
                return (lines, self.without(|column| !matches!(column, Column::Least(_))));
            }
        }
    }

    fn says(&self, at: usize) -> bool {
        self.rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty()))
    }

    /// The heads of columns that say something, and that `keep` does not take.
    fn without(&self, keep: impl Fn(Column) -> bool) -> Vec<&'static str> {
        let columns = self.columns.iter().enumerate();
        columns.filter(|(at, (_, column, _))| !keep(*column) && self.says(*at)).map(|(_, (head, ..))| *head).collect()
    }

    /// The columns that `keep` takes, and that say anything.
    fn with(&self, keep: impl Fn(Column) -> bool) -> String {
        let kept: Vec<bool> =
            self.columns.iter().enumerate().map(|(at, (_, column, _))| keep(*column) && self.says(at)).collect();
        let head: Vec<String> = self.columns.iter().map(|(head, ..)| (*head).to_owned()).collect();
        let rows = std::iter::once(&head).chain(&self.rows);
        let rows =
            rows.map(|row| row.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(cell, _)| cell.clone()).collect());
        columns("", &rows.collect::<Vec<Vec<String>>>())
    }

    /// What is long stands below each line.
    fn below(&self, width: usize) -> Vec<String> {
        let of = |row: &[String], wanted: Column| -> Vec<(&'static str, String)> {
            let cells = self.columns.iter().zip(row).filter(|((_, column, _), _)| *column == wanted);
            cells.map(|((head, ..), cell)| (*head, cell.clone())).collect()
        };
        let rows = self.rows.iter().map(|row| {
            let mut short = of(row, Column::Short).into_iter().map(|(_, cell)| cell);
            let name = short.next().unwrap_or_default();
            let long = of(row, Column::Long).into_iter().filter(|(_, cell)| !cell.is_empty());
            let notes = long.map(|(head, cell)| format!("{head} {cell}").trim_start().to_owned());
            Row { name, short: short.collect(), notes: notes.collect::<Vec<_>>().join("; ") }
        });
        let head = self.columns.iter().filter(|(_, column, _)| *column == Column::Short).map(|(head, ..)| *head);
        narrow(&head.collect::<Vec<_>>(), &rows.collect::<Vec<_>>(), width)
    }
}

/// `text` in at most `most` characters: its middle is left out, as the ends of a path tell most.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let end = most.saturating_sub(1).div_ceil(2).max(most.saturating_sub(1) * 2 / 3);
    let begin = most.saturating_sub(1 + end);
    let head: String = text.chars().take(begin).collect();
    let tail: String = text.chars().skip(count - end).collect();
    format!("{head}…{tail}")
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
    fn a_line_that_is_too_long_goes_on_below() {
        assert_eq!(hung("ab  c dd\nee\n", Some(6)), "ab  c\n    dd\nee\n");
        assert_eq!(hung("abcdefgh ij\n", Some(6)), "abcdef\n    gh\n    ij\n");
        assert_eq!(hung("ab  c dd\n", None), "ab  c dd\n");
    }

    #[test]
    fn columns_without_room_are_left_out_or_go_below() {
        let columns = [
            ("name", Column::Short, ""),
            ("peer", Column::Long, ""),
            ("age", Column::Least(2), ""),
            ("none", Column::Least(1), ""),
            ("bytes", Column::Least(1), ""),
        ];
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let table = Table {
            columns: columns.to_vec(),
            rows: vec![row(["a", "somebody", "9s", "", "7"]), row(["b", "", "", "", "8"])],
        };
        let whole = "name  peer      age  bytes\na     somebody  9s   7\nb                    8\n";
        assert_eq!((table.text(None), table.text(Some(26))), (whole.to_owned(), whole.to_owned()));
        assert_eq!(
            table.text(Some(24)),
            "name  peer      bytes\na     somebody  7\nb               8\n  no room for: age\n  (--wide has all\n  columns)\n"
        );
        assert_eq!(
            table.text(Some(20)),
            "name  peer\na     somebody\nb\n  no room for: age,\n  bytes (--wide has\n  all columns)\n"
        );
        assert_eq!(
            table.text(Some(12)),
            "name\na\n    peer\n    somebody\nb\n  no room\n  for: age,\n  bytes\n  (--wide\n  has all\n  columns)\n"
        );
    }

    #[test]
    fn the_middle_of_what_is_long_is_left_out() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("/tmp/a/long/path/inst1.sock", 16), "/tmp/…inst1.sock");
        assert_eq!([0, 1, 2].map(|most| shortened("abc", most).chars().count()), [1, 1, 2]);
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
