//! The summary that zbridge prints at its end, read back as a person reads it, with its accounting checked.
//!
//! One table for each switch: `port kind state rx-frames rx-bytes tx-frames tx-bytes dropped`, columns two blanks
//! apart, and below it a line `dropped on PORT FRAMES REASON MEANING` for each reason that counted.

use crate::Process;
use std::collections::BTreeMap;

/// The reasons that end a frame on its way in, before a copy of it is made; all others end one copy on its way out.
const INGRESS: [&str; 6] = ["malformed", "oversize", "reserved-group", "same-segment", "no-egress", "isolated"];

/// What one port has counted. A listener's row stands for all clients that have left it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PortCount {
    /// Its name.
    pub name: String,
    /// The word of its kind.
    pub kind: String,
    /// Its state at the end.
    pub state: String,
    /// Frames received, dropped ones included.
    pub rx_frames: u64,
    /// Their octets.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Frames dropped, for whatever reason.
    pub dropped: u64,
    /// The same by reason. Clients of one listener have one name: the reasons come in the order of their rows.
    pub drops: BTreeMap<String, u64>,
}

impl PortCount {
    /// Frames that ended for `reason`.
    pub fn dropped_as(&self, reason: &str) -> u64 {
        self.drops.get(reason).copied().unwrap_or(0)
    }

    /// Frames that were received and passed on, to one port or many.
    pub fn forwarded(&self) -> u64 {
        self.rx_frames - INGRESS.iter().map(|reason| self.dropped_as(reason)).sum::<u64>()
    }

    /// Copies that were made for it to send: they were sent, or ended on their way out.
    pub fn copies(&self) -> u64 {
        let ended = self.drops.iter().filter(|(reason, _)| !INGRESS.contains(&reason.as_str()));
        self.tx_frames + ended.map(|(_, frames)| frames).sum::<u64>()
    }
}

/// All tables of a summary.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    switches: Vec<Vec<PortCount>>,
}

impl Summary {
    /// Ends zbridge as a service manager does, and reads what it says.
    ///
    /// # Panics
    /// If its exit status is not 0, or its accounting does not hold.
    pub fn of(process: Process) -> Self {
        process.sigterm();
        let exit = process.wait();
        assert_eq!(exit.code(), 0, "{exit:?}");
        let summary = Self::parse(&exit.stdout);
        summary.check();
        summary
    }

    /// Reads the tables in `stdout`.
    ///
    /// # Panics
    /// If there is none, or a line in one is not of its form.
    pub fn parse(stdout: &str) -> Self {
        let mut switches: Vec<Vec<PortCount>> = Vec::new();
        for line in stdout.lines() {
            let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            match (&cells[..], switches.last_mut()) {
                (["port", "kind", "state", ..], _) => switches.push(Vec::new()),
                ([] | [_], _) | (_, None) => {}
                ([dropped, frames, reason, _meaning], Some(ports)) => {
                    let name = dropped.strip_prefix("dropped on ").expect("a line about drops");
                    let lacks =
                        |port: &&mut PortCount| port.name == name && port.drops.values().sum::<u64>() < port.dropped;
                    let port = ports.iter_mut().find(lacks).expect("a port of the table above");
                    port.drops.insert((*reason).to_owned(), number(frames));
                }
                ([name, kind, state, counted @ ..], Some(ports)) => {
                    let [rx_frames, rx_bytes, tx_frames, tx_bytes, dropped] =
                        counted.iter().map(|cell| number(cell)).collect::<Vec<_>>()[..]
                    else {
                        panic!("a port's line has five numbers: {line:?}");
                    };
                    let [name, kind, state] = [name, kind, state].map(|cell| (*cell).to_owned());
                    let drops = BTreeMap::new();
                    ports.push(PortCount {
                        name,
                        kind,
                        state,
                        rx_frames,
                        rx_bytes,
                        tx_frames,
                        tx_bytes,
                        dropped,
                        drops,
                    });
                }
                (other, _) => panic!("not a line of a summary: {other:?}"),
            }
        }
        assert!(!switches.is_empty(), "no summary in {stdout:?}");
        Self { switches }
    }

    /// The port of this name.
    ///
    /// # Panics
    /// If there is none.
    pub fn port(&self, name: &str) -> &PortCount {
        let mut ports = self.switches.iter().flatten();
        ports.find(|port| port.name == name).unwrap_or_else(|| panic!("no port {name} in {self:?}"))
    }

    /// What `name` is at the end and the clients that left it before, as one: clients of a listener share its name.
    pub fn all_of(&self, name: &str) -> PortCount {
        let mut sum = PortCount { name: name.to_owned(), ..PortCount::default() };
        let mine = |port: &&PortCount| port.name == name || port.name.starts_with(&format!("{name}#"));
        for port in self.switches.iter().flatten().filter(mine) {
            sum.rx_frames += port.rx_frames;
            sum.rx_bytes += port.rx_bytes;
            sum.tx_frames += port.tx_frames;
            sum.tx_bytes += port.tx_bytes;
            sum.dropped += port.dropped;
            for (reason, frames) in &port.drops {
                *sum.drops.entry(reason.clone()).or_default() += frames;
            }
        }
        sum
    }

    /// Every drop has its reason, and on every switch each frame that was not dropped on its way in made at least one
    /// copy.
    fn check(&self) {
        for ports in &self.switches {
            for port in ports {
                assert_eq!(port.drops.values().sum::<u64>(), port.dropped, "{port:#?}");
            }
            let forwarded: u64 = ports.iter().map(PortCount::forwarded).sum();
            let copies: u64 = ports.iter().map(PortCount::copies).sum();
            assert!(copies >= forwarded, "{forwarded} frames made only {copies} copies: {ports:#?}");
        }
    }

    /// On a switch between two ports alone, what one forwards is what the other was to send, exactly.
    ///
    /// # Panics
    /// If it is not.
    pub fn check_pair(&self, one: &str, other: &str) {
        let (one, other) = (self.all_of(one), self.all_of(other));
        assert_eq!((one.forwarded(), other.forwarded()), (other.copies(), one.copies()), "{one:#?}\n{other:#?}");
    }
}

fn number(cell: &str) -> u64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
inst1  unix  listening
port   kind  state              rx frames  rx bytes  tx frames  tx bytes  dropped
inst1  unix  clients that left  1          60        0          0         0
inst1  unix  up                 4          180       5          300       4
zeth0  tap   down               0          0         2          120       0
  dropped on inst1  1  malformed   shorter than an Ethernet header (14 bytes)
  dropped on inst1  3  queue-full  the port's queue was full
";

    #[test]
    fn a_summary_is_read_back() {
        let summary = Summary::parse(TEXT);
        let inst1 = summary.all_of("inst1");
        assert_eq!((inst1.rx_frames, inst1.tx_bytes, inst1.dropped_as("queue-full")), (5, 300, 3));
        assert_eq!((inst1.forwarded(), inst1.copies()), (4, 8));
        assert_eq!(summary.port("zeth0").state, "down");
        summary.check();
    }

    #[test]
    #[should_panic(expected = "made only")]
    fn a_lost_frame_shows() {
        Summary::parse(&TEXT.replace("2          120", "0          120").replace("1          60 ", "9          60 "))
            .check();
    }
}
