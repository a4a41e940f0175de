//! The server's reader of the URB phase: bytes in chunks of any size in, whole commands out.
//!
//! A header is taken apart when its 48 bytes are there. OUT data and the descriptors of packets are appended as they
//! arrive, so that what is allocated follows what a peer has sent and never what it has announced. The data of a transfer
//! that is larger than [`MAX_BUFFER`] is passed over: its length is known, so the stream keeps its frame.

use super::pdu::{CmdSubmit, CmdUnlink, Fault, HEADER_LENGTH, NO_PACKETS, PACKET_LENGTH, Pdu, SHORT_NOT_OK};
use super::{MAX_BUFFER, MAX_PACKETS, pdu};
use crate::usb::{Address, Direction, Setup, Status, TransferKind, Urb};

/// A whole command.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Command {
    /// A SUBMIT and its transfer, whose id is the seqnum. With [`Status::NoRoom`] it is too large, and has no data.
    Submit(CmdSubmit, Urb),
    /// An UNLINK.
    Unlink(CmdUnlink),
}

/// A SUBMIT of which something is still to come.
struct Body {
    command: CmdSubmit,
    urb: Urb,
    /// Bytes of OUT data still to come.
    payload: usize,
    /// Descriptors of packets still to come.
    packets: u32,
}

/// Reads commands from a stream. One belongs to one connection.
pub struct Decoder {
    /// The beginning of a header, or of a packet's descriptor, that came in chunks.
    partial: [u8; HEADER_LENGTH],
    have: usize,
    body: Option<Body>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { partial: [0; HEADER_LENGTH], have: 0, body: None }
    }
}

impl Decoder {
    /// Takes bytes from the front of `bytes` until a command is whole; `None` if they are used up before. `kind` tells
    /// the kind of an endpoint that the device has. `buffer` is asked for an empty buffer for each transfer.
    ///
    /// # Errors
    /// A [`Fault`]: nothing after it can be understood.
    pub fn decode(
        &mut self,
        bytes: &mut &[u8],
        kind: impl Fn(Address) -> Option<TransferKind>,
        buffer: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<Command>, Fault> {
        let mut body = match self.body.take() {
            Some(body) => body,
            None => {
                let Some(header) = take::<HEADER_LENGTH>(&mut self.partial, &mut self.have, bytes) else {
                    return Ok(None);
                };
                match Pdu::decode(&header)? {
                    Pdu::CmdUnlink(command) => return Ok(Some(Command::Unlink(command))),
                    Pdu::CmdSubmit(command) => begin(command, kind(command.base.endpoint), buffer())?,
                    Pdu::RetSubmit(_) => return Err(Fault::Command(3)),
                    Pdu::RetUnlink(_) => return Err(Fault::Command(4)),
                }
            }
        };
        if self.continue_body(&mut body, bytes)? {
            return Ok(Some(Command::Submit(body.command, body.urb)));
        }
        self.body = Some(body);
        Ok(None)
    }

    /// Takes what belongs to a body. True when it is whole.
    fn continue_body(&mut self, body: &mut Body, bytes: &mut &[u8]) -> Result<bool, Fault> {
        let (payload, rest) = bytes.split_at(body.payload.min(bytes.len()));
        if body.urb.status == Status::Ok {
            body.urb.data.extend_from_slice(payload);
        }
        body.payload -= payload.len();
        *bytes = rest;
        if body.payload > 0 {
            return Ok(false);
        }
        while body.packets > 0 {
            let Some(descriptor) = take::<PACKET_LENGTH>(&mut self.partial, &mut self.have, bytes) else {
                return Ok(false);
            };
            // A client's status of a packet is meaningless: it is still to be transferred.
            let mut asked = [0; PACKET_LENGTH];
            asked[..8].copy_from_slice(&descriptor[..8]);
            body.urb.packets.push(pdu::decode_packet(&asked, body.command.length)?.0);
            body.packets -= 1;
        }
        Ok(true)
    }
}

/// Judges a SUBMIT by the endpoint that it is for, and prepares its transfer.
fn begin(command: CmdSubmit, kind: Option<TransferKind>, data: Vec<u8>) -> Result<Body, Fault> {
    let packets = match (kind, command.packets) {
        (Some(TransferKind::Isochronous) | None, 0..=MAX_PACKETS) => command.packets,
        (Some(TransferKind::Isochronous), _) => return Err(Fault::Packets(command.packets)),
        (_, 0 | NO_PACKETS) => 0,
        (_, packets) => return Err(Fault::Packets(packets)),
    };
    let endpoint = command.base.endpoint;
    let payload = if endpoint.direction() == Direction::Out { command.length as usize } else { 0 };
    let urb = Urb {
        id: command.base.seqnum,
        endpoint,
        setup: Setup::from_bytes(command.setup),
        length: command.length,
        data,
        short_not_ok: command.flags & SHORT_NOT_OK != 0,
        status: if command.length > MAX_BUFFER { Status::NoRoom } else { Status::Ok },
        ..Urb::default()
    };
    Ok(Body { command, urb, payload, packets })
}

/// Collects `N` bytes in `partial`, of which `have` are there; gives them when they are complete.
pub(super) fn take<const N: usize>(
    partial: &mut [u8; HEADER_LENGTH],
    have: &mut usize,
    bytes: &mut &[u8],
) -> Option<[u8; N]> {
    if *have == 0
        && let Some((whole, rest)) = bytes.split_first_chunk::<N>()
    {
        *bytes = rest;
        return Some(*whole);
    }
    let (now, rest) = bytes.split_at(N.saturating_sub(*have).min(bytes.len()));
    let place = partial.get_mut(*have..*have + now.len())?;
    place.copy_from_slice(now);
    *have += now.len();
    *bytes = rest;
    if *have < N {
        return None;
    }
    *have = 0;
    partial.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usbip::pdu::Base;
    use crate::usbip::{MAX_BUFFER, MAX_PACKETS};

    fn header(length: u32, packets: u32) -> [u8; HEADER_LENGTH] {
        let base = Base { seqnum: 1, devid: 2, endpoint: Address::output(1) };
        let command = CmdSubmit { base, flags: 0, length, start_frame: 0, packets, interval: 0, setup: [0; 8] };
        Pdu::CmdSubmit(command).encode()
    }

    #[test]
    fn memory_follows_what_has_arrived() {
        let mut decoder = Decoder::default();
        for part in [&header(MAX_BUFFER, MAX_PACKETS)[..], &[0; 100]] {
            let mut rest = part;
            let kind = |_| Some(TransferKind::Isochronous);
            assert_eq!(decoder.decode(&mut rest, kind, Vec::new), Ok(None));
            assert!(rest.is_empty());
        }
        let urb = &decoder.body.as_ref().unwrap().urb;
        assert!(urb.data.capacity() < 1000 && urb.packets.capacity() == 0);
    }

    #[test]
    fn what_is_too_large_is_passed_over() {
        let mut decoder = Decoder::default();
        let length = MAX_BUFFER + 100;
        let mut bytes = &header(length, 0)[..];
        assert_eq!(decoder.decode(&mut bytes, |_| None, Vec::new), Ok(None));
        let chunk = vec![7; 1 << 20];
        let mut left = length as usize;
        let mut decoded = None;
        while left > 0 {
            assert!(decoded.is_none(), "{left} bytes before its end");
            let mut bytes = &chunk[..left.min(chunk.len())];
            left -= bytes.len();
            decoded = decoder.decode(&mut bytes, |_| None, Vec::new).unwrap();
            assert!(bytes.is_empty());
        }
        let Some(Command::Submit(_, urb)) = decoded else { panic!("{decoded:?}") };
        assert_eq!((urb.status, urb.length, urb.data.capacity()), (Status::NoRoom, length, 0));
        // The next header is understood.
        let mut next = &header(0, 0)[..];
        assert!(decoder.decode(&mut next, |_| None, Vec::new).unwrap().is_some());
    }

    #[test]
    fn any_cut_gives_the_same_command() {
        let mut stream = header(8, 2).to_vec();
        stream.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        for offset in [0u32, 4] {
            stream.extend([offset, 4, 0, 0].iter().flat_map(|word| word.to_be_bytes()));
        }
        let mut found = Vec::new();
        for cut in 0..stream.len() {
            let mut decoder = Decoder::default();
            let (mut first, mut second) = stream.split_at(cut);
            let kind = |_| Some(TransferKind::Isochronous);
            assert_eq!(decoder.decode(&mut first, kind, Vec::new), Ok(None));
            found.push(decoder.decode(&mut second, kind, Vec::new).unwrap().unwrap());
        }
        let Command::Submit(_, urb) = &found[0] else { panic!() };
        assert_eq!((urb.data.len(), urb.packets.len(), urb.packets[1].offset), (8, 2, 4));
        assert!(found.iter().all(|command| *command == found[0]));
    }
}
