//! The source guard: an address belongs to the port that used it first, and frames that claim it on other ports are
//! dropped.
//!
//! # Theory of operation
//! The claims of a frame (`guard/claims.rs`) are its source MAC, and the addresses in ARP and neighbour discovery. How
//! firmly a port has an address:
//!
//! | an address is          | because                                            | until                       |
//! |------------------------|----------------------------------------------------|-----------------------------|
//! | *firmly* a port's      | it is configured (`static=`, `addr=`, `ip=`), a service's own, or leased by DHCP | the port is gone |
//! | a guarded port's by *first use* | it claimed it while nobody had it         | the port is down, or has claimed many others since |
//! | *heard* on an unguarded port    | it claimed it last                        | the port is down, or the time of ageing is over |
//!
//! The effect of a claim to an address of another port:
//!
//! | the other port has it | claim of a guarded port | claim of an unguarded port             |
//! |-----------------------|-------------------------|----------------------------------------|
//! | firmly                | the frame is dropped    | the frame is dropped                   |
//! | by first use          | the frame is dropped    | passes, and the address is its from now on |
//! | heard                 | the frame is dropped    | passes, and the address is its from now on |
//!
//! So a guarded port never takes another's address. An unguarded port is trusted, as one towards a network is: none of
//! its frames is dropped because a guarded one claimed first. If the network behind it reflects frames, these take
//! addresses from guarded ports, unless they are leased or `static`.
//!
//! On a guarded port the source of an IP packet must not be another's either, nor the target of a redirect. On any
//! other it may, as a router behind it forwards packets from everywhere.
//!
//! A fragmented message of neighbour discovery is dropped, as its claims are not visible: no node may accept one (RFC
//! 6980).
//!
//! Addresses by first use are bounded per port: a new one replaces the port's own oldest. Heard addresses are bounded,
//! too: no known one is evicted for a new one. While no port is guarded no frame is inspected.

mod claims;

use crate::frame::PortId;
use crate::time::{Duration, Instant};
use crate::wire::Mac;
use claims::Claims;
use foldhash::fast::FixedState;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Addresses that a port has by first use, of MAC, IPv4 and IPv6 together.
const MOST: usize = 64;
/// Addresses that are heard on all unguarded ports together.
const HEARD_MOST: usize = 1 << 14;
/// How many of these are checked for an aged one when there is no room.
const SWEEP: usize = 32;

/// An address that a frame may claim.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Address {
    /// A station.
    Mac(Mac),
    /// A host.
    Ip(IpAddr),
}

/// `MAC 02:00:5e:00:53:01`, `address 10.0.2.15`.
impl std::fmt::Display for Address {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => write!(out, "MAC {mac}"),
            Self::Ip(addr) => write!(out, "address {addr}"),
        }
    }
}

/// A claim to an address that another port has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The port that it came from.
    pub port: PortId,
    /// The port that has the address.
    pub owner: PortId,
    /// The address.
    pub address: Address,
}

/// How firmly a port has an address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    Firm,
    FirstUse,
    /// On an unguarded port, at this time.
    Heard(Instant),
}

/// Why a frame is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It claims an address of another port.
    Claim(Claim),
    /// It is fragmented neighbour discovery.
    Fragments,
}

#[derive(Clone, Copy)]
struct Binding {
    port: PortId,
    hold: Hold,
}

/// See the module.
pub(super) struct Guard {
    bound: HashMap<Address, Binding, FixedState>,
    /// The addresses of each guarded port by first use, the oldest first.
    first_used: HashMap<PortId, VecDeque<Address>, FixedState>,
    /// The heard addresses, each once.
    heard: VecDeque<Address>,
    /// Time after which a heard address no longer counts.
    ageing: Duration,
    now: Instant,
}

impl Guard {
    /// No port is guarded. `seed` must be unpredictable.
    pub fn new(seed: u64, ageing: Duration) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            bound: HashMap::with_hasher(state.clone()),
            first_used: HashMap::with_hasher(state),
            heard: VecDeque::new(),
            ageing,
            now: Instant::ZERO,
        }
    }

    /// A port is guarded from now on.
    pub fn add_port(&mut self, port: PortId) {
        self.first_used.insert(port, VecDeque::new());
    }

    /// A port is gone, and all its addresses are free.
    pub fn remove_port(&mut self, port: PortId) {
        self.first_used.remove(&port);
        let is_on = self.is_on();
        self.bound.retain(|_, binding| binding.port != port && (is_on || binding.hold == Hold::Firm));
        self.heard.retain(|address| self.bound.contains_key(address));
    }

    /// A port is not guarded any more: its addresses by first use are free, and those that are its own stay.
    pub fn release_port(&mut self, port: PortId) {
        self.flush_port(port);
        self.first_used.remove(&port);
        if !self.is_on() {
            self.bound.retain(|_, binding| binding.hold == Hold::Firm);
            self.heard.clear();
        }
    }

    /// Whether a port is guarded.
    pub fn has_port(&self, port: PortId) -> bool {
        self.first_used.contains_key(&port)
    }

    /// An address is not bound to a port any more, if it is.
    pub fn unbind(&mut self, address: Address, port: PortId) {
        if self.bound.get(&address).is_some_and(|binding| binding.port == port) {
            self.free(address);
        }
    }

    /// A port is down: frees its addresses by first use, or heard there.
    pub fn flush_port(&mut self, port: PortId) {
        if !self.is_on() {
            return;
        }
        match self.first_used.get_mut(&port) {
            Some(first_used) => first_used.clear(),
            None => self.heard.retain(|address| self.bound.get(address).is_some_and(|binding| binding.port != port)),
        }
        self.bound.retain(|_, binding| binding.port != port || binding.hold == Hold::Firm);
    }

    /// Whether any port is guarded.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.first_used.is_empty()
    }

    /// The time of the frames that come next.
    #[inline]
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Binds an address to a port for the port's lifetime, whoever has it.
    pub fn bind(&mut self, address: Address, port: PortId) {
        self.free(address);
        self.bound.insert(address, Binding { port, hold: Hold::Firm });
    }

    /// The same, unless it is firmly another's.
    pub fn bind_own(&mut self, address: Address, port: PortId) {
        if !self.bound.get(&address).is_some_and(|binding| binding.hold == Hold::Firm) {
            self.bind(address, port);
        }
    }

    /// The port that has an address firmly or by first use.
    pub fn owner(&self, address: Address) -> Option<PortId> {
        let binding = self.bound.get(&address)?;
        (!matches!(binding.hold, Hold::Heard(_))).then_some(binding.port)
    }

    /// Checks a frame from a port, and notes its claims.
    ///
    /// # Errors
    /// It claims an address of another port, or cannot be checked.
    pub fn check(&mut self, port: PortId, frame: &[u8]) -> Result<(), Refused> {
        let claims = self.judge(port, frame)?;
        let is_guarded = self.first_used.contains_key(&port);
        for address in claims.said() {
            if is_guarded {
                self.use_first(address, port);
            } else {
                self.hear(address, port);
            }
        }
        Ok(())
    }

    /// The claims of a frame from a port, which are not noted yet.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn judge<'a>(&self, port: PortId, frame: &'a [u8]) -> Result<Claims<'a>, Refused> {
        let claims = Claims::of(frame);
        let is_guarded = self.first_used.contains_key(&port);
        if claims.in_fragments {
            return Err(Refused::Fragments);
        }
        for address in claims.said().chain(claims.spoken_of().filter(|_| is_guarded)) {
            if let Some(owner) = self.bars(address, port, is_guarded) {
                return Err(Refused::Claim(Claim { port, owner, address }));
            }
        }
        Ok(claims)
    }

    /// The other port whose address this one may not claim.
    fn bars(&self, address: Address, port: PortId, is_guarded: bool) -> Option<PortId> {
        let binding = self.bound.get(&address).filter(|binding| binding.port != port)?;
        let bars = match binding.hold {
            Hold::Firm => true,
            Hold::FirstUse => is_guarded,
            Hold::Heard(at) => is_guarded && self.is_fresh(at),
        };
        bars.then_some(binding.port)
    }

    fn is_fresh(&self, heard: Instant) -> bool {
        self.now.since(heard) < self.ageing
    }

    /// Binds an address to a guarded port by first use.
    fn use_first(&mut self, address: Address, port: PortId) {
        match self.bound.get(&address) {
            Some(Binding { hold: Hold::Firm | Hold::FirstUse, .. }) => return,
            // It was heard elsewhere, and has aged.
            Some(_) => self.free(address),
            None => {}
        }
        let Some(first_used) = self.first_used.get_mut(&port) else { return };
        if first_used.len() >= MOST
            && let Some(oldest) = first_used.pop_front()
        {
            self.bound.remove(&oldest);
        }
        first_used.push_back(address);
        self.bound.insert(address, Binding { port, hold: Hold::FirstUse });
    }

    /// Notes an address that is heard on an unguarded port, unless another has it firmly.
    fn hear(&mut self, address: Address, port: PortId) {
        let heard = Binding { port, hold: Hold::Heard(self.now) };
        match self.bound.get_mut(&address) {
            Some(Binding { hold: Hold::Firm, .. }) => return,
            Some(binding @ Binding { hold: Hold::Heard(_), .. }) => return *binding = heard,
            // Even without room to note the new holder, the guarded port loses it.
            Some(_) => self.free(address),
            None => {}
        }
        if self.has_room() {
            self.heard.push_back(address);
            self.bound.insert(address, heard);
        }
    }

    /// Whether there is room for another heard address. Checks some known ones for an aged one.
    fn has_room(&mut self) -> bool {
        for _ in 0..SWEEP {
            if self.heard.len() < HEARD_MOST {
                return true;
            }
            let Some(address) = self.heard.pop_front() else { return true };
            match self.bound.get(&address) {
                Some(Binding { hold: Hold::Heard(at), .. }) if self.is_fresh(*at) => self.heard.push_back(address),
                _ => drop(self.bound.remove(&address)),
            }
        }
        self.heard.len() < HEARD_MOST
    }

    /// Frees an address.
    fn free(&mut self, address: Address) {
        match self.bound.remove(&address) {
            Some(Binding { port, hold: Hold::FirstUse }) => {
                if let Some(first_used) = self.first_used.get_mut(&port) {
                    first_used.retain(|known| *known != address);
                }
            }
            Some(Binding { hold: Hold::Heard(_), .. }) => self.heard.retain(|known| *known != address),
            Some(Binding { hold: Hold::Firm, .. }) | None => {}
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
