//! The log on standard error: messages for a person, labelled by their weight, no dates.

use std::io::Write;

use ::log::{Level, Record};
use env_logger::Builder;

use super::args::Verbosity;
use super::style::{Label, Style};

/// Starts the log. RUST_LOG, where it is set, decides instead of `verbosity`. A second start changes nothing.
pub fn start(verbosity: Verbosity) {
    let style = Style::of(&std::io::stderr());
    let started = Builder::new()
        .filter_level(verbosity.level())
        .parse_default_env()
        .format(move |out, record| out.write_all(line(record, style).as_bytes()))
        .try_init();
    if started.is_err() {
        ::log::debug!("a log was there before");
    }
}

/// One record: `error: …`, `warning: …`, an information as it is, and below that with its module.
fn line(record: &Record<'_>, style: Style) -> String {
    let text = record.args();
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
        assert_eq!(said(Level::Trace), "zbridge::engine: port zeth0: gone\n");
    }
}
