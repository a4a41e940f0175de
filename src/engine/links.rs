//! The links behind ports: interfaces that are set down and up, and what is said of it.
//!
//! Theory of operation. A port finds out that its interface is down when it sends or reads; an idle one would not. So the
//! kernel's news of interfaces are listened to while there is a port that has one ([`LinkNews`]), and a moment later
//! each is asked: one that is being deleted is set down first, and that moment tells the two apart. An interface in
//! another network namespace has no news here; of such a one the next frame tells.
//!
//! With the link or the carrier of its interface a port loses the stations behind it, and services hear that they have
//! left.
//!
//! A TAP or TUN that is there for a program is up while the program has it open: it has a carrier then. For who waits
//! for the port to be up this is what counts.
//!
//! That a link is up again a TAP tells by its descriptor; a packet socket is asked from time to time.

use super::ports::Due;
use super::{Engine, LINK_NEWS};
use crate::error::Error;
use crate::frame::PortId;
use crate::port::link_news::LinkNews;
use crate::time::{Duration, Instant};
use crate::wire::Rewriter;
use mio::Interest;
use std::os::fd::AsRawFd;

/// How often a link that is down is looked at: a packet socket is not told when its interface is deleted then.
pub(super) const LINK_CHECK: Duration = Duration::from_millis(250);
/// How long after the kernel's news the links are looked at.
const SETTLED: Duration = Duration::from_millis(100);

impl Engine {
    /// Listens to the kernel's news of interfaces from now on.
    pub(super) fn hear_of_links(&mut self) {
        if self.link_news.is_some() {
            return;
        }
        let opened = LinkNews::open().map_err(|error| Error::system("news of interfaces", &error));
        let watched =
            opened.and_then(|news| self.register(news.as_raw_fd(), LINK_NEWS, Interest::READABLE).map(|()| news));
        match watched {
            Ok(news) => self.link_news = Some(news),
            Err(error) => log::debug!("switch {}: {error}", self.name),
        }
    }

    /// There are news.
    pub(super) fn take_link_news(&mut self) {
        self.link_news.iter().for_each(LinkNews::take);
        if !self.timers.iter().any(|&(_, what)| what == Due::Links) {
            self.timers.insert((self.clock.now() + SETTLED, Due::Links));
        }
    }

    /// Asks all ports for their links.
    pub(super) fn look_at_links(&mut self) {
        for index in 0..self.ports.len() {
            let id = PortId(index as u16);
            let edge = self.slot_mut(id).and_then(|slot| slot.seat.edge_mut());
            let Some(edge) = edge else { continue };
            if edge.carrier_has_changed() {
                self.empty(id);
            }
            if let Some(Err(gone)) = self.slot_mut(id).and_then(|slot| Some(slot.seat.edge_mut()?.check_link())) {
                self.fail(id, gone);
            }
            self.tell_link(id);
        }
    }

    /// A port's link is down, as far as it knows: asks again, until it is up or gone.
    pub(super) fn look_at_link(&mut self, id: PortId, now: Instant) {
        let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let Some(edge) = slot.seat.edge_mut().filter(|edge| edge.link_is_down()) else { return };
        match edge.check_link() {
            Ok(()) if edge.link_is_down() => {
                self.timers.retain(|&(_, what)| what != Due::Link(id));
                self.timers.insert((now + LINK_CHECK, Due::Link(id)));
            }
            Ok(()) => {}
            Err(gone) => self.fail(id, gone),
        }
        self.tell_link(id);
    }

    /// Whoever was behind a port has left it, as far as one can know: those who come may be others.
    fn empty(&mut self, id: PortId) {
        self.switch.flush_port(self.clock.now(), id);
        self.tell_departure(id);
        self.slot_mut(id).and_then(|slot| slot.rewriter.as_mut()).into_iter().for_each(Rewriter::forget);
    }

    /// Says that a port's link is down, or up again, if that was not said. The end of its interface is another matter.
    pub(super) fn tell_link(&mut self, id: PortId) {
        let Some(slot) = self.ports.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let Some(edge) = slot.seat.edge_mut().filter(|edge| edge.link_is_down() != slot.link_down) else { return };
        if let Err(gone) = edge.check_link() {
            return self.fail(id, gone);
        }
        let (down, unopened) = (edge.link_is_down(), edge.is_unopened());
        let (comes_and_goes, of_program) = (edge.awaits_interfaces(), edge.is_of_program());
        if down && !slot.link_down {
            self.empty(id);
        }
        let Some(slot) = self.slot_mut(id) else { return };
        match (std::mem::replace(&mut slot.link_down, down), down) {
            (false, true) => {
                if comes_and_goes {
                    log::debug!("{}: its program has closed its interface", slot.name);
                } else if unopened {
                    log::info!("{}: no program has its interface open any more", slot.name);
                } else {
                    log::warn!("{}: its interface is down; frames for it are dropped until it is up again", slot.name);
                }
            }
            (true, false) if comes_and_goes => log::debug!("{}: its program has its interface again", slot.name),
            (true, false) if of_program => log::info!("{}: a program has its interface open", slot.name),
            (true, false) => log::info!("{}: its interface is up again", slot.name),
            _ => {}
        }
    }
}
