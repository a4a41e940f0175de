//! The error queue of a datagram socket: ICMP errors of datagrams that did not arrive (ip(7), `IP_RECVERR`).

use super::{checked, last_errno};
use libc::{c_int, c_void};
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A datagram that did not arrive: a `struct sock_extended_err` (linux/errqueue.h) and where the datagram went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The error as an errno.
    pub errno: c_int,
    /// `SO_EE_ORIGIN_*`: who said so.
    pub origin: u8,
    /// The type of the ICMP message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// For EMSGSIZE, the mtu of the path.
    pub info: u32,
    /// Where the datagram was sent.
    pub to: SocketAddr,
    /// Who sent the ICMP message (`SO_EE_OFFENDER`).
    pub by: Option<IpAddr>,
    /// The start of the datagram, as far as the message quoted it: for a ping, its ICMP header.
    pub head: [u8; 8],
}

/// Asks for the error queue of a socket (`IP_RECVERR`, `IPV6_RECVERR`).
pub fn want_refusals(fd: impl AsFd, v6: bool) -> Result<(), Errno> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) } else { (libc::IPPROTO_IP, libc::IP_RECVERR) };
    set_option(fd, level, option, 1)
}

/// Whether a datagram that is too long for its way is refused with EMSGSIZE, instead of fragmented
/// (`IP_PMTUDISC_DO`, and `IP_PMTUDISC_WANT`).
///
/// # Errors
/// The system call's.
pub fn refuse_fragments(fd: impl AsFd, v6: bool, refuse: bool) -> Result<(), Errno> {
    match (v6, refuse) {
        (false, true) => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (false, false) => set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT),
        (true, true) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
        (true, false) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
    }
}

/// Sets an option that is an int.
pub(super) fn set_option(fd: impl AsFd, level: c_int, option: c_int, value: c_int) -> Result<(), Errno> {
    // SAFETY: the value is an int that lives through the call, and its size is given.
    checked(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// The next entry of a socket's error queue.
///
/// # Errors
/// EAGAIN when it is empty.
pub fn refusal(fd: impl AsFd) -> Result<Refusal, Errno> {
    // Room for the error, the address behind it, and what else the kernel may add.
    let mut control = [0u64; 64];
    let mut payload = [0u8; 8];
    // SAFETY: plain structs of integers, for which zeros are valid.
    let (mut to, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut buffer = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    message.msg_name = (&raw mut to).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in the message is to a live object with the length given beside it.
    if unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) } < 0 {
        return Err(last_errno());
    }
    let to = address(&to).ok_or(Errno::AFNOSUPPORT)?;
    // SAFETY: the message was filled in by the kernel; the macros walk inside its control buffer, and of each entry only
    // as much is copied out as its length says that there is. Zeros are a valid address.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const message);
        while !entry.is_null() {
            let header = entry.read_unaligned();
            let wanted = (libc::IPPROTO_IP, libc::IP_RECVERR) == (header.cmsg_level, header.cmsg_type)
                || (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) == (header.cmsg_level, header.cmsg_type);
            let length = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
            if wanted && header.cmsg_len as usize >= length {
                let error = libc::CMSG_DATA(entry).cast::<libc::sock_extended_err>().read_unaligned();
                let mut by: libc::sockaddr_storage = zeroed();
                let behind = (header.cmsg_len as usize - length).min(size_of::<libc::sockaddr_storage>());
                let address_of_it = libc::CMSG_DATA(entry).add(size_of::<libc::sock_extended_err>());
                std::ptr::copy_nonoverlapping(address_of_it, (&raw mut by).cast::<u8>(), behind);
                return Ok(Refusal {
                    errno: error.ee_errno as c_int,
                    origin: error.ee_origin,
                    kind: error.ee_type,
                    code: error.ee_code,
                    info: error.ee_info,
                    to,
                    by: address(&by).map(|addr| addr.ip()),
                    head: payload,
                });
            }
            entry = libc::CMSG_NXTHDR(&raw const message, entry);
        }
    }
    Err(Errno::BADMSG)
}

/// The address in a `struct sockaddr_storage`, if it is one of IP.
pub(super) fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            let mut four = MaybeUninit::<libc::sockaddr_in>::uninit();
            // SAFETY: a sockaddr_in is no longer than the storage, and any bytes are a valid one.
            let four = unsafe {
                std::ptr::copy_nonoverlapping((&raw const *storage).cast(), four.as_mut_ptr(), 1);
                four.assume_init()
            };
            let addr = Ipv4Addr::from(u32::from_be(four.sin_addr.s_addr));
            Some(SocketAddrV4::new(addr, u16::from_be(four.sin_port)).into())
        }
        libc::AF_INET6 => {
            let mut six = MaybeUninit::<libc::sockaddr_in6>::uninit();
            // SAFETY: as above, a sockaddr_in6.
            let six = unsafe {
                std::ptr::copy_nonoverlapping((&raw const *storage).cast(), six.as_mut_ptr(), 1);
                six.assume_init()
            };
            let addr = Ipv6Addr::from(six.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(addr, u16::from_be(six.sin6_port), 0, six.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_closed_port_is_told_with_its_address() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(closed) = UdpSocket::bind((host, 0)) else { continue };
            let to = closed.local_addr().unwrap();
            drop(closed);
            let socket = UdpSocket::bind((host, 0)).unwrap();
            want_refusals(&socket, to.is_ipv6()).unwrap();
            assert_eq!(refusal(&socket), Err(Errno::AGAIN));
            socket.send_to(b"anybody?", to).unwrap();
            let told = refusal(&socket).unwrap();
            assert_eq!((told.errno, told.to, told.by), (libc::ECONNREFUSED, to, Some(to.ip())));
            assert_eq!(&told.head, b"anybody?");
            assert_eq!((told.kind, told.code), if to.is_ipv4() { (3, 3) } else { (1, 4) });
        }
    }
}
