//! The rights of zbridge: as few as it needs, on every thread that reads untrusted input.
//!
//! # Stages
//! As passt has them (its `isolation.c`), each on every way of starting:
//!
//! | stage | who | what |
//! |---|---|---|
//! | 0 start | the first thread | reads the command line and the file, says what is wrong with them; [`install`]s the [`Policy`]. Started by root, the *keeper* starts too ([`deed`]) |
//! | 1 open | a thread by [`apart`] | becomes the user that zbridge goes on as, keeps root's capabilities for now, and opens everything: so what is made belongs to that user |
//! | 2 serve | each thread by [`spawn`] or [`enter`] | `no_new_privs`; the folders of the policy and no others (`files`, Landlock); no capability but those of the policy, in no set; the user; last the system calls of its [`Role`] (`filter`, seccomp), which are listed beside the code that makes them |
//!
//! Capabilities, user, Landlock and seccomp belong to a thread, and a new thread has those of the one that starts it: it
//! can only have less. So threads that are started later, for a port that is added, are started by the *starter*, a
//! thread of stage 2 with all system calls that any role has ([`spawn`]).
//!
//! What a port needs again later, when its interface was deleted or its path has to be bound once more, is done with
//! what is left; where the system refuses that and the keeper is there, by the keeper, with one message for each deed.
//!
//! `run` and `up` start programs in namespaces, again and again. Their first thread and those that start and attend
//! programs stay in stage 0; switches, services and the control socket do not.
//!
//! A call that is in no list ends a debug build with its name and the role's, so that the test suite shows it. A release
//! build refuses it (ENOSYS) and says so: nothing that a peer does ends a bridge.
//!
//! A program that embeds zbridge has no policy unless it installs one; then nothing here does anything.

pub(crate) mod deed;
mod files;
mod filter;
pub(crate) mod packet;
pub(crate) mod role;

pub use files::is_within as is_in;
pub use role::Role;

use crate::error::{Error, Result};
use rustix::process::{Gid, Uid, getegid, geteuid, parent_process_death_signal, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Whether the rights are given up.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum)]
pub enum Mode {
    /// Give up all that is not needed
    #[default]
    On,
    /// Keep everything
    Off,
    /// As on, but system calls are only told of, in the kernel's log
    Log,
}

/// Whom zbridge goes on as when root has started it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
    /// It is a person, who uses the files that are made; not a service user without files.
    pub person: bool,
}

/// The rights that are given up, and those that are kept.
#[derive(Debug)]
pub struct Policy {
    /// See [`Mode`].
    pub mode: Mode,
    /// The user to become; `None`: it stays who it is.
    pub user: Option<User>,
    /// Capabilities that ports need again, as far as there are.
    pub keep: CapabilitySet,
    /// Folders in which sockets, FIFOs, links and files may be made, opened and removed.
    pub places: Vec<PathBuf>,
    /// The way to the keeper.
    pub keeper: Option<deed::Keeper>,
    /// A switch starts programs (`exec:`), so its thread keeps the rights that they may need.
    pub programs: bool,
}

static POLICY: OnceLock<Policy> = OnceLock::new();
static STARTER: OnceLock<Sender<Box<dyn FnOnce() + Send>>> = OnceLock::new();

thread_local! {
    /// The role of this thread once it is in stage 2. Read by the handler of SIGSYS, so it must need no destructor.
    static ROLE: Cell<Option<&'static Role>> = const { Cell::new(None) };
}

/// Puts a policy in force for this process: threads that are started from now on give up what they do not need. Once.
///
/// # Errors
/// There is no thread to be had.
pub fn install(policy: Policy) -> Result<()> {
    if policy.mode == Mode::Off || POLICY.set(policy).is_err() {
        return Ok(());
    }
    let (jobs, work) = channel::<Box<dyn FnOnce() + Send>>();
    spawn("zb-starter", &role::STARTER, move || work.into_iter().for_each(|job| job()))
        .map_err(|error| Error::system("cannot start a thread", &error))?;
    // Once it works it is held as all others will be.
    let (ready, begun) = channel();
    let _ = jobs.send(Box::new(move || ready.send(()).unwrap_or_default()));
    let _ = begun.recv();
    // It is set here only: the policy was installed once.
    let _ = STARTER.set(jobs);
    Ok(())
}

/// Puts a policy in force for this thread, which is the only one or the first that is held to any: those that are there
/// keep what they have.
pub fn restrict(policy: Policy, role: &'static Role) {
    // It was not there before.
    let _ = POLICY.set(policy);
    enter(role);
}

/// The policy in force.
pub fn policy() -> Option<&'static Policy> {
    POLICY.get()
}

/// The role of the calling thread, if it is confined.
pub fn current() -> Option<&'static Role> {
    ROLE.get()
}

/// The confinement in words, for `zbridge status` and -v. `None`: there is none.
pub fn summary() -> Option<String> {
    let policy = policy()?;
    let calls = match (filter::is_supported(), policy.mode) {
        (false, _) => "system calls free (no list for this processor)",
        (true, Mode::Log) => "system calls logged",
        (true, _) => "system calls by role",
    };
    let folders = match files::version() {
        Some(abi) => format!("Landlock {abi}"),
        None => "no Landlock in this kernel".to_owned(),
    };
    let user = policy.user.as_ref().map(|user| format!(", user {}", user.name)).unwrap_or_default();
    let keeper = if policy.keeper.is_some() { ", a keeper for what needs root" } else { "" };
    Some(format!("no capabilities{}, no_new_privs, {folders}, {calls}{user}{keeper}", kept(policy.keep)))
}

fn kept(keep: CapabilitySet) -> String {
    if keep.is_empty() { String::new() } else { format!(" but {keep:?}") }
}

/// As whom a bridge goes on that root has started for itself: a user of no person.
pub fn stand_in() -> Option<&'static str> {
    let user = policy()?.user.as_ref().filter(|user| !user.person)?;
    Some(&user.name)
}

/// Whose bridge this is, or whose bridges this process asks: of one that root has started for itself, root's, whoever it
/// goes on as; under sudo the caller's.
pub fn owner() -> u32 {
    let own = geteuid().as_raw();
    match policy().map(|policy| &policy.user) {
        Some(Some(user)) if user.person => user.uid,
        Some(Some(_)) => 0,
        Some(None) => own,
        None if own == 0 => std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).unwrap_or(own),
        None => own,
    }
}

/// Whether anything may be made at `path` as far as the policy goes.
pub fn is_within(path: &Path) -> bool {
    policy().is_none_or(|policy| files::is_within(path, &policy.places))
}

/// The hint for a path in none of the policy's folders.
pub const NOT_A_PLACE: &str = "the bridge's sandbox keeps it to the temporary and run-time folders and those of the \
                               ports it was started with: use one of these, or start the bridge with --sandbox off";

/// Does `work` as the user that zbridge goes on as, with all capabilities that there are. Threads that it starts have
/// these too, until they [`enter`].
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match policy().and_then(|policy| policy.user.as_ref()) {
        Some(user) if ROLE.get().is_none() && geteuid().is_root() => as_user(user, work),
        _ => work(),
    }
}

/// The same if that is a person, who has to find what is made; as root otherwise.
pub fn for_people<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match policy().and_then(|policy| policy.user.as_ref()) {
        Some(user) if user.person => apart(work),
        _ => work(),
    }
}

fn as_user<T: Send>(user: &User, work: impl FnOnce() -> T + Send) -> T {
    let mut work = Some(work);
    let done = std::thread::scope(|scope| {
        let work = || {
            if let Err(errno) = become_user(user) {
                log::warn!("it stays root: it cannot become {}: {}", user.name, io::Error::from(errno));
            }
            work.take().map(|work| work())
        };
        let thread = Builder::new().name("zb-open".into()).spawn_scoped(scope, work).ok()?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    match (done, work) {
        // There was no thread to be had: then it is this one's work.
        (None, Some(work)) => work(),
        (done, _) => done.expect("the thread has done the work"),
    }
}

/// Makes the calling thread one of `user`, with the capabilities that it has.
fn become_user(user: &User) -> rustix::io::Result<()> {
    let sets = capabilities(None)?;
    set_keep_capabilities(true)?;
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // The effective ones have gone with root's number.
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    set_keep_capabilities(false)
}

/// Starts a thread that gives up what `role` does not need before it does its `work`.
///
/// # Errors
/// The system has none left.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    role: &'static Role,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let builder = Builder::new().name(name.into());
    let parent = ROLE.get();
    let Some(starter) = STARTER.get().filter(|_| parent.is_some()) else {
        return builder.spawn(move || {
            ROLE.set(parent);
            enter(role);
            work()
        });
    };
    let (answer, started) = channel();
    let job = move || {
        let parent = ROLE.get();
        let thread = builder.spawn(move || {
            ROLE.set(parent);
            enter(role);
            work()
        });
        // The caller waits for it.
        let _ = answer.send(thread);
    };
    starter.send(Box::new(job)).map_err(|_| io::Error::other("the starter has ended"))?;
    started.recv().map_err(|_| io::Error::other("the starter has ended"))?
}

/// Starts a thread for a look at other processes, which Landlock hides from those that it holds: one that was started
/// before its parent has given anything up keeps what that has, for as long as the look takes. Otherwise as [`spawn`].
///
/// # Errors
/// The system has none left.
pub fn spawn_to_look(name: &str, role: &'static Role, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    match ROLE.get() {
        None => Builder::new().name(name.to_owned()).spawn(work).map(drop),
        Some(_) => spawn(name, role, work).map(drop),
    }
}

/// Has the calling thread give up what `role` does not need. What the kernel has no means for is left out, and said at
/// the level debug.
pub fn enter(role: &'static Role) {
    let Some(policy) = policy() else { return };
    if role.programs && policy.programs {
        return log::debug!("rights: {}: it starts programs, and keeps its rights", role.name);
    }
    if ROLE.get().is_none() {
        confine(policy, role);
    }
    ROLE.set(Some(role));
    if let Err(error) = filter::apply(role, policy.mode) {
        log::debug!("rights: {}: system calls are not held to a list: {error}", role.name);
    }
}

/// All but the system calls.
fn confine(policy: &Policy, role: &Role) {
    let failed = |what: &str, cause: &dyn std::fmt::Display| log::debug!("rights: {}: {what}: {cause}", role.name);
    let system = |what: &'static str| move |errno: rustix::io::Errno| (what, io::Error::from(errno));
    let report = |(what, cause): (&'static str, io::Error)| failed(what, &cause);
    // It is lost with the user (prctl(2)), and whoever has asked for it counts on it.
    let with_its_parent = parent_process_death_signal().ok().flatten();
    set_no_new_privs(true).map_err(system("no_new_privs")).unwrap_or_else(report);
    if let Err(error) = files::restrict(&policy.places) {
        failed("folders are not held to a list", &error);
    }
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted);
    if has.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().difference(policy.keep).iter() {
            // A capability unknown to this kernel cannot be gained.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    if let Some(user) =
        policy.user.as_ref().filter(|user| user.uid != geteuid().as_raw() || user.gid != getegid().as_raw())
    {
        become_user(user).map_err(system("it stays root")).unwrap_or_else(report);
    }
    // A kernel without ambient capabilities has none to clear.
    let _ = clear_ambient_capability_set();
    let keep = policy.keep & has;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(system("capabilities")).unwrap_or_else(report);
    if with_its_parent.is_some() {
        let _ = set_parent_process_death_signal(with_its_parent);
    }
}
