//! `zbridge doctor`: asks every bridge that answers, has the machine looked at, and shows what is in the way.

use super::ask::lines;
use super::style::{Style, page_width, width_of};
use super::{Label, complain, print};
use crate::config::text::{columns, meanings, wrap};
use crate::doctor::{Bench, CHECKS, Facts, Finding, Held, Weight, examine};
use crate::engine::control::each_bridge;
use crate::error::{Class, Error, Result};
use crate::visible::visible;
use std::io::stdout;
use std::time::{Duration, Instant};

/// A bridge that has not answered by then is one that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows what is found.
///
/// # Errors
/// Something bad was found (class unmet).
pub fn visit(json: bool) -> Result<()> {
    let (names, answers) =
        each_bridge(|mut client| Ok(Bench { status: client.status()?, stations: client.stations()? }));
    let until = Instant::now() + PATIENCE;
    let mut bridges = Vec::new();
    let mut silent = Vec::new();
    for _ in &names {
        match answers.recv_deadline(until) {
            Ok(called) => match called.answer {
                Ok(bench) => bridges.push(bench),
                // It has just ended.
                Err(error) if error.class() == Class::NoDaemon => {}
                Err(error) => silent.push(format!("bridge {}: {}", called.name, error.what())),
            },
            Err(_) => break,
        }
    }
    bridges.sort_by(|a, b| a.status.name.cmp(&b.status.name));
    let mut facts = Facts::gather(bridges);
    facts.unseen.extend(silent);
    let findings = examine(&facts);
    let bad = findings.iter().filter(|finding| finding.weight == Weight::Bad).count();
    if json {
        print(lines(&findings))?;
        facts.unseen.iter().for_each(|unseen| complain(Label::Warning, &format!("not looked at: {unseen}")));
    } else {
        let out = stdout();
        print(report(&facts, &findings, &facts.held(), Style::of(&out), page_width(width_of(&out))))?;
    }
    match bad {
        0 => Ok(()),
        bad => Err(Error::new(Class::Unmet, format!("{} found", count(bad, "fault")))),
    }
}

/// What is looked at, for the help.
pub fn looks_at() -> String {
    let rows = CHECKS.iter().map(|check| [check.word.to_owned(), check.looks_at.to_owned()]).collect::<Vec<_>>();
    let last = "It changes nothing and sends no frame. As root it sees the firewall's rules, and whose the processes are.\n\
                Exit status: 0, or 6 where something bad was found; notes do not count.";
    format!("It looks at\n{}\n{last}", meanings("  ", Some(page_width(None)), &rows))
}

fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Who has what open, the findings, and what was looked at.
fn report(facts: &Facts, findings: &[Finding], held: &[Held], style: Style, width: usize) -> String {
    let mut text = String::new();
    if !held.is_empty() {
        let rows: Vec<[&str; 2]> = held.iter().map(|held| [held.what.as_str(), held.by.as_str()]).collect();
        text += &format!("{}\n{}\n", style.heading("who has what open"), columns("  ", &rows));
    }
    for finding in findings {
        let (label, word) = match finding.weight {
            Weight::Bad => (Label::Error, "bad"),
            Weight::Note => (Label::Warning, "note"),
        };
        let head = wrap("  ", width, &visible(&format!("{word}: {}: {}", finding.about, finding.what)));
        let head = head.trim_start().replacen(&format!("{word}:"), &style.label(label, word), 1);
        // A command stands on a line of its own, to be copied.
        text += &format!("{head}  mend: {}\n", visible(&finding.mend));
    }
    let bridges: Vec<&str> = facts.bridges.iter().map(|bench| bench.status.name.as_str()).collect();
    let of = match bridges.as_slice() {
        [] => "no bridge runs".to_owned(),
        names => format!("bridges: {}", names.join(", ")),
    };
    let found = match findings {
        [] => "nothing is in the way".to_owned(),
        some => count(some.len(), "finding"),
    };
    let last = format!("{found}; {} checks, as zbridge doctor --help lists them; {of}", CHECKS.len());
    text += wrap("  ", width, &visible(&last)).trim_start();
    for unseen in &facts.unseen {
        text += wrap("  ", width, &visible(&format!("not looked at: {unseen}"))).trim_start();
    }
    text
}
