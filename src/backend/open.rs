//! Opens a service's wants.

use super::Backend;
use super::append::{self, Append};
use super::disk::{Disk, Use};
use super::folder::Folder;
use super::lease_file::LeaseFile;
use super::slot::{Clients, Owned, Slot};
use super::terminal::Terminal;
use super::uploads::Uploads;
use super::writer::Writer;
use crate::config::Protocol;
use crate::error::{Error, Result};
use crate::limits::DEAD_PEER;
use crate::port::Listener;
use crate::port::accept::Starvation;
use crate::port::inet::TcpListener;
use crate::port::unix::UnixListener;
use crate::rights::deed;
use crate::service::outside::{Found, SocketId, Want};
use rustix::fs::OFlags;
use rustix::net::SocketType;
use std::collections::VecDeque;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

impl Backend {
    /// Opens `want` and names it.
    pub(super) fn open_want(&mut self, want: &Want) -> Result<(SocketId, Found)> {
        let mut found = Found::Ready;
        let name = self.name();
        let owned = match want {
            Want::Tcp { addr, single, patience } => {
                let listener = TcpListener::bind(addr)?;
                found = Found::Listening(listener.addr());
                clients(Listener::Tcp(listener), *single, *patience)
            }
            Want::Unix(path, access) => {
                let listener = UnixListener::bind(path, SocketType::STREAM, access)?;
                clients(Listener::Unix(listener), true, DEAD_PEER)
            }
            Want::Pty(path, access) => Owned::Terminal(Box::new(Terminal::open(path, access)?)),
            Want::Append(path) => Owned::Append(Box::new(Append::new((path, append::open(path)?), self.tell(name))?)),
            Want::Read(path) => to_read(path)?,
            Want::Disk { image, read_only, cow, raw } => {
                let how = Use { read_only: *read_only, cow: *cow, raw: *raw };
                let (disk, blocks) = Disk::open(image, how, self.tell(name))?;
                found = Found::Disk(blocks);
                Owned::Disk(Box::new(disk), VecDeque::new())
            }
            Want::Forward(protocol, addr) => {
                let (socket, bound) = self.listen(*protocol == Protocol::Udp, *addr)?;
                return Ok((socket, Found::Listening(bound)));
            }
            Want::Folder { path, writes, expects } => {
                self.folder = Some(Folder::open(path, self.waker())?);
                if *writes {
                    self.writer = Some(Writer::start(Uploads::open(path)?, path, self.waker())?);
                }
                let is_missing = |file: &&String| !path.join(file.trim_start_matches('/')).is_file();
                found = Found::Missing(expects.iter().filter(is_missing).cloned().collect());
                Owned::Nothing
            }
            Want::Leases(path) => {
                let (file, leases) = LeaseFile::open(path)?;
                self.leases = Some(file);
                found = Found::Leases(leases);
                Owned::Nothing
            }
        };
        let placed = self.place(name, Slot::new(owned));
        placed.map_err(|error| Error::system("cannot wait for its descriptor", &error))?;
        Ok((SocketId(name), found))
    }
}

fn clients(listener: Listener, single: bool, patience: Duration) -> Owned {
    Owned::Listener(Box::new(Clients { listener, single, patience, starved: None, starvation: Starvation::default() }))
}

fn to_read(path: &Path) -> Result<Owned> {
    let cannot = |error: std::io::Error| Error::system(format_args!("cannot open {}", path.display()), &error);
    let pipe = fs::metadata(path).map_err(cannot)?.file_type().is_fifo();
    // A pipe that is open for writing here, too, gets no end of file when a writer leaves.
    let access = if pipe { OFlags::RDWR } else { OFlags::RDONLY };
    let file = deed::file(path, access | OFlags::NONBLOCK).map_err(cannot)?;
    Ok(if pipe { Owned::Stream(OwnedFd::from(file)) } else { Owned::Read(file) })
}

#[cfg(test)]
mod tests {
    use crate::backend::Backend;
    use crate::config::Access;
    use crate::error::Result;
    use crate::service::outside::{Outside, Want};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    fn open(want: &Want) -> Result<Backend> {
        let mut backend = Backend::new()?;
        backend.obtain(want)?;
        Ok(backend)
    }

    #[test]
    fn a_socket_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acm");
        let want = Want::Unix(path.clone(), Access::default());
        let backend = open(&want).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = open(&want).err().unwrap();
        assert!(refused.what().ends_with("another port of the bridge listens on it"), "{refused}");
        // Another process has replaced it; that one is not ours to remove.
        fs::remove_file(&path).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(backend);
        assert!(path.exists());
        // Left behind by a process that was killed.
        drop(theirs);
        let backend = open(&want).unwrap();
        drop(backend);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_does_not_refuse_is_not_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gram");
        let want = Want::Unix(path.clone(), Access::default());
        let theirs = UnixDatagram::bind(&path).unwrap();
        assert!(open(&want).is_err());
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"still there", &path).unwrap();
        assert_eq!(theirs.recv(&mut [0; 20]).unwrap(), 11);
    }

    #[test]
    fn a_terminal_that_is_in_use_keeps_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tty");
        let want = Want::Pty(path.clone(), Access::default());
        symlink("/dev/pts/no-such", &path).unwrap();
        let first = open(&want).unwrap();
        let terminal = fs::read_link(&path).unwrap();
        assert!(terminal.exists());
        let refused = open(&want).err().unwrap();
        let refused = refused.told();
        let owner = format!("{}, the terminal of pid {}", terminal.display(), std::process::id());
        assert!(refused.what().contains(&owner), "{refused}");
        assert_eq!(fs::read_link(&path).unwrap(), terminal);
        drop(first);
        symlink("/dev/null", &path).unwrap();
        assert!(open(&want).is_err());
        assert_eq!(fs::read_link(&path).unwrap().to_str(), Some("/dev/null"), "another program's");
    }
}
