//! The socket of a QEMU that zbridge starts: a port of the kind `unix`, and the arguments that attach the guest to it.
//!
//! The socket lies in a folder that only this user can enter. Once the guest is connected, the path is no longer needed
//! and is removed, so that a killed process leaves nothing behind.

use crate::config::{InstanceSpec, PortKind, PortSpec, UnixSocket, grammar};
use crate::engine::{Bridge, Handle};
use crate::error::{Error, Result};
use crate::port::made::Made;
use crate::wire::Mac;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

/// The id of the netdev in QEMU.
const ID: &str = "zbridge0";

/// The prefix of the folders' names; a process id and a number follow.
const PREFIX: &str = "zbridge-";

/// A folder for one socket; removed on drop with it. Its lock tells a folder in use from one whose owner was killed;
/// the next process removes the latter.
struct Folder {
    path: PathBuf,
    /// For an end that does not drop this.
    _made: Made,
    _lock: OwnedFd,
}

impl Folder {
    /// Makes one in `$XDG_RUNTIME_DIR`, or where temporary files go.
    fn new() -> Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
        Self::within(&runtime.unwrap_or_else(std::env::temp_dir))
    }

    fn within(parent: &Path) -> Result<Self> {
        clear(parent);
        let mut number = 0_u32;
        loop {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let cannot = |error: &std::io::Error| Error::system(path.display(), error);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    number += 1;
                    continue;
                }
                Err(error) => return Err(cannot(&error)),
            }
            // Another process's clean-up may have taken it first.
            match lock(&path) {
                Ok(Some(lock)) => match Made::note(&path) {
                    Ok(made) => return Ok(Self { path, _made: made, _lock: lock }),
                    Err(_) => number += 1,
                },
                Ok(None) | Err(Errno::NOENT) => number += 1,
                Err(errno) => return Err(cannot(&errno.into())),
            }
        }
    }
}

/// Locks a folder that only this user can enter, unless somebody has.
fn lock(path: &Path) -> std::result::Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = open(path, flags, Mode::empty())?;
    let found = fstat(&folder)?;
    if found.st_uid != geteuid().as_raw() || found.st_mode & 0o077 != 0 {
        return Ok(None);
    }
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes the folders that were left behind by a process that was killed.
fn clear(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        if numbers.is_some_and(|(pid, number)| pid.parse::<u32>().is_ok() && number.parse::<u32>().is_ok()) {
            let left = lock(&entry.path()).ok().flatten();
            left.into_iter().for_each(|_lock| remove(&entry.path()));
        }
    }
}

/// Removes a folder and its socket, unless there is anything else in it. A folder that cannot be removed is in a place
/// that the system cleans up.
fn remove(folder: &Path) {
    let socket = path_in(folder);
    if socket.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        let _ = std::fs::remove_file(socket);
    }
    let _ = std::fs::remove_dir(folder);
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// See the module.
pub struct Socket {
    folder: Folder,
    seat: Seat,
    card: String,
}

/// Where the guest comes to.
#[derive(Clone)]
pub struct Seat {
    switch: Handle,
    port: String,
}

impl Seat {
    /// Whether the guest has connected.
    pub fn is_taken(&self) -> bool {
        let status = self.switch.status();
        status.is_ok_and(|switch| {
            switch.ports.iter().any(|port| port.listener.as_ref() == Some(&self.port) && port.state == "up")
        })
    }
}

impl Socket {
    /// Listens for the guest of an instance, with a network card of this model and address.
    ///
    /// # Errors
    /// No folder for the socket, or no port.
    pub fn listen(bridge: &Bridge, instance: &InstanceSpec, model: Option<&str>, mac: Mac) -> Result<Self> {
        let folder = Folder::new().map_err(|error| error.at(&instance.name))?;
        let kind = PortKind::Unix(UnixSocket::stream(path_in(&folder.path), false));
        let (name, switch) = (instance.name.clone(), instance.switch.clone());
        let (rewrite, bends) = (instance.rewrite.clone(), instance.bends.clone());
        let port = PortSpec { name, switch, rewrite, bends, ..PortSpec::new(kind) };
        bridge.add_port(if geteuid().is_root() { port.for_programs_of_root() } else { port })?;
        let model = model.map(|model| format!(",model={model}")).unwrap_or_default();
        let card = format!("nic,netdev={ID},macaddr={mac}{model}");
        let seat = Seat { switch: bridge.switch(&instance.switch)?.clone(), port: instance.name.clone() };
        Ok(Self { folder, seat, card })
    }

    /// The arguments that attach QEMU. `-net nic` works for cards on the machine's board and for those in its slots.
    pub fn arguments(&self) -> [String; 4] {
        let path = grammar::escape(&path_in(&self.folder.path).display().to_string());
        let netdev = format!("stream,id={ID},server=off,addr.type=unix,addr.path={path}");
        ["-netdev".to_owned(), netdev, "-net".to_owned(), self.card.clone()]
    }

    /// Where the guest comes to.
    pub fn seat(&self) -> Seat {
        self.seat.clone()
    }
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("net")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_guest_gets_its_arguments_and_the_folder_goes() {
        let text = "[[instance]]\nname = \"board\"\ncommand = \"qemu\"\nqemu = \"stellaris\"\n";
        let config = Config::parse(text, "x").unwrap();
        let bridge = Bridge::start(&config).unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let socket = Socket::listen(&bridge, &config.instances[0], Some("stellaris"), mac).unwrap();
        let [_, netdev, _, nic] = socket.arguments();
        let path = PathBuf::from(netdev.rsplit_once("addr.path=").unwrap().1);
        assert_eq!(nic, "nic,netdev=zbridge0,macaddr=02:00:00:00:00:01,model=stellaris");
        let folder = path.parent().unwrap();
        assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(path.exists() && !socket.seat().is_taken());
        let _guest = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !socket.seat().is_taken() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(socket);
        assert!(!folder.exists());
        bridge.stop().unwrap();
    }

    #[test]
    fn folders_of_the_dead_are_cleared_away_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let there = |name: &str| parent.path().join(name).exists();
        for name in ["zbridge-77-0", "zbridge-77-x", "zbridge-1000", "zbridge-77-1", "zbridge-2024-5", "zbridge-2024-6"]
        {
            DirBuilder::new().mode(0o700).create(parent.path().join(name)).unwrap();
        }
        drop(std::os::unix::net::UnixListener::bind(parent.path().join("zbridge-77-0/net")).unwrap());
        std::fs::write(parent.path().join("zbridge-2024-5/photo"), "").unwrap();
        std::fs::write(parent.path().join("zbridge-2024-6/net"), "").unwrap();
        DirBuilder::new().mode(0o755).create(parent.path().join("zbridge-2024-7")).unwrap();
        let held = lock(&parent.path().join("zbridge-77-1")).unwrap();
        let one = Folder::within(parent.path()).unwrap();
        let two = Folder::within(parent.path()).unwrap();
        assert!(one.path.exists() && two.path.exists() && one.path != two.path);
        assert!(!there("zbridge-77-0"), "its owner is gone");
        assert!(there("zbridge-77-x") && there("zbridge-1000"), "not of its kind");
        assert!(there("zbridge-2024-5/photo") && there("zbridge-2024-6/net") && there("zbridge-2024-7"), "another's");
        assert!(held.is_some() && there("zbridge-77-1"), "in use");
        drop((one, two));
        assert!(!there(&format!("zbridge-{}-0", std::process::id())));
    }
}
