//! An interface with bare IP packets, a TUN: `packet:IFNAME,mode=ip`, and what `zbridge run --tun` makes for a program.
//!
//! Theory of operation. A packet socket carries the packets ([`Packet`]), and an [`IpAdapter`] makes the peer an
//! Ethernet host, as for a serial line (`serial`): the adapter handles a frame without a packet for the peer (an ARP
//! request for its address), and its own frames go to the switch with the next receive.
//!
//! There are no super-frames, as long as the program that opened the TUN has not enabled offloads.

use super::frame_io::{FrameIo, Refusal};
use super::interface::LinkState;
use super::packet::Packet;
use super::serial::{adapter, release};
use super::{Broken, Gone, Inhaled};
use crate::config::{IpPeer, PortSpec};
use crate::counters::{Counters, DropReason};
use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::MAX_FRAME;
use crate::service::endpoint::ip_adapter::IpAdapter;
use crate::time::{Clock, Duration};
use crate::wire::{Mac, Offload};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// The longest packet for the peer unless `mtu=` says otherwise: a TUN's usual mtu.
const MTU: usize = 1500;

/// See the head of the file.
pub struct IpInterface {
    packet: Packet,
    adapter: IpAdapter,
    clock: Clock,
    room: Box<[u8]>,
}

impl IpInterface {
    /// A port on an interface that carries packets.
    pub fn new(packet: Packet, spec: &PortSpec, ip: &IpPeer) -> Self {
        let adapter = adapter(spec, ip, MTU);
        Self { packet, adapter, clock: Clock::start(), room: vec![0; MAX_FRAME].into() }
    }

    /// The interface.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Asks the kernel whether the interface is up; see [`Packet::check_link`].
    ///
    /// # Errors
    /// The interface is gone.
    pub fn check_link(&mut self) -> Result<LinkState, Gone> {
        self.packet.check_link()
    }

    /// Whether its carrier has changed since the last call: then another peer may be behind it, with other addresses.
    pub fn carrier_has_changed(&mut self) -> bool {
        let changed = self.packet.carrier_has_changed();
        if changed {
            self.adapter.forget_peer();
        }
        changed
    }

    /// The address by which the peer is known.
    pub fn mac(&self) -> Mac {
        self.adapter.mac()
    }

    /// Receives packets, and gives the switch the adapter's frames.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        frames: usize,
        counters: &mut Counters,
    ) -> Result<Inhaled, Gone> {
        for _ in 0..frames {
            if release(&mut self.adapter, batch, id, counters) {
                return Ok(Inhaled::More);
            }
            match self.packet.recv(&mut self.room) {
                Ok(got) => {
                    let packet = self.room.get(..got.len).filter(|_| got.offload.is_plain());
                    let now = self.clock.now();
                    if packet.is_none_or(|packet| self.adapter.handle_packet(now, packet).is_err()) {
                        counters.received(1, 0);
                        counters.drop(DropReason::Malformed, 1);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = release(&mut self.adapter, batch, id, counters);
                    return Ok(if left { Inhaled::More } else { Inhaled::Drained });
                }
                Err(errno) => match self.packet.refusal(errno, false) {
                    Refusal::Gone(gone) => return Err(gone),
                    Refusal::Drop(DropReason::Malformed) => {
                        counters.received(1, 0);
                        counters.drop(DropReason::Malformed, 1);
                    }
                    // The interface went down: the next peer may be another.
                    Refusal::Drop(_) => self.adapter.forget_peer(),
                },
            }
        }
        Ok(Inhaled::More)
    }

    /// Sends what the interface takes. Returns the number of frames that are done with.
    ///
    /// # Errors
    /// [`Broken`] when the interface is gone.
    pub fn transmit(&mut self, out: Outgoing<'_>, counters: &mut Counters) -> Result<usize, Broken> {
        let mut done = 0;
        while done < out.len() {
            let frame = out.bytes(done);
            match self.send(frame) {
                Ok(Ok(())) => counters.sent(1, frame.len() as u64),
                Ok(Err(reason)) => counters.drop(reason, 1),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(done),
                Err(errno) => match self.packet.refusal(errno, true) {
                    Refusal::Drop(reason) => counters.drop(reason, 1),
                    Refusal::Gone(gone) => return Err(Broken { done, gone }),
                },
            }
            done += 1;
        }
        Ok(done)
    }

    /// Sends the packet of a frame, or has the adapter handle the frame. Returns why it was dropped, if it was. If one
    /// of several fragments finds no room, all are sent again later, which does no harm.
    fn send(&mut self, frame: &[u8]) -> Result<Result<(), DropReason>, Errno> {
        let now = self.clock.now();
        let Self { packet, adapter, .. } = self;
        let mut sent = Ok(());
        let for_peer = adapter.packets(now, frame, &mut |part| {
            if sent.is_ok() {
                sent = packet.send(part, &Offload::NONE);
            }
        });
        if for_peer { sent.map(Ok) } else { Ok(adapter.handle_frame(now, frame)) }
    }

    /// Whether the adapter has frames for the switch.
    pub fn has_own(&self) -> bool {
        self.adapter.has_frames()
    }

    /// The time until [`Self::handle_timeout`] has something to do.
    pub fn due_in(&self) -> Option<Duration> {
        self.adapter.poll_timeout().map(|due| due - self.clock.now())
    }

    /// Lets the adapter repeat unanswered address requests.
    pub fn handle_timeout(&mut self) {
        self.adapter.handle_timeout(self.clock.now());
    }
}

impl AsFd for IpInterface {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packet.as_fd()
    }
}
