//! The system calls of a process that starts others: namespaces, a fork, signals as a descriptor, a descriptor that a
//! child keeps.

use super::{checked, last_errno};
use libc::c_int;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getpid, setrlimit};
use std::mem::{MaybeUninit, size_of};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub use rustix::thread::UnshareFlags;

/// Leaves `fd` open in the child of `command`, under the same number, and in no other child. It stays open here until
/// the command is dropped.
pub fn keep_open(command: &mut Command, fd: OwnedFd) {
    let keep = move || {
        // SAFETY: F_SETFD takes integers, and the descriptor is open.
        checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) })?;
        Ok(())
    };
    // SAFETY: between fork and exec, the closure makes one async-signal-safe call (signal-safety(7)) and allocates
    // nothing.
    unsafe { command.pre_exec(keep) };
}

/// Clears the signal mask of the child of `command`, which would inherit the caller's.
pub fn hold_none(command: &mut Command) {
    let none = set(&[]);
    let clear = move || {
        // SAFETY: the mask is a live object that is only read; no old one is asked for.
        match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) } {
            0 => Ok(()),
            refused => Err(std::io::Error::from_raw_os_error(refused)),
        }
    };
    // SAFETY: as in `keep_open`.
    unsafe { command.pre_exec(clear) };
}

/// Gives the child of `command` this limit on its descriptors (`RLIMIT_NOFILE`).
pub fn limit_descriptors(command: &mut Command, limit: Rlimit) {
    let set = move || Ok(setrlimit(Resource::Nofile, limit)?);
    // SAFETY: as in `keep_open`: setrlimit is a system call and nothing else.
    unsafe { command.pre_exec(set) };
}

/// Moves the calling process into new namespaces; for a PID namespace, its next child.
///
/// # Errors
/// The system call's. EINVAL also for a flag that is no namespace's.
pub fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    if namespaces.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL);
    }
    // SAFETY: without FILES all threads go on sharing their descriptors.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Forks. Returns the child's id in the parent, and `None` in the child.
///
/// # Errors
/// The system call's, and EBUSY in a process of several threads: the child would have only one, and locks that nobody
/// unlocks.
pub fn fork() -> Result<Option<Pid>, Errno> {
    if std::fs::read_dir("/proc/self/task").map_err(|_| Errno::BUSY)?.count() != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: the process has one thread, so the new one is as whole as this one.
    checked(unsafe { libc::fork() }).map(Pid::from_raw)
}

/// The caller's process group. `None` when that is outside of its PID namespace, where it has no number: the caller was
/// started by another `zbridge run`.
pub fn own_group() -> Option<Pid> {
    // SAFETY: the call takes nothing and cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

/// A signal that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Its number.
    pub number: c_int,
    /// Whether the kernel sent it, for a key at the terminal or its end: then all of the terminal's foreground process
    /// group got it. Otherwise a process sent it to this one.
    pub from_kernel: bool,
}

/// Signals that are blocked in the calling thread and in all threads and processes that it starts later, and are read
/// here instead (signalfd(2)). See [`hold_none`].
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks and reads `signals`; without any, blocks all that can be, and reads SIGCHLD.
    ///
    /// # Errors
    /// The system's, for want of descriptors.
    pub fn hold(signals: &[c_int]) -> Result<Self, Errno> {
        let (blocked, read) = match signals {
            [] => (all(), set(&[libc::SIGCHLD])),
            signals => (set(signals), set(signals)),
        };
        // SAFETY: the mask is a live object that is only read; no old one is asked for.
        let refused = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut()) };
        if refused != 0 {
            return Err(Errno::from_raw_os_error(refused));
        }
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the mask is a live object that is only read.
        let number = checked(unsafe { libc::signalfd(-1, &raw const read, flags) })?;
        // SAFETY: the call has opened it, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// The next that has come, if any.
    pub fn next(&self) -> Option<Arrived> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the pointer is to a live object of the length given.
        let len = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(len) != Ok(size) {
            return None;
        }
        // SAFETY: a plain struct of integers, filled in by the kernel.
        let info = unsafe { info.assume_init() };
        Some(Arrived { number: info.ssi_signo.cast_signed(), from_kernel: info.ssi_code == libc::SI_KERNEL })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether signal `number` is ignored, as whoever started this process may have wanted it: nohup(1), or a shell that
/// starts a command in the background.
pub fn is_ignored(number: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is set, and the pointer is to a live object, which is filled in.
    if unsafe { libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: a plain struct, filled in by the call.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// All signals but those of a thread's own faults: blocked, they would end the process without a message.
fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset fills in the set, and fails on no pointer to one; sigdelset takes a signal's number.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn set(signals: &[c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset fills in the set; sigaddset changes nothing for a number that is no signal's.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Kills every process of the PID namespace whose first process this one is (kill(2), a pid of -1): all at once, so that
/// none escapes by a fork.
///
/// # Errors
/// EPERM if this is not the first process of a PID namespace.
pub fn kill_others() -> Result<(), Errno> {
    if getpid().as_raw_nonzero().get() != 1 {
        return Err(Errno::PERM);
    }
    // SAFETY: kill takes integers.
    match checked(unsafe { libc::kill(-1, libc::SIGKILL) }) {
        // Nobody is left.
        Ok(_) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Sends signal `number` to the process `pid`.
///
/// # Errors
/// ESRCH when it is gone, EINVAL when the number is no signal's.
pub fn send_signal(pid: Pid, number: c_int) -> Result<(), Errno> {
    // SAFETY: kill takes integers.
    let answer = unsafe { libc::kill(pid.as_raw_nonzero().get(), number) };
    if answer < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Takes `fd` for a netlink socket, which whoever made it must have made.
pub fn netlink_socket(fd: OwnedFd) -> netlink_sys::Socket {
    // SAFETY: `into_raw_fd` hands over the only ownership of an open descriptor.
    unsafe { netlink_sys::Socket::from_raw_fd(rustix::fd::IntoRawFd::into_raw_fd(fd)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_that_was_held_back() {
        // On a thread of its own: the mask is a thread's.
        let read = std::thread::spawn(|| {
            let signals = Signals::hold(&[libc::SIGUSR2]).unwrap();
            assert_eq!(signals.next(), None);
            // SAFETY: raise takes an integer, and the signal is held back from this thread.
            unsafe { libc::raise(libc::SIGUSR2) };
            let mut command = Command::new("grep");
            hold_none(command.args(["SigBlk", "/proc/self/status"]));
            (signals.next(), command.output().unwrap().stdout)
        });
        let wanted = Arrived { number: libc::SIGUSR2, from_kernel: false };
        let (arrived, mask) = read.join().unwrap();
        assert_eq!(arrived, Some(wanted));
        assert_eq!(String::from_utf8_lossy(&mask), "SigBlk:\t0000000000000000\n", "a child's mask is empty");
    }

    #[test]
    fn an_ignored_signal_is_known() {
        // What Rust's own start of a program ignores.
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGWINCH) && !is_ignored(1000));
    }

    #[test]
    fn a_process_of_several_threads_does_not_split() {
        let (_keep, wait) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let other = scope.spawn(move || wait.recv());
            assert_eq!(fork(), Err(Errno::BUSY));
            drop(_keep);
            assert!(other.join().unwrap().is_err());
        });
        assert_eq!(unshare(UnshareFlags::FILES | UnshareFlags::NEWNET), Err(Errno::INVAL));
    }

    #[test]
    fn one_child_keeps_a_descriptor() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let test = format!("ls -l /proc/self/fd | grep -qF 'pipe:[{}]'", rustix::fs::fstat(&reader).unwrap().st_ino);
        let ask = |keep: bool| {
            let mut command = Command::new("sh");
            command.args(["-c", &test]);
            if keep {
                keep_open(&mut command, reader.as_fd().try_clone_to_owned().unwrap());
            }
            command.status().unwrap().success()
        };
        assert_eq!((ask(true), ask(false)), (true, false));
    }
}
