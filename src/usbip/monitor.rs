//! The transfers of an exported device as usbmon shows those of a machine's own (Linux `Documentation/usb/usbmon.rst`,
//! "struct usbmon_packet"; link type 220): for captures, and only while there are any.
//!
//! ```text
//! id u64 · type 'S' submission, 'C' completion · transfer type · endpoint · device · bus u16 · flag_setup · flag_data
//! time i64 s, i32 us · status i32 · length u32 · kept u32 · SETUP packet, or errors and packets of an isochronous one
//! interval · start frame · flags · packets u32 · 16 bytes for each packet · data
//! ```

use super::pdu::{errno, status_word};
use crate::capture::pcapng::LinkType;
use crate::capture::{Part, Sight, Sights};
use crate::time::Instant;
use crate::usb::{Device, Direction, Speed, TransferKind, Urb};
use std::sync::Arc;

/// The status of a transfer that has begun (EINPROGRESS).
const IN_PROGRESS: i32 = -115;
/// Bytes of the header.
const HEADER: usize = 64;

/// What is seen of one device.
#[derive(Debug)]
pub(super) struct Monitor {
    part: Arc<Part>,
    /// Its bus and number.
    place: (u8, u8),
    /// Bytes that are kept of each.
    snap: usize,
    now: Instant,
    pub sights: Sights,
}

impl Monitor {
    /// Shows `device`, the one at this place of the bus, which is said first.
    pub fn new(now: Instant, busid: &str, place: (u8, u8), device: &Device, snap: u32) -> Self {
        let description = device.description();
        let product = description.product_name.as_deref().unwrap_or("device");
        let part = Arc::new(Part {
            name: busid.to_owned(),
            description: format!("USB {:04x}:{:04x} {product}", description.vendor, description.product),
            link: LinkType::USB,
            speed: Some(match description.speed {
                Speed::Full => 12_000_000,
                Speed::High => 480_000_000,
                Speed::Super => 5_000_000_000,
            }),
        });
        let mut sights = Sights::default();
        sights.push(Sight { at: now, part: part.clone(), incoming: false, bytes: Vec::new(), len: 0 });
        Self { part, place, snap: snap as usize, now, sights }
    }

    /// Keeps so many bytes of each from now on.
    pub fn set_snap(&mut self, snap: u32) {
        self.snap = snap as usize;
    }

    /// The time of what is seen next.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// A transfer is asked for.
    pub fn submitted(&mut self, urb: &Urb, kind: Option<TransferKind>) {
        let data = if urb.endpoint.direction() == Direction::Out { &urb.data[..] } else { &[] };
        self.note(b'S', urb, kind, IN_PROGRESS, urb.length, data);
    }

    /// It has ended.
    pub fn completed(&mut self, urb: &Urb, kind: Option<TransferKind>) {
        let data = if urb.endpoint.direction() == Direction::In { &urb.data[..] } else { &[] };
        self.note(b'C', urb, kind, status_word(urb.status), urb.actual, data);
    }

    /// It was taken back.
    pub fn unlinked(&mut self, urb: &Urb, kind: Option<TransferKind>) {
        self.note(b'C', urb, kind, errno::UNLINKED, 0, &[]);
    }

    fn note(&mut self, event: u8, urb: &Urb, kind: Option<TransferKind>, status: i32, length: u32, data: &[u8]) {
        let (bus, device) = self.place;
        let is_submission = event == b'S';
        let is_control = urb.endpoint.number() == 0;
        let input = urb.endpoint.direction() == Direction::In;
        let transfer = match kind {
            _ if is_control => 2,
            Some(TransferKind::Isochronous) => 0,
            Some(TransferKind::Interrupt) => 1,
            Some(TransferKind::Control) => 2,
            Some(TransferKind::Bulk) | None => 3,
        };
        // Data is where it goes on the bus: OUT with the submission, IN with the completion.
        let flag_data = match (is_submission, input) {
            (true, true) => b'<',
            (false, false) => b'>',
            _ if data.is_empty() => {
                if input {
                    b'<'
                } else {
                    b'>'
                }
            }
            _ => 0,
        };
        let mut bytes = Vec::with_capacity(HEADER + data.len().min(self.snap));
        let id = u64::from(bus) << 40 | u64::from(device) << 32 | u64::from(urb.id);
        bytes.extend(id.to_le_bytes());
        bytes.extend([event, transfer, urb.endpoint.byte(), device, bus, 0]);
        bytes.extend([if is_control && is_submission { 0 } else { b'-' }, flag_data]);
        // The time, which whoever writes the capture knows.
        bytes.extend([0; 12]);
        bytes.extend(status.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend((data.len() as u32 + 16 * urb.packets.len() as u32).to_le_bytes());
        match urb.packets.len() {
            0 if is_control && is_submission => bytes.extend(urb.setup.to_bytes()),
            0 => bytes.extend([0; 8]),
            count => {
                bytes.extend(urb.errors().to_le_bytes());
                bytes.extend((count as u32).to_le_bytes());
            }
        }
        let flags = u32::from(urb.short_not_ok) | if input { 0x200 } else { 0 };
        for word in [0, urb.start_frame, flags, urb.packets.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        let mut begin = 0;
        for packet in &urb.packets {
            let (status, length) = match is_submission {
                true => (IN_PROGRESS, packet.length),
                false => (status_word(packet.status), packet.actual),
            };
            // What has come lies one behind the other, without gaps.
            let offset = if input && !is_submission { begin } else { packet.offset };
            begin += packet.actual;
            bytes.extend(status.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend([0; 4]);
        }
        let len = (bytes.len() + data.len()) as u32;
        let room = self.snap.saturating_sub(bytes.len());
        bytes.extend_from_slice(data.get(..room).unwrap_or(data));
        bytes.truncate(self.snap.max(HEADER));
        let part = self.part.clone();
        self.sights.push(Sight { at: self.now, part, incoming: !is_submission, bytes, len });
    }
}
