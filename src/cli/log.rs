//! The log on standard error: messages for a person, labelled by their weight, no dates. Beside a program whose
//! terminal it is, each has `zbridge: ` before it, and there are fewer. A thread that panics says so here too.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};

use ::log::{Level, Record};
use env_logger::{Builder, Target};

use crate::visible::visible_lines;

use super::args::Verbosity;
use super::screen::{self, LogStream};
use super::style::{Label, Style, width_of};

/// Whether standard error is a program's.
static BESIDE: AtomicBool = AtomicBool::new(false);

/// Starts the log. RUST_LOG, where it is set, decides instead of `verbosity`. A second start changes nothing.
pub fn start(verbosity: Verbosity) {
    let beside = BESIDE.load(Ordering::Relaxed);
    let level = if beside { verbosity.level_beside() } else { verbosity.level() };
    let style = Style::of(&std::io::stderr());
    let started = Builder::new()
        .filter_level(level)
        .parse_default_env()
        .format(move |out, record| {
            let text = line(record, style);
            out.write_all(if beside { led(&text) } else { text }.as_bytes())
        })
        .target(Target::Pipe(Box::new(LogStream)))
        .try_init();
    if started.is_err() {
        ::log::debug!("a log was there before");
    }
}

/// Has a thread that panics say so in the log.
pub fn hear_of_panics() {
    std::panic::set_hook(Box::new(tell_panic));
}

/// Says that a thread has panicked. The usual hook would write to standard error itself, and wait for its reader.
///
/// The names of a backtrace are read from the program's file, which a thread in the sandbox may not do: trying it would end
/// the process.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let way = match crate::rights::current() {
        Some(_) if std::env::var_os("RUST_BACKTRACE").is_some() => {
            "\n  hint: for a backtrace, run it with --sandbox=off".to_owned()
        }
        Some(_) => String::new(),
        None => Some(Backtrace::capture())
            .filter(|backtrace| backtrace.status() == BacktraceStatus::Captured)
            .map_or_else(String::new, |backtrace| format!("\n{backtrace}")),
    };
    ::log::error!("thread {name} {info}{way}");
    if name == "main" {
        // The process ends with it.
        screen::finish();
    }
}

/// The log will be beside the output of a program. To be called before [`start`].
pub fn beside_a_program() {
    BESIDE.store(true, Ordering::Relaxed);
}

/// Says the lines of `text` as information.
pub fn say(text: &str) {
    text.lines().for_each(|line| ::log::info!("{line}"));
}

/// Tells a person something in any case, unless less than usual is to be said.
pub fn tell(text: &str) {
    if ::log::log_enabled!(Level::Warn) {
        let lines = visible_lines(text).into_owned() + "\n";
        let lines = if BESIDE.load(Ordering::Relaxed) { led(&lines) } else { lines };
        // Whoever does not read it does not want to know.
        let _ = LogStream.write_all(lines.as_bytes());
    }
}

/// The prefix of a message beside a program's output.
const LEAD: &str = "zbridge: ";

/// The characters that fit on a line of a message beside a program's output.
pub fn width() -> Option<usize> {
    width_of(std::io::stderr()).map(|width| width.saturating_sub(LEAD.len()))
}

/// Each line with [`LEAD`] before it.
fn led(text: &str) -> String {
    text.lines().map(|line| format!("{LEAD}{line}\n")).collect()
}

/// One record: `error: …`, `warning: …`, an information as it is, and below that with its module.
fn line(record: &Record<'_>, style: Style) -> String {
    let text = record.args().to_string();
    // Names and reasons in it may be anybody's.
    let text = visible_lines(&text);
    match record.level() {
        Level::Error => style.message(Label::Error, text),
        Level::Warn => style.message(Label::Warning, text),
        Level::Info => format!("{text}\n"),
        Level::Debug | Level::Trace => format!("{}\n", style.faint(&format!("{}: {text}", record.target()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_labelled_by_weight() {
        let said = |level| {
            let args = format_args!("port zeth0: gone");
            line(&Record::builder().level(level).target("zbridge::engine").args(args).build(), Style::plain())
        };
        assert_eq!(said(Level::Error), "error: port zeth0: gone\n");
        assert_eq!(said(Level::Warn), "warning: port zeth0: gone\n");
        assert_eq!(said(Level::Info), "port zeth0: gone\n");
        let args = format_args!("a: connected, pid 1 (\x1b[2J)");
        let theirs = line(&Record::builder().level(Level::Info).args(args).build(), Style::plain());
        assert_eq!(theirs, "a: connected, pid 1 (\\x1b[2J)\n");
        assert_eq!(said(Level::Trace), "zbridge::engine: port zeth0: gone\n");
    }

    #[test]
    fn every_line_beside_a_program_is_led() {
        assert_eq!(led("warning: a\n  hint: b\n"), "zbridge: warning: a\nzbridge:   hint: b\n");
    }
}
