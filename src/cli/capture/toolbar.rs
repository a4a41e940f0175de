//! The toolbar of an interface in Wireshark: what is chosen there while a capture runs, by its extcap protocol (Wireshark
//! Developer's Guide, 8.2.3.2).
//!
//! ```text
//! message   'T' · length u24 · control u8 · command u8 · value      the length is that of what follows it, big-endian
//! ```
//!
//! Theory of operation. Wireshark makes two FIFOs: one that it writes, with what is chosen, and one that it reads, for what
//! is to be said there. tshark makes them too, and opens neither; so neither is waited for. A thread reads what is chosen;
//! frames that are not wanted are left out here, of those that the bridge sends.

use crate::capture::filter::{Filter, Seen};
use crate::capture::pcapng::LinkType;
use crate::capture::pcapng::read::{Block, Interface};
use crate::counters::{DROP_REASONS, DropReason};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, READ};
use crate::rights::{self, Role};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::sleep;
use std::time::Duration;

/// It reads a FIFO, and writes another.
static ROLE: Role = Role::new("toolbar", &[BASE, READ]);

/// The controls, as Wireshark's list of interfaces has them.
pub const CONTROLS: &str = "\
control {number=0}{type=string}{display=Filter}{placeholder=udp port 5683 or arp}{tooltip=Only frames that this is true of, in the words of pcap-filter; and in PORT, out PORT, drop}
control {number=1}{type=boolean}{display=Drops}{default=false}{tooltip=Only frames that were dropped, with the reason}
";
const FILTER: u8 = 0;
const DROPS: u8 = 1;
/// Of no control.
const NONE: u8 = 255;

// Commands.
const SET: u8 = 1;
const STATUS_BAR: u8 = 6;
const WARNING: u8 = 8;

/// The longest message: a filter is shorter.
const LONGEST: usize = 64 * 1024;
/// How often it is looked whether the capture is over.
const LOOK: Duration = Duration::from_millis(250);

/// What is chosen.
#[derive(Default)]
struct Choice {
    filter: Option<Filter>,
    drops: bool,
}

/// See the head of the file.
pub struct Toolbar {
    choice: Arc<Mutex<Choice>>,
    /// Those of the capture.
    interfaces: Vec<Interface>,
}

impl Toolbar {
    /// Hears at the FIFO `from` what is chosen, and answers at `to`.
    ///
    /// # Errors
    /// The FIFO cannot be opened; the system has no thread left.
    pub fn start(from: &Path, to: Option<PathBuf>) -> Result<Self> {
        let cannot = |errno: Errno| Error::system(from.display(), &errno.into());
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fifo = openat(CWD, from, flags, Mode::empty()).map_err(cannot)?;
        let choice = Arc::new(Mutex::new(Choice::default()));
        let chosen = Arc::downgrade(&choice);
        rights::spawn("zb-toolbar", &ROLE, move || hear(&fifo, to.as_deref(), &chosen))
            .map_err(|cause| Error::system("cannot start a thread", &cause))?;
        Ok(Self { choice, interfaces: Vec::new() })
    }

    /// Whether a block is wanted: whatever is no frame is.
    pub fn takes(&mut self, block: &Block<'_>) -> bool {
        self.interfaces.extend(block.interface());
        let Some(packet) = block.packet() else { return true };
        let choice = self.choice.lock();
        let reason = packet.comment.and_then(reason);
        if choice.drops && reason.is_none() {
            return false;
        }
        let Some(filter) = &choice.filter else { return true };
        let Some(interface) = self.interfaces.get(packet.interface as usize) else { return true };
        let (ethernet, len, framed);
        let bytes = match (interface.link, packet.bytes.first().map(|first| first >> 4)) {
            (LinkType::ETHERNET, _) => {
                (ethernet, len) = (true, packet.len);
                packet.bytes
            }
            // As the switch has it.
            (LinkType::RAW, Some(version)) => {
                let kind: [u8; 2] = if version == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
                framed = [&[0; 12][..], &kind, packet.bytes].concat();
                (ethernet, len) = (true, packet.len + 14);
                &framed
            }
            _ => {
                (ethernet, len) = (false, packet.len);
                packet.bytes
            }
        };
        filter.takes(&Seen { port: &interface.name, incoming: !packet.out, reason, bytes, len, ethernet })
    }
}

/// The reason of a drop, by the comment of a packet.
fn reason(comment: &str) -> Option<DropReason> {
    let word = comment.strip_prefix("dropped: ")?.split(':').next()?;
    DROP_REASONS.iter().find(|row| row.word == word).map(|row| row.reason)
}

/// Heeds messages until the capture is over, or whoever sends them is gone.
fn hear(fifo: &OwnedFd, to: Option<&Path>, choice: &Weak<Mutex<Choice>>) {
    let (mut messages, mut room, mut begun) = (Messages::default(), vec![0; 4096], false);
    let mut end = None;
    while let Some(choice) = choice.upgrade() {
        let mut fds = [PollFd::new(fifo, PollFlags::IN)];
        let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
        if poll(&mut fds, Some(&patience)).is_err() {
            return;
        }
        match rustix::io::read(fifo, room.as_mut_slice()) {
            // Nobody has opened it yet, or whoever had it open has closed it.
            Ok(0) if begun => return,
            Ok(0) => sleep(LOOK),
            Ok(count) => {
                begun = true;
                messages.bytes.extend_from_slice(room.get(..count).unwrap_or_default());
                while let Some((control, command, value)) = messages.next() {
                    if let Some(answer) = choice.lock().heed(control, command, &value) {
                        say(&mut end, to, &answer);
                    }
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Writes an answer, if somebody reads.
fn say(end: &mut Option<OwnedFd>, to: Option<&Path>, answer: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if end.is_none() {
        *end = to.and_then(|to| openat(CWD, to, flags, Mode::empty()).ok());
    }
    // It is for a person's eyes; one that finds no room is not seen.
    if let Some(end) = end {
        let _ = rustix::io::write(end, answer);
    }
}

impl Choice {
    /// Heeds a message. Gives what is to be said.
    fn heed(&mut self, control: u8, command: u8, value: &[u8]) -> Option<Vec<u8>> {
        let text = String::from_utf8_lossy(value);
        match (control, command) {
            (FILTER, SET) => Some(match Filter::parse(&text) {
                Ok(filter) => {
                    self.filter = filter;
                    let said = if self.filter.is_some() { format!("zbridge: only {text}") } else { String::new() };
                    message(NONE, STATUS_BAR, &said)
                }
                Err(error) => message(NONE, WARNING, &error.to_string()),
            }),
            (DROPS, SET) => {
                self.drops = value.first().is_some_and(|on| *on != 0);
                None
            }
            _ => None,
        }
    }
}

/// A message as it is sent.
fn message(control: u8, command: u8, value: &str) -> Vec<u8> {
    let value = value.as_bytes().get(..LONGEST).unwrap_or(value.as_bytes());
    let length = (value.len() as u32 + 2).to_be_bytes();
    [b"T", &length[1..], &[control, command], value].concat()
}

/// Takes messages apart.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    /// The next one: control, command and value.
    fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        loop {
            let [kind, a, b, c, control, command, rest @ ..] = self.bytes.as_slice() else { return None };
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if *kind != b'T' || !(2..=LONGEST).contains(&length) {
                // It is out of step: the next beginning is looked for.
                self.bytes.drain(..1);
                continue;
            }
            let value = rest.get(..length - 2)?.to_vec();
            let found = (*control, *command, value);
            self.bytes.drain(..4 + length);
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_apart_and_put_together() {
        let mut messages = Messages::default();
        let sent = [message(FILTER, SET, "udp"), vec![b'x', b'T', 0, 0, 1], message(NONE, 0, "")].concat();
        let mut found = Vec::new();
        for byte in sent {
            messages.bytes.push(byte);
            found.extend(messages.next());
        }
        assert_eq!(found, [(FILTER, SET, b"udp".to_vec()), (NONE, 0, Vec::new())]);
        assert_eq!(message(0, 1, "ab"), [b'T', 0, 0, 4, 0, 1, b'a', b'b']);
    }

    #[test]
    fn a_wrong_filter_is_answered_and_the_one_before_stays() {
        let mut choice = Choice::default();
        assert_eq!(choice.heed(FILTER, SET, b"udp").unwrap()[4..6], [NONE, STATUS_BAR]);
        let wrong = choice.heed(FILTER, SET, b"udpp").unwrap();
        assert!(wrong[4..6] == [NONE, WARNING] && String::from_utf8_lossy(&wrong).contains("the nearest is \"udp\""));
        assert!(choice.filter.is_some());
        choice.heed(FILTER, SET, b"");
        choice.heed(DROPS, SET, &[1]);
        assert!(choice.filter.is_none() && choice.drops);
        assert_eq!(reason("dropped: no-peer: nobody"), Some(DropReason::NoPeer));
        assert_eq!(choice.heed(7, 3, b""), None);
    }
}
