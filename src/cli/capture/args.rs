//! The words of `zbridge capture`.

use super::super::complete;
use crate::capture::{SNAP_RANGE, Wish};
use crate::config::value;
use crate::error::{Error, Result};
use clap_complete::ArgValueCandidates;
use std::path::PathBuf;
use std::time::Duration;

/// What is captured, and where it goes.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct CaptureArgs {
    /// Ports, by name; a listener stands for its clients [default: all]
    #[arg(value_name = "PORT", add = ArgValueCandidates::new(complete::ports))]
    ports: Vec<String>,

    /// Write a pcapng file instead of lines (-: standard output, for `| wireshark -k -i -`); of a FIFO, until its reader leaves
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Show it in Wireshark, which is started
    #[arg(long, conflicts_with = "write")]
    wireshark: bool,

    /// Only frames that this is true of, in the words of pcap-filter: 'udp port 5683 or arp'; and in PORT, out PORT, drop
    #[arg(short, long, value_name = "WORDS", default_value = "")]
    filter: String,

    /// Only frames that were dropped, with the reason
    #[arg(long)]
    drops: bool,

    /// Also each copy that left, with the port and the time
    #[arg(long, conflicts_with = "drops")]
    copies: bool,

    /// Keep so many bytes of each frame, 14 to 65535 [default: all]
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(14..=65_535))]
    snap: Option<u32>,

    /// End after so many frames
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this time: 500ms, 10s, 5m; a number alone is seconds
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,

    /// Begin another file when one has this size, and keep the last N: 64MiB,5 (FILE-00001.pcapng …)
    #[arg(long, value_name = "SIZE,N", requires = "write")]
    rotate: Option<String>,

    /// One switch only
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::switches))]
    switch: Option<String>,

    /// The bridge (default: the one called default, or the only one)
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::running))]
    to: Option<String>,
}

/// Where a capture goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Lines on standard output.
    Lines,
    /// Standard output, as it is.
    Stdout,
    /// A program's standard input.
    Wireshark,
    /// A FIFO that Wireshark reads, and those of its toolbar: what is chosen there, and what is to be said.
    Extcap(PathBuf, Option<(PathBuf, Option<PathBuf>)>),
    /// A file, or several: the size of one, and how many are kept.
    File(PathBuf, Option<(u64, u32)>),
}

/// A capture as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The bridge.
    pub to: Option<String>,
    /// One switch only.
    pub switch: Option<String>,
    /// What is wanted.
    pub wish: Wish,
    /// Where it goes.
    pub goal: Goal,
    /// Frames after which it ends.
    pub count: Option<u64>,
    /// The time after which it does.
    pub time: Option<Duration>,
}

impl Asked {
    /// Whether the filter asks for what leaves.
    pub fn wants_out(&self) -> bool {
        // It was understood before.
        self.wish.understood().is_ok_and(|(_, wanted)| wanted.copies)
    }
}

impl CaptureArgs {
    /// What they ask for.
    ///
    /// # Errors
    /// A word of them is wrong.
    pub fn understood(&self) -> Result<Asked> {
        let wish = Wish {
            ports: self.ports.clone(),
            filter: self.filter.clone(),
            snap: self.snap,
            drops: self.drops,
            copies: self.copies,
        };
        // Before anybody is asked.
        wish.understood()?;
        debug_assert_eq!(SNAP_RANGE, 14..=65_535);
        let time = self.time.as_deref().map(|time| {
            let wrong = || Error::usage(format!("--for {time:?}: expected a time, as 500ms, 10s or 5m"));
            value::duration(time).filter(|time| !time.is_zero()).ok_or_else(wrong)
        });
        let rotate = self.rotate.as_deref().map(rotation).transpose()?;
        let goal = match &self.write {
            _ if self.wireshark => Goal::Wireshark,
            None => Goal::Lines,
            Some(path) if path.as_os_str() == "-" && rotate.is_some() => {
                return Err(Error::usage("--rotate means nothing on standard output"));
            }
            Some(path) if path.as_os_str() == "-" => Goal::Stdout,
            Some(path) => Goal::File(path.clone(), rotate),
        };
        let (to, switch, count) = (self.to.clone(), self.switch.clone(), self.count);
        Ok(Asked { to, switch, wish, goal, count, time: time.transpose()? })
    }
}

/// `SIZE,N`: the size in bytes with K, M or G, as 64M or 64MiB.
fn rotation(text: &str) -> Result<(u64, u32)> {
    let wrong = || Error::usage(format!("--rotate {text:?}: expected SIZE,N, as 64MiB,5"));
    let (size, files) = text.split_once(',').ok_or_else(wrong)?;
    let digits = size.find(|char: char| !char.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at(digits);
    let factor: u64 = match unit {
        "" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|size| *size >= 4096);
    let files = files.parse().ok().filter(|files| (1..=100_000).contains(files));
    Ok((size.ok_or_else(|| wrong().hint("a file has 4K at least"))?, files.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: CaptureArgs,
    }

    fn asked(words: &[&str]) -> Result<Asked> {
        Only::try_parse_from([&["capture"], words].concat()).unwrap().args.understood()
    }

    #[test]
    fn words_and_their_meaning() {
        let all = asked(&["a", "b", "-w", "x.pcapng", "--rotate", "64MiB,5", "--for", "10s", "--count", "7"]).unwrap();
        assert_eq!(all.goal, Goal::File("x.pcapng".into(), Some((64 << 20, 5))));
        assert_eq!((all.count, all.time, all.wish.ports.len()), (Some(7), Some(Duration::from_secs(10)), 2));
        assert_eq!(asked(&["-w", "-"]).unwrap().goal, Goal::Stdout);
        assert_eq!(asked(&[]).unwrap().goal, Goal::Lines);
        for wrong in [
            &["--filter", "udpp"][..],
            &["--for", "soon"],
            &["-w", "x", "--rotate", "64"],
            &["-w", "x", "--rotate", "1,5"],
            &["-w", "x", "--rotate", "64T,5"],
            &["-w", "x", "--rotate", "64M,0"],
            &["-w", "-", "--rotate", "64M,2"],
        ] {
            assert!(asked(wrong).is_err(), "{wrong:?}");
        }
    }
}
