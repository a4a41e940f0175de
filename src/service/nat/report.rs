//! The gateway's report: its flows, its counters, and the leases of its segment.

use super::stats::{DROPS, Flows, Stats};
use super::{Instant, Nat};
use crate::service::detail::Details;
use crate::service::report::{Figures, LOST, Leased, Report, Show, Shown};
use std::sync::Arc;
use std::time::SystemTime;

/// The last report.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// `None` until there was a flow.
    counted: Option<(Flows, Stats)>,
    leases: Arc<[Leased]>,
    /// Their version.
    version: u64,
}

impl Nat {
    /// A new report, if something has changed. Leases have their end by `wall`, the wall clock.
    pub(super) fn tell(&mut self, now: Instant, wall: fn() -> SystemTime) -> Option<Report> {
        let (counted, version) = ((self.flows(), self.stats()), self.leases_version());
        let leased = version != self.told.version;
        if counted == self.told.counted.unwrap_or_default() && !leased {
            return None;
        }
        if counted != self.told.counted.unwrap_or_default() {
            self.told.counted = Some(counted);
        }
        if !leased {
            return Some(Report::quiet(self.told.clone()));
        }
        let wall = wall();
        let leases = self.leases(now).into_iter();
        let leases = leases.map(|it| Leased { addr: it.addr, mac: it.mac, name: it.name, until: wall + it.left });
        (self.told.leases, self.told.version) = (leases.collect(), version);
        // A guarded port has its lease's address from now on.
        Some(Report::news(self.told.clone()))
    }
}

/// Places of pages with datagrams: those of TCP are below.
const DATAGRAMS: usize = 1 << 30;
/// The place of the page with forwards and their clients.
const FORWARDS: usize = 1 << 31;

impl Nat {
    /// A page of its flows: those of TCP first, then datagrams, then forwards.
    pub(super) fn page(&self, now: Instant, from: usize) -> Details {
        let mut page = Details::default();
        page.next = match from {
            ..DATAGRAMS => Some(self.tcp.details(now, from, &mut page).unwrap_or(DATAGRAMS)),
            DATAGRAMS..FORWARDS => {
                let next = self.datagrams.details(now, from - DATAGRAMS, &mut page);
                Some(next.map_or(FORWARDS, |next| DATAGRAMS + next))
            }
            _ => {
                self.forwards.details(now, &mut page);
                self.local.details(now, &mut page);
                None
            }
        };
        page
    }
}

impl Show for Told {
    fn show(&self) -> Shown {
        let figures = self.counted.map(|(flows, stats)| {
            let each = vec![
                ("tcp", flows.tcp as u64),
                ("udp", flows.udp as u64),
                ("ping", flows.echo as u64),
                ("held", flows.held as u64),
                ("begun", stats.tcp + stats.udp + stats.echo),
                ("refused", stats.flows),
                ("forbidden", stats.forbidden),
                ("malformed", stats.malformed),
            ];
            let lost = DROPS.iter().map(|row| (row.0.word, row.1(&stats)));
            [Figures { of: "flows", each }, Figures { of: LOST, each: lost.collect() }]
        });
        Shown {
            standing: None,
            peer: self.counted.map(|(flows, _)| flows.to_string()),
            figures: figures.into_iter().flatten().collect(),
            leases: self.leases.clone(),
        }
    }

    fn standing(&self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Bench;
    use crate::service::report::Report;
    use std::time::SystemTime;

    #[test]
    fn what_has_changed_is_told_once() {
        let mut bench = Bench::new();
        let told = |bench: &mut Bench| {
            let report = bench.nat.tell(bench.now, || SystemTime::UNIX_EPOCH)?;
            assert!(!report.is_news(), "no lease has changed");
            Some(Report::show(&report))
        };
        assert_eq!(told(&mut bench), None, "nothing was there yet");
        bench.datagram(1000);
        let shown = told(&mut bench).unwrap();
        assert_eq!((shown.standing, shown.peer.as_deref()), (None, Some("0 tcp, 1 udp, 0 ping")));
        assert!(shown.figures[0].of == "flows" && shown.figures[0].each.contains(&("begun", 1)));
        assert_eq!(told(&mut bench), None);
    }
}
