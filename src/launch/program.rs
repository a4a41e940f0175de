//! Whether a program can be run, found out before anything is made for it, and why it could not be.

use super::{NotStarted, Spec};
use crate::error::{Class, Error};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The exit status for a program that is not there (sh(1), POSIX 2.8.2).
const NOT_FOUND: u8 = 127;

/// The exit status for a program that cannot be run.
const NOT_RUN: u8 = 126;

/// Refuses a program that is not there or not to be run.
///
/// # Errors
/// What is wrong with it.
pub fn check(spec: &Spec) -> Result<(), NotStarted> {
    let Some(program) = spec.command.first() else {
        return Err(Error::usage(format!("{}: there is no program to start", spec.name)).into());
    };
    let here = spec.cwd.as_deref().unwrap_or(Path::new("."));
    if !here.is_dir() {
        return Err(Error::new(Class::NoObject, format!("{}: there is no folder {}", spec.name, here.display())).into());
    }
    let path = spec.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    find(program, here, path.or_else(|| env::var_os("PATH")))
}

fn find(program: &OsStr, here: &Path, path: Option<OsString>) -> Result<(), NotStarted> {
    let name = program.to_string_lossy();
    if program.as_bytes().contains(&b'/') {
        let file = here.join(program);
        let meta = fs::metadata(&file).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => nowhere(program, &name, &file),
            _ => not_run(Error::system(&name, &cause)),
        })?;
        if meta.is_dir() {
            return Err(not_run(Error::usage(format!("{name}: is a folder, not a program"))));
        }
        return may_run(&file).then_some(()).ok_or_else(|| forbidden(&name));
    }
    // The default of exec(3).
    let path = path.unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut found = env::split_paths(&path).map(|folder| here.join(folder).join(program)).filter(|file| file.is_file());
    if found.any(|file| may_run(&file)) {
        return Ok(());
    }
    let mut failed = not_found(format!("{name}: there is no such program in PATH"));
    if here.join(program).is_file() {
        failed.error = failed.error.hint(format!("there is one here: ./{name}"));
    }
    Err(failed)
}

/// There is no program at a path.
fn nowhere(program: &OsStr, name: &str, file: &Path) -> NotStarted {
    if program.as_bytes().starts_with(b"/") {
        return not_found(format!("{name}: there is no such program"));
    }
    let looked = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    // Without `.`, which is noise in a message.
    let looked: PathBuf = looked.components().collect();
    let mut failed = not_found(format!("{name}: there is no such program: {} is not there", looked.display()));
    failed.error =
        failed.error.hint("a relative path counts from where zbridge is started, or from cwd, not from the file");
    failed
}

fn may_run(file: &Path) -> bool {
    access(file, Access::EXEC_OK).is_ok()
}

fn not_found(what: String) -> NotStarted {
    NotStarted { error: Error::new(Class::NoObject, what).because(Errno::NOENT), status: NOT_FOUND }
}

fn not_run(error: Error) -> NotStarted {
    NotStarted { error, status: NOT_RUN }
}

fn forbidden(name: &str) -> NotStarted {
    let error = Error::new(Class::Permission, format!("{name}: not permitted to run it"));
    not_run(error.hint(format!("chmod +x {name}")).because(Errno::ACCESS))
}

/// exec(2) has refused a program that was there.
pub fn refused(program: &OsStr, cause: &std::io::Error) -> NotStarted {
    let name = program.to_string_lossy();
    match Errno::from_io_error(cause) {
        Some(Errno::NOENT) => match interpreter(Path::new(program)) {
            Some(missing) => {
                let error =
                    Error::new(Class::NoObject, format!("{name}: its interpreter {} is missing", missing.display()));
                let hint = match missing.to_str() {
                    Some("/lib/ld-linux.so.2") => "it is a 32-bit program: sudo apt-get install libc6-i386",
                    _ => "install it, or run the program in a machine or container that has it",
                };
                NotStarted { error: error.hint(hint).because(Errno::NOENT), status: NOT_FOUND }
            }
            None => not_found(format!("{name}: there is no such program")),
        },
        Some(Errno::NOEXEC) => not_run(
            Error::new(Class::Runtime, format!("{name}: is no program for this machine"))
                .because(Errno::NOEXEC)
                .hint("a script needs a first line #!/bin/sh; a program for another processor needs its emulator"),
        ),
        Some(Errno::ACCESS) => forbidden(&name),
        _ => not_run(Error::system(&name, cause)),
    }
}

/// The interpreter that a program names and that is not there: of a script in its first line, of an ELF file in its
/// PT_INTERP, for which a look at its first bytes has to do.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    fs::File::open(program).ok()?.take(4096).read_to_end(&mut start).ok()?;
    let named = match start.strip_prefix(b"#!") {
        Some(line) => line.trim_ascii_start().split(|byte| byte.is_ascii_whitespace()).next()?,
        None => {
            let at = start.windows(4).position(|window| window == b"/lib")?;
            start.get(at..)?.split(|&byte| byte == 0).next()?
        }
    };
    let named = PathBuf::from(OsStr::from_bytes(named));
    (!named.exists()).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(dir: &Path, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn statuses_are_a_shells() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "good", b"", 0o755);
        file(dir.path(), "plain", b"", 0o644);
        let path = Some(dir.path().as_os_str().to_owned());
        let ask = |name: &str| find(OsStr::new(name), dir.path(), path.clone()).map_err(|failed| failed.status);
        assert_eq!(ask("./good"), Ok(()));
        assert_eq!(ask("good"), Ok(()));
        assert_eq!(ask("./absent"), Err(NOT_FOUND));
        assert_eq!(ask("absent"), Err(NOT_FOUND));
        assert_eq!(ask("./plain"), Err(NOT_RUN));
        assert_eq!(ask("/"), Err(NOT_RUN));
        let here = find(OsStr::new("good"), dir.path(), None).unwrap_err();
        assert_eq!(here.error.advice(), Some("there is one here: ./good"));
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let script = file(dir.path(), "script", b"#! /no/such/shell -e\n", 0o755);
        let old = file(dir.path(), "old", b"\x7fELF\x01....\0/lib/ld-none.so.2\0....", 0o755);
        let ask = |path: &Path| refused(path.as_os_str(), &Errno::NOENT.into());
        assert!(ask(&script).error.what().contains("its interpreter /no/such/shell is missing"));
        assert!(ask(&old).error.what().contains("/lib/ld-none.so.2"));
        assert_eq!((ask(&old).status, ask(&dir.path().join("absent")).status), (NOT_FOUND, NOT_FOUND));
        assert_eq!(refused(script.as_os_str(), &Errno::NOEXEC.into()).status, NOT_RUN);
    }
}
