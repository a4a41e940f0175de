//! The links behind ports: interfaces that are set down and up, and what is said of it.
//!
//! Theory of operation. A port finds out that its interface is down when it sends or reads; an idle one would not. So the
//! kernel's news of interfaces are listened to while there is a port that has one ([`Watch::hear_of_links`]), and a moment later
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
//!
//! [`Watch::hear_of_links`]: super::watch::Watch::hear_of_links

use super::ports::Ports;
use super::timers::Due;
use crate::frame::PortId;
use crate::time::Duration;

/// How often a link that is down is looked at: a packet socket is not told when its interface is deleted then.
const LINK_CHECK: Duration = Duration::from_millis(250);
/// How long after the kernel's news the links are looked at.
const SETTLED: Duration = Duration::from_millis(100);

/// There are news.
pub(super) fn take_news(ports: &mut Ports) {
    ports.watch.take_news();
    ports.timers.set_by(Due::Links, ports.clock.now() + SETTLED);
}

/// Asks all ports for their links.
pub(super) fn look_at_all(ports: &mut Ports) {
    for id in ports.edges.ids() {
        let Some(edge) = ports.edges.edge_mut(id) else { continue };
        let changed = edge.carrier_has_changed();
        let checked = edge.check_link();
        if changed {
            ports.empty(id);
        }
        if let Err(gone) = checked {
            ports.edges.fail(id, gone);
        }
        tell(ports, id);
    }
}

/// Asks all ports for their links, to show them as they are.
pub(super) fn refresh(ports: &mut Ports) {
    for id in ports.edges.ids() {
        if let Some(edge) = ports.edges.edge_mut(id) {
            // A link that is gone for good tells the loop by itself.
            let _ = edge.check_link();
        }
        tell(ports, id);
    }
}

/// A port's link is down, as far as it knows: asks again, until it is up or gone.
pub(super) fn look_at(ports: &mut Ports, id: PortId) {
    let Some(edge) = ports.edges.edge_mut(id).filter(|edge| edge.link_is_down()) else { return };
    if let Err(gone) = edge.check_link() {
        ports.edges.fail(id, gone);
    }
    tell(ports, id);
}

/// Says that a port's link is down, or up again, if that was not said, and has one that is down looked at again. The end
/// of its interface is another matter.
pub(super) fn tell(ports: &mut Ports, id: PortId) {
    let Some(there) = ports.edges.there_mut(id) else { return };
    let told = there.link_down;
    let Some(edge) = there.seat.edge_mut() else { return };
    if edge.link_is_down() != told
        && let Err(gone) = edge.check_link()
    {
        return ports.edges.fail(id, gone);
    }
    let (down, unopened) = (edge.link_is_down(), edge.is_unopened());
    let (comes_and_goes, of_program) = (edge.awaits_interfaces(), edge.is_of_program());
    there.link_down = down;
    if down {
        // That it is up again nothing tells of an interface in another network namespace.
        ports.timers.set_by(Due::Link(id), ports.clock.now() + LINK_CHECK);
    }
    if down && !told {
        ports.empty(id);
    }
    let name = ports.edges.name(id);
    match (told, down) {
        (false, true) if comes_and_goes => log::debug!("{name}: its program has closed its interface"),
        (false, true) if unopened => log::info!("{name}: no program has its interface open any more"),
        (false, true) => log::warn!("{name}: its interface is down; frames for it are dropped until it is up again"),
        (true, false) if comes_and_goes => log::debug!("{name}: its program has its interface again"),
        (true, false) if of_program => log::info!("{name}: a program has its interface open"),
        (true, false) => log::info!("{name}: its interface is up again"),
        (false, false) | (true, true) => {}
    }
}
