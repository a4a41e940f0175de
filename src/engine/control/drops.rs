//! The answer to `drops`: the ports of all switches with their losses, those that have left included.

use crate::control::{DropsInfo, PortDrops, SwitchDrops};
use crate::engine::command::Handle;
use crate::engine::status::{PortStatus, SwitchStatus};
use crate::service::report::LOST;
use crate::time::Instant;

/// The drops on these switches, as far as they answer.
pub fn of(handles: &[Handle]) -> DropsInfo {
    let switches = handles.iter().filter_map(|handle| handle.status().ok()).map(|status| switch(&status));
    DropsInfo { switches: switches.collect() }
}

fn switch(status: &SwitchStatus) -> SwitchDrops {
    let ports = status.ports.iter().chain(&status.left).map(|it| port(it, status.now)).collect();
    SwitchDrops { name: status.name.clone(), radio: status.radio, ports }
}

fn port(status: &PortStatus, now: Instant) -> PortDrops {
    let lost = status.figures.iter().filter(|figures| figures.of == LOST).flat_map(|figures| &figures.each);
    PortDrops {
        name: status.name.clone(),
        listener: status.listener.clone(),
        kind: status.kind.to_owned(),
        state: status.state.to_owned(),
        service: lost.filter(|(_, frames)| *frames > 0).map(|(word, frames)| ((*word).to_owned(), *frames)).collect(),
        held: status.held[1] as u64,
        ..PortDrops::counted(&status.counters, status.queued, now)
    }
}
