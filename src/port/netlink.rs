//! The kernel's interfaces, queried and configured by rtnetlink, one request at a time.
//!
//! Theory of operation. Each request is acknowledged or dumped, so an answer always ends with NLMSG_ERROR (0 is the
//! acknowledgement) or NLMSG_DONE. Requests are written by netlink-packet-route. In answers, only the few attributes
//! needed are parsed, each by itself, so that a newer kernel's unknown ones cannot spoil the rest.
//!
//! A socket speaks to the network namespace of the thread that opened it.

use super::sys;
use crate::wire::{Cidr, Mac};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

/// More than the kernel ever puts into one answer.
const ANSWER: usize = 64 * 1024;

/// IFLA_INFO_KIND and IFLA_INFO_DATA of linux/if_link.h.
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
/// IFLA_CARRIER_CHANGES.
const CARRIER_CHANGES: u16 = 35;

/// An interface, as RTM_GETLINK tells.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Interface {
    /// Its index, unique in its network namespace while that lives.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it was set up (IFF_UP); whether there is a carrier is another matter.
    pub up: bool,
    /// Whether there is a carrier (IFF_LOWER_UP): a TAP has one while a process is attached.
    pub carrier: bool,
    /// Bytes that a frame may carry behind its header.
    pub mtu: u32,
    /// Its hardware address, if that is a MAC address.
    pub mac: Option<Mac>,
    /// Its kind: `tun`, `veth`, `bridge` …; a physical interface has none.
    pub kind: Option<String>,
    /// The attributes of a TUN or TAP.
    pub tun: Tun,
    /// The index of the bridge, bond or the like that it is a part of.
    pub master: Option<u32>,
}

/// The attributes of an interface of kind `tun` (IFLA_TUN_* of linux/if_link.h).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tun {
    /// The user who may attach to it without any right.
    pub owner: Option<u32>,
    /// It carries frames (TAP), not packets (TUN).
    pub tap: bool,
    /// It was made with `multi_queue`.
    pub multi_queue: bool,
    /// Its program takes a header with each frame, which says what checksum is still to be made (IFF_VNET_HDR).
    pub header: bool,
}

/// A socket to the kernel. See the head of the file.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket to the network namespace of the calling thread.
    ///
    /// # Errors
    /// The system calls'.
    pub fn open() -> std::io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Takes over the descriptor of such a socket, which speaks to the network namespace where it was opened.
    pub fn adopt(fd: OwnedFd) -> Self {
        Self { socket: sys::process::netlink_socket(fd), sequence: 0 }
    }

    /// Its descriptor, to be adopted elsewhere.
    pub fn into_fd(self) -> OwnedFd {
        sys::owned(self.socket)
    }

    /// The interface called `name`, if there is one.
    ///
    /// # Errors
    /// The system calls'. Any process may ask.
    pub fn interface(&mut self, name: &str) -> std::io::Result<Option<Interface>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let mut found = None;
        let answer = self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |payload| found = interface(payload));
        match answer {
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            answer => answer.map(|()| found),
        }
    }

    /// Whether the kernel leaves checksums of what is sent by this interface to who receives it (NETIF_F_CSUM_MASK).
    ///
    /// # Errors
    /// The system calls'. Any process may ask.
    pub fn leaves_checksums(&self, name: &str) -> std::io::Result<bool> {
        Ok(sys::interface_leaves_checksums(&self.socket, name)?)
    }

    /// All interfaces.
    ///
    /// # Errors
    /// As in [`Netlink::interface`].
    pub fn interfaces(&mut self) -> std::io::Result<Vec<Interface>> {
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.ask(message, NLM_F_DUMP, |payload| found.extend(interface(payload)))?;
        Ok(found)
    }

    /// How often the carrier of the interface with this index has come and gone; `None` where the kernel does not count.
    ///
    /// # Errors
    /// As in [`Netlink::interface`]; ENODEV where there is no such interface.
    pub fn carrier_changes(&mut self, index: u32) -> std::io::Result<Option<u32>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let mut changes = None;
        self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_ACK, |payload| {
            // `struct ifinfomsg` is before the attributes.
            let mut found = attributes(payload.get(16..).unwrap_or_default());
            changes = changes.or(found.find_map(|(kind, value)| number(value, 0).filter(|_| kind == CARRIER_CHANGES)));
        })?;
        Ok(changes)
    }

    /// The addresses of the interface with this index.
    ///
    /// # Errors
    /// As in [`Netlink::interface`].
    pub fn addresses(&mut self, index: u32) -> std::io::Result<Vec<Cidr>> {
        let mut found = Vec::new();
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.ask(message, NLM_F_DUMP, |payload| {
            found.extend(address(payload).filter(|(of, _)| *of == index).map(|(_, cidr)| cidr));
        })?;
        Ok(found)
    }

    /// Gives the interface an address. That it has it already is fine.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN in this network namespace, EACCES for an IPv6 address where IPv6 is disabled.
    pub fn add_address(&mut self, index: u32, cidr: &Cidr) -> std::io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = cidr.prefix;
        message.attributes.push(AddressAttribute::Address(cidr.addr));
        message.attributes.push(AddressAttribute::Local(cidr.addr));
        match cidr.addr {
            IpAddr::V4(addr) => {
                message.header.family = AddressFamily::Inet;
                // As ip(8) does with `brd +`. A prefix of 31 or 32 bits has no broadcast address (RFC 3021).
                if cidr.prefix < 31 {
                    let broadcast = u32::from(addr) | u32::MAX.checked_shr(cidr.prefix.into()).unwrap_or(0);
                    message.attributes.push(AddressAttribute::Broadcast(broadcast.into()));
                }
            }
            IpAddr::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                // Without it the address would be unusable for a second or two, and for good where a looped frame
                // looks like a duplicate (RFC 4862, 5.4).
                message.header.flags = AddressHeaderFlags::Nodad;
            }
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.ask(RouteNetlinkMessage::NewAddress(message), flags, |_| {}) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            answer => answer,
        }
    }

    /// Takes an address from the interface. That it has it no more is fine.
    ///
    /// # Errors
    /// EPERM as in [`Netlink::add_address`].
    pub fn remove_address(&mut self, index: u32, cidr: &Cidr) -> std::io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = cidr.prefix;
        message.header.family = if cidr.addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.attributes.push(AddressAttribute::Local(cidr.addr));
        match self.ask(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK, |_| {}) {
            Err(error) if error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) => Ok(()),
            answer => answer,
        }
    }

    /// Sets the interface up.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN in this network namespace.
    pub fn set_up(&mut self, index: u32) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, |_| {})
    }

    /// Adds a default route through `gateway`, by the interface with this index.
    ///
    /// # Errors
    /// EPERM as in [`Netlink::set_up`], ENETUNREACH (IPv4) or EHOSTUNREACH (IPv6) for a gateway outside of the
    /// interface's networks.
    pub fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> std::io::Result<()> {
        let unspecified = if gateway.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        self.add_route(index, &Cidr { addr: unspecified, prefix: 0 }, Some((gateway, false)))
    }

    /// Adds a route to `net` by the interface with this index: through a gateway (with the flag, it counts as on-link),
    /// or, without one, on-link.
    ///
    /// # Errors
    /// As in [`Netlink::add_default_route`]; EEXIST for a route that is there already.
    pub fn add_route(&mut self, index: u32, net: &Cidr, via: Option<(IpAddr, bool)>) -> std::io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = if net.addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = if via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.header.kind = RouteType::Unicast;
        if net.prefix > 0 {
            message.header.destination_prefix_length = net.prefix;
            message.attributes.push(RouteAttribute::Destination(net.addr.into()));
        }
        if let Some((gateway, on_link)) = via {
            message.header.flags.set(RouteFlags::Onlink, on_link);
            message.attributes.push(RouteAttribute::Gateway(gateway.into()));
        }
        message.attributes.push(RouteAttribute::Oif(index));
        self.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, |_| {})
    }

    /// Whether packets to `addr` are for the machine itself by its present routing tables (RTN_LOCAL): it is an address
    /// of one of its interfaces, or of a network routed to itself.
    ///
    /// # Errors
    /// As in [`Netlink::interface`], and where there is no way to the address.
    pub fn is_own(&mut self, addr: IpAddr) -> std::io::Result<bool> {
        let mut message = RouteMessage::default();
        let (family, bits) = if addr.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
        (message.header.address_family, message.header.destination_prefix_length) = (family, bits);
        message.attributes.push(RouteAttribute::Destination(addr.into()));
        let mut own = false;
        // struct rtmsg has the type at 7.
        let local = Some(libc::RTN_LOCAL);
        self.ask(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK, |payload| own |= payload.get(7).copied() == local)?;
        Ok(own)
    }

    /// Sets the interface's hardware address.
    ///
    /// # Errors
    /// EPERM as in [`Netlink::set_up`], EADDRNOTAVAIL for a group address.
    pub fn set_mac(&mut self, index: u32, mac: Mac) -> std::io::Result<()> {
        self.set(index, LinkAttribute::Address(mac.0.to_vec()))
    }

    /// Sets the interface's mtu.
    ///
    /// # Errors
    /// EPERM as in [`Netlink::set_up`], EINVAL outside of what the interface can do (68 to 65,521 for a TAP).
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> std::io::Result<()> {
        self.set(index, LinkAttribute::Mtu(mtu))
    }

    fn set(&mut self, index: u32, attribute: LinkAttribute) -> std::io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(attribute);
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, |_| {})
    }

    /// Sends a request and gives every message of the answer to `each`, without its netlink header.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut room = vec![0; ANSWER];
        loop {
            let len = self.socket.recv(&mut &mut room[..], 0)?;
            if let Some(end) = read_answer(&room[..len.min(ANSWER)], self.sequence, &mut each) {
                return end;
            }
        }
    }
}

/// Gives the messages of one datagram to `each`. `Some` if the answer ends with it.
fn read_answer(mut bytes: &[u8], sequence: u32, each: &mut impl FnMut(&[u8])) -> Option<std::io::Result<()>> {
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        if message.sequence_number() == sequence {
            match message.message_type() {
                NLMSG_DONE => return Some(Ok(())),
                NLMSG_ERROR => {
                    return Some(match number(message.payload(), 0).map(u32::cast_signed) {
                        Some(0) => Ok(()),
                        Some(code) => Err(std::io::Error::from_raw_os_error(code.saturating_neg())),
                        None => Err(Errno::PROTO.into()),
                    });
                }
                _ => each(message.payload()),
            }
        }
        // Each message starts at a multiple of four bytes (NLMSG_ALIGN).
        let next = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    None
}

/// The u32 of native endianness at byte `at`.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The attributes in `bytes`: type and value.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let (kind, len) = (attribute.kind(), attribute.length() as usize);
        (kind, attribute.into_inner().get(4..len).unwrap_or_default())
    })
}

/// A text that ends with a NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

/// Reads an RTM_NEWLINK: `struct ifinfomsg` (index at 4, flags at 8, 16 bytes in all), then attributes.
fn interface(payload: &[u8]) -> Option<Interface> {
    let flags = number(payload, 8)?;
    let (up, carrier) = (flags & LinkFlags::Up.bits() != 0, flags & LinkFlags::LowerUp.bits() != 0);
    let mut found = Interface { index: number(payload, 4)?, up, carrier, ..Interface::default() };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => found.name = text(value),
            libc::IFLA_MTU => found.mtu = number(value, 0)?,
            libc::IFLA_MASTER => found.master = number(value, 0),
            libc::IFLA_ADDRESS => found.mac = value.try_into().ok().map(Mac),
            libc::IFLA_LINKINFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        INFO_KIND => found.kind = Some(text(value)),
                        INFO_DATA if found.kind.as_deref() == Some("tun") => found.tun = tun(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(found)
}

/// Reads the IFLA_INFO_DATA of a TUN or TAP: IFLA_TUN_OWNER (1), _TYPE (3), _VNET_HDR (5) and _MULTI_QUEUE (7).
fn tun(data: &[u8]) -> Tun {
    let mut found = Tun::default();
    for (kind, value) in attributes(data) {
        match (kind, value) {
            (1, value) => found.owner = number(value, 0),
            (3, [kind]) => found.tap = i32::from(*kind) == libc::IFF_TAP,
            (5, [yes]) => found.header = *yes != 0,
            (7, [yes]) => found.multi_queue = *yes != 0,
            _ => {}
        }
    }
    found
}

/// Reads an RTM_NEWADDR: `struct ifaddrmsg` (prefix length at 1, index at 4, 8 bytes in all), then attributes.
fn address(payload: &[u8]) -> Option<(u32, Cidr)> {
    let (prefix, index) = (*payload.get(1)?, number(payload, 4)?);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(payload.get(8..)?) {
        let value = || {
            <[u8; 4]>::try_from(value).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
        };
        match kind {
            libc::IFA_LOCAL => local = value(),
            libc::IFA_ADDRESS => address = value(),
            _ => {}
        }
    }
    // IPv6 has no IFA_LOCAL; on a point-to-point interface IFA_ADDRESS is the other end's.
    Some((index, Cidr { addr: local.or(address)?, prefix }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_as_everywhere() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.interface("lo").unwrap().unwrap();
        assert_eq!((lo.index, lo.mac, lo.kind.as_deref()), (1, Some(Mac([0; 6])), None));
        assert!(netlink.interfaces().unwrap().contains(&lo));
        assert_eq!(netlink.interface("no-such-one").unwrap(), None);
        let any = netlink.addresses(u32::MAX).unwrap();
        assert_eq!(any, []);
    }

    /// An attribute: length, type, value, padding.
    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = (value.len() + 4) as u16;
        let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_tap_is_read_past_what_is_unknown() {
        let data = [nla(1, &1000_u32.to_ne_bytes()), nla(3, &[2]), nla(7, &[1]), nla(99, b"new")].concat();
        let info = [nla(INFO_KIND, b"tun\0"), nla(INFO_DATA | 0x8000, &data)].concat();
        let mut bytes = vec![0; 16];
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&0x0001_1003_u32.to_ne_bytes());
        bytes.extend(nla(4000, &[1, 2, 3, 4, 5]));
        bytes.extend(nla(libc::IFLA_IFNAME, b"zeth0\0"));
        bytes.extend(nla(libc::IFLA_MTU, &9000_u32.to_ne_bytes()));
        bytes.extend(nla(libc::IFLA_MASTER, &3_u32.to_ne_bytes()));
        bytes.extend(nla(libc::IFLA_ADDRESS, &[2, 0, 0x5e, 0, 0x53, 0xff]));
        bytes.extend(nla(libc::IFLA_LINKINFO, &info));
        let tun = Tun { owner: Some(1000), tap: true, multi_queue: true, header: false };
        let mac = "02:00:5e:00:53:ff".parse().ok();
        let (name, kind) = ("zeth0".into(), Some("tun".into()));
        let wanted = Interface { index: 7, name, up: true, carrier: true, mtu: 9000, mac, kind, tun, master: Some(3) };
        assert_eq!(interface(&bytes), Some(wanted));
        for len in 0..bytes.len() {
            interface(&bytes[..len]);
        }
        assert_eq!(interface(&bytes[..15]), None);
    }

    #[test]
    fn an_address_is_the_near_end() {
        let mut bytes = vec![2, 24, 0, 0, 7, 0, 0, 0];
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes.extend(nla(libc::IFA_ADDRESS, &[192, 0, 2, 1]));
        bytes.extend(nla(libc::IFA_LOCAL, &[192, 0, 2, 2]));
        assert_eq!(address(&bytes), Some((7, "192.0.2.2/24".parse().unwrap())));
        assert_eq!(address(&bytes[..8]), None);
    }

    #[test]
    fn answers_end_with_done_or_an_errno() {
        let message = |kind: u16, sequence: u32, payload: &[u8]| {
            let mut bytes = ((16 + payload.len()) as u32).to_ne_bytes().to_vec();
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&[0; 2]);
            bytes.extend_from_slice(&sequence.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(payload);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let mut seen = Vec::new();
        let mut each = |payload: &[u8]| seen.push(payload.to_vec());
        let some = [message(16, 5, b"one__"), message(16, 4, b"old"), message(16, 5, b"two")].concat();
        assert!(read_answer(&some, 5, &mut each).is_none());
        assert!(read_answer(&message(NLMSG_DONE, 5, &[0; 4]), 5, &mut each).unwrap().is_ok());
        let refused = message(NLMSG_ERROR, 5, &(-libc::EPERM).to_ne_bytes());
        let error = read_answer(&refused, 5, &mut each).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        assert!(read_answer(&message(NLMSG_ERROR, 5, b"x"), 5, &mut each).unwrap().is_err());
        assert_eq!(seen, [b"one__".to_vec(), b"two".to_vec()]);
    }
}
