//! A dry run of a frame on a running switch, for `zbridge trace`: nothing is sent, learned or counted.

use super::ports::Ports;
use super::show;
use crate::error::{Class, Error, Result};
use crate::frame::{Batch, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::switch::{Address, Traced};
use crate::wire::Offload;
use std::collections::HashMap;

/// A port as the words on a dry run need it.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub name: String,
    pub kind: &'static str,
    pub state: &'static str,
    /// Its own addresses, as far as they are configured.
    pub own: Vec<Address>,
    /// What leaves it has other addresses than on the switch.
    pub translates: bool,
}

/// What a dry run has come to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub ingress: PortId,
    /// The frame as it was on the switch, behind the port's translation.
    pub frame: Vec<u8>,
    pub traced: Traced,
    /// The switch is a radio medium.
    pub radio: bool,
    pub views: HashMap<PortId, View>,
}

/// What would become of a frame that comes in by the port of this name, or by the first client of that listener.
pub(super) fn trace(ports: &mut Ports, name: &str, frame: &[u8], offload: Offload) -> Result<Report> {
    let ingress = find(ports, name)?;
    let mut batch = Batch::new(PREFIX + MAX_FRAME);
    if !batch.push(frame, ingress, offload) {
        return Err(Error::usage(format!("a frame of more than {MAX_FRAME} bytes")));
    }
    // What its port learns of addresses stays unlearned.
    if let Some(mut rewriter) = ports.edges.slot(ingress).and_then(|slot| slot.rewriter.clone()) {
        batch.edit_from(0, |frame, offload| rewriter.inbound(frame, offload));
    }
    let now = ports.clock.now();
    let gone = || Error::new(Class::NoObject, format!("{name} is no port of the switch any more"));
    let traced = ports.switch.trace(now, &batch).ok_or_else(gone)?;
    let views = ports.edges.ids().filter_map(|id| Some((id, view(ports, id)?))).collect();
    let frame = batch.frames().first().map(|frame| batch.bytes(frame).to_vec()).unwrap_or_default();
    Ok(Report { ingress, frame, traced, radio: ports.switch.is_radio(), views })
}

fn find(ports: &Ports, name: &str) -> Result<PortId> {
    let named = |wanted: &dyn Fn(&str) -> bool| {
        ports.edges.ids().find(|&id| ports.edges.slot(id).is_some_and(|slot| wanted(&slot.name)))
    };
    let client = format!("{name}#");
    named(&|other| other == name).or_else(|| named(&|other| other.starts_with(&client))).ok_or_else(|| {
        let error = Error::new(Class::NoObject, format!("nobody is connected to {name}, so nothing comes in there"));
        error.hint("zbridge status shows how to attach a peer")
    })
}

fn view(ports: &Ports, id: PortId) -> Option<View> {
    let slot = ports.edges.slot(id)?;
    let spec = slot.origin.spec();
    Some(View {
        name: slot.name.clone(),
        kind: spec.map_or("", |spec| spec.kind.text().row().word),
        state: show::state_word(slot, &ports.switch.state(id)?),
        own: spec.map(|spec| spec.kind.own_addresses()).unwrap_or_default(),
        translates: slot.rewriter.is_some(),
    })
}
