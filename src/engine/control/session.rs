//! One client of the control socket: its input and output buffers, received descriptors, and waits.
//!
//! All of it is bounded. No request is read from a client that does not read its answers, so at most one answer waits.

use super::captures::Captured;
use super::herald::Subscription;
use crate::control::{Lines, REQUEST_BYTES, TooLong};
use crate::time::Instant;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of one read.
const READ: usize = 16 * 1024;
/// Received descriptors that no request has used yet. A client that sends more is dropped.
const DESCRIPTORS: usize = 8;
/// Requests to wait that a client may have open.
pub const WAITS: usize = 16;

/// A request that is answered later.
pub struct Wait {
    /// Its number.
    pub id: Option<u64>,
    /// The port's name.
    pub port: String,
    /// The state that it shall have.
    pub state: String,
    /// When to give up.
    pub until: Instant,
    /// How long that is, as the answer says it.
    pub millis: u64,
}

/// The outcome of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// Something came.
    More,
    /// Nothing, for now.
    Nothing,
    /// Nothing will come any more.
    End,
}

/// A client. See the head of the file.
pub struct Session {
    socket: OwnedFd,
    /// Its number, which no other has had.
    pub number: u64,
    /// The process, for the log.
    pub who: String,
    /// When its last request came, or it connected.
    pub heard: Instant,
    /// Another thread works for it; no further request is read until that is done.
    pub busy: bool,
    lines: Lines,
    descriptors: VecDeque<OwnedFd>,
    out: Vec<u8>,
    sent: usize,
    /// Nothing more will be read.
    pub ended: bool,
    /// Nobody will read what is sent.
    pub deaf: bool,
    /// Open requests.
    pub waits: Vec<Wait>,
    /// Its capture, which then has the connection.
    pub capture: Option<Captured>,
    /// Its subscription to events.
    pub events: Option<Subscription>,
    /// Ports that go when it does: switch and name.
    pub ports: Vec<(String, String)>,
}

impl Session {
    /// For a connected, non-blocking socket. It came at `heard`.
    pub fn new(socket: OwnedFd, number: u64, who: String, heard: Instant) -> Self {
        Self {
            socket,
            number,
            who,
            heard,
            busy: false,
            lines: Lines::new(REQUEST_BYTES),
            descriptors: VecDeque::new(),
            out: Vec::new(),
            sent: 0,
            ended: false,
            deaf: false,
            waits: Vec::new(),
            capture: None,
            events: None,
            ports: Vec::new(),
        }
    }

    /// Whether it is over: no more requests come, and all answers are sent.
    pub fn is_over(&self) -> bool {
        // Who is subscribed may say no more, and listens.
        self.ended && self.waits.is_empty() && !self.busy && !self.is_behind() && self.events.is_none()
    }

    /// Whether an answer to it is pending.
    pub fn is_waiting(&self) -> bool {
        self.busy || !self.waits.is_empty() || self.events.is_some()
    }

    /// Takes no more requests from it, and discards its input.
    pub fn cut(&mut self) {
        self.ended = true;
        self.events = None;
        self.lines = Lines::new(0);
        self.waits.clear();
    }

    /// Checks whether the client of a capture has ended it: by sending something, or closing its side.
    pub fn hear_of_end(&mut self) {
        if self.read() != Read::Nothing {
            self.cut();
        }
    }

    /// Its answers will not be read any more. Its requests are carried out all the same.
    pub fn hang_up(&mut self) {
        self.deaf = true;
        self.events = None;
        self.waits.clear();
        self.out.clear();
        self.sent = 0;
    }

    /// Whether it has not read all of its answers.
    pub fn is_behind(&self) -> bool {
        self.sent < self.out.len()
    }

    /// The next request that is whole.
    ///
    /// # Errors
    /// It has sent a line that is too long.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        self.lines.next_line()
    }

    /// The descriptor that came first.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Reads once.
    pub fn read(&mut self) -> Read {
        let mut room = [0; READ];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut room)], &mut control, flags) {
            Ok(got) => {
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        self.descriptors.extend(descriptors);
                    }
                }
                self.lines.push(room.get(..got.bytes).unwrap_or_default());
                if got.bytes == 0 || self.descriptors.len() > DESCRIPTORS { self.end() } else { Read::More }
            }
            Err(Errno::INTR) => Read::More,
            Err(Errno::AGAIN) => Read::Nothing,
            Err(_) => self.end(),
        }
    }

    fn end(&mut self) -> Read {
        self.ended = true;
        Read::End
    }

    /// Adds a line to its output, and sends what the socket takes.
    pub fn say(&mut self, line: &[u8]) {
        if !self.deaf {
            self.out.extend_from_slice(line);
            self.write();
        }
    }

    /// Sends what the socket takes.
    pub fn write(&mut self) {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => return self.hang_up(),
            }
        }
        self.out.clear();
        self.sent = 0;
        // Free the memory of a large answer.
        self.out.shrink_to(READ);
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    /// A client, and its end.
    pub fn pair() -> (Session, UnixStream) {
        let kind = (AddressFamily::UNIX, SocketType::STREAM);
        let (mine, yours) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
        (Session::new(mine, 0, "pid 1".into(), Instant::ZERO), UnixStream::from(yours))
    }

    #[test]
    fn half_a_line_waits_for_the_rest() {
        let (mut session, mut client) = pair();
        assert_eq!(session.read(), Read::Nothing);
        client.write_all(b"{\"a\"").unwrap();
        assert_eq!((session.read(), session.next_line()), (Read::More, Ok(None)));
        client.write_all(b":1}\nrest").unwrap();
        assert_eq!((session.read(), session.next_line()), (Read::More, Ok(Some(&b"{\"a\":1}"[..]))));
        drop(client);
        assert_eq!((session.read(), session.next_line()), (Read::End, Ok(None)));
        assert!(session.is_over());
    }

    #[test]
    fn what_is_not_read_waits() {
        let (mut session, mut client) = pair();
        let line = vec![b'x'; 4 << 20];
        session.say(&line);
        assert!(session.is_behind() && !session.is_over());
        let mut got = 0;
        let mut room = vec![0; 1 << 20];
        while got < line.len() {
            got += client.read(&mut room).unwrap();
            session.write();
        }
        assert!(!session.is_behind() && session.out.capacity() <= READ);
        client.write_all(b"still asked\n").unwrap();
        drop(client);
        session.say(b"x");
        assert!(session.deaf && !session.is_behind());
        assert_eq!((session.read(), session.next_line()), (Read::More, Ok(Some(&b"still asked"[..]))));
        assert_eq!((session.read(), session.is_over()), (Read::End, true));
    }
}
