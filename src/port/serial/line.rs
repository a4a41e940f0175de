//! A serial line: a descriptor to read from, one to write to, and whether somebody is at the other end.
//!
//! Theory of operation. Some lines are opened and used until they end: a dialled connection, a UART, an inherited
//! descriptor, a child process. Their end is [`Gone`], and the engine opens the port anew, with its backoff. Others
//! stay while their peers come and go: a listener, a pseudo-terminal, a pair of FIFOs. These are never gone; they are
//! *open* while a peer is there, and wait for the next one otherwise.
//!
//! | line | a peer arrives | it leaves |
//! |---|---|---|
//! | listener | it connects (others wait in the backlog) | end of the stream |
//! | pseudo-terminal | the terminal is opened: no hang-up on our side any more | EIO, with the hang-up |
//! | FIFOs | somebody has `PATH.in` open to read: it can be opened to write | hang-up of `PATH.out`, EPIPE on `PATH.in` |
//!
//! No event tells that a terminal or a FIFO was opened, so these are polled while they wait; data from the peer is
//! noticed at once.

use super::Octets;
use super::child::Child;
use super::fifo::Fifos;
use super::pty::Pty;
use super::uart;
use crate::config::Transport;
use crate::error::{Error, Result};
use crate::port::accept::{Accepted, Starvation};
use crate::port::{Gone, inet, sys, unix};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::net::SocketType;
use rustix::termios::isatty;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// The source of the descriptors.
enum Source {
    /// Opened once; gone when it is.
    Once,
    /// A TCP connection that was begun.
    Dialled,
    Unix(unix::UnixListener),
    Tcp(inet::TcpListener),
    Pty(Pty),
    Fifos(Fifos),
    /// It ends with the line.
    Child {
        _lives: Child,
    },
}

/// See the module.
pub struct Line {
    source: Source,
    input: Option<OwnedFd>,
    /// `None`: the same as the input.
    output: Option<OwnedFd>,
    open: bool,
    starvation: Starvation,
    peer: String,
}

impl Line {
    /// Opens a line.
    ///
    /// # Errors
    /// What could not be opened, why, and what to do about it.
    pub fn open(transport: &Transport) -> Result<Self> {
        match transport {
            Transport::Unix { path, connect: true, .. } => {
                unix::dial_socket(path, SocketType::STREAM).map(|(fd, peer)| Self::once(fd, peer))
            }
            Transport::Unix { path, connect: false, access } => {
                let listener = unix::UnixListener::bind(path, SocketType::STREAM, access)?;
                Ok(Self::waiting(Source::Unix(listener), None, "nobody has connected yet".into()))
            }
            Transport::Tcp { addr, listen: false, .. } => {
                let (fd, peer) = inet::dial_socket(addr)?;
                Ok(Self::waiting(Source::Dialled, Some(fd), peer))
            }
            Transport::Tcp { addr, listen: true, .. } => {
                let listener = inet::TcpListener::bind(addr)?;
                let peer = format!("nobody has connected to {} yet", listener.addr());
                Ok(Self::waiting(Source::Tcp(listener), None, peer))
            }
            Transport::Pty { path, access } => {
                let (pty, master) = Pty::open(path, access)?;
                Ok(Self::waiting(Source::Pty(pty), Some(master), format!("nobody has opened {} yet", path.display())))
            }
            Transport::Pipe { path, access } => {
                let (fifos, input) = Fifos::open(path, access)?;
                let peer = format!("nobody reads {}.in yet", path.display());
                Ok(Self::waiting(Source::Fifos(fifos), Some(input), peer))
            }
            Transport::Serial(settings) => {
                uart::open(settings).map(|fd| Self::once(fd, settings.device.display().to_string()))
            }
            Transport::Fd(number) => inherited(*number).map(|fd| Self::once(fd, format!("descriptor {number}"))),
            Transport::Exec { command } => {
                let (child, input, output) = Child::start(command)?;
                let peer = format!("pid {}", child.id());
                Ok(Self {
                    source: Source::Child { _lives: child },
                    input: Some(input),
                    output: Some(output),
                    open: true,
                    starvation: Starvation::default(),
                    peer,
                })
            }
        }
    }

    fn once(fd: OwnedFd, peer: String) -> Self {
        Self {
            source: Source::Once,
            input: Some(fd),
            output: None,
            open: true,
            starvation: Starvation::default(),
            peer,
        }
    }

    fn waiting(source: Source, input: Option<OwnedFd>, peer: String) -> Self {
        Self { source, input, output: None, open: false, starvation: Starvation::default(), peer }
    }

    /// Whether somebody is at the other end.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Its peer, or that there is none.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The state of the line without a peer, in a word.
    pub fn waits_by(&self) -> &'static str {
        match self.source {
            Source::Unix(_) | Source::Tcp(_) => "listening",
            Source::Dialled => "connecting",
            Source::Once | Source::Pty(_) | Source::Fifos(_) | Source::Child { .. } => "waiting",
        }
    }

    /// Whether a peer may arrive without an event on any descriptor.
    pub fn arrivals_are_silent(&self) -> bool {
        self.starvation.lasts() || matches!(self.source, Source::Pty(_) | Source::Fifos(_))
    }

    /// The descriptors to wait on.
    pub fn fds(&self) -> [Option<RawFd>; 2] {
        match &self.source {
            Source::Unix(listener) if !self.open => [Some(listener.as_fd().as_raw_fd()), None],
            Source::Tcp(listener) if !self.open => [Some(listener.as_fd().as_raw_fd()), None],
            Source::Unix(_) | Source::Tcp(_) | Source::Dialled | Source::Once => self.own_fds(),
            Source::Pty(_) | Source::Fifos(_) | Source::Child { .. } => self.own_fds(),
        }
    }

    fn own_fds(&self) -> [Option<RawFd>; 2] {
        [&self.input, &self.output].map(|fd| fd.as_ref().map(AsRawFd::as_raw_fd))
    }

    /// Looks whether a peer has arrived: `None` if not. Once one has, [`Self::is_open`].
    pub fn arrive(&mut self) -> Option<io::Result<()>> {
        if self.open {
            return Some(Ok(()));
        }
        let arrived = match &self.source {
            Source::Unix(listener) => accepted(|| listener.accept_socket(), &mut self.starvation),
            Source::Tcp(listener) => accepted(|| listener.accept_socket(), &mut self.starvation),
            Source::Dialled => match inet::connected(self.input.as_ref()?)? {
                Ok(()) => Some((None, None)),
                Err(error) => return Some(Err(error)),
            },
            Source::Pty(pty) => {
                let flags = condition(self.input.as_ref()?);
                let there = !flags.contains(PollFlags::HUP) || flags.contains(PollFlags::IN);
                there.then(|| (None, Some(pty.name().to_owned())))
            }
            Source::Fifos(fifos) => match fifos.open_output() {
                Ok(Some(output)) => {
                    self.output = Some(output);
                    Some((None, Some(fifos.name())))
                }
                Ok(None) => None,
                Err(errno) => return Some(Err(errno.into())),
            },
            Source::Once | Source::Child { .. } => None,
        };
        let (input, peer) = arrived?;
        self.input = input.or(self.input.take());
        self.peer = peer.unwrap_or_else(|| std::mem::take(&mut self.peer));
        self.open = true;
        Some(Ok(()))
    }

    /// The peer has left. True if the line waits for the next one; otherwise it is of no more use.
    pub fn depart(&mut self, why: &str) -> bool {
        self.open = false;
        why.clone_into(&mut self.peer);
        match &mut self.source {
            Source::Unix(_) | Source::Tcp(_) => {
                self.input = None;
                true
            }
            Source::Pty(pty) => self.input.as_ref().is_some_and(|master| pty.reset(master).is_ok()),
            Source::Fifos(fifos) => {
                self.output = None;
                self.input = fifos.open_input().ok();
                self.input.is_some()
            }
            Source::Once | Source::Dialled | Source::Child { .. } => false,
        }
    }

    /// Whether these are FIFOs without a hang-up of the peer on either.
    fn is_quiet_fifo(&self, input: &OwnedFd) -> bool {
        let unread = self.output.as_ref().is_some_and(|output| condition(output).contains(PollFlags::ERR));
        matches!(self.source, Source::Fifos(_)) && !unread && !condition(input).contains(PollFlags::HUP)
    }

    fn ended(&self) -> Gone {
        Gone(
            match &self.source {
                Source::Pty(_) => "its terminal was closed",
                Source::Fifos(_) => "its peer closed the FIFOs",
                Source::Child { .. } => "its program ended or closed its output",
                Source::Once | Source::Dialled | Source::Unix(_) | Source::Tcp(_) => "its peer closed the connection",
            }
            .into(),
        )
    }
}

impl Octets for Line {
    fn read(&self, room: &mut [u8]) -> Result<usize, Gone> {
        let Some(fd) = self.input.as_ref().filter(|_| self.open) else { return Ok(0) };
        loop {
            match read(fd, &mut *room) {
                // A FIFO without a writer reads as at its end; it hangs up only after a writer has left.
                Ok(0) if self.is_quiet_fifo(fd) => return Ok(0),
                Ok(0) => return Err(self.ended()),
                Ok(got) => return Ok(got),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if matches!(self.source, Source::Fifos(_)) && !self.is_quiet_fifo(fd) => {
                    return Err(self.ended());
                }
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::IO) if matches!(self.source, Source::Pty(_)) => return Err(self.ended()),
                Err(errno) => return Err(failed("reading from", errno)),
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Gone> {
        let Some(fd) = self.output.as_ref().or(self.input.as_ref()).filter(|_| self.open) else { return Ok(0) };
        loop {
            // The runtime ignores SIGPIPE.
            match write(fd, bytes) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(self.ended()),
                Err(errno) => return Err(failed("writing to", errno)),
            }
        }
    }
}

fn failed(doing: &str, errno: Errno) -> Gone {
    Gone(format!("{doing} it failed: {}", io::Error::from(errno)))
}

type Arrived = Option<(Option<OwnedFd>, Option<String>)>;

/// A client of a listener.
fn accepted(accept: impl Fn() -> Result<Option<(OwnedFd, String)>, Errno>, starvation: &mut Starvation) -> Arrived {
    loop {
        match starvation.judge("a serial line", accept()) {
            Accepted::Client((fd, peer)) => return Some((Some(fd), Some(peer))),
            Accepted::Gone => {}
            Accepted::Nobody | Accepted::Starved => return None,
        }
    }
}

/// The poll events of a descriptor now.
fn condition(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

fn inherited(number: i32) -> Result<OwnedFd> {
    let cannot = |errno: Errno| Error::system(format_args!("cannot use descriptor {number}"), &errno.into());
    let fd = sys::inherited(number).map_err(|errno| match errno {
        Errno::BADF => cannot(errno).hint("it has to be open when zbridge starts: `zbridge … 3<>/dev/ttyS0`"),
        Errno::BUSY => cannot(errno).hint("it is zbridge's own, or was closed and cannot be opened again"),
        Errno::PERM => cannot(errno).hint("a program that embeds zbridge opens the line by its path, or has a pty:"),
        errno => cannot(errno),
    })?;
    ioctl_fionbio(&fd, true).map_err(cannot)?;
    if isatty(&fd) {
        uart::make_raw(&fd).map_err(cannot)?;
    }
    Ok(fd)
}
