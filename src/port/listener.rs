//! A socket whose clients become ports.

use super::edge::Edge;
use super::{inet, unix};
use crate::config::{self, PortKind, PortSpec};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A socket whose clients become ports.
pub enum Listener {
    /// On a path.
    Unix(unix::UnixListener),
    /// On a TCP address.
    Tcp(inet::TcpListener),
}

impl Listener {
    /// The next client and its name, if one is waiting.
    ///
    /// # Errors
    /// The system call's: ECONNABORTED concerns one client, EMFILE and its like all of them for a while.
    pub fn accept(&self) -> Result<Option<(Edge, String)>, Errno> {
        match self {
            Self::Unix(listener) => listener.accept(),
            Self::Tcp(listener) => listener.accept(),
        }
    }

    /// The same, for a caller with a use of its own for the socket.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn accept_socket(&self) -> Result<Option<(OwnedFd, String)>, Errno> {
        match self {
            Self::Unix(listener) => listener.accept_socket(),
            Self::Tcp(listener) => listener.accept_socket(),
        }
    }

    /// The descriptor to wait on.
    pub fn fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }

    /// Where it listens, if that was not known before: a TCP port that the system chose.
    pub fn addr(&self) -> Option<String> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(listener) => Some(listener.addr().to_string()),
        }
    }

    /// The line that attaches a peer to what `spec` became, with the TCP port that the system chose.
    pub fn attach(&self, spec: &PortSpec) -> Option<config::Attach> {
        let mut spec = spec.clone();
        if let (Self::Tcp(listener), PortKind::Tcp(tcp)) = (self, &mut spec.kind) {
            tcp.addr.port = listener.addr().port();
        }
        spec.attach_hint()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}
