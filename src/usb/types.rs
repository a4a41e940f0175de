//! The small words of USB: speeds, directions, endpoint addresses, transfer kinds and SETUP packets.

/// The speed of a device (USB 2.0 and USB 3.2). Low speed has no bulk endpoints and is not offered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Speed {
    /// 12 Mbit/s.
    Full,
    /// 480 Mbit/s.
    High,
    /// 5 Gbit/s.
    Super,
}

impl Speed {
    /// `bMaxPacketSize0`: bytes at full and high speed, an exponent of two at SuperSpeed (USB 3.2, table 9-11).
    pub const fn max_packet_size_0(self) -> u8 {
        match self {
            Self::Full | Self::High => 64,
            Self::Super => 9,
        }
    }

    /// The largest `wMaxPacketSize` of a bulk endpoint, which is also the only one at high and SuperSpeed
    /// (USB 2.0, 5.8.3; USB 3.2, 8.12.1).
    pub const fn bulk_packet(self) -> u16 {
        match self {
            Self::Full => 64,
            Self::High => 512,
            Self::Super => 1024,
        }
    }

    /// The largest packet of an interrupt endpoint (USB 2.0, 5.7.3; USB 3.2, 8.12.4).
    pub const fn interrupt_packet(self) -> u16 {
        match self {
            Self::Full => 64,
            Self::High | Self::Super => 1024,
        }
    }

    /// The largest packet of an isochronous endpoint (USB 2.0, 5.6.3; USB 3.2, 8.12.5).
    pub const fn isochronous_packet(self) -> u16 {
        match self {
            Self::Full => 1023,
            Self::High | Self::Super => 1024,
        }
    }
}

/// Which way data flows, seen from the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// Host to device.
    Out,
    /// Device to host.
    In,
}

/// An endpoint address: number 0..=15 in bits 3..0, bit 7 set for IN (USB 2.0, table 9-13). The default is endpoint 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Address(u8);

impl Address {
    /// Endpoint 0, where control transfers go.
    pub const CONTROL: Self = Self(0);

    /// IN endpoint `number`; only the low four bits count.
    pub const fn input(number: u8) -> Self {
        Self(0x80 | (number & 15))
    }

    /// OUT endpoint `number`; only the low four bits count.
    pub const fn output(number: u8) -> Self {
        Self(number & 15)
    }

    /// Endpoint `number` in `direction`.
    pub const fn new(number: u8, direction: Direction) -> Self {
        match direction {
            Direction::In => Self::input(number),
            Direction::Out => Self::output(number),
        }
    }

    /// The address in a descriptor or in `wIndex`; `None` if a reserved bit is set.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte & 0x70 == 0 { Some(Self(byte)) } else { None }
    }

    /// `bEndpointAddress`.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// The endpoint's number, 0..=15.
    pub const fn number(self) -> u8 {
        self.0 & 15
    }

    /// The endpoint's direction.
    pub const fn direction(self) -> Direction {
        if self.0 & 0x80 == 0 { Direction::Out } else { Direction::In }
    }

    /// A dense index, 0..=31: OUT endpoints first.
    pub(crate) const fn index(self) -> usize {
        (self.0 & 15) as usize | ((self.0 & 0x80) >> 3) as usize
    }
}

/// The four kinds of transfer, with their codes in `bmAttributes` (USB 2.0, table 9-13).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum TransferKind {
    /// Requests and replies on endpoint 0.
    Control = 0,
    /// Paced packets that may be lost.
    Isochronous = 1,
    /// Any amount of data, whenever there is room.
    Bulk = 2,
    /// Small messages within a bounded time.
    Interrupt = 3,
}

/// Class, subclass and protocol of a device, an interface or a group of interfaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ClassCode(pub u8, pub u8, pub u8);

impl ClassCode {
    /// The class is told by each interface.
    pub const PER_INTERFACE: Self = Self(0, 0, 0);
    /// A device whose interfaces are grouped by associations (IAD ECN to USB 2.0).
    pub const ASSOCIATION: Self = Self(0xef, 2, 1);
    /// Vendor specific.
    pub const VENDOR: Self = Self(0xff, 0, 0);
}

/// Who defined a request: bits 6..5 of `bmRequestType` (USB 2.0, table 9-2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RequestType {
    /// USB 2.0 chapter 9.
    Standard,
    /// A device class.
    Class,
    /// The device's vendor.
    Vendor,
    /// Reserved.
    Reserved,
}

/// Whom a request is for: bits 4..0 of `bmRequestType` (USB 2.0, table 9-2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Recipient {
    /// The device.
    Device,
    /// The interface in the low byte of `wIndex`.
    Interface,
    /// The endpoint in the low byte of `wIndex`.
    Endpoint,
    /// Something else; a hub's port in the requests that hosts send for a reset.
    Other,
    /// Reserved.
    Reserved,
}

/// A SETUP packet, 8 bytes (USB 2.0, 9.3): `bmRequestType`, `bRequest`, then `wValue`, `wIndex` and `wLength`, each
/// little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Setup {
    /// `bmRequestType`.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
    /// `wLength`: the most bytes of the data stage.
    pub length: u16,
}

impl Setup {
    /// The packet in its eight bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [request_type, request, v0, v1, i0, i1, l0, l1] = bytes;
        Self {
            request_type,
            request,
            value: u16::from_le_bytes([v0, v1]),
            index: u16::from_le_bytes([i0, i1]),
            length: u16::from_le_bytes([l0, l1]),
        }
    }

    /// The eight bytes of the packet.
    pub const fn to_bytes(self) -> [u8; 8] {
        let [v0, v1] = self.value.to_le_bytes();
        let [i0, i1] = self.index.to_le_bytes();
        let [l0, l1] = self.length.to_le_bytes();
        [self.request_type, self.request, v0, v1, i0, i1, l0, l1]
    }

    /// The direction of the data stage. Without a data stage bit 7 means nothing, and it is OUT (USB 2.0, 9.3.1).
    pub const fn direction(self) -> Direction {
        if self.length == 0 || self.request_type & 0x80 == 0 { Direction::Out } else { Direction::In }
    }

    /// Who defined the request.
    pub const fn kind(self) -> RequestType {
        match (self.request_type >> 5) & 3 {
            0 => RequestType::Standard,
            1 => RequestType::Class,
            2 => RequestType::Vendor,
            _ => RequestType::Reserved,
        }
    }

    /// Whom the request is for.
    pub const fn recipient(self) -> Recipient {
        match self.request_type & 0x1f {
            0 => Recipient::Device,
            1 => Recipient::Interface,
            2 => Recipient::Endpoint,
            3 => Recipient::Other,
            _ => Recipient::Reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setup_is_little_endian() {
        let bytes = [0x80, 0x06, 0x00, 0x01, 0x02, 0x03, 0x40, 0x00];
        let setup = Setup::from_bytes(bytes);
        assert_eq!((setup.value, setup.index, setup.length), (0x0100, 0x0302, 64));
        assert_eq!((setup.kind(), setup.recipient()), (RequestType::Standard, Recipient::Device));
        assert_eq!(setup.direction(), Direction::In);
        assert_eq!(setup.to_bytes(), bytes);
    }

    #[test]
    fn no_data_stage_is_out() {
        let setup = Setup { request_type: 0xc0, ..Setup::default() };
        assert_eq!(setup.direction(), Direction::Out);
    }

    #[test]
    fn indexes_are_dense() {
        let inputs = (0..16).map(|number| Address::input(number).index());
        let outputs = (0..16).map(|number| Address::output(number).index());
        assert!(outputs.chain(inputs).eq(0..32));
        assert_eq!(Address::input(3).byte(), 0x83);
        assert_eq!(Address::from_byte(0x13), None);
    }
}
