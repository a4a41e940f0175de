//! `tcp:` and `udp:`: the framings of the UNIX sockets over IP, for peers that have nothing else.

use super::Edge;
use super::datagram::Udp;
use super::names::resolve;
use super::owner::listens;
use super::stream::Stream;
use crate::config::value::HostPort;
use crate::error::{Error, Result};
use crate::rights::deed;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const BACKLOG: i32 = 128;

/// A socket for `addr` that does not block.
///
/// # Errors
/// The system call's.
pub fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> std::io::Result<Socket> {
    Socket::new(Domain::for_address(addr), kind.nonblocking(), Some(protocol))
}

/// Listens at `addr` with `socket`, or takes datagrams there. Gives the address, too, whose port the system may have
/// chosen.
///
/// # Errors
/// The system call's, for [`in_use`] to explain.
pub fn bind(socket: &Socket, addr: SocketAddr) -> std::io::Result<SocketAddr> {
    let stream = socket.r#type()? == Type::STREAM;
    if stream {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&addr.into()).or_else(|cause| {
        let errno = Errno::from_io_error(&cause).ok_or(cause)?;
        Ok::<_, std::io::Error>(deed::bind_to(socket, addr, errno)?)
    })?;
    if stream {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.local_addr()?.as_socket().unwrap_or(addr))
}

/// Adds to `error` what to do about an address that was refused for `cause`.
pub fn in_use(error: Error, cause: &std::io::Error) -> Error {
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => error.hint("`ss -ltnup` shows who has the port; choose another"),
        std::io::ErrorKind::PermissionDenied => error.hint("a port below 1024 takes a right: choose one from 1024 up"),
        std::io::ErrorKind::AddrNotAvailable => error.hint("the address has to be one of this machine's"),
        _ => error,
    }
}

/// A TCP address that clients connect to.
pub struct TcpListener {
    socket: Socket,
    addr: SocketAddr,
}

impl TcpListener {
    /// Binds and listens. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or not this machine's.
    pub fn bind(addr: &HostPort) -> Result<Self> {
        let addr = resolve(addr)?;
        let made = || {
            let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
            let addr = bind(&socket, addr)?;
            Ok(Self { socket, addr })
        };
        made().map_err(|cause| {
            let error = Error::system(format_args!("cannot listen on tcp {addr}"), &cause);
            let taken = cause.kind() == std::io::ErrorKind::AddrInUse;
            match taken.then(|| listens(addr.port())).flatten() {
                Some(holder) => error.hint(format!("{holder} listens there; choose another port, or end that")),
                None => in_use(error, &cause),
            }
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next client and its name, if one is waiting.
    ///
    /// # Errors
    /// As in [`super::unix::UnixListener::accept`].
    pub fn accept(&self) -> Result<Option<(Edge, String)>, Errno> {
        Ok(self.accept_socket()?.map(|(fd, name)| (Edge::Stream(Stream::new(fd)), name)))
    }

    /// The same, for a caller with a use of its own for the socket.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_socket(&self) -> Result<Option<(OwnedFd, String)>, Errno> {
        match self.socket.accept() {
            Ok((client, from)) => {
                let ready = client.set_nonblocking(true).and_then(|()| client.set_tcp_nodelay(true));
                ready.map_err(|error| errno(&error))?;
                Ok(Some((OwnedFd::from(client), name(&from))))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(errno(&error)),
        }
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn name(addr: &SockAddr) -> String {
    addr.as_socket().map_or_else(|| "unknown".into(), |addr| addr.to_string())
}

/// Begins to connect. The edge is of use once its socket is writable and [`connected`] agrees.
///
/// # Errors
/// The host is unknown, or refused at once.
pub fn dial(addr: &HostPort) -> Result<(Edge, String)> {
    dial_socket(addr).map(|(fd, name)| (Edge::Stream(Stream::new(fd)), name))
}

/// The same, for a caller with a use of its own for the socket.
///
/// # Errors
/// As [`dial`].
pub fn dial_socket(addr: &HostPort) -> Result<(OwnedFd, String)> {
    let addr = resolve(addr)?;
    dial_at(addr).map(|fd| (fd, addr.to_string()))
}

/// The same, of an address.
///
/// # Errors
/// It was refused at once.
pub fn dial_at(addr: SocketAddr) -> Result<OwnedFd> {
    let cannot = |error| Error::system(format_args!("cannot connect to tcp {addr}"), &error);
    begin(addr).map(OwnedFd::from).map_err(cannot)
}

/// A TCP connection to `addr` that is under way; see [`connected`].
///
/// # Errors
/// It was refused at once.
pub fn begin(addr: SocketAddr) -> std::io::Result<Socket> {
    let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// How a connection that was begun stands: `None` while it is under way.
pub fn connected(fd: impl AsFd) -> Option<std::io::Result<()>> {
    let socket = socket2::SockRef::from(&fd);
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => Some(Err(error)),
        Ok(None) => match socket.peer_addr() {
            Ok(_) => Some(Ok(())),
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        },
    }
}

/// Binds one address and connects it to another.
///
/// # Errors
/// As in [`TcpListener::bind`] and [`dial`].
pub fn udp(local: &HostPort, remote: &HostPort) -> Result<(Edge, String)> {
    let (local, remote) = (resolve(local)?, resolve(remote)?);
    let made = || {
        let socket = socket(local, Type::DGRAM, Protocol::UDP)?;
        bind(&socket, local)?;
        socket.connect(&remote.into())?;
        Ok(Edge::Udp(Udp::new(OwnedFd::from(socket))))
    };
    let edge = made()
        .map_err(|error| in_use(Error::system(format_args!("cannot use udp {local}->{remote}"), &error), &error))?;
    Ok((edge, remote.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_address_says_what_to_choose() {
        let advice = |errno: Errno| {
            let cause = std::io::Error::from(errno);
            in_use(Error::system("cannot listen", &cause), &cause).advice().unwrap_or_default().to_owned()
        };
        assert!(advice(Errno::ACCESS).contains("1024"));
        assert!(advice(Errno::ADDRINUSE).contains("ss -ltnup"));
        assert!(advice(Errno::ADDRNOTAVAIL).contains("this machine's"));
    }
}
