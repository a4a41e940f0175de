//! `zbridge run`: one program on a switch. Its terminal, its signals and its exit status are as if it ran alone.
//!
//! What zbridge itself has to say goes to standard error with `zbridge: ` before it, and is little: the terminal is the
//! program's.

use super::joined;
use super::show;
use super::style::Label;
use super::{complain, log, screen, stop};
use crate::config::{Config, DEFAULT_SWITCH, PortSpec, value};
use crate::engine::control::Client;
use crate::engine::{Bridge, Ended};
use crate::error::{Class, Error, Result};
use crate::launch::{self, Child, Launched, Link, NotStarted, Watch};
use crate::port::process::{Arrived, Signals, own_group};
use crate::rights;
use crate::wire::{Mac, Rule};
use crossbeam_channel::{Receiver, Sender, never, select, tick, unbounded};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTOU, SIGUSR1, SIGUSR2};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::Builder;

/// What is passed on to the program. SIGTTOU is held back for itself: the terminal may be another's in the end.
const PASSED: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGTTOU];

/// How often another name is tried for a program when others of its name start at the same time.
const RENAMED: usize = 16;

/// A program and the ports beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// The program.
    pub spec: launch::Spec,
    /// The ports of a bridge of its own; there may be none.
    pub config: Config,
    /// The running bridge to join instead.
    pub join: Option<String>,
    /// What is translated at the program's ports.
    pub rewrite: Vec<Rule>,
    /// It was given its name, and gets no other where that is taken.
    pub named: bool,
}

impl Instance {
    /// What the ports of its interfaces are called.
    fn port_names(spec: &launch::Spec) -> Vec<String> {
        match &spec.network {
            launch::Network::Taps(taps) if taps.len() > 1 => {
                taps.iter().map(|tap| port_name(&spec.name, Some(tap))).collect()
            }
            _ => vec![port_name(&spec.name, None)],
        }
    }

    /// The program as it is to be started where ports of these names are there already: one without a given name is
    /// `zephyr.exe`, while that is taken `zephyr.exe-2`, `zephyr.exe-3` … What is made of its name goes along.
    fn among(&self, taken: &[String]) -> launch::Spec {
        let mut spec = self.spec.clone();
        let mut number = 1;
        while !self.named && Self::port_names(&spec).iter().any(|name| taken.contains(name)) {
            number += 1;
            spec.name = value::numbered(&self.spec.name, number);
            if let launch::Network::Host(host) = &mut spec.network
                && host.dhcp.is_some()
            {
                host.mac = Some(Mac::made_of(&spec.name));
                host.dhcp = Some(spec.name.clone());
            }
        }
        spec
    }
}

/// `NAME`, and `NAME-IFNAME` for one of several interfaces.
fn port_name(name: &str, of_several: Option<&str>) -> String {
    of_several.map_or_else(|| name.to_owned(), |ifname| format!("{name}-{ifname}"))
}

/// What the program is attached to.
enum Network {
    /// A bridge in this process.
    Own(Bridge),
    /// Another process's. The program's ports go when this connection does.
    Joined(Client),
}

/// Where the end of a network is told of.
struct Ending {
    /// A switch of this process has ended.
    switch: Receiver<Ended>,
    /// The bridge of this name, that was joined, has ended.
    joined: Receiver<String>,
}

impl Network {
    fn reach(instance: &Instance) -> Result<Self> {
        match &instance.join {
            Some(name) => Client::connect(name).map(Self::Joined),
            None if instance.config.ports.is_empty() => rights::apart(Bridge::empty).map(Self::Own),
            None => rights::apart(|| Bridge::start(&instance.config)).map(Self::Own),
        }
    }

    /// The switch that the program joins: the only one, or the default among several.
    fn switch(&mut self) -> Result<String> {
        let names: Vec<String> = match self {
            Self::Own(bridge) => bridge.handles().iter().map(|handle| handle.name().to_owned()).collect(),
            Self::Joined(client) => client.status()?.switches.into_iter().map(|switch| switch.name).collect(),
        };
        match names.as_slice() {
            [only] => Ok(only.clone()),
            several if several.iter().any(|name| name == DEFAULT_SWITCH) => Ok(DEFAULT_SWITCH.to_owned()),
            several => Err(Error::usage(format!("the program joins the switch {DEFAULT_SWITCH}, and there is none"))
                .hint(format!("there is {}", several.join(", ")))),
        }
    }

    /// The names of all its ports.
    fn taken(&mut self) -> Result<Vec<String>> {
        Ok(match self {
            Self::Own(bridge) => bridge.status()?.into_iter().flat_map(|it| it.ports).map(|port| port.name).collect(),
            Self::Joined(client) => {
                client.status()?.switches.into_iter().flat_map(|it| it.ports).map(|port| port.name).collect()
            }
        })
    }

    fn add(&mut self, port: PortSpec, fd: OwnedFd) -> Result<()> {
        match self {
            Self::Own(bridge) => bridge.adopt_port(port, fd),
            Self::Joined(client) => client.add_port_with_fd(&port.canonical(), fd.as_fd()).map(drop),
        }
    }

    /// Where the end of it is told of.
    fn ended(&self) -> Result<Ending> {
        let (switch, joined) = match self {
            Self::Own(bridge) => (bridge.ended().clone(), never()),
            Self::Joined(client) => {
                let (told, joined) = unbounded();
                joined::on_end(client, move |name| told.send(name.to_owned()).unwrap_or_default())?;
                (never(), joined)
            }
        };
        Ok(Ending { switch, joined })
    }

    /// Leaves it. Gives what its ports had counted, and what of it had failed.
    fn leave(self) -> (String, Option<Error>) {
        match self {
            Self::Own(bridge) => {
                let (last, failure) = bridge.finish();
                (show::counters(&last), failure)
            }
            Self::Joined(_) => (String::new(), None),
        }
    }
}

/// Runs the program to its end. Gives its exit status.
///
/// # Errors
/// A port that cannot be opened, a network that cannot be made; a switch that ended by itself.
pub fn run(instance: &Instance) -> Result<u8> {
    let signals = Signals::hold(&PASSED).map_err(|errno| Error::system("signals", &errno.into()))?;
    screen::start(false)?;
    let terminal = Terminal::of_this_job();
    let mut network = Network::reach(instance)?;
    let switch = network.switch()?;
    let Launched { child, watch, .. } = match start(&mut network, &switch, instance)? {
        Ok(launched) => launched,
        Err(failed) => {
            drop(network);
            complain(Label::Error, &failed.error);
            return Ok(failed.status);
        }
    };
    let ended =
        network.ended().and_then(|ending| attend(&ending, &switch, child, watch, signals)).map(launch::exit_code);
    drop(terminal);
    // From here on nobody is waited for but zbridge itself.
    stop::leave_within(stop::ORDERLY, ended.as_ref().copied().unwrap_or(Class::Fault.code()));
    let (counted, failure) = network.leave();
    let status = ended?;
    log::say(&counted);
    match failure {
        // The program's own status says more.
        Some(failure) if status == 0 => Err(failure),
        _ => Ok(status),
    }
}

/// Starts the program, under another name if another one of its name comes in between.
fn start(network: &mut Network, switch: &str, instance: &Instance) -> Result<Result<Launched, NotStarted>> {
    for _ in 0..RENAMED {
        let spec = instance.among(&network.taken()?);
        let mut clash = false;
        let attach = |links| attach(network, switch, (instance, &spec.name), links, &mut clash);
        let started = launch::start(&spec, attach);
        if !clash || instance.named {
            return Ok(started);
        }
    }
    Err(Error::new(Class::Runtime, format!("others take the name of {} again and again", instance.spec.name))
        .hint("give it a --name NAME"))
}

/// Makes ports of the program's interfaces: one is called as the program, several with their names behind that. Says
/// whether one could not be because of its name.
fn attach(
    network: &mut Network,
    switch: &str,
    (instance, name): (&Instance, &str),
    links: Vec<Link>,
    clash: &mut bool,
) -> Result<()> {
    let several = links.len() > 1;
    for link in links {
        let name = port_name(name, several.then_some(link.ifname.as_str()));
        let mut port = link.port(&name);
        switch.clone_into(&mut port.switch);
        port.rewrite.clone_from(&instance.rewrite);
        let taken = network.taken()?.contains(&name);
        network.add(port, link.fd).map_err(|error| {
            *clash = taken;
            if taken { Error::usage(error.what()).hint("give this one a --name NAME") } else { error }
        })?;
    }
    Ok(())
}

/// Passes signals on and looks after the TAPs until the program has ended.
///
/// # Errors
/// The program's own `switch` has ended by itself.
fn attend(ending: &Ending, switch: &str, child: Child, mut watch: Watch, signals: Signals) -> Result<ExitStatus> {
    let child = Arc::new(child);
    let ended = in_thread("zb-child", {
        let child = child.clone();
        move |told: Sender<ExitStatus>| told.send(child.wait()).unwrap_or_default()
    })?;
    let arrived = in_thread("zb-signals", move |told| tell_signals(&signals, &told))?;
    let looks = tick(Watch::INTERVAL);
    let mut joined = ending.joined.clone();
    loop {
        let look = if watch.is_over() { &never() } else { &looks };
        select! {
            recv(ended) -> status => {
                return status.map_err(|_| Error::new(Class::Runtime, "the thread of the program has ended"));
            }
            recv(arrived) -> signal => signal.into_iter().for_each(|signal| pass_on(&child, signal)),
            recv(look) -> _ => watch.look().into_iter().for_each(|error| ::log::warn!("{error}")),
            recv(joined) -> name => {
                joined = never();
                let name = name.unwrap_or_default();
                ::log::warn!(
                    "bridge {name} has ended; the program goes on without its network\n  hint: start it again once the \
                     bridge runs again: zbridge run --join {name} …"
                );
            }
            recv(ending.switch) -> ended => {
                // What the program is not on may end without it.
                if let Some(ended) = ended.ok().filter(|ended| ended.port.is_none() && ended.switch == switch) {
                    child.kill();
                    let what = format!("the switch of the program has ended: {}", ended.why.what());
                    return Err(Error::new(ended.why.class(), what));
                }
            }
        }
    }
}

fn in_thread<T: Send + 'static>(name: &str, work: impl FnOnce(Sender<T>) + Send + 'static) -> Result<Receiver<T>> {
    let (sender, receiver) = unbounded();
    let started = Builder::new().name(name.into()).spawn(move || work(sender));
    started.map_err(|error| Error::system("cannot start a thread", &error))?;
    Ok(receiver)
}

/// Tells of every signal, for as long as anybody listens.
fn tell_signals(signals: &Signals, told: &Sender<Arrived>) {
    loop {
        // It fails for want of memory only, and then the signal is still there.
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(signal) = signals.next() {
            if told.send(signal).is_err() {
                return;
            }
        }
    }
}

/// What a key at the terminal has sent, the program has got too: it is in the same process group.
fn pass_on(child: &Child, signal: Arrived) {
    if !signal.from_kernel && signal.number != SIGTTOU {
        child.signal(signal.number);
    }
}

/// The terminal of a job, if the job had it at the start, which takes it back on drop. A shell that the program was takes it, and cannot
/// give it back to a process group outside of its PID namespace.
struct Terminal(Option<(File, Pid)>);

impl Terminal {
    fn of_this_job() -> Self {
        let Some(ours) = own_group() else { return Self(None) };
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Self(terminal.filter(|terminal| tcgetpgrp(terminal) == Ok(ours)).map(|terminal| (terminal, ours)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Self(Some((terminal, ours))) = self {
            // A terminal that is gone needs no owner.
            let _ = tcsetpgrp(terminal, *ours);
        }
    }
}
