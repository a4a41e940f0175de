//! The answer to `drops`: what every port made of its frames, and what is known of those that ended early.
//!
//! The numbers of a port balance at every moment: `received = forwarded + dropped_in`, and
//! `copies = sent + queued + held + dropped_out`.

use crate::counters::{Counters, DROP_REASONS, Example, Stage};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The answer to `drops`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct DropsInfo {
    /// The switches.
    pub switches: Vec<SwitchDrops>,
}

/// A switch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct SwitchDrops {
    /// Its name.
    pub name: String,
    /// It is a radio medium: examples are IEEE 802.15.4 frames without FCS.
    #[serde(default)]
    pub radio: bool,
    /// Its ports, each listener followed by its clients, and behind them those that have left. A listener's numbers are
    /// of the clients that have left, so that every frame is counted at one port.
    pub ports: Vec<PortDrops>,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct PortDrops {
    /// Its name.
    pub name: String,
    /// The listener that it is a client of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The word of its kind.
    pub kind: String,
    /// Its state; `left`: it is no more.
    pub state: String,
    /// Frames that it received, dropped ones included.
    pub received: u64,
    /// Received frames of which at least one copy was made.
    pub forwarded: u64,
    /// Received frames of which none was made.
    pub dropped_in: u64,
    /// Copies that were made for it to send.
    pub copies: u64,
    /// Copies that were handed to its descriptor.
    pub sent: u64,
    /// Copies that wait for it.
    pub queued: u64,
    /// Copies that impairments hold.
    #[serde(default)]
    pub held: u64,
    /// Copies that ended early.
    pub dropped_out: u64,
    /// Why: the reasons that counted anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<LossInfo>,
    /// What its service has dropped behind the port, by the service's own reasons.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service: BTreeMap<String, u64>,
}

/// What is known of the frames that a port dropped for one reason.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct LossInfo {
    /// The word of the reason.
    pub reason: String,
    /// `in`: the frame was refused when it came in; `out`: one copy could not leave.
    pub way: String,
    /// How many.
    pub frames: u64,
    /// Seconds since the first; `null` where that is not known.
    #[serde(default)]
    pub since: Option<u64>,
    /// Seconds since the last.
    #[serde(default)]
    pub last: Option<u64>,
    /// The first of them; there is none of what never was a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<ExampleInfo>,
    /// A later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<ExampleInfo>,
}

/// A frame that was dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ExampleInfo {
    /// How many seconds ago.
    pub age: u64,
    /// Its bytes.
    pub length: u32,
    /// The first of them, in hexadecimal.
    pub hex: String,
}

impl PortDrops {
    /// What a port has counted until `now`; its words are still to be filled in.
    pub fn counted(counters: &Counters, queued: usize, now: Instant) -> Self {
        Self {
            name: String::new(),
            listener: None,
            kind: String::new(),
            state: String::new(),
            received: counters.rx_frames,
            forwarded: counters.forwarded,
            dropped_in: counters.dropped_at(Stage::Ingress),
            copies: counters.copies,
            sent: counters.tx_frames,
            queued: queued as u64,
            held: 0,
            dropped_out: counters.dropped_at(Stage::Egress),
            reasons: reasons(counters, now),
            service: BTreeMap::new(),
        }
    }
}

fn reasons(counters: &Counters, now: Instant) -> Vec<LossInfo> {
    let info = |(row, frames): (&crate::counters::DropRow, u64)| {
        let loss = counters.losses().iter().find(|loss| loss.reason == row.reason);
        let example = |example: &Example| ExampleInfo {
            age: now.since(example.at).as_secs(),
            length: example.len,
            hex: hex(example.bytes()),
        };
        LossInfo {
            reason: row.word.to_owned(),
            way: row.stage.word().to_owned(),
            frames,
            since: loss.map(|loss| now.since(loss.since).as_secs()),
            last: loss.map(|loss| now.since(loss.last).as_secs()),
            first: loss.and_then(|loss| loss.first.as_ref()).map(example),
            latest: loss.and_then(|loss| loss.latest.as_ref()).map(example),
        }
    };
    counters.drops().map(info).collect()
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let written = write!(text, "{byte:02x}");
        debug_assert!(written.is_ok(), "a string takes what is written to it");
    }
    text
}

/// The bytes of a text in hexadecimal; `None` where it is none.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16).map(|digit| digit as u8);
    let byte = |at: usize| Some(digit(at)? << 4 | digit(at + 1)?);
    (0..text.len()).step_by(2).map(byte).collect()
}

impl LossInfo {
    /// What its reason means, and what to do about it, as this version of the program knows it.
    pub fn explained(&self) -> Option<(&'static str, &'static str)> {
        DROP_REASONS.iter().find(|row| row.word == self.reason).map(|row| (row.meaning, row.advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::DropReason;

    #[test]
    fn numbers_balance_and_examples_have_their_age() {
        let mut counters = Counters::default();
        counters.received(7, 700);
        (counters.forwarded, counters.copies) = (5, 10);
        counters.sent(6, 600);
        counters.count(DropReason::Malformed, 2);
        counters.count(DropReason::NoPeer, 3);
        counters.lose(Instant::from_secs(10), DropReason::NoPeer, Some(&[0xab, 1]));
        let port = PortDrops::counted(&counters, 1, Instant::from_secs(12));
        assert_eq!(port.received, port.forwarded + port.dropped_in);
        assert_eq!(port.copies, port.sent + port.queued + port.dropped_out);
        let [malformed, no_peer] = &port.reasons[..] else { panic!("{port:?}") };
        assert_eq!((malformed.way.as_str(), malformed.last, malformed.frames), ("in", None, 2));
        let first = ExampleInfo { age: 2, length: 2, hex: "ab01".into() };
        assert_eq!((no_peer.way.as_str(), no_peer.last, &no_peer.first), ("out", Some(2), &Some(first)));
        assert!(no_peer.explained().unwrap().1.contains("attach a peer"));
    }

    #[test]
    fn hexadecimal_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(["0", "0g", "é0", ""].map(unhex), [None, None, None, Some(Vec::new())]);
    }
}
