//! The DHCP lease of an instance: obtained before its program starts, and renewed while it runs.
//!
//! Theory of operation. A thread without rights speaks to servers ([`Asker`]); the init opens its sockets: a packet
//! socket while there is no address, a UDP socket afterwards, each only while an answer is awaited. The init sets what
//! a server grants: address, routes, mtu, and once, before the program starts, name servers. When a lease is lost its
//! address is removed; the next lease sets another.
//!
//! The UDP socket is bound to the interface but to no address: servers broadcast refusals, and some every answer.
//!
//! IPv6 comes with it: if a router answers, the start waits briefly for the address formed from its prefix (SLAAC).

use super::asker::{Asker, Want};
use super::network::resolve_by;
use super::{Host, ipv6, stage::Held};
use crate::error::{Class, Error, Result};
use crate::port::inet;
use crate::port::netlink::Netlink;
use crate::port::packet::Packet;
use crate::rights::Mode;
use crate::service::lan::client::{Client, Grant};
use crate::service::lan::dhcp4::CLIENT_PORT;
use crate::wire::Cidr;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Protocol, Type};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a program waits for its address.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a router has to answer once the interface is up, and the interval of the checks. A router of zbridge
/// answers at once.
const IPV6_PATIENCE: Duration = Duration::from_millis(250);
const IPV6_PAUSE: Duration = Duration::from_millis(5);
/// The destination of a default route.
const ANYWHERE: Cidr = Cidr { addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
/// See the head of the file.
pub struct Dhcp {
    host: Host,
    index: u32,
    netlink: Netlink,
    asker: Asker,
    /// The grant that is set on the interface.
    held: Option<Grant>,
}

impl Dhcp {
    /// Asks for an address, under the program's name, until there is one. The end of `caller` ends it, and so does a
    /// signal from the terminal.
    ///
    /// # Errors
    /// Nobody answers; the interface cannot be set.
    pub fn acquire((name, host): (&str, Host), sandbox: Mode, caller: &OwnedFd, held: &Held) -> Result<Self> {
        let failed = |cause: io::Error| Error::system("the instance's address", &cause);
        let begun = Instant::now();
        let mut netlink = Netlink::open().map_err(failed)?;
        let interface = netlink.interface(&host.ifname).map_err(failed)?.unwrap_or_default();
        let (mac, index) = (interface.mac.unwrap_or_default(), interface.index);
        let seed = RandomState::new().build_hasher().finish();
        let client = Client::new(mac, name, seed);
        let asker = Asker::start(client, mac, sandbox)?;
        let mut dhcp = Self { host, index, netlink, asker, held: None };
        loop {
            dhcp.work()?;
            let spent = begun.elapsed();
            if dhcp.held.is_some() {
                if spent >= IPV6_PATIENCE || ipv6::is_ready(&dhcp.host.ifname) {
                    break;
                }
                dhcp.sleep(IPV6_PAUSE, caller, held)?;
                continue;
            }
            if spent >= PATIENCE {
                return Err(unanswered());
            }
            dhcp.sleep(PATIENCE - spent, caller, held)?;
        }
        Ok(dhcp)
    }

    /// Configures the granted name servers for the program, unless it was given others.
    ///
    /// # Errors
    /// There is no file to name them in.
    pub fn resolve(&self) -> Result<()> {
        match &self.held {
            Some(grant) if self.host.dns.is_empty() && !grant.dns.is_empty() => {
                let servers: Vec<IpAddr> = grant.dns.iter().copied().map(IpAddr::V4).collect();
                resolve_by(&servers, grant.domain.as_deref())
            }
            _ => Ok(()),
        }
    }

    /// Sleeps until an answer comes, or something else that ends the waiting.
    fn sleep(&self, left: Duration, caller: &OwnedFd, held: &Held) -> Result<()> {
        let mut asked = vec![PollFd::new(caller, PollFlags::IN), PollFd::new(held.keys(), PollFlags::IN)];
        asked.extend(self.fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = Timespec::try_from(left).ok();
        // An error is a signal or want of memory: both pass.
        let _ = poll(&mut asked, timeout.as_ref());
        if asked.iter().take(2).any(|fd| !fd.revents().is_empty()) {
            return Err(interrupted());
        }
        Ok(())
    }

    /// The descriptor to poll.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.asker.fd()
    }

    /// Does what the thread asks for ([`Want`]).
    ///
    /// # Errors
    /// The interface cannot be used; it may be tried again.
    pub fn work(&mut self) -> Result<()> {
        let failed = |cause: io::Error| Error::system("the instance's address", &cause);
        // Each request is carried out, even if an earlier one failed: the thread waits for all of them.
        let mut first = Ok(());
        while let Some(want) = self.asker.next() {
            let socket = match want {
                Want::Set(grant) => {
                    first = first.and(self.set(grant).map_err(failed));
                    continue;
                }
                Want::Forget => {
                    first = first.and(self.forget().map_err(failed));
                    continue;
                }
                Want::Frames => Packet::plain(&self.host.ifname),
                Want::Datagrams => datagrams(&self.host.ifname).map_err(|cause| Error::system("dhcp", &cause)),
            };
            match socket {
                Ok(socket) => self.asker.give(Some(socket)),
                Err(error) => {
                    self.asker.give(None);
                    first = first.and(Err(error));
                }
            }
        }
        first
    }

    /// Sets what was granted and is not set already.
    fn set(&mut self, grant: Grant) -> io::Result<()> {
        let same = |held: &Grant| held.addr == grant.addr && held.router == grant.router && held.routes == grant.routes;
        if !self.held.as_ref().is_some_and(same) {
            self.forget()?;
            self.netlink.add_address(self.index, &grant.addr)?;
            // a router outside of the network is a neighbour all the same: where every address is a network of its own
            let via = |router: Ipv4Addr| (IpAddr::V4(router), !grant.addr.contains(router.into()));
            let default = grant.router.map(|router| (ANYWHERE, Some(router)));
            for (net, router) in grant.routes.iter().copied().chain(default) {
                match self.netlink.add_route(self.index, &net, router.map(via)) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
        }
        if let Some(mtu) = grant.mtu.filter(|mtu| self.host.mtu.is_none() && *mtu >= 576) {
            self.netlink.set_mtu(self.index, mtu.into())?;
        }
        self.held = Some(grant);
        Ok(())
    }

    /// Removes the address, and its routes with it.
    fn forget(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(held) => self.netlink.remove_address(self.index, &held.addr),
            None => Ok(()),
        }
    }
}

fn datagrams(interface: &str) -> io::Result<OwnedFd> {
    let addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
    let socket = inet::socket(addr, Type::DGRAM, Protocol::UDP)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    inet::bind(&socket, addr)?;
    Ok(socket.into())
}

/// The error of a program that is ended before it has started.
pub fn interrupted() -> Error {
    Error::new(Class::Interrupted, "ended while it waited for its address")
}

fn unanswered() -> Error {
    let what = format!("no DHCP server has answered within {} s", PATIENCE.as_secs());
    Error::new(Class::Runtime, what).hint(
        "a port nat:10.0.2.2/24 on the switch is one, unless it has dhcp=off, or a port to a network beside it (then \
             say dhcp=.15-.99); or give the program an address: --host 10.0.2.15/24, host = in a bench",
    )
}
