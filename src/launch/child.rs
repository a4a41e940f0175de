//! The caller's side of a started program.

use super::talk::{self, Order, Plan, Report};
use super::{InterfaceEnd, Interfaces, Launched, Namespace, NotStarted, Output, Spec, Watch, stage};
use crate::config::IpPeer;
use crate::error::{Class, Error};
use crate::port::descriptors;
use crate::port::process::keep_open;
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Why [`begin`] failed.
pub enum Failed {
    /// It may work without a PID namespace.
    NoProc,
    /// It never will.
    Because(NotStarted),
}

impl<T: Into<NotStarted>> From<T> for Failed {
    fn from(failed: T) -> Self {
        Self::Because(failed.into())
    }
}

/// A program that was started, and all that it starts. Killed on drop.
#[derive(Debug)]
pub struct Child {
    socket: OwnedFd,
    stage: Mutex<std::process::Child>,
    /// Its interfaces are ports, and it has not reported since.
    starts: AtomicBool,
    /// Interfaces that it has made while running.
    links: (Sender<InterfaceEnd>, Receiver<InterfaceEnd>),
    ended: Mutex<Option<ExitStatus>>,
}

impl Child {
    /// Waits until the program runs. It does at once unless it needs an address from the network first.
    ///
    /// # Errors
    /// No answer from a DHCP server; no such program; ended meanwhile.
    pub fn wait_start(&self) -> Result<(), NotStarted> {
        if !self.starts.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        match next(self) {
            Ok((Report::Running, _)) => Ok(()),
            Err(Failed::Because(failed)) => Err(failed),
            Ok(_) | Err(Failed::NoProc) => Err(ended_early().into()),
        }
    }

    /// Waits until the program has ended, and nothing that it started is left.
    pub fn wait(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.wait_a_while(None) {
                return status;
            }
        }
    }

    /// The same, for `at_most` that long, or until a new interface comes ([`Child::links`]); `None`: it still runs.
    pub fn wait_a_while(&self, at_most: Option<Duration>) -> Option<ExitStatus> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return *ended;
        }
        let timeout = at_most.and_then(|time| Timespec::try_from(time).ok());
        let mut asked = [PollFd::new(&self.socket, PollFlags::IN)];
        if matches!(poll(&mut asked, timeout.as_ref()), Ok(0) | Err(Errno::INTR)) {
            return None;
        }
        let told = match talk::receive(&self.socket) {
            Ok(Some((Report::Ended(status), _))) => Some(ExitStatus::from_raw(status)),
            Ok(Some((Report::Interface(ifname, kind), mut fds))) => {
                // `self` holds the receiver, so this cannot fail.
                let _ =
                    fds.pop().map(|fd| self.links.0.send(InterfaceEnd { ifname, kind, peer: IpPeer::default(), fd }));
                return None;
            }
            Ok(Some(_)) => return None,
            Ok(None) | Err(_) => None,
        };
        // The stage outlives the init, which outlives the program.
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = stage.wait().unwrap_or_else(|_| ExitStatus::from_raw(libc::SIGKILL));
        *ended = Some(told.unwrap_or(stage));
        *ended
    }

    /// Interfaces that the program has made itself, as they come. They come only while a thread waits for its end.
    pub fn links(&self) -> &Receiver<InterfaceEnd> {
        &self.links.1
    }

    /// Sends the program a signal; one that has ended needs none.
    pub fn signal(&self, number: i32) {
        let _ = talk::send(&self.socket, &Order::Signal(number), &[]);
    }

    /// The program's process, as this process's /proc numbers it. It is the first child of its init, which is that of the
    /// stage.
    pub fn program(&self) -> Option<u32> {
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner).id();
        first_child(first_child(stage)?)
    }

    /// Ends the program and all that it started, at once (SIGKILL).
    pub fn kill(&self) {
        // The init ends when the socket does, and its namespace with it. An init that has ended needs no signal.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }
}

/// The oldest child of a process, where the kernel tells (proc_pid_task(5), CONFIG_PROC_CHILDREN).
fn first_child(of: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

/// Readable when the program has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// The exit status that tells how a program ended: its own, or 128 and the signal's number.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Class::Runtime.code())
}

/// Starts a program, with a PID namespace or without. It may still ask for its address: [`Child::wait_start`].
pub fn begin(
    spec: &Spec,
    pids: bool,
    attach: &mut dyn FnMut(Vec<InterfaceEnd>) -> Result<(), Error>,
) -> Result<Launched, Failed> {
    let cannot = |cause: std::io::Error| Error::system(format_args!("cannot start {}", spec.name), &cause);
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (socket, theirs) = pair.map_err(|errno| cannot(errno.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(stage::NAME).arg(stage::ARGUMENT).arg(theirs.as_raw_fd().to_string()).args(&spec.command);
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &spec.cwd {
        command.current_dir(folder);
    }
    if spec.output == Output::Piped {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    }
    keep_open(&mut command, theirs);
    descriptors::restore(&mut command);
    let mut stage = command.spawn().map_err(cannot)?;
    drop(command);
    let (stdout, stderr) = (stage.stdout.take(), stage.stderr.take());
    let (stage, starts, ended) = (Mutex::new(stage), AtomicBool::new(true), Mutex::new(None));
    let child = Child { socket, stage, starts, links: unbounded(), ended };
    talk::send(&child.socket, &Order::Start(Box::new(Plan::new(spec, pids))), &[])?;
    let (links, watch) = made(spec, &child)?;
    let (Report::Waiting, _) = next(&child)? else { return Err(ended_early().into()) };
    attach(links)?;
    // An init that has ended meanwhile need not be told.
    let _ = talk::send(&child.socket, &Order::Attached, &[]);
    if !spec.asks_for_address() {
        child.wait_start()?;
    }
    Ok(Launched { child, watch, stdout, stderr })
}

/// Waits for the network of a program.
fn made(spec: &Spec, child: &Child) -> Result<(Vec<InterfaceEnd>, Watch), Failed> {
    let (Report::Ready(links), mut fds) = next(child)? else { return Err(ended_early().into()) };
    let Some(netlink) = fds.pop().filter(|_| fds.len() == links.len()) else { return Err(ended_early().into()) };
    let tuns = match &spec.namespace {
        Namespace::Own(Interfaces { tuns, .. }) => tuns.as_slice(),
        Namespace::Shared => &[],
    };
    let peer = |name: &str| tuns.iter().find(|(tun, _)| tun == name).map(|(_, peer)| peer.clone());
    let link = |((ifname, kind), fd): ((String, _), _)| {
        let peer = peer(&ifname).unwrap_or_default();
        InterfaceEnd { ifname, kind, peer, fd }
    };
    let links = links.into_iter().zip(fds).map(link);
    Ok((links.collect(), Watch::new(spec, netlink)))
}

/// The next message of the instance; an error if that is a failure.
fn next(child: &Child) -> Result<(Report, Vec<OwnedFd>), Failed> {
    loop {
        return match talk::receive(&child.socket) {
            Ok(Some((Report::Warning(fault), _))) => {
                log::warn!("{}", fault.error());
                continue;
            }
            Ok(Some((Report::Failed(fault), _))) => {
                Err(Failed::Because(NotStarted { error: fault.error(), status: fault.status }))
            }
            Ok(Some((Report::NoProc, _))) => Err(Failed::NoProc),
            Ok(Some(report)) => Ok(report),
            Ok(None) | Err(_) => Err(ended_early().into()),
        };
    }
}

fn ended_early() -> Error {
    Error::new(Class::Runtime, "the instance was ended before its program ran")
}
