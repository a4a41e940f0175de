//! The source guard: an address is the port's that had it first, and what claims it elsewhere goes no further.
//!
//! # Theory of operation
//! What a frame claims, `guard/claims.rs` says: its source MAC, and what ARP and neighbour discovery say in it. How firmly a
//! port has what it claims:
//!
//! | an address is          | because                                            | until                       |
//! |------------------------|----------------------------------------------------|-----------------------------|
//! | *firmly* a port's      | it is configured (`static=`, `addr=`, `ip=`), a service's own, or leased by DHCP | the port is gone |
//! | a guarded port's by *first use* | it claimed it while nobody had it         | the port is down, or has claimed many others since |
//! | *heard* on an unguarded port    | it claimed it last                        | the port is down, or the time of ageing is over |
//!
//! What a claim does, where another port has the address:
//!
//! | the other port has it | claim of a guarded port | claim of an unguarded port             |
//! |-----------------------|-------------------------|----------------------------------------|
//! | firmly                | the frame is dropped    | the frame is dropped                   |
//! | by first use          | the frame is dropped    | passes, and the address is its from now on |
//! | heard                 | the frame is dropped    | passes, and the address is its from now on |
//!
//! So a guarded port never takes what another has. An unguarded port is trusted, as one towards a network is: what it sends
//! is never lost because a guarded one spoke first. If the network behind it sends back what it gets, that takes addresses
//! of guarded ports, unless they are leased or `static`.
//!
//! From a guarded port the source of an IP packet must not be another's either, nor the target of a redirect. From any other
//! it may, as there may be a router behind it, whose packets come from everywhere.
//!
//! A message of neighbour discovery in fragments is dropped, as what it claims is not seen: nobody may accept one (RFC 6980).
//!
//! What a port has by first use is bounded: a new address takes the place of the port's own oldest. What is heard is bounded
//! too: nothing that is known makes place for something new. While no port is guarded nothing is looked at.

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
/// Of these, how many are looked at for one that is too old when there is no room.
const SWEEP: usize = 32;

/// What a frame may claim to be.
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

/// Why a frame goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It claims what another port has.
    Claim(Claim),
    /// It is neighbour discovery in fragments.
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
    /// What each guarded port has by first use, the oldest first.
    first_used: HashMap<PortId, VecDeque<Address>, FixedState>,
    /// What is bound because it was heard, each address once.
    heard: VecDeque<Address>,
    /// Time after which what was heard no longer counts.
    ageing: Duration,
    now: Instant,
}

impl Guard {
    /// No port is guarded. `seed` is a number that nobody can guess.
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

    /// A port is down: what it had by first use, or was heard there, is free.
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

    /// Binds an address to a port for as long as that is there, whoever has it.
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

    /// Looks at a frame that has come from a port, and notes what it claims.
    ///
    /// # Errors
    /// It claims what another port has, or cannot be looked at.
    pub fn check(&mut self, port: PortId, frame: &[u8]) -> Result<(), Refused> {
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
        for address in claims.said() {
            if is_guarded {
                self.use_first(address, port);
            } else {
                self.hear(address, port);
            }
        }
        Ok(())
    }

    /// The other port that has an address, so that this one may not claim it.
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

    /// A guarded port claims what no other has.
    fn use_first(&mut self, address: Address, port: PortId) {
        match self.bound.get(&address) {
            Some(Binding { hold: Hold::Firm | Hold::FirstUse, .. }) => return,
            // It was heard elsewhere too long ago.
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

    /// An unguarded port claims what no other has firmly.
    fn hear(&mut self, address: Address, port: PortId) {
        let heard = Binding { port, hold: Hold::Heard(self.now) };
        match self.bound.get_mut(&address) {
            Some(Binding { hold: Hold::Firm, .. }) => return,
            Some(binding @ Binding { hold: Hold::Heard(_), .. }) => return *binding = heard,
            // Also where there is no room to note whose it is now, it is the guarded port's no longer.
            Some(_) => self.free(address),
            None => {}
        }
        if self.has_room() {
            self.heard.push_back(address);
            self.bound.insert(address, heard);
        }
    }

    /// Whether another address can be noted that is heard. Some that are known are looked at for one that is too old.
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

    /// Nobody has an address any more.
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
