//! What is typed and pasted, read from the terminal.
//!
//! This reads the terminal itself: the reader of crossterm waits for the rest of a broken escape sequence, and for input
//! of a terminal that is gone, without an end and deaf to signals. All that has come is read each turn, so that no key
//! runs later than it was typed.
//!
//! A paste is text and no keys. Most terminals put it between two marks, if they are asked to ([`MARKED`]). Of one that
//! does not, more letters at once than anybody types are a paste, up to the next pause.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use std::io::{self, Error, ErrorKind};
use std::time::{Duration, Instant};

/// Asks the terminal to mark the beginning and the end of a paste, and to do that no more.
pub const MARKED: (&str, &str) = ("\x1b[?2004h", "\x1b[?2004l");

/// The mark at the end of a paste.
const PASTE_END: &[u8] = b"\x1b[201~";
/// Bytes of one turn: after so many the picture is drawn, and signals are seen.
const TURN: usize = 64 << 10;
/// How long the rest of an escape sequence may take. Without it, it was the Esc key.
const REST: Duration = Duration::from_millis(25);
/// More than any escape sequence has.
const SEQUENCE: usize = 64;
/// So many letters at once are a paste.
const BURST: usize = 32;
/// The pause after which letters are keys again.
const PAUSE: Duration = Duration::from_millis(80);

/// What has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A key.
    Key(KeyEvent),
    /// Pasted text, or a part of it.
    Text(String),
}

/// See the head of the file.
#[derive(Default)]
pub struct Keys {
    parser: Parser,
    /// Until then, letters belong to a paste without marks.
    pasted_until: Option<Instant>,
}

impl Keys {
    /// Sleeps until something comes, but not longer than `nap`, and gives all of it. A signal ends the sleep too.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn read(&mut self, nap: Duration) -> io::Result<Vec<Input>> {
        let (mut found, mut count, mut patience) = (Vec::new(), 0, nap);
        let mut room = [0; 4096];
        while count < TURN {
            match ready(patience) {
                Ok(true) => {}
                Ok(false) if self.parser.is_amid() && count > 0 && patience < REST => {
                    patience = REST;
                    continue;
                }
                Ok(false) => {
                    found.extend(self.parser.rest());
                    break;
                }
                Err(Errno::INTR) => break,
                Err(error) => return Err(error.into()),
            }
            match read(rustix::stdio::stdin(), &mut room) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "it is gone")),
                Ok(came) => {
                    count += came;
                    found.extend(self.parser.take(room.get(..came).unwrap_or_default()));
                }
                Err(Errno::INTR | Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
            patience = Duration::ZERO;
        }
        Ok(self.without_bursts(Instant::now(), found))
    }

    /// Makes text of letters that are too many at once.
    fn without_bursts(&mut self, now: Instant, found: Vec<Input>) -> Vec<Input> {
        let letters = found.iter().filter(|input| letter(input).is_some()).count();
        let is_paste = letters >= BURST || (letters > 0 && self.pasted_until.is_some_and(|until| now < until));
        if !is_paste {
            return found;
        }
        self.pasted_until = now.checked_add(PAUSE);
        let (mut text, mut others) = (String::new(), Vec::new());
        for input in found {
            match letter(&input) {
                Some(letter) => text.push(letter),
                None => others.push(input),
            }
        }
        others.insert(0, Input::Text(text));
        others
    }
}

/// The letter of a key that has one.
fn letter(input: &Input) -> Option<char> {
    match input {
        Input::Key(KeyEvent { code: KeyCode::Char(letter), modifiers: KeyModifiers::NONE, .. }) => Some(*letter),
        Input::Key(KeyEvent { code: KeyCode::Enter, .. }) => Some('\n'),
        Input::Key(_) | Input::Text(_) => None,
    }
}

/// Whether something is there to be read within `patience`.
fn ready(patience: Duration) -> Result<bool, Errno> {
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    // Of the output it is only of interest whether it is gone, which is always told.
    let mut asked = [PollFd::new(&input, PollFlags::IN), PollFd::new(&output, PollFlags::empty())];
    let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
    if poll(&mut asked, Some(&patience))? == 0 {
        return Ok(false);
    }
    let [input, output] = asked.map(|it| it.revents());
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    if (input | output).intersects(gone) { Err(Errno::IO) } else { Ok(input.contains(PollFlags::IN)) }
}

/// Makes keys of bytes.
#[derive(Default)]
struct Parser {
    /// The beginning of something.
    held: Vec<u8>,
    /// Amid a marked paste.
    in_paste: bool,
}

/// What bytes begin with.
enum Step {
    /// It is not known yet.
    More,
    /// So many bytes that are a key, or nothing of interest.
    Key(usize, Option<KeyEvent>),
    /// So many bytes that begin a paste.
    Paste(usize),
}

impl Parser {
    /// Takes bytes, and gives what they complete.
    fn take(&mut self, bytes: &[u8]) -> Vec<Input> {
        self.held.extend_from_slice(bytes);
        self.parse(false)
    }

    /// Amid something other than a paste, whose rest should come at once.
    fn is_amid(&self) -> bool {
        !self.held.is_empty() && !self.in_paste
    }

    /// Nothing more has come: what has begun is what it is.
    fn rest(&mut self) -> Vec<Input> {
        if self.is_amid() { self.parse(true) } else { Vec::new() }
    }

    fn parse(&mut self, is_all: bool) -> Vec<Input> {
        let held = std::mem::take(&mut self.held);
        let (mut rest, mut found) = (held.as_slice(), Vec::new());
        loop {
            if self.in_paste {
                let (text, after) = pasted(rest);
                if !text.is_empty() {
                    found.push(Input::Text(String::from_utf8_lossy(text).into_owned()));
                }
                match after {
                    Ok(after) => (rest, self.in_paste) = (after, false),
                    Err(begun) => {
                        rest = begun;
                        break;
                    }
                }
            }
            match step(rest, is_all) {
                Step::More => break,
                Step::Key(length, key) => {
                    found.extend(key.map(Input::Key));
                    rest = rest.get(length..).unwrap_or_default();
                }
                Step::Paste(length) => {
                    rest = rest.get(length..).unwrap_or_default();
                    self.in_paste = true;
                }
            }
        }
        self.held = rest.to_vec();
        found
    }
}

/// The text of a paste, and what comes after it; or, if it goes on, what may be the beginning of the mark at its end.
fn pasted(bytes: &[u8]) -> (&[u8], Result<&[u8], &[u8]>) {
    if let Some(at) = memchr::memmem::find(bytes, PASTE_END) {
        let (text, after) = bytes.split_at(at);
        return (text, Ok(after.get(PASTE_END.len()..).unwrap_or_default()));
    }
    let begun = (1..PASTE_END.len()).rev().find(|&length| bytes.ends_with(PASTE_END.get(..length).unwrap_or_default()));
    let (text, begun) = bytes.split_at(bytes.len().saturating_sub(begun.unwrap_or(0)));
    (text, Err(begun))
}

/// What `bytes` begin with; with `is_all`, nothing comes after them.
fn step(bytes: &[u8], is_all: bool) -> Step {
    let Some(&first) = bytes.first() else { return Step::More };
    let code = match first {
        0x1b => return escape(bytes, is_all),
        b'\r' | b'\n' => KeyCode::Enter,
        0x08 | 0x7f => KeyCode::Backspace,
        0x03 => return Step::Key(1, Some(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))),
        0x1a => return Step::Key(1, Some(KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL))),
        0x20..0x7f => KeyCode::Char(char::from(first)),
        0x80.. => return beyond_ascii(bytes, is_all),
        _ => return Step::Key(1, None),
    };
    Step::Key(1, Some(code.into()))
}

/// A letter beyond ASCII.
fn beyond_ascii(bytes: &[u8], is_all: bool) -> Step {
    let begin = bytes.get(..4).unwrap_or(bytes);
    let (valid, error) = match std::str::from_utf8(begin) {
        Ok(text) => (text, None),
        Err(error) => {
            let valid = begin.get(..error.valid_up_to()).unwrap_or_default();
            (std::str::from_utf8(valid).unwrap_or_default(), Some(error))
        }
    };
    match (valid.chars().next(), error.and_then(|error| error.error_len())) {
        (Some(letter), _) => Step::Key(letter.len_utf8(), Some(KeyCode::Char(letter).into())),
        (None, None) if !is_all => Step::More,
        (None, wrong) => Step::Key(wrong.unwrap_or(begin.len()), None),
    }
}

/// The Esc key, or a sequence that a terminal writes for another key.
fn escape(bytes: &[u8], is_all: bool) -> Step {
    let esc = Step::Key(1, Some(KeyCode::Esc.into()));
    let unfinished = |is_too_long: bool| {
        if is_all || is_too_long { Step::Key(bytes.len(), None) } else { Step::More }
    };
    match bytes {
        [_] if is_all => esc,
        [_] => Step::More,
        // The console's F1 to F5.
        [_, b'[', b'[', _, ..] => Step::Key(4, None),
        [_, b'[', b'['] => unfinished(false),
        [_, b'[', rest @ ..] => match rest.iter().position(|byte| (0x40..0x7f).contains(byte)) {
            None => unfinished(bytes.len() > SEQUENCE),
            Some(at) => {
                let length = at + 3;
                let (parameters, last) = (rest.get(..at).unwrap_or_default(), rest.get(at).copied());
                match (last, parameters) {
                    (Some(b'~'), b"200") => Step::Paste(length),
                    (Some(b'~'), _) => Step::Key(length, numbered(parameters)),
                    (last, _) => Step::Key(length, last.and_then(named)),
                }
            }
        },
        // Of the keypad.
        [_, b'O', b'M', ..] => Step::Key(3, Some(KeyCode::Enter.into())),
        [_, b'O', last, ..] => Step::Key(3, named(*last)),
        [_, b'O'] => unfinished(false),
        // Esc, and then another key.
        _ => esc,
    }
}

/// The key whose sequence ends with this letter.
fn named(last: u8) -> Option<KeyEvent> {
    let code = match last {
        b'A' => KeyCode::Up,
        b'B' => KeyCode::Down,
        b'H' => KeyCode::Home,
        b'F' => KeyCode::End,
        _ => return None,
    };
    Some(code.into())
}

/// The key whose sequence has a number.
fn numbered(parameters: &[u8]) -> Option<KeyEvent> {
    let code = match parameters.split(|byte| *byte == b';').next()? {
        b"1" | b"7" => KeyCode::Home,
        b"4" | b"8" => KeyCode::End,
        b"5" => KeyCode::PageUp,
        b"6" => KeyCode::PageDown,
        _ => return None,
    };
    Some(code.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Input {
        Input::Key(code.into())
    }

    fn text(text: &str) -> Input {
        Input::Text(text.to_owned())
    }

    /// What these bytes are, all at once.
    fn parsed(bytes: &[u8]) -> Vec<Input> {
        let mut parser = Parser::default();
        let mut found = parser.take(bytes);
        found.extend(parser.rest());
        found
    }

    #[test]
    fn keys_are_those_that_were_typed() {
        let codes = |bytes: &[u8]| parsed(bytes);
        assert_eq!(codes(b"q\x1b"), [key(KeyCode::Char('q')), key(KeyCode::Esc)]);
        assert_eq!(codes(b"\x1b[A\x1bOB\x1b[1;5A"), [KeyCode::Up, KeyCode::Down, KeyCode::Up].map(key));
        assert_eq!(codes(b"\x1b[5~\x1b[6;2~\x1b[1~"), [KeyCode::PageUp, KeyCode::PageDown, KeyCode::Home].map(key));
        assert_eq!(codes(b"\r\x7f\x08"), [KeyCode::Enter, KeyCode::Backspace, KeyCode::Backspace].map(key));
        assert_eq!(codes(b"\x03"), [Input::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))]);
        assert_eq!(codes(b"\x1b\x1bq"), [KeyCode::Esc, KeyCode::Esc, KeyCode::Char('q')].map(key));
        assert_eq!(codes("\u{e9}\u{1f600}x".as_bytes()), ['\u{e9}', '\u{1f600}', 'x'].map(|it| key(KeyCode::Char(it))));
        // What is no key is none, and what is broken holds up nothing.
        assert_eq!(codes(b"\x1b[[Aq\x1b[12;3Rj\xff\xc3("), ['q', 'j', '('].map(|it| key(KeyCode::Char(it))));
        assert_eq!(codes(b"\x1b[123"), []);
        assert_eq!(codes(b"\xf0\x9f"), []);
    }

    #[test]
    fn a_sequence_in_parts_is_the_same_and_no_bytes_are_held_for_ever() {
        let whole = b"a\x1b[B\x1b[200~dcq\x1b[2\x1b[201~\xc3\xa9\x1b[6~z";
        let mut parser = Parser::default();
        let parts: Vec<Input> = whole.iter().flat_map(|byte| parser.take(&[*byte])).collect();
        let keys = |inputs: &[Input]| -> Vec<Input> {
            inputs.iter().filter(|input| matches!(input, Input::Key(_))).cloned().collect()
        };
        assert_eq!(keys(&parts), keys(&parsed(whole)));
        assert_eq!(keys(&parts).len(), 5);
        let mut parser = Parser::default();
        parser.take(b"\x1b[");
        for _ in 0..100 {
            parser.take(&[b'0'; 50]);
            assert!(parser.held.len() <= 2 * SEQUENCE);
        }
    }

    #[test]
    fn a_paste_is_text() {
        assert_eq!(parsed(b"/\x1b[200~dcu\ry\x1b[201~q"), [key('/'.code()), text("dcu\ry"), key('q'.code())]);
        // Without an end it goes on.
        let mut parser = Parser::default();
        assert_eq!(parser.take(b"\x1b[200~d\x1b[20"), [text("d")]);
        assert_eq!(parser.rest(), []);
        assert_eq!(parser.take(b"1~q"), [key('q'.code())]);
    }

    #[test]
    fn letters_that_nobody_types_are_text() {
        let (mut keys, now) = (Keys::default(), Instant::now());
        let few = parsed(b"jjjjd");
        assert_eq!(keys.without_bursts(now, few.clone()), few);
        let many = parsed(format!("{}\r\x1b", "d".repeat(50)).as_bytes());
        let expected = [text(&format!("{}\n", "d".repeat(50))), key(KeyCode::Esc)];
        assert_eq!(keys.without_bursts(now, many), expected);
        // Its end, which came a little later.
        assert_eq!(keys.without_bursts(now + PAUSE / 2, parsed(b"d")), [text("d")]);
        assert_eq!(keys.without_bursts(now + PAUSE * 4, parsed(b"d")), parsed(b"d"));
    }

    trait Code {
        fn code(self) -> KeyCode;
    }

    impl Code for char {
        fn code(self) -> KeyCode {
            KeyCode::Char(self)
        }
    }
}
