//! The process that makes namespaces and network, and then waits. See the head of `launch`.
//!
//! It has one thread from its start: [`take_over`] comes before anything else. It blocks every signal, as those of the
//! terminal are for the program, whose process group it shares.

use super::init::{self, Start};
use super::talk::{self, Fault, Order, Plan, Report};
use super::{NotStarted, explain, network};
use crate::error::{Class, Error, Result};
use crate::port::process::{Signals, UnshareFlags, fork, unshare};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{WaitOptions, getegid, geteuid, waitpid};
use rustix::thread::{CapabilitySet, capabilities};
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

/// The name of the process, and the argument by which it recognises its role.
pub const NAME: &str = "zbridge";
/// See [`NAME`].
pub const ARGUMENT: &str = "__instance";

/// Becomes the process between a caller of [`super::start`] and its program, if this process was started for that;
/// gives its exit status when it is over. Must be called before the process has a second thread.
pub fn take_over() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|word| word != ARGUMENT) {
        return None;
    }
    let number = args.next().and_then(|number| number.to_str()?.parse().ok());
    let Some(Ok(socket)) = number.map(crate::port::inherited) else {
        return Some(ExitCode::from(Class::Usage.code()));
    };
    let command: Vec<OsString> = args.collect();
    Some(ExitCode::from(run(socket, &command).unwrap_or(Class::Runtime.code())))
}

/// Runs stage and init. Fails only when nobody is left to hear why.
fn run(socket: OwnedFd, command: &[OsString]) -> Result<u8> {
    let (held, start) = match prepare(&socket) {
        Ok(made) => made,
        Err(failed) => {
            talk::send(&socket, &Report::Failed(Fault::new(&failed.error, failed.status)), &[])?;
            return Ok(failed.status);
        }
    };
    let lost = |errno: Errno| Error::system("cannot start the instance", &errno.into());
    let early = held.early();
    match fork().map_err(lost)? {
        None => Ok(init::run(&socket, &held, early, command, start)),
        Some(pid) => {
            drop((socket, held, start));
            let ended = waitpid(Some(pid), WaitOptions::empty()).map_err(lost)?;
            let status = ended.and_then(|(_, status)| status.exit_status());
            Ok(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(128 + 9))
        }
    }
}

/// The blocked signals of stage and init, read from descriptors.
pub struct Held {
    /// SIGCHLD: a child has ended.
    pub children: Signals,
    /// Signals of the terminal's keys and hang-up.
    keys: Signals,
}

impl Held {
    fn hold() -> std::result::Result<Self, Errno> {
        let keys = Signals::hold(&[libc::SIGINT, libc::SIGQUIT, libc::SIGHUP])?;
        Ok(Self { children: Signals::hold(&[])?, keys })
    }

    /// The descriptor of the terminal's signals.
    pub fn keys(&self) -> &Signals {
        &self.keys
    }

    /// Signals to the process group that came before the program ran.
    pub fn early(&self) -> Vec<i32> {
        std::iter::from_fn(|| self.keys.next()).map(|signal| signal.number).collect()
    }
}

/// Makes the network that the caller asks for, and sends its descriptors. Returns how to start the program.
fn prepare(socket: &OwnedFd) -> Result<(Held, Start), NotStarted> {
    let system = |errno: Errno| Error::system("cannot start the instance", &errno.into());
    let held = Held::hold().map_err(system)?;
    let Some((Order::Start(plan), _)) = talk::receive(socket).map_err(system)? else {
        return Err(Error::new(Class::Runtime, "the instance was not told what to be").into());
    };
    enter_namespaces(&plan).map_err(|failed| explain::no_namespace(&failed, Path::new("/")))?;
    let made = network::make(&plan).map_err(|error| explain::restricted(error, Path::new("/")))?;
    let fds: Vec<_> = made.fds.iter().map(AsFd::as_fd).collect();
    talk::send(socket, &Report::Ready(made.links), &fds)?;
    let start = Start {
        pids: plan.pids,
        own_network: !plan.shared,
        privileged: plan.privileged,
        sandbox: plan.sandbox(),
        name: plan.name,
        host: made.asks,
        adopter: made.adopter,
    };
    Ok((held, start))
}

/// A step on the way into new namespaces that was refused.
pub struct Refused {
    /// The step.
    pub step: Step,
    /// The system's answer.
    pub errno: Errno,
}

/// See [`Refused`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// unshare(2) with a user namespace.
    User,
    /// The maps of user and group ids, or a step that they should permit.
    Mapping,
}

/// Moves into new namespaces, with a user namespace unless this process may make the others without.
fn enter_namespaces(plan: &Plan) -> Result<(), Refused> {
    let mut wanted = UnshareFlags::NEWNS;
    wanted.set(UnshareFlags::NEWNET, !plan.shared);
    wanted.set(UnshareFlags::NEWPID, plan.pids);
    if !(may_all() && unshare(wanted).is_ok()) {
        enter_as_user(wanted)?;
    }
    // Mounts made here do not propagate outside; mounts made outside still propagate here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|errno| Refused { step: Step::Mapping, errno })
}

/// The same with a user namespace, which maps this user and group to themselves.
fn enter_as_user(wanted: UnshareFlags) -> Result<(), Refused> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(wanted | UnshareFlags::NEWUSER).map_err(|errno| Refused { step: Step::User, errno })?;
    // A map of groups needs setgroups(2) to be given up first (user_namespaces(7)).
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ];
    for (file, text) in maps {
        let errno = |cause: std::io::Error| Errno::from_io_error(&cause).unwrap_or(Errno::PERM);
        fs::write(file, text).map_err(|cause| Refused { step: Step::Mapping, errno: errno(cause) })?;
    }
    Ok(())
}

/// Whether this process has the rights that a user namespace would give it.
fn may_all() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}
