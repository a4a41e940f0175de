//! News of changed interfaces in this network namespace: a socket in rtnetlink's multicast group for links.
//!
//! The messages are not parsed, since one may be lost or out of date: each port is asked for its link state instead.

use super::sys;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use std::io::Result;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// RTMGRP_LINK of linux/rtnetlink.h.
const LINKS: u32 = 1;

/// Longer than a message; the kernel truncates a longer one.
const ROOM: usize = 4096;

/// See the module.
pub struct LinkNews(OwnedFd);

impl LinkNews {
    /// Opens a socket that hears of the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system calls'.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(Self(sys::owned(socket)))
    }

    /// Takes all that has come, unread.
    pub fn take(&self) {
        let mut room = [0; ROOM];
        loop {
            match rustix::io::read(&self.0, &mut room) {
                // ENOBUFS: messages were lost, which is news, too.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for LinkNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for LinkNews {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
