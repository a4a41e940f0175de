//! The programs of a running bench: `ps` shows them, `start`, `stop`, `restart` and `kill` command them.

use super::ask::{self, Ask, lines};
use super::layout::{Column, Head, Table};
use super::style::width_of;
use super::units::span;
use super::{complete, print};
use crate::config::value;
use crate::control::{Command, InstanceInfo};
use crate::error::{Error, Result};
use clap_complete::ArgValueCandidates;

/// Programs of a running bench.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct Programs {
    /// The programs, by name
    #[arg(required = true, value_name = "NAME", value_delimiter = ',',
          add = ArgValueCandidates::new(complete::programs))]
    pub instances: Vec<String>,
    /// The bridge (default: the one called default, or the only one)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    pub to: Option<String>,
}

/// The columns, with what each means.
pub const COLUMNS: [Head; 8] = [
    ("name", Column::Short, "the program's name in the file"),
    ("state", Column::Short, "waits, starts, ready, stops, stopped or ended"),
    ("ready", Column::Least(2), "whether it has shown that it is, as `ready` says it"),
    ("pid", Column::Least(1), "its process"),
    ("uptime", Column::Short, "how long that runs"),
    ("restarts", Column::Least(3), "how often it was started again"),
    ("ended with", Column::Short, "how it ended the last time"),
    ("last line", Column::Long, "the last line that it has written"),
];

/// Characters that are shown of a last line where the output is no terminal.
const LINE: usize = 60;

/// Shows the programs.
///
/// # Errors
/// No such bridge runs.
pub fn list(name: Option<&str>, json: bool, wide: bool) -> Result<()> {
    let told = ask::connect(name)?.instances()?;
    if json {
        return print(lines(&told.instances));
    }
    print(table(&told.instances, width_of(std::io::stdout()).filter(|_| !wide)))
}

/// The programs as a table, or a word that there is none.
fn table(programs: &[InstanceInfo], width: Option<usize>) -> String {
    if programs.is_empty() {
        return "no program runs beside this bridge\n".to_owned();
    }
    let rows = programs.iter().map(row).collect();
    Table { columns: COLUMNS.to_vec(), rows }.text(width)
}

fn row(program: &InstanceInfo) -> Vec<String> {
    let last = program.lines.iter().rev().find(|line| !line.trim().is_empty()).map(|line| shortened(line));
    vec![
        program.name.clone(),
        program.state.clone(),
        if program.ready { "yes" } else { "no" }.to_owned(),
        program.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        program.uptime.map(span).unwrap_or_default(),
        program.restarts.to_string(),
        program.end.clone().unwrap_or_default(),
        last.unwrap_or_default(),
    ]
}

/// A line that is not longer than [`LINE`].
fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}

/// What `start NAME…` asks.
pub fn start(of: &Programs) -> Ask {
    Ask::Order { command: Command::Start { instances: of.instances.clone() }, to: of.to.clone() }
}

/// What `stop NAME…` asks.
pub fn stop(of: &Programs) -> Ask {
    Ask::Order { command: Command::Stop { instances: of.instances.clone() }, to: of.to.clone() }
}

/// What `restart NAME…` asks.
pub fn restart(of: &Programs) -> Ask {
    Ask::Order { command: Command::Restart { instances: of.instances.clone() }, to: of.to.clone() }
}

/// What `kill NAME [SIGNAL]` asks.
///
/// # Errors
/// There is no such signal.
pub fn kill(instances: &str, signal: &str, to: Option<&str>) -> Result<Ask> {
    value::signal(signal).map_err(|form| Error::usage(format!("kill: {signal:?}: expected {form}")))?;
    let instances = instances.split(',').map(str::to_owned).collect();
    let command = Command::Kill { instances, signal: Some(signal.to_owned()) };
    Ok(Ask::Order { command, to: to.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> InstanceInfo {
        InstanceInfo { name: name.to_owned(), state: "waits".to_owned(), ..InstanceInfo::default() }
    }

    #[test]
    fn programs_are_a_table_that_fits() {
        let lines = vec!["*** Booting Zephyr OS build v4.3.0 ***".to_owned(), String::new()];
        let runs = InstanceInfo {
            state: "ready".to_owned(),
            pid: Some(4242),
            uptime: Some(3605),
            ready: true,
            restarts: 2,
            lines,
            ..program("zephyr")
        };
        let killed =
            InstanceInfo { state: "stopped".to_owned(), end: Some("signal 9 (SIGKILL)".to_owned()), ..program("sim2") };
        let programs = [runs, killed];
        let whole = table(&programs, None);
        assert_eq!(
            whole,
            "name    state    ready  pid   uptime  restarts  ended with          last line\n\
             zephyr  ready    yes    4242  1h      2                             *** Booting Zephyr OS build v4.3.0 ***\n\
             sim2    stopped  no                   0         signal 9 (SIGKILL)\n"
        );
        for width in [60, 80, 100] {
            let narrow = table(&programs, Some(width));
            assert!(narrow.lines().all(|line| line.chars().count() <= width), "{narrow}");
            assert!(narrow.contains("zephyr") && narrow.contains("1h"), "{narrow}");
        }
        assert_eq!(table(&[], Some(80)), "no program runs beside this bridge\n");
    }

    #[test]
    fn a_signal_is_checked_before_anybody_is_asked() {
        let error = kill("a", "TREM", None).unwrap_err();
        assert_eq!(error.what(), "kill: \"TREM\": expected a signal by its name or number, as KILL, TERM or 10");
        for good in ["kill", "SIGTERM", "USR1", "9"] {
            assert!(kill("a,b", good, None).is_ok(), "{good}");
        }
    }
}
