//! Access to folders by Landlock: which files may be opened, made and removed where.
//!
//! Everywhere below the *places* of the policy everything but devices may be made, and nothing run. What the system's
//! resolver, the clock's zone and messages need may be read. Sockets that are there may be dialled by whoever may by
//! their permissions: Landlock does not hold connect(2).

use landlock::{
    ABI, Access, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
};
use rustix::fs::{FileType, fstat};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What is read by more than the ports: the resolver's files and plug-ins, who is at the other end of a socket,
/// interfaces.
const READ: [&str; 9] =
    ["/etc", "/proc", "/sys", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/nix"];

/// Devices that ports are made of.
const DEVICES: [&str; 7] =
    ["/dev/net/tun", "/dev/ptmx", "/dev/pts", "/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"];

/// The newest version known here; an older kernel enforces a part.
const NEWEST: ABI = ABI::V5;

/// The version of Landlock that holds threads of this process, once one is held.
static VERSION: OnceLock<i32> = OnceLock::new();

/// The version of the kernel's Landlock; `None`: it has none, or no thread is held by it yet.
pub fn version() -> Option<i32> {
    VERSION.get().copied()
}

/// Holds the calling thread to the `places`.
///
/// # Errors
/// The kernel's.
pub fn restrict(places: &[PathBuf]) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST) & !AccessFs::Execute;
    let make = all & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let mut rules = Ruleset::default().handle_access(all)?.create()?;
    let rows =
        READ.iter().map(|path| (Path::new(path), read)).chain(DEVICES.iter().map(|path| (Path::new(path), device)));
    let places = places.iter().map(|path| (path.as_path(), if path.starts_with("/dev") { device } else { make }));
    for (path, access) in rows.chain(places) {
        // A missing path needs no rule.
        let Ok(fd) = PathFd::new(path) else { continue };
        // For the opened descriptor, not for the path again.
        let is_folder = fstat(&fd).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory);
        let access = if is_folder { access } else { access & AccessFs::from_file(NEWEST) };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    if let LandlockStatus::Available { effective_abi, kernel_abi } = rules.restrict_self()?.landlock {
        VERSION.get_or_init(|| kernel_abi.unwrap_or(effective_abi as i32));
    }
    Ok(())
}

/// Whether `path`, or a file to be made there, is below one of the `places`, with links resolved.
pub fn is_within(path: &Path, places: &[PathBuf]) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(folder) = folder.canonicalize() else { return false };
    places.iter().filter_map(|place| place.canonicalize().ok()).any(|place| folder.starts_with(&place))
}
