//! Software offloads for an egress port: segments super-frames and completes checksums for ports that take plain frames
//! only, and merges a stream's segments into super-frames for ports that take those.

use super::fits;
use crate::counters::DropReason;
use crate::frame::{Batch, Frame, Outgoing};
use crate::limits::PREFIX;
use crate::wire::{Coalescer, Gso, Merged, Offload, segment};

/// Room for the segments of the largest super-frame: its bytes, and the headers of every segment.
pub(super) const ROOM: usize = 1024 * 1024;

/// Puts `frame` into `plain`, segmented and with checksums as its offload asks. False, with nothing done: there is no
/// room for the worst case.
///
/// # Errors
/// The frame contradicts its offload.
pub(super) fn finish_into(frame: &Frame, bytes: &[u8], plain: &mut Batch) -> Result<bool, DropReason> {
    let worst = match frame.offload.gso {
        Gso::None => bytes.len(),
        _ => ROOM / 2,
    };
    if plain.free() < worst + PREFIX {
        return Ok(false);
    }
    let mut fits = true;
    let emit = |parts: &[&[u8]]| fits &= plain.push_parts(parts, frame.ingress, Offload::NONE);
    match segment::finish(bytes, &frame.offload, emit) {
        Ok(_) if fits => Ok(true),
        // Only headers of hundreds of bytes come to this.
        Ok(_) => Err(DropReason::TooBig),
        Err(_) => Err(DropReason::BadOffload),
    }
}

/// Puts `frame` into `plain` as a port with this `mtu` takes it, whole where it takes super-frames (`offload`). False,
/// with nothing done: there is no room for the worst case.
///
/// # Errors
/// It is too long for the port, or contradicts its offload.
pub(super) fn shape_into(
    frame: &Frame,
    bytes: &[u8],
    (mtu, offload): (Option<u32>, bool),
    plain: &mut Batch,
) -> Result<bool, DropReason> {
    if mtu.is_some_and(|mtu| !fits(frame, bytes, mtu)) {
        return Err(DropReason::TooBig);
    }
    match offload || frame.offload.is_plain() {
        true => Ok(plain.push(bytes, frame.ingress, frame.offload)),
        false => finish_into(frame, bytes, plain),
    }
}

/// Shorter frames are not worth merging: they are acknowledgements and the last segments of something.
const WORTH_MERGING: usize = 576;

/// Whether merging may pay: at least two long frames, and none that is a super-frame already. Those are never copied.
/// More bytes than [`ROOM`] are not merged either; no breath of the engine brings so many.
pub(super) fn may_merge(out: Outgoing<'_>) -> bool {
    let (mut long, mut bytes) = (0, 0);
    for (frame, _) in out.frames() {
        if !frame.offload.is_plain() {
            return false;
        }
        long += usize::from(frame.len() >= WORTH_MERGING);
        bytes += PREFIX + frame.len();
    }
    long >= 2 && bytes <= ROOM
}

/// Puts all frames of `out`, which [`may_merge`] has accepted, into `merged`, with consecutive segments merged into
/// super-frames.
pub(super) fn merge_into(out: Outgoing<'_>, merged: &mut Batch) {
    let mut coalescer = Coalescer::new();
    for (frame, bytes) in out.frames() {
        coalescer.push(bytes, &frame.offload, |frames| put(merged, frame, &frames));
    }
    if let Some(last) = out.len().checked_sub(1) {
        coalescer.flush(|frames| put(merged, out.frame(last), &frames));
    }
}

fn put(merged: &mut Batch, near: &Frame, frame: &Merged<'_, '_>) {
    let there = merged.push_all(frame.headers, frame.parts, near.ingress, frame.offload);
    debug_assert!(there, "merged frames have no more bytes than before");
}

#[cfg(test)]
mod tests {
    use crate::counters::{Counters, DropReason};
    use crate::frame::{Batch, Outgoing, PortId};
    use crate::switch::{PortConfig, Switch, SwitchConfig, Taken, Transmit};
    use crate::time::Instant;
    use crate::wire::fixture::{Flow, Ip, Transport};
    use crate::wire::{Checksum, Gso, Offload};
    use etherparse::{Ipv4Header, TcpHeader, ip_number};

    const SEGMENT: usize = 1448;

    fn flow() -> Flow {
        let mut tcp = TcpHeader::new(5001, 5201, 1000, 65_000);
        tcp.ack = true;
        let ip = Ipv4Header::new(0, 64, ip_number::TCP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
        let link = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[8, 0]].concat();
        Flow { link, ip: Ip::V4(ip), transport: Transport::Tcp(tcp) }
    }

    /// Keeps what each port was offered.
    #[derive(Default)]
    struct Got(Vec<(PortId, Vec<u8>, Offload)>);

    impl Transmit for Got {
        fn transmit(&mut self, port: PortId, out: Outgoing<'_>, counters: &mut Counters) -> Taken {
            for (frame, bytes) in out.frames() {
                counters.sent(1, bytes.len() as u64);
                self.0.push((port, bytes.to_vec(), frame.offload));
            }
            Taken { frames: out.len() }
        }
    }

    /// Sends frames from port 0 to ports 1 (plain) and 2 (with offloads), and returns what each got.
    fn switched(frames: &[(Vec<u8>, Offload)]) -> [Vec<(Vec<u8>, Offload)>; 2] {
        let mut switch = Switch::new(&SwitchConfig::default());
        for offload in [true, false, true] {
            switch.add_port(PortConfig { offload, ..PortConfig::default() }).unwrap();
        }
        let mut batch = Batch::new(400_000);
        frames.iter().for_each(|(frame, offload)| assert!(batch.push(frame, PortId(0), *offload)));
        let mut got = Got::default();
        switch.run(Instant::ZERO, &batch, &mut got);
        for id in switch.ports() {
            let counters = switch.counters(id).unwrap();
            assert_eq!(counters.copies, counters.tx_frames);
        }
        [1, 2].map(|port| {
            let mine = got.0.iter().filter(|(id, ..)| *id == PortId(port));
            mine.map(|(_, bytes, offload)| (bytes.clone(), *offload)).collect()
        })
    }

    #[test]
    fn a_super_frame_is_cut_for_those_who_need_it_and_passes_whole_to_the_others() {
        let payload: Vec<u8> = (0..60_000_u32).map(|byte| byte as u8).collect();
        let whole = flow().offloaded(&payload, Some(SEGMENT as u16));
        let [plain, offload] = switched(std::slice::from_ref(&whole));
        assert_eq!(offload, [whole]);
        let segments: Vec<_> =
            flow().segments(&payload, SEGMENT).into_iter().map(|frame| (frame, Offload::NONE)).collect();
        assert_eq!(plain, segments);
    }

    #[test]
    fn segments_that_a_port_is_too_small_for_are_dropped_as_frames_are() {
        let (mtu, payload) = (Some(SEGMENT as u32 + 40), vec![0; 10_000]);
        for (size, copies, sent) in [(SEGMENT, 7, 7), (SEGMENT + 1, 1, 0)] {
            for offload in [false, true] {
                let mut switch = Switch::new(&SwitchConfig::default());
                switch.add_port(PortConfig { offload: true, ..PortConfig::default() }).unwrap();
                let small = switch.add_port(PortConfig { offload, mtu, ..PortConfig::default() }).unwrap();
                let (frame, asked) = flow().offloaded(&payload, Some(size as u16));
                let mut batch = Batch::new(20_000);
                assert!(batch.push(&frame, PortId(0), asked));
                switch.run(Instant::ZERO, &batch, &mut Got::default());
                let counters = switch.counters(small).unwrap();
                let whole = u64::from(offload && sent > 0);
                let expected = if offload { (1, whole) } else { (copies, sent) };
                assert_eq!((counters.copies, counters.tx_frames), expected, "segments of {size}");
                assert_eq!(counters.dropped(DropReason::TooBig), u64::from(sent == 0));
            }
        }
    }

    #[test]
    fn segments_are_merged_for_those_who_take_super_frames() {
        let payload: Vec<u8> = (0..60_000_u32).map(|byte| byte as u8).collect();
        let segments: Vec<_> =
            flow().segments(&payload, SEGMENT).into_iter().map(|frame| (frame, Offload::NONE)).collect();
        let [plain, offload] = switched(&segments);
        assert_eq!(plain, segments);
        assert_eq!(offload.len(), 1);
        assert_eq!(offload[0].1.gso, Gso::Tcp4 { ecn: false });
        assert!(matches!(offload[0].1.checksum, Checksum::Partial { .. }));
        assert_eq!(switched(&offload)[0], segments, "cut again, it is what it was");
    }
}
