//! From a want to a descriptor under the reactor's watch.

use super::append;
use super::reactor::Reactor;
use super::stream::Owned;
use super::terminal::Terminal;
use crate::error::{Class, Error, Result};
use crate::limits::DEAD_PEER;
use crate::port::Listener;
use crate::port::inet::TcpListener;
use crate::port::unix::UnixListener;
use crate::service::outside::{Found, Input, Want};
use rustix::net::SocketType;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens `want`, whose place is `index`, and gives it to the reactor. `tell` is for what a thread does.
pub(super) fn open(
    reactor: &mut Reactor,
    index: usize,
    want: &Want,
    tell: impl Fn(Input) -> bool + Send + 'static,
) -> Result<Found> {
    let cannot =
        |path: &Path, error: &std::io::Error| Error::system(format_args!("cannot open {}", path.display()), error);
    match want {
        Want::Tcp { addr, single, patience } => {
            let listener = TcpListener::bind(addr)?;
            let bound = listener.addr();
            reactor.add_listener(index, Listener::Tcp(listener), *single, *patience)?;
            return Ok(Found::Listening(bound));
        }
        Want::Unix(path, access) => {
            let listener = UnixListener::bind(path, SocketType::STREAM, access)?;
            reactor.add_listener(index, Listener::Unix(listener), true, DEAD_PEER)?;
        }
        Want::Pty(path, access) => reactor.add_terminal(index, Terminal::open(path, access)?)?,
        Want::Append(path) => reactor.add_append(index, (path, append::open(path)?), tell)?,
        Want::Read(path) => {
            let kind = fs::metadata(path).map_err(|error| cannot(path, &error))?.file_type();
            let pipe = kind.is_fifo();
            // A pipe that is also open for writing here does not end when a writer leaves.
            let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
            let file = File::options().read(true).write(pipe).custom_flags(flags).open(path);
            let file = file.map_err(|error| cannot(path, &error))?;
            let owned = if pipe { Owned::Polled(OwnedFd::from(file)) } else { Owned::Read(file) };
            reactor.add_stream(index, owned)?;
        }
        Want::Dial(addr) => reactor.add_dial(index, addr.clone()),
        Want::Disk { image, .. } => {
            return Err(Error::new(Class::Runtime, format!("{}: a disk has no stream", image.display())));
        }
    }
    Ok(Found::Ready)
}

#[cfg(test)]
mod tests {
    use crate::backend::Backend;
    use crate::config::Access;
    use crate::service::outside::Want;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn a_socket_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acm");
        let (backend, _) = Backend::open(&[Want::Unix(path.clone(), Access::default())]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = Backend::open(&[Want::Unix(path.clone(), Access::default())]).err().unwrap();
        assert!(refused.what().ends_with("another port of the bridge listens on it"), "{refused}");
        // Somebody has put another in its place, which is not ours to remove.
        fs::remove_file(&path).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(backend);
        assert!(path.exists());
        // Left behind by a process that was killed.
        drop(theirs);
        let (backend, _) = Backend::open(&[Want::Unix(path.clone(), Access::default())]).unwrap();
        drop(backend);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_does_not_refuse_is_not_stale() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gram");
        let theirs = UnixDatagram::bind(&path).unwrap();
        assert!(Backend::open(&[Want::Unix(path.clone(), Access::default())]).is_err());
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"still there", &path).unwrap();
        assert_eq!(theirs.recv(&mut [0; 20]).unwrap(), 11);
    }

    #[test]
    fn a_terminal_that_is_in_use_keeps_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tty");
        let wants = [Want::Pty(path.clone(), Access::default())];
        symlink("/dev/pts/no-such", &path).unwrap();
        let (first, _) = Backend::open(&wants).unwrap();
        let terminal = fs::read_link(&path).unwrap();
        assert!(terminal.exists());
        let refused = Backend::open(&wants).err().unwrap();
        let refused = refused.told();
        let owner = format!("{}, the terminal of pid {}", terminal.display(), std::process::id());
        assert!(refused.what().contains(&owner), "{refused}");
        assert_eq!(fs::read_link(&path).unwrap(), terminal);
        drop(first);
        symlink("/dev/null", &path).unwrap();
        assert!(Backend::open(&wants).is_err());
        assert_eq!(fs::read_link(&path).unwrap().to_str(), Some("/dev/null"), "another program's");
    }
}
