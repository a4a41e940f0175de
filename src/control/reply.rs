//! The answers of a running bridge.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::collections::BTreeMap;
use std::io::Write;

use crate::counters::{Counters, Stage};
use crate::error::{Class, Error, STATUSES};
use crate::switch::Difference;
use crate::visible::is_unseen;

/// The first line of a bridge.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct Greeting {
    /// The version of the protocol, [`PROTOCOL`](super::PROTOCOL).
    pub zbridge: u32,
    /// The version of the program.
    pub version: String,
    /// The bridge's name.
    pub name: String,
    /// The process.
    pub pid: u32,
}

/// An answer: either `ok` or `error`. What was asked for may be told apart later, or read as what it has to be.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct Reply<T = serde_json::Value> {
    /// The number of the request; `null` where it had none or could not be read.
    #[serde(default)]
    pub id: Option<u64>,
    /// Success: the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<T>,
    /// It was not done, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// An [`Error`] on its way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Failure {
    /// Whose fault it was: a word of [`STATUSES`].
    pub class: String,
    /// What failed.
    pub what: String,
    /// A hint, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The errno of the system's refusal that lies behind it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let class = error.class().word().to_owned();
        let hint = error.advice().map(str::to_owned);
        Self { class, what: error.what().to_owned(), hint, errno: error.raw_os_error() }
    }
}

/// A class that is not known is a newer bridge's; it counts as a failure while running.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let class = STATUSES.iter().find(|row| row.word == failure.class).map_or(Class::Runtime, |row| row.class);
        Self::told_elsewhere(class, failure.what, failure.hint, failure.errno)
    }
}

/// The answer to `status`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct StatusInfo {
    /// The bridge's name.
    pub name: String,
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// When it began, in seconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// The confinement of its threads, in words; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Its switches.
    pub switches: Vec<SwitchInfo>,
}

/// A switch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct SwitchInfo {
    /// Its name.
    pub name: String,
    /// Why it passes no frames; nothing while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<TroubleInfo>,
    /// Addresses in its forwarding database.
    #[serde(default)]
    pub fdb: u64,
    /// What is cut from what, as it was written: `inst1,inst2 from inst3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<String>,
    /// Its ports, each listener followed by its clients. A listener's numbers are of all that it ever had, and its state
    /// is that of its best client, so that a name alone tells how a port is.
    pub ports: Vec<PortInfo>,
    /// How far it is like the run that it replays, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayInfo>,
}

/// How far a switch is like the run that it replays.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct ReplayInfo {
    /// Whether every frame so far was as it was recorded.
    pub same: bool,
    /// Frames whose fates were recorded.
    pub frames: u64,
    /// Fates that the recording has not, because a disk was full or slow.
    #[serde(default)]
    pub missing: u64,
    /// What was not the same.
    #[serde(default)]
    pub differences: Vec<DifferenceInfo>,
    /// What was recorded and has not come.
    #[serde(default)]
    pub absent: Vec<AbsentInfo>,
}

/// What was not the same in one direction of a port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct DifferenceInfo {
    /// The port.
    pub port: String,
    /// `tx`: what it was sent. `rx`: what came from it.
    pub way: String,
    /// The number of the first frame that was not the same.
    pub first: u64,
    /// Frames that were others than those recorded.
    pub others: u64,
    /// Frames behind the last recorded.
    pub more: u64,
}

/// A direction of a port that was recorded and has not come.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct AbsentInfo {
    /// The port.
    pub port: String,
    /// As of [`DifferenceInfo::way`].
    pub way: String,
    /// Frames recorded.
    pub frames: u64,
}

impl ReplayInfo {
    /// From what a switch tells of it, by `PORT WAY`.
    pub fn new((frames, missing): (u64, u64), differences: &[(String, Difference)], absent: &[(String, u64)]) -> Self {
        let apart = |of: &str| of.rsplit_once(' ').map(|(port, way)| (port.to_owned(), way.to_owned()));
        let differences: Vec<_> = differences
            .iter()
            .filter_map(|(of, it)| {
                let (port, way) = apart(of)?;
                Some(DifferenceInfo { port, way, first: it.first()?, others: it.others, more: it.more })
            })
            .collect();
        let absent = absent.iter().filter_map(|(of, frames)| {
            let (port, way) = apart(of)?;
            Some(AbsentInfo { port, way, frames: *frames })
        });
        Self { same: differences.is_empty(), frames, missing, absent: absent.collect(), differences }
    }
}

/// The answer to `heal`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct HealedInfo {
    /// The cuts that ended, or lost ports, as they had been written.
    pub healed: Vec<String>,
}

/// Why a switch passes no frames.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct TroubleInfo {
    /// `ended`: it has failed, and has no ports any more. `hangs`: it has not answered for a second.
    pub state: String,
    /// Why it ended, or where it hangs.
    pub reason: String,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// The listener that it is a client of, whose name its own begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The word of its kind.
    pub kind: String,
    /// What it is, as its specification says: `/tmp/inst1`, `zeth0,addr=192.0.2.2/24`. Nothing of a listener's client.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The ports of whose frames it gets copies: `inst1`, `inst1:rx`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// What bad lines do to its frames, as `tx.loss=1%` says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impairments: Vec<String>,
    /// It was set down, as if its cable were pulled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set_down: bool,
    /// The ports that it is cut from: `from inst3`, or one way `inst1 to inst3`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<String>,
    /// Frames that these hold on their way in, not yet received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_in: u64,
    /// Copies that these hold on their way out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_out: u64,
    /// One of [`PORT_STATES`](super::PORT_STATES) but `gone`.
    pub state: String,
    /// Who is at the other end, or why nobody is.
    pub peer: String,
    /// Frames that wait for it.
    pub queued: u64,
    /// Frames that it received, dropped ones included.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames that were handed to its descriptor.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Copies that were made for it to send.
    pub copies: u64,
    /// Received frames of which at least one copy was made.
    pub forwarded: u64,
    /// Received frames of which none was made: `rx_frames = forwarded + dropped_in`.
    #[serde(default)]
    pub dropped_in: u64,
    /// Copies that ended on their way out: `copies = tx_frames + queued + held_out + dropped_out`.
    #[serde(default)]
    pub dropped_out: u64,
    /// Frames that were dropped, by the word of their reason; reasons that counted nothing are left out.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
    /// MAC addresses that are heard on it: the first of them, where they are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<String>,
    /// IP addresses that stations behind it say they have: the first of them, where they are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What it has counted since the last look at the bridge, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<RatesInfo>,
    /// How a peer is attached, where there is anything left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attach: Option<AttachInfo>,
    /// What its service counts, by name, each an object of the port: `"flows":{"tcp":3,"held":0}` of a gateway.
    #[serde(flatten, deserialize_with = "figures")]
    pub figures: BTreeMap<String, BTreeMap<String, u64>>,
    /// The leases of its segment, by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseInfo>,
}

impl PortInfo {
    /// A port that has counted `counters`; its words are still to be filled in.
    pub fn counted(counters: &Counters, queued: usize) -> Self {
        Self {
            name: String::new(),
            listener: None,
            kind: String::new(),
            target: String::new(),
            mirrors: Vec::new(),
            impairments: Vec::new(),
            set_down: false,
            cuts: Vec::new(),
            held_in: 0,
            held_out: 0,
            state: String::new(),
            peer: String::new(),
            queued: queued as u64,
            rx_frames: counters.rx_frames,
            rx_bytes: counters.rx_bytes,
            tx_frames: counters.tx_frames,
            tx_bytes: counters.tx_bytes,
            copies: counters.copies,
            forwarded: counters.forwarded,
            dropped_in: counters.dropped_at(Stage::Ingress),
            dropped_out: counters.dropped_at(Stage::Egress),
            drops: counters.drops().map(|(row, frames)| (row.word.to_owned(), frames)).collect(),
            heard: Vec::new(),
            addresses: Vec::new(),
            rates: None,
            attach: None,
            figures: BTreeMap::new(),
            leases: Vec::new(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Rates of a port, over the time since somebody has last looked at the bridge; at the first look at a port, since it came.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct RatesInfo {
    /// Frames a second that it received.
    pub rx_frames: u64,
    /// Bits a second that it received.
    pub rx_bits: u64,
    /// Frames a second that were handed to its descriptor.
    pub tx_frames: u64,
    /// Bits a second that were handed to its descriptor.
    pub tx_bits: u64,
    /// The time that they are the mean of, in milliseconds.
    pub over_ms: u64,
}

/// The fields of a port that are figures. Others that are not known are ignored, as everywhere.
fn figures<'de, D: Deserializer<'de>>(fields: D) -> Result<BTreeMap<String, BTreeMap<String, u64>>, D::Error> {
    let fields = BTreeMap::<String, Value>::deserialize(fields)?;
    Ok(fields.into_iter().filter_map(|(name, value)| Some((name, Deserialize::deserialize(value).ok()?))).collect())
}

/// An address that a host of a segment was given.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The address.
    pub addr: String,
    /// The host's MAC address.
    pub mac: String,
    /// Its name in the segment's domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it ends, in seconds since 1970.
    pub until: u64,
}

/// How a peer is attached to a port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct AttachInfo {
    /// Who runs the line: `QEMU`, `native_sim`, `host`.
    pub who: String,
    /// What to paste, quoted for a shell.
    pub line: String,
}

/// The answer to `port-add`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct Added {
    /// The port's name.
    pub port: String,
    /// The switch that it joined.
    pub switch: String,
}

/// The answer to `fdb`, sorted by switch and address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct FdbPage {
    /// At most [`FDB_PAGE`](super::FDB_PAGE) entries.
    pub entries: Vec<FdbInfo>,
    /// There are more entries: the cursor to ask for them with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<super::Cursor>,
}

/// An entry of a forwarding database.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct FdbInfo {
    /// The switch.
    pub switch: String,
    /// The address.
    pub mac: String,
    /// The port that it is behind.
    pub port: String,
    /// Seconds since it was last heard; `null` if it is static.
    pub age: Option<u64>,
}

/// The answer to `radio`.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct RadioInfo {
    /// The switches that are a radio medium.
    pub media: Vec<MediumInfo>,
}

/// A radio medium.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct MediumInfo {
    /// The switch.
    pub switch: String,
    /// Every node hears every other, and there are no links to tell.
    #[serde(default)]
    pub all_to_all: bool,
    /// Who hears whom, by the ports that there are: at most [`RADIO_LINKS`](super::RADIO_LINKS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<RadioLinkInfo>,
}

/// A direction of a radio link.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct RadioLinkInfo {
    /// The port of the node that sends.
    pub from: String,
    /// That of the one which hears it.
    pub to: String,
    /// The probability that a frame arrives, above 0 and up to 1.
    pub chance: f64,
}

impl Reply {
    /// What was asked for. A value that cannot be written as JSON, of which there is none here, becomes `null`.
    pub fn ok(id: Option<u64>, value: &impl Serialize) -> Self {
        Self { id, ok: Some(serde_json::to_value(value).unwrap_or_default()), error: None }
    }

    /// A refusal.
    pub fn error(id: Option<u64>, error: &Error) -> Self {
        Self { id, ok: None, error: Some(error.into()) }
    }
}

/// `value` as a line of JSON, with its end. What a terminal might act on is escaped in it, not only what JSON wants
/// escaped: a line may be looked at as it is.
pub fn print(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    if value.serialize(&mut Serializer::with_formatter(&mut line, Visible)).is_err() {
        line.clear();
    }
    line.push(b'\n');
    line
}

/// JSON without blanks, whose strings have no sign that acts on a terminal. serde_json escapes what is below U+0020.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> std::io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return out.write_all(fragment.as_bytes());
        }
        for char in fragment.chars() {
            if is_unseen(char) {
                char.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            } else {
                out.write_all(char.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::DropReason;

    #[test]
    fn errors_come_back_as_they_were() {
        for row in &STATUSES {
            let error = Error::new(row.class, "a\u{1b}b").hint("c").because(rustix::io::Errno::BUSY);
            let line = print(&Reply::error(Some(9), &error));
            assert!(!line.contains(&0x1b));
            let reply: Reply = serde_json::from_slice(&line).unwrap();
            let told = Error::from(reply.error.unwrap());
            assert_eq!((reply.id, told.raw_os_error()), (Some(9), Some(16)));
            assert_eq!(told, error);
        }
        let newer = Failure { class: "tired".into(), what: "no".into(), hint: None, errno: Some(16) };
        assert_eq!(Error::from(newer).class(), Class::Runtime);
    }

    #[test]
    fn figures_are_objects_of_the_port() {
        let flows = BTreeMap::from([("held".to_owned(), 7), ("tcp".to_owned(), 2)]);
        let figures = BTreeMap::from([("flows".to_owned(), flows)]);
        let port = PortInfo { figures, ..PortInfo::counted(&Counters::default(), 0) };
        let mut value = serde_json::to_value(&port).unwrap();
        assert_eq!(value["flows"], serde_json::json!({"tcp": 2, "held": 7}));
        for (name, unknown) in [("colour", "red".into()), ("size", 3.into()), ("odd", serde_json::json!({"a": "b"}))] {
            value[name] = unknown;
        }
        assert_eq!(serde_json::from_value::<PortInfo>(value).unwrap(), port);
    }

    #[test]
    fn an_answer_is_one_line() {
        let mut counters = Counters::default();
        counters.received(2, 120);
        counters.drop(DropReason::Stalled, 3);
        let port = PortInfo { name: "a\n\u{9b}é\u{202e}\u{e0001}\u{7f}b".into(), ..PortInfo::counted(&counters, 4) };
        let line = print(&Reply::ok(None, &port));
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let text = String::from_utf8(line).unwrap();
        assert!(text.contains(r#""a\n\u009bé\u202e\udb40\udc01\u007fb""#), "{text}");
        assert!(text.starts_with(r#"{"id":null,"ok":{"#) && text.contains(r#""drops":{"stalled":3}"#), "{text}");
        let reply: Reply = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_value::<PortInfo>(reply.ok.unwrap()).unwrap(), port);
    }
}
