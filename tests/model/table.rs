//! The reference's forwarding database: a map from address to port and time.
//!
//! Its rules are exact but for one thing. An entry that has aged or was flushed no longer counts, yet the switch may
//! keep its slot until something needs it, so whether a new station finds room at once is the switch's affair. There
//! the reference asks what the switch did and checks that it was allowed to.

use std::collections::HashMap;
use zbridge::switch::SwitchConfig;
use zbridge::time::{Duration, Instant};

#[derive(Clone, Copy)]
struct Known {
    port: u16,
    /// Tick of the last frame from it; `None` for a static entry.
    seen: Option<u64>,
}

/// Where the switch has an address after a frame, asked only when there is a choice.
pub type Oracle<'a> = &'a dyn Fn(u64) -> Option<u16>;

/// What a frame's source address did to the table.
pub enum Learned {
    Known,
    New,
    Moved { from: u16 },
    Refused,
}

pub struct Table {
    known: HashMap<u64, Known>,
    /// What was known once, on which port, and may still take up room.
    past: HashMap<u64, u16>,
    limit: usize,
    port_limit: usize,
    ageing_ticks: u64,
}

fn tick(now: Instant) -> u64 {
    now.as_nanos() / (1 << 26)
}

pub fn is_group(mac: u64) -> bool {
    mac & 0x0100_0000_0000 != 0
}

impl Table {
    pub fn new(config: &SwitchConfig) -> Self {
        Self {
            known: HashMap::new(),
            past: HashMap::new(),
            limit: config.fdb_limit,
            port_limit: config.fdb_port_limit.unwrap_or(config.fdb_limit / 4).max(1),
            ageing_ticks: config.ageing.as_nanos().div_ceil(1 << 26) as u64,
        }
    }

    pub fn port_of(&self, mac: u64) -> Option<u16> {
        self.known.get(&mac).map(|known| known.port)
    }

    /// Address, port, and age unless it is static.
    pub fn entries(&self, now: Instant) -> Vec<(u64, u16, Option<Duration>)> {
        let age = |seen| Duration::from_nanos((tick(now) - seen) << 26);
        let mut all: Vec<_> = self.known.iter().map(|(&mac, at)| (mac, at.port, at.seen.map(age))).collect();
        all.sort_unstable();
        all
    }

    /// Whether every frame has one outcome only: nothing of the past takes up room.
    pub fn is_exact(&self) -> bool {
        self.past.is_empty()
    }

    /// Forgets what has aged.
    pub fn age(&mut self, now: Instant) {
        let ticks = self.ageing_ticks;
        self.forget_where(|known| known.seen.is_some_and(|seen| tick(now) - seen >= ticks));
    }

    pub fn forget_port(&mut self, port: u16, static_too: bool) {
        self.forget_where(|known| known.port == port && (static_too || known.seen.is_some()));
    }

    fn forget_where(&mut self, goes: impl Fn(&Known) -> bool) {
        let past = &mut self.past;
        self.known.retain(|&mac, known| {
            let goes = goes(known);
            if goes {
                past.insert(mac, known.port);
            }
            !goes
        });
    }

    /// True or false where there is no doubt.
    pub fn forget(&mut self, mac: u64) -> Option<bool> {
        let past = self.past.remove(&mac).is_some();
        let known = self.known.remove(&mac).is_some();
        (known || !past).then_some(known)
    }

    pub fn add_static(&mut self, mac: u64, port: u16) -> bool {
        let fits = self.known.contains_key(&mac) || self.known.len() < self.limit;
        let fine = mac != 0 && !is_group(mac) && fits;
        if fine {
            self.past.remove(&mac);
            self.known.insert(mac, Known { port, seen: None });
        }
        fine
    }

    fn learned_on(&self, port: u16) -> usize {
        self.known.values().filter(|known| known.port == port && known.seen.is_some()).count()
    }

    /// Whether `mac` has to be known on `port` once it was heard there and the past has been cleared away.
    pub fn has_room_for(&self, mac: u64, port: u16) -> bool {
        match self.known.get(&mac) {
            Some(known) => known.port == port || known.seen.is_some() && self.learned_on(port) < self.port_limit,
            None => self.learned_on(port) < self.port_limit && self.known.len() < self.limit,
        }
    }

    /// `mac` was heard on `port`.
    pub fn learn(&mut self, now: Instant, mac: u64, port: u16, oracle: Option<Oracle<'_>>) -> Result<Learned, String> {
        let known = self.known.get(&mac).copied();
        if known.is_some_and(|known| known.seen.is_none()) {
            return Ok(Learned::Known);
        }
        let was_past = self.past.remove(&mac).is_some();
        let stays = known.is_some_and(|known| known.port == port);
        if !stays && !self.accepts(mac, port, was_past, oracle)? {
            self.known.remove(&mac);
            return Ok(Learned::Refused);
        }
        self.known.insert(mac, Known { port, seen: Some(tick(now)) });
        Ok(match known {
            None => Learned::New,
            Some(_) if stays => Learned::Known,
            Some(Known { port: from, .. }) => Learned::Moved { from },
        })
    }

    /// Whether an address that is new to `port` is learned. There must be room for it; if there is, it may still be
    /// taken up by the past.
    fn accepts(&self, mac: u64, port: u16, was_past: bool, oracle: Option<Oracle<'_>>) -> Result<bool, String> {
        let room = self.has_room_for(mac, port);
        let Some(oracle) = oracle else { return Ok(room) };
        match (room, oracle(mac)) {
            (_, Some(at)) if at != port => Err(format!("{mac:012x} was heard on {port} and is still at {at}")),
            (false, Some(_)) => Err(format!("{mac:012x} was learned over a limit")),
            (true, None) => {
                let aged = self.past.values().filter(|&&at| at == port).count() + usize::from(was_past);
                let share = self.learned_on(port) + aged >= self.port_limit;
                let table = self.known.len() + self.past.len() + usize::from(was_past) >= self.limit;
                if share || table { Ok(false) } else { Err(format!("{mac:012x} was refused with room to spare")) }
            }
            (room, _) => Ok(room),
        }
    }
}
