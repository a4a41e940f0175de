//! Paging of the forwarding databases for clients.
//!
//! Theory of operation. The first page makes a thread read the tables of all switches ([`Handle::fdb`]), and the pages
//! behind it come from that reading, so that a table of a million entries is gone through and sorted once. There is one
//! reading at a time, and the newest is kept for all clients: a page begins behind an address of a switch, whichever
//! reading it comes from. A request for a first page during a reading is served from the next one, which is newer than
//! the request. A reading is dropped when it is unused for a while, or its last page was taken; a later request for a
//! page from its middle starts a new one.

use super::aside::Asker;
use crate::control::{Cursor, FDB_PAGE, FdbInfo, FdbPage};
use crate::engine::command::Handle;
use crate::engine::fdb::NamedEntry;
use crate::error::{Error, Result};
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// How long a reading is kept after its last page.
const KEPT: Duration = Duration::from_secs(5);

/// The entries of all switches, by the names of these and by address.
pub struct Reading(Vec<(String, Vec<NamedEntry>)>);

impl Reading {
    /// Reads them. Waits for the switches; one that has ended has none.
    pub fn of(handles: &[Handle]) -> Self {
        let tables = handles.iter().filter_map(|handle| Some((handle.name().to_owned(), handle.fdb().ok()?)));
        let mut tables: Vec<_> = tables.collect();
        tables.sort_by(|a, b| a.0.cmp(&b.0));
        Self(tables)
    }

    /// The page that begins behind `after`, of one switch or of all.
    fn page(&self, want: &Want) -> FdbPage {
        let mut entries = Vec::new();
        for (switch, table) in &self.0 {
            if want.switch.as_ref().is_some_and(|only| only != switch) {
                continue;
            }
            let from = match &want.after {
                Some((last, _)) if last > switch => continue,
                Some((last, mac)) if last == switch => {
                    table.partition_point(|(entry, _)| entry.mac.as_u64() <= mac.as_u64())
                }
                _ => 0,
            };
            for (entry, port) in table.get(from..).unwrap_or_default() {
                if entries.len() >= FDB_PAGE {
                    let last: Option<&FdbInfo> = entries.last();
                    let next = last.map(|last| Cursor { switch: last.switch.clone(), mac: last.mac.clone() });
                    return FdbPage { entries, next };
                }
                entries.push(FdbInfo {
                    switch: switch.clone(),
                    mac: entry.mac.to_string(),
                    port: port.to_string(),
                    age: entry.age.map(|age| age.as_secs()),
                });
            }
        }
        FdbPage { entries, next: None }
    }
}

/// A page that somebody wants.
pub struct Want {
    /// Who.
    pub asker: Asker,
    /// Of one switch only.
    switch: Option<String>,
    /// Behind this address of this switch.
    after: Option<(String, Mac)>,
}

impl Want {
    /// A request for a page, to a bridge with these switches.
    ///
    /// # Errors
    /// It has no such switch, or the cursor has no address.
    pub fn new(asker: Asker, switch: Option<String>, after: Option<Cursor>) -> Result<Self> {
        let odd = |mac: &str| Error::usage(format!("fdb: {mac:?} is no address to go on behind"));
        let after = after.map(|at| at.mac.parse().map(|mac| (at.switch, mac)).map_err(|_| odd(&at.mac))).transpose()?;
        Ok(Self { asker, switch, after })
    }

    /// The switch that is meant, if it is one only.
    pub fn switch(&self) -> Option<&str> {
        self.switch.as_deref()
    }
}

/// The requests for pages, and the newest reading. See the head of the file.
#[derive(Default)]
pub struct Readers {
    newest: Option<Reading>,
    used: Instant,
    /// Requests served by the reading in progress.
    served: Vec<Want>,
    /// Requests served by the next reading.
    waiting: Vec<Want>,
}

impl Readers {
    /// The page, if it is available at once. Otherwise the request waits for a reading.
    pub fn ask(&mut self, now: Instant, want: Want) -> Option<(Asker, FdbPage)> {
        if want.after.is_none() || self.newest.is_none() {
            self.waiting.push(want);
            return None;
        }
        self.give(now, &want)
    }

    fn give(&mut self, now: Instant, want: &Want) -> Option<(Asker, FdbPage)> {
        let page = self.newest.as_ref()?.page(want);
        self.used = now;
        if page.next.is_none() {
            self.newest = None;
        }
        Some((want.asker, page))
    }

    /// Whether a reading is to begin: then it serves the requests that wait now.
    pub fn begin(&mut self) -> Option<Asker> {
        if !self.served.is_empty() {
            return None;
        }
        self.served = std::mem::take(&mut self.waiting);
        self.served.first().map(|want| want.asker)
    }

    /// A reading is complete: the pages that wait for it.
    pub fn done(&mut self, now: Instant, reading: Reading) -> Vec<(Asker, FdbPage)> {
        let served = std::mem::take(&mut self.served);
        let pages: Vec<_> = served.iter().map(|want| (want.asker, reading.page(want))).collect();
        let more = pages.iter().any(|(_, page)| page.next.is_some());
        (self.newest, self.used) = (more.then_some(reading), now);
        pages
    }

    /// The reading that was begun for `asker` has failed: the requests that waited for it.
    pub fn failed(&mut self, asker: Asker) -> Vec<Asker> {
        if self.served.first().is_none_or(|want| want.asker != asker) {
            return Vec::new();
        }
        std::mem::take(&mut self.served).iter().map(|want| want.asker).collect()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.newest.as_ref().map(|_| self.used + KEPT)
    }

    /// Lets go of a reading that nobody uses.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.newest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PortId;
    use crate::switch::Entry;

    fn want(session: u64, switch: Option<&str>, after: Option<Cursor>) -> Want {
        Want::new(Asker { session, id: None }, switch.map(str::to_owned), after).unwrap()
    }

    /// Two switches with `count` stations each.
    fn reading(count: u64) -> Reading {
        let entry = |mac| Entry { mac: Mac::from_u64(mac), vid: 0, port: PortId(0), age: None };
        let table = |port: &str| (0..count).map(|mac| (entry(mac), port.into())).collect();
        Reading(vec![("a".into(), table("x")), ("b".into(), table("y"))])
    }

    /// All pages from the first on.
    fn pages(readers: &mut Readers, count: u64, switch: Option<&str>) -> Vec<FdbInfo> {
        assert!(readers.ask(Instant::ZERO, want(1, switch, None)).is_none() && readers.begin().is_some());
        let mut page = readers.done(Instant::ZERO, reading(count)).pop().unwrap().1;
        let mut all = Vec::new();
        loop {
            assert!(page.entries.len() == FDB_PAGE || page.next.is_none());
            all.append(&mut page.entries);
            let Some(next) = page.next else { return all };
            page = readers.ask(Instant::ZERO, want(1, switch, Some(next))).unwrap().1;
        }
    }

    #[test]
    fn pages_follow_each_other_over_all_switches() {
        let mut readers = Readers::default();
        for count in [0, 1, FDB_PAGE as u64 / 2, FDB_PAGE as u64, 20_000] {
            let all = pages(&mut readers, count, None);
            assert_eq!(all.len() as u64, 2 * count);
            assert!(all.is_sorted_by(|a, b| (&a.switch, &a.mac) < (&b.switch, &b.mac)), "{count}");
            assert!(readers.newest.is_none(), "it is needed no longer");
            let only = pages(&mut readers, count, Some("b"));
            assert!(only.len() as u64 == count && only.iter().all(|entry| entry.port == "y"));
        }
    }

    #[test]
    fn a_first_page_is_never_older_than_its_question() {
        let mut readers = Readers::default();
        let _ = readers.ask(Instant::ZERO, want(1, None, None));
        assert_eq!(readers.begin().unwrap().session, 1);
        let _ = readers.ask(Instant::ZERO, want(2, None, None));
        assert!(readers.begin().is_none(), "one reading at a time");
        let told = |pages: Vec<(Asker, FdbPage)>| pages.iter().map(|(asker, _)| asker.session).collect::<Vec<_>>();
        assert_eq!(told(readers.done(Instant::ZERO, reading(20_000))), [1]);
        assert_eq!(readers.begin().unwrap().session, 2);
        // who is in the middle goes on in the newest that is there
        let cursor = || Some(Cursor { switch: "a".into(), mac: "00:00:00:00:00:05".into() });
        let page = readers.ask(Instant::ZERO, want(3, None, cursor())).unwrap().1;
        assert_eq!(page.entries[0].mac, "00:00:00:00:00:06");
        assert!(readers.failed(Asker { session: 9, id: None }).is_empty(), "its work was another");
        assert_eq!(readers.failed(Asker { session: 2, id: None }).len(), 1);
        readers.handle_timeout(Instant::ZERO + KEPT);
        assert!(readers.newest.is_none() && readers.ask(Instant::ZERO, want(3, None, cursor())).is_none());
        let odd = Want::new(Asker { session: 1, id: None }, None, Some(Cursor { switch: "a".into(), mac: "x".into() }));
        assert!(odd.err().unwrap().what().starts_with("fdb: \"x\" is no address"));
    }
}
