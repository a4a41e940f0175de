//! `packet:IFNAME`: an interface that exists already (a veth, the USB network adapter of a real board), by way of a
//! packet socket (AF_PACKET, SOCK_RAW).
//!
//! Theory of operation. The socket sees every frame that the interface receives, also those for other stations, and
//! sends frames as if the host had; it does not see what the host or it itself sends. The kernel strips a frame's outer
//! VLAN tag and gives it as auxiliary data: it is put back in place. A `virtio_net_hdr` before each frame carries its
//! [`Offload`] both ways, so super-frames and partial checksums, which never were on any wire, pass unchanged.
//!
//! A tunnelled super-frame (a veth has them of VXLAN, GENEVE, GRE) cannot be passed on: the kernel accepts such a
//! header from no socket. It is segmented at once ([`Packet::receive`]).
//!
//! The socket is created with protocol 0 and starts to receive only once it is bound to the interface, so that it gets
//! no frame of any other interface.
//!
//! A handed-over socket may be bound to one interface after the other, by the holder of a copy (`launch/adopt.rs`). For
//! such a socket a deleted interface is a link that is down ([`Packet::may_wait`]).
//!
//! When the interface is set down, one call fails with ENETDOWN, and it is quiet until it is up again (`packet/link.rs`).

mod link;

use super::frame_io::{self, FrameIo, Got, Refusal};
use super::interface::{LinkState, check_name};
use super::netlink::{Netlink, Tun};
use super::sys::{self, VlanTag};
use super::{Gone, Inhaled};
use crate::counters::{Counters, DropReason};
use crate::error::{Class, Error, Result};
use crate::frame::{Batch, PortId};
use crate::limits::{INHALE_BYTES, PREFIX};
use crate::wire::segment::{MAX_HEADERS, is_tunnelled};
use crate::wire::{Offload, finish};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, sendmsg, socket_with, sockopt,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel's receive and send buffers. A breath of super-frames is more than the default.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// ARPHRD_RAWIP of linux/if_arp.h: a modem's interface.
const RAW_IP: u16 = 519;

/// The traffic of an interface, by its hardware type (linux/if_arp.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carries {
    /// Ethernet frames.
    Frames,
    /// IP packets, with nothing before them: a TUN.
    Packets,
}

impl Carries {
    fn of(hardware: u16) -> Option<Self> {
        match hardware {
            libc::ARPHRD_ETHER => Some(Self::Frames),
            libc::ARPHRD_NONE | RAW_IP => Some(Self::Packets),
            _ => None,
        }
    }
}

/// The offset of a VLAN tag: behind both addresses.
const TAG_AT: usize = 12;

/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// A packet socket on an interface. See the head of the file.
pub struct Packet {
    fd: OwnedFd,
    index: u32,
    name: String,
    link: LinkState,
    offload: bool,
    /// Set for a TAP or TUN, which a program has open or will open.
    tun: Option<Tun>,
    /// Another interface may take the place of this one.
    waits: bool,
    carries: Carries,
    /// The kernel's count of carrier changes at the last check.
    carrier: Option<u32>,
    /// A received tunnelled super-frame, still to be segmented into a batch.
    tunnelled: Option<(Vec<u8>, Offload)>,
}

impl Packet {
    /// Opens an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// Each names its cause and what to do: no right (CAP_NET_RAW), no such interface, not an Ethernet interface.
    pub fn open(interface: &str) -> Result<Self> {
        Self::open_and(interface, |_| Ok(()))
    }

    /// The same, and sets the interface up, which takes CAP_NET_ADMIN unless it is up already.
    ///
    /// # Errors
    /// As [`Packet::open`].
    pub fn open_up(interface: &str) -> Result<Self> {
        Self::open_and(interface, |index| set_up(interface, index))
    }

    fn open_and(interface: &str, prepare: impl FnOnce(u32) -> Result<()>) -> Result<Self> {
        let port = format!("packet:{interface}");
        check_name(&port, interface)?;
        let failed = |errno: Errno| Error::system(&port, &errno.into());
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None).map_err(|errno| {
            let hint = "sudo setcap cap_net_raw+ep \"$(command -v zbridge)\", or run it with sudo";
            match errno {
                // CAP_NET_RAW would not help.
                Errno::PERM if is_nowhere(interface) => no_such_interface(interface),
                Errno::PERM => failed(errno).hint(hint),
                _ => failed(errno),
            }
        })?;
        let index = name_to_index(&fd, interface).map_err(|errno| match errno {
            Errno::NODEV => no_such_interface(interface),
            errno => failed(errno),
        })?;
        prepare(index)?;
        set_options(&fd, index).map_err(failed)?;
        sys::packet_bind(&fd, index).map_err(failed)?;
        Ok(Self::bound(fd, index).map_err(|error| error.at(port))?.of_this_namespace())
    }

    /// A plain, non-blocking packet socket: it sends and receives frames of the interface as they are, for a reader of
    /// a few.
    ///
    /// # Errors
    /// As [`Packet::open`].
    pub fn plain(interface: &str) -> Result<OwnedFd> {
        let failed = |errno: Errno| Error::system(format_args!("packet:{interface}"), &errno.into());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None).map_err(failed)?;
        let index = name_to_index(&fd, interface).map_err(failed)?;
        sys::packet_bind(&fd, index).map_err(failed)?;
        Ok(fd)
    }

    /// Takes over a packet socket that was bound to an interface for every protocol (ETH_P_ALL), in whatever network
    /// namespace.
    ///
    /// # Errors
    /// It is not such a socket.
    pub fn adopt(fd: OwnedFd) -> Result<Self> {
        let refused = |what: &str| Error::usage(format!("packet: the descriptor is not a packet socket{what}"));
        let address = sys::packet_address(&fd).map_err(|_| refused(""))?;
        if sockopt::socket_type(&fd) != Ok(SocketType::RAW) {
            return Err(refused(" of type SOCK_RAW"));
        }
        let index = u32::try_from(address.index).ok().filter(|index| *index > 0);
        let index = index.ok_or_else(|| refused(" that is bound to an interface"))?;
        if address.protocol != libc::ETH_P_ALL as u16 {
            return Err(refused(" that is bound for every protocol"));
        }
        set_options(&fd, index).map_err(|errno| Error::system("packet", &errno.into()))?;
        Self::bound(fd, index).map_err(|error| error.at("packet"))
    }

    fn bound(fd: OwnedFd, index: u32) -> Result<Self> {
        let address = sys::packet_address(&fd).map_err(|errno| Error::system("its address", &errno.into()))?;
        let carries = Carries::of(address.hardware)
            .ok_or_else(|| Error::usage("not an Ethernet interface").hint("a veth or a bridge leads to any other"))?;
        let (name, link) = (String::new(), LinkState::Up);
        let (offload, tun, waits, carrier, tunnelled) = (true, None, false, None, None);
        let mut packet = Self { fd, index, name, link, offload, tun, waits, carries, carrier, tunnelled };
        packet.check_link().map_err(|Gone(why)| Error::new(Class::NoObject, why))?;
        Ok(packet)
    }

    /// Sets whether it takes frames that are not [plain](Offload::is_plain); the default is yes. Received frames have
    /// their header either way, as the kernel does not complete the partial checksums of a host behind a veth.
    #[must_use]
    pub fn with_offload(self, offload: bool) -> Self {
        Self { offload, ..self }
    }

    /// Checks that the interface carries this.
    ///
    /// # Errors
    /// It carries something else.
    pub fn that_carries(self, wanted: Carries) -> Result<Self> {
        match (wanted, self.carries) {
            (Carries::Frames, Carries::Packets) => Err(Error::usage(format!("{} carries IP packets", self.name))
                .hint("with the key mode=ip it is a port: packet:NAME,mode=ip")),
            (Carries::Packets, Carries::Frames) => {
                Err(Error::usage(format!("{} carries Ethernet frames", self.name)).hint("leave out mode=ip"))
            }
            _ => Ok(self),
        }
    }

    /// Sets whether it outlives its interface until its socket is bound to another one, as for a program's; the default
    /// is no.
    #[must_use]
    pub fn may_wait(self, waits: bool) -> Self {
        Self { waits, ..self }.looked_at_anew()
    }

    /// Whether it does.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Binds a socket, or a copy of a port's, to the interface with this index.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn bind_to(fd: &OwnedFd, index: u32) -> Result<()> {
        let failed = |errno: Errno| Error::system("packet", &errno.into());
        sys::packet_promiscuous(fd, index).map_err(failed)?;
        sys::packet_bind(fd, index).map_err(failed)
    }

    /// Whether it was opened on a TAP, which a program has open or will open.
    pub fn is_tap(&self) -> bool {
        self.tun.is_some_and(|tun| tun.tap)
    }

    /// Whether there is a carrier only while a program has the interface open.
    pub fn is_of_program(&self) -> bool {
        self.waits || self.tun.is_some()
    }

    /// Whether it shall take frames that are not plain.
    pub fn takes_offloads(&self) -> bool {
        self.offload
    }

    /// The interface's name, as it was when last asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Receives frames as [`frame_io::receive`], and segments tunnelled super-frames.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn receive(
        &mut self,
        batch: &mut Batch,
        id: PortId,
        frames: usize,
        counters: &mut Counters,
    ) -> std::result::Result<Inhaled, Gone> {
        if !self.cut(batch, id, counters) {
            return Ok(Inhaled::More);
        }
        let inhaled = frame_io::receive(self, batch, id, frames, counters)?;
        if self.tunnelled.is_some() {
            self.cut(batch, id, counters);
            return Ok(Inhaled::More);
        }
        Ok(inhaled)
    }

    /// Puts the segments of the waiting super-frame, if any, into `batch`. False: the batch has no room for them.
    fn cut(&mut self, batch: &mut Batch, id: PortId, counters: &mut Counters) -> bool {
        let Some((frame, offload)) = &self.tunnelled else { return true };
        let headers = frame.len().min(MAX_HEADERS) + PREFIX;
        let most = frame.len() + frame.len().div_ceil(usize::from(offload.gso_size).max(1)) * headers;
        let is_cut = most <= INHALE_BYTES;
        if is_cut && most > batch.free() {
            return false;
        }
        let emit = |parts: &[&[u8]]| {
            let length = parts.iter().map(|part| part.len() as u64).sum();
            if batch.push_parts(parts, id, Offload::NONE) {
                counters.received(1, length);
            }
        };
        if !is_cut || finish(frame, offload, emit).is_err() {
            counters.received(1, frame.len() as u64);
            counters.drop(DropReason::BadOffload, 1);
        }
        self.tunnelled = None;
        true
    }
}

/// Sets an interface up that is not.
fn set_up(name: &str, index: u32) -> Result<()> {
    let refused = |cause: std::io::Error| {
        let error = Error::system(format_args!("packet:{name}: up"), &cause);
        let no_right = cause.kind() == std::io::ErrorKind::PermissionDenied;
        if no_right {
            error.hint(format!("sudo ip link set {name} up, each time that it was made anew"))
        } else {
            error
        }
    };
    let mut netlink = Netlink::open().map_err(refused)?;
    if netlink.interface(name).map_err(refused)?.is_some_and(|found| found.up) {
        return Ok(());
    }
    netlink.set_up(index).map_err(refused)
}

/// Sets the socket options that this file relies on.
fn set_options(fd: &OwnedFd, index: u32) -> std::result::Result<(), Errno> {
    rustix::io::ioctl_fionbio(fd, true)?;
    sys::packet_enable(fd, libc::PACKET_VNET_HDR)?;
    sys::packet_enable(fd, libc::PACKET_AUXDATA)?;
    sys::packet_enable(fd, libc::PACKET_IGNORE_OUTGOING)?;
    sys::packet_promiscuous(fd, index)?;
    // More than the system's limit needs CAP_NET_ADMIN; without it the limit has to do.
    if sockopt::set_socket_recv_buffer_size_force(fd, SOCKET_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(fd, SOCKET_BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(fd, SOCKET_BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(fd, SOCKET_BUFFER)?;
    }
    Ok(())
}

/// Whether there is certainly no interface of this name. Asking needs no right.
fn is_nowhere(name: &str) -> bool {
    Netlink::open().and_then(|mut netlink| netlink.interface(name)).is_ok_and(|found| found.is_none())
}

/// There is no interface of this name. Tells which there are, the likeliest first.
fn no_such_interface(name: &str) -> Error {
    let error = Error::new(Class::NoObject, format!("packet:{name}: there is no such interface"));
    let error = error.because(Errno::NODEV);
    let found = Netlink::open().and_then(|mut netlink| netlink.interfaces()).unwrap_or_default();
    let mut names: Vec<_> = found.into_iter().map(|found| found.name).filter(|found| found != "lo").collect();
    names.sort_by_cached_key(|found| (strsim::damerau_levenshtein(found, name), found.clone()));
    names.truncate(8);
    let there = if names.is_empty() { String::new() } else { format!("there is {}; ", names.join(", ")) };
    error.hint(format!("{there}one that a program makes when it starts is waited for: packet:{name},optional,up"))
}

fn deleted() -> Gone {
    Gone("the interface was deleted".into())
}

/// Puts a tag back into a frame of `len` bytes at the start of `room`, which has room for it. Returns the frame's new
/// length. A truncated frame stays truncated.
fn put_tag(room: &mut [u8], len: usize, tag: VlanTag) -> usize {
    let whole = len.min(room.len() - TAG);
    room.copy_within(TAG_AT..whole, TAG_AT + TAG);
    room[TAG_AT..TAG_AT + 2].copy_from_slice(&tag.tpid.to_be_bytes());
    room[TAG_AT + 2..TAG_AT + TAG].copy_from_slice(&tag.tci.to_be_bytes());
    len + TAG
}

impl Packet {
    /// Sets a tunnelled super-frame aside, and ends the batch before it with EAGAIN, as if there were no more.
    fn unless_tunnelled(&mut self, room: &[u8], got: Got) -> std::result::Result<Got, Errno> {
        match room.get(..got.len) {
            Some(frame) if is_tunnelled(frame, &got.offload) => {
                self.tunnelled = Some((frame.to_vec(), got.offload));
                Err(Errno::AGAIN)
            }
            _ => Ok(got),
        }
    }
}

impl FrameIo for Packet {
    fn recv(&mut self, room: &mut [u8]) -> std::result::Result<Got, Errno> {
        let mut header = [0; Offload::LEN];
        let (len, tag) = sys::packet_receive(&self.fd, &mut header, room)?;
        if self.link != LinkState::Up {
            // Either it is up again, or this frame was queued before it went down. Deletion shows by itself.
            let _ = self.check_link();
        }
        let len = len.checked_sub(Offload::LEN).ok_or(Errno::INVAL)?;
        let offload = Offload::decode(&header).map_err(|_| Errno::INVAL)?;
        match tag {
            Some(tag) if len >= TAG_AT => {
                let offload = offload.shifted(TAG as i16).map_err(|_| Errno::INVAL)?;
                let len = put_tag(room, len, tag);
                self.unless_tunnelled(room, Got { len, offload })
            }
            _ => self.unless_tunnelled(room, Got { len, offload }),
        }
    }

    fn send(&mut self, frame: &[u8], offload: &Offload) -> std::result::Result<(), Errno> {
        let header = offload.encode();
        let buffers = [IoSlice::new(&header), IoSlice::new(frame)];
        sendmsg(&self.fd, &buffers, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT)?;
        if self.link == LinkState::Down {
            // Whether a program has it open is another matter.
            let _ = self.check_link();
        }
        Ok(())
    }

    fn refusal(&mut self, errno: Errno, sending: bool) -> Refusal {
        match errno {
            Errno::NETDOWN => match self.check_link() {
                Ok(_) => Refusal::Drop(DropReason::LinkDown),
                Err(gone) => Refusal::Gone(gone),
            },
            // A waiting socket is bound to another interface by now, or will be.
            Errno::NXIO | Errno::NODEV if self.waits && self.check_link().is_ok() => {
                Refusal::Drop(DropReason::LinkDown)
            }
            Errno::NXIO | Errno::NODEV => Refusal::Gone(deleted()),
            Errno::MSGSIZE if sending => Refusal::Drop(DropReason::TooBig),
            // No buffers, or an offload that contradicts the frame. (Nothing else is wrong with one frame.)
            _ if sending => Refusal::Drop(DropReason::System),
            // A frame that no `virtio_net_hdr` can describe (a tunnelled super-frame), or none that is known here.
            Errno::INVAL => Refusal::Drop(DropReason::Malformed),
            Errno::NOBUFS | Errno::NOMEM => Refusal::Drop(DropReason::System),
            errno => Refusal::Gone(Gone(format!("its socket failed: {}", std::io::Error::from(errno)))),
        }
    }
}

impl AsFd for Packet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Packet> for OwnedFd {
    fn from(port: Packet) -> Self {
        port.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG_100: VlanTag = VlanTag { tpid: 0x8100, tci: 0x6064 };

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let mut room = *b"ddddddssssss\x08\x00payload....";
        assert_eq!(put_tag(&mut room, 21, TAG_100), 25);
        assert_eq!(&room[..25], b"ddddddssssss\x81\x00\x60\x64\x08\x00payload");
    }

    #[test]
    fn a_cut_frame_stays_cut() {
        let mut room = *b"ddddddssssss\x08\x00payl";
        assert_eq!(put_tag(&mut room, 30, TAG_100), 34);
        assert_eq!(&room, b"ddddddssssss\x81\x00\x60\x64\x08\x00");
    }

    #[test]
    fn other_descriptors_are_not_adopted() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for fd in [OwnedFd::from(reader), OwnedFd::from(udp)] {
            let error = Packet::adopt(fd).err().unwrap();
            assert_eq!(error.what(), "packet: the descriptor is not a packet socket");
        }
    }
}
