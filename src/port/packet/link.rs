//! The link of the interface that a packet socket is on: up, down, or one that no program has open.
//!
//! An interface goes down before it is deleted, and only that wakes a socket: so a link that is down is polled
//! ([`Packet::check_link`]).

use super::{Packet, deleted};
use crate::port::Gone;
use crate::port::interface::LinkState;
use crate::port::netlink::Netlink;
use crate::port::sys;
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;

impl Packet {
    /// Whether the interface is up, as far as the last frames have told.
    pub fn link(&self) -> LinkState {
        self.link
    }

    /// Marks it as an interface of the calling thread's network namespace: then its kind, and changes of its carrier,
    /// can be queried.
    #[must_use]
    pub fn of_this_namespace(self) -> Self {
        let found = Netlink::open().and_then(|mut netlink| netlink.interface(&self.name)).ok().flatten();
        let tun = found.filter(|found| found.kind.as_deref() == Some("tun")).map(|found| found.tun);
        Self { tun, carrier: self.carrier_changes(), ..self }.looked_at_anew()
    }

    /// Checks the link anew, whatever was known of it.
    pub(super) fn looked_at_anew(mut self) -> Self {
        self.link = LinkState::Down;
        // If the interface is gone by now, its first use shows it.
        let _ = self.check_link();
        self
    }

    fn carrier_changes(&self) -> Option<u32> {
        Netlink::open().and_then(|mut netlink| netlink.carrier_changes(self.index)).ok().flatten()
    }

    /// Whether its carrier has changed since the last call, even if it is as before by now: the program has closed its
    /// TAP, or the cable was pulled out, and the next peer may be another one.
    pub fn carrier_has_changed(&mut self) -> bool {
        let (Some(before), Some(now)) = (self.carrier, self.carrier.and_then(|_| self.carrier_changes())) else {
            return false;
        };
        self.carrier = Some(now);
        before != now
    }

    /// Asks the kernel whether the interface is up.
    ///
    /// # Errors
    /// The interface was deleted, or moved to another network namespace.
    pub fn check_link(&mut self) -> std::result::Result<LinkState, Gone> {
        if self.waits
            && let Ok(address) = sys::packet_address(&self.fd)
        {
            // 0 or less: the interface that it was bound to is gone.
            let index = u32::try_from(address.index).unwrap_or(0);
            if std::mem::replace(&mut self.index, index) != index {
                self.link = LinkState::Down;
            }
        }
        let told = index_to_name(&self.fd, self.index).and_then(|name| {
            let link = self.link_of(&name)?;
            self.name = name;
            Ok(link)
        });
        match told {
            Ok(link) => self.link = link,
            Err(Errno::NODEV | Errno::NXIO) if self.waits => self.link = LinkState::Down,
            Err(Errno::NODEV | Errno::NXIO) => return Err(deleted()),
            // Without an answer, keep the last known state.
            Err(_) => {}
        }
        Ok(self.link)
    }

    /// The link state of its interface `name`. That the program has closed it shows a second late (IFF_RUNNING), that
    /// one has opened it at once: the flag alone is also set on an interface that was just made.
    fn link_of(&self, name: &str) -> std::result::Result<LinkState, Errno> {
        let flags = sys::interface_flags(&self.fd, name)?;
        Ok(if flags & libc::IFF_UP == 0 {
            LinkState::Down
        } else if !self.is_of_program() {
            LinkState::Up
        } else if flags & libc::IFF_RUNNING == 0 {
            LinkState::Unopened
        } else if self.link == LinkState::Up || sys::interface_has_carrier(&self.fd, name).unwrap_or(true) {
            LinkState::Up
        } else {
            LinkState::Unopened
        })
    }
}
