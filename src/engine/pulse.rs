//! Liveness of the threads of a bridge: each notes its current call, and a watchdog reports one that takes too long.
//!
//! Theory of operation. A thread that sleeps in a poll and works between two of them has a [`Pulse`]. It counts up when
//! the thread wakes and when it goes to sleep, so an odd number is a *breath* in progress; it also holds the current
//! port and call. The watchdog looks at all pulses every second; one that is odd and the same as at the look before is
//! said to hang. Nobody reads a clock for that, and noting a port is one store.
//!
//! Where all threads sleep, the watchdog sleeps too, and the first that breathes wakes it: there is no tick while nothing
//! happens.

use crate::error::{Class, Error};
use crate::frame::PortId;
use crate::rights::role::{BASE, READ};
use crate::rights::{self, Role};
use parking_lot::Mutex;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{JoinHandle, Thread, park, park_timeout};
use std::time::Duration;

/// Interval of the watchdog's checks, and so the shortest breath that it reports.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// A call of a thread on a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Call {
    /// It decides, or does its own housekeeping.
    Inside,
    /// It takes frames from the port.
    Read,
    /// It hands frames to the port.
    Write,
    /// It answers a command.
    Command,
    /// It runs timers.
    Timer,
}

impl Call {
    const ALL: [Self; 5] = [Self::Inside, Self::Read, Self::Write, Self::Command, Self::Timer];

    fn words(self) -> &'static str {
        match self {
            Self::Inside => "inside the switch or service",
            Self::Read => "reading from",
            Self::Write => "writing to",
            Self::Command => "answering a command",
            Self::Timer => "seeing to what is due",
        }
    }
}

/// The pulse of one thread. See the module.
pub(super) struct Pulse {
    /// The thread's name: `switch default`, `service nat`.
    whose: String,
    breath: AtomicU64,
    /// The port's number and one, and the call behind it.
    at: AtomicU64,
    /// The breath that was found to hang.
    hangs: AtomicU64,
    /// The ports' names, by number.
    names: Mutex<Vec<String>>,
    watchdog: Arc<Shared>,
}

impl Pulse {
    /// The thread wakes.
    pub fn begin(&self) {
        let breath = self.breath.load(Relaxed) | 1;
        // SeqCst orders this store and the load of `asleep`: either this thread sees the flag or the watchdog sees the
        // breath.
        self.breath.store(breath, SeqCst);
        if self.watchdog.asleep.load(SeqCst) {
            self.watchdog.wake();
        }
    }

    /// The thread goes to sleep.
    pub fn end(&self) {
        self.breath.store((self.breath.load(Relaxed) | 1) + 1, SeqCst);
    }

    /// Notes the current call.
    pub fn at(&self, call: Call) {
        self.at.store(call as u64, Relaxed);
    }

    /// Notes the current call and its port.
    pub fn at_port(&self, call: Call, id: PortId) {
        self.at.store((id.index() as u64 + 1) << 8 | call as u64, Relaxed);
    }

    /// Notes the name of a port.
    pub fn name_port(&self, id: PortId, name: &str) {
        let mut names = self.names.lock();
        if names.len() <= id.index() {
            names.resize(id.index() + 1, String::new());
        }
        if let Some(place) = names.get_mut(id.index()) {
            name.clone_into(place);
        }
    }

    /// The number of the breath that goes on; `None`: it sleeps.
    pub fn breath(&self) -> Option<u64> {
        Some(self.breath.load(SeqCst)).filter(|breath| breath % 2 == 1)
    }

    /// It has been in this breath for [`LOOK`] at least.
    pub fn hangs_in(&self, breath: u64) {
        self.hangs.store(breath, Relaxed);
    }

    /// Why it gives no answer, while it hangs.
    pub fn trouble(&self) -> Option<Error> {
        let breath = self.breath().filter(|breath| self.hangs.load(Relaxed) == *breath)?;
        let _ = breath;
        let what =
            format!("{} does not answer: it has been at one thing for more than a second, {}", self.whose, self.deed());
        Some(Error::new(Class::Runtime, what))
    }

    /// The current call, in words.
    fn deed(&self) -> String {
        let at = self.at.load(Relaxed);
        let call = Call::ALL.into_iter().find(|call| *call as u64 == at & 0xff).unwrap_or(Call::Inside);
        let name = (at >> 8).checked_sub(1).and_then(|index| self.names.lock().get(index as usize).cloned());
        match name {
            Some(name) => format!("{} port {name}", call.words()),
            None => call.words().to_owned(),
        }
    }
}

struct Shared {
    pulses: Mutex<Vec<Weak<Pulse>>>,
    asleep: AtomicBool,
    ends: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Shared {
    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn living(&self) -> Vec<Arc<Pulse>> {
        let mut pulses = self.pulses.lock();
        pulses.retain(|pulse| pulse.strong_count() > 0);
        pulses.iter().filter_map(Weak::upgrade).collect()
    }

    /// Looks at all pulses every second, and sleeps while all of them do.
    fn run(&self) {
        let mut seen: Vec<(Weak<Pulse>, u64, bool)> = Vec::new();
        while !self.ends.load(SeqCst) {
            park_timeout(LOOK);
            let mut lively = false;
            let mut next = Vec::new();
            for pulse in self.living() {
                let breath = pulse.breath.load(SeqCst);
                let before = seen.iter().find(|(other, ..)| other.as_ptr() == Arc::as_ptr(&pulse));
                let same = before.is_some_and(|(_, then, _)| *then == breath);
                let said = before.is_some_and(|(.., said)| *said);
                let hangs = same && breath % 2 == 1;
                if hangs {
                    pulse.hangs_in(breath);
                }
                match (hangs, said) {
                    (true, false) => {
                        log::warn!("{}: one breath takes more than a second, {}", pulse.whose, pulse.deed())
                    }
                    (false, true) => log::warn!("{}: breathes again", pulse.whose),
                    _ => {}
                }
                lively |= !same || breath % 2 == 1;
                next.push((Arc::downgrade(&pulse), breath, hangs));
            }
            seen = next;
            if !lively {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, SeqCst);
        // Check once more: a thread that began before the flag was set has not woken the watchdog.
        if self.living().iter().any(|pulse| pulse.breath().is_some()) {
            self.asleep.store(false, SeqCst);
        }
        while self.asleep.load(SeqCst) && !self.ends.load(SeqCst) {
            park();
        }
    }
}

/// The thread that looks at the pulses of a bridge. Ended on drop.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// It looks at counters, and says what it sees.
static ROLE: Role = Role::new("watchdog", &[BASE, READ]);

impl Watchdog {
    /// One that does not look yet.
    pub fn new() -> Self {
        let shared = Shared {
            pulses: Mutex::default(),
            asleep: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Looks from now on.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(&self) -> Result<(), Error> {
        let shared = self.shared.clone();
        let thread = rights::spawn("zb-watchdog", &ROLE, move || shared.run());
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        // It is started once.
        let _ = self.shared.thread.set(thread.thread().clone());
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// The pulse of `whose` thread.
    pub fn pulse(&self, whose: String) -> Arc<Pulse> {
        let pulse = Arc::new(Pulse {
            whose,
            breath: AtomicU64::new(0),
            at: AtomicU64::new(0),
            hangs: AtomicU64::new(0),
            names: Mutex::default(),
            watchdog: self.shared.clone(),
        });
        self.shared.pulses.lock().push(Arc::downgrade(&pulse));
        pulse
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.ends.store(true, SeqCst);
        if let Some(thread) = self.thread.lock().take() {
            thread.thread().unpark();
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breath_that_goes_on_is_found_with_its_place() {
        let dog = Watchdog::new();
        dog.start().unwrap();
        let pulse = dog.pulse("switch lab".into());
        pulse.name_port(PortId(3), "inst1");
        pulse.begin();
        pulse.end();
        pulse.begin();
        pulse.at_port(Call::Write, PortId(3));
        assert_eq!(pulse.trouble(), None, "not at once");
        let begun = std::time::Instant::now();
        while pulse.trouble().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        let what = pulse.trouble().unwrap().what().to_owned();
        assert!(what.starts_with("switch lab does not answer: ") && what.ends_with("writing to port inst1"), "{what}");
        pulse.end();
        assert_eq!(pulse.trouble(), None);
    }

    #[test]
    fn the_watchdog_sleeps_while_all_do_and_wakes_with_them() {
        let dog = Watchdog::new();
        dog.start().unwrap();
        let pulse = dog.pulse("switch lab".into());
        let asleep = |wanted| {
            let begun = std::time::Instant::now();
            while dog.shared.asleep.load(SeqCst) != wanted {
                assert!(begun.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        asleep(true);
        pulse.begin();
        assert!(!dog.shared.asleep.load(SeqCst));
        pulse.end();
        asleep(true);
    }
}
