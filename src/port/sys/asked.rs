//! Datagrams with the address of this machine that they were sent to, and answers from it (ip(7), `IP_PKTINFO`;
//! ipv6(7), `IPV6_RECVPKTINFO`). A socket at the wildcard address can answer from the right address only so.

use super::refusals::{address, set_option};
use super::{checked, last_errno};
use libc::c_int;
use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use socket2::SockAddr;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Room for one control message of either kind, aligned as such.
type Control = [u64; 8];

/// Asks for the destinations of datagrams.
///
/// # Errors
/// The system call's.
pub fn want_destinations(fd: impl AsFd, v6: bool) -> Result<(), Errno> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    set_option(fd, level, option, 1)
}

/// Receives a datagram: its length, its source, and its destination address on this machine, if that was asked for and
/// may be a source.
///
/// # Errors
/// The system call's.
pub fn recv_at(fd: impl AsFd, room: &mut [u8]) -> Result<(usize, SocketAddr, Option<IpAddr>), Errno> {
    let mut control: Control = [0; 8];
    // SAFETY: plain structs of integers, for which zeros are valid.
    let (mut from, mut message): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut buffer = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in the message is to a live object with the length given beside it.
    let count = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, 0) };
    let count = usize::try_from(count).map_err(|_| last_errno())?;
    let from = address(&from).ok_or(Errno::AFNOSUPPORT)?;
    // SAFETY: the message was filled in by the kernel.
    Ok((count, from, unsafe { destination(&message) }))
}

/// The address in the control messages of a message.
///
/// # Safety
/// The kernel has filled in the message, and its control buffer lives.
unsafe fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the macros walk inside the control buffer, and of each entry only as much is read as its length says that
    // there is; any bytes are valid for what is read.
    unsafe {
        let mut entry = libc::CMSG_FIRSTHDR(&raw const *message);
        while !entry.is_null() {
            let header = entry.read_unaligned();
            let holds = |size: usize| header.cmsg_len as usize >= libc::CMSG_LEN(size as u32) as usize;
            let found = match (header.cmsg_level, header.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                    let told = libc::CMSG_DATA(entry).cast::<libc::in_pktinfo>().read_unaligned();
                    // The local address to answer from, for a broadcast, too.
                    Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(told.ipi_spec_dst.s_addr))))
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                    let told = libc::CMSG_DATA(entry).cast::<libc::in6_pktinfo>().read_unaligned();
                    Some(IpAddr::V6(Ipv6Addr::from(told.ipi6_addr.s6_addr)))
                }
                _ => None,
            };
            if let Some(addr) = found {
                return Some(addr).filter(|addr| !addr.is_multicast() && !addr.is_unspecified());
            }
            entry = libc::CMSG_NXTHDR(&raw const *message, entry);
        }
    }
    None
}

/// Sends a datagram from an address of this machine.
///
/// # Errors
/// The system call's.
pub fn send_from(fd: impl AsFd, bytes: &[u8], to: SocketAddr, from: IpAddr) -> Result<(), Errno> {
    let mut control: Control = [0; 8];
    let to = SockAddr::from(to);
    let mut buffer = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a plain struct of integers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut buffer;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    match from {
        IpAddr::V4(from) => {
            let addr = libc::in_addr { s_addr: u32::from(from).to_be() };
            let told = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: addr, ipi_addr: libc::in_addr { s_addr: 0 } };
            put(&mut message, (libc::IPPROTO_IP, libc::IP_PKTINFO), told);
        }
        IpAddr::V6(from) => {
            let told = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
            put(&mut message, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), told);
        }
    }
    // SAFETY: every pointer in the message is to a live object with the length given beside it; none is written to.
    let sent = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
    checked(sent as c_int).map(drop)
}

/// Writes the one control message of a message, whose buffer is a [`Control`].
fn put<T>(message: &mut libc::msghdr, (level, kind): (c_int, c_int), value: T) {
    const { assert!(size_of::<libc::cmsghdr>() + size_of::<T>() <= size_of::<Control>()) };
    // SAFETY: the buffer is large enough for the header and the value, which the assertion says.
    unsafe {
        let entry = libc::CMSG_FIRSTHDR(&raw const *message);
        (*entry).cmsg_level = level;
        (*entry).cmsg_type = kind;
        (*entry).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        libc::CMSG_DATA(entry).cast::<T>().write_unaligned(value);
        message.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        for (wildcard, host, asked) in [("0.0.0.0", "127.0.0.1", "127.0.0.2"), ("::", "::1", "::1")] {
            let Ok(server) = UdpSocket::bind((wildcard, 0)) else { continue };
            let Ok(client) = UdpSocket::bind((host, 0)) else { continue };
            let asked: IpAddr = asked.parse().unwrap();
            let to = SocketAddr::new(asked, server.local_addr().unwrap().port());
            want_destinations(&server, to.is_ipv6()).unwrap();
            client.send_to(b"ping", to).unwrap();
            let mut room = [0; 16];
            let (length, from, at) = recv_at(&server, &mut room).unwrap();
            assert_eq!((&room[..length], from, at), (&b"ping"[..], client.local_addr().unwrap(), Some(asked)));
            send_from(&server, b"pong", from, asked).unwrap();
            assert_eq!(client.recv_from(&mut room).unwrap(), (4, to));
            server.set_nonblocking(true).unwrap();
            assert_eq!(recv_at(&server, &mut room), Err(Errno::AGAIN));
        }
    }

    #[test]
    fn a_socket_that_did_not_ask_is_told_nothing() {
        let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        client.send_to(b"ping", server.local_addr().unwrap()).unwrap();
        assert_eq!(recv_at(&server, &mut [0; 16]), Ok((4, client.local_addr().unwrap(), None)));
    }
}
