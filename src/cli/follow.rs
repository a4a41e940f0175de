//! `--watch` of what is a list: lines with the time for what has come, changed or gone since the last look.

use super::layout::Table;
use super::print;
use crate::engine::control::Client;
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time from one look to the next.
const LOOK: Duration = Duration::from_secs(1);

/// A list that is followed.
pub struct Followed<T> {
    /// Asks for it.
    pub ask: fn(&mut Client) -> Result<Vec<T>>,
    /// What tells one item from the others.
    pub key: fn(&T) -> String,
    /// What of it is worth a line when it changes.
    pub state: fn(&T) -> String,
    /// Some of them as a table.
    pub table: fn(&[&T]) -> Table<'static>,
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
        let mut last = self.by_key(last);
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
                print(self.lines(&changes, &jiff::Zoned::now().strftime("%H:%M:%S").to_string(), width))?;
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

    /// The changes without a head, as wide as they are.
    fn lines(&self, changes: &[(What, &T)], time: &str, width: Option<usize>) -> String {
        let room = width.map(|width| width.saturating_sub(time.len() + What::Changed.word().len() + 4));
        let of = |(what, item): &(What, &T)| {
            let text = (self.table)(&[*item]).text(room);
            let cells = text.lines().skip(1).map(str::trim).collect::<Vec<_>>().join("  ");
            format!("{time}  {:7}  {cells}\n", what.word())
        };
        changes.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Column;
    use super::*;

    #[test]
    fn each_change_is_a_line() {
        let followed: Followed<(&str, u8)> = Followed {
            ask: |_| Ok(Vec::new()),
            key: |item| item.0.to_owned(),
            state: |item| item.1.to_string(),
            table: |items| Table {
                columns: &[("name", Column::Short), ("state", Column::Short)],
                rows: items.iter().map(|item| vec![item.0.to_owned(), item.1.to_string()]).collect(),
            },
        };
        let last = followed.by_key(vec![("a", 1), ("b", 1), ("c", 1)]);
        let now = followed.by_key(vec![("b", 1), ("c", 2), ("d", 1)]);
        let changes = followed.changes(&last, &now);
        let wanted = "12:00:00  gone     a     1\n12:00:00  changed  c     2\n12:00:00  new      d     1\n";
        assert_eq!(followed.lines(&changes, "12:00:00", Some(80)), wanted);
        assert!(followed.changes(&now, &now).is_empty());
    }
}
