//! Packets between processes of zbridge: JSON in packets of a UNIX SOCK_SEQPACKET socket, descriptors beside it
//! (SCM_RIGHTS). Both ends are the same program, so there is one version of it.

use crate::error::{Class, Error, Result, STATUSES};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors beside one packet, at most.
pub const MOST_FDS: usize = 33;

/// The longest packet.
const PACKET: usize = 64 * 1024;

/// An [`Error`], and the exit status that tells it, as they are sent.
#[derive(Serialize, Deserialize, Debug)]
pub struct Fault {
    class: u8,
    what: String,
    hint: Option<String>,
    errno: Option<i32>,
    /// The exit status.
    pub status: u8,
}

impl Fault {
    /// To be sent.
    pub fn new(error: &Error, status: u8) -> Self {
        let hint = error.advice().map(ToOwned::to_owned);
        let errno = error.raw_os_error();
        Self { class: error.class().code(), what: error.what().to_owned(), hint, errno, status }
    }

    /// As it was before.
    pub fn error(&self) -> Error {
        let class = STATUSES.iter().find(|row| row.code == self.class).map_or(Class::Runtime, |row| row.class);
        Error::told_elsewhere(class, &self.what, self.hint.clone(), self.errno)
    }
}

/// Sends `what`, with `fds` attached.
///
/// # Errors
/// The other end is gone.
pub fn send(socket: impl AsFd, what: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let failed = |cause: std::io::Error| Error::system("the other process", &cause);
    let bytes = serde_json::to_vec(what).map_err(|error| failed(error.into()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(failed(Errno::MSGSIZE.into()));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL).map_err(|errno| failed(errno.into()))?;
    Ok(())
}

/// Receives what the other end says, and the descriptors beside it; `None` when it is gone. Waits for it, unless the
/// socket does not.
///
/// # Errors
/// EAGAIN, and EPROTO for an invalid message.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>, Errno> {
    let mut room = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let len = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut room)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
            // CONNRESET: its other end was closed with something unread in it. That is told once, before what that end
            // had said itself.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?.bytes,
        }
    };
    if len == 0 {
        return Ok(None);
    }
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let what = serde_json::from_slice(room.get(..len).unwrap_or_default()).map_err(|_| Errno::PROTO)?;
    Ok(Some((what, fds)))
}
