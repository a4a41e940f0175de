//! Checks of the bridges that run: their switches and ports, addresses that two stations have, QEMUs that dial once.

use super::facts::{arguments, pid_in, target};
use super::{Facts, Findings};

/// Switches that ended, ports that pass no frames.
pub fn switches(facts: &Facts, found: &mut Findings) {
    for bench in &facts.bridges {
        let bridge = &bench.status.name;
        for switch in &bench.status.switches {
            if let Some(trouble) = &switch.trouble {
                let about = format!("switch {} of {bridge}", switch.name);
                let mend = "end the bridge and start it again; its log says more (-v)";
                found.bad(about, format!("it {}: {}", trouble.state, trouble.reason), mend);
            }
            for port in &switch.ports {
                let about = format!("port {} of {bridge}", port.name);
                match port.state.as_str() {
                    "stalled" => found.bad(
                        about,
                        format!("its peer, {}, does not read: its frames are dropped", port.peer),
                        match pid_in(&port.peer) {
                            Some(pid) => format!("kill -CONT {pid} (or zbridge port del {} --to {bridge})", port.name),
                            None => format!("zbridge port del {} --to {bridge}", port.name),
                        },
                    ),
                    "waiting" => {
                        let mend = format!(
                            "see to it; the port opens by itself: zbridge wait port={} --to {bridge}",
                            port.name
                        );
                        found.note(about, format!("it waits: {}", port.peer), mend);
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Addresses that two stations have.
pub fn doubles(facts: &Facts, found: &mut Findings) {
    for bench in &facts.bridges {
        for known in &bench.stations.addresses {
            if let Some(other) = &known.other {
                let what = format!("both {} (on {}) and {other} say that they have it", known.mac, known.port);
                let mend = format!("rewrite=[mac, ip={}:NEW] on one of the ports (zbridge help copies)", known.addr);
                found.bad(known.addr.to_string(), what, mend);
            }
        }
        let flapping = bench.stations.flapping.iter();
        for (switch, mac) in flapping.flat_map(|(switch, macs)| macs.iter().map(move |mac| (switch, mac))) {
            let ports = bench.stations.flap_ports(switch, mac);
            let ports = if ports.is_empty() { "two ports".to_owned() } else { format!("the ports {ports}") };
            let what =
                format!("it is heard on {ports} of {} by turns: frames for it reach one of them", bench.status.name);
            found.bad(mac.as_str(), what, "rewrite=mac on these ports, or native_sim --seed=N (zbridge help copies)");
        }
    }
}

/// QEMUs that are clients of a port and will not come back after the bridge was restarted.
pub fn redial(facts: &Facts, found: &mut Findings) {
    for (bench, switch, port) in facts.ports() {
        let Some(listener) = &port.listener else { continue };
        let listener = facts
            .ports()
            .find(|(of, on, it)| of.status.name == bench.status.name && *on == switch && it.name == *listener);
        let path = listener.map_or("", |(_, _, listener)| target(listener));
        let Some(pid) = pid_in(&port.peer).filter(|_| port.peer.contains("(qemu") && !path.is_empty()) else {
            continue;
        };
        let words = arguments(&facts.root, pid);
        if let Some(word) = words.iter().find(|word| word.contains(path) && !word.contains("reconnect")) {
            let option = word.split(',').next().unwrap_or_default();
            found.note(
                format!("port {} of {}", port.name, bench.status.name),
                format!("{} dials once: when the bridge is started anew, this guest stays silent", port.peer),
                match option {
                    "socket" => "-netdev stream instead of socket, with reconnect=1 (QEMU 8.0; 9.2: reconnect-ms=1000)"
                        .to_owned(),
                    _ => format!("reconnect=1 behind {option} of its options (QEMU 8.0; 9.2: reconnect-ms=1000)"),
                },
            );
        }
    }
}
