//! Linux's netem as the oracle of impairments: the same words to sch_netem in a guest and to zbridge, the same frames
//! along the same way.
//!
//! The guest has two cards in two namespaces, and zbridge is the switch between them. Numbered frames go from one to the
//! other, once impaired by netem as they leave the first card, and once by zbridge as they come from it; `netprobe` in the
//! guest says when each arrived. So all that differs is who impairs them.
//!
//! The guest is emulated on a machine with other work: that delays frames, and never lets one come early, be lost or come
//! twice. What is asserted is bounded by this, and by the deviation that a sample of its size has; the rest is printed.
//! `ZBRIDGE_NETEM_FRAMES=8000 cargo test --test netem -- --nocapture` takes more frames, and TCP, for a table to be read.

use std::collections::HashSet;
use std::time::Duration;
use support::{Guest, Nic, PATIENCE, Process, TempDir, needs, require, zbridge};

const RUN: &str = "XDG_RUNTIME_DIR";
/// Deviations within which a share is its own. One in two million samples is not.
const DEVIATIONS: f64 = 5.0;

/// Words for both, and what is to be seen.
struct Case {
    netem: &'static str,
    zbridge: &'static [&'static str],
    /// The share that is lost, and how many frames of the sample are as alike as one.
    lost: (f64, f64),
    twice: f64,
    corrupt: f64,
    /// The shortest delay, in milliseconds, of a frame that does not overtake.
    least: f64,
    /// The share that overtakes at most.
    overtakes: f64,
}

const PLAIN: Case =
    Case { netem: "", zbridge: &[], lost: (0.0, 1.0), twice: 0.0, corrupt: 0.0, least: 0.0, overtakes: 0.0 };

const CASES: &[Case] = &[
    PLAIN,
    Case { netem: "delay 20ms", zbridge: &["delay=20ms"], least: 20.0, ..PLAIN },
    Case { netem: "delay 20ms 5ms", zbridge: &["delay=20ms 5ms"], least: 15.0, overtakes: 1.0, ..PLAIN },
    Case { netem: "delay 20ms 5ms 50%", zbridge: &["delay=20ms 5ms 50%"], least: 15.0, overtakes: 1.0, ..PLAIN },
    Case {
        netem: "delay 20ms 4ms distribution normal",
        zbridge: &["delay=20ms 4ms", "distribution=normal"],
        overtakes: 1.0,
        ..PLAIN
    },
    Case {
        netem: "delay 20ms 4ms distribution pareto",
        zbridge: &["delay=20ms 4ms", "distribution=pareto"],
        // Two thirds of the deviation below the mean is where the tail begins.
        least: 17.3,
        overtakes: 1.0,
        ..PLAIN
    },
    Case { netem: "loss 10%", zbridge: &["loss=10%"], lost: (0.1, 1.0), ..PLAIN },
    // Of a correlation there is no closed form: it is for the table.
    Case { netem: "loss 10% 25%", zbridge: &["loss=10% 25%"], lost: (0.1, f64::INFINITY), ..PLAIN },
    Case {
        netem: "loss gemodel 2% 10%",
        zbridge: &["loss=gemodel 2% 10%"],
        // p/(p+r), of which (2-p-r)/(p+r) are alike.
        lost: (0.02 / 0.12, 1.88 / 0.12),
        ..PLAIN
    },
    Case {
        netem: "loss gemodel 5% 20% 70% 2%",
        zbridge: &["loss=gemodel 5% 20% 70% 2%"],
        lost: (0.2 * 0.7 + 0.8 * 0.02, 1.75 / 0.25),
        ..PLAIN
    },
    Case { netem: "loss state 2% 10%", zbridge: &["loss=state 2% 10%"], lost: (0.02 / 0.12, 1.88 / 0.12), ..PLAIN },
    Case { netem: "duplicate 5%", zbridge: &["duplicate=5%"], twice: 0.05, ..PLAIN },
    Case { netem: "corrupt 5%", zbridge: &["corrupt=5%"], corrupt: 0.05, ..PLAIN },
    Case {
        netem: "delay 20ms reorder 25%",
        zbridge: &["delay=20ms", "reorder=25%"],
        least: 20.0,
        overtakes: 0.25,
        ..PLAIN
    },
    Case {
        netem: "delay 20ms reorder 100% gap 5",
        zbridge: &["delay=20ms", "reorder=100%", "gap=5"],
        least: 20.0,
        overtakes: 0.2,
        ..PLAIN
    },
    Case { netem: "slot 10ms 20ms", zbridge: &["slot=10ms 20ms"], ..PLAIN },
];

/// What has come of some frames.
struct Seen {
    frames: usize,
    /// Number, milliseconds, and flipped bits of each, in the order of arrival.
    came: Vec<(u32, f64, u32)>,
}

impl Seen {
    fn lost(&self) -> usize {
        self.frames - self.came.iter().map(|came| came.0).collect::<HashSet<_>>().len()
    }

    fn twice(&self) -> usize {
        self.came.len() + self.lost() - self.frames
    }

    fn corrupt(&self) -> usize {
        self.came.iter().filter(|came| came.2 > 0).count()
    }

    /// Frames that came before one that had left earlier.
    fn overtook(&self) -> usize {
        let mut first = u32::MAX;
        let mut overtook = 0;
        for (number, ..) in self.came.iter().rev() {
            overtook += usize::from(*number > first);
            first = first.min(*number);
        }
        overtook
    }

    /// Runs of losses: their mean length.
    fn burst(&self) -> f64 {
        let came: HashSet<u32> = self.came.iter().map(|came| came.0).collect();
        let lost: Vec<bool> = (0..self.frames as u32).map(|number| !came.contains(&number)).collect();
        let runs =
            lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() + usize::from(lost.first() == Some(&true));
        if runs == 0 { 0.0 } else { self.lost() as f64 / runs as f64 }
    }

    /// The delay below which a part of the frames lies.
    fn quantile(&self, part: f64) -> f64 {
        let mut delays: Vec<f64> = self.came.iter().map(|came| came.1).collect();
        delays.sort_by(f64::total_cmp);
        let index = (part * delays.len() as f64) as usize;
        delays.get(index.min(delays.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    fn row(&self) -> String {
        let share = |count: usize| 100.0 * count as f64 / self.frames as f64;
        let [p1, p10, p50, p90, p99] = [0.01, 0.1, 0.5, 0.9, 0.99].map(|part| self.quantile(part));
        format!(
            "{p1:6.2} {p10:6.2} {p50:6.2} {p90:6.2} {p99:6.2} | {:5.2} {:4.1} | {:5.2} | {:5.2} | {:5.2}",
            share(self.lost()),
            self.burst(),
            share(self.twice()),
            share(self.corrupt()),
            share(self.overtook()),
        )
    }
}

struct Lab {
    dir: TempDir,
    zbridge: Process,
    guest: Guest,
}

impl Lab {
    fn start() -> Self {
        let dir = TempDir::new();
        let port = |name: &str| format!("unix:{}", dir.text(name));
        let zbridge = zbridge!("-s", "default,seed=7", "-p", port("a"), "-p", port("b")).env(RUN, dir.root()).ready();
        let nics = ["a", "b"].map(|name| Nic::stream(dir.text(name)));
        let [a, b] = nics;
        let mut guest = Guest::new("netem").nic(a).nic(b).module("sch_netem").qemu(["-smp", "2"]).boot();
        zbridge.wait_for_nth(": connected", 2, PATIENCE);
        guest.check(
            "set -e; for n in 0 1; do ip netns add n$n; ip link set eth$n netns n$n; ip -n n$n link set lo up\n\
             ip -n n$n addr add 192.0.2.$((n + 1))/24 dev eth$n; ip -n n$n link set eth$n up; done\n\
             for n in 0 1; do until ip -n n$n link show eth$n | grep -q LOWER_UP; do sleep 0.1; done; done",
        );
        Self { dir, zbridge, guest }
    }

    fn netem(&mut self, words: &str) {
        self.guest.check("tc -n n0 qdisc del dev eth0 root 2> /dev/null || true");
        if !words.is_empty() {
            self.guest.check(&format!("tc -n n0 qdisc add dev eth0 root netem {words}"));
        }
    }

    fn bend(&self, words: &[&str]) {
        const NOTHING: [&str; 11] = [
            "delay=0",
            "jitter=0",
            "distribution=uniform",
            "loss=0",
            "duplicate=0",
            "corrupt=0",
            "reorder=0",
            "gap=0",
            "rate=0",
            "limit=1000",
            "slot=0",
        ];
        let set = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| format!("rx.{word}")).collect();
            let exit = zbridge!("set", "a").args(words).env(RUN, self.dir.root()).run();
            assert_eq!(exit.code(), 0, "{exit:?}");
        };
        set(&NOTHING);
        if !words.is_empty() {
            set(words);
        }
    }

    fn probe(&mut self, frames: usize, apart: u32, bytes: u32) -> Seen {
        // Netem's own seed is the kernel's; zbridge's frames are numbered on.
        let within = PATIENCE * 4 + Duration::from_micros(u64::from(apart) * frames as u64);
        let script = format!("netprobe n0 eth0 n1 eth1 {frames} {apart} {bytes} 1500");
        let ran = self.guest.run_within(within, &script);
        assert_eq!(ran.rc, 0, "{}", ran.output);
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (number, nanos) = (words.next()?.parse().ok()?, words.next()?.parse::<f64>().ok()?);
            Some((number, nanos / 1e6, words.next()?.parse().ok()?))
        };
        let came = ran.output.lines().map(|text| line(text).unwrap_or_else(|| panic!("{text}"))).collect();
        Seen { frames, came }
    }

    /// The same frames impaired by netem and by zbridge.
    fn both(&mut self, case: &Case, frames: usize) -> [Seen; 2] {
        self.netem(case.netem);
        let netem = self.probe(frames, 1000, 64);
        self.netem("");
        self.bend(case.zbridge);
        let ours = self.probe(frames, 1000, 64);
        self.bend(&[]);
        [netem, ours]
    }
}

/// What can be said of a sample, whoever has impaired it, however busy the machine is.
fn is_as_told(who: &str, case: &Case, seen: &Seen) {
    let frames = seen.frames as f64;
    let within = |what: &str, count: usize, share: f64, alike: f64| {
        let deviation = (share * (1.0 - share) * frames * alike).sqrt();
        let wanted = share * frames;
        assert!(
            (count as f64 - wanted).abs() <= DEVIATIONS * deviation,
            "{who}, {}: {count} of {frames} {what}, not {wanted} give or take {deviation}",
            case.netem
        );
    };
    if case.corrupt > 0.0 {
        // A bit of an address may make a frame that no switch passes on: one in a hundred of those flipped.
        assert!(seen.lost() <= 3 + seen.corrupt() / 10, "{who}, {}: {} lost", case.netem, seen.lost());
    } else {
        within("lost", seen.lost(), case.lost.0, case.lost.1);
    }
    within("twice", seen.twice(), case.twice, 1.0);
    within("corrupt", seen.corrupt(), case.corrupt, 1.0);
    let most = case.overtakes * frames + DEVIATIONS * (case.overtakes * (1.0 - case.overtakes) * frames).sqrt();
    assert!(seen.overtook() as f64 <= most, "{who}, {}: {} overtook", case.netem, seen.overtook());
    // The clock of an emulated processor is not ours to the last part in a thousand.
    let early = seen.came.iter().filter(|came| came.1 < case.least * 0.99).count();
    let may = if case.overtakes < 1.0 { most } else { 0.0 };
    assert!(early as f64 <= may, "{who}, {}: {early} came before {} ms", case.netem, case.least);
}

#[test]
fn the_same_words_are_the_same_network() {
    require!(needs::guest());
    let mut lab = Lab::start();
    let wished = std::env::var("ZBRIDGE_NETEM_FRAMES").ok().and_then(|text| text.parse().ok());
    println!("{:<38} {HEAD}", "delay in ms, shares in %");
    for case in CASES {
        let [netem, ours] = lab.both(case, wished.unwrap_or(600));
        println!("{:<34} net {}\n{:<34} zbr {}", case.netem, netem.row(), "", ours.row());
        is_as_told("netem", case, &netem);
        is_as_told("zbridge", case, &ours);
    }
    // How long a rate takes depends on how long the guest takes to send: it is printed, and no frame may be lost of it.
    for (who, netem, ours) in [("netem", "rate 2mbit", None), ("zbridge", "", Some("rate=2mbit"))] {
        lab.netem(netem);
        lab.bend(ours.as_slice());
        let seen = lab.probe(300, 0, 1000);
        assert_eq!((seen.lost(), seen.overtook()), (0, 0), "{who}");
        let took = seen.came.iter().map(|came| came.1).fold(0.0, f64::max);
        println!("{who}: the last of 300 frames of 1000 bytes at 2mbit took {took:.0} ms (1200)");
    }
    if wished.is_some() {
        tcp(&mut lab);
    }
    lab.zbridge.sigterm();
    assert_eq!(lab.zbridge.wait().code(), 0);
}

const HEAD: &str = "    p1    p10    p50    p90    p99 |  lost burst| twice |corrupt| overtook";

/// The throughput of TCP, which shows what the words have to do with each other. It is printed only: under emulation it
/// is the processor's.
fn tcp(lab: &mut Lab) {
    lab.guest.check("ip netns exec n1 iperf3 -s -D");
    for (netem, ours) in [
        ("", &[][..]),
        ("delay 10ms", &["delay=10ms"][..]),
        ("delay 10ms loss 1%", &["delay=10ms", "loss=1%"]),
        ("delay 10ms loss 0.1%", &["delay=10ms", "loss=0.1%"]),
        ("rate 5mbit limit 50", &["rate=5mbit", "limit=50"]),
        ("rate 20mbit delay 5ms", &["rate=20mbit", "delay=5ms"]),
    ] {
        let [by_netem, by_zbridge] = ["netem", "zbridge"].map(|who| {
            lab.netem(if who == "netem" { netem } else { "" });
            lab.bend(if who == "netem" { &[] } else { ours });
            let script = "ip netns exec n0 iperf3 -c 192.0.2.2 -t 8 -f k";
            let ran = lab.guest.run_within(PATIENCE * 4, script);
            let line =
                ran.output.lines().find(|line| line.contains("receiver")).unwrap_or_else(|| panic!("{}", ran.output));
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words.iter().position(|word| *word == "Kbits/sec").expect("a rate");
            words[at - 1].to_owned()
        });
        println!("TCP, {netem:<30} netem {by_netem:>8} kbit/s, zbridge {by_zbridge:>8} kbit/s");
    }
}
