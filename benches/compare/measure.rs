//! One contender under one workload, once.

use super::contender::{Contender, Lab, Medium, Running, host};
use super::frames::{BROADCAST, STAMP, Stamp, now, port_mac, put_header, spread_mac};
use super::link::{Framing, Link};
use super::load::{Address, Flow, Load, Outcome, Pace, Until, introduce};
use super::process::Usage;
use super::report::{Metric, Sample};
use super::workload::{Pattern, Shape, Workload};
use super::{Fault, Result};
use std::time::Duration;

/// The part of the full rate at which nothing may be lost.
const CALM: f64 = 0.9;
/// Frames under way between TAPs, whose senders nobody stops: well below the length of the interface's queue.
const TAP_WINDOW: u64 = 256;
/// Frames under way in a broadcast, for which no switch pauses the sender.
const FLOOD_WINDOW: u64 = 512;
/// Rounds that do not count, before those that do.
const WARM_UP: usize = 200;

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How long one measurement takes.
    pub time: Duration,
    /// A smoke run.
    pub quick: bool,
}

/// Measures.
pub fn measure(lab: &Lab, contender: Contender, workload: &Workload, effort: Effort) -> Result<Sample> {
    let mut running = lab.start(contender, &workload.need(effort.quick))?;
    let taken = match workload.shape(effort.quick) {
        Shape::Load { len, chunk, pattern } => load(&running, workload, effort, (len, chunk, pattern)),
        Shape::RoundTrip => round_trip(&running, effort),
        Shape::Tcp => tcp(&running, effort),
        Shape::Ping => ping(&running, effort),
        Shape::Learn(stations) => learn(&running, stations),
        Shape::Idle(_) => idle(&running, effort),
    };
    // that the program has ended explains more than what came of it
    running.program.as_mut().map_or(Ok(()), |program| program.check())?;
    taken
}

fn usage(running: &Running) -> Usage {
    running.program.as_ref().map(|program| program.usage()).unwrap_or_default()
}

fn settle(running: &Running) {
    match &running.program {
        Some(program) => program.settle(),
        None => std::thread::sleep(Duration::from_millis(100)),
    }
}

/// Notes the CPU time since `before` for each of `units`, if there is a process to ask.
fn note_cpu(sample: &mut Sample, running: &Running, before: Usage, units: f64) {
    if running.program.is_some() && units > 0.0 {
        let used = usage(running).cpu.saturating_sub(before.cpu);
        sample.insert(Metric::Cpu, used as f64 / units);
    }
}

fn note_percentiles(sample: &mut Sample, mut nanos: Vec<u64>) {
    if nanos.is_empty() {
        return;
    }
    nanos.sort_unstable();
    let at = |part: f64| nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
    sample.extend([(Metric::P50, at(0.5)), (Metric::P99, at(0.99)), (Metric::P999, at(0.999))]);
}

/// Who sends, who receives, and how many copies of each frame there are.
fn parties(pattern: Pattern) -> (Vec<Flow>, Vec<usize>, u64) {
    let to = |from: usize, dst| Flow { dst, ..Flow::between(from, 0) };
    match pattern {
        Pattern::Pair | Pattern::Among(_) | Pattern::Stalled => (vec![Flow::between(0, 1)], vec![1], 1),
        Pattern::Both => (vec![Flow::between(0, 1), Flow::between(1, 0)], vec![0, 1], 1),
        Pattern::Fan(senders) => ((0..senders).map(|from| Flow::between(from, senders)).collect(), vec![senders], 1),
        Pattern::Pairs(pairs) => {
            let flows = (0..pairs).map(|pair| Flow::between(2 * pair, 2 * pair + 1)).collect();
            (flows, (0..pairs).map(|pair| 2 * pair + 1).collect(), 1)
        }
        Pattern::Broadcast(receivers) => {
            (vec![to(0, Address::One(BROADCAST))], (1..=receivers).collect(), receivers as u64)
        }
        Pattern::Spread(stations) => (vec![to(0, Address::Spread(stations as u64))], vec![1], 1),
    }
}

fn introduce_all(running: &Running, pattern: Option<Pattern>) -> Result<()> {
    for (index, link) in running.links.iter().enumerate() {
        introduce(link, std::iter::once(port_mac(index)))?;
    }
    if let Some(Pattern::Spread(stations)) = pattern {
        introduce(&running.links[1], (0..stations as u64).map(spread_mac))?;
    }
    settle(running);
    Ok(())
}

fn load(running: &Running, workload: &Workload, effort: Effort, shape: (usize, usize, Pattern)) -> Result<Sample> {
    let (len, chunk, pattern) = shape;
    introduce_all(running, Some(pattern))?;
    let (flows, receivers, copies) = parties(pattern);
    let unread = if pattern == Pattern::Stalled { vec![Flow::between(0, 2)] } else { Vec::new() };
    let flood = matches!(pattern, Pattern::Broadcast(_));
    let window = match workload.medium {
        Medium::Tap => Some(TAP_WINDOW),
        _ => flood.then_some(FLOOD_WINDOW),
    };
    let pace = Pace { rate: None, window };
    let until = Until::Time(effort.time);
    let mut load = Load { links: &running.links, flows, unread, receivers, copies, len, chunk, pace, until };
    let before = usage(running);
    let outcome = load.run()?;
    let mut sample = Sample::from([
        (Metric::Rate, outcome.rate()),
        (Metric::Bits, outcome.rate() * len as f64 * 8.0 / 1e9),
        (Metric::Loss, outcome.loss()),
    ]);
    note_cpu(&mut sample, running, before, outcome.delivered as f64);
    let mut all = vec![outcome];
    if !flood {
        settle(running);
        load.pace.rate = Some(CALM * all[0].rate());
        let mut calm = load.run()?;
        sample.insert(Metric::LossCalm, calm.loss());
        note_percentiles(&mut sample, std::mem::take(&mut calm.delays));
        all.push(calm);
    }
    let sum = |part: fn(&Outcome) -> u64| all.iter().map(part).sum::<u64>() as f64;
    sample.insert(Metric::Reordered, sum(|outcome| outcome.reordered));
    sample.insert(Metric::Doubled, sum(|outcome| outcome.doubled));
    Ok(sample)
}

fn round_trip(running: &Running, effort: Effort) -> Result<Sample> {
    introduce_all(running, None)?;
    let [near, far, ..] = &running.links[..] else { return Err("two ports are needed".into()) };
    for link in [near, far] {
        link.set_patience(Duration::from_millis(500))?;
    }
    let before = usage(running);
    let rounds = std::thread::scope(|scope| -> Result<Vec<u64>> {
        let echo = scope.spawn(|| echo(far));
        let rounds = go_to_and_fro(near, effort.time);
        let _ = near.send(&single(near.framing, 0, 1, END));
        echo.join().map_err(|_| "the echo panicked")??;
        rounds
    })?;
    let mut sample = Sample::new();
    note_cpu(&mut sample, running, before, rounds.len() as f64);
    note_percentiles(&mut sample, rounds.into_iter().skip(WARM_UP).collect());
    Ok(sample)
}

/// The number of the frame that ends the echo.
const END: u64 = u64::MAX;

/// One frame of 64 bytes from one port's station to another's, with what the link wants around it.
fn single(framing: Framing, from: usize, to: usize, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; framing.prefix() + 64];
    if framing == Framing::Prefixed {
        bytes[3] = 64;
    }
    put_header(&mut bytes[framing.prefix()..], port_mac(to), port_mac(from));
    Stamp { flow: 0, number, time: 0 }.put(&mut bytes[framing.prefix() + framing.header()..]);
    bytes
}

/// The number of the next measured frame that comes.
fn next_number(link: &Link) -> Result<u64> {
    let mut room = [0; 4096];
    let framing = link.framing;
    let stamp = framing.prefix() + framing.header();
    loop {
        let got = link.receive(&mut room, true)?.ok_or("a frame was lost")?;
        // greetings may come with it; the frame that is waited for is the last
        let len = framing.prefix() + 64;
        let start = if framing == Framing::Prefixed { got.saturating_sub(len) } else { 0 };
        let found = room[..got].get(start + stamp..start + stamp + STAMP).and_then(Stamp::get);
        if let Some(found) = found.filter(|stamp| stamp.flow == 0) {
            return Ok(found.number);
        }
    }
}

fn echo(link: &Link) -> Result<()> {
    let mut answer = single(link.framing, 1, 0, 0);
    let payload = link.framing.prefix() + link.framing.header();
    loop {
        let number = next_number(link)?;
        if number == END {
            return Ok(());
        }
        Stamp { flow: 0, number, time: 0 }.put(&mut answer[payload..]);
        link.send(&answer)?;
    }
}

fn go_to_and_fro(link: &Link, time: Duration) -> Result<Vec<u64>> {
    let mut frame = single(link.framing, 0, 1, 0);
    let payload = link.framing.prefix() + link.framing.header();
    let mut rounds = Vec::new();
    let start = now();
    while now() - start < time.as_nanos() as u64 {
        let number = rounds.len() as u64;
        Stamp { flow: 0, number, time: 0 }.put(&mut frame[payload..]);
        let sent = now();
        link.send(&frame)?;
        if next_number(link)? != number {
            return Err("another frame came back than the one that was sent".into());
        }
        rounds.push(now() - sent);
    }
    Ok(rounds)
}

fn tcp(running: &Running, effort: Effort) -> Result<Sample> {
    let seconds = effort.time.as_secs().max(1);
    let [near, far] = &running.hosts[..] else { return Err("two hosts are needed".into()) };
    let mut server = far.command("iperf3").args(["-s", "-1"]).stdout(std::process::Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    let before = usage(running);
    let client = near.command("iperf3").args(["-J", "-t", &seconds.to_string(), "-c", &host(1).to_string()]).output();
    let used = usage(running).cpu.saturating_sub(before.cpu);
    // it has ended with its one client, or never had one
    let _ = server.kill();
    let _ = server.wait();
    let told: serde_json::Value = serde_json::from_slice(&client?.stdout)?;
    let number = |pointer: &str| told.pointer(pointer).and_then(serde_json::Value::as_f64);
    let bits = number("/end/sum_received/bits_per_second").ok_or_else(|| Fault::from(format!("iperf3: {told}")))?;
    let mut sample = Sample::from([(Metric::Bits, bits / 1e9)]);
    if let Some(retransmits) = number("/end/sum_sent/retransmits") {
        sample.insert(Metric::Retransmits, retransmits);
    }
    if running.program.is_some() {
        let received = number("/end/sum_received/bytes").unwrap_or(0.0);
        sample.insert(Metric::Cpu, used as f64 / (received / 1024.0).max(1.0));
    }
    Ok(sample)
}

fn ping(running: &Running, effort: Effort) -> Result<Sample> {
    let [near, _] = &running.hosts[..] else { return Err("two hosts are needed".into()) };
    let seconds = effort.time.as_secs_f64().ceil();
    let before = usage(running);
    let said = near.run(&format!("ping -n -A -c 20000 -w {seconds} {}", host(1))).output;
    let times = said.lines().filter_map(|line| line.split("time=").nth(1)?.split(' ').next()?.parse::<f64>().ok());
    let nanos: Vec<u64> = times.map(|millis| (millis * 1e6) as u64).collect();
    let mut sample = Sample::new();
    note_cpu(&mut sample, running, before, nanos.len() as f64);
    note_percentiles(&mut sample, nanos);
    Ok(sample)
}

/// New stations one after the other; then a part of them is sent to, and a third port counts what it should not see.
fn learn(running: &Running, stations: usize) -> Result<Sample> {
    introduce_all(running, None)?;
    let flow = Flow { link: 0, dst: Address::One(port_mac(1)), src: Address::Fresh };
    let mut load = Load {
        links: &running.links,
        flows: vec![flow],
        unread: Vec::new(),
        receivers: vec![1],
        copies: 1,
        len: 64,
        chunk: 64,
        pace: Pace::default(),
        until: Until::Count(stations as u64),
    };
    let before = usage(running);
    let learned = load.run()?;
    let mut sample = Sample::from([(Metric::Rate, learned.rate()), (Metric::Loss, learned.loss())]);
    note_cpu(&mut sample, running, before, learned.delivered as f64);
    settle(running);
    load.flows = vec![Flow { dst: Address::Spread(stations as u64), ..Flow::between(1, 0) }];
    load.receivers = vec![2];
    load.pace.window = Some(TAP_WINDOW);
    load.until = Until::Count(1024);
    let flooded = load.run()?;
    sample.insert(Metric::Unlearned, 100.0 * flooded.delivered as f64 / flooded.sent.max(1) as f64);
    Ok(sample)
}

fn idle(running: &Running, effort: Effort) -> Result<Sample> {
    introduce_all(running, None)?;
    std::thread::sleep(Duration::from_millis(500));
    let time = if effort.quick { Duration::from_secs(1) } else { Duration::from_secs(5) };
    let before = usage(running);
    std::thread::sleep(time);
    let after = usage(running);
    Ok(Sample::from([
        (Metric::Wakeups, (after.sleeps - before.sleeps) as f64 / time.as_secs_f64()),
        (Metric::Resident, after.resident as f64 / 1024.0),
    ]))
}
