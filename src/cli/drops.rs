//! `zbridge drops`: what each port of a running bridge made of its frames, and why some ended early: how many, when,
//! an example as `zbridge capture` has it, what the reason means and what to do.

use super::layout::hung;
use super::style::{page_width, width_of};
use super::units::ago;
use super::{ask, print};
use crate::capture::filter::is_port;
use crate::capture::line;
use crate::config::grammar::nearest_of;
use crate::config::text::wrap;
use crate::control::{DropsInfo, ExampleInfo, LossInfo, PortDrops, unhex};
use crate::error::{Class, Error, Result};
use crate::service;
use crate::visible::visible;
use crate::wire::Mac;
use serde::Serialize;
use std::collections::HashMap;
use std::io::stdout;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Ports that are meant, a listener with its clients; none: all.
    pub ports: Vec<String>,
    /// The bridge.
    pub to: Option<String>,
    /// As JSON.
    pub json: bool,
    /// Goes on with what changes.
    pub watch: bool,
}

/// A port as `--json` has it: all of its numbers, each reason with its words, each example with its line.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970, where lines follow each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u128>,
    switch: &'a str,
    #[serde(flatten)]
    port: PortDrops,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Reason {
    #[serde(flatten)]
    loss: LossInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
    /// The latest example in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<String>,
}

/// Asks, and prints the answer.
///
/// # Errors
/// No bridge runs; a port that is named is not there.
pub fn run(asked: &Asked) -> Result<()> {
    let mut client = ask::connect(asked.to.as_deref())?;
    let mut drops = client.drops()?;
    check_names(&asked.ports, &drops)?;
    let width = page_width(width_of(stdout()));
    print(if asked.json { json(asked, &drops, None) } else { page(asked, &drops, width).into_bytes() })?;
    if !asked.watch {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK);
        let before = counts(&drops);
        drops = client.drops()?;
        match asked.json {
            true => print(json(asked, &drops, Some(&before)))?,
            false => print(hung(&news(asked, &before, &drops), width_of(stdout())))?,
        }
    }
}

/// A port by its switch, name and whether it is still there: one that has left may have come again.
type Key = (String, String, bool);

/// Frames that were dropped, by reason.
type Lost = Vec<(String, u64)>;

fn key(switch: &str, port: &PortDrops) -> Key {
    (switch.to_owned(), port.name.clone(), port.state == "left")
}

fn lost(port: &PortDrops) -> Lost {
    let own = port.reasons.iter().map(|loss| (loss.reason.clone(), loss.frames));
    own.chain(port.service.iter().map(|(word, frames)| (word.clone(), *frames))).collect()
}

fn counts(drops: &DropsInfo) -> HashMap<Key, Lost> {
    let ports = drops.switches.iter().flat_map(|it| it.ports.iter().map(move |port| (key(&it.name, port), lost(port))));
    ports.collect()
}

fn check_names(ports: &[String], drops: &DropsInfo) -> Result<()> {
    let known = || drops.switches.iter().flat_map(|switch| &switch.ports).map(|port| port.name.as_str());
    match ports.iter().find(|port| !known().any(|name| is_port(name, port))) {
        None => Ok(()),
        Some(port) => {
            let error = Error::new(Class::NoObject, format!("no port is named {port}"));
            if known().next().is_none() {
                return Err(error);
            }
            let names: Vec<&str> = known().collect();
            Err(error.hint(format!("{}; a bridge is named by --to", nearest_of(port, &names))))
        }
    }
}

fn is_meant(asked: &Asked, port: &PortDrops) -> bool {
    asked.ports.is_empty() || asked.ports.iter().any(|wanted| is_port(&port.name, wanted))
}

/// The ports that are meant, with their switches' names and whether these are radio media.
fn meant<'a>(asked: &'a Asked, drops: &'a DropsInfo) -> impl Iterator<Item = (&'a str, bool, &'a PortDrops)> {
    let ports =
        drops.switches.iter().flat_map(|it| it.ports.iter().map(move |port| (it.name.as_str(), it.radio, port)));
    ports.filter(|(.., port)| is_meant(asked, port))
}

/// An example in a line. Where it went is asked by MAC addresses, which a line of a capture has not.
fn in_words(example: &ExampleInfo, radio: bool) -> Option<String> {
    let bytes = unhex(&example.hex)?;
    let line = line::summary(radio, &bytes, example.length);
    let mac = |at: usize| Some(Mac(*bytes.get(at..)?.first_chunk()?));
    let ends = mac(0).zip(mac(6)).filter(|_| !radio).map(|(to, from)| format!("{from} > {to}"));
    Some(match ends {
        Some(ends) if !line.starts_with(&ends) => format!("{ends}, {line}"),
        _ => line,
    })
}

/// A line for each port, or for each that has dropped anything since `before`.
fn json(asked: &Asked, drops: &DropsInfo, before: Option<&HashMap<Key, Lost>>) -> Vec<u8> {
    let time = asked.watch.then(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis()));
    let is_new = |switch: &str, port: &PortDrops| {
        before.is_none_or(|before| before.get(&key(switch, port)).is_none_or(|was| *was != lost(port)))
    };
    let ports = meant(asked, drops).filter(|(switch, _, port)| is_new(switch, port));
    let line = |(switch, radio, port): (&str, bool, &PortDrops)| {
        let mut port = port.clone();
        let reasons = std::mem::take(&mut port.reasons).into_iter().map(|loss| Reason {
            meaning: loss.explained().map(|(meaning, _)| meaning),
            advice: loss.explained().map(|(_, advice)| advice),
            example: loss.latest.as_ref().or(loss.first.as_ref()).and_then(|example| in_words(example, radio)),
            loss,
        });
        crate::control::print(&Line { time, switch, reasons: reasons.collect(), port })
    };
    ports.flat_map(line).collect()
}

/// The ports that have dropped anything, and those that are named.
fn page(asked: &Asked, drops: &DropsInfo, width: usize) -> String {
    let several = drops.switches.len() > 1;
    let shown = meant(asked, drops).filter(|(.., port)| !asked.ports.is_empty() || !lost(port).is_empty());
    let text: String =
        shown.map(|(switch, radio, port)| shown_port(several.then_some(switch), radio, port, width)).collect();
    if text.is_empty() { "nothing was dropped\n".to_owned() } else { text }
}

fn shown_port(switch: Option<&str>, radio: bool, port: &PortDrops, width: usize) -> String {
    let mut name = visible(&port.name).into_owned();
    if let Some(switch) = switch {
        name = format!("{}:{name}", visible(switch));
    }
    let gone = if port.state == "left" { " (has left)" } else { "" };
    let mut text = format!("{name}{gone}\n");
    let PortDrops { received, forwarded, dropped_in, copies, sent, queued, held, dropped_out, .. } = port;
    let held = if *held > 0 { format!(" + {held} held") } else { String::new() };
    let balance = [
        format!("in: {received} received = {forwarded} forwarded + {dropped_in} dropped"),
        format!("out: {copies} copies = {sent} sent + {queued} queued{held} + {dropped_out} dropped"),
    ];
    balance.iter().for_each(|line| text += &wrap("  ", width, line));
    port.reasons.iter().for_each(|loss| text += &shown_loss(loss, radio, width));
    for (word, frames) in &port.service {
        text += &wrap("  ", width, &format!("service {word}: {frames}"));
        if let Some(row) = service::lost_row(word) {
            [row.meaning, row.advice].iter().for_each(|line| text += &wrap("      ", width, line));
        }
    }
    text
}

fn shown_loss(loss: &LossInfo, radio: bool, width: usize) -> String {
    let last = loss.last.map_or_else(String::new, |last| format!(", the last {}", ago(last)));
    let mut text = wrap("  ", width, &format!("{} {}: {}{last}", loss.way, visible(&loss.reason), loss.frames));
    let (meaning, advice) = loss.explained().unwrap_or(("a reason that only a newer zbridge knows", ""));
    [meaning, advice].iter().for_each(|line| text += &wrap("      ", width, line));
    if let Some(example) = loss.latest.as_ref().or(loss.first.as_ref()).and_then(|example| in_words(example, radio)) {
        text += &wrap("      ", width, &format!("e.g. {example}"));
    }
    text
}

/// What was dropped since `before`, a line for each port and reason.
fn news(asked: &Asked, before: &HashMap<Key, Lost>, drops: &DropsInfo) -> String {
    let time = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    let mut text = String::new();
    for (switch, radio, port) in meant(asked, drops) {
        let was = before.get(&key(switch, port));
        let count = |word: &str| was.and_then(|was| was.iter().find(|(other, _)| other == word)).map_or(0, |(_, n)| *n);
        for (word, frames) in lost(port) {
            let more = frames.saturating_sub(count(&word));
            if more == 0 {
                continue;
            }
            let loss = port.reasons.iter().find(|loss| loss.reason == word);
            let way = loss.map_or("service", |loss| &loss.way);
            text += &format!("{time} {} {way} {} +{more} ({frames})", visible(&port.name), visible(&word));
            let example = loss.and_then(|loss| loss.latest.as_ref().or(loss.first.as_ref()));
            if let Some(example) = example.and_then(|example| in_words(example, radio)) {
                text += &format!("  {example}");
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Counters, DROP_REASONS, DropReason};
    use crate::time::Instant;

    fn asked(ports: &[&str]) -> Asked {
        Asked { ports: ports.iter().map(|&port| port.to_owned()).collect(), to: None, json: false, watch: false }
    }

    fn drops() -> DropsInfo {
        let mut counters = Counters::default();
        counters.received(4, 240);
        counters.forwarded = 4;
        counters.copies = 9;
        counters.sent(6, 360);
        counters.count(DropReason::NoPeer, 2);
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
        counters.lose(Instant::from_secs(10), DropReason::NoPeer, Some(&frame));
        let one = PortDrops {
            name: "inst1#1".into(),
            state: "up".into(),
            service: [("foreign".to_owned(), 3)].into(),
            ..PortDrops::counted(&counters, 1, Instant::from_secs(17))
        };
        let two = PortDrops { name: "inst2".into(), ..PortDrops::counted(&Counters::default(), 0, Instant::ZERO) };
        serde_json::from_value(serde_json::json!({"switches": [{"name": "default", "ports": [one, two]}]})).unwrap()
    }

    #[test]
    fn each_reason_has_its_words_and_an_example() {
        let wanted = "\
inst1#1
  in: 4 received = 4 forwarded + 0 dropped
  out: 9 copies = 6 sent + 1 queued + 2 dropped
  out no-peer: 2, the last 7s ago
      nobody was at the other end
      attach a peer: `zbridge status` shows the line to paste
      e.g. 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP, Announcement 0.0.0.0
  service foreign: 3
      packets whose source is no address of the segment
      give the guest an address of the gateway's network, by DHCP or by hand
";
        let text = page(&asked(&[]), &drops(), 80);
        assert_eq!(text, wanted);
        assert!(page(&asked(&["inst2"]), &drops(), 80).starts_with("inst2\n  in: 0 received"));
        assert_eq!(page(&asked(&["none"]), &drops(), 80), "nothing was dropped\n");
        assert!(check_names(&["inst1".into()], &drops()).is_ok() && check_names(&["inst".into()], &drops()).is_err());
    }

    #[test]
    fn a_port_is_a_line_of_json() {
        let text = String::from_utf8(json(&asked(&["inst1"]), &drops(), None)).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["name"], &line["dropped_out"], &line["queued"]), (&"inst1#1".into(), &2.into(), &1.into()));
        let reason = &line["reasons"][0];
        assert_eq!((&reason["way"], &reason["last"], &reason["frames"]), (&"out".into(), &7.into(), &2.into()));
        assert!(reason["example"].as_str().unwrap().contains(", ARP, "), "{reason}");
    }

    #[test]
    fn only_what_is_new_is_news() {
        let (mut before, now) = (counts(&drops()), drops());
        assert_eq!(news(&asked(&[]), &before, &now), "");
        before.values_mut().for_each(|lost| lost.retain_mut(|(_, frames)| std::mem::replace(frames, 1) > 1));
        let text = news(&asked(&[]), &before, &now);
        assert!(
            text.contains(" inst1#1 out no-peer +1 (2)  02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, ARP, ")
                && text.contains("service foreign +2 (3)"),
            "{text}"
        );
    }

    #[test]
    fn the_guide_has_every_reason() {
        let guide = include_str!("topics/drops.md");
        for row in DROP_REASONS {
            let line = format!("| `{}` | {} | {} | {} |", row.word, row.stage.word(), row.meaning, row.advice);
            assert!(guide.contains(&line), "topics/drops.md lacks this row:\n{line}");
        }
        for (row, _) in service::NAT_DROPS {
            let line = format!("| `{}` | {} | {} |", row.word, row.meaning, row.advice);
            assert!(guide.contains(&line), "topics/drops.md lacks this row:\n{line}");
        }
    }
}
