//! From a want to a descriptor under the reactor's watch.

use super::append;
use super::reactor::{Listener, Reactor};
use super::stream::Owned;
use super::terminal::Terminal;
use crate::config::value::HostPort;
use crate::error::{Class, Error, Result};
use crate::service::outside::{Found, Input, Want};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::{self, File};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const BACKLOG: i32 = 128;

/// A path that is removed at the end.
pub(super) struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        // When this fails a stale socket is left, which the next owner replaces.
        let _ = fs::remove_file(&self.0);
    }
}

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
        Want::Tcp { addr, single } => {
            let (listener, bound) = listen(addr)?;
            reactor.add_listener(index, Listener::Tcp(listener), *single)?;
            return Ok(Found::Listening(bound));
        }
        Want::Unix(path) => {
            let (socket, bound) = listen_unix(path)?;
            reactor.add_listener(index, Listener::Unix { socket, _bound: bound }, true)?;
        }
        Want::Pty(path) => reactor.add_terminal(index, Terminal::open(path)?)?,
        Want::Append(path) => reactor.add_append(index, append::open(path)?, tell)?,
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

/// The first address of a host.
pub(super) fn resolve(addr: &HostPort) -> Result<SocketAddr> {
    let subject = format!("cannot resolve {}", addr.host);
    let mut found =
        (addr.host.as_str(), addr.port).to_socket_addrs().map_err(|error| Error::system(&subject, &error))?;
    found.next().ok_or_else(|| Error::new(Class::NoObject, format!("{subject}: it has no address")))
}

fn listen(addr: &HostPort) -> Result<(Socket, SocketAddr)> {
    let addr = resolve(addr)?;
    let made = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok((socket, bound))
    };
    made().map_err(|error: std::io::Error| {
        let told = Error::system(format_args!("cannot listen on tcp {addr}"), &error);
        match error.kind() {
            std::io::ErrorKind::AddrInUse => told.hint("`ss -ltnp` shows who has the port; choose another"),
            std::io::ErrorKind::PermissionDenied => {
                told.hint("a port below 1024 takes a right: choose one from 1024 up")
            }
            _ => told,
        }
    })
}

fn listen_unix(path: &Path) -> Result<(UnixListener, Bound)> {
    let cannot = |error: &std::io::Error| Error::system(format_args!("cannot listen on {}", path.display()), error);
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() && UnixStream::connect(path).is_err() => {
            fs::remove_file(path).map_err(|error| cannot(&error))?;
        }
        Ok(_) => {
            return Err(Error::new(Class::Runtime, format!("cannot listen on {}: it is in use", path.display()))
                .hint("choose another path, or stop who has it"));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| cannot(&error))?;
    let bound = Bound(path.to_owned());
    listener.set_nonblocking(true).map_err(|error| cannot(&error))?;
    Ok((listener, bound))
}
