//! What is said when a capture cannot be written, with what to do about it.
//!
//! Whatever is wrong with a path is one kind of failure, with one exit status; only a missing right has its own.

use super::output::{STDOUT, WIRESHARK};
use crate::config::text::shell;
use crate::error::{Class, Error, words};
use std::io::{self, ErrorKind};
use std::path::Path;

/// What is wrong with the output `name`, which is a path, or one of those that have a name.
pub fn cannot(name: &str, error: &io::Error) -> Error {
    if name == WIRESHARK && error.kind() == ErrorKind::NotFound {
        return Error::new(Class::NoObject, "there is no wireshark to start")
            .hint("apt install wireshark; or write a file: zbridge capture -w run.pcapng");
    }
    let is_path = name != WIRESHARK && name != STDOUT;
    match hint(name, is_path, error) {
        None => Error::system(name, error),
        Some(hint) => {
            let class = if error.kind() == ErrorKind::PermissionDenied { Class::Permission } else { Class::Runtime };
            Error::new(class, format!("{name}: {}", words(error))).hint(hint)
        }
    }
}

/// The same of a file, or `several`, in which so many frames are whole.
pub fn cannot_go_on(name: &str, error: &io::Error, several: bool, frames: u64) -> Error {
    let (place, plural) = (if several { "them" } else { "it" }, if frames == 1 { "" } else { "s" });
    let error = cannot(name, error);
    let said =
        Error::new(error.class(), format!("{}; what is in {place} is whole: {frames} frame{plural}", error.what()));
    match error.advice() {
        Some(hint) => said.hint(hint),
        None => said,
    }
}

fn hint(name: &str, is_path: bool, error: &io::Error) -> Option<String> {
    const OTHER: &str = "name a file in a folder that you may write: -w /tmp/run.pcapng";
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room there, or capture less: --snap 96, --count N, --rotate 64MiB,5".to_owned()
        }
        _ if !is_path => return None,
        ErrorKind::NotFound => match Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => format!("its folder is not there: mkdir -p {}", shell(&folder.display().to_string())),
            None => OTHER.to_owned(),
        },
        ErrorKind::IsADirectory => "this is a folder; name a file in it".to_owned(),
        _ if error.raw_os_error() == Some(libc::ENXIO) => {
            "this is a socket, or a device that is not there; name a file or a FIFO, or pipe it: -w - | PROGRAM"
                .to_owned()
        }
        // Error::system has a hint of its own.
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => return None,
        _ => OTHER.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_wrong_with_a_path_has_one_status_and_a_hint() {
        for (errno, class, hint) in [
            (libc::ENOENT, Class::Runtime, "mkdir -p '/a b'"),
            (libc::ENOTDIR, Class::Runtime, "name a file in a folder"),
            (libc::EISDIR, Class::Runtime, "this is a folder"),
            (libc::ENXIO, Class::Runtime, "this is a socket"),
            (libc::ENOSPC, Class::Runtime, "make room there"),
            (libc::EDQUOT, Class::Runtime, "make room there"),
            (libc::EROFS, Class::Runtime, "that you may write"),
            (libc::EACCES, Class::Permission, "that you may write"),
        ] {
            let error = cannot("/a b/x", &io::Error::from_raw_os_error(errno));
            assert_eq!(error.class(), class, "{error}");
            assert!(error.advice().is_some_and(|said| said.contains(hint)), "{error}");
        }
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(
            cannot_go_on("x", &full, false, 1).what(),
            "x: No space left on device; what is in it is whole: 1 frame"
        );
        assert!(cannot_go_on(STDOUT, &full, true, 2).what().ends_with("what is in them is whole: 2 frames"));
        let gone = io::Error::from_raw_os_error(libc::EIO);
        assert!(cannot(STDOUT, &gone).advice().is_none());
    }
}
