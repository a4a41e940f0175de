//! The system calls that no crate wraps safely, and the only unsafe code here: the TAP's ioctls, AF_PACKET's
//! addresses and auxiliary data, descriptors that arrive as bare numbers.
//!
//! Every function takes and gives safe types and makes one call. Names and numbers are the kernel's: linux/if_tun.h,
//! linux/if_packet.h, linux/if.h.
#![allow(unsafe_code)]

mod asked;
pub(crate) mod process;
mod refusals;
pub(crate) mod trap;
mod users;

pub use asked::{recv_at, send_from, want_destinations};
pub use refusals::{Refusal, refusal, refuse_fragments, want_refusals};
pub use users::{Credentials, account, group_id, may_be_anybody, network_namespace, peer_credentials, user_id};

use crate::wire::{Mac, Offload};
use libc::{c_int, c_ulong, c_void};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use std::mem::{size_of, zeroed};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The errno of the calling thread's last failed call.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// 0 or more is an answer, anything else a failure.
fn checked(answer: c_int) -> Result<c_int, Errno> {
    if answer < 0 { Err(last_errno()) } else { Ok(answer) }
}

/// An owner of a descriptor that can give it up only as a number. A bare number is no owner.
pub trait Holder: IntoRawFd {}

impl Holder for tun_tap::Iface {}
impl Holder for netlink_sys::Socket {}

/// Takes the descriptor out of `holder`.
pub fn owned(holder: impl Holder) -> OwnedFd {
    // SAFETY: a holder hands over the only ownership of an open descriptor.
    unsafe { OwnedFd::from_raw_fd(holder.into_raw_fd()) }
}

/// Whether this process is zbridge's own program.
static OWN_PROGRAM: AtomicBool = AtomicBool::new(false);

/// This process is zbridge's own program. Only its `main` says so.
pub fn is_own_program() {
    OWN_PROGRAM.store(true, Ordering::Relaxed);
}

/// Takes over descriptor `number`, which this process inherited.
///
/// Everything that this process opens itself is close-on-exec, and what it inherits is not. So the flag tells the
/// two apart; it is set here, which lets each descriptor be taken once. That holds in zbridge's own program alone: in
/// another that embeds it, a library of that program may have opened it.
///
/// # Errors
/// EBADF when it is not open, EBUSY when it belongs to this process already, EPERM where this is another program.
pub fn inherited(number: c_int) -> Result<OwnedFd, Errno> {
    static TAKING: Mutex<()> = Mutex::new(());
    if !OWN_PROGRAM.load(Ordering::Relaxed) {
        return Err(Errno::PERM);
    }
    let _alone = TAKING.lock();
    // SAFETY: F_GETFD and F_SETFD take integers, and fail on a number that is not open.
    let flags = checked(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    if number <= libc::STDERR_FILENO || flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::BUSY);
    }
    // SAFETY: as above.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and without the flag it was nobody's in this process until now: in zbridge's own program
    // nothing opens a descriptor without it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Returns every block of memory of at least `bytes` bytes to the system as soon as it is freed (mallopt(3),
/// `M_MMAP_THRESHOLD`). By default the C library stops doing so for sizes that were freed once.
pub fn return_blocks_of(bytes: c_int) {
    // SAFETY: it takes two integers. Where the C library is another, there is nothing to tell it.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = bytes;
}

/// Has all threads share one arena of the allocator (mallopt(3), `M_ARENA_MAX`).
pub fn share_one_arena() {
    // SAFETY: it takes two integers.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Returns the allocator's free memory to the system (malloc_trim(3)).
pub fn trim_memory() {
    // SAFETY: it takes an integer, and touches no memory that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A `struct ifreq` for the interface called `name`.
fn request(name: &str) -> Result<libc::ifreq, Errno> {
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays 0.
    if name.len() >= request.ifr_name.len() {
        return Err(Errno::NODEV);
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}

/// The name that the kernel has put into a request.
fn name_in(request: &libc::ifreq) -> Result<String, Errno> {
    let name = request.ifr_name.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8).collect();
    String::from_utf8(name).map_err(|_| Errno::ILSEQ)
}

/// An ioctl that reads and writes a `struct ifreq`.
fn exchange(fd: impl AsFd, code: libc::Ioctl, request: &mut libc::ifreq) -> Result<(), Errno> {
    // SAFETY: the callers pass codes of which the kernel's argument is a `struct ifreq`, and it is one.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), code, &raw mut *request) }).map(drop)
}

/// An ioctl whose argument is a number, not a pointer.
fn order(fd: impl AsFd, code: libc::Ioctl, value: c_ulong) -> Result<(), Errno> {
    // SAFETY: the callers pass codes that take their argument by value.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), code, value) }).map(drop)
}

/// Attaches a descriptor of /dev/net/tun to the interface called `name`, which is created where there is none, and
/// gives its name (`TUNSETIFF`). `flags` are IFF_* of linux/if_tun.h.
pub fn tun_attach(fd: impl AsFd, name: &str, flags: c_int) -> Result<String, Errno> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (flags as u16).cast_signed();
    exchange(fd, libc::TUNSETIFF, &mut request)?;
    name_in(&request)
}

/// The name and the IFF_* flags of the TUN or TAP that `fd` is attached to (`TUNGETIFF`).
///
/// # Errors
/// ENOTTY and EINVAL on any other descriptor, EBADFD when it is attached to none, or to one that was deleted.
pub fn tun_interface(fd: impl AsFd) -> Result<(String, c_int), Errno> {
    let mut request = request("")?;
    exchange(fd, libc::TUNGETIFF, &mut request)?;
    // SAFETY: TUNGETIFF fills in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok((name_in(&request)?, c_int::from(flags.cast_unsigned())))
}

/// Sets the offloads that the reader of a TAP accepts (`TUNSETOFFLOAD`, a mask of TUN_F_*).
pub fn tun_set_offload(fd: impl AsFd, mask: u32) -> Result<(), Errno> {
    order(fd, libc::TUNSETOFFLOAD, c_ulong::from(mask))
}

/// Lets the interface outlive its descriptors, or not (`TUNSETPERSIST`).
pub fn tun_set_persist(fd: impl AsFd, persist: bool) -> Result<(), Errno> {
    order(fd, libc::TUNSETPERSIST, c_ulong::from(persist))
}

/// Gives the interface to a user, who may then attach to it (`TUNSETOWNER`).
pub fn tun_set_owner(fd: impl AsFd, uid: u32) -> Result<(), Errno> {
    order(fd, libc::TUNSETOWNER, c_ulong::from(uid))
}

/// Fixes the length of the header before each frame at [`Offload::LEN`] bytes (`TUNSETVNETHDRSZ`).
pub fn tun_set_header(fd: impl AsFd) -> Result<(), Errno> {
    let size = Offload::LEN as c_int;
    // SAFETY: the argument is a pointer to an int that is only read.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) }).map(drop)
}

/// Gives the interface a carrier, or takes it away (`TUNSETCARRIER`, since Linux 5.0).
pub fn tun_set_carrier(fd: impl AsFd, carrier: bool) -> Result<(), Errno> {
    let carrier = c_int::from(carrier);
    // SAFETY: the argument is a pointer to an int that is only read.
    checked(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TUNSETCARRIER, &raw const carrier) }).map(drop)
}

/// The hardware address of the TAP that `fd` is attached to (`SIOCGIFHWADDR`, which a TAP's descriptor answers).
pub fn tun_mac(fd: impl AsFd) -> Result<Mac, Errno> {
    let mut request = request("")?;
    exchange(fd, libc::SIOCGIFHWADDR as libc::Ioctl, &mut request)?;
    // SAFETY: SIOCGIFHWADDR fills in the address.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    let [a, b, c, d, e, f, ..] = data.map(|byte| byte as u8);
    Ok(Mac([a, b, c, d, e, f]))
}

/// The IFF_* flags of the interface called `name`, in the network namespace of the socket `fd` (`SIOCGIFFLAGS`).
/// IFF_RUNNING follows the carrier, a second late when that goes (linkwatch of the kernel).
pub fn interface_flags(fd: impl AsFd, name: &str) -> Result<c_int, Errno> {
    let mut request = request(name)?;
    exchange(fd, libc::SIOCGIFFLAGS as libc::Ioctl, &mut request)?;
    // SAFETY: SIOCGIFFLAGS fills in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(c_int::from(flags.cast_unsigned()))
}

/// Whether the same interface has a carrier at this moment (`ETHTOOL_GLINK`). It waits while the kernel changes
/// interfaces, as [`interface_flags`] does not.
pub fn interface_has_carrier(fd: impl AsFd, name: &str) -> Result<bool, Errno> {
    ethtool_value(fd, name, 0x0a)
}

/// Whether the same interface takes frames whose checksums are still to be made (`ETHTOOL_GTXCSUM`).
pub fn interface_leaves_checksums(fd: impl AsFd, name: &str) -> Result<bool, Errno> {
    ethtool_value(fd, name, 0x16)
}

/// What a command of linux/ethtool.h that has a `struct ethtool_value` answers: whether it is not 0.
fn ethtool_value(fd: impl AsFd, name: &str, command: u32) -> Result<bool, Errno> {
    let mut value = [command, 0];
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    exchange(fd, libc::SIOCETHTOOL as libc::Ioctl, &mut request)?;
    Ok(value[1] != 0)
}

/// What a packet socket is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketAddress {
    /// The interface's index; 0 is any, -1 one that was deleted.
    pub index: c_int,
    /// ARPHRD_* of linux/if_arp.h: 1 is Ethernet.
    pub hardware: u16,
    /// The Ethernet type it receives, in host order.
    pub protocol: u16,
}

/// Binds a packet socket to an interface and starts the reception of frames of every type.
pub fn packet_bind(fd: impl AsFd, index: u32) -> Result<(), Errno> {
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = c_int::try_from(index).map_err(|_| Errno::NODEV)?;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live object of the length given.
    checked(unsafe { libc::bind(fd.as_fd().as_raw_fd(), (&raw const address).cast(), size) }).map(drop)
}

/// What a packet socket is bound to.
///
/// # Errors
/// ENOTSOCK, and EAFNOSUPPORT when it is another family's socket.
pub fn packet_address(fd: impl AsFd) -> Result<PacketAddress, Errno> {
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes into a live object of that length; what another family writes
    // is integers too.
    checked(unsafe { libc::getsockname(fd.as_fd().as_raw_fd(), (&raw mut address).cast(), &raw mut size) })?;
    if c_int::from(address.sll_family) != libc::AF_PACKET {
        return Err(Errno::AFNOSUPPORT);
    }
    let protocol = u16::from_be(address.sll_protocol);
    Ok(PacketAddress { index: address.sll_ifindex, hardware: address.sll_hatype, protocol })
}

/// Sets one option of level SOL_PACKET.
fn packet_option<T>(fd: impl AsFd, option: c_int, value: &T) -> Result<(), Errno> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live object of the length given, which the kernel only reads.
    let answer = unsafe {
        let value: *const c_void = (&raw const *value).cast();
        libc::setsockopt(fd.as_fd().as_raw_fd(), libc::SOL_PACKET, option, value, size)
    };
    checked(answer).map(drop)
}

/// Turns an on-or-off option of level SOL_PACKET on.
pub fn packet_enable(fd: impl AsFd, option: c_int) -> Result<(), Errno> {
    packet_option(fd, option, &1_i32)
}

/// Has the interface receive frames for every address while the socket lives (`PACKET_MR_PROMISC`).
pub fn packet_promiscuous(fd: impl AsFd, index: u32) -> Result<(), Errno> {
    let index = c_int::try_from(index).map_err(|_| Errno::NODEV)?;
    let kind = libc::PACKET_MR_PROMISC as u16;
    let request = libc::packet_mreq { mr_ifindex: index, mr_type: kind, mr_alen: 0, mr_address: [0; 8] };
    packet_option(fd, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// A VLAN tag that the kernel has stripped from a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanTag {
    /// The tag's Ethernet type: 0x8100 or 0x88A8 (IEEE 802.1Q-2022, table 9-1).
    pub tpid: u16,
    /// Priority, drop eligibility and VLAN id (IEEE 802.1Q-2022, 9.6).
    pub tci: u16,
}

/// Receives one frame of a packet socket that has PACKET_VNET_HDR and PACKET_AUXDATA on, without blocking.
///
/// Returns the length of header and frame together, which may exceed the room for them, and the stripped tag.
pub fn packet_receive(
    fd: impl AsFd,
    header: &mut [u8; Offload::LEN],
    room: &mut [u8],
) -> Result<(usize, Option<VlanTag>), Errno> {
    let mut buffers = [
        libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
        libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
    ];
    // Longer than CMSG_SPACE of a `struct tpacket_auxdata`, and aligned as a header must be.
    let mut control = [0_u64; 16];
    // SAFETY: zeros are valid for it: no address, no data.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = buffers.as_mut_ptr();
    message.msg_iovlen = buffers.len() as _;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: `message` describes live, exclusively borrowed memory with its true lengths.
    let len = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len).map_err(|_| last_errno())?;
    Ok((len, vlan_tag(&message)))
}

/// The tag in the auxiliary data of a received message.
fn vlan_tag(message: &libc::msghdr) -> Option<VlanTag> {
    // SAFETY: `message` is as the kernel left it and its control buffer is alive, so that the CMSG functions stay
    // within it; the auxiliary data are read only where they are whole, from wherever they lie.
    let aux = unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        loop {
            let head = at.as_ref()?;
            let whole = head.cmsg_len as usize >= libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) as usize;
            if head.cmsg_level == libc::SOL_PACKET && head.cmsg_type == libc::PACKET_AUXDATA && whole {
                break libc::CMSG_DATA(at).cast::<libc::tpacket_auxdata>().read_unaligned();
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    };
    let tpid = match aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID {
        0 => libc::ETH_P_8021Q as u16,
        _ => aux.tp_vlan_tpid,
    };
    (aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(VlanTag { tpid, tci: aux.tp_vlan_tci })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn an_inherited_descriptor_is_taken_once() {
        let (keep, give) = std::io::pipe().unwrap();
        let number = give.as_raw_fd();
        assert_eq!(inherited(number).unwrap_err(), Errno::PERM, "another program's");
        is_own_program();
        assert_eq!(inherited(number).unwrap_err(), Errno::BUSY, "our own");
        fcntl_setfd(&give, FdFlags::empty()).unwrap();
        std::mem::forget(give);
        let taken = inherited(number).unwrap();
        assert_eq!(fcntl_getfd(&taken), Ok(FdFlags::CLOEXEC));
        assert_eq!(inherited(number).unwrap_err(), Errno::BUSY, "taken");
        assert_eq!(inherited(2).unwrap_err(), Errno::BUSY, "stderr");
        assert_eq!(inherited(-1).unwrap_err(), Errno::BADF);
        drop(keep);
    }

    #[test]
    fn other_descriptors_are_refused() {
        let (reader, _writer) = std::io::pipe().unwrap();
        assert_eq!(tun_interface(&reader).unwrap_err(), Errno::NOTTY);
        assert_eq!(packet_address(&reader).unwrap_err(), Errno::NOTSOCK);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(packet_address(&socket).unwrap_err(), Errno::AFNOSUPPORT);
        assert_eq!(interface_flags(&socket, "sixteen-letters!"), Err(Errno::NODEV));
    }
}
