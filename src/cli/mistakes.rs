//! Common mistakes on the command line, and what was meant. The option parser alone knows only valid words.

use super::args::{Args, RunArgs};
use crate::config::grammar::nearest;
use crate::config::text::shell;
use crate::config::{InstanceSpec, find};
use crate::error::{Class, Error, Result};
use crate::programs;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::path::Path;

/// What is meant by `words`, where the parser's own `error` would not tell.
pub fn explain(error: &clap::Error, words: &[OsString]) -> Option<Error> {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word)), _) => no_command(word, words),
        (ErrorKind::MissingRequiredArgument, _, Some(ContextValue::Strings(missing)))
            if missing.iter().any(|word| word.contains("<PROGRAM>")) =>
        {
            let error = Error::usage("zbridge run: the program is missing");
            Some(error.hint("zbridge run -- ./zephyr.exe; host tools: zbridge run --host 192.0.2.9/24 -- bash"))
        }
        _ => None,
    }
}

/// A port, a file or a program where a command should be.
fn no_command(word: &str, words: &[OsString]) -> Option<Error> {
    let is_port = word.split_once(':').is_some_and(|(kind, _)| find(kind).is_ok());
    let before = words.iter().position(|other| other == word).and_then(|place| words.get(place.checked_sub(1)?));
    let quoted = shell(word);
    let (what, hint) = match () {
        () if is_port && before.is_some_and(|before| before == "port") => {
            ("a port", format!("zbridge port add {quoted}"))
        }
        () if is_port => ("a port", format!("each port stands behind an option of its own: zbridge --port {quoted}")),
        () if word.ends_with(".toml") => (
            "a file",
            format!("zbridge up {quoted} starts the programs in it, zbridge --config {quoted} its ports alone"),
        ),
        () if word.contains('/') && Path::new(word).is_file() => ("a program", format!("zbridge run -- {quoted}")),
        () => return None,
    };
    Some(Error::usage(format!("{word} is {what}, and no command")).hint(hint))
}

/// Options that exclude each other in `zbridge run`.
///
/// # Errors
/// What it is.
pub fn refuse_at_odds(args: &RunArgs) -> Result<()> {
    let Some(join) = args.join.as_deref().map(shell) else { return Ok(()) };
    if let Some(bridge) = &args.bridge {
        let error = Error::usage(format!("--join {join} and --bridge {bridge}: a program is on one bridge"));
        return Err(error.hint("--join is one that runs, --bridge names one of the program's own"));
    }
    if !args.fates.is_empty() {
        let error = Error::usage(format!("--fates and --replay with --join {join}: fates are of the bridge that runs"));
        return Err(error.hint("give them to that one when it starts"));
    }
    let Some(port) = args.ports.first() else { return Ok(()) };
    let error = Error::usage(format!("--port with --join {join}: the ports are of the bridge that runs"));
    Err(error.hint(format!("add it there: zbridge port add {} --to {join}", shell(port))))
}

/// No program begins with a dash: it is an option that `zbridge run` does not have.
///
/// # Errors
/// Which it is, and the nearest that there is.
pub fn refuse_unknown_option(command: &[OsString]) -> Result<()> {
    let first = command.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    if !first.starts_with('-') {
        return Ok(());
    }
    let word = first.split('=').next().unwrap_or_default();
    let program = Args::command();
    let options = program.find_subcommand("run").into_iter().flat_map(|run| run.get_opts());
    let known: Vec<String> = options.filter_map(|option| Some(format!("--{}", option.get_long()?))).collect();
    let nearest = nearest(word, known.iter().map(String::as_str));
    let error = Error::usage(format!("zbridge run has no option {word}; {nearest}"));
    Err(error.hint("zbridge run --help lists them; the program and its arguments stand behind --"))
}

/// Words before `--` that are no program: more values of the option before them.
///
/// # Errors
/// What they were taken for.
pub fn refuse_stray_words(args: &RunArgs, program: &InstanceSpec) -> Result<()> {
    let Some(end) = args.command.iter().position(|word| word == "--").filter(|end| *end > 0) else { return Ok(()) };
    match programs::check(program) {
        Err(failed) if failed.error.class() == Class::NoObject => {}
        _ => return Ok(()),
    }
    let stray: Vec<String> = args.command.iter().take(end).map(|word| word.to_string_lossy().into_owned()).collect();
    let error = Error::usage(format!("{} before `--`: it was taken for the program, and is none", stray.join(" ")));
    Err(if args.taps.is_empty() {
        error.hint("options first, then `--`, then the program: zbridge run --host 192.0.2.9/24 -- bash")
    } else {
        error.hint(format!("several names are one word: --tap {},{}", args.taps.join(","), stray.join(",")))
    })
}
