//! What a shell completes: bridges that run, their ports, states, kinds of ports and topics, beside the options.
//!
//! How it works. `zbridge completions SHELL` prints a script that asks zbridge itself, with [`ASKED_BY`] in its
//! environment, whenever somebody presses the key. So a name is offered as long as it is there. A bridge that does not
//! answer offers nothing. What else stands on the line is looked at where an answer depends on it ([`words`]).

mod spec;

pub use spec::specs;

use super::topics::TOPICS;
use crate::config::{BEND_KEYS, Config, KINDS, KeyRow, SET_KEYS};
use crate::control::{Command, ForwardInfo, ForwardsInfo, HeldInfo, InstanceInfo, LeasesInfo, NamesInfo, PORT_STATES};
use crate::engine::control::{Client, bridges};
use crate::error::{Error, Result};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{PathCompleter, ValueCompleter};
use clap_complete::env::{CompleteEnv, Shells};
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The variable by which the script of a shell asks.
const ASKED_BY: &str = "ZBRIDGE_COMPLETE";
const PROGRAM: &str = "zbridge";
/// The script for bash, which takes words apart; that of others is clap's.
const BASH: &str = include_str!("complete/script.bash");

/// Answers a shell and ends the process, if it is a shell that asks.
pub fn answer_a_shell() {
    CompleteEnv::with_factory(super::program).var(ASKED_BY).bin(PROGRAM).complete();
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
    if shell == "bash" {
        return Ok(BASH.into());
    }
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

/// The programs of all benches that run.
pub fn programs() -> Vec<CompletionCandidate> {
    let told = bridges().into_iter().filter_map(|mut client| client.instances().ok());
    let candidate = |program: InstanceInfo| CompletionCandidate::new(program.name).help(Some(program.state.into()));
    told.flat_map(|told| told.instances).map(candidate).collect()
}

/// The settings of a port.
pub fn settings() -> Vec<CompletionCandidate> {
    let word = |row: &KeyRow| format!("{}{}", row.word, if row.value.is_some() { "=" } else { "" });
    let plain = SET_KEYS.iter().filter(|row| row.word != "tx.KEY");
    let mut found: Vec<_> =
        plain.map(|row| CompletionCandidate::new(word(row)).help(Some(row.summary.into()))).collect();
    found.push(CompletionCandidate::new("mirror=off"));
    found.extend(named_ports("mirror="));
    let keys = ["tx.", "rx.", "both."].iter().flat_map(|way| {
        let key = move |row: &KeyRow| CompletionCandidate::new(format!("{way}{}=", row.word));
        BEND_KEYS.iter().map(move |row| key(row).help(Some(row.summary.into())))
    });
    found.extend(keys);
    found
}

/// The words of a cut.
pub fn parted() -> Vec<CompletionCandidate> {
    let words =
        [("from", "both ways"), ("to", "one way"), ("rest", "all that the other group has not"), ("all", "all")];
    let words = words.map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into())));
    named_ports("").into_iter().chain(words).collect()
}

/// The conditions of `wait`.
pub fn conditions() -> Vec<CompletionCandidate> {
    let mut found = named_ports("port=");
    let told = bridges().into_iter().filter_map(|mut client| client.instances().ok());
    let ready = |program: InstanceInfo| CompletionCandidate::new(format!("{} ready", program.name));
    found.extend(told.flat_map(|told| told.instances).map(ready));
    // Behind a port stands its state.
    if words().iter().rev().skip(1).any(|word| word.starts_with("port=")) {
        found.extend(PORT_STATES.iter().copied().map(CompletionCandidate::new));
    }
    found
}

/// The ports that a traced frame may come in by.
pub fn entrances() -> Vec<CompletionCandidate> {
    named_ports("in=")
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

/// What bridges that run answer to `command`, each with the words that are offered of it.
fn offered<T: DeserializeOwned>(command: &Command, words: fn(T) -> Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let answers = bridges().into_iter().filter_map(|mut client| client.request(command.clone()).ok());
    let words = answers.flat_map(words);
    words.map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into()))).collect()
}

/// Where the forwards of bridges that run listen.
pub fn forwards() -> Vec<CompletionCandidate> {
    offered(&Command::ForwardLs, |told: ForwardsInfo| {
        let word = |it: &ForwardInfo| (format!("{}:{}", it.protocol, it.listen), format!("leads to {}", it.guest));
        told.forwards.iter().map(word).collect()
    })
}

/// The names that were added to the resolvers of bridges that run.
pub fn added_names() -> Vec<CompletionCandidate> {
    offered(&Command::DnsLs, |told: NamesInfo| {
        let added = told.names.into_iter().filter(|it| it.source == "added");
        added.map(|it| (it.name, it.addrs.first().map(ToString::to_string).unwrap_or_default())).collect()
    })
}

/// The addresses that hosts have from bridges that run.
pub fn leases() -> Vec<CompletionCandidate> {
    offered(&Command::LeaseLs, |told: LeasesInfo| {
        let word =
            |it: HeldInfo| (it.addr.to_string(), it.name.map_or(it.mac.clone(), |name| format!("{name} {}", it.mac)));
        told.leases.into_iter().map(word).collect()
    })
}

/// The kinds of ports.
pub fn kinds() -> Vec<CompletionCandidate> {
    KINDS.iter().map(|row| CompletionCandidate::new(row.word).help(Some(row.summary.into()))).collect()
}

/// The words on the line that is completed, those that the shell has sent behind `--`.
fn words() -> Vec<String> {
    std::env::args().skip_while(|word| word != "--").skip(1).collect()
}

/// The value of `option` on the line.
fn given(option: &str) -> Option<String> {
    let words = words();
    let behind = words.iter().position(|word| word == option).and_then(|place| words.get(place + 1)).cloned();
    behind.or_else(|| words.iter().find_map(|word| Some(word.strip_prefix(option)?.strip_prefix('=')?.to_owned())))
}

/// The switches of the bridge that the line names, or of all that run.
pub fn switches() -> Vec<CompletionCandidate> {
    let clients = match given("--join") {
        Some(name) => Client::connect(&name).into_iter().collect(),
        None => bridges(),
    };
    let statuses = clients.into_iter().filter_map(|mut client| client.status().ok());
    let mut names: Vec<String> = statuses.flat_map(|status| status.switches).map(|switch| switch.name).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The instances of the bench whose file stands on the line.
pub fn instances() -> Vec<CompletionCandidate> {
    let file = words().into_iter().skip_while(|word| word != "up").skip(1).find(|word| Path::new(word).is_file());
    let config = file.and_then(|file| Config::load(Path::new(&file)).ok()).unwrap_or_default();
    config.instances.into_iter().map(|instance| CompletionCandidate::new(instance.name)).collect()
}

/// A program and its arguments: the first by its name too, if PATH has it.
pub struct Program;

impl ValueCompleter for Program {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        self.complete_at(0, current)
    }

    fn complete_at(&self, place: usize, current: &OsStr) -> Vec<CompletionCandidate> {
        let mut found = PathCompleter::any().complete(current);
        let begun = current.to_string_lossy();
        if place == 0 && !begun.is_empty() && !begun.contains('/') {
            let folders: Vec<_> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
            let files = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
            let runs = |path: &Path| {
                path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
            };
            let named =
                files.filter(|file| file.file_name().to_string_lossy().starts_with(&*begun) && runs(&file.path()));
            let mut names: Vec<_> = named.map(|file| file.file_name()).collect();
            names.sort();
            names.dedup();
            found.extend(names.into_iter().map(CompletionCandidate::new));
        }
        found
    }
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
        assert!(
            words(kinds()).contains(&"tap".to_owned()) && words(specs(OsStr::new(""))).contains(&"unix:".to_owned())
        );
        assert!(words(topics()).contains(&"trouble".to_owned()));
    }
}
