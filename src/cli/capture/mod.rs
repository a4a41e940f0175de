//! `zbridge capture`: frames of a running bridge, as lines at the terminal, as a file, or in Wireshark.
//!
//! Theory of operation. The bridge sends a pcapng file over the control socket; it filters, and counts what it could not
//! send. Here the file is taken apart into its blocks: each goes to where the capture goes (`output.rs`), and a frame is
//! counted. What ends it, a signal or the time, closes this side of the connection; then the rest comes, and the
//! statistics, which are summed up in a line.

mod args;
mod extcap;
mod output;

pub use args::{Asked, CaptureArgs, Goal};
pub use extcap::{Extcap, ExtcapArgs};

use super::{Label, ask, complain, stop};
use crate::capture::pcapng::read::{Blocks, Counted};
use crate::engine::control::{Capturing, Stopper};
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, bounded};
use output::Output;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// It waits for a signal, or the time, and ends the capture.
static ROLE: Role = Role::new("end of capture", &[BASE, SOCKETS]);

/// Bytes of one read.
const READ: usize = 256 * 1024;
/// How often it is looked whether anybody reads standard output.
const LOOK: Duration = Duration::from_millis(250);
/// How long a bridge may take to send the rest.
const REST: Duration = Duration::from_secs(3);

/// Captures until it is told to end, or has what was asked for.
///
/// # Errors
/// What the bridge answers; the output cannot be written.
pub(super) fn run(asked: Asked) -> Result<()> {
    let mut output = Output::new(&asked.goal)?;
    let stop = stop::one_wish()?;
    let mut capturing = ask::connect(asked.to.as_deref())?.capture(asked.switch.as_deref(), asked.wish.clone())?;
    output.begin()?;
    let (done, over) = bounded(0);
    let stopper = capturing.stopper()?;
    let time = asked.time;
    let wait = move || end_in_time(&stopper, &stop, &over, time);
    rights::spawn("zb-end", &ROLE, wait).map_err(|error| Error::system("cannot start a thread", &error))?;
    let outcome = pass_on(&mut capturing, &mut output, asked.count);
    drop::<Sender<()>>(done);
    let sum = match outcome {
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return output.end(),
        Err(error) => return Err(output.failed(&error)),
        Ok(sum) => sum,
    };
    output.end()?;
    match sum {
        // Wireshark takes what is said for a complaint.
        _ if matches!(asked.goal, Goal::Extcap(_)) => {}
        Some((passed, counted)) => super::screen::say(&summary(passed, &counted)),
        None => complain(Label::Warning, &"the bridge has ended before the capture"),
    }
    Ok(())
}

/// Waits for a signal or the time, has the capture end, and cuts it off if that takes too long.
fn end_in_time(stopper: &Stopper, stop: &Receiver<i32>, over: &Receiver<()>, time: Option<Duration>) {
    let never = crossbeam_channel::never();
    let time = time.map_or(never, crossbeam_channel::after);
    loop {
        crossbeam_channel::select! {
            recv(stop) -> _ => break,
            recv(time) -> _ => break,
            recv(over) -> _ => return,
            // Nothing may be written for a long time, by which it would show.
            default(LOOK) => if output::is_deserted() { break },
        }
    }
    stopper.stop();
    if over.recv_timeout(REST) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
        stopper.cut();
    }
}

/// Passes blocks on until the file is whole, or `count` frames have come. Gives how many have, and what the bridge has
/// counted, if it has said so.
fn pass_on(capturing: &mut Capturing, output: &mut Output, count: Option<u64>) -> io::Result<Option<(u64, Counted)>> {
    let stopper = capturing.stopper().map_err(|error| io::Error::other(error.what().to_owned()))?;
    let (mut blocks, mut room, mut passed) = (Blocks::default(), vec![0; READ], 0);
    let mut sum: Option<Counted> = None;
    loop {
        let read = capturing.read(&mut room)?;
        if read == 0 {
            return Ok(sum.map(|sum| (passed, sum)));
        }
        blocks.push(room.get(..read).unwrap_or_default());
        while let Some(block) = blocks.next_block().map_err(|bad| io::Error::other(bad.to_string()))? {
            if block.packet().is_some() {
                if count == Some(passed) {
                    continue;
                }
                passed += 1;
            }
            if let Some((_, counted)) = block.statistics() {
                let sum = sum.get_or_insert_default();
                sum.seen += counted.seen;
                sum.missed += counted.missed;
                sum.accepted += counted.accepted;
            }
            output.take(&block)?;
            if count == Some(passed) {
                stopper.stop();
            }
        }
        output.flush()?;
    }
}

/// The outcome of a capture.
fn summary(passed: u64, counted: &Counted) -> String {
    let frames = |count: u64| format!("{count} frame{}", if count == 1 { "" } else { "s" });
    let filtered = counted.seen.saturating_sub(counted.accepted);
    format!("{} captured, {filtered} filtered out, {} missed by the capture\n", frames(passed), counted.missed)
}

/// What is wrong with an output.
fn cannot(name: &str, error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound if name == output::WIRESHARK => {
            Error::new(Class::NoObject, "there is no wireshark to start")
                .hint("apt install wireshark; or write a file: zbridge capture -w run.pcapng")
        }
        _ => Error::system(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_every_word_of_a_filter() {
        let guide = include_str!("../topics/capture.md");
        for row in crate::capture::filter::WORDS {
            let line = format!("| `{}` | {} |", row.form.replace('|', "\\|"), row.meaning);
            assert!(guide.contains(&line), "{line}");
            assert!(row.form.contains(row.word), "{line}");
        }
    }

    #[test]
    fn a_capture_is_summed_up() {
        let counted = Counted { seen: 12, missed: 3, accepted: 1, delivered: 1 };
        assert_eq!(summary(1, &counted), "1 frame captured, 11 filtered out, 3 missed by the capture\n");
    }
}
