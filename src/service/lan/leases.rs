//! The table of DHCP leases, by client, and their names.
//!
//! # Theory of operation
//! An address of the pool is fresh, offered, bound or declined, the last three until an instant. Nothing happens when
//! that instant passes: an expired address is kept for its client until the fresh ones are used up and another client
//! needs it; the longest expired goes first. So a client keeps its address as long as there is room, and no timer is
//! needed. Addresses are handed out from the lowest up, which people can predict.
//!
//! A client is its MAC and its identifier ([`Who`]). One without an identifier gets the lease of its MAC, and the first
//! with an identifier takes over the lease of the one without: so boot loader and system of a board have one address,
//! and so has a client that drops its identifier.
//!
//! A [`Fixed`] host always has its address and name, whether it asked for them or not, whatever its identifier, and
//! nobody else has.
//!
//! An address that another host was seen to use by ARP is not handed out for a while, unless it is its client's lease
//! or a fixed host's.
//!
//! Memory is bounded by the pool, whose size the configuration bounds: at most two entries for each address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::name;
use crate::service::change::Holder;
use crate::service::detail::LeaseDetail;
use crate::service::lease::{Lease, Who};
use crate::time::{Duration, Instant};
use crate::wire::Mac;

/// How long an offer stands. A client that takes one answers within a second.
const OFFER: Duration = Duration::from_secs(30);

/// How long a declined address is not handed out.
const DECLINED: Duration = Duration::from_secs(600);

/// How long an address is not handed out that a host was seen to use without a lease.
const HEARD: Duration = Duration::from_secs(60);

/// Hosts that may be pinned: they are looked through for each message.
const PINNED: usize = 1024;

/// A host whose address or name is given: `host=MAC/IP/NAME`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fixed {
    /// Its MAC.
    pub mac: Mac,
    /// Its address, in the pool or not.
    pub addr: Ipv4Addr,
    /// Its name, a label; `None`: its own choice.
    pub name: Option<String>,
}

/// The pool of addresses, and the reserved ones.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pool {
    /// Its first address.
    pub first: Ipv4Addr,
    /// Its last address. The configuration allows 65,536 addresses.
    pub last: Ipv4Addr,
    /// Addresses in it that are taken: the gateway's.
    pub reserved: Vec<Ipv4Addr>,
    /// Hosts with a given address.
    pub fixed: Vec<Fixed>,
    /// Names that no client may have: `gateway`.
    pub reserved_names: Vec<String>,
}

/// Why a host does not always get an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unpinned {
    /// The gateway has it.
    #[error("{0} is the gateway's own")]
    Reserved(Ipv4Addr),
    /// It is pinned, or leased, for another host.
    #[error("{0} is {1}'s")]
    Taken(Ipv4Addr, Mac),
    /// The name is another host's, or the gateway's.
    #[error("the name {0} is another host's")]
    Named(String),
    /// There are enough.
    #[error("{PINNED} hosts are pinned already")]
    Full,
}

/// Why an address is not for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Offered,
    Bound,
    Declined,
}

struct Entry {
    who: Who,
    state: State,
    until: Instant,
    name: Option<String>,
    /// The label that `name` was made of: the client's last own name.
    called: String,
}

/// See the module.
pub struct Leases {
    pool: Pool,
    /// The next address of the pool that was never given out.
    fresh: u32,
    by_addr: BTreeMap<u32, Entry>,
    by_client: BTreeMap<Who, u32>,
    by_name: BTreeMap<String, u32>,
    /// The entries of the pool by their end, to find the longest expired one.
    by_end: BTreeSet<(Instant, u32)>,
    /// The last host seen to use an address of the pool, and when.
    heard: BTreeMap<u32, (Mac, Instant)>,
    /// Number of changes.
    version: u64,
}

impl Leases {
    /// A table without leases.
    pub fn new(pool: Pool) -> Self {
        Self {
            fresh: pool.first.to_bits(),
            pool,
            by_addr: BTreeMap::new(),
            by_client: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_end: BTreeSet::new(),
            heard: BTreeMap::new(),
            version: 0,
        }
    }

    /// An address for `who`, reserved for a moment: its own, `wanted`, or another. `None`: there is none left.
    pub fn offer(&mut self, now: Instant, who: &Who, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let addr = self.choose(now, who, wanted)?;
        let bound = self.by_addr.get(&addr).is_some_and(|entry| entry.state == State::Bound && entry.until > now);
        if !bound {
            self.put(addr, who, State::Offered, now + OFFER);
        }
        Some(Ipv4Addr::from_bits(addr))
    }

    fn choose(&mut self, now: Instant, who: &Who, wanted: Option<Ipv4Addr>) -> Option<u32> {
        if let Some(fixed) = self.fixed(who.mac) {
            let addr = fixed.addr.to_bits();
            return self.is_for(now, who, addr).then_some(addr);
        }
        let held = self.held_by(who);
        let wanted = wanted.map(Ipv4Addr::to_bits);
        let fitting = held.into_iter().chain(wanted).find(|addr| self.is_for(now, who, *addr));
        fitting.or_else(|| self.next_fresh(now, who.mac)).or_else(|| self.longest_over(now, who.mac))
    }

    /// The lowest address of the pool that was never handed out, and is not seen in use.
    fn next_fresh(&mut self, now: Instant, mac: Mac) -> Option<u32> {
        let (mut addr, mut all_held) = (self.fresh, true);
        while addr <= self.pool.last.to_bits() {
            let held = self.by_addr.contains_key(&addr) || self.is_taken(addr);
            if !held && !self.is_used(now, mac, addr) {
                return Some(addr);
            }
            addr = addr.checked_add(1)?;
            all_held &= held;
            if all_held {
                self.fresh = addr;
            }
        }
        None
    }

    fn longest_over(&self, now: Instant, mac: Mac) -> Option<u32> {
        let over = self.by_end.iter().take_while(|(until, _)| *until <= now).map(|(_, addr)| *addr);
        let free = |addr: u32| self.in_pool(addr) && !self.is_taken(addr) && !self.is_used(now, mac, addr);
        over.into_iter().find(|addr| free(*addr))
    }

    /// A host at `mac` was seen to use `addr`.
    pub fn hear(&mut self, now: Instant, mac: Mac, addr: Ipv4Addr) {
        let addr = addr.to_bits();
        if self.in_pool(addr) {
            self.heard.insert(addr, (mac, now));
        }
    }

    /// Whether `addr` needs no probe for `who`: it is its standing lease, or a fixed host's.
    pub fn is_certain(&self, now: Instant, who: &Who, addr: Ipv4Addr) -> bool {
        self.fixed(who.mac).is_some() || self.is_own(now, who, addr.to_bits())
    }

    /// Whether `addr` was offered or given to `who`, and may still be taken.
    pub fn is_kept(&self, now: Instant, who: &Who, addr: Ipv4Addr) -> bool {
        let addr = addr.to_bits();
        self.held_by(who) == Some(addr) && self.by_addr.get(&addr).is_some_and(|entry| entry.until > now)
    }

    /// Whether [`Leases::bind`] would give `addr` to `who`.
    pub fn allows(&self, now: Instant, who: &Who, addr: Ipv4Addr) -> bool {
        self.is_for(now, who, addr.to_bits())
    }

    /// Enters a lease from before a restart, if it fits into this pool and is free.
    pub fn restore(&mut self, now: Instant, lease: &Lease) {
        let called = lease.name.as_deref().map(str::as_bytes);
        // A lease that does not fit any more is dropped; its client will ask anew.
        let _ = self.bind(now, &lease.who, lease.addr, lease.left, called);
    }

    fn is_own(&self, now: Instant, who: &Who, addr: u32) -> bool {
        let stands = |entry: &Entry| entry.state == State::Bound && entry.until > now;
        self.held_by(who) == Some(addr) && self.by_addr.get(&addr).is_some_and(stands)
    }

    /// Whether another host than `mac` was seen to use `addr` lately.
    fn is_used(&self, now: Instant, mac: Mac, addr: u32) -> bool {
        self.heard.get(&addr).is_some_and(|&(other, at)| other != mac && now.since(at) < HEARD)
    }

    /// Gives `addr` to `who` for `span`, under its own name, if that makes a label.
    ///
    /// # Errors
    /// [`Refused`]: another client has it, or it is reserved.
    pub fn bind(
        &mut self,
        now: Instant,
        who: &Who,
        addr: Ipv4Addr,
        span: Duration,
        called: Option<&[u8]>,
    ) -> Result<(), Refused> {
        let addr = addr.to_bits();
        if !self.is_for(now, who, addr) {
            return Err(Refused);
        }
        self.put(addr, who, State::Bound, now + span);
        if let Some(base) = called.and_then(name::label) {
            self.call(now, addr, &base);
        }
        Ok(())
    }

    /// The client gives `addr` back. It stays reserved until another client needs it. Returns whether it was the
    /// client's.
    pub fn release(&mut self, now: Instant, who: &Who, addr: Ipv4Addr) -> bool {
        let addr = addr.to_bits();
        let own = self.held_by(who) == Some(addr);
        if own {
            self.put(addr, who, State::Offered, now);
        }
        own
    }

    /// The client has taken another server's offer.
    pub fn withdraw(&mut self, now: Instant, who: &Who) {
        if let Some(addr) = self.held_by(who)
            && self.by_addr.get(&addr).is_some_and(|entry| entry.state == State::Offered)
        {
            self.put(addr, who, State::Offered, now);
        }
    }

    /// The client found `addr` in use: nobody gets it for a while. Returns whether it was offered or given to this
    /// client; others' addresses it cannot decline.
    pub fn decline(&mut self, now: Instant, who: &Who, addr: Ipv4Addr) -> bool {
        let addr = addr.to_bits();
        let own = self.held_by(who) == Some(addr);
        if own {
            self.put(addr, who, State::Declined, now + DECLINED);
            if let Some(who) = self.by_addr.get(&addr).map(|entry| entry.who.clone()) {
                self.part(&who, addr);
            }
            self.uncall(addr);
        }
        own
    }

    /// A host always has an address from now on. `false`: so it was.
    ///
    /// # Errors
    /// Another host has the address or the name.
    pub fn pin(&mut self, now: Instant, host: Fixed) -> Result<bool, Unpinned> {
        if self.pool.fixed.contains(&host) {
            return Ok(false);
        }
        let others = || self.pool.fixed.iter().filter(|other| other.mac != host.mac);
        if self.pool.reserved.contains(&host.addr) {
            return Err(Unpinned::Reserved(host.addr));
        }
        let standing = |entry: &&Entry| entry.state == State::Bound && entry.until > now && entry.who.mac != host.mac;
        let leased = self.by_addr.get(&host.addr.to_bits()).filter(standing).map(|entry| entry.who.mac);
        if let Some(mac) = others().find(|other| other.addr == host.addr).map(|other| other.mac).or(leased) {
            return Err(Unpinned::Taken(host.addr, mac));
        }
        if let Some(name) = &host.name
            && (self.pool.reserved_names.contains(name) || others().any(|other| other.name.as_ref() == Some(name)))
        {
            return Err(Unpinned::Named(name.clone()));
        }
        if others().count() >= PINNED {
            return Err(Unpinned::Full);
        }
        self.pool.fixed.retain(|other| other.mac != host.mac);
        self.pool.fixed.push(host);
        self.version += 1;
        Ok(true)
    }

    /// Ends the lease of a host, and what it was pinned to. `false`: it has none.
    pub fn drop_of(&mut self, holder: Holder) -> bool {
        let of_mac = |mac: Mac| match holder {
            Holder::Mac(wanted) => mac == wanted,
            Holder::Addr(_) => false,
        };
        let is_it = |mac: Mac, addr: u32| of_mac(mac) || holder == Holder::Addr(Ipv4Addr::from_bits(addr));
        let addrs: Vec<u32> =
            self.by_addr.iter().filter(|(addr, entry)| is_it(entry.who.mac, **addr)).map(|(addr, _)| *addr).collect();
        let pinned = self.pool.fixed.len();
        self.pool.fixed.retain(|host| !is_it(host.mac, host.addr.to_bits()));
        let any = !addrs.is_empty() || self.pool.fixed.len() < pinned;
        addrs.into_iter().for_each(|addr| self.forget(addr));
        self.version += u64::from(any);
        any
    }

    /// The leases that stand, and the hosts that are pinned, by address.
    pub fn details(&self, now: Instant) -> Vec<LeaseDetail> {
        let pinned = |mac: Mac, addr: Ipv4Addr| self.pool.fixed.iter().any(|host| host.mac == mac && host.addr == addr);
        let standing = self.list(now).map(|it| (it.addr, (it.mac, it.name, Some(it.left))));
        let mut all: BTreeMap<Ipv4Addr, _> =
            self.pool.fixed.iter().map(|host| (host.addr, (host.mac, host.name.clone(), None))).collect();
        all.extend(standing);
        let all = all.into_iter();
        all.map(|(addr, (mac, name, left))| LeaseDetail { addr, mac, name, left, pinned: pinned(mac, addr) }).collect()
    }

    /// The MAC address of the host of this name (a label).
    pub fn mac_of(&self, now: Instant, wanted: &str) -> Option<Mac> {
        let fixed = self.pool.fixed.iter().find(|fixed| fixed.name.as_deref() == Some(wanted));
        let addr = || self.by_name(now, wanted).and_then(|addr| self.by_addr.get(&addr.to_bits()));
        fixed.map(|fixed| fixed.mac).or_else(|| addr().map(|entry| entry.who.mac))
    }

    /// The name of the host at `mac`.
    pub fn name_at(&self, now: Instant, mac: Mac) -> Option<&str> {
        let fixed = self.fixed(mac).map(|fixed| fixed.addr.to_bits());
        let addr = fixed.or_else(|| self.held_by(&Who::from(mac)))?;
        self.name_of(now, Ipv4Addr::from_bits(addr))
    }

    /// The address of a host of this name (a label).
    pub fn by_name(&self, now: Instant, wanted: &str) -> Option<Ipv4Addr> {
        let fixed = self.pool.fixed.iter().find(|fixed| fixed.name.as_deref() == Some(wanted));
        if let Some(fixed) = fixed {
            return Some(fixed.addr);
        }
        let addr = self.by_name.get(wanted)?;
        let bound = self.by_addr.get(addr).is_some_and(|entry| entry.state == State::Bound && entry.until > now);
        bound.then(|| Ipv4Addr::from_bits(*addr))
    }

    /// The name of the host at `addr`.
    pub fn name_of(&self, now: Instant, addr: Ipv4Addr) -> Option<&str> {
        if let Some(name) = self.pool.fixed.iter().find(|fixed| fixed.addr == addr).and_then(|it| it.name.as_deref()) {
            return Some(name);
        }
        let entry = self.by_addr.get(&addr.to_bits())?;
        (entry.state == State::Bound && entry.until > now).then_some(entry.name.as_deref()?)
    }

    /// The leases that stand, by address.
    pub fn list(&self, now: Instant) -> impl Iterator<Item = Lease> {
        let standing = move |entry: &Entry| entry.state == State::Bound && entry.until > now;
        self.by_addr.iter().filter(move |(_, entry)| standing(entry)).map(move |(addr, entry)| {
            let addr = Ipv4Addr::from_bits(*addr);
            let name = self.name_of(now, addr).map(str::to_owned);
            Lease { mac: entry.who.mac, who: entry.who.clone(), addr, name, left: entry.until.since(now) }
        })
    }

    /// A number that is another one when something has changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Entries held, standing or expired.
    pub fn held(&self) -> usize {
        self.by_addr.len()
    }

    fn fixed(&self, mac: Mac) -> Option<&Fixed> {
        self.pool.fixed.iter().find(|fixed| fixed.mac == mac)
    }

    fn in_pool(&self, addr: u32) -> bool {
        (self.pool.first.to_bits()..=self.pool.last.to_bits()).contains(&addr)
    }

    /// Whether it is reserved: the gateway's, or a fixed host's.
    fn is_taken(&self, addr: u32) -> bool {
        let addr = Ipv4Addr::from_bits(addr);
        self.pool.reserved.contains(&addr) || self.pool.fixed.iter().any(|fixed| fixed.addr == addr)
    }

    /// Whether `who` may have `addr` now.
    fn is_for(&self, now: Instant, who: &Who, addr: u32) -> bool {
        let allowed = match self.fixed(who.mac) {
            Some(fixed) => fixed.addr.to_bits() == addr,
            None => {
                let used = self.is_used(now, who.mac, addr) && !self.is_own(now, who, addr);
                self.in_pool(addr) && !self.is_taken(addr) && !used
            }
        };
        let free = self.by_addr.get(&addr).is_none_or(|entry| {
            entry.until <= now || self.held_by(who) == Some(addr) && entry.state != State::Declined
        });
        allowed && free
    }

    /// The address of a client's entry, standing or expired.
    fn held_by(&self, who: &Who) -> Option<u32> {
        let of_mac = || self.by_client.range(Who::from(who.mac)..).take_while(|(held, _)| held.mac == who.mac);
        if who.id.is_none() || self.fixed(who.mac).is_some() {
            let latest = of_mac().max_by_key(|(_, addr)| self.by_addr.get(addr).map(|entry| entry.until));
            return latest.map(|(_, addr)| *addr);
        }
        let own = self.by_client.get(who).or_else(|| self.by_client.get(&Who::from(who.mac)));
        own.copied()
    }

    /// Enters `addr` as the only address of `who`.
    fn put(&mut self, addr: u32, who: &Who, state: State, until: Instant) {
        self.version += 1;
        let held = self.held_by(who);
        if let Some(other) = held
            && other != addr
        {
            self.forget(other);
        }
        let (mut who, mut name, mut called) = (who.clone(), None, String::new());
        if let Some(old) = self.by_addr.remove(&addr) {
            self.by_end.remove(&(old.until, addr));
            self.part(&old.who, addr);
            if held == Some(addr) || old.who == who {
                (name, called) = (old.name, old.called);
                who.id = who.id.or(old.who.id);
            } else if let Some(name) = old.name {
                // the address was another client's, which loses it and its name
                self.by_name.remove(&name);
            }
        }
        self.by_client.insert(who.clone(), addr);
        self.by_end.insert((until, addr));
        self.by_addr.insert(addr, Entry { who, state, until, name, called });
    }

    fn forget(&mut self, addr: u32) {
        self.uncall(addr);
        if let Some(old) = self.by_addr.remove(&addr) {
            self.by_end.remove(&(old.until, addr));
            self.part(&old.who, addr);
            self.fresh = self.fresh.min(addr.max(self.pool.first.to_bits()));
        }
    }

    /// Removes `addr` from `who`, which may have another by now.
    fn part(&mut self, who: &Who, addr: u32) {
        if self.by_client.get(who) == Some(&addr) {
            self.by_client.remove(who);
        }
    }

    /// Gives the host at `addr` the name `base`, or `base` with a number.
    fn call(&mut self, now: Instant, addr: u32, base: &str) {
        let stays = |entry: &Entry| entry.name.is_some() && entry.called == base;
        if self.by_addr.get(&addr).is_some_and(stays) {
            return;
        }
        self.uncall(addr);
        self.version += 1;
        let free = |name: &str| {
            let given = self.pool.reserved_names.iter().any(|reserved| reserved == name)
                || self.pool.fixed.iter().any(|fixed| fixed.name.as_deref() == Some(name));
            let held = self.by_name.get(name).and_then(|other| self.by_addr.get(other));
            !given && held.is_none_or(|entry| entry.until <= now)
        };
        let Some(name) = name::unique(base, free) else { return };
        if let Some(other) = self.by_name.insert(name.clone(), addr)
            && let Some(entry) = self.by_addr.get_mut(&other)
        {
            entry.name = None;
        }
        if let Some(entry) = self.by_addr.get_mut(&addr) {
            entry.name = Some(name);
            entry.called = base.to_owned();
        }
    }

    fn uncall(&mut self, addr: u32) {
        if let Some(name) = self.by_addr.get_mut(&addr).and_then(|entry| entry.name.take()) {
            self.by_name.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests;
