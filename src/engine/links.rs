//! The link state of ports: their interfaces are set down and up, and it is logged.
//!
//! Theory of operation. A port finds out that its interface is down when it sends or reads; an idle one would not. So
//! the kernel's link news are heard while a port has an interface ([`Watch::hear_of_links`]), and a moment later each
//! interface is queried: one that is being deleted is set down first, and the pause tells the two apart. An interface
//! in another network namespace sends no news here; its link state shows at the next frame.
//!
//! When its interface loses link or carrier, a port's stations are forgotten, and services are told that they have
//! left.
//!
//! A TAP or TUN made for a program has a carrier while the program has it open. A client that waits for the port to be
//! up waits for this carrier.
//!
//! A TAP's descriptor tells that the link is up again; a packet socket is polled for it.
//!
//! [`Watch::hear_of_links`]: super::watch::Watch::hear_of_links

use super::ports::Ports;
use super::timers::Due;
use crate::frame::PortId;
use crate::time::Duration;

/// Interval of the checks of a link that is down: a packet socket is not told when its interface is deleted then.
const LINK_CHECK: Duration = Duration::from_millis(250);
/// Pause between the kernel's news and the check of all links.
const SETTLED: Duration = Duration::from_millis(100);

/// Takes the kernel's link news.
pub(super) fn take_news(ports: &mut Ports) {
    ports.watch.take_news();
    ports.timers.set_by(Due::Links, ports.clock.now() + SETTLED);
}

/// Checks the links of all ports.
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

/// Checks the links of all ports before they are shown.
pub(super) fn refresh(ports: &mut Ports) {
    for id in ports.edges.ids() {
        if let Some(edge) = ports.edges.edge_mut(id) {
            // A link that is gone for good tells the loop by itself.
            let _ = edge.check_link();
        }
        tell(ports, id);
    }
}

/// Checks a link that is down again, until it is up or gone.
pub(super) fn look_at(ports: &mut Ports, id: PortId) {
    let Some(edge) = ports.edges.edge_mut(id).filter(|edge| edge.link_is_down()) else { return };
    if let Err(gone) = edge.check_link() {
        ports.edges.fail(id, gone);
    }
    tell(ports, id);
}

/// Logs that a port's link is down or up again, once, and sets the next check of one that is down. The end of its
/// interface is another matter.
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
        // No news tell that an interface in another network namespace is up again.
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
