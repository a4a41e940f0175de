//! The poll of a switch's thread: descriptors of ports and listeners, the kernel's link news (netlink), and the waker.

use crate::error::{Error, Result};
use crate::frame::PortId;
use crate::port::link_news::LinkNews;
use crate::time::{Duration, Instant};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// The source of a poll event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A port's descriptor.
    Port(PortId),
    /// The descriptor of the listener of this index.
    Listener(usize),
    /// The kernel has news of interfaces.
    Links,
    /// Another thread.
    Waker,
    /// The timer.
    Timer,
}

/// Listeners come after the ports, which have the 2^16 tokens before; a machine of 32 bits has room for both.
const LISTENERS: usize = 1 << u16::BITS;
const WAKER: usize = usize::MAX;
const LINKS: usize = usize::MAX - 1;
const TIMER: usize = usize::MAX - 2;

impl Source {
    fn token(self) -> Token {
        Token(match self {
            Self::Port(id) => id.index(),
            Self::Listener(index) => LISTENERS + index,
            Self::Links => LINKS,
            Self::Timer => TIMER,
            Self::Waker => WAKER,
        })
    }

    /// The source behind a token.
    pub fn of(Token(token): Token) -> Self {
        match (token, u16::try_from(token)) {
            (_, Ok(id)) => Self::Port(PortId(id)),
            (WAKER, _) => Self::Waker,
            (LINKS, _) => Self::Links,
            (TIMER, _) => Self::Timer,
            _ => Self::Listener(token - LISTENERS),
        }
    }
}

/// The readiness that a descriptor is watched for.
fn interest(room: bool) -> Interest {
    if room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
}

fn cannot(error: &io::Error) -> Error {
    Error::system("cannot wait for its descriptor", error)
}

/// The poll of a switch's thread.
pub(super) struct Watch {
    poll: Poll,
    /// The kernel's link news, once a port has an interface.
    news: Option<LinkNews>,
    /// For what is due to less than the poll's millisecond, once that was asked for.
    timer: Option<OwnedFd>,
    /// What it is set to, until it has called.
    armed: Option<Instant>,
}

impl Watch {
    /// A new poll and its waker.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> Result<(Self, Arc<Waker>)> {
        let cannot = |error| Error::system("cannot wait for descriptors", &error);
        let poll = Poll::new().map_err(cannot)?;
        let waker = Waker::new(poll.registry(), Source::Waker.token()).map_err(cannot)?;
        Ok((Self { poll, news: None, timer: None, armed: None }, Arc::new(waker)))
    }

    /// Sleeps until something calls, or for so long, to the millisecond, above it; or until `exact`, to what the kernel's
    /// timers keep. `now` is the time of the latter's clock. A signal ends it too.
    ///
    /// # Errors
    /// The system call's.
    pub fn sleep(
        &mut self,
        events: &mut Events,
        patience: Option<Duration>,
        exact: Option<Instant>,
        now: impl FnOnce() -> Instant,
    ) -> io::Result<()> {
        // Who does not sleep needs none, and one that is set already calls at its time.
        if let Some(due) = exact.filter(|due| self.armed != Some(*due) && patience != Some(Duration::ZERO)) {
            self.set_timer(due - now());
            self.armed = Some(due);
        }
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// The timer has called.
    pub fn timer_called(&mut self) {
        self.armed = None;
    }

    /// Has the timer call after `span`. Without one the poll's own has to do.
    fn set_timer(&mut self, span: Duration) {
        if self.timer.is_none() {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let made = timerfd_create(TimerfdClockId::Monotonic, flags).ok();
            self.timer = made.filter(|fd| self.add(Source::Timer, [Some(fd.as_raw_fd())], false).is_ok());
        }
        // Zero would be never.
        let Ok(value) = Timespec::try_from(span.max(Duration::from_nanos(1))) else { return };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // It is never read: the poll tells of each expiry once, and setting it anew forgets the last.
        self.timer.iter().for_each(|fd| drop(timerfd_settime(fd, TimerfdTimerFlags::empty(), &once)));
    }

    /// Watches descriptors for readability and, if `room`, for writability.
    ///
    /// # Errors
    /// The system has no memory for it.
    pub fn add(&self, source: Source, fds: impl IntoIterator<Item = Option<RawFd>>, room: bool) -> Result<()> {
        let registry = self.poll.registry();
        let add = |fd| registry.register(&mut SourceFd(&fd), source.token(), interest(room));
        fds.into_iter().flatten().try_for_each(add).map_err(|error| cannot(&error))
    }

    /// Changes what descriptors are watched for. A writable one is reported at once.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn change(&self, source: Source, fds: impl IntoIterator<Item = Option<RawFd>>, room: bool) -> Result<()> {
        let registry = self.poll.registry();
        let change = |fd| registry.reregister(&mut SourceFd(&fd), source.token(), interest(room));
        fds.into_iter().flatten().try_for_each(change).map_err(|error| cannot(&error))
    }

    /// Watches these no longer.
    pub fn forget(&self, fds: impl IntoIterator<Item = Option<RawFd>>) {
        for fd in fds.into_iter().flatten() {
            // The kernel forgets a descriptor when it is closed; this only says it a moment earlier.
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Listens to the kernel's news of interfaces from now on.
    ///
    /// # Errors
    /// The kernel tells none.
    pub fn hear_of_links(&mut self) -> Result<()> {
        if self.news.is_none() {
            let news = LinkNews::open().map_err(|error| Error::system("news of interfaces", &error))?;
            self.add(Source::Links, [Some(news.as_raw_fd())], false)?;
            self.news = Some(news);
        }
        Ok(())
    }

    /// Drains the link news.
    pub fn take_news(&self) {
        self.news.iter().for_each(LinkNews::take);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_token_of_its_own_in_32_bits() {
        let ports = [0, 1, u16::MAX].map(|id| Source::Port(PortId(id)));
        let listeners = [0, 1, 1 << 20].map(Source::Listener);
        let sources: Vec<_> = ports.into_iter().chain(listeners).chain([Source::Links, Source::Waker]).collect();
        assert!(sources.iter().all(|source| Source::of(source.token()) == *source), "{sources:?}");
        assert!(listeners.iter().all(|source| source.token().0 < u32::MAX as usize - 1));
    }
}
