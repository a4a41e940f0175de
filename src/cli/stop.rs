//! How a job is stopped, and how it ends when a part of it hangs.
//!
//! Theory of operation. The first SIGINT, SIGTERM or SIGHUP is a wish for an orderly end. Another one counts as the wish
//! for an end at once only when it comes [`AGAIN`] later: timeout(1), sudo, npm and a terminal's key send two of them
//! within milliseconds. A signal that was ignored at the start stays ignored: nohup(1) and a shell's `command &` rely on
//! it.
//!
//! An orderly end takes the help of every thread. [`leave_within`] gives it a time, after which the process leaves without
//! it: what it has made is removed ([`made`]), and the exit status tells that a part of zbridge has failed.

use super::screen;
use crate::engine::give_up;
use crate::error::{Class, Error, Result};
use crate::port::made;
use crate::port::process::is_ignored;
use crate::rights::role::{BASE, REMOVE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, bounded, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, stdin};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Who hears signals may end the process, and takes away what it has made.
static SIGNALS: Role = Role::new("signals", &[BASE, SOCKETS, REMOVE]);

/// Signals that follow the last one sooner are the same wish.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an orderly end may take once there is nothing to wait for but zbridge's own threads. In all, five seconds.
pub const ORDERLY: Duration = Duration::from_millis(4700);
/// How long the listener may take to receive a wish to end.
const HEARD: Duration = Duration::from_secs(3);

/// The meaning of a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    /// To end in order.
    End,
    /// To end at once.
    AtOnce,
    /// To end at once, for the last time.
    Now,
}

/// Tells which wish a signal is.
#[derive(Default)]
struct Wishes {
    last: Option<Instant>,
    count: u32,
}

impl Wishes {
    /// A signal has come. Nothing: it is the same wish as the last one.
    fn signal(&mut self, now: Instant) -> Option<Wish> {
        if self.last.is_some_and(|last| now < last + AGAIN) {
            return None;
        }
        self.last = Some(now);
        self.count += 1;
        Some(match self.count {
            1 => Wish::End,
            2 => Wish::AtOnce,
            _ => Wish::Now,
        })
    }
}

/// Where the wish to end is told of. A second one ends the process, and so does an end that takes longer than
/// [`ORDERLY`].
///
/// # Errors
/// The system has no descriptors or threads left.
pub fn one_wish() -> Result<Receiver<i32>> {
    one_wish_or_reload(false).map(|(stop, _)| stop)
}

/// Where the wish to end is told of, and the wish that the bridge's file is read again, if it `has_file`. A second wish to
/// end ends the process, and so does an end that takes longer than [`ORDERLY`].
///
/// SIGHUP is the second wish, unless the terminal is gone: then it is the first.
///
/// # Errors
/// The system has no descriptors or threads left.
pub fn one_wish_or_reload(has_file: bool) -> Result<(Receiver<i32>, Receiver<()>)> {
    let (sender, stop) = unbounded();
    let (read_again, again) = bounded(1);
    let had_terminal = stdin().is_terminal();
    let is_reload = move |signal| signal == SIGHUP && has_file && (!had_terminal || stdin().is_terminal());
    let reload = move || {
        // One wish is as good as several.
        let _ = read_again.try_send(());
    };
    watch(is_reload, reload, move |wish, signal| match wish {
        Wish::End => {
            leave_within(ORDERLY, Class::Fault.code());
            // The main thread has stopped listening only when it is on its way out.
            let _ = sender.send(signal);
            give_up();
        }
        Wish::AtOnce | Wish::Now => leave(by(signal)),
    })?;
    Ok((stop, again))
}

/// Where the first wish to end and the second are told of, for a job that has others to end too. A third one ends the
/// process, and so does one that is not heard.
///
/// # Errors
/// As [`one_wish`].
pub fn two_wishes() -> Result<Receiver<i32>> {
    let (sender, stop) = unbounded();
    watch(
        |_| false,
        || {},
        move |wish, signal| {
            if wish == Wish::Now {
                leave(by(signal));
            }
            give_up();
            if sender.send(signal).is_err() {
                return;
            }
            let sender = sender.clone();
            aside(move || {
                sleep(HEARD);
                if !sender.is_empty() {
                    log::error!("the bench does not end in order: nothing hears the signal");
                    leave(Class::Fault.code());
                }
            });
        },
    )?;
    Ok(stop)
}

/// The exit status of an end by a signal, as a shell has it.
fn by(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Calls `act` for every wish to end, on a thread of its own, and `reload` for a signal that is none.
fn watch(
    is_reload: impl Fn(i32) -> bool + Send + 'static,
    reload: impl Fn() + Send + 'static,
    mut act: impl FnMut(Wish, i32) + Send + 'static,
) -> Result<()> {
    let cannot = |error| Error::system("cannot watch for signals", &error);
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heard).map_err(cannot)?;
    let mut wishes = Wishes::default();
    let run = move || {
        for signal in signals.forever() {
            if is_reload(signal) {
                reload();
                continue;
            }
            if let Some(wish) = wishes.signal(Instant::now()) {
                if signal == SIGINT {
                    screen::begin_a_line();
                }
                act(wish, signal);
            }
        }
    };
    rights::spawn("zb-signals", &SIGNALS, run).map(drop).map_err(cannot)
}

fn aside(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = rights::spawn("zb-end", &SIGNALS, work) {
        log::warn!("cannot start a thread: {error}");
    }
}

/// Has the process leave with this status when it is still there after `time`.
pub fn leave_within(time: Duration, status: u8) {
    aside(move || {
        sleep(time);
        log::error!(
            "a thread does not end; the process leaves without it\n  hint: this is a fault of zbridge; please report it"
        );
        leave(status);
    });
}

/// Ends the process without the help of its other threads.
fn leave(status: u8) -> ! {
    made::remove_all();
    screen::finish_at_once();
    std::process::exit(status.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_within_a_second_are_one_wish() {
        let begun = Instant::now();
        let mut wishes = Wishes::default();
        let after = [0, 1, 400, 999, 1000, 1001, 1999, 2100, 9000];
        let told: Vec<_> = after.map(|millis| wishes.signal(begun + Duration::from_millis(millis))).into();
        let counted: Vec<_> = told.into_iter().flatten().collect();
        assert_eq!(counted, [Wish::End, Wish::AtOnce, Wish::Now, Wish::Now]);
    }
}
