//! Rates of ports: what each has counted since the last look, a second.
//!
//! Theory of operation. Nothing is sampled while nobody looks, so that an idle bridge sleeps, and a frame costs what it
//! cost. Each look keeps the counters as they were; the next one divides what was counted since by the time. A look
//! that follows within [`LEAST`] is compared with the one before, so that two who look at once disturb each other
//! little. A port that no look has seen yet has its mean since it came.

use crate::control::{PortInfo, RatesInfo, SwitchInfo};
use crate::time::{Duration, Instant};
use std::collections::{HashMap, VecDeque};

/// The shortest time that makes a rate.
const LEAST: Duration = Duration::from_millis(500);
/// Looks that are kept: one may be too young, the one before is not.
const KEPT: usize = 2;

/// Frames and bytes in, and frames and bytes out.
type Counted = [u64; 4];

/// The counters of all ports at one look, by the names of switch and port.
struct Look {
    at: Instant,
    counted: HashMap<(String, String), Counted>,
}

/// The last looks. See the head of the file.
#[derive(Default)]
pub struct Rates {
    looks: VecDeque<Look>,
}

impl Rates {
    /// Fills in the rates of all ports, `ages` being how long each has been there, and keeps this look.
    pub fn fill_in(&mut self, now: Instant, switches: &mut [SwitchInfo], ages: &HashMap<(String, String), Duration>) {
        let mut counted = HashMap::new();
        for switch in switches {
            for port in &mut switch.ports {
                let key = (switch.name.clone(), port.name.clone());
                let current = counters(port);
                port.rates = self.since(now, &key, current).or_else(|| {
                    let age = ages.get(&key).copied().filter(|age| !age.is_zero())?;
                    Some(rates([0; 4], current, age))
                });
                counted.insert(key, current);
            }
        }
        if self.looks.back().is_none_or(|last| now - last.at >= LEAST) {
            self.looks.push_back(Look { at: now, counted });
            if self.looks.len() > KEPT {
                self.looks.pop_front();
            }
        }
    }

    /// The rates since the last look that is old enough; `None`: the port was not there, or is another one of its name.
    fn since(&self, now: Instant, key: &(String, String), current: Counted) -> Option<RatesInfo> {
        let look = self.looks.iter().rev().find(|look| now - look.at >= LEAST)?;
        let before = look.counted.get(key)?;
        let grew = before.iter().zip(current).all(|(before, now)| *before <= now);
        grew.then(|| rates(*before, current, now - look.at))
    }
}

fn counters(port: &PortInfo) -> Counted {
    [port.rx_frames, port.rx_bytes, port.tx_frames, port.tx_bytes]
}

fn rates(before: Counted, current: Counted, over: Duration) -> RatesInfo {
    let seconds = over.as_secs_f64();
    let rate = |before: u64, current: u64, factor: f64| ((current - before) as f64 * factor / seconds).round() as u64;
    let [rx_frames, rx_bytes, tx_frames, tx_bytes] = before;
    let [rx_frames_now, rx_bytes_now, tx_frames_now, tx_bytes_now] = current;
    RatesInfo {
        rx_frames: rate(rx_frames, rx_frames_now, 1.0),
        rx_bits: rate(rx_bytes, rx_bytes_now, 8.0),
        tx_frames: rate(tx_frames, tx_frames_now, 1.0),
        tx_bits: rate(tx_bytes, tx_bytes_now, 8.0),
        over_ms: over.as_millis().try_into().unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    /// The rate of frames in, and over how long it was measured, at a look at this time.
    fn look(rates: &mut Rates, millis: u64, frames: u64) -> Option<(u64, u64)> {
        let mut counters = Counters::default();
        counters.received(frames, 100 * frames);
        let port = PortInfo { name: "a".into(), ..PortInfo::counted(&counters, 0) };
        let mut switches =
            [SwitchInfo { name: "s".into(), trouble: None, fdb: 0, cuts: Vec::new(), ports: vec![port], replay: None }];
        let ages = HashMap::from([(("s".to_owned(), "a".to_owned()), Duration::from_secs(100))]);
        let now = Instant::ZERO + Duration::from_millis(millis);
        rates.fill_in(now, &mut switches, &ages);
        let told = switches[0].ports[0].rates.clone()?;
        // Each is rounded by itself.
        assert!(told.rx_bits.abs_diff(told.rx_frames * 800) <= 400 && told.tx_bits == 0, "{told:?}");
        Some((told.rx_frames, told.over_ms))
    }

    #[test]
    fn a_rate_is_since_the_last_look_and_at_first_since_the_port_came() {
        let mut rates = Rates::default();
        assert_eq!(look(&mut rates, 1000, 5000), Some((50, 100_000)), "since it came");
        assert_eq!(look(&mut rates, 2000, 5100), Some((100, 1000)));
        assert_eq!(look(&mut rates, 2100, 5300), Some((273, 1100)), "the last look is too young");
        assert_eq!(look(&mut rates, 2200, 5300), Some((250, 1200)), "nor has that one become the last");
        assert_eq!(look(&mut rates, 12_000, 6100), Some((100, 10_000)));
        // A port of the same name that has counted less is another one.
        assert_eq!(look(&mut rates, 13_000, 100), Some((1, 100_000)));
    }
}
