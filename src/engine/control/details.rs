//! The details of services, for clients: flows one by one, USB devices with their importers.
//!
//! Theory of operation. The switches tell which of their ports have a service; the services are then asked past the
//! switches, on a thread of their own (`aside.rs`), as a gateway with thousands of flows answers in many pages.

use super::answer::{Answerer, Outcome, Told, as_value};
use crate::control::{DeviceInfo, FlowInfo, FlowsInfo, ImporterInfo, UrbInfo, UsbInfo};
use crate::engine::command::Handle;
use crate::error::{Class, Error, Result};
use crate::service::{Details, DeviceDetail, FlowDetail};
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;

/// Most flows of an answer: those that one gateway can have, and more.
const FLOWS: usize = 16_384;

/// The names that a switch's leases give addresses.
pub(super) type Names = HashMap<IpAddr, String>;

/// The details of a port, and the names of its switch.
pub(super) struct Found<'a> {
    pub switch: &'a str,
    pub port: String,
    pub names: &'a Names,
    pub details: Details,
}

impl Answerer {
    /// What `ask` learns from the services of the switches that run.
    pub(super) fn details<T: Serialize + 'static>(&self, ask: fn(&[Handle]) -> Result<T>) -> Outcome {
        let handles: Vec<Handle> = self.handles.iter().filter(|handle| !handle.has_ended()).cloned().collect();
        Outcome::Aside(Box::new(move || Told::Asked(ask(&handles).and_then(|told| as_value(&told)))))
    }
}

/// The flows of all services, sorted by port, guest and protocol.
///
/// # Errors
/// A switch or a service does not answer.
pub fn flows(handles: &[Handle]) -> Result<FlowsInfo> {
    let mut flows = Vec::new();
    ask(handles, |told| {
        let rows = told.details.flows.iter();
        flows.extend(rows.map(|flow| ((flow.guest, flow.protocol, flow.remote), flow_info(&told, flow))));
    })?;
    flows.sort_by(|(a, one), (b, other)| {
        let place = |flow: &FlowInfo| (flow.switch.clone(), flow.port.clone());
        place(one).cmp(&place(other)).then_with(|| a.cmp(b))
    });
    let left_out = flows.len().saturating_sub(FLOWS) as u64;
    Ok(FlowsInfo { flows: flows.into_iter().map(|(_, flow)| flow).take(FLOWS).collect(), left_out })
}

/// The USB devices of all services, port by port.
///
/// # Errors
/// As [`flows`].
pub fn usb(handles: &[Handle]) -> Result<UsbInfo> {
    let mut devices = Vec::new();
    ask(handles, |told| devices.extend(told.details.devices.iter().map(|device| device_info(&told, device))))?;
    Ok(UsbInfo { devices })
}

/// Asks every service of these switches.
pub(super) fn ask(handles: &[Handle], mut tell: impl FnMut(Found<'_>)) -> Result<()> {
    for handle in handles {
        let services = handle.services()?;
        if services.is_empty() {
            continue;
        }
        let ports = handle.status()?.ports;
        let leases = ports.iter().flat_map(|port| port.leases.iter());
        let named = leases.filter_map(|lease| Some((IpAddr::V4(lease.addr), lease.name.clone()?)));
        let names: Names = named.collect();
        for (port, inquirer) in services {
            let unanswered = |why| Error::new(Class::Runtime, format!("{port}: {why}")).because(why);
            let details = inquirer.details().map_err(unanswered)?;
            tell(Found { switch: handle.name(), port, names: &names, details });
        }
    }
    Ok(())
}

fn flow_info(told: &Found<'_>, flow: &FlowDetail) -> FlowInfo {
    FlowInfo {
        switch: told.switch.to_owned(),
        port: told.port.clone(),
        protocol: flow.protocol.to_owned(),
        direction: if flow.inward { "in" } else { "out" }.to_owned(),
        guest: flow.guest,
        name: told.names.get(&flow.guest.ip()).cloned(),
        mac: flow.mac.map(|mac| mac.to_string()),
        remote: flow.remote,
        others: flow.others as u64,
        state: flow.state.to_owned(),
        up: flow.up,
        down: flow.down,
        round_trip_us: flow.round_trip.map(|time| time.as_micros().try_into().unwrap_or(u64::MAX)),
        resent: flow.resent,
        age: flow.age.as_secs(),
        idle: flow.idle.as_secs(),
    }
}

fn device_info(told: &Found<'_>, device: &DeviceDetail) -> DeviceInfo {
    DeviceInfo {
        switch: told.switch.to_owned(),
        port: told.port.clone(),
        busid: device.busid.clone(),
        id: device.id.map(|(vendor, product)| format!("{vendor:04x}:{product:04x}")),
        name: device.name.clone(),
        speed: device.speed.to_owned(),
        import: device.import.clone(),
        state: device.state.to_owned(),
        why: device.why.clone(),
        importer: device.importer.map(|importer| ImporterInfo { peer: importer.peer, age: importer.age.as_secs() }),
        urbs: device.urbs.map(|urbs| UrbInfo {
            done: urbs.done,
            errors: urbs.errors,
            unlinked: urbs.unlinked,
            in_flight: urbs.in_flight as u64,
        }),
    }
}
