//! A file of fates: what impairments did to each frame, as lines that people read, and that a later run replays.
//!
//! ```text
//! # zbridge fates 1
//! # seed 7
//! # written by zbridge 0.1.0, switch default
//! # port way number length digest fate
//! b#1 tx 0 begins
//! b#1 tx 1 60 cbf43926 passed
//! b#1 tx 2 60 0b1d7f44 lost
//! b#1 tx 3 60 4c9d20aa held delay=20000000
//! b#1 tx 4 1514 99ab01f3 held delay=18766052 flip=133
//! b#1 tx 5 60 1e5f1a70 passed overtook
//! b#1 tx 5 60 1e5f1a70 held delay=20000000 copy
//! b#1 tx 6 60 77d0c0de full
//! missing 512
//! ```
//!
//! The first line has the version of the format; what begins with `#` behind the second is for people only. A line is about
//! one copy of a frame: the port's name; `tx` for what it was sent, `rx` for what came from it; the number of the frame in
//! this direction since the port is there, from 1 on; its bytes; their CRC-32 in hexadecimal digits; and what became of it:
//!
//! | fate | |
//! |---|---|
//! | `passed` | it went on at once |
//! | `held` | for the nanoseconds of `delay=` |
//! | `lost` | by chance, or as the Nth |
//! | `full` | dropped, as `limit` were held, or for want of memory |
//!
//! `flip=` is the bit that was flipped, counted from the first bit of the first byte; `overtook` stands where it leaves
//! before a frame that came earlier; `copy` where it is the second copy of a frame that came twice. `begins` tells that a
//! port of this name is impaired from here on, whose frames so far had no fate; one that has gone and come again begins
//! again. `missing` says how many lines have no place here, because a disk was full or slow.
//!
//! Lines of one direction are in the order of their numbers; those of different ones are mixed as the frames were. So
//! two runs compare by `grep '^b#1 tx' run1 run2`, or sorted.

use crate::error::{Class, Error, Result};
use crate::switch::{Became, FateNote, FateNoted, Journal, Replay};
use crate::time::Duration;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

/// The version of the format.
pub const VERSION: u32 = 1;
const HEAD: &str = "# zbridge fates ";
const SEED: &str = "# seed ";
/// Bytes of a line at most: one with the longest name has a third of it.
const LINE: u64 = 512;

/// Writes the notes of a switch.
pub struct FateWriter {
    header: Vec<u8>,
    /// Frames that found no room since the last line.
    lost: u64,
    missed: u64,
    written: u64,
}

impl FateWriter {
    /// For a switch whose fates are drawn from `seed`.
    pub fn new(switch: &str, seed: u64) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let header = format!(
            "{HEAD}{VERSION}\n{SEED}{seed}\n# written by zbridge {version}, switch {switch}\n# port way number length digest fate\n"
        );
        Self { header: header.into_bytes(), lost: 0, missed: 0, written: 0 }
    }

    /// The beginning of a file.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// So many frames have no line.
    pub fn miss(&mut self, frames: u64) {
        self.lost += frames;
        self.missed += frames;
    }

    /// Lines so far, and frames without one.
    pub fn counted(&self) -> (u64, u64) {
        (self.written, self.missed)
    }

    /// Writes lines to `out`, and notes in `ends` where each ends.
    pub fn take(&mut self, journal: &Journal, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        self.tell_missing(out, ends);
        for note in &journal.notes {
            line(note, out);
            ends.push(out.len());
        }
        self.written += journal.notes.len() as u64;
        self.miss(journal.missed);
        self.tell_missing(out, ends);
    }

    /// Says at the end what is missing there.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.tell_missing(out, &mut Vec::new());
    }

    fn tell_missing(&mut self, out: &mut Vec<u8>, ends: &mut Vec<usize>) {
        let missing = std::mem::take(&mut self.lost);
        if missing > 0 {
            put(out, format_args!("missing {missing}\n"));
            ends.push(out.len());
        }
    }
}

/// The frames that a line is about, which may be missing. `None`: it is kept for when there is room.
pub fn frames(line: &[u8]) -> Option<u64> {
    if let Some(missing) = line.strip_prefix(b"missing ") {
        return Some(std::str::from_utf8(missing).ok().and_then(|text| text.trim_end().parse().ok()).unwrap_or(0));
    }
    (!line.starts_with(b"#") && !line.ends_with(b" begins\n")).then_some(1)
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A vector takes all.
    let _ = out.write_fmt(text);
}

fn line(note: &FateNote, out: &mut Vec<u8>) {
    let FateNote { of, number, what } = note;
    let FateNoted::Frame { len, digest, copy, overtook, became } = *what else {
        return put(out, format_args!("{of} {number} begins\n"));
    };
    put(out, format_args!("{of} {number} {len} {digest:08x} "));
    let flip = match became {
        Became::Lost => {
            put(out, format_args!("lost"));
            None
        }
        Became::Full => {
            put(out, format_args!("full"));
            None
        }
        Became::Passed { flip } => {
            put(out, format_args!("passed"));
            flip
        }
        Became::Held { delay, flip } => {
            put(out, format_args!("held delay={}", delay.as_nanos()));
            flip
        }
    };
    flip.into_iter().for_each(|bit| put(out, format_args!(" flip={bit}")));
    for (word, is_so) in [(" overtook", overtook), (" copy", copy)] {
        put(out, format_args!("{}", if is_so { word } else { "" }));
    }
    out.push(b'\n');
}

/// What a file of fates holds.
pub struct Fates {
    /// The seed that they were drawn from.
    pub seed: u64,
    /// The fates.
    pub replay: Replay,
}

/// Lines between two questions whether the rest is wanted.
const ASK: u64 = 4096;

/// Reads a file of fates to the end, line by line, while it `is_wanted`.
///
/// # Errors
/// It is none, or a line of it is wrong: that one's number comes first. It is wanted no more.
pub fn read(mut from: impl BufRead, is_wanted: impl Fn() -> bool) -> Result<Fates> {
    let mut replay = Replay::default();
    let (mut line, mut number, mut seed) = (Vec::new(), 0_u64, 0);
    let mut names = Names::default();
    loop {
        line.clear();
        let cannot = |error: &io::Error| Error::system("cannot be read", error);
        io::Read::take(&mut from, LINE).read_until(b'\n', &mut line).map_err(|error| cannot(&error))?;
        number += 1;
        if number.is_multiple_of(ASK) && !is_wanted() {
            return Err(Error::new(Class::Interrupted, "stopped while it was read"));
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            let is_end = line.is_empty();
            let why = if line.len() as u64 == LINE { "it is too long" } else { "the file ends in the middle of it" };
            return if is_end && number > 2 {
                Ok(Fates { seed, replay: replay.complete() })
            } else if is_end {
                Err(Error::usage("it has no fates").hint(HINT))
            } else {
                Err(wrong(number, why))
            };
        };
        let text = std::str::from_utf8(text).map_err(|_| wrong(number, "it is no text"))?;
        match number {
            1 => check_head(text)?,
            2 => {
                seed = text
                    .strip_prefix(SEED)
                    .and_then(|seed| seed.parse().ok())
                    .ok_or_else(|| wrong(2, "expected # seed N"))?
            }
            _ => take_line(text, &mut names, &mut replay).map_err(|why| wrong(number, &why))?,
        }
    }
}

const HINT: &str = "--fates FILE writes what --replay FILE reads";

fn wrong(number: u64, why: &str) -> Error {
    Error::usage(format!("line {number}: {why}")).hint("`zbridge help impair` shows how its lines are made")
}

fn check_head(text: &str) -> Result<()> {
    match text.strip_prefix(HEAD).map(str::parse::<u32>) {
        Some(Ok(VERSION)) => Ok(()),
        Some(Ok(version)) => Err(Error::new(
            Class::Usage,
            format!("line 1: it is version {version} of the format, and this zbridge reads version {VERSION}"),
        )),
        _ => Err(Error::usage("line 1: it is no file of fates").hint(HINT)),
    }
}

/// Names of directions, each kept once; the last is looked at first.
#[derive(Default)]
struct Names {
    known: std::collections::HashMap<String, Arc<str>>,
    last: Option<Arc<str>>,
}

impl Names {
    fn get(&mut self, of: &str) -> Arc<str> {
        if let Some(last) = self.last.as_ref().filter(|last| &***last == of) {
            return last.clone();
        }
        let name = self.known.entry(of.to_owned()).or_insert_with(|| of.into()).clone();
        self.last = Some(name.clone());
        name
    }
}

fn take_line(text: &str, names: &mut Names, replay: &mut Replay) -> std::result::Result<(), String> {
    if text.is_empty() || text.starts_with('#') {
        return Ok(());
    }
    if let Some(missing) = text.strip_prefix("missing ") {
        replay.add_gap(missing.parse().map_err(|_| "expected missing N")?);
        return Ok(());
    }
    // PORT WAY is one name.
    let form = || "expected PORT tx|rx NUMBER LENGTH DIGEST FATE".to_owned();
    let (name, behind) = text.split_once(' ').ok_or_else(form)?;
    let of = text.get(..name.len() + 3).filter(|of| of.ends_with(" tx") || of.ends_with(" rx")).ok_or_else(form)?;
    let mut words = behind.get(2..).and_then(|rest| rest.strip_prefix(' ')).ok_or_else(form)?.split(' ');
    let number: u64 = words.next().and_then(|word| word.parse().ok()).ok_or("the number of the frame is none")?;
    let of = names.get(of);
    let first = words.next();
    if first == Some("begins") && words.next().is_none() {
        return replay.add(&FateNote { of, number, what: FateNoted::Begins });
    }
    let len: u32 = first.and_then(|word| word.parse().ok()).ok_or("the length of the frame is no number")?;
    let digest = words.next().filter(|word| word.len() == 8).and_then(|word| u32::from_str_radix(word, 16).ok());
    let digest = digest.ok_or("the digest of the frame is not 8 hexadecimal digits")?;
    let fate = words.next().ok_or("the fate is missing")?;
    let (mut delay, mut flip, mut copy, mut overtook) = (None, None, false, false);
    for word in words {
        match word.split_once('=') {
            Some(("delay", nanos)) => {
                delay = Some(nanos.parse().map_err(|_| format!("{word:?}: expected nanoseconds"))?)
            }
            Some(("flip", bit)) => flip = Some(bit.parse().map_err(|_| format!("{word:?}: expected a bit"))?),
            None if word == "copy" => copy = true,
            None if word == "overtook" => overtook = true,
            _ => return Err(format!("{word:?}: expected delay=, flip=, overtook or copy")),
        }
    }
    let became = match (fate, delay) {
        ("lost", None) => Became::Lost,
        ("full", None) => Became::Full,
        ("passed", None) => Became::Passed { flip },
        ("held", Some(nanos)) => Became::Held { delay: Duration::from_nanos(nanos), flip },
        ("held", None) => return Err("held needs delay=".to_owned()),
        ("lost" | "full" | "passed", Some(_)) => return Err(format!("{fate} has no delay")),
        _ => return Err(format!("{fate:?} is no fate: expected passed, held, lost or full")),
    };
    replay.add(&FateNote { of, number, what: FateNoted::Frame { len, digest, copy, overtook, became } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(of: &str, number: u64, became: Became, copy: bool) -> FateNote {
        FateNote {
            of: of.into(),
            number,
            what: FateNoted::Frame { len: 60, digest: 0xcb_f439, copy, overtook: copy, became },
        }
    }

    /// A file with these notes, and how many frames had no room behind them.
    fn written(notes: Vec<FateNote>, missed: u64) -> String {
        let mut writer = FateWriter::new("lab", 7);
        let (mut out, mut ends) = (writer.header().to_vec(), Vec::new());
        writer.take(&Journal { notes, missed }, &mut out, &mut ends);
        writer.finish(&mut out);
        assert_eq!(ends.last(), Some(&out.len()));
        String::from_utf8(out).unwrap()
    }

    fn some() -> Vec<FateNote> {
        let delay = Duration::from_micros(20_001);
        vec![
            FateNote { of: "b#1 tx".into(), number: 0, what: FateNoted::Begins },
            note("b#1 tx", 1, Became::Passed { flip: None }, false),
            note("b#1 tx", 2, Became::Lost, false),
            note("b#1 tx", 3, Became::Held { delay, flip: Some(133) }, false),
            note("b#1 tx", 3, Became::Held { delay, flip: None }, true),
            note("a rx", 9, Became::Full, false),
        ]
    }

    #[test]
    fn lines_are_as_they_are_documented_and_read_again() {
        let text = written(some(), 512);
        let version = env!("CARGO_PKG_VERSION");
        let wanted = format!(
            "# zbridge fates 1\n# seed 7\n# written by zbridge {version}, switch lab\n\
             # port way number length digest fate\n\
             b#1 tx 0 begins\nb#1 tx 1 60 00cbf439 passed\nb#1 tx 2 60 00cbf439 lost\n\
             b#1 tx 3 60 00cbf439 held delay=20001000 flip=133\n\
             b#1 tx 3 60 00cbf439 held delay=20001000 overtook copy\na rx 9 60 00cbf439 full\nmissing 512\n"
        );
        assert_eq!(text, wanted);
        let fates = read(text.as_bytes(), || true).unwrap();
        assert_eq!((fates.seed, fates.replay.frames(), fates.replay.missing()), (7, 4, 512));
        let skipped: u64 = text.split_inclusive('\n').filter_map(|line| super::frames(line.as_bytes())).sum();
        assert_eq!(skipped, 5 + 512);
        let absent: Vec<_> = fates.replay.absent().collect();
        assert_eq!(absent, [("b#1 tx", 3), ("a rx", 1)]);
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(bytes: Vec<u8>, words in "([a-z#=]{1,8}|[0-9a-f]{1,20}| |\n|b tx 1 60 cbf43926 held delay=5){0,40}") {
            let _ = read(bytes.as_slice(), || true);
            let _ = read(format!("# zbridge fates 1\n# seed 7\n{words}\n").as_bytes(), || true);
        }
    }

    #[test]
    fn reading_ends_when_it_is_wanted_no_more() {
        let text = format!("# zbridge fates 1\n# seed 7\n{}", "\n".repeat(3 * ASK as usize));
        assert_eq!(read(text.as_bytes(), || false).err().map(|error| error.class()), Some(Class::Interrupted));
        assert!(read(text.as_bytes(), || true).is_ok());
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number() {
        let head = "# zbridge fates 1\n# seed 7\n# by hand\n";
        for (lines, says) in [
            ("b tx 1 60 cbf43926 gone\n", "line 4: \"gone\" is no fate"),
            ("\nb tx 1 60 cbf43926 lost\nb up 1 60 cbf43926 lost\n", "line 6: expected PORT tx|rx NUMBER"),
            ("b tx one 60 cbf43926 lost\n", "line 4: the number"),
            ("b tx 1 x cbf43926 lost\n", "line 4: the length"),
            ("b tx 1 60 cbf lost\n", "line 4: the digest"),
            ("b tx 1 60 cbf43926\n", "line 4: the fate is missing"),
            ("b tx 1 60 cbf43926 held\n", "line 4: held needs delay="),
            ("b tx 1 60 cbf43926 lost delay=5\n", "line 4: lost has no delay"),
            ("b tx 1 60 cbf43926 held delay=5ms\n", "line 4: \"delay=5ms\": expected nanoseconds"),
            ("b tx 1 60 cbf43926 lost often\n", "line 4: \"often\": expected delay="),
            ("b tx 2 60 cbf43926 lost\nb tx 1 60 cbf43926 lost\n", "line 5: frame 1 comes behind frame 2 of b tx"),
            ("missing some\n", "line 4: expected missing N"),
            ("b tx 1 60 cbf4", "line 4: the file ends in the middle of it"),
            (&format!("b{} tx\n", "b".repeat(600)), "line 4: it is too long"),
            ("é", "line 4"),
            ("b é", "line 4"),
            ("é é é é\n", "line 4"),
        ] {
            let error = read(format!("{head}{lines}").as_bytes(), || true).err().unwrap();
            assert!(error.what().contains(says) && error.class() == Class::Usage, "{lines:?}: {error}");
        }
        for (text, says) in [
            ("", "it has no fates"),
            ("# zbridge fates 1\n", "it has no fates"),
            ("\u{a}\r\n", "line 1: it is no file of fates"),
            ("# zbridge fates 2\n", "line 1: it is version 2 of the format"),
            ("# zbridge fates 1\n# seed x\n", "line 2: expected # seed N"),
        ] {
            let error = read(text.as_bytes(), || true).err().unwrap();
            assert!(error.what().contains(says), "{text:?}: {error}");
        }
        assert_eq!(read(head.as_bytes(), || true).unwrap().replay.frames(), 0, "a run without a frame");
    }
}
