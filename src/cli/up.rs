//! `zbridge up`: a bench out of one file. Its programs' lines go to standard output, each led by the name of the
//! instance, and what happens to them to standard error.

use super::fates::FatesArgs;
use super::play::{self, OnBench};
use super::sandbox::SandboxArgs;
use super::style::{Label, Style, width_of};
use super::{complain, complete, print, screen, show, stop};
use crate::config::text::columns;
use crate::config::value;
use crate::config::{Config, InstanceSpec, MetricsAt};
use crate::error::{Class, Error, Result};
use crate::launch::NotStarted;
use crate::programs::{self, Bench, Console, Network, Outcome, OwnBridge, Play, Screen, Wishes};
use crate::scenario::Scenario;
use clap_complete::ArgValueCandidates;
use rustix::process::geteuid;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the command line says of a bench.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct UpArgs {
    /// The file, with a table `instance` for each program
    pub file: PathBuf,

    /// End with this instance, and with its exit status
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::instances))]
    pub exit_with: Option<String>,

    /// End everything after so long, with status 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,

    /// Play the scenarios of the file, and end then, with status 6 if something is not as expected
    #[arg(long)]
    pub play: bool,

    /// The same, with a report for Jenkins, GitLab and the like, as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// The bench's name, for `zbridge status NAME` and its logs [default: its file's without .toml, its folder's for
    /// bench.toml; NAME-2 … if that runs]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Links the bench's switches to those of the same name of a running bridge; its name as `zbridge ls` shows it
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    pub join: Option<String>,

    /// The folder for logs [default: zbridge/NAME in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FOLDER")]
    pub logs: Option<PathBuf>,

    /// Tell the bridge's figures to programs that watch it, as OpenMetrics: ADDR:PORT or unix:PATH
    #[arg(long, value_name = "ADDR:PORT|unix:PATH", value_parser = super::args::metrics)]
    pub metrics: Option<MetricsAt>,

    /// What is written and replayed of impairments.
    #[command(flatten)]
    pub fates: FatesArgs,

    /// What its bridge gives up.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

fn time(text: &str) -> std::result::Result<Duration, String> {
    value::duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "expected a time, as 500ms, 30s or 5m".to_owned())
}

/// A bench as it was asked for, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Up {
    config: Config,
    exit_with: Option<usize>,
    timeout: Option<Duration>,
    logs: Option<PathBuf>,
    name: Option<String>,
    join: Option<String>,
    /// What is played on it.
    scenarios: Option<Vec<Scenario>>,
    junit: Option<PathBuf>,
    /// What the bench is called where it is given no name.
    bench: String,
}

impl Up {
    /// Reads the file of a bench.
    ///
    /// # Errors
    /// What is wrong with it, or that there is no such instance.
    pub fn load(args: &UpArgs) -> Result<Self> {
        let mut config = super::load(&args.file)?;
        config.metrics = args.metrics.clone().or(config.metrics);
        let place = args.file.display();
        if config.instances.is_empty() {
            let error = Error::usage("there is no instance to start").at(&place);
            return Err(error.hint(format!("write an [[instance]] for each program, or: zbridge --config {place}")));
        }
        args.fates.give(&mut config)?;
        super::warn(&config).and_then(|()| super::warn_of_programs(&config)).map_err(|error| error.at(&place))?;
        let names = || config.instances.iter().map(|instance| instance.name.as_str());
        let exit_with = args.exit_with.as_deref().map(|wanted| {
            names().position(|name| name == wanted).ok_or_else(|| {
                let near = crate::config::grammar::nearest(wanted, names());
                Error::usage(format!("--exit-with {wanted}: no such instance; {near}")).at(&place)
            })
        });
        let exit_with = exit_with.transpose()?;
        let (logs, name, join) = (args.logs.clone(), args.name.clone(), args.join.clone());
        let bench = value::name_from(&programs::name_of(&args.file));
        let junit = args.junit.clone();
        let scenarios = if args.play || junit.is_some() { Some(Self::scenarios(&config, &args.file)?) } else { None };
        Ok(Self { exit_with, timeout: args.timeout, logs, name, join, scenarios, junit, bench, config })
    }
}

impl Up {
    /// The scenarios of a file, of which there has to be one.
    fn scenarios(config: &Config, file: &Path) -> Result<Vec<Scenario>> {
        if config.scenarios.is_empty() {
            let error = Error::usage("there is no scenario to play").at(file.display());
            return Err(error.hint("write [[scenario]]; zbridge help scenario"));
        }
        play::understood(config).map_err(|errors| super::but_the_last(errors, file))
    }

    /// Its ports, switches and instances.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// Runs a bench until it is over. Gives the exit status.
///
/// # Errors
/// A port or a log that cannot be opened. An instance that cannot be started, that ends before it is ready or by a
/// failure, and a time that is over, are told when they come about, and are only a status.
pub fn run(up: &Up, quiet: bool) -> Result<u8> {
    // Before anything is bound, so that a signal during the start does not leave it behind.
    let stop = stop::two_wishes()?;
    let config = if geteuid().is_root() { up.config.for_programs_of_root() } else { up.config.clone() };
    let mut own = OwnBridge::start(&config, up.name.as_deref(), &up.bench)?;
    let name = own.name().unwrap_or(&up.bench).to_owned();
    let logs = up.logs.clone().map_or_else(|| programs::default_folder(&name), Ok)?;
    up.join.as_deref().map_or(Ok(()), |other| own.link_to(other, &name))?;
    super::run::tell_name(&own);
    if !quiet {
        let status = own.bridge().status()?;
        print([show::ports(&status, width_of(std::io::stdout())), show::attachments(&status)].concat())?;
    }
    let instances = &up.config.instances;
    log::info!("{} to start; logs in {}", counted(instances.len()), logs.display());
    if up.scenarios.is_none() {
        play::tell_of_unplayed(up.config.scenarios.len());
    }
    let screen = Arc::new(Terminal::new(instances));
    let wishes = Wishes { exit_with: up.exit_with, timeout: up.timeout };
    let mut network = Network::Own(own);
    let played = up.scenarios.clone().map(|scenarios| OnBench::begin(network.name(), scenarios, up.junit.as_deref()));
    let played = played.transpose()?;
    let play = played.as_ref().map(|played| Play { done: played.done.clone(), ends: played.ends.clone() });
    let bench = Bench { config: &up.config, wishes, console: Console::Lines { logs, stop }, play };
    let outcome = programs::run(bench, &mut network, screen);
    // From here on nobody is waited for but zbridge itself.
    stop::leave_within(stop::ORDERLY, outcome.as_ref().map_or(Class::Fault.code(), |outcome| status(outcome, true)));
    // What is played asks the bridge as long as it is there.
    let trouble = outcome.as_ref().map_or_else(|error| Some(error.clone()), trouble);
    let verdict = played.map(|played| played.finish(trouble.as_ref().map(Error::what)));
    let (last, failure) = network.leave();
    let outcome = outcome?;
    if !quiet {
        print(show::counters(&last, width_of(std::io::stdout())))?;
    }
    match verdict {
        // Whoever interrupts it knows why.
        Some(Err(_)) if outcome == Outcome::Stopped => Ok(Class::Interrupted.code()),
        Some(Err(error)) => Err(error),
        Some(Ok(())) | None => Ok(status(&outcome, failure.is_some())),
    }
}

/// Why a bench has failed.
fn trouble(outcome: &Outcome) -> Option<Error> {
    match outcome {
        Outcome::Failed(error) | Outcome::NotStarted(NotStarted { error, .. }) => Some(error.clone()),
        Outcome::Ended | Outcome::Stopped | Outcome::Status(_) => None,
    }
}

/// The exit status of a bench. That a part of zbridge has failed is told where nothing else is.
fn status(outcome: &Outcome, failed: bool) -> u8 {
    let status = match outcome {
        Outcome::Ended | Outcome::Stopped => 0,
        Outcome::Status(end) => end.code(),
        // It was said before the instances were stopped.
        Outcome::Failed(error) | Outcome::NotStarted(NotStarted { error, .. }) => error.class().code(),
    };
    if status == 0 && failed { Class::Fault.code() } else { status }
}

fn counted(instances: usize) -> String {
    if instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") }
}

/// Standard output and standard error, as a person sees them.
struct Terminal {
    style: Style,
    /// The name of each instance, as wide as the widest, and in its colour.
    heads: Vec<String>,
}

impl Terminal {
    fn new(instances: &[InstanceSpec]) -> Self {
        Self::with(Style::of(&std::io::stdout()), instances)
    }

    fn with(style: Style, instances: &[InstanceSpec]) -> Self {
        let names = columns("", &instances.iter().map(|instance| [instance.name.as_str(), "|"]).collect::<Vec<_>>());
        let heads = names.lines().enumerate().map(|(index, name)| style.member(index, name)).collect();
        Self { style, heads }
    }

    /// A line as it is printed.
    fn render(&self, instance: usize, line: &[u8]) -> String {
        let head = self.heads.get(instance).map_or("|", String::as_str);
        let text = programs::readable(line, self.style.is_coloured());
        format!("{head} {text}\n")
    }
}

impl Screen for Terminal {
    fn line(&self, instance: usize, line: &[u8]) {
        screen::pass_on(&self.render(instance, line));
    }

    fn tell(&self, text: &str) {
        log::info!("{text}");
    }

    fn warn(&self, error: &Error) {
        complain(Label::Warning, error);
    }

    fn blame(&self, error: &Error) {
        complain(Label::Error, error);
    }

    fn parted(&self, bridge: &str) {
        log::warn!(
            "bridge {bridge} has ended; the bench goes on without it\n  hint: start it again once the bridge runs again: \
             zbridge up … --join {bridge}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances() -> Vec<InstanceSpec> {
        let table = |name: &str| format!("[[instance]]\nname = \"{name}\"\ncommand = \"x\"\n");
        Config::parse(&[table("a"), table("zephyr")].concat(), "x").unwrap().instances
    }

    #[test]
    fn lines_are_led_by_their_instance() {
        let plain = Terminal::with(Style::plain(), &instances());
        assert_eq!(plain.render(0, b"\x1b[31mred\x1b[0m\x00"), "a       | red\\x00\n");
        assert_eq!(plain.render(1, b"x"), "zephyr  | x\n");
        let coloured = Terminal::with(Style::coloured(), &instances());
        let (one, other) = (coloured.render(0, b"x"), coloured.render(1, b"\x1b[31mx"));
        assert_eq!(one, "\x1b[36ma       |\x1b[0m x\n");
        assert!(other.starts_with("\x1b[33mzephyr  |") && other.ends_with("\x1b[31mx\x1b[0m\n"), "{other:?}");
    }

    #[test]
    fn what_cannot_be_is_said_before_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let up = |text: &str, exit_with: Option<&str>| {
            let file = dir.path().join("lab.toml");
            std::fs::write(&file, text).unwrap();
            let exit_with = exit_with.map(ToOwned::to_owned);
            Up::load(&UpArgs {
                fates: FatesArgs::default(),
                file,
                exit_with,
                timeout: None,
                play: false,
                junit: None,
                logs: None,
                name: None,
                join: None,
                metrics: None,
                sandbox: SandboxArgs::default(),
            })
        };
        let table = "[[instance]]\nname = \"client\"\ncommand = \"x\"\n";
        let error = up("port = [\"tap:z\"]", None).unwrap_err();
        assert!(error.what().ends_with("lab.toml: there is no instance to start"), "{error}");
        let error = up(table, Some("cleint")).unwrap_err();
        assert!(error.what().ends_with("--exit-with cleint: no such instance; the nearest is \"client\""), "{error}");
        assert_eq!(up(table, Some("client")).map(|up| up.exit_with), Ok(Some(0)));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert!(time("0s").is_err() && time("soon").is_err());
    }
}
