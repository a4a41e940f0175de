//! `zbridge run`: one program on a switch. Its terminal, its signals and its exit status are as if it ran alone.
//!
//! What zbridge itself has to say goes to standard error with `zbridge: ` before it, and is little: the terminal is the
//! program's.

mod network;

use super::style::Label;
use super::{complain, log, screen, stop};
use crate::config::{Config, value};
use crate::error::{Class, Error, Result};
use crate::launch::{self, Child, Launched, Link, NotStarted, Watch};
use crate::port::process::{Arrived, Signals, own_group};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crate::wire::Rule;
use crossbeam_channel::{Receiver, Sender, never, select, tick, unbounded};
use network::{Ending, Network};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTOU, SIGUSR1, SIGUSR2};
use std::fs::File;
use std::process::ExitStatus;
use std::sync::Arc;

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
    /// The name of that bridge; `None`: `default`, or one like it.
    pub bridge: Option<String>,
    /// The running bridge to join instead.
    pub join: Option<String>,
    /// The switch of it that the program joins; `None`: the only one, or the default one.
    pub switch: Option<String>,
    /// What is translated at the program's ports.
    pub rewrite: Vec<Rule>,
    /// It was given its name, and gets no other where that is taken.
    pub named: bool,
}

impl Instance {
    /// What the ports of its interfaces are called.
    fn port_names(spec: &launch::Spec) -> Vec<String> {
        let launch::Network::Own(interfaces) = &spec.network else { return Vec::new() };
        let all: Vec<&str> = interfaces.names().collect();
        all.iter().map(|ifname| port_name(&spec.name, (all.len() > 1).then_some(ifname))).collect()
    }

    /// The program as it is to be started on `bridge`, where ports of these names are there already: one without a given
    /// name is `zephyr.exe`, while that is taken `zephyr.exe-2`, `zephyr.exe-3` …
    fn among(&self, bridge: &str, taken: &[String]) -> launch::Spec {
        let mut spec = self.spec.clone();
        let mut number = 1;
        while !self.named && Self::port_names(&spec).iter().any(|name| taken.contains(name)) {
            number += 1;
            spec.name = value::numbered(&self.spec.name, number);
        }
        spec.identity = format!("{bridge}/{}", spec.name);
        spec
    }
}

/// `NAME`, and `NAME.IFNAME` for one of several interfaces.
fn port_name(name: &str, of_several: Option<&str>) -> String {
    of_several.map_or_else(|| name.to_owned(), |ifname| format!("{name}.{ifname}"))
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
    let switch = network.switch(instance.switch.as_deref())?;
    network.tell(&switch);
    let mut name = instance.spec.name.clone();
    let Launched { child, watch, .. } = match start(&mut network, &switch, instance, &mut name)? {
        Ok(launched) => launched,
        Err(failed) => {
            drop(network);
            complain(Label::Error, &failed.error);
            return Ok(failed.status);
        }
    };
    let ended = network.ended().and_then(|ending| {
        let late = |link| attach_late(&mut network, &switch, (instance, &name), link);
        attend(&ending, &switch, (child, watch), signals, late)
    });
    let ended = ended.map(launch::exit_code);
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
/// `name` becomes what it is called then.
fn start(
    network: &mut Network,
    switch: &str,
    instance: &Instance,
    name: &mut String,
) -> Result<Result<Launched, NotStarted>> {
    for _ in 0..RENAMED {
        let taken = network.taken()?;
        let spec = instance.among(network.name(), &taken);
        name.clone_from(&spec.name);
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

/// Makes a port of an interface that the program has made itself: called as the program, with its name behind that.
fn attach_late(network: &mut Network, switch: &str, (instance, name): (&Instance, &str), link: Link) {
    let name = port_name(name, Some(&link.ifname));
    let mut port = link.port(&name);
    switch.clone_into(&mut port.switch);
    port.rewrite.clone_from(&instance.rewrite);
    if let Err(error) = network.add(port, link.fd) {
        ::log::warn!("{}", error.at(name));
    }
}

/// Passes signals on and looks after the TAPs until the program has ended. `late` makes ports of those that it makes.
///
/// # Errors
/// The program's own `switch` has ended by itself.
fn attend(
    ending: &Ending,
    switch: &str,
    (child, mut watch): (Child, Watch),
    signals: Signals,
    mut late: impl FnMut(Link),
) -> Result<ExitStatus> {
    let child = Arc::new(child);
    let ended = in_thread("zb-child", &CHILD, {
        let child = child.clone();
        move |told: Sender<ExitStatus>| told.send(child.wait()).unwrap_or_default()
    })?;
    let arrived = in_thread("zb-signals", &SIGNALS, move |told| tell_signals(&signals, &told))?;
    let looks = tick(Watch::INTERVAL);
    let mut joined = ending.joined.clone();
    loop {
        let look = if watch.is_over() { &never() } else { &looks };
        select! {
            recv(ended) -> status => {
                return status.map_err(|_| Error::new(Class::Runtime, "the thread of the program has ended"));
            }
            recv(child.links()) -> link => link.into_iter().for_each(&mut late),
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

/// It hears of the program's interfaces and its end.
static CHILD: Role = Role::new("child", &[BASE, SOCKETS, &["wait4", "waitid"]]);
/// It tells of signals.
static SIGNALS: Role = Role::new("signals", &[BASE]);

fn in_thread<T: Send + 'static>(
    name: &str,
    role: &'static Role,
    work: impl FnOnce(Sender<T>) + Send + 'static,
) -> Result<Receiver<T>> {
    let (sender, receiver) = unbounded();
    let started = rights::spawn(name, role, move || work(sender));
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

/// The terminal of a job, if the job had it at the start, which takes it back on drop. A shell that the program was takes
/// it, and cannot give it back to a process group outside of its PID namespace.
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
