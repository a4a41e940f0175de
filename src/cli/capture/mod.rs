//! `zbridge capture`: frames of a running bridge, as lines at the terminal, as a file, or in Wireshark.
//!
//! Theory of operation. The bridge sends a pcapng file over the control socket; it filters, and counts what it could not
//! send. Here the file is taken apart into its blocks: each goes to where the capture goes (`output.rs`), and a frame is
//! counted. What ends it, a signal or the time (`ending.rs`), closes this side of the connection; then the rest comes, and
//! the statistics, which are summed up in a line. An output that nobody reads keeps it from nothing (`paced.rs`), and a file
//! on a full disk ends with a whole block (`whole.rs`).

mod args;
mod ending;
mod extcap;
mod failing;
mod output;
mod paced;
mod toolbar;
mod whole;

pub use args::{Asked, CaptureArgs, Goal};
pub use extcap::{Extcap, ExtcapArgs};
pub use output::time_of_day;

use super::{ask, stop};
use crate::capture::pcapng::read::{Blocks, Counted};
use crate::engine::control::Capturing;
use crate::error::{Class, Error, Result};
use ending::Ending;
use output::Output;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use toolbar::Toolbar;

/// Bytes of one read.
const READ: usize = 256 * 1024;

/// Captures until it is told to end, or has what was asked for.
///
/// # Errors
/// What the bridge answers; the output cannot be written; the bridge has ended.
pub(super) fn run(asked: Asked) -> Result<()> {
    let ending = Arc::new(Ending::default());
    let mut output = Output::new(&asked.goal, ending.clone())?;
    let (place, is_extcap) = (output::place(&asked.goal), matches!(asked.goal, Goal::Extcap(..)));
    let stop = stop::one_wish()?;
    let client = ask::connect(asked.to.as_deref())?;
    let bridge = client.greeting().name.clone();
    let mut capturing = client.capture(asked.switch.as_deref(), asked.wish.clone())?;
    output.begin()?;
    if !is_extcap {
        super::screen::say(&listening(&asked, &bridge));
    }
    let done = ending.start(capturing.stopper()?, stop, asked.time)?;
    let toolbar = match asked.goal {
        Goal::Extcap(_, Some((from, to))) => Some(Toolbar::start(&from, to)?),
        _ => None,
    };
    let outcome = pass_on(&mut capturing, &mut output, &ending, asked.count, toolbar);
    let sum = match outcome {
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            output.end(&ending);
            return Ok(());
        }
        Err(error) => return Err(output.failed(&error)),
        Ok(sum) => sum,
    };
    output.end(&ending);
    drop(done);
    // Wireshark takes what is said for a complaint.
    if !is_extcap {
        super::screen::say(&summary(&sum, place.as_deref()));
    }
    if ending.was_asked() {
        return Ok(());
    }
    Err(Error::new(Class::NoDaemon, "the bridge has ended before the capture, which is whole up to there"))
}

/// What is captured from now on, as tcpdump says it.
fn listening(asked: &Asked, bridge: &str) -> String {
    let Asked { wish, .. } = asked;
    let ports = if wish.ports.is_empty() { "all ports".to_owned() } else { wish.ports.join(", ") };
    let filter = if wish.filter.is_empty() { String::new() } else { format!(" (filter {:?})", wish.filter) };
    // What a port sends is seen where it came in; who names one wants to know what it was sent, too.
    let way = match (wish.drops, wish.copies || asked.wants_out()) {
        (true, _) => ", drops only",
        (false, true) => "",
        (false, false) if wish.ports.is_empty() => "",
        (false, false) => ": what comes in there, with --copies also what leaves",
    };
    let said = format!("listening on {ports} of {bridge}{filter}{way}; Ctrl-C ends\n");
    crate::visible::visible_lines(&said).into_owned()
}

/// What a capture came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Sum {
    /// Frames that have come, and those of them that nobody has taken.
    passed: u64,
    lost: u64,
    /// The reader of a FIFO has left.
    left: bool,
    /// What the bridge has counted, if it has said so: it does not for a file without an interface.
    counted: Option<Counted>,
}

/// Passes blocks on until the file is whole, or `count` frames have come.
fn pass_on(
    capturing: &mut Capturing,
    output: &mut Output,
    ending: &Ending,
    count: Option<u64>,
    mut toolbar: Option<Toolbar>,
) -> io::Result<Sum> {
    let stopper = capturing.stopper().map_err(|error| io::Error::other(error.what().to_owned()))?;
    let (mut blocks, mut room, mut sum) = (Blocks::default(), vec![0; READ], Sum::default());
    loop {
        let read = capturing.read(&mut room)?;
        if read == 0 {
            return Ok(Sum { lost: output.lost(), left: output.has_left(), ..sum });
        }
        blocks.push(room.get(..read).unwrap_or_default());
        while let Some(block) = blocks.next_block().map_err(|bad| io::Error::other(bad.to_string()))? {
            if toolbar.as_mut().is_some_and(|toolbar| !toolbar.takes(&block)) {
                continue;
            }
            if block.packet().is_some() {
                if count == Some(sum.passed) {
                    continue;
                }
                sum.passed += 1;
            }
            if let Some((_, counted)) = block.statistics() {
                let all = sum.counted.get_or_insert_default();
                all.seen += counted.seen;
                all.missed += counted.missed;
                all.accepted += counted.accepted;
            }
            output.take(&block)?;
            if count == Some(sum.passed) {
                ending.stop(&stopper);
            }
        }
        output.flush()?;
        if output.has_left() {
            ending.stop(&stopper);
        }
    }
}

/// The outcome of a capture to the file `place`, or to nowhere that has a name.
fn summary(sum: &Sum, place: Option<&str>) -> String {
    let place = place.map(|place| format!(" to {place}")).unwrap_or_default();
    let mut said = format!("{} frame{} captured{place}", sum.passed, if sum.passed == 1 { "" } else { "s" });
    match sum.counted {
        None if sum.passed > 0 => said.push_str("; the bridge has not said how many were missed"),
        counted => {
            let Counted { seen, missed, accepted, .. } = counted.unwrap_or_default();
            let filtered = seen.saturating_sub(accepted);
            let _ = write!(said, ", {filtered} filtered out, {missed} missed by the capture");
        }
    }
    let _ = match (sum.left, sum.lost) {
        (false, 0) => Ok(()),
        (false, lost) => write!(said, "; the last {lost} could not be written, for nobody reads"),
        (true, 0) => write!(said, "; its reader has left"),
        (true, lost) => write!(said, "; the last {lost} could not be written, for its reader has left"),
    };
    said.push('\n');
    said
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
        let counted = Some(Counted { seen: 12, missed: 3, accepted: 1, delivered: 1 });
        let sum = Sum { passed: 1, counted, ..Sum::default() };
        assert_eq!(
            summary(&sum, Some("x.pcapng")),
            "1 frame captured to x.pcapng, 11 filtered out, 3 missed by the capture\n"
        );
        assert_eq!(summary(&Sum::default(), None), "0 frames captured, 0 filtered out, 0 missed by the capture\n");
        let stuck = Sum { passed: 9, lost: 4, ..Sum::default() };
        let said = "9 frames captured; the bridge has not said how many were missed; the last 4 could not be written, \
                    for nobody reads\n";
        assert_eq!(summary(&stuck, None), said);
        let left = summary(&Sum { left: true, counted, ..stuck }, Some("f"));
        assert!(left.ends_with("by the capture; the last 4 could not be written, for its reader has left\n"), "{left}");
    }
}
