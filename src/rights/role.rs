//! The roles of threads, as lists of system calls.
//!
//! A [`Role`] stands beside the code that needs it and names its calls, most of them by the groups here. The names are
//! the kernel's; those that a processor's Linux does not have are left out there.

/// The role of a thread.
#[derive(Debug)]
pub struct Role {
    /// In a word.
    pub name: &'static str,
    /// Its system calls.
    pub calls: &'static [&'static [&'static str]],
    /// It may map code: the system's resolver loads plug-ins.
    pub loads: bool,
    /// It may start programs, if the policy says that ports want some.
    pub programs: bool,
}

impl Role {
    /// A role that neither loads code nor starts programs.
    pub const fn new(name: &'static str, calls: &'static [&'static [&'static str]]) -> Self {
        Self { name, calls, loads: false, programs: false }
    }

    /// Its system calls, by number.
    pub fn numbers(&self) -> impl Iterator<Item = i64> {
        self.calls.iter().copied().flatten().filter_map(|name| number(name))
    }
}

/// Every thread's: memory, locks, time, waiting, its descriptors, and its end.
pub const BASE: &[&str] = &[
    "read",
    "write",
    "readv",
    "writev",
    "close",
    "fcntl",
    "fstat",
    "newfstatat",
    "statx",
    "lseek",
    "dup",
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "brk",
    "futex",
    "sched_yield",
    "rseq",
    "set_robust_list",
    "membarrier",
    "sched_getaffinity",
    "clock_gettime",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "restart_syscall",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "epoll_create1",
    "timerfd_create",
    "timerfd_settime",
    "eventfd2",
    "poll",
    "ppoll",
    "sigaltstack",
    "rt_sigreturn",
    "rt_sigprocmask",
    "rt_sigaction",
    "tgkill",
    "gettid",
    "getpid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getrandom",
    "prlimit64",
    "sysinfo",
    "uname",
    "exit",
    "exit_group",
];

/// To start threads that have less.
pub const THREADS: &[&str] =
    &["clone", "clone3", "set_tid_address", "prctl", "seccomp", "landlock_restrict_self", "capget", "capset"];

/// Sockets that are there.
pub const SOCKETS: &[&str] = &[
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "ioctl",
];

/// New sockets.
pub const NETWORK: &[&str] = &["socket", "socketpair", "bind", "listen", "connect"];

/// Paths: to open, make, look at and remove what is there.
pub const FILES: &[&str] = &[
    "openat",
    "open",
    "openat2",
    "readlink",
    "readlinkat",
    "unlink",
    "unlinkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "getdents64",
    "access",
    "faccessat",
    "faccessat2",
    "stat",
    "lstat",
    // Of one's own to one's own groups; for all else the keeper is asked (`user=`, `group=`).
    "chown",
    "fchownat",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "flock",
    "ftruncate",
    "statfs",
    "fstatfs",
    "getcwd",
    "umask",
    "dup2",
    "dup3",
    "pipe2",
    "ioctl",
];

/// Reading files: peers' processes, system settings.
pub const READ: &[&str] = &["openat", "open", "readlink", "readlinkat", "statfs", "fstatfs", "getdents64"];

/// Removing files that were made, after checking their identity.
pub const REMOVE: &[&str] = &["unlink", "unlinkat", "rmdir", "readlink", "readlinkat", "stat", "lstat", "flock"];

/// News of a terminal's device.
pub const WATCH: &[&str] = &["inotify_init1", "inotify_add_watch", "inotify_rm_watch"];

/// Blocks of open files.
pub const BLOCKS: &[&str] = &[
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "fsync",
    "fdatasync",
    "fallocate",
    "ftruncate",
    "flock",
];

/// All that any role has.
pub static STARTER: Role = Role {
    name: "starter",
    calls: &[BASE, THREADS, SOCKETS, NETWORK, FILES, WATCH, BLOCKS, &["kill", "wait4"]],
    loads: true,
    programs: false,
};

/// The number of the system call called `name`, where there is one.
pub fn number(name: &str) -> Option<i64> {
    known().find(|(other, _)| *other == name).map(|(_, number)| *number)
}

/// The name of a system call that a list knows.
pub fn name(number: i64) -> Option<&'static str> {
    known().find(|(_, other)| *other == number).map(|(name, _)| *name)
}

fn known() -> impl Iterator<Item = &'static (&'static str, i64)> {
    EVERYWHERE.iter().chain(WIDE).chain(OLD)
}

/// A table of system calls by their names.
macro_rules! table {
    ($table:ident: $($name:ident = $number:ident),* $(,)?) => {
        static $table: &[(&str, i64)] = &[$((stringify!($name), libc::$number as _)),*];
    };
}

// Every processor's. Those that no role has are here for their names' sake, in messages.
table!(EVERYWHERE:
    accept4 = SYS_accept4, add_key = SYS_add_key, bind = SYS_bind, bpf = SYS_bpf,
    brk = SYS_brk, capget = SYS_capget, capset = SYS_capset, chroot = SYS_chroot, clock_gettime = SYS_clock_gettime,
    clock_nanosleep = SYS_clock_nanosleep, clone = SYS_clone, clone3 = SYS_clone3, close = SYS_close,
    close_range = SYS_close_range, connect = SYS_connect, copy_file_range = SYS_copy_file_range, dup = SYS_dup,
    dup3 = SYS_dup3, epoll_create1 = SYS_epoll_create1, epoll_ctl = SYS_epoll_ctl, epoll_pwait = SYS_epoll_pwait,
    epoll_pwait2 = SYS_epoll_pwait2, eventfd2 = SYS_eventfd2, execve = SYS_execve, execveat = SYS_execveat,
    exit = SYS_exit, exit_group = SYS_exit_group, faccessat = SYS_faccessat, faccessat2 = SYS_faccessat2,
    fallocate = SYS_fallocate, fchmod = SYS_fchmod, fchmodat = SYS_fchmodat,
    fchmodat2 = SYS_fchmodat2, fchown = SYS_fchown, fchownat = SYS_fchownat, fcntl = SYS_fcntl,
    fdatasync = SYS_fdatasync, flock = SYS_flock, fstat = SYS_fstat, fstatfs = SYS_fstatfs, fsync = SYS_fsync,
    ftruncate = SYS_ftruncate, futex = SYS_futex, get_robust_list = SYS_get_robust_list, getcwd = SYS_getcwd,
    getdents64 = SYS_getdents64, getegid = SYS_getegid, geteuid = SYS_geteuid, getgid = SYS_getgid,
    getpeername = SYS_getpeername, getpgid = SYS_getpgid, getpid = SYS_getpid, getpriority = SYS_getpriority,
    getrandom = SYS_getrandom, getrusage = SYS_getrusage, getsid = SYS_getsid, getsockname = SYS_getsockname,
    getsockopt = SYS_getsockopt, gettid = SYS_gettid, gettimeofday = SYS_gettimeofday, getuid = SYS_getuid,
    init_module = SYS_init_module, inotify_add_watch = SYS_inotify_add_watch, inotify_init1 = SYS_inotify_init1, inotify_rm_watch = SYS_inotify_rm_watch,
    io_uring_setup = SYS_io_uring_setup, ioctl = SYS_ioctl, kexec_load = SYS_kexec_load, keyctl = SYS_keyctl,
    kill = SYS_kill, landlock_add_rule = SYS_landlock_add_rule,
    landlock_create_ruleset = SYS_landlock_create_ruleset, landlock_restrict_self = SYS_landlock_restrict_self,
    linkat = SYS_linkat, listen = SYS_listen, lseek = SYS_lseek, madvise = SYS_madvise, membarrier = SYS_membarrier,
    memfd_create = SYS_memfd_create, mincore = SYS_mincore, mkdirat = SYS_mkdirat, mknodat = SYS_mknodat,
    mlock = SYS_mlock, mount = SYS_mount, mprotect = SYS_mprotect, mremap = SYS_mremap,
    msync = SYS_msync, munmap = SYS_munmap, name_to_handle_at = SYS_name_to_handle_at, nanosleep = SYS_nanosleep,
    open_by_handle_at = SYS_open_by_handle_at, openat = SYS_openat,
    openat2 = SYS_openat2, perf_event_open = SYS_perf_event_open, personality = SYS_personality,
    pidfd_getfd = SYS_pidfd_getfd, pidfd_open = SYS_pidfd_open, pipe2 = SYS_pipe2, pivot_root = SYS_pivot_root,
    ppoll = SYS_ppoll, prctl = SYS_prctl, pread64 = SYS_pread64, preadv = SYS_preadv, preadv2 = SYS_preadv2,
    prlimit64 = SYS_prlimit64, process_vm_readv = SYS_process_vm_readv, process_vm_writev = SYS_process_vm_writev,
    pselect6 = SYS_pselect6, ptrace = SYS_ptrace, pwrite64 = SYS_pwrite64, pwritev = SYS_pwritev,
    pwritev2 = SYS_pwritev2, read = SYS_read, readahead = SYS_readahead, readlinkat = SYS_readlinkat,
    readv = SYS_readv, reboot = SYS_reboot, recvfrom = SYS_recvfrom, recvmmsg = SYS_recvmmsg, recvmsg = SYS_recvmsg,
    renameat = SYS_renameat, renameat2 = SYS_renameat2, restart_syscall = SYS_restart_syscall, rseq = SYS_rseq,
    rt_sigaction = SYS_rt_sigaction, rt_sigpending = SYS_rt_sigpending, rt_sigprocmask = SYS_rt_sigprocmask,
    rt_sigqueueinfo = SYS_rt_sigqueueinfo, rt_sigreturn = SYS_rt_sigreturn, rt_sigsuspend = SYS_rt_sigsuspend,
    rt_sigtimedwait = SYS_rt_sigtimedwait, sched_getaffinity = SYS_sched_getaffinity,
    sched_setaffinity = SYS_sched_setaffinity, sched_yield = SYS_sched_yield, seccomp = SYS_seccomp,
    sendfile = SYS_sendfile, sendmmsg = SYS_sendmmsg, sendmsg = SYS_sendmsg, sendto = SYS_sendto,
    set_robust_list = SYS_set_robust_list, set_tid_address = SYS_set_tid_address, setgroups = SYS_setgroups,
    setns = SYS_setns, setpgid = SYS_setpgid, setpriority = SYS_setpriority, setresgid = SYS_setresgid,
    setresuid = SYS_setresuid, setsid = SYS_setsid, setsockopt = SYS_setsockopt, setuid = SYS_setuid,
    shutdown = SYS_shutdown, sigaltstack = SYS_sigaltstack, signalfd4 = SYS_signalfd4, socket = SYS_socket,
    socketpair = SYS_socketpair, splice = SYS_splice, statfs = SYS_statfs, statx = SYS_statx, swapon = SYS_swapon,
    symlinkat = SYS_symlinkat, sync = SYS_sync, syncfs = SYS_syncfs, sysinfo = SYS_sysinfo, tee = SYS_tee,
    tgkill = SYS_tgkill, timerfd_create = SYS_timerfd_create, timerfd_settime = SYS_timerfd_settime,
    tkill = SYS_tkill, truncate = SYS_truncate, umask = SYS_umask, umount2 = SYS_umount2, uname = SYS_uname,
    unlinkat = SYS_unlinkat, unshare = SYS_unshare, userfaultfd = SYS_userfaultfd, utimensat = SYS_utimensat,
    vmsplice = SYS_vmsplice, wait4 = SYS_wait4, waitid = SYS_waitid, write = SYS_write, writev = SYS_writev,
);

// 64-bit architectures: others have calls of other names.
#[cfg(target_pointer_width = "64")]
table!(WIDE: accept = SYS_accept, fadvise64 = SYS_fadvise64, mmap = SYS_mmap, newfstatat = SYS_newfstatat);
#[cfg(not(target_pointer_width = "64"))]
static WIDE: &[(&str, i64)] = &[];

// Calls that Linux does not have on newer architectures.
#[cfg(target_arch = "x86_64")]
table!(OLD:
    access = SYS_access, chmod = SYS_chmod, chown = SYS_chown, dup2 = SYS_dup2, epoll_wait = SYS_epoll_wait,
    fork = SYS_fork, getpgrp = SYS_getpgrp, lchown = SYS_lchown, link = SYS_link, lstat = SYS_lstat,
    mkdir = SYS_mkdir, mknod = SYS_mknod, open = SYS_open, poll = SYS_poll, readlink = SYS_readlink,
    rename = SYS_rename, rmdir = SYS_rmdir, select = SYS_select, stat = SYS_stat, symlink = SYS_symlink,
    time = SYS_time, unlink = SYS_unlink, vfork = SYS_vfork,
);
#[cfg(not(target_arch = "x86_64"))]
static OLD: &[(&str, i64)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_group_is_known() {
        for group in [READ, WATCH, BASE, THREADS, SOCKETS, NETWORK, FILES, REMOVE, WATCH, BLOCKS] {
            for call in group {
                assert!(number(call).is_some() || cfg!(not(target_arch = "x86_64")), "{call}");
            }
        }
        assert_eq!((number("read"), name(libc::SYS_read)), (Some(libc::SYS_read), Some("read")));
        assert_eq!(number("no_such_call"), None);
    }

    #[test]
    fn no_role_starts_programs_or_takes_rights() {
        for call in ["execve", "execveat", "ptrace", "setns", "unshare", "mount", "bpf", "io_uring_setup", "setresuid"]
        {
            assert!(!STARTER.numbers().any(|number| name(number) == Some(call)), "{call}");
        }
    }
}
