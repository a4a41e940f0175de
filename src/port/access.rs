//! Owner, group and permission bits of the sockets, terminals and FIFOs that ports make (`mode=`, `user=`, `group=`).

use super::sys;
use crate::config::Access;
use crate::error::{Class, Error, Result};
use crate::rights::deed;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, chmod, chown, fstat, open};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Sets owner, group and permission bits of `path`, a socket, terminal or FIFO that was just made; `None` leaves one as
/// it is. A link that somebody has put there meanwhile is not followed.
///
/// # Errors
/// There is no such user or group, or this process may not give away.
pub fn give(path: &Path, access: &Access) -> Result<()> {
    let given = give_directly(path, access);
    // This thread may have given up the right: then the keeper does it.
    let (mode, user, group) = (access.mode, access.user.clone(), access.group.clone());
    given.or_else(|error| deed::give(path, (mode, user, group), error))
}

fn give_directly(path: &Path, access: &Access) -> Result<()> {
    let Access { mode, user, group } = access;
    let uid = user.as_deref().map(|user| number(user, "user", sys::user_id)).transpose()?.map(Uid::from_raw);
    let gid = group.as_deref().map(|group| number(group, "group", sys::group_id)).transpose()?.map(Gid::from_raw);
    let cannot = |verb: &str, errno: Errno| {
        let error = Error::system(format_args!("cannot {verb} {}", path.display()), &errno.into());
        match errno {
            Errno::PERM => error.hint("only root may give something to another user, or to a group that it is not in"),
            _ => error,
        }
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let there = open(path, flags, Mode::empty()).map_err(|errno| cannot("open", errno))?;
    if FileType::from_raw_mode(fstat(&there).map_err(|errno| cannot("look at", errno))?.st_mode) == FileType::Symlink {
        return Err(cannot("give away", Errno::LOOP));
    }
    // The opened file, whatever is at the path by now.
    let path = &format!("/proc/self/fd/{}", there.as_raw_fd());
    if uid.is_some() || gid.is_some() {
        chown(path, uid, gid).map_err(|errno| cannot("give away", errno))?;
    }
    // After the change of owner: until then the bits would apply to the old one.
    match mode {
        Some(mode) => chmod(path, Mode::from_raw_mode(*mode)).map_err(|errno| cannot("set the permissions of", errno)),
        None => Ok(()),
    }
}

fn number(text: &str, what: &str, known: fn(&str) -> rustix::io::Result<Option<u32>>) -> Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let failed = |errno: Errno| Error::system(format_args!("{what}={text}"), &errno.into());
    known(text).map_err(failed)?.ok_or_else(|| {
        Error::new(Class::Usage, format!("{what}={text}: there is no such {what}")).hint(format!(
            "`getent {what_table}` lists them",
            what_table = if what == "user" { "passwd" } else { what }
        ))
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Access;
    use crate::port::serial::line::Line;
    use crate::port::sys;
    use std::fs::metadata;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// Root may give away to anybody; others to themselves.
    #[test]
    fn what_a_line_makes_is_for_those_who_were_named() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().display();
        let owner = metadata(folder.path()).unwrap();
        let (user, group) = if owner.uid() == 0 { (65534, 65534) } else { (owner.uid(), owner.gid()) };
        for (target, made) in [("unix:{}/socket", "socket"), ("pty:{}/tty", "tty"), ("pipe:{}/pipe", "pipe.in")] {
            let text = format!("slip:{},mode=0640,user={user},group={group}", target.replace("{}", &here.to_string()));
            let spec = crate::config::PortSpec::parse(&text).unwrap();
            let crate::config::PortKind::Slip(slip) = &spec.kind else { panic!("{text}") };
            let _line = Line::open(&slip.transport).unwrap();
            let found = metadata(folder.path().join(made)).unwrap();
            assert_eq!((found.permissions().mode() & 0o777, found.uid(), found.gid()), (0o640, user, group), "{text}");
        }
    }

    #[test]
    fn names_are_looked_up_and_unknown_ones_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let give = |user: Option<&str>, group: Option<&str>| {
            let [user, group] = [user, group].map(|name| name.map(str::to_owned));
            super::give(file.path(), &Access { mode: None, user, group })
        };
        assert_eq!(sys::group_id("root"), Ok(Some(0)));
        let error = give(Some("nobody-of-that-name"), None).unwrap_err();
        assert!(error.to_string().contains("there is no such user") && error.to_string().contains("getent passwd"));
        assert!(give(None, Some("no-such-group")).unwrap_err().to_string().contains("getent group"));
    }
}
