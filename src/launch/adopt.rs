//! The TAPs that a program makes itself: of a name that the kernel chose (`tap%d`, or none at all: NuttX sim, QEMU's
//! `-nic tap`), of another name than was expected, made anew after it was closed, or one more.
//!
//! Theory of operation. A port of the switch holds a packet socket, and such a socket can be bound to another interface
//! at any time, whoever reads it. The init has a copy of each, and hears the kernel's link news. A new TAP gets the
//! socket of one that is gone (first of one with the same name), else of an unopened one that was made for the program,
//! so that the program's port leads to it without any message. If there is none, a new socket is made, which becomes a
//! port of its own. A new TAP is down, and is set up at once, as one made for a program is.
//!
//! TUNs are treated alike where the program has one.
//!
//! A TAP that the program has put into a bridge of its own is left alone: what passes there is the program's affair.

use super::InterfaceKind;
use crate::error::Result;
use crate::port::link_news::LinkNews;
use crate::port::netlink::{Interface, Netlink};
use crate::port::packet::Packet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Ports that a program can come to by making TAPs.
const MOST: usize = 32;

/// A packet socket of a port.
struct Way {
    fd: OwnedFd,
    /// The interface that it was bound to last.
    ifname: String,
    /// That interface's index while it is there.
    index: Option<u32>,
    kind: InterfaceKind,
}

/// See the head of the file.
pub struct Adopter {
    netlink: Netlink,
    news: LinkNews,
    ways: Vec<Way>,
    /// The indexes of the TAPs that were made for the program. They stay, opened or not.
    given: Vec<u32>,
    /// The interface that is for the program's sockets, which is a TAP as well, whatever the program calls it.
    host: Option<u32>,
    /// It was reported that no more interfaces become ports.
    told: bool,
}

impl Adopter {
    /// Watches the interfaces of this network namespace from now on, but for `host`.
    pub fn open(host: Option<&str>) -> io::Result<Self> {
        let (mut netlink, news) = (Netlink::open()?, LinkNews::open()?);
        let host = host.map(|host| netlink.interface(host)).transpose()?.flatten().map(|host| host.index);
        Ok(Self { netlink, news, ways: Vec::new(), given: Vec::new(), host, told: false })
    }

    /// A port has this packet socket on the TAP or TUN `ifname`, which was made for the program.
    pub fn note(&mut self, fd: &OwnedFd, ifname: &str, kind: InterfaceKind) -> io::Result<()> {
        let index = self.netlink.interface(ifname)?.map(|found| found.index);
        self.given.extend(index);
        self.ways.push(Way { fd: fd.try_clone()?, ifname: ifname.to_owned(), index, kind });
        Ok(())
    }

    /// Handles the interfaces that have come and gone. Returns those without a port, with a packet socket on each.
    pub fn look(&mut self) -> Vec<(String, InterfaceKind, OwnedFd)> {
        self.news.take();
        // Without an answer there is another look at the next news.
        let found = self.netlink.interfaces().unwrap_or_default();
        for way in &mut self.ways {
            way.index = way.index.filter(|index| found.iter().any(|found| found.index == *index));
        }
        let mut new = Vec::new();
        for tap in &found {
            if !self.is_stray(tap) {
                continue;
            }
            // An interface that is gone again does not matter.
            match self.take(tap, &found) {
                Ok(fd) => new.extend(fd.map(|fd| (tap.name.clone(), kind_of(tap), fd))),
                Err(error) => log::debug!("{}: {error}", tap.name),
            }
        }
        new
    }

    /// Whether it is a TAP of the program's that leads nowhere, or a TUN of one that has such.
    fn is_stray(&self, found: &Interface) -> bool {
        found.kind.as_deref() == Some("tun")
            && self.ways.iter().any(|way| way.kind == kind_of(found))
            && found.master.is_none()
            && self.host != Some(found.index)
            && (found.carrier || !self.given.contains(&found.index))
            && !self.ways.iter().any(|way| way.index == Some(found.index))
    }

    /// Binds a port's socket to `tap`. Returns a new socket if that is to become a port.
    fn take(&mut self, tap: &Interface, found: &[Interface]) -> Result<Option<OwnedFd>> {
        let failed = |cause: io::Error| crate::error::Error::system(&tap.name, &cause);
        if !tap.up {
            self.netlink.set_up(tap.index).map_err(failed)?;
        }
        if let Some(way) = free_way(&mut self.ways, &self.given, tap, found) {
            Packet::bind_to(&way.fd, tap.index)?;
            (way.ifname, way.index) = (tap.name.clone(), Some(tap.index));
            return Ok(None);
        }
        if self.ways.len() >= MOST {
            if !std::mem::replace(&mut self.told, true) {
                log::warn!("{}: leads nowhere: a program has {MOST} ports at most", tap.name);
            }
            return Ok(None);
        }
        let fd: OwnedFd = Packet::open(&tap.name)?.into();
        let copy = fd.try_clone().map_err(failed)?;
        self.ways.push(Way { fd: copy, ifname: tap.name.clone(), index: Some(tap.index), kind: kind_of(tap) });
        Ok(Some(fd))
    }
}

/// The kind of port for a TUN or TAP.
fn kind_of(found: &Interface) -> InterfaceKind {
    if found.tun.tap { InterfaceKind::Packet } else { InterfaceKind::Tun }
}

/// An idle socket, the likeliest first: that of the last interface of this name, another one whose interface is gone,
/// one of an unopened interface that was made for the program.
fn free_way<'a>(ways: &'a mut [Way], given: &[u32], tap: &Interface, found: &[Interface]) -> Option<&'a mut Way> {
    let is_idle =
        |index: u32| given.contains(&index) && found.iter().any(|found| found.index == index && !found.carrier);
    let worth = |way: &Way| match way.index {
        _ if way.kind != kind_of(tap) => None,
        None if way.ifname == tap.name => Some(0),
        None => Some(1),
        Some(index) if is_idle(index) => Some(2),
        Some(_) => None,
    };
    ways.iter_mut().filter_map(|way| Some((worth(way)?, way))).min_by_key(|(worth, _)| *worth).map(|(_, way)| way)
}

/// Readable when there is something to look at.
impl AsFd for Adopter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}
