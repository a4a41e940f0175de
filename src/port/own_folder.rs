//! Folders that are this user's alone, in places where anybody may have made them, such as /tmp.
//!
//! The owner's user id does not always tell: in a user namespace all unmapped users have that of nobody
//! (user_namespaces(7)), which may be this user's own. The kernel's own check is better: only the owner may open with
//! O_NOATIME (open(2)), or a process with CAP_FOWNER over it.

use crate::error::{Class, Error, Result};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fmt::Display;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes `folder` (mode 0700) if there is none, and opens it. It must be this user's own, and writable by nobody else.
/// An error begins with `what`, and says what to do `instead`.
///
/// # Errors
/// It cannot be made, is no folder, or is another user's.
pub fn private(folder: &Path, what: impl Display, instead: &str) -> Result<OwnedFd> {
    let failed =
        |cause: std::io::Error| Error::system(format_args!("{what}: {}", folder.display()), &cause).hint(instead);
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(failed(cause)),
        _ => {}
    }
    match own(folder, 0o022) {
        Ok(Some(opened)) => Ok(opened),
        Ok(None) => {
            let theirs = format!("{what}: {} is another user's, or others may write to it", folder.display());
            Err(Error::new(Class::Permission, theirs).hint(instead))
        }
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Whether `folder` is this user's, and nobody else can reach anything in it.
pub fn is_private(folder: &Path) -> bool {
    matches!(own(folder, 0o077), Ok(Some(_)))
}

/// Opens a folder that is this user's and has none of the permission bits `not`. `None`: it is not so.
fn own(folder: &Path, not: u32) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC;
    let opened = match open(folder, flags, Mode::empty()) {
        Err(Errno::PERM) => return Ok(None),
        done => done?,
    };
    let found = fstat(&opened)?;
    Ok((found.st_uid == geteuid().as_raw() && found.st_mode & not == 0).then_some(opened))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    #[test]
    fn nobody_else_has_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let (own, link) = (dir.path().join("own"), dir.path().join("link"));
        let error = |path: &Path| private(path, "logs", "try elsewhere").err();
        assert_eq!((error(&own), error(&own)), (None, None), "made, and found");
        assert_eq!(metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        symlink(&own, &link).unwrap();
        assert!(error(&link).unwrap().what().starts_with("logs: "), "it leads where another user likes");
        set_permissions(&own, Permissions::from_mode(0o770)).unwrap();
        assert_eq!(error(&own).unwrap().class(), Class::Permission);
        set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(error(&own), None);
        assert!(!is_private(&own), "others may look into it");
        set_permissions(&own, Permissions::from_mode(0o700)).unwrap();
        assert!(is_private(&own) && !is_private(&link));
        if geteuid().is_root() {
            chown(&own, Some(65_534), None).unwrap();
            assert!(error(&own).unwrap().what().ends_with("own is another user's, or others may write to it"));
        }
        assert!(error(&dir.path().join("not/there")).is_some());
    }
}
