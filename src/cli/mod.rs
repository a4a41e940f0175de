//! The command line: takes it apart, answers what needs no engine (help, port kinds, checks, completions, manual),
//! hands over the rest as a [`Job`], and turns the outcome into a message and an exit status.
//!
//! Data goes to standard output, everything else to standard error.

mod args;
mod ask;
mod capture;
mod check;
mod complete;
mod demo;
mod doctor;
mod drops;
mod ending;
mod events;
mod fates;
mod fdb;
mod flows;
mod follow;
mod gateway;
mod graph;
mod help;
mod instance;
mod layout;
mod log;
mod look;
mod man;
mod mistakes;
mod play;
mod ports;
mod ps;
mod run;
mod sandbox;
mod screen;
mod show;
mod stations;
mod stop;
mod style;
mod table;
mod top;
mod topics;
mod trace;
mod units;
mod up;
mod usb;
mod verbs;
mod view;
mod waiting;
mod watch;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::config::text::shell;
use crate::config::{
    Config, DEFAULT_SWITCH, Host, HostAddr, InstanceSpec, Network, Packet, PortKind, PortSpec, Source, SwitchSpec, Tap,
    check_rules, value,
};
use crate::error::{Class, Error, Result};
use crate::launch::{self, DEFAULT_TAP};
use crate::port;
use crate::visible::visible_bytes;
use std::os::unix::ffi::OsStrExt;

use args::UsbVerb;
pub use args::{Args, Command, RunArgs, Verbosity};
pub use ask::Ask;
use capture::Extcap;
pub use instance::Instance;
use play::PlayArgs;
pub use ports::markdown as port_table;
pub use screen::{complain, print};
pub use style::{Label, Style};
pub use up::Up;

/// What needs the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// Run these switches and ports, which are checked, as the bridge of this name.
    Run(Config, Option<String>),
    /// Run this program on a switch.
    Instance(Box<Instance>),
    /// Run this bench.
    Bench(Box<Up>),
    /// Play scenarios on a running bridge.
    Play(PlayArgs),
    /// Ask a running bridge.
    Ask(Ask),
    /// Run the demonstration.
    Demo,
}

impl Job {
    /// What this process runs that has to give up rights.
    fn runs(&self) -> sandbox::Runs<'_> {
        match self {
            Self::Run(config, _) => sandbox::Runs::Bridge(config),
            Self::Instance(instance) if instance.join.is_some() => sandbox::Runs::Program,
            Self::Instance(instance) => sandbox::Runs::Bridge(&instance.config),
            Self::Bench(up) => sandbox::Runs::Bridge(up.config()),
            Self::Ask(_) | Self::Play(_) | Self::Demo => sandbox::Runs::Nothing,
        }
    }
}

/// The whole program. Called before the process has a second thread, or has opened anything.
pub fn main() -> ExitCode {
    port::is_own_program();
    // This may be the process between a zbridge and a program that it starts, or the keeper of a zbridge's rights.
    launch::take_over().or_else(port::keeper::take_over).unwrap_or_else(|| {
        port::memory::settle();
        run(std::env::args_os(), perform)
    })
}

/// Runs the program with `args`, its own name first. `start` does the jobs that need the engine, returns when they are
/// over, and gives the exit status.
pub fn run<I, T>(args: I, start: impl FnOnce(Job, Verbosity) -> Result<u8>) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    complete::answer_a_shell();
    let words: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let args = match read(&words) {
        Ok(args) => args,
        Err(other) if other.kind() == ErrorKind::InvalidUtf8 => {
            complain(Label::Error, &not_text(&words));
            return ExitCode::from(Class::Usage.code());
        }
        Err(other) => {
            if let Some(error) = mistakes::explain(&other, &words) {
                complain(Label::Error, &error);
                return ExitCode::from(error.class().code());
            }
            // Help and version that were asked for are answers too: they have status 0. Nobody is left to hear of a
            // stream that cannot be written.
            let _ = other.print();
            return ExitCode::from(u8::try_from(other.exit_code()).unwrap_or(Class::Usage.code()));
        }
    };
    let outcome = answer(&args).and_then(|answer| match answer {
        Answer::Text(text) => print(text).map(|()| 0),
        Answer::Job(job) => {
            if matches!(job, Job::Instance(_)) {
                log::beside_a_program();
            }
            // All threads that are started from now on are held to it; in a test's process those of other tests, too.
            if !cfg!(test) {
                sandbox::install(&args.all_of_sandbox(), job.runs())?;
            }
            match job {
                // It holds signals back first, which has to be before there is any other thread.
                Job::Instance(_) => {}
                // What a command asks for is data, and is not to be lost.
                Job::Ask(_) => screen::start(false)?,
                _ => screen::start(true)?,
            }
            log::start(args.verbosity);
            crate::rights::summary().into_iter().for_each(|held| ::log::debug!("sandbox: {held}"));
            start(job, args.verbosity)
        }
    });
    let status = outcome.unwrap_or_else(|error| {
        complain(Label::Error, &error);
        error.class().code()
    });
    screen::finish();
    ExitCode::from(status)
}

/// The arguments of the program, whose help is as wide as a page.
fn program() -> clap::Command {
    Args::command().term_width(style::page_width(style::width_of(io::stdout())))
}

fn read(words: &[OsString]) -> std::result::Result<Args, clap::Error> {
    let mut program = program();
    let mut found = program.try_get_matches_from_mut(words)?;
    Args::from_arg_matches_mut(&mut found).map_err(|error| error.format(&mut program))
}

/// Which of the arguments is no text, where text is wanted, and the option before it.
fn not_text(words: &[OsString]) -> Error {
    let bad = words.windows(2).find(|pair| pair.last().is_some_and(|word| word.to_str().is_none()));
    let shown = bad.unwrap_or_default().iter().enumerate().filter_map(|(place, word)| {
        let is_part = place == 1 || word.as_bytes().starts_with(b"-");
        is_part.then(|| visible_bytes(word.as_bytes()))
    });
    let what = format!("{}: it is not UTF-8 text", shown.collect::<Vec<_>>().join(" "));
    Error::usage(what).hint("a port with such a path can have a link to it, whose name is text")
}

/// Does a job, until it is over. Gives the exit status: a program's own, or 0.
///
/// # Errors
/// What made it end before it should.
pub fn perform(job: Job, verbosity: Verbosity) -> Result<u8> {
    log::hear_of_panics();
    let done = do_job(job, verbosity);
    // What a thread holds that did not end is removed all the same.
    crate::port::made::remove_all();
    done
}

fn do_job(job: Job, verbosity: Verbosity) -> Result<u8> {
    match job {
        Job::Run(config, name) => return run::run(&config, name.as_deref(), verbosity.is_quiet()),
        Job::Instance(instance) => return instance::run(*instance),
        Job::Bench(up) => return up::run(&up, verbosity.is_quiet()),
        Job::Play(args) => return play::run(&args),
        Job::Ask(ask) => ask.perform()?,
        Job::Demo => demo::run()?,
    }
    Ok(0)
}

/// What a command line comes to.
#[derive(PartialEq, Eq, Debug)]
enum Answer {
    /// This goes to standard output.
    Text(Vec<u8>),
    /// This is for the engine.
    Job(Job),
}

fn answer(args: &Args) -> Result<Answer> {
    let for_a_switch = !args.ports.is_empty()
        || !args.switches.is_empty()
        || args.config.is_some()
        || args.name.is_some()
        || args.metrics.is_some()
        || !args.fates.is_empty();
    if let Some(command) = args.command.as_ref().filter(|_| !for_a_switch)
        && let Some(ask) = play::change(command)?
    {
        return Ok(Answer::Job(Job::Ask(ask)));
    }
    let text = match &args.command {
        Some(_) if for_a_switch => {
            return Err(misplaced(args));
        }
        None => return Ok(Answer::Job(Job::Run(plan(args)?, args.name.clone()))),
        Some(Command::Run(run)) => return Ok(Answer::Job(Job::Instance(Box::new(instance(run)?)))),
        Some(Command::Up(up)) => return Ok(Answer::Job(Job::Bench(Box::new(Up::load(up)?)))),
        Some(Command::Demo) => return Ok(Answer::Job(Job::Demo)),
        Some(Command::Ls { json }) => return Ok(Answer::Job(Job::Ask(Ask::List { json: *json }))),
        Some(Command::Status { bridge, json, watch, wide }) => {
            let all = args.verbosity.verbose > 0;
            let ask = Ask::Status { name: bridge.name(), json: *json, watch: *watch, wide: *wide, all };
            return Ok(Answer::Job(Job::Ask(ask)));
        }
        Some(Command::Events(args)) => return Ok(Answer::Job(Job::Ask(Ask::Events(args.clone())))),
        Some(Command::Down { bridge }) => return Ok(Answer::Job(Job::Ask(Ask::Down(bridge.name())))),
        Some(Command::Reload { bridge, json }) => {
            return Ok(Answer::Job(Job::Ask(Ask::Reload { name: bridge.name(), json: *json })));
        }
        Some(Command::Fdb { verb: None, bridge, switch, json }) => {
            let ask = Ask::Fdb { name: bridge.name(), switch: switch.clone(), json: *json };
            return Ok(Answer::Job(Job::Ask(ask)));
        }
        Some(Command::Stations { look }) => return Ok(Answer::Job(Job::Ask(Ask::Stations(look.clone())))),
        Some(Command::Trace { port, frame, file, number, to, json }) => {
            let asked = trace::Asked::new(port, frame, file.as_deref(), number.map(|number| number as usize))?;
            return Ok(Answer::Job(Job::Ask(Ask::Trace(trace::Asked { to: to.clone(), json: *json, ..asked }))));
        }
        Some(Command::Ps { bridge, json, wide }) => {
            return Ok(Answer::Job(Job::Ask(Ask::Ps { name: bridge.name(), json: *json, wide: *wide })));
        }
        Some(Command::Flows { look }) => return Ok(Answer::Job(Job::Ask(Ask::Flows(look.clone())))),
        Some(Command::Usb { verb, look }) => {
            let look = verb.as_ref().map_or(look, |UsbVerb::Ls { look }| look);
            return Ok(Answer::Job(Job::Ask(Ask::Usb(look.clone()))));
        }
        Some(Command::Top { bridge }) => return Ok(Answer::Job(Job::Ask(Ask::Top { name: bridge.name() }))),
        Some(Command::View(args)) => return Ok(Answer::Job(Job::Ask(Ask::View(args.clone())))),
        Some(Command::Graph(args)) => return Ok(Answer::Job(Job::Ask(Ask::Graph(args.clone())))),
        Some(Command::Drops { ports, to, json, watch }) => {
            let asked = drops::Asked { ports: ports.clone(), to: to.clone(), json: *json, watch: *watch };
            return Ok(Answer::Job(Job::Ask(Ask::Drops(asked))));
        }
        Some(Command::Doctor { json }) => return Ok(Answer::Job(Job::Ask(Ask::Doctor { json: *json }))),
        Some(Command::Capture(args)) => {
            return Ok(Answer::Job(Job::Ask(Ask::Capture(Box::new(args.understood()?)))));
        }
        Some(Command::Extcap(args)) => match args.answer()? {
            Extcap::Capture(asked) => return Ok(Answer::Job(Job::Ask(Ask::Capture(asked)))),
            Extcap::Lines(lines) => lines.into_bytes(),
        },
        Some(Command::Wait { words, timeout, to }) => {
            return Ok(Answer::Job(Job::Ask(Ask::wait(words, timeout, to.as_deref())?)));
        }
        Some(Command::Assert { words, to }) => {
            return Ok(Answer::Job(Job::Ask(Ask::assert(words, to.as_deref())?)));
        }
        Some(Command::Play(args)) => return Ok(Answer::Job(Job::Play(args.clone()))),
        // They were taken before.
        Some(Command::Port { .. } | Command::Set { .. } | Command::Cut { .. } | Command::Heal { .. })
        | Some(Command::Forward { .. } | Command::Dns { .. } | Command::Lease { .. } | Command::Fdb { .. })
        | Some(Command::Start(_) | Command::Stop(_) | Command::Restart(_) | Command::Kill { .. }) => Vec::new(),
        Some(Command::Ports { kind }) => {
            let stream = io::stdout();
            ports::page(kind.as_deref(), Style::of(&stream), style::width_of(&stream))?.into_bytes()
        }
        Some(Command::Help { topic }) => {
            let stream = io::stdout();
            help_on(topic.as_deref(), Style::of(&stream), style::width_of(&stream))?.into_bytes()
        }
        Some(Command::Check { file, json }) => check::check(file, *json)?,
        Some(Command::Completions { shell }) => complete::script(shell)?,
        Some(Command::Man) => man::page().map_err(|cause| Error::system("manual page", &cause))?,
    };
    Ok(Answer::Text(text))
}

/// Options of a switch are before a command.
fn misplaced(args: &Args) -> Error {
    let what = "--port, --switch, --config, --name, --metrics, --fates and --replay are for running a switch, not for a command";
    let name = args.name.as_deref().map(shell);
    let hint = match (&args.command, name) {
        (Some(Command::Run(_)), Some(name)) => format!("the bridge of a program: zbridge run --bridge {name} …"),
        (Some(Command::Run(_)), None) if args.config.is_none() => {
            "what concerns the program's bridge stands behind `run`: zbridge run --port SPEC --switch NAME …".to_owned()
        }
        (Some(Command::Up(_)), Some(name)) => format!("the bridge of a bench: zbridge up --name {name} …"),
        _ => "leave out the command, or the options".to_owned(),
    };
    Error::usage(what).hint(hint)
}

/// What the command line and its file ask for, checked.
fn plan(args: &Args) -> Result<Config> {
    let mut given = Config::default();
    for text in &args.ports {
        given.add_port(PortSpec::parse(text)?)?;
    }
    for text in &args.switches {
        given.add_switch(SwitchSpec::parse(text)?)?;
    }
    let mut config = match &args.config {
        Some(file) => load(file)?,
        None => Config::default(),
    };
    given.metrics.clone_from(&args.metrics);
    config.source = match &args.config {
        Some(file) => Some(Box::new(source(file, &given)?)),
        None => None,
    };
    config.overlay(given);
    args.fates.give(&mut config)?;
    warn(&config)?;
    if let (Some(file), false) = (&args.config, config.instances.is_empty()) {
        let names: Vec<&str> = config.instances.iter().map(|instance| instance.name.as_str()).collect();
        let what = format!("{}: what is an instance is not started: {}", file.display(), names.join(", "));
        complain(Label::Warning, &Error::usage(what).hint(format!("zbridge up {}", shell(&file.to_string_lossy()))));
    }
    Ok(config)
}

/// A file that may be read again, from wherever the process is then, with what the command line lays over it.
fn source(file: &Path, over: &Config) -> Result<Source> {
    let file = std::path::absolute(file).map_err(|cause| Error::system(file.display(), &cause))?;
    Ok(Source { file, over: over.clone() })
}

/// Reads a configuration file, and says all that is wrong with it; the last is for the caller to say.
fn load(file: &Path) -> Result<Config> {
    Config::load(file).map_err(|errors| but_the_last(errors, file))
}

/// Says all but the last of what is wrong with a file, and gives that.
fn but_the_last(mut errors: Vec<Error>, file: &Path) -> Error {
    let last = errors.pop().unwrap_or_else(|| Error::usage("wrong").at(file.display()));
    errors.iter().for_each(|error| complain(Label::Error, error));
    last
}

/// The program of `zbridge run` and the ports beside it, checked.
fn instance(args: &RunArgs) -> Result<Instance> {
    mistakes::refuse_unknown_option(&args.command)?;
    mistakes::refuse_at_odds(args)?;
    let mut config = Config::default();
    for text in &args.ports {
        config.add_port(PortSpec::parse(text)?)?;
    }
    config.metrics.clone_from(&args.metrics);
    if !config.ports.is_empty() {
        warn(&config)?;
    }
    let program = args.command.first().map(Path::new).and_then(Path::file_name);
    let name = match &args.name {
        Some(name) => value::name(name).map_err(|form| Error::usage(format!("--name {name:?}: expected {form}")))?,
        None => value::name_from(&program.unwrap_or_default().to_string_lossy()),
    };
    if args.taps.iter().any(String::is_empty) {
        let error = Error::usage("--tap: the name of a TAP is missing");
        return Err(error.hint("--tap zeth, or several, --tap zeth0,zeth1; no TAP but an address: --host 192.0.2.9/24"));
    }
    if args.join.is_none() && args.host.contains(&HostAddr::Dhcp) && !config.ports.iter().any(PortSpec::may_lease) {
        let error = Error::usage("--host dhcp: nobody is on the program's bridge who could give it an address");
        return Err(error.hint("--port nat:10.0.2.2/24 can; or join a bridge that runs, --join NAME"));
    }
    check_rules(&args.rewrite)?;
    let mut program = InstanceSpec::new(&name, args.command.clone());
    program.privileged = args.privileged;
    program.network = interfaces(args)?;
    program.network.ports_mut().for_each(|port| port.rewrite.clone_from(&args.rewrite));
    program.rename(&name);
    mistakes::refuse_stray_words(args, &program)?;
    let named = args.name.is_some();
    let switch = args.switch.as_deref().map(|switch| {
        value::name(switch).map_err(|form| Error::usage(format!("--switch {switch:?}: expected {form}")))
    });
    let switch = switch.transpose()?;
    let (join, bridge) = (args.join.clone(), args.bridge.clone());
    program.join(switch.as_deref().unwrap_or(DEFAULT_SWITCH));
    config.instances = vec![program];
    args.fates.give(&mut config)?;
    Ok(Instance { config, bridge, join, switch, named })
}

/// What the program of `zbridge run` gets; without a word of it, the TAP that Zephyr's native_sim opens.
fn interfaces(args: &RunArgs) -> Result<Network> {
    let tap = |name: &str| PortSpec::new(PortKind::Tap(Tap::new(name)));
    let host = (!args.host.is_empty()).then(|| host(args)).transpose()?;
    let host = host.map(|host| (host.clone(), Box::new(tap(&host.ifname))));
    let tuns = args.tuns.iter().map(|text| tun(text)).collect::<Result<Vec<_>>>()?;
    let mut taps: Vec<PortSpec> = args.taps.iter().map(|name| tap(name)).collect();
    if host.is_none() && taps.is_empty() && tuns.is_empty() {
        taps.push(tap(DEFAULT_TAP));
    }
    Ok(Network::Interfaces { taps, tuns, host })
}

/// A TUN of `zbridge run --tun=NAME[,key=value]…`, and who is behind it.
fn tun(text: &str) -> Result<PortSpec> {
    let place = format!("--tun={text}");
    let port = PortSpec::parse(&format!("packet:{text},mode=ip")).map_err(|error| error.at(&place))?;
    let is_plain = if let PortKind::Packet(packet) = &port.kind {
        let kind = PortKind::Packet(Packet { ip: packet.ip.clone(), ..Packet::new(&packet.ifname) });
        PortSpec::new(kind) == port
    } else {
        false
    };
    is_plain.then_some(port).ok_or_else(|| {
        Error::usage(format!("{place}: only ip=, gateway= and mac= may stand behind the name"))
            .hint("what concerns the port are options: --name, --switch, --rewrite")
    })
}

/// The interface of `zbridge run --host`.
fn host(args: &RunArgs) -> Result<Host> {
    let asks = args.host.contains(&HostAddr::Dhcp);
    if asks && !args.gateway.is_empty() {
        return Err(Error::usage("--gateway means nothing with --host dhcp: the lease says it"));
    }
    Ok(Host {
        addrs: args.host.iter().filter_map(|host| host.cidr()).collect(),
        ifname: args.iface.clone(),
        gateways: args.gateway.clone(),
        dns: args.dns.clone(),
        mtu: args.mtu,
        dhcp: asks,
    })
}

/// A topic of the guide, or else the help of the command of this name.
fn help_on(word: Option<&str>, style: Style, width: Option<usize>) -> Result<String> {
    let topic = topics::help(word, style, width);
    let mut program = program();
    // So that its commands know the program's name and how wide a page is.
    program.build();
    match (&topic, word.and_then(|word| program.find_subcommand_mut(word))) {
        (Err(_), Some(command)) => Ok(command.render_long_help().to_string()),
        (Ok(topic), Some(command)) => {
            let name = command.get_name();
            Ok(format!("{topic}\n`zbridge {name} --help` has the options of the command, and what its columns are.\n"))
        }
        _ => topic,
    }
}

/// Checks a configuration and says what is odd about it.
fn warn(config: &Config) -> Result<()> {
    for warning in config.check()? {
        complain(Label::Warning, &warning);
    }
    Ok(())
}

/// Checks what the programs of a bench need, and says what is odd about it.
fn warn_of_programs(config: &Config) -> Result<()> {
    for warning in config.check_programs()? {
        complain(Label::Warning, &warning);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
