//! Scenarios: `zbridge play` on a bridge that runs, `zbridge up --play` on a bench that is started for it, and what their
//! deeds mean, by the parser of the command line.

use super::args::Args;
use super::ask::{self, Ask};
use super::{but_the_last, complete, gateway, mistakes, print, ps, stop};
use crate::config::{Config, Cut, ScenarioSpec};
use crate::control::Command as Request;
use crate::engine::control::Client;
use crate::error::{Class, Error, Result};
use crate::play::{JunitFile, Player};
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crate::scenario::{Names, Report, Scenario, compile, summary, timeline};
use clap::Parser;
use clap_complete::ArgValueCandidates;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// It asks the bridge as any other client, and writes over the files that were opened for it.
static PLAYER: Role = Role::new("play", &[BASE, SOCKETS, NETWORK, READ, &["ftruncate", "lseek"]]);
/// It passes a signal on.
static STOP: Role = Role::new("stop", &[BASE]);

/// How long the end of a player is waited for when its bench has ended.
const ENDS: Duration = Duration::from_secs(4);

/// What the command line says of `play`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct PlayArgs {
    /// The file, with a table `scenario` for each scenario
    pub file: PathBuf,

    /// The bridge (default: the one called default, or the only one)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    pub to: Option<String>,

    /// A report for Jenkins, GitLab and the like, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// What a command changes on a running bridge: each of these is a step of a scenario, too. Nothing: it is none of them.
///
/// # Errors
/// What it says is wrong.
pub fn change(command: &super::Command) -> Result<Option<Ask>> {
    use super::Command;
    Ok(Some(match command {
        Command::Port { verb } => Ask::port(verb)?,
        Command::Set { port, settings, to } => Ask::set(port, settings, to.as_deref())?,
        Command::Cut { words, to } => Ask::Cut { cut: Cut::parse(words)?, to: to.clone() },
        Command::Heal { ports, to } => Ask::Heal { ports: ports.clone(), to: to.clone() },
        Command::Start(of) => ps::start(of),
        Command::Stop(of) => ps::stop(of),
        Command::Restart(of) => ps::restart(of),
        Command::Forward { verb } => Ask::Gateway(gateway::Asked::Forward(verb.clone())),
        Command::Dns { verb } => Ask::Gateway(gateway::Asked::Dns(verb.clone())),
        Command::Lease { verb } => Ask::Gateway(gateway::Asked::Lease(verb.clone())),
        Command::Fdb { verb: Some(verb), .. } => Ask::ChangeFdb(verb.clone()),
        Command::Kill { instances, signal, to } => ps::kill(instances, signal, to.as_deref())?,
        _ => return Ok(None),
    }))
}

/// The request that a step of a scenario is, given its words.
fn request(words: &[String]) -> Result<Vec<Request>> {
    let line = || words.join(" ");
    let all: Vec<OsString> = std::iter::once("zbridge".into()).chain(words.iter().map(OsString::from)).collect();
    let args = Args::try_parse_from(&all).map_err(|error| {
        mistakes::explain(&error, &all).unwrap_or_else(|| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Error::usage(format!("{:?}: {}", line(), crate::visible::visible(first)))
        })
    })?;
    let asked = args.command.as_ref().map(change).transpose()?.flatten();
    let asked = asked.and_then(Ask::into_request).ok_or_else(|| {
        let hint = "port add|del, set, up, down, cut, heal, start, stop, restart, kill, forward, dns, lease, fdb, \
                    capture start FILE, capture stop; what is awaited stands in on, when and expect";
        Error::usage(format!("{:?} is no step of a scenario", line())).hint(hint)
    })?;
    match asked {
        (request, None) => Ok(vec![request]),
        (_, Some(to)) => {
            let what = format!("{:?}: --to {to}: a step is for the bridge that the scenario is played on", line());
            Err(Error::usage(what))
        }
    }
}

/// The names of a bench's programs and ports.
fn names_of(config: &Config) -> Names {
    let programs = config.instances.iter().map(|instance| instance.name.clone());
    let ports = config.ports.iter().map(|port| port.name.clone());
    let of_programs = config.instances.iter().flat_map(|instance| instance.ports()).map(str::to_owned);
    Names { programs: programs.collect(), ports: ports.chain(of_programs).collect() }
}

/// Understands the scenarios of a bench's file; of one that has no programs, by whatever bridge it is played on.
///
/// # Errors
/// All that is wrong with them, each with its file and line.
pub fn understood(config: &Config) -> Result<Vec<Scenario>, Vec<Error>> {
    let names = (!config.instances.is_empty()).then(|| names_of(config));
    scenarios(&config.scenarios, names)
}

fn scenarios(specs: &[ScenarioSpec], names: Option<Names>) -> Result<Vec<Scenario>, Vec<Error>> {
    compile(specs, &request, names)
}

/// The time line of a file's scenarios.
///
/// # Errors
/// As [`understood`].
pub fn drawn(config: &Config) -> Result<String, Vec<Error>> {
    understood(config).map(|scenarios| timeline(&scenarios))
}

/// Plays the scenarios of a file on a bridge that runs. Gives the exit status.
///
/// # Errors
/// No such bridge runs; a step cannot be done; something is not as expected (class unmet).
pub fn run(args: &PlayArgs) -> Result<u8> {
    let stop = stopped()?;
    let config = super::load(&args.file)?;
    if config.scenarios.is_empty() {
        let error = Error::usage("there is no scenario to play").at(args.file.display());
        return Err(error.hint("write [[scenario]]; zbridge help scenario"));
    }
    let mut client = ask::connect(args.to.as_deref())?;
    let names = there(&mut client)?;
    let scenarios = scenarios(&config.scenarios, Some(names)).map_err(|errors| but_the_last(errors, &args.file))?;
    let bridge = client.greeting().name.clone();
    let junit = args.junit.as_deref().map(|path| JunitFile::create(path, &bridge)).transpose()?;
    let (report, junit) = Player::new(client, scenarios, junit)?.play(&stop);
    finish(&report, junit, None)?;
    Ok(0)
}

/// The names on a bridge that runs.
fn there(client: &mut Client) -> Result<Names> {
    let programs = client.instances()?.instances.into_iter().map(|program| program.name).collect();
    let ports = client.status()?.switches.into_iter().flat_map(|switch| switch.ports);
    Ok(Names { programs, ports: ports.map(|port| port.name).collect() })
}

/// Completes the report, and sums up. `trouble`: why the bench has failed.
///
/// # Errors
/// That something is not as expected.
fn finish(report: &Report, junit: Option<JunitFile>, trouble: Option<&str>) -> Result<()> {
    junit.into_iter().for_each(|mut file| file.write(report, trouble));
    print(crate::visible::visible_lines(&summary(report)).into_owned())?;
    report.verdict()
}

/// Where the wish to end is told of, in words.
fn stopped() -> Result<Receiver<String>> {
    let signals = stop::one_wish()?;
    let (sender, stopped) = unbounded();
    let pass_on = move || {
        if signals.recv().is_ok() {
            // Nobody plays any more.
            let _ = sender.send("interrupted".to_owned());
        }
    };
    rights::spawn("zb-stop", &STOP, pass_on).map_err(|error| Error::system("cannot start a thread", &error))?;
    Ok(stopped)
}

/// A player on the bench of this process, on a thread of its own.
pub struct OnBench {
    outcome: Receiver<(Report, Option<JunitFile>)>,
    /// Why the bench ends before it.
    pub ends: Sender<String>,
    /// All is played.
    pub done: Receiver<()>,
}

impl OnBench {
    /// Begins to play, on the bridge of this name.
    ///
    /// # Errors
    /// The bridge has no control socket; a file cannot be created; the system has no threads left.
    pub fn begin(bridge: Option<&str>, scenarios: Vec<Scenario>, junit: Option<&Path>) -> Result<Self> {
        let bridge = bridge.ok_or_else(|| {
            let error = Error::new(Class::Runtime, "scenarios are played over the control socket, and there is none");
            error.hint("it wants a folder: XDG_RUNTIME_DIR, or /tmp")
        })?;
        let junit = junit.map(|path| JunitFile::create(path, bridge)).transpose()?;
        let player = Player::new(Client::connect(bridge)?, scenarios, junit)?;
        let ((ends, stop), (told, outcome), (over, done)) = (unbounded(), bounded(1), bounded(1));
        let play = move || {
            // Who waits for it has left when these are not taken.
            let _ = told.send(player.play(&stop));
            let _ = over.send(());
        };
        let cannot = |error| Error::system("cannot start a thread", &error);
        rights::spawn("zb-play", &PLAYER, play).map_err(cannot)?;
        Ok(Self { outcome, ends, done })
    }

    /// Waits for its end when the bench is over, completes the report, and sums up.
    ///
    /// # Errors
    /// That something is not as expected.
    pub fn finish(self, trouble: Option<&str>) -> Result<()> {
        drop(self.ends);
        match self.outcome.recv_timeout(ENDS) {
            Ok((report, junit)) => finish(&report, junit, trouble),
            Err(_) => Err(Error::new(Class::Fault, "the scenario does not end")
                .hint("this is a fault of zbridge; please report it")),
        }
    }
}

/// Says that a bench has scenarios that are not played.
pub fn tell_of_unplayed(count: usize) {
    if count > 0 {
        log::info!("{count} scenario{} of its file: not played; --play does", if count == 1 { "" } else { "s" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Vec<Request>> {
        request(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    /// Every verb that changes a bridge is a step.
    #[test]
    fn steps_are_the_verbs_of_the_command_line() {
        let kill = Request::Kill { instances: vec!["a".into(), "b".into()], signal: Some("TERM".into()) };
        assert_eq!(asked("kill a,b TERM"), Ok(vec![kill]));
        for good in [
            "port add unix:/tmp/a",
            "port del a",
            "set a tx.loss=1%",
            "set a down",
            "cut a from b",
            "heal",
            "heal a",
            "start a",
            "stop a b",
            "restart a",
            "dns add box 10.0.2.7",
            "fdb flush",
        ] {
            assert!(asked(good).is_ok(), "{good}: {:?}", asked(good));
        }
        for (wrong, says) in [
            ("status", "\"status\" is no step of a scenario"),
            ("wait port=a up", "\"wait port=a up\" is no step of a scenario"),
            ("set a tx.los=1%", "the nearest is"),
            ("kill a NUKE", "expected a signal"),
            ("restart", "\"restart\": the following required arguments were not provided"),
            ("restart a --to lab", "a step is for the bridge that the scenario is played on"),
            ("fly", "\"fly\": unrecognized subcommand"),
        ] {
            let error = asked(wrong).unwrap_err();
            assert!(error.to_string().contains(says), "{wrong}: {error}");
        }
    }
}
