//! One transfer on its way through a device: the USB request block, in the shape that both ends of the room share.
//!
//! A URB goes in by value, waits in the device's queue, and comes out by value with its result filled in, so that its
//! buffers can be used again for the next one.

use super::types::{Address, Setup};

/// How a transfer, or one packet of an isochronous transfer, ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Status {
    /// Done.
    #[default]
    Ok,
    /// The endpoint answered STALL, or is not there.
    Stall,
    /// The function gave more than there was room for.
    Babble,
    /// Less data than asked for, and the host had said that this is an error.
    Short,
    /// The endpoint or the device went away while the transfer waited.
    Shutdown,
    /// There is no room for the transfer: it is larger, or more wait, than whoever carries it keeps. Not the device's.
    NoRoom,
}

/// One packet of an isochronous transfer: a range of the transfer's buffer, and its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct IsoPacket {
    /// Where the packet begins in the buffer, in bytes.
    pub offset: u32,
    /// Its room, in bytes.
    pub length: u32,
    /// Bytes that went over the bus.
    pub actual: u32,
    /// How it ended.
    pub status: Status,
}

/// A transfer: the host's request and, when it is done, its outcome.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Urb {
    /// The name that the submitter gave it; unique among the URBs inside a device.
    pub id: u32,
    /// The endpoint.
    pub endpoint: Address,
    /// The SETUP packet; only endpoint 0 reads it.
    pub setup: Setup,
    /// Room in bytes for IN. For OUT the length of `data`.
    pub length: u32,
    /// OUT: the data. IN: empty, then the data of the reply. Isochronous IN: the packets one behind the other without
    /// gaps; isochronous OUT: the whole buffer.
    pub data: Vec<u8>,
    /// The packets of an isochronous transfer; empty for every other kind.
    pub packets: Vec<IsoPacket>,
    /// The host wants less data than asked for to be an error ([`Status::Short`]).
    pub short_not_ok: bool,
    /// Its outcome.
    pub status: Status,
    /// Bytes transferred, also for OUT.
    pub actual: u32,
    /// The frame in which an isochronous transfer began, 0..=2047.
    pub start_frame: u32,
}

impl Urb {
    /// An OUT transfer of `data`.
    pub fn output(id: u32, number: u8, data: Vec<u8>) -> Self {
        Self { id, endpoint: Address::output(number), length: data.len() as u32, data, ..Self::default() }
    }

    /// An IN transfer with `length` bytes of room.
    pub fn input(id: u32, number: u8, length: u32) -> Self {
        Self { id, endpoint: Address::input(number), length, ..Self::default() }
    }

    /// A control transfer; `data` is the data stage of an OUT request.
    pub fn control(id: u32, setup: Setup, data: Vec<u8>) -> Self {
        let endpoint = Address::new(0, setup.direction());
        Self { id, endpoint, setup, length: u32::from(setup.length), data, ..Self::default() }
    }

    /// The number of isochronous packets that failed.
    pub fn errors(&self) -> u32 {
        self.packets.iter().filter(|packet| packet.status != Status::Ok).count() as u32
    }
}
