//! `tap:NAME`: a TAP, the end of a virtual Ethernet interface that the kernel gives to a program.
//!
//! Theory of operation. The tun-tap crate opens it, [`Tap`] takes the descriptor over; or the descriptor was opened by
//! somebody else and is [adopted](Tap::adopt). Every read and write is one frame. With offloads, which tun-tap does not
//! support, each frame has a `virtio_net_hdr` in front, with its [`Offload`]; without, frames are as on a wire.
//!
//! An interface that is set down lets nothing through: writes fail with EIO, which is a counted drop and turns
//! [`Tap::link`] to down. The descriptor becomes writable when it is up again. When the interface is deleted every
//! call fails with EBADFD: the port is gone, and is opened again when [`may_open_again`] says so.

mod explain;

use super::Gone;
use super::frame_io::{FrameIo, Got, Refusal};
use super::interface::{LinkState, check_name};
use super::netlink::{Interface, Netlink};
use super::sys;
use crate::config;
use crate::counters::DropReason;
use crate::error::{Class, Error, Result};
use crate::limits::PREFIX;
use crate::wire::{Mac, Offload};
use explain::Change;
pub use explain::user;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tun_tap::{Iface, Mode};

/// Offloads accepted from the kernel: partial checksums, super-frames of TCP and UDP.
const OFFLOADS: u32 = OFFLOADS_BEFORE_USO | libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// The same before Linux 6.2.
const OFFLOADS_BEFORE_USO: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Up to this length a frame is copied to lie beside its header: cheaper than a gather list of the kernel.
const SHORT: usize = 2048;

/// An open TAP. See the head of the file.
pub struct Tap {
    fd: OwnedFd,
    name: String,
    vnet_hdr: bool,
    created: bool,
    link: LinkState,
    /// See [`Tap::lacks`].
    lacks: Option<String>,
    /// A header and a short frame on their way out.
    whole: Box<[u8; Offload::LEN + SHORT]>,
}

impl Tap {
    fn new(fd: OwnedFd, name: String, vnet_hdr: bool, created: bool) -> Self {
        Self {
            fd,
            name,
            vnet_hdr,
            created,
            link: LinkState::Up,
            lacks: None,
            whole: Box::new([0; Offload::LEN + SHORT]),
        }
    }

    /// Opens a TAP, which creates the interface where there is none, and sets it up as asked, with an mtu of 68 to
    /// 65,521 bytes if one is given. A persistent interface stays persistent.
    ///
    /// # Errors
    /// Each names its cause and what to do: no right, in use (by whom), not a TAP, no /dev/net/tun, a bad name.
    pub fn open(options: &config::Tap, mtu: Option<u32>) -> Result<Self> {
        let port = format!("tap:{}", options.name);
        if let Some(number) = options.fd {
            let fd = sys::inherited(number).map_err(|errno| explain::not_inherited(&port, number, errno))?;
            return Self::adopt(fd, options, mtu);
        }
        check_name(&port, &options.name)?;
        let before = find(&options.name);
        let (fd, name) = attach(&options.name, options.offload)
            .map_err(|cause| explain::not_opened(options, mtu, &cause, before.as_ref()))?;
        let tap = Self::new(fd, name, options.offload, before.is_none());
        if tap.name != options.name {
            return Err(Error::new(Class::Runtime, format!("{port}: the kernel opened {}", tap.name)));
        }
        if tap.created
            && options.mac.is_none()
            && let Err(error) = tap.take_lasting_mac()
        {
            log::debug!("{port}: it keeps the address that the kernel chose: {error}");
        }
        tap.set_up(&port, options, mtu)
    }

    /// Takes over the descriptor of an open TAP, which must have been opened with `IFF_NO_PI`; `IFF_VNET_HDR` and
    /// `IFF_MULTI_QUEUE` are fine, and the former decides whether it has offloads. The interface may be in another
    /// network namespace, if it needs no setting up. `options.name` may be empty.
    ///
    /// # Errors
    /// It is not a TAP, or one that puts packet information before each frame, or not the interface in `options`.
    pub fn adopt(fd: OwnedFd, options: &config::Tap, mtu: Option<u32>) -> Result<Self> {
        let (name, flags) = sys::tun_interface(&fd).map_err(|errno| explain::not_a_tap(&options.name, errno))?;
        let port = format!("tap:{name}");
        if flags & libc::IFF_TAP == 0 {
            return Err(Error::usage(format!("{port}: the descriptor is a TUN's, which carries packets, not frames")));
        }
        if flags & libc::IFF_NO_PI == 0 {
            return Err(Error::usage(format!("{port}: the descriptor was not opened with IFF_NO_PI")));
        }
        if !options.name.is_empty() && options.name != name {
            return Err(Error::usage(format!("tap:{}: the descriptor is that of {name}", options.name)));
        }
        let vnet_hdr = flags & libc::IFF_VNET_HDR != 0;
        let tap = Self::new(fd, name, vnet_hdr, false);
        tap.set_up(&port, options, mtu)
    }

    /// Takes over the TAP `name` from the keeper of rights, which has opened it and set it up, and maybe made it.
    ///
    /// # Errors
    /// As [`Tap::adopt`].
    pub fn kept(fd: OwnedFd, name: &str, made: bool) -> Result<Self> {
        let tap = Self::adopt(fd, &config::Tap::new(name), None)?;
        Ok(Self { created: made, ..tap })
    }

    /// Sets the interface's offloads to those of this end. Until then those of a former owner remain.
    fn agree_on_offloads(&self) -> std::result::Result<(), Errno> {
        if !self.vnet_hdr {
            return sys::tun_set_offload(&self.fd, 0);
        }
        sys::tun_set_header(&self.fd)?;
        sys::tun_set_offload(&self.fd, OFFLOADS).or_else(|_| sys::tun_set_offload(&self.fd, OFFLOADS_BEFORE_USO))
    }

    /// Gives a new interface the MAC that it had the last time, so that neighbour tables stay valid when zbridge is
    /// restarted, or the interface deleted and made anew.
    fn take_lasting_mac(&self) -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let found = netlink.interface(&self.name)?.unwrap_or_default();
        netlink.set_mac(found.index, lasting_mac(&self.name))
    }

    /// Applies the options to the open TAP.
    fn set_up(mut self, port: &str, options: &config::Tap, mtu: Option<u32>) -> Result<Self> {
        let failed = |errno: Errno| Error::system(port, &errno.into());
        rustix::io::ioctl_fionbio(&self.fd, true).map_err(failed)?;
        self.agree_on_offloads().map_err(failed)?;
        if let Some(user) = &options.user {
            let uid = match user.parse() {
                Ok(uid) => uid,
                Err(_) => sys::user_id(user)
                    .map_err(|errno| Error::system(format_args!("{port}: user {user}"), &errno.into()))?
                    .ok_or_else(|| Error::usage(format!("{port}: there is no user {user}")))?,
            };
            sys::tun_set_owner(&self.fd, uid).map_err(failed)?;
        }
        if options.up || !options.addrs.is_empty() || options.mac.is_some() || mtu.is_some() {
            self.configure(port, options, mtu)?;
        }
        // Last, so that nothing stays behind when any of this fails.
        if options.persist {
            sys::tun_set_persist(&self.fd, true).map_err(failed)?;
        }
        self.check_link().map_err(|Gone(why)| Error::new(Class::Runtime, format!("{port}: {why}")))?;
        Ok(self)
    }

    /// Configures the interface over netlink. Only changes need CAP_NET_ADMIN; without it, the interface is used as it
    /// is: it may be set up later, and frames pass from then on.
    fn configure(&mut self, port: &str, options: &config::Tap, mtu: Option<u32>) -> Result<()> {
        let name = self.name.as_str();
        let failed = |cause: std::io::Error| Error::system(port, &cause);
        let mut netlink = Netlink::open().map_err(failed)?;
        let found = netlink.interface(name).map_err(failed)?;
        // An interface of the same name in this namespace need not be this one.
        let found = found.filter(|found| sys::tun_mac(&self.fd).is_ok_and(|mac| found.mac == Some(mac)));
        let found = found.ok_or_else(|| explain::elsewhere(port))?;
        let has = netlink.addresses(found.index).map_err(failed)?;
        let mut refused = Vec::new();
        for step in explain::steps(name, options, mtu) {
            let done = match step.change {
                Change::Mac(mac) if found.mac != Some(mac) => netlink.set_mac(found.index, mac),
                Change::Mtu(mtu) if found.mtu != mtu => netlink.set_mtu(found.index, mtu),
                Change::Up if !found.up => netlink.set_up(found.index),
                Change::Addr(cidr) if !has.contains(&cidr) => netlink.add_address(found.index, &cidr),
                _ => Ok(()),
            };
            match done.map_err(|cause| (Errno::from_io_error(&cause), cause)) {
                Ok(()) => {}
                Err((Some(Errno::PERM), _)) => refused.push(step),
                Err((_, cause)) => return Err(explain::not_configured(port, &step.what(), &cause)),
            }
        }
        if !refused.is_empty() {
            let command = explain::commands(&refused);
            log::warn!("{}\n  hint: {command}", explain::not_set_up(port, &refused));
            self.lacks = Some(command);
        }
        Ok(())
    }

    /// The commands for root that complete the configuration, where this process was not permitted to.
    pub fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the interface a carrier, or takes it away, as a cable would.
    ///
    /// # Errors
    /// The kernel cannot: it is older than Linux 5.0, or the interface was deleted.
    pub fn set_carrier(&self, carrier: bool) -> std::result::Result<(), Errno> {
        sys::tun_set_carrier(&self.fd, carrier)
    }

    /// The interface's MAC address.
    pub fn mac(&self) -> Option<Mac> {
        sys::tun_mac(&self.fd).ok()
    }

    /// Whether opening it created the interface.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Whether a frame may be sent that is not [plain](Offload::is_plain).
    pub fn takes_offloads(&self) -> bool {
        self.vnet_hdr
    }

    /// Whether the interface is up, as far as the last frames have told.
    pub fn link(&self) -> LinkState {
        self.link
    }

    /// After a received frame: if the link was down, either it is up again, or the frame was queued before it went
    /// down. Deletion shows by itself.
    fn look_at_link(&mut self) {
        if self.link == LinkState::Down {
            let _ = self.check_link();
        }
    }

    /// Asks the kernel whether the interface is up: when the descriptor becomes writable.
    ///
    /// # Errors
    /// The interface was deleted.
    pub fn check_link(&mut self) -> std::result::Result<LinkState, Gone> {
        // A TAP says POLLOUT while its interface is up, POLLERR when it is no more (tun_chr_poll).
        let mut asked = [PollFd::new(&self.fd, PollFlags::OUT)];
        if poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_err() {
            // EINTR or no memory: keep the last known state.
            return Ok(self.link);
        }
        let told = asked[0].revents();
        if told.contains(PollFlags::ERR) {
            return Err(deleted());
        }
        self.link = if told.contains(PollFlags::OUT) { LinkState::Up } else { LinkState::Down };
        Ok(self.link)
    }
}

/// The MAC of an interface, derived from its name, the machine and the network namespace (two of which may share a
/// network), so that it is the same at each start.
fn lasting_mac(name: &str) -> Mac {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |found| found.ino());
    let machine = rustix::system::uname();
    Mac::made_of(&format!("{}/{namespace}/{name}", machine.nodename().to_string_lossy()))
}

/// Whether to open a deleted TAP again: one that was created here is created again; any other has to exist first, and
/// an inherited descriptor is lost for good.
pub fn may_open_again(options: &config::Tap, created: bool) -> bool {
    options.fd.is_none() && (created || find(&options.name).is_some())
}

/// Makes a persistent TUN (it carries IP packets) that belongs to a user.
///
/// # Errors
/// As of [`Tap::open`].
pub fn make_tun(name: &str, user: u32) -> Result<()> {
    let options = config::Tap::new(name);
    let failed = |cause: std::io::Error| explain::not_opened(&options, None, &cause, None);
    let fd = File::options().read(true).write(true).open("/dev/net/tun").map_err(failed)?;
    sys::tun_attach(&fd, name, libc::IFF_TUN | libc::IFF_NO_PI).map_err(|errno| failed(errno.into()))?;
    let kept = sys::tun_set_owner(&fd, user).and_then(|()| sys::tun_set_persist(&fd, true));
    kept.map_err(|errno| failed(errno.into()))
}

/// Opens a descriptor and attaches it to a TAP. Returns the interface's name, too.
fn attach(name: &str, vnet_hdr: bool) -> std::io::Result<(OwnedFd, String)> {
    if vnet_hdr {
        let fd = File::options().read(true).write(true).open("/dev/net/tun")?;
        let name = sys::tun_attach(&fd, name, libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR)?;
        Ok((fd.into(), name))
    } else {
        let iface = Iface::without_packet_info(name, Mode::Tap)?;
        let name = iface.name().to_owned();
        Ok((sys::owned(iface), name))
    }
}

/// The interface called `name`, where the kernel can be asked.
fn find(name: &str) -> Option<Interface> {
    Netlink::open().and_then(|mut netlink| netlink.interface(name)).ok().flatten()
}

fn deleted() -> Gone {
    Gone("the interface was deleted".into())
}

impl FrameIo for Tap {
    fn recv(&mut self, room: &mut [u8]) -> std::result::Result<Got, Errno> {
        let got = if self.vnet_hdr {
            let mut header = [0; Offload::LEN];
            let len = rustix::io::readv(&self.fd, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(room)])?;
            let len = len.checked_sub(Offload::LEN).ok_or(Errno::INVAL)?;
            Got { len, offload: Offload::decode(&header).map_err(|_| Errno::INVAL)? }
        } else {
            Got { len: rustix::io::read(&self.fd, room)?, offload: Offload::NONE }
        };
        self.look_at_link();
        Ok(got)
    }

    /// With a header, in one buffer. A short frame is moved over its header, so that frames stay contiguous in the
    /// batch; a long one costs less as a buffer of its own in a gather list.
    fn recv_in_place(&mut self, room: &mut [u8]) -> std::result::Result<(Got, usize), Errno> {
        if !self.vnet_hdr {
            return Ok((self.recv(&mut room[PREFIX..])?, 0));
        }
        let len = rustix::io::read(&self.fd, &mut *room)?;
        let (header, frame) = room[..len].split_first_chunk().ok_or(Errno::INVAL)?;
        let got = Got { len: frame.len(), offload: Offload::decode(header).map_err(|_| Errno::INVAL)? };
        self.look_at_link();
        if got.len > SHORT {
            return Ok((got, Offload::LEN - PREFIX));
        }
        room.copy_within(Offload::LEN..len, PREFIX);
        Ok((got, 0))
    }

    fn send(&mut self, frame: &[u8], offload: &Offload) -> std::result::Result<(), Errno> {
        let header = offload.encode();
        if self.vnet_hdr && frame.len() <= SHORT {
            let whole = &mut self.whole[..Offload::LEN + frame.len()];
            whole[..Offload::LEN].copy_from_slice(&header);
            whole[Offload::LEN..].copy_from_slice(frame);
            rustix::io::write(&self.fd, whole)?;
        } else if self.vnet_hdr {
            rustix::io::writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(frame)])?;
        } else if offload.is_plain() {
            rustix::io::write(&self.fd, frame)?;
        } else {
            // Half a frame must not leave.
            return Err(Errno::OPNOTSUPP);
        }
        self.link = LinkState::Up;
        Ok(())
    }

    fn refusal(&mut self, errno: Errno, sending: bool) -> Refusal {
        match errno {
            Errno::BADFD => Refusal::Gone(deleted()),
            Errno::IO if sending => {
                self.link = LinkState::Down;
                Refusal::Drop(DropReason::LinkDown)
            }
            Errno::MSGSIZE if sending => Refusal::Drop(DropReason::TooBig),
            // A frame under 14 bytes, or an offload that contradicts it. (Nothing else is wrong with one frame.)
            _ if sending => Refusal::Drop(DropReason::System),
            // An invalid header, or a frame that no header can describe.
            Errno::INVAL => Refusal::Drop(DropReason::Malformed),
            Errno::NOBUFS | Errno::NOMEM => Refusal::Drop(DropReason::System),
            errno => Refusal::Gone(Gone(format!("its descriptor failed: {}", std::io::Error::from(errno)))),
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Tap> for OwnedFd {
    fn from(port: Tap) -> Self {
        port.fd
    }
}
