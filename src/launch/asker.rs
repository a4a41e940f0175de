//! The DHCP client thread of an instance: it parses the servers' packets without any other rights.
//!
//! Theory of operation. The thread has the [`Client`] and one socket, which the init opens for it: the thread lacks the
//! capabilities. It puts its requests ([`Want`]) into a channel, and writes a byte into a stream socket that the init
//! polls. The end of that stream is the end of the thread.

use crate::error::{Error, Result};
use crate::port::sys::trap;
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Mode, Policy, Role};
use crate::service::lan::client::{Action, Client, Grant, frame};
use crate::service::lan::dhcp4::SERVER_PORT;
use crate::time::Clock;
use crate::wire::Mac;
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::CapabilitySet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// It uses sockets that are open.
static ROLE: Role = Role::new("dhcp", &[BASE, SOCKETS]);

/// The longest frame or datagram that is parsed.
const LONGEST: usize = 2048;
/// Answers that are parsed in one turn.
const TURN: usize = 64;

/// A request of the thread to the init.
#[derive(Debug)]
pub enum Want {
    /// A packet socket of the interface.
    Frames,
    /// A UDP socket on the interface, whose address is set.
    Datagrams,
    /// Set this on the interface.
    Set(Grant),
    /// Remove what was set.
    Forget,
}

/// The init's end of the thread.
pub struct Asker {
    wants: Receiver<Want>,
    given: Sender<Option<OwnedFd>>,
    bell: UnixStream,
    /// The thread has ended.
    over: bool,
}

impl Asker {
    /// Starts the thread, for the interface with `mac`. It gives up what it does not need unless `sandbox` is off.
    ///
    /// # Errors
    /// No thread, no descriptors.
    pub fn start(client: Client, mac: Mac, sandbox: Mode) -> Result<Self> {
        let failed = |cause: io::Error| Error::system("the instance's address", &cause);
        let (bell, far) = UnixStream::pair().map_err(failed)?;
        bell.set_nonblocking(true).map_err(failed)?;
        let ((tell, wants), (given, gets)) = (unbounded(), unbounded());
        let thread = Thread { client, mac, clock: Clock::start(), way: None, tell, gets, bell: far };
        let work = move || {
            if sandbox != Mode::Off {
                let (user, keeper, places, keep) = (None, None, Vec::new(), CapabilitySet::empty());
                trap::arm();
                rights::restrict(Policy { mode: sandbox, user, keep, places, keeper, programs: false }, &ROLE);
            }
            thread.run();
        };
        std::thread::Builder::new().name("zb-dhcp".into()).spawn(work).map_err(failed)?;
        Ok(Self { wants, given, bell, over: false })
    }

    /// The descriptor to poll before [`Asker::next`].
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.over).then(|| self.bell.as_fd())
    }

    /// The next request.
    pub fn next(&mut self) -> Option<Want> {
        let mut room = [0; 64];
        while let Ok(count) = (&self.bell).read(&mut room) {
            if count == 0 {
                self.over = true;
                break;
            }
        }
        self.wants.try_recv().ok()
    }

    /// Gives the thread the socket that it wants. `None`: there is none to be had.
    pub fn give(&self, socket: Option<OwnedFd>) {
        // A thread that has ended needs none.
        let _ = self.given.send(socket);
    }
}

/// The socket to servers.
enum Way {
    /// Without an address: a packet socket.
    Frames(OwnedFd),
    /// With one: UDP.
    Datagrams(UdpSocket),
}

impl AsFd for Way {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Frames(fd) => fd.as_fd(),
            Self::Datagrams(socket) => socket.as_fd(),
        }
    }
}

/// See the head of the file.
struct Thread {
    client: Client,
    mac: Mac,
    clock: Clock,
    way: Option<Way>,
    tell: Sender<Want>,
    gets: Receiver<Option<OwnedFd>>,
    bell: UnixStream,
}

impl Thread {
    /// Runs until the init has closed its end.
    fn run(mut self) {
        while self.work().is_some() {
            let left = self.client.poll_timeout().map(|at| at - self.clock.now());
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut asked = vec![PollFd::new(&self.bell, PollFlags::IN)];
            asked.extend(self.way.as_ref().map(|way| PollFd::new(way, PollFlags::IN)));
            // An error is a signal or want of memory: both pass.
            let _ = poll(&mut asked, timeout.as_ref());
            // The init never writes here: this is its end.
            if asked.first().is_some_and(|bell| !bell.revents().is_empty()) {
                return;
            }
        }
    }

    /// Takes the packets that have come, and runs due timers. `None`: the init has closed its end.
    fn work(&mut self) -> Option<()> {
        self.receive()?;
        while let Some(action) = self.client.poll(self.clock.now()) {
            match action {
                Action::Lost => {
                    self.way = None;
                    self.want(Want::Forget)?;
                }
                Action::Send(to, payload) => self.send(to, &payload)?,
            }
        }
        Some(())
    }

    fn want(&mut self, want: Want) -> Option<()> {
        self.tell.send(want).ok()?;
        self.bell.write_all(&[1]).ok()
    }

    fn receive(&mut self) -> Option<()> {
        let mut room = [0; LONGEST];
        for _ in 0..TURN {
            let count = match &self.way {
                None => break,
                Some(Way::Frames(fd)) => rustix::io::read(fd, &mut room).map_err(io::Error::from),
                Some(Way::Datagrams(socket)) => socket.recv(&mut room),
            };
            let bytes = match count {
                Ok(count) => room.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier datagram; others may follow.
                Err(_) => continue,
            };
            let payload = if matches!(self.way, Some(Way::Frames(_))) { frame::read(bytes) } else { Some(bytes) };
            if payload.is_some_and(|payload| self.client.handle(self.clock.now(), payload)) {
                self.way = None;
                if let Some(grant) = self.client.grant().cloned() {
                    self.want(Want::Set(grant))?;
                }
            }
        }
        Some(())
    }

    fn send(&mut self, to: Option<Ipv4Addr>, payload: &[u8]) -> Option<()> {
        if self.way.is_none() {
            let bound = self.client.grant().is_some();
            self.want(if bound { Want::Datagrams } else { Want::Frames })?;
            let socket = self.gets.recv().ok()?;
            self.way = socket.map(|socket| if bound { Way::Datagrams(socket.into()) } else { Way::Frames(socket) });
        }
        // The client retransmits what is lost.
        let _ = match &self.way {
            Some(Way::Frames(fd)) => rustix::io::write(fd, &frame::write(self.mac, payload)).map_err(io::Error::from),
            Some(Way::Datagrams(socket)) => socket.send_to(payload, (to.unwrap_or(Ipv4Addr::BROADCAST), SERVER_PORT)),
            None => Ok(0),
        };
        Some(())
    }
}
