//! `--watch` of what is a list: lines with the time for what has come, changed or gone since the last look. The head of the
//! columns comes again from time to time, so that it is on the screen.

use super::layout::{Column, Head, Table};
use super::print;
use crate::engine::control::Client;
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time from one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// Lines after which the head comes again.
const SCREEN: usize = 20;
/// What stands before the columns of a list.
const BEFORE: [Head; 2] =
    [("time", Column::Short, "when it was seen"), ("what", Column::Short, "new, changed or gone")];

/// A list that is followed.
pub struct Followed<T> {
    /// Asks for it.
    pub ask: fn(&mut Client) -> Result<Vec<T>>,
    /// What tells one item from the others.
    pub key: fn(&T) -> String,
    /// What of it is worth a line when it changes.
    pub state: fn(&T) -> String,
    /// Some of them as a table.
    pub table: fn(&[&T]) -> Table,
}

/// What has become of an item.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
enum What {
    New,
    Changed,
    Gone,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

/// A change as JSON.
#[derive(Serialize)]
struct Line<'a, T> {
    /// Milliseconds since 1970.
    time: u128,
    what: What,
    #[serde(flatten)]
    item: &'a T,
}

impl<T: Serialize> Followed<T> {
    /// Prints what changes behind `last`, until the bridge ends.
    ///
    /// # Errors
    /// The bridge has ended, or does not answer.
    pub fn run(&self, client: &mut Client, last: Vec<T>, json: bool, width: Option<usize>) -> Result<()> {
        let (mut last, mut since_head) = (self.by_key(last), SCREEN);
        loop {
            std::thread::sleep(LOOK);
            let now = self.by_key((self.ask)(client)?);
            let changes = self.changes(&last, &now);
            if json {
                let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
                let lines = changes
                    .iter()
                    .flat_map(|(what, item)| crate::control::print(&Line { time, what: *what, item: *item }));
                print(lines.collect::<Vec<u8>>())?;
            } else {
                let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
                print(self.lines(&changes, &now, &time, width, &mut since_head))?;
            }
            last = now;
        }
    }

    fn by_key(&self, items: Vec<T>) -> BTreeMap<String, T> {
        items.into_iter().map(|item| ((self.key)(&item), item)).collect()
    }

    fn changes<'a>(&self, last: &'a BTreeMap<String, T>, now: &'a BTreeMap<String, T>) -> Vec<(What, &'a T)> {
        let gone = last.iter().filter(|(key, _)| !now.contains_key(*key)).map(|(_, item)| (What::Gone, item));
        let others = now.iter().filter_map(|(key, item)| match last.get(key) {
            None => Some((What::New, item)),
            Some(before) if (self.state)(before) != (self.state)(item) => Some((What::Changed, item)),
            Some(_) => None,
        });
        gone.chain(others).collect()
    }

    /// The changes, as wide as all that there is now, with a head if the last one was `since_head` lines ago.
    fn lines(
        &self,
        changes: &[(What, &T)],
        now: &BTreeMap<String, T>,
        time: &str,
        width: Option<usize>,
        since_head: &mut usize,
    ) -> String {
        if changes.is_empty() {
            return String::new();
        }
        let rows = |what: &str, item: &T| {
            let lead = [time.to_owned(), what.to_owned()];
            (self.table)(&[item]).rows.into_iter().map(|row| lead.iter().cloned().chain(row).collect()).collect()
        };
        let changed: Vec<Vec<Vec<String>>> = changes.iter().map(|(what, item)| rows(what.word(), item)).collect();
        let shown: usize = changed.iter().map(Vec::len).sum();
        let others = now.values().map(|item| rows(What::Changed.word(), item));
        let columns = BEFORE.into_iter().chain((self.table)(&[]).columns).collect();
        let table = Table { columns, rows: changed.into_iter().chain(others).flatten().collect() };
        let (lines, _) = table.lines(width);
        let with_head = *since_head >= SCREEN;
        *since_head = if with_head { shown } else { since_head.saturating_add(shown) };
        lines.iter().skip(usize::from(!with_head)).take(shown + usize::from(with_head)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_a_line() {
        let followed: Followed<(&str, u8)> = Followed {
            ask: |_| Ok(Vec::new()),
            key: |item| item.0.to_owned(),
            state: |item| item.1.to_string(),
            table: |items| Table {
                columns: vec![("name", Column::Short, ""), ("state", Column::Short, "")],
                rows: items.iter().map(|item| vec![item.0.to_owned(), item.1.to_string()]).collect(),
            },
        };
        let last = followed.by_key(vec![("a", 1), ("b", 1), ("c", 1)]);
        let now = followed.by_key(vec![("b", 1), ("c", 2), ("d", 1)]);
        let changes = followed.changes(&last, &now);
        let head = "time      what     name  state\n";
        let wanted = "12:00:00  gone     a     1\n12:00:00  changed  c     2\n12:00:00  new      d     1\n";
        let mut since_head = SCREEN;
        let mut lines = || followed.lines(&changes, &now, "12:00:00", Some(80), &mut since_head);
        assert_eq!((lines(), lines()), (format!("{head}{wanted}"), wanted.to_owned()));
        assert!(followed.changes(&now, &now).is_empty());
    }
}
