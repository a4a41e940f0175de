//! Colours for a person at a terminal: none if NO_COLOR is set, or if the stream is not a terminal.

use std::fmt::Display;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use crate::visible::visible_lines;
use clap::builder::styling::{AnsiColor, Style as Ansi};
use rustix::fs::{FileType, fstat};
use rustix::termios::tcgetwinsize;

/// A narrower terminal is taken to be this wide.
const NARROWEST: usize = 40;

/// A page that is read has no longer lines.
const WIDEST_PAGE: usize = 100;

/// A page is this wide where nobody tells: a small terminal's width, which everybody's pager has.
const USUAL_PAGE: usize = 80;

/// How many characters a line of `stream` has room for, where it is a terminal that tells. Where it is none, COLUMNS of the
/// environment says it, if it is set: watch(1) and others tell so how wide they are. What goes into a pipe is shown by another
/// program (`| head`), at the terminal that standard error leads to.
pub fn width_of(stream: impl AsFd) -> Option<usize> {
    let wide = |stream: BorrowedFd<'_>| {
        tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|&width| width > 0)
    };
    let told = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|&width| width > 0);
    let is_pipe = || fstat(&stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    let beside = || is_pipe().then(|| wide(rustix::stdio::stderr())).flatten();
    Some(wide(stream.as_fd()).or_else(told).or_else(beside)?.max(NARROWEST))
}

/// How wide a page is on a stream of this width.
pub fn page_width(width: Option<usize>) -> usize {
    width.unwrap_or(USUAL_PAGE).min(WIDEST_PAGE)
}

/// Whether a stream is written in colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Without colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colour: false }
    }

    /// With colours, whatever the stream is.
    #[cfg(test)]
    pub fn coloured() -> Self {
        Self { colour: true }
    }

    /// As `stream` and the environment allow: NO_COLOR (no-color.org) counts if it is not empty.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: !refused && stream.is_terminal() }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    /// The name of one of several, each in a colour of its own as far as they go. Red is left to errors.
    pub fn member(self, index: usize, text: &str) -> String {
        const COLOURS: [AnsiColor; 5] =
            [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue];
        let colour = COLOURS.get(index % COLOURS.len()).copied().unwrap_or(AnsiColor::Cyan);
        self.paint(colour.on_default(), text)
    }

    /// Whether colours are written.
    pub fn is_coloured(self) -> bool {
        self.colour
    }

    /// What is of less weight.
    pub fn faint(self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// A message: `error: …`. Its label is coloured, and that of a hint below it. What others have written in it cannot
    /// act on a terminal.
    pub fn message(self, label: Label, text: impl Display) -> String {
        let word = match label {
            Label::Error => "error",
            Label::Warning => "warning",
        };
        let hint = self.paint(AnsiColor::Cyan.on_default(), "hint:");
        let text = visible_lines(&text.to_string()).replace("\n  hint:", &format!("\n  {hint}"));
        format!("{} {text}\n", self.label(label, word))
    }

    /// A word with a colon, in the colour of a message of this weight.
    pub fn label(self, label: Label, word: &str) -> String {
        let colour = match label {
            Label::Error => AnsiColor::Red,
            Label::Warning => AnsiColor::Yellow,
        };
        self.paint(colour.on_default().bold(), &format!("{word}:"))
    }

    fn paint(self, ansi: Ansi, text: &str) -> String {
        if self.colour { format!("{}{text}{}", ansi.render(), ansi.render_reset()) } else { text.to_owned() }
    }
}

/// The weight of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    /// Nothing was done, or no more will be.
    Error,
    /// It goes on.
    Warning,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn plain_text_has_no_escapes() {
        let error = Error::usage("no").hint("yes");
        assert_eq!(Style::plain().message(Label::Error, &error), "error: no\n  hint: yes\n");
        assert_eq!(Style::plain().heading("a"), "a");
    }

    #[test]
    fn labels_are_coloured() {
        let text = Style::coloured().message(Label::Warning, Error::usage("odd").hint("x"));
        assert_eq!(text, "\x1b[1m\x1b[33mwarning:\x1b[0m odd\n  \x1b[36mhint:\x1b[0m x\n");
    }

    #[test]
    fn a_file_gets_no_colours() {
        assert_eq!(Style::of(&tempfile::tempfile().unwrap()), Style::plain());
    }
}
