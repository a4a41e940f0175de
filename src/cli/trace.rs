//! `zbridge trace`: what a running bridge would do with a frame, and why, without sending it.

use super::style::{page_width, width_of};
use super::{ask, print};
use crate::capture::filter::is_port;
use crate::capture::line;
use crate::capture::pcapng::LinkType;
use crate::capture::pcapng::read::Blocks;
use crate::capture::words::{Book, Built, LONGEST, Spoken};
use crate::config::text::wrap;
use crate::control::{AddressInfo, DropsInfo, StationsInfo, StatusInfo, TraceInfo, unhex};
use crate::engine::control::Client;
use crate::error::{Error, Result};
use crate::visible::visible;
use crate::wire::Mac;
use serde::Serialize;
use std::io::{Read, stdout};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The port that the frame would come in by.
    pub port: String,
    /// The frame in words.
    pub words: String,
    /// A capture that it is in, and its number there; 0: the last.
    pub file: Option<(PathBuf, usize)>,
    /// The bridge.
    pub to: Option<String>,
    /// As JSON.
    pub json: bool,
}

impl Asked {
    /// What `trace in=PORT FRAME…` asks.
    ///
    /// # Errors
    /// There is no port or no frame; a word is wrong.
    pub fn new(port: &str, words: &[String], file: Option<&Path>, frame: Option<usize>) -> Result<Self> {
        let port = port.strip_prefix("in=").filter(|port| !port.is_empty()).ok_or_else(|| {
            Error::usage(format!("{port:?} is no port to come in by"))
                .hint("zbridge trace in=inst1 'arp who-has 192.0.2.2'")
        })?;
        let words = words.join(" ");
        match file {
            Some(_) if !["", "last"].contains(&words.as_str()) => {
                return Err(Error::usage("either a frame in words, or one of a file"));
            }
            None if frame.is_some() => return Err(Error::usage("--frame is the number of one in a --file")),
            None if words != "last" => drop(Spoken::parse(&words)?),
            _ => {}
        }
        let file = file.map(|file| (file.to_owned(), frame.unwrap_or(0)));
        Ok(Self { port: port.to_owned(), words, file, to: None, json: false })
    }
}

/// A frame, and how it came about.
struct Framed {
    built: Built,
    segment: Option<u16>,
}

/// The answer as `--json` has it.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    info: &'a TraceInfo,
    /// The frame in words.
    frame: String,
    /// What was not said of it, and filled in.
    filled: &'a [String],
}

/// Asks, and prints the answer.
///
/// # Errors
/// No bridge runs; there is no such port; the frame cannot be made.
pub fn run(asked: &Asked) -> Result<()> {
    let mut client = ask::connect(asked.to.as_deref())?;
    let Framed { built, segment } = framed(asked, &mut client)?;
    let info = client.trace(&asked.port, &built.bytes, segment)?;
    let bytes = unhex(&info.hex).unwrap_or_default();
    let frame = line::summary(info.radio, &bytes, bytes.len() as u32);
    if asked.json {
        return print(crate::control::print(&Answer { info: &info, frame, filled: &built.filled }));
    }
    print(page(&info, &frame, &built.filled, page_width(width_of(stdout()))))
}

fn framed(asked: &Asked, client: &mut Client) -> Result<Framed> {
    let whole = |bytes| Framed { built: Built { bytes, filled: Vec::new() }, segment: None };
    if let Some((file, number)) = &asked.file {
        return Ok(whole(frame_of(file, *number)?));
    }
    if asked.words == "last" {
        return Ok(whole(last_dropped(&asked.port, &client.drops()?)?));
    }
    match Spoken::parse(&asked.words)? {
        Spoken::Bytes(bytes) => Ok(whole(bytes)),
        Spoken::Draft(draft) => {
            let known = Known { port: &asked.port, status: client.status()?, told: client.stations()? };
            Ok(Framed { built: draft.build(&known)?, segment: draft.segment })
        }
    }
}

/// What a bridge knows of its stations.
struct Known<'a> {
    port: &'a str,
    status: StatusInfo,
    told: StationsInfo,
}

impl Known<'_> {
    /// The switch of the port.
    fn switch(&self) -> &str {
        let has = |switch: &&crate::control::SwitchInfo| switch.ports.iter().any(|port| port.name == self.port);
        self.status.switches.iter().find(has).map_or("", |switch| &switch.name)
    }

    fn addresses(&self) -> impl Iterator<Item = &AddressInfo> {
        let switch = self.switch();
        self.told.addresses.iter().filter(move |known| known.switch == switch)
    }
}

impl Book for Known<'_> {
    fn station(&self, addr: IpAddr) -> Option<Mac> {
        self.addresses().find(|known| known.addr == addr)?.mac.parse().ok()
    }

    fn sender(&self) -> Option<Mac> {
        let told = self.addresses().find(|known| is_port(&known.port, self.port)).map(|known| known.mac.as_str());
        let ports = self.status.switches.iter().flat_map(|switch| &switch.ports);
        let heard = || ports.filter(|port| is_port(&port.name, self.port)).find_map(|port| port.heard.first());
        told.or_else(|| heard().map(String::as_str))?.parse().ok()
    }

    fn address(&self, station: Mac, ipv4: bool) -> Option<IpAddr> {
        let station = station.to_string();
        self.addresses().find(|known| known.mac == station && known.addr.is_ipv4() == ipv4).map(|known| known.addr)
    }
}

/// The example of what the port dropped last.
fn last_dropped(port: &str, drops: &DropsInfo) -> Result<Vec<u8>> {
    let ports = drops.switches.iter().flat_map(|switch| &switch.ports).filter(|it| is_port(&it.name, port));
    let losses = ports.flat_map(|port| &port.reasons).filter_map(|loss| loss.latest.as_ref().or(loss.first.as_ref()));
    let last = losses.min_by_key(|example| example.age).ok_or_else(|| {
        Error::usage(format!("{port} has dropped nothing of which there is an example"))
            .hint("zbridge capture -w run.pcapng, and then trace --file run.pcapng")
    })?;
    let mut bytes = unhex(&last.hex).unwrap_or_default();
    bytes.resize((last.length as usize).clamp(bytes.len(), LONGEST), 0);
    Ok(bytes)
}

/// The frame with this number in a capture, as Wireshark counts them; 0: the last.
fn frame_of(path: &Path, number: usize) -> Result<Vec<u8>> {
    let cannot = |cause: &dyn std::fmt::Display| Error::usage(format!("{}: {cause}", path.display()));
    let mut file = std::fs::File::open(path).map_err(|cause| cannot(&cause))?;
    let (mut blocks, mut room) = (Blocks::default(), vec![0; 64 * 1024]);
    let (mut links, mut count, mut found) = (Vec::new(), 0, None);
    loop {
        let got = file.read(&mut room).map_err(|cause| cannot(&cause))?;
        blocks.push(room.get(..got).unwrap_or_default());
        while let Some(block) = blocks.next_block().map_err(|cause| cannot(&cause))? {
            links.extend(block.interface().map(|interface| interface.link));
            let Some(packet) = block.packet() else { continue };
            count += 1;
            if number == 0 || number == count {
                let link = links.get(packet.interface as usize).copied();
                found = Some((link, packet.bytes.to_vec(), packet.len));
            }
        }
        if got == 0 || number > 0 && found.is_some() {
            break;
        }
    }
    let Some((link, mut bytes, len)) = found else {
        let what = if number == 0 {
            "there is no frame in it".to_owned()
        } else {
            format!("it has {count} frames, not {number}")
        };
        return Err(cannot(&what));
    };
    if link == Some(LinkType::IEEE802_15_4_TAP) {
        let head = usize::from(u16::from_le_bytes([*bytes.get(2).unwrap_or(&0), *bytes.get(3).unwrap_or(&0)]));
        bytes.drain(..head.min(bytes.len()));
        return Ok(bytes);
    }
    if link != Some(LinkType::ETHERNET) {
        return Err(cannot(&"a frame that is not of Ethernet")
            .hint("a port with bare IP has no Ethernet addresses in a capture"));
    }
    // What a snap length has cut off counts for the length alone.
    bytes.resize((len as usize).clamp(bytes.len().min(LONGEST), LONGEST), 0);
    Ok(bytes)
}

fn page(info: &TraceInfo, frame: &str, filled: &[String], width: usize) -> String {
    let mut text = wrap("", width, frame);
    filled.iter().for_each(|it| text += &wrap("  ", width, it));
    let switch = if info.switch == "default" { String::new() } else { format!(" on switch {}", visible(&info.switch)) };
    text += &format!("nothing is sent or learned{switch}\n");
    let mut row = |name: &str, what: &str, notes: &[&str]| {
        // Lines that go on stand below the first.
        let lines = wrap("  ", width, &format!("{}: {}", visible(name), visible(what)));
        text += lines.get(2..).unwrap_or_default();
        notes.iter().for_each(|note| text += &wrap("    ", width, note));
    };
    info.steps.iter().for_each(|step| row(&step.step, &step.text, &[]));
    info.copies.iter().for_each(|copy| {
        row(&format!("to {}", copy.port), &copy.text, &copy.behind.as_deref().into_iter().collect::<Vec<_>>());
    });
    info.left_out.iter().for_each(|port| row(&format!("not to {}", port.step), &port.text, &[]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_checked_before_anybody_is_asked() {
        let asked = |port: &str, words: &str| Asked::new(port, &[words.to_owned()], None, None);
        assert_eq!(asked("in=a", "arp who-has 192.0.2.2").unwrap().port, "a");
        for (port, words, says) in [
            ("a", "broadcast", "\"a\" is no port to come in by"),
            ("in=", "broadcast", "is no port to come in by"),
            ("in=a", "", "there is no frame"),
            ("in=a", "arrp", "\"arrp\" is no word of a frame; the nearest is \"arp\""),
        ] {
            let error = asked(port, words).unwrap_err();
            assert!(error.what().contains(says), "{error}");
        }
        assert!(Asked::new("in=a", &["arp".into()], Some(Path::new("x")), None).is_err());
        assert!(Asked::new("in=a", &["last".into()], None, Some(3)).is_err());
    }

    #[test]
    fn the_guide_has_every_form() {
        let guide = include_str!("topics/trace.md");
        for (form, meaning) in crate::capture::words::FORMS {
            let line = format!("| `{form}` | {meaning} |");
            assert!(guide.contains(&line), "topics/trace.md lacks this row:\n{line}");
        }
    }
}
