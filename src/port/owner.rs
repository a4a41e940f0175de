//! The holder of a descriptor, lock or path, for messages: `pid 42 (qemu-system-x86)`.

use super::sys::{Credentials, peer_credentials};
use crate::visible::visible_bytes;
use rustix::fs::{fstat, major, minor};
use std::fs::{read, read_dir, read_link, read_to_string};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

pub use crate::error::SOMEBODY as UNKNOWN;

/// The process with the number `pid`. Its name is its own to choose, and any bytes (PR_SET_NAME, prctl(2)).
pub fn process(pid: &str) -> String {
    process_in(Path::new("/proc"), pid)
}

/// The same as the files below `proc` say it.
pub fn process_in(proc: &Path, pid: &str) -> String {
    match read(proc.join(pid).join("comm")) {
        Ok(comm) => format!("pid {pid} ({})", visible_bytes(comm.strip_suffix(b"\n").unwrap_or(&comm))),
        Err(_) => format!("pid {pid}"),
    }
}

/// The first process that has a descriptor for which `is_it` holds. It is asked with the descriptor's path,
/// `/proc/PID/fd/N`, which is a link to what is open; see proc(5).
pub fn of_descriptor(is_it: impl Fn(&Path) -> bool) -> String {
    let has = |process: &std::fs::DirEntry| {
        // Others, as `self`, are links to these.
        if process.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            return false;
        }
        let descriptors = read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| is_it(&fd.path()))
    };
    let mut processes = read_dir("/proc").into_iter().flatten().flatten();
    processes.find(has).map_or_else(|| UNKNOWN.into(), |found| process(&found.file_name().to_string_lossy()))
}

/// The process at the other end: `pid 42 (qemu-system-x86)`. For one of another PID namespace, which has no number
/// here, its user.
pub fn peer(fd: impl AsFd) -> String {
    match peer_credentials(fd) {
        Ok(Credentials { pid: Some(pid), .. }) => process(&pid.to_string()),
        Ok(Credentials { pid: None, uid }) => format!("a process of user {uid} in another PID namespace"),
        Err(_) => UNKNOWN.into(),
    }
}

/// The process that holds the lock on a file, for messages.
pub fn lock_holder(file: impl AsFd) -> String {
    lock_owner(file).map_or_else(|| UNKNOWN.into(), |pid| process(&pid.to_string()))
}

/// The process that holds the lock on a file (flock(2)), from the kernel's list of locks: in /proc/locks the kind is the
/// second word, the process the fifth, device and inode the sixth, as `08:01:4711` (proc(5)).
pub fn lock_owner(file: impl AsFd) -> Option<u32> {
    let file = fstat(file).ok()?;
    let whole = format!("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
    let locks = read_to_string("/proc/locks").ok()?;
    let held = |wanted: &dyn Fn(&str) -> bool| {
        let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words.filter(|words| words.get(1) == Some(&"FLOCK")).find_map(|words| {
            let (pid, file) = (words.get(4)?.parse().ok()?, *words.get(5)?);
            (wanted(file) && pid > 0).then_some(pid)
        })
    };
    // Some file systems (overlayfs, btrfs) show another device to stat(2).
    let inode = format!(":{}", file.st_ino);
    held(&|file| file == whole).or_else(|| held(&|file| file.ends_with(&inode)))
}

/// The process that listens on a TCP port of this network, if it can be seen: /proc/net/tcp has the local address as
/// `0100007F:24FD` in the second word, the state in the fourth (0A: it listens) and the inode in the tenth (proc(5)).
pub fn listens(port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    let of_file = |file: &str| {
        let sockets = read_to_string(file).ok()?;
        let words = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut found = words
            .filter(|words| words.get(1).is_some_and(|local| local.ends_with(&wanted)) && words.get(3) == Some(&"0A"));
        found.find_map(|words| Some((*words.get(9)?).to_owned()))
    };
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(of_file)?;
    let socket = PathBuf::from(format!("socket:[{inode}]"));
    let holder = of_descriptor(|fd| std::fs::read_link(fd).is_ok_and(|target| target == socket));
    (holder != UNKNOWN).then_some(holder)
}

/// The process that is bound to a path. A datagram socket does not tell, so the kernel's list of sockets is searched
/// for the path (/proc/net/unix: the inode is the seventh word, the path the eighth), and all descriptors for the inode.
pub fn holder(path: &Path) -> String {
    let sockets = read_to_string("/proc/net/unix").unwrap_or_default();
    let Some(socket) = bound_to(&sockets, path).map(|inode| PathBuf::from(format!("socket:[{inode}]"))) else {
        return UNKNOWN.into();
    };
    of_descriptor(|fd| read_link(fd).is_ok_and(|target| target == socket))
}

/// The inode of the socket bound to `path`. One that zbridge listens at was bound to that name with eight digits behind
/// it, and is still listed so.
fn bound_to<'a>(sockets: &'a str, path: &Path) -> Option<&'a str> {
    let is_digits = |rest: &str| {
        rest.strip_prefix('.')
            .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let is_it = |bound: &str| {
        let rest = path.to_str().and_then(|path| bound.strip_prefix(path));
        rest.is_some_and(|rest| rest.is_empty() || is_digits(rest))
    };
    let of_path = |line: &&str| line.split_whitespace().nth(7).is_some_and(is_it);
    sockets.lines().find(of_path)?.split_whitespace().nth(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_zbridge_is_found_by_its_path() {
        let line = |inode: u32, path: &str| format!("0000: 00000002 00000000 00010000 0001 01 {inode} {path}\n");
        let sockets = [line(7, "/tmp/a.5b07e562"), line(8, "/tmp/ab"), line(9, "/tmp/b.log")].concat();
        let found = |path: &str| bound_to(&sockets, Path::new(path));
        assert_eq!(
            (found("/tmp/a"), found("/tmp/ab"), found("/tmp/b"), found("/tmp/")),
            (Some("7"), Some("8"), None, None)
        );
    }

    #[test]
    fn a_name_moves_no_cursor() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("7")).unwrap();
        std::fs::write(proc.path().join("7/comm"), b"\x1b[2J\xff a\n\n").unwrap();
        assert_eq!(process_in(proc.path(), "7"), r"pid 7 (\x1b[2J\xff a\x0a)");
        assert_eq!(process_in(proc.path(), "8"), "pid 8");
    }
}
