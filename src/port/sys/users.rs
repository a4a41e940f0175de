//! Users and groups by name and by number, and who is at the other end of a UNIX socket.

use super::checked;
use libc::{c_char, c_int, c_void};
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};

/// The room for an entry to begin with, and the most.
const ENTRY: (usize, usize) = (1024, 16 << 20);

/// The number of nobody, where the kernel does not say.
const NOBODY: u32 = 65_534;

/// A user of this machine: number, group, and all groups (passwd(5), getgrouplist(3)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// All groups that it is in, that one too.
    pub groups: Vec<u32>,
}

/// The user called `name`, from whatever directory the system asks.
pub fn account(name: &str) -> Option<Account> {
    let name = CString::new(name).ok()?;
    let mut room = vec![0; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: as in `user_id`.
    let (uid, gid) = unsafe {
        let mut entry: libc::passwd = zeroed();
        libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
        (!found.is_null()).then_some((entry.pw_uid, entry.pw_gid))?
    };
    let mut groups = vec![0; 1024];
    let mut count = groups.len() as c_int;
    // SAFETY: the name ends with a zero, and at most `count` groups are written into room for as many.
    let told = unsafe { libc::getgrouplist(name.as_ptr(), gid, groups.as_mut_ptr(), &raw mut count) };
    groups.truncate(if told < 0 { 0 } else { usize::try_from(count).unwrap_or(0) });
    Some(Account { name: name.into_string().ok()?, uid, gid, groups })
}

/// The numeric id of the user called `name`, from whatever directory the system asks. `None`: there is no such user.
///
/// # Errors
/// The directory's: nobody knows whether there is such a user.
pub fn user_id(name: &str) -> Result<Option<u32>, Errno> {
    look_up(name, |name, room| {
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are to live objects of the right type, `room` has the length given, and `entry`, which
        // points into it, is read before either goes.
        unsafe {
            let mut entry: libc::passwd = zeroed();
            let answer = libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            (answer, (!found.is_null()).then_some(entry.pw_uid))
        }
    })
}

/// The numeric id of the group called `name`, as [`user_id`].
///
/// # Errors
/// As [`user_id`].
pub fn group_id(name: &str) -> Result<Option<u32>, Errno> {
    look_up(name, |name, room| {
        let mut found = std::ptr::null_mut();
        // SAFETY: as in `user_id`.
        unsafe {
            let mut entry: libc::group = zeroed();
            let answer = libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found);
            (answer, (!found.is_null()).then_some(entry.gr_gid))
        }
    })
}

/// Asks a directory, with more room as long as it says that the entry does not fit: a group's holds all its members.
fn look_up(name: &str, ask: impl Fn(&CStr, &mut [c_char]) -> (c_int, Option<u32>)) -> Result<Option<u32>, Errno> {
    let Ok(name) = CString::new(name) else { return Ok(None) };
    let mut room = vec![0; ENTRY.0];
    loop {
        match ask(&name, &mut room) {
            (0, found) => return Ok(found),
            (libc::EINTR, _) => {}
            (libc::ERANGE, _) if room.len() < ENTRY.1 => room.resize(room.len() * 4, 0),
            // Some directories return this for an unknown name (getpwnam_r(3)).
            (libc::ENOENT | libc::ESRCH, _) => return Ok(None),
            (errno, _) => return Err(Errno::from_raw_os_error(errno)),
        }
    }
}

/// The credentials of the peer of a UNIX socket, as seen in this process's namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// The process; `None` where it is in a PID namespace that is not seen from here.
    pub pid: Option<u32>,
    /// The effective user; nobody's id for a user without an id in this user namespace (user_namespaces(7)).
    pub uid: u32,
}

/// The credentials of the peer of a UNIX socket: those it had when it connected, or listened (`SO_PEERCRED`,
/// unix(7)).
///
/// rustix's call of this name will not do. Its `pid` is a number that is never 0, and 0 is what the kernel says of a
/// process in another PID namespace.
///
/// # Errors
/// ENOTSOCK, and whatever another family's socket says.
pub fn peer_credentials(fd: impl AsFd) -> Result<Credentials, Errno> {
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut found: libc::ucred = unsafe { zeroed() };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into a live object of that length.
    checked(unsafe {
        let room: *mut c_void = (&raw mut found).cast();
        libc::getsockopt(fd.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, room, &raw mut size)
    })?;
    // A socket without a peer, and any that is not UNIX, has a user of -1.
    if size as usize != size_of::<libc::ucred>() || found.uid == u32::MAX {
        return Err(Errno::NOTCONN);
    }
    Ok(Credentials { pid: u32::try_from(found.pid).ok().filter(|&pid| pid > 0), uid: found.uid })
}

/// The network namespace of a socket, as a number that is unique until the machine reboots (`SO_NETNS_COOKIE`, Linux
/// 5.14). `None`: the kernel does not tell.
pub fn network_namespace(fd: impl AsFd) -> Option<u64> {
    let mut found = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into a live object of that length.
    let told = checked(unsafe {
        let room: *mut c_void = (&raw mut found).cast();
        libc::getsockopt(fd.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_NETNS_COOKIE, room, &raw mut size)
    });
    told.ok().filter(|_| size as usize == size_of::<u64>()).map(|_| found)
}

/// Whether several users may have the id `uid` here. In a user namespace all unmapped users are shown as nobody
/// (`kernel.overflowuid`, user_namespaces(7)), and so is nobody itself.
pub fn may_be_anybody(uid: u32) -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let nobody = read("/proc/sys/kernel/overflowuid").trim().parse().unwrap_or(NOBODY);
    uid == nobody && !has_all_users(&read("/proc/self/uid_map"))
}

/// Whether a map of user ids, lines of `inside outside count`, gives a number to each.
fn has_all_users(map: &str) -> bool {
    let counts = map.lines().filter_map(|line| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() >= u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn users_have_numbers() {
        assert_eq!(user_id("root"), Ok(Some(0)));
        assert_eq!(user_id("no such user, surely"), Ok(None));
        assert_eq!(user_id("ro\0ot"), Ok(None));
        assert_eq!(group_id("root"), Ok(Some(0)));
        assert_eq!(group_id("no such group, surely"), Ok(None));
    }

    #[test]
    fn all_users_have_a_number_in_the_first_namespace() {
        assert!(has_all_users("         0          0 4294967295\n"));
        assert!(!has_all_users("     65534      65534          1\n"));
        assert!(!has_all_users("0 1000 1\n1 100000 65536\n") && !has_all_users(""));
        assert!(!may_be_anybody(0));
    }

    #[test]
    fn a_peer_is_who_it_is() {
        let (near, _far) = UnixStream::pair().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(peer_credentials(&near), Ok(Credentials { pid: Some(std::process::id()), uid }));
        let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(peer_credentials(&nobody), Err(Errno::NOTCONN));
        assert_eq!(peer_credentials(tempfile::tempfile().unwrap()), Err(Errno::NOTSOCK));
    }
}
