//! The process that starts the program and stays beside it: PID 1 of its PID namespace.
//!
//! It sleeps until a child ends or the caller speaks. When the program has ended, the init kills the processes that it
//! left, waits until its data is acknowledged, reports its status, and ends; with it ends all that is left in its
//! namespace. Without a PID namespace it is the reaper of all orphans below it (a subreaper).

use super::adopt::Adopter;
use super::dhcp::Dhcp;
use super::stage::Held;
use super::talk::{self, Fault, Order, Report};
use super::{Host, drain, program};
use crate::error::Class;
use crate::port::process::{Signals, hold_none, kill_others, send_signal};
use crate::rights::Mode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, set_parent_process_death_signal, wait,
};
use rustix::thread::{
    CapabilitySet, capabilities, configure_capability_in_ambient_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

/// Capabilities of a program in its own network namespace:
const RIGHTS: [CapabilitySet; 3] = [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW, CapabilitySet::NET_BIND_SERVICE];

/// Processes reaped before the caller's messages are read again: some programs start and end them all the time.
const REAPED: usize = 256;

/// How a program is to be started.
pub struct Start {
    /// This is PID 1 of a namespace.
    pub pids: bool,
    /// The network is the program's alone.
    pub own_network: bool,
    /// Its name for DHCP servers.
    pub name: String,
    /// An interface that needs an address first.
    pub host: Option<Host>,
    /// Takes over the TAPs that the program makes.
    pub adopter: Option<Adopter>,
    /// It keeps all rights.
    pub privileged: bool,
    /// How the DHCP thread is confined.
    pub sandbox: Mode,
}

/// Runs `command` to its end, and gives its exit status. `early`: signals that it has missed.
pub fn run(socket: &OwnedFd, held: &Held, mut early: Vec<i32>, command: &[OsString], how: Start) -> u8 {
    let Start { pids, own_network, name, host, adopter, privileged, sandbox } = how;
    let addressed = prepare(socket, pids)
        .and_then(|()| wait_for_ports(socket))
        .and_then(|()| host.map(|host| ask((&name, host), sandbox, socket, held)).transpose());
    early.extend(held.early());
    match addressed.and_then(|dhcp| Ok((start(command, privileged)?, dhcp))) {
        Ok((program, dhcp)) => {
            // A program that has ended already needs no signal.
            for number in early {
                let _ = send_signal(program, number);
            }
            // The caller may be gone: then the first look at the socket tells.
            let _ = talk::send(socket, &Report::Running, &[]);
            let status = attend(socket, &held.children, program, (dhcp, adopter));
            if !pids || own_network {
                end_all();
            }
            if own_network {
                drain::wait(socket);
            }
            let _ = talk::send(socket, &Report::Ended(status.into_raw()), &[]);
            super::child::exit_code(status)
        }
        Err(report) => {
            let _ = talk::send(socket, &report, &[]);
            Class::Runtime.code()
        }
    }
}

fn failed(errno: Errno) -> Report {
    let error = crate::error::Error::system("cannot start the instance", &errno.into());
    Report::Failed(Fault::new(&error, error.class().code()))
}

/// Makes this process the reaper of all that the program starts, and has it killed with its parent.
fn prepare(socket: &OwnedFd, pids: bool) -> Result<(), Report> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed)?;
    // A caller that died before this sends no signal any more. getppid(2) would not tell: it gives 0 in a PID
    // namespace. But the caller's end of the socket is closed then.
    let mut caller = [PollFd::new(socket, PollFlags::empty())];
    let hung_up = poll(&mut caller, Some(&Timespec::default())).map_err(failed)? > 0;
    if hung_up {
        return Err(failed(Errno::PIPE));
    }
    if pids {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", "/proc", "proc", flags, None).map_err(|_| Report::NoProc)?;
    } else {
        set_child_subreaper(Some(getpid())).map_err(failed)?;
    }
    Ok(())
}

fn refused(error: crate::error::Error) -> Report {
    Report::Failed(Fault::new(&error, error.class().code()))
}

/// Waits until the interfaces are ports, so that the program's first frames reach others, and it finds its ports when
/// it asks the bridge for them.
fn wait_for_ports(socket: &OwnedFd) -> Result<(), Report> {
    talk::send(socket, &Report::Waiting, &[]).map_err(refused)?;
    // Any other message, or none, ends it: the caller is gone, or could not make the ports.
    let attached = matches!(talk::receive(socket), Ok(Some((Order::Attached, _))));
    attached.then_some(()).ok_or_else(|| refused(super::dhcp::interrupted()))
}

/// Asks the network for an address.
fn ask(who: (&str, Host), sandbox: Mode, socket: &OwnedFd, held: &Held) -> Result<Dhcp, Report> {
    let dhcp = Dhcp::acquire(who, sandbox, socket, held).map_err(refused)?;
    if let Err(error) = dhcp.resolve() {
        // The caller may be gone: then the first look at the socket tells.
        let _ = talk::send(socket, &Report::Warning(Fault::new(&error, error.class().code())), &[]);
    }
    Ok(dhcp)
}

/// Starts the program. Returns its process id in this PID namespace.
fn start(command: &[OsString], privileged: bool) -> Result<Pid, Report> {
    keep_rights();
    if !privileged {
        give_up_rights().map_err(failed)?;
    }
    let Some((program, arguments)) = command.split_first() else { return Err(failed(Errno::INVAL)) };
    let mut ready = Command::new(program);
    hold_none(ready.args(arguments));
    let started = ready.spawn().map_err(|cause| {
        let refused = program::refused(program, &cause);
        Report::Failed(Fault::new(&refused.error, refused.status))
    })?;
    Pid::from_raw(started.id().cast_signed()).ok_or_else(|| failed(Errno::CHILD))
}

/// Lets the program keep its capabilities in the network namespace (ambient set): without user id 0 it would lose them
/// at exec (capabilities(7)). They are worth nothing outside.
fn keep_rights() {
    let Ok(mut sets) = capabilities(None) else { return };
    for right in RIGHTS.into_iter().filter(|right| sets.permitted.contains(*right)) {
        sets.inheritable |= right;
    }
    if set_capabilities(None, sets).is_err() {
        return;
    }
    for right in RIGHTS {
        // A capability that this process lacks cannot be passed on.
        let _ = configure_capability_in_ambient_set(right, true);
    }
}

/// Limits the program, and what it starts, to these capabilities: root could regain all of the bounding set at exec,
/// others those of a set-uid program or of file capabilities (capabilities(7), `PR_SET_NO_NEW_PRIVS`).
fn give_up_rights() -> Result<(), Errno> {
    let kept = RIGHTS.into_iter().fold(CapabilitySet::empty(), |all, right| all | right);
    if capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        for right in CapabilitySet::all().difference(kept).iter() {
            // A capability unknown to this kernel cannot be gained.
            let _ = remove_capability_from_bounding_set(right);
        }
    }
    let mut sets = capabilities(None)?;
    sets.inheritable &= kept;
    set_capabilities(None, sets)?;
    set_no_new_privs(true)
}

/// Waits for the end of `program`, and kills it when the caller is gone. Meanwhile it renews the address, and takes
/// over the TAPs that the program makes.
fn attend(
    socket: &OwnedFd,
    signals: &Signals,
    program: Pid,
    (mut dhcp, mut adopter): (Option<Dhcp>, Option<Adopter>),
) -> ExitStatus {
    let mut caller = true;
    loop {
        while signals.next().is_some() {}
        let mut may_end = REAPED;
        while may_end > 0
            && let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG)
        {
            if pid == program {
                return ExitStatus::from_raw(status.as_raw());
            }
            may_end -= 1;
        }
        // A failure is tried again when it is due next; nobody could be told.
        let _ = dhcp.as_mut().map(Dhcp::work);
        let timeout = (may_end == 0).then(Timespec::default);
        for (ifname, kind, fd) in adopter.as_mut().map(Adopter::look).unwrap_or_default() {
            // The caller may be gone: then the next look at the socket tells.
            let _ = talk::send(socket, &Report::Interface(ifname, kind), &[fd.as_fd()]);
        }
        let mut asked = vec![PollFd::new(signals, PollFlags::IN)];
        asked.extend(adopter.as_ref().map(|adopter| PollFd::new(adopter, PollFlags::IN)));
        asked.extend(dhcp.as_ref().and_then(Dhcp::fd).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        if caller {
            asked.push(PollFd::new(socket, PollFlags::IN));
        }
        if poll(&mut asked, timeout.as_ref()).is_err() {
            continue;
        }
        if caller && asked.last().is_some_and(|socket| !socket.revents().is_empty()) {
            match talk::receive(socket) {
                // A program that has just ended needs no signal.
                Ok(Some((Order::Signal(number), _))) => drop(send_signal(program, number)),
                Ok(Some((Order::Attached | Order::Start(_), _))) => {}
                Ok(None) | Err(_) => {
                    caller = false;
                    let _ = kill_process(program, Signal::KILL);
                }
            }
        }
    }
}

/// Kills all processes below this one; their orphans become its children, and are killed too. In a PID namespace none
/// escapes by forking; elsewhere they are killed faster than they fork.
fn end_all() {
    loop {
        if kill_others().is_err() {
            let mine = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
            let pids = mine.split_ascii_whitespace().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw));
            for pid in pids {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        for _ in 0..REAPED {
            if !matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {
                break;
            }
        }
    }
}
