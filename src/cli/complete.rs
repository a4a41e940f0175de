//! What a shell completes: bridges that run, their ports, states, kinds of ports and topics, beside the options.
//!
//! How it works. `zbridge completions SHELL` prints a script that asks zbridge itself, with [`ASKED_BY`] in its
//! environment, whenever somebody presses the key. So a name is offered as long as it is there. A bridge that does not
//! answer offers nothing.

use super::args::Args;
use super::topics::TOPICS;
use crate::config::KINDS;
use crate::control::PORT_STATES;
use crate::engine::control::bridges;
use crate::error::{Error, Result};
use clap::CommandFactory;
use clap_complete::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};

/// The variable by which the script of a shell asks.
const ASKED_BY: &str = "ZBRIDGE_COMPLETE";
const PROGRAM: &str = "zbridge";

/// Answers a shell and ends the process, if it is a shell that asks.
pub fn answer_a_shell() {
    CompleteEnv::with_factory(Args::command).var(ASKED_BY).bin(PROGRAM).complete();
}

/// The script for a shell.
///
/// # Errors
/// A shell that is not known.
pub fn script(shell: &str) -> Result<Vec<u8>> {
    let shells = Shells::builtins();
    let Some(found) = shells.completer(shell) else {
        let known: Vec<_> = shells.names().collect();
        let error = Error::usage(format!("no completions for {shell:?}"));
        return Err(error.hint(format!("there are some for {}", known.join(", "))));
    };
    let mut script = Vec::new();
    found
        .write_registration(ASKED_BY, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(|cause| Error::system("completions", &cause))?;
    Ok(script)
}

/// The shells that there is a script for.
pub fn shells() -> Vec<CompletionCandidate> {
    Shells::builtins().names().map(CompletionCandidate::new).collect()
}

/// The bridges that run.
pub fn running() -> Vec<CompletionCandidate> {
    let candidate = |name: &str, pid: u32| CompletionCandidate::new(name).help(Some(format!("pid {pid}").into()));
    bridges().iter().map(|client| candidate(&client.greeting().name, client.greeting().pid)).collect()
}

/// The ports of all bridges that run.
pub fn ports() -> Vec<CompletionCandidate> {
    named_ports("")
}

/// What can be waited for.
pub fn conditions() -> Vec<CompletionCandidate> {
    named_ports("port=")
}

fn named_ports(before: &str) -> Vec<CompletionCandidate> {
    let statuses = bridges().into_iter().filter_map(|mut client| client.status().ok());
    let ports = statuses.flat_map(|status| status.switches).flat_map(|switch| switch.ports);
    ports
        .map(|port| {
            CompletionCandidate::new(format!("{before}{}", port.name))
                .help(Some(format!("{}, {}", port.kind, port.state).into()))
        })
        .collect()
}

/// The states of a port.
pub fn states() -> Vec<CompletionCandidate> {
    PORT_STATES.iter().copied().map(CompletionCandidate::new).collect()
}

/// The kinds of ports.
pub fn kinds() -> Vec<CompletionCandidate> {
    KINDS.iter().map(|row| CompletionCandidate::new(row.word).help(Some(row.summary.into()))).collect()
}

/// How a port begins.
pub fn specs() -> Vec<CompletionCandidate> {
    KINDS.iter().map(|row| CompletionCandidate::new(format!("{}:", row.word)).help(Some(row.summary.into()))).collect()
}

/// The topics of the guide.
pub fn topics() -> Vec<CompletionCandidate> {
    TOPICS.iter().map(|topic| CompletionCandidate::new(topic.word).help(Some(topic.summary.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks_zbridge() {
        for shell in shells() {
            let script = script(&shell.get_value().to_string_lossy()).unwrap();
            let text = String::from_utf8(script).unwrap();
            assert!(text.contains(ASKED_BY) && text.contains(PROGRAM), "{text}");
        }
        assert!(script("csh").unwrap_err().to_string().contains("there are some for bash"));
    }

    #[test]
    fn tables_are_offered() {
        let words = |all: Vec<CompletionCandidate>| -> Vec<String> {
            all.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
        };
        assert!(words(kinds()).contains(&"tap".to_owned()) && words(specs()).contains(&"unix:".to_owned()));
        assert!(words(states()).contains(&"up".to_owned()) && words(topics()).contains(&"trouble".to_owned()));
    }
}
