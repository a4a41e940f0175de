//! Messages of the operation phase: the list of devices and the import of one.
//!
//! All numbers are big-endian. `op_common` (8 bytes): version, code, status. A request's code has bit 15 set; the
//! reply has the same code without it.

use super::VERSION;
use crate::usb::{ClassCode, Speed};

/// Code of the request to import a device; its reply is 0x0003.
pub(crate) const REQ_IMPORT: u16 = 0x8003;
/// Code of the request for the list of devices; its reply is 0x0005.
pub(crate) const REQ_DEVLIST: u16 = 0x8005;
/// Bit 15: a request.
pub(crate) const REQUEST: u16 = 0x8000;
/// Bytes of `op_common`.
pub(crate) const OP_LENGTH: usize = 8;
/// Bytes of a bus id, with at least one NUL.
pub(crate) const BUSID_LENGTH: usize = 32;
/// Bytes of a device's path, with at least one NUL.
pub(crate) const PATH_LENGTH: usize = 256;
/// Bytes of a device record without its interfaces.
pub(crate) const RECORD_LENGTH: usize = 312;
/// Where its `speed` is, behind `busnum` and `devnum`.
pub(crate) const SPEED_OFFSET: usize = PATH_LENGTH + BUSID_LENGTH + 8;
/// Bytes of an interface record.
pub(super) const INTERFACE_LENGTH: usize = 4;
/// Bytes of the longest request: `op_common` and a bus id.
pub(crate) const REQUEST_LENGTH: usize = OP_LENGTH + BUSID_LENGTH;

/// `status` of a reply (`tools/usb/usbip/libsrc/usbip_common.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
#[non_exhaustive]
pub enum OpStatus {
    /// Done.
    Ok = 0,
    /// Not available.
    NotAvailable = 1,
    /// Someone else has the device.
    Busy = 2,
    /// The device is in error.
    DeviceError = 3,
    /// There is no such device.
    NoDevice = 4,
    /// Anything else.
    Error = 5,
}

impl OpStatus {
    /// The status of a number; unknown numbers are [`OpStatus::Error`].
    pub fn from_wire(value: u32) -> Self {
        let all = [Self::Ok, Self::NotAvailable, Self::Busy, Self::DeviceError, Self::NoDevice];
        all.into_iter().find(|status| *status as u32 == value).unwrap_or(Self::Error)
    }
}

/// `speed` of a device record (`enum usb_device_speed`). Every number passes, so that a foreign list can be shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpeedCode(pub u32);

impl SpeedCode {
    /// `full`, `high` …; empty where it is none of those of usbip's `enum usb_device_speed`.
    pub fn word(self) -> &'static str {
        match self.0 {
            1 => "low",
            2 => "full",
            3 => "high",
            4 => "wireless",
            5 => "super",
            6 => "super+",
            _ => "",
        }
    }
}

impl From<Speed> for SpeedCode {
    fn from(speed: Speed) -> Self {
        Self(match speed {
            Speed::Full => 2,
            Speed::High => 3,
            Speed::Super => 5,
        })
    }
}

/// Class, subclass and protocol of an interface; the fourth byte is padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InterfaceRecord(pub ClassCode);

/// A device as both replies show it: 312 bytes, in a list followed by 4 bytes for each interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceRecord {
    /// Path in the exporter's sysfs @0, at most 255 bytes.
    pub path: String,
    /// Bus id @256, at most 31 bytes.
    pub busid: String,
    /// @288, 1..=255.
    pub busnum: u32,
    /// @292, 1..=255.
    pub devnum: u32,
    /// @296.
    pub speed: SpeedCode,
    /// `idVendor` @300.
    pub vendor: u16,
    /// `idProduct` @302.
    pub product: u16,
    /// `bcdDevice` @304.
    pub release: u16,
    /// @306.
    pub class: ClassCode,
    /// `bConfigurationValue` @309.
    pub configuration: u8,
    /// `bNumConfigurations` @310.
    pub configurations: u8,
    /// The interfaces; their number is at @311. An import's reply tells only the number.
    pub interfaces: Vec<InterfaceRecord>,
}

impl DeviceRecord {
    /// The name of the device in the URB phase.
    pub fn devid(&self) -> u32 {
        self.busnum << 16 | self.devnum
    }

    /// Appends the record's 312 bytes, and the interfaces if `list`.
    pub fn encode(&self, list: bool, out: &mut Vec<u8>) {
        put_text(out, &self.path, PATH_LENGTH);
        put_text(out, &self.busid, BUSID_LENGTH);
        for word in [self.busnum, self.devnum, self.speed.0] {
            out.extend(word.to_be_bytes());
        }
        for half in [self.vendor, self.product, self.release] {
            out.extend(half.to_be_bytes());
        }
        let ClassCode(class, subclass, protocol) = self.class;
        let interfaces = self.interfaces.len().min(255);
        out.extend([class, subclass, protocol, self.configuration, self.configurations, interfaces as u8]);
        for InterfaceRecord(ClassCode(class, subclass, protocol)) in self.interfaces.iter().take(255).filter(|_| list) {
            out.extend([*class, *subclass, *protocol, 0]);
        }
    }

    /// Reads the 312 bytes, and says how many interface records follow in a list.
    pub(super) fn decode(bytes: &[u8; RECORD_LENGTH]) -> (Self, u8) {
        let word = |at: usize| bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let record = Self {
            path: text(&bytes[..PATH_LENGTH]).unwrap_or_default(),
            busid: text(&bytes[PATH_LENGTH..PATH_LENGTH + BUSID_LENGTH]).unwrap_or_default(),
            busnum: word(288),
            devnum: word(292),
            speed: SpeedCode(word(296)),
            vendor: half(300),
            product: half(302),
            release: half(304),
            class: ClassCode(bytes[306], bytes[307], bytes[308]),
            configuration: bytes[309],
            configurations: bytes[310],
            interfaces: Vec::new(),
        };
        (record, bytes[311])
    }
}

/// Appends `op_common`.
pub(crate) fn put_op(out: &mut Vec<u8>, code: u16, status: OpStatus) {
    out.extend(VERSION.to_be_bytes());
    out.extend(code.to_be_bytes());
    out.extend((status as u32).to_be_bytes());
}

/// Appends a text, cut and filled up with NULs to `length` bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, length: usize) {
    let bytes = text.as_bytes();
    let kept = bytes.len().min(length - 1);
    out.extend_from_slice(&bytes[..kept]);
    out.resize(out.len() + length - kept, 0);
}

/// The text before the first NUL; `None` without a NUL, or if it is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn record_layout() {
        let record = DeviceRecord {
            path: "/sys/bus/usb/devices/1-1".into(),
            busid: "1-1".into(),
            busnum: 1,
            devnum: 2,
            speed: Speed::Super.into(),
            vendor: 0x2fe3,
            product: 1,
            release: 0x0402,
            class: ClassCode(0xef, 2, 1),
            configuration: 1,
            configurations: 1,
            interfaces: vec![InterfaceRecord(ClassCode(2, 2, 0)), InterfaceRecord(ClassCode(10, 0, 0))],
        };
        let mut bytes = Vec::new();
        record.encode(true, &mut bytes);
        assert_eq!(bytes.len(), 320);
        assert_eq!(&bytes[256..260], b"1-1\0");
        let expected = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0x2f, 0xe3, 0, 1, 4, 2, 0xef, 2, 1, 1, 1, 2];
        assert_eq!(bytes[288..312], expected);
        assert_eq!(bytes[312..], [2, 2, 0, 0, 10, 0, 0, 0]);
        let (back, interfaces) = DeviceRecord::decode(bytes[..312].try_into().unwrap());
        assert_eq!(back, DeviceRecord { interfaces: vec![], ..record.clone() });
        assert_eq!((interfaces, record.devid()), (2, 0x0001_0002));
    }

    #[test]
    fn texts_keep_their_nul() {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &"x".repeat(40), BUSID_LENGTH);
        assert_eq!((bytes.len(), bytes[30], bytes[31]), (32, b'x', 0));
        assert_eq!(text(b"1-1"), None);
        assert_eq!(text(b"\xff\0"), None);
    }

    proptest! {
        #[test]
        fn any_record_is_read_and_written_back(bytes in proptest::collection::vec(any::<u8>(), RECORD_LENGTH)) {
            let (record, _) = DeviceRecord::decode(bytes.as_slice().try_into().unwrap());
            let mut again = Vec::new();
            record.encode(false, &mut again);
            prop_assert_eq!(&again[288..311], &bytes[288..311]);
        }
    }
}
