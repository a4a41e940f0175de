//! The stations of a running bridge as `stations` shows them: each with its MAC address, the IP addresses that it says it
//! has, its name where a gateway has leased it one of them, its port, and when it was heard last.
//!
//! What is put together here comes from three answers of the bridge: its forwarding databases, what stations have told of
//! themselves, and the leases of its ports. An address that two stations have is marked.

use super::args::Look;
use super::ask::{connect, lines};
use super::follow::Followed;
use super::layout::{Column, Head, Table};
use super::print;
use super::style::width_of;
use super::units::ago;
use crate::config::DEFAULT_SWITCH;
use crate::control::{FdbInfo, StationsInfo, StatusInfo};
use crate::engine::control::Client;
use crate::error::Result;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A station.
#[derive(Serialize, PartialEq, Eq, Debug)]
pub struct Station {
    /// Its switch.
    pub switch: String,
    /// Its MAC address.
    pub mac: String,
    /// The port that it is behind.
    pub port: String,
    /// Seconds since it was heard last; `null` if its place is static.
    pub age: Option<u64>,
    /// Its IP addresses.
    pub addresses: Vec<Address>,
    /// Two stations have its MAC address: it is heard on two ports by turns.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub flapping: bool,
    /// Those ports.
    #[serde(skip)]
    pub flap_ports: String,
}

/// An IP address of a station.
#[derive(Serialize, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub addr: String,
    /// What it was leased as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Two stations have it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// Puts the answers together: a station for each MAC address that was learned, or has said it has an address.
pub fn stations(fdb: Vec<FdbInfo>, told: &StationsInfo, status: &StatusInfo) -> Vec<Station> {
    let leases = status.switches.iter().flat_map(|switch| {
        let of_ports = switch.ports.iter().flat_map(|port| &port.leases);
        of_ports.filter_map(|lease| Some(((switch.name.as_str(), lease.addr.as_str()), lease.name.as_deref()?)))
    });
    let names: BTreeMap<(&str, &str), &str> = leases.collect();
    let mut all: BTreeMap<(String, String), Station> = BTreeMap::new();
    for entry in fdb {
        let FdbInfo { switch, mac, port, age } = entry;
        let station =
            Station { switch, mac, port, age, addresses: Vec::new(), flapping: false, flap_ports: String::new() };
        all.insert((station.switch.clone(), station.mac.clone()), station);
    }
    for known in &told.addresses {
        let addr = known.addr.to_string();
        let name = names.get(&(known.switch.as_str(), addr.as_str())).map(|name| (*name).to_owned());
        let key = (known.switch.clone(), known.mac.clone());
        let station = all.entry(key).or_insert_with(|| Station {
            switch: known.switch.clone(),
            mac: known.mac.clone(),
            port: known.port.clone(),
            age: Some(known.age),
            addresses: Vec::new(),
            flapping: false,
            flap_ports: String::new(),
        });
        let shared = known.other.is_some();
        station.addresses.push(Address { addr: addr.clone(), name, shared });
        // The other one has it as well.
        let other = known.other.as_ref().and_then(|other| all.get_mut(&(known.switch.clone(), other.clone())));
        other.into_iter().for_each(|other| other.addresses.push(Address { addr: addr.clone(), name: None, shared }));
    }
    let flapping: BTreeSet<(&str, &str)> = told
        .flapping
        .iter()
        .flat_map(|(switch, macs)| macs.iter().map(move |mac| (switch.as_str(), mac.as_str())))
        .collect();
    let mut all: Vec<Station> = all.into_values().collect();
    for station in &mut all {
        station.flapping = flapping.contains(&(station.switch.as_str(), station.mac.as_str()));
        station.flap_ports = told.flap_ports(&station.switch, &station.mac);
    }
    all
}

/// The columns, with what each means.
pub const COLUMNS: [Head; 6] = [
    ("mac", Column::Short, "the address that it sends from"),
    ("address", Column::Short, "the IP addresses that it says it has, one a line"),
    ("name", Column::Long, "the name under which a gateway has leased it the address"),
    ("port", Column::Short, "the port that it is behind, with its switch where there are several"),
    ("heard", Column::Short, "when it sent something last; static: its place was given"),
    ("note", Column::Long, "MAC twice, IP twice: another station has the same"),
];

/// The list, as it is followed.
const STATIONS: Followed<Station> = Followed {
    ask,
    key: |station| format!("{} {}", station.switch, station.mac),
    state: |station| format!("{} {:?} {}", station.port, station.addresses, station.flapping),
    table: |stations| table(stations, stations.iter().any(|station| station.switch != DEFAULT_SWITCH)),
};

/// Shows them.
///
/// # Errors
/// No bridge runs (class no-daemon), or it does not answer.
pub fn perform(look: &Look) -> Result<()> {
    let mut client = connect(look.bridge.name().as_deref())?;
    let all = ask(&mut client)?;
    let width = width_of(std::io::stdout()).filter(|_| !look.wide);
    print(if look.json { lines(&all) } else { text(&all, width).into_bytes() })?;
    if look.watch { STATIONS.run(&mut client, all, look.json, width) } else { Ok(()) }
}

/// All stations of a bridge.
fn ask(client: &mut Client) -> Result<Vec<Station>> {
    let (fdb, told) = (client.fdb(None)?, client.stations()?);
    Ok(stations(fdb, &told, &client.status()?))
}

/// A line for each station, and one more for each further address of it.
fn text(stations: &[Station], width: Option<usize>) -> String {
    if stations.is_empty() {
        return "no stations: nobody has sent anything yet\n".to_owned();
    }
    let switches: BTreeSet<&str> = stations.iter().map(|station| station.switch.as_str()).collect();
    table(&stations.iter().collect::<Vec<_>>(), switches.len() > 1).text(width)
}

fn table(stations: &[&Station], with_switch: bool) -> Table {
    let rows = stations.iter().flat_map(|station| rows(station, with_switch)).collect();
    Table { columns: COLUMNS.to_vec(), rows }
}

/// The lines of a station.
fn rows(station: &Station, with_switch: bool) -> Vec<Vec<String>> {
    let heard = station.age.map_or_else(|| "static".to_owned(), ago);
    let port = if with_switch { format!("{}:{}", station.switch, station.port) } else { station.port.clone() };
    let mut notes = Vec::new();
    if station.flapping {
        let on = if station.flap_ports.is_empty() { String::new() } else { format!(" ({})", station.flap_ports) };
        notes.push(format!("MAC twice{on}"));
    }
    let mut cells = [station.mac.clone(), String::new(), String::new(), port, heard, String::new()];
    let (mut addresses, mut rows) = (station.addresses.iter(), Vec::new());
    loop {
        if let Some(address) = addresses.next() {
            cells[1].clone_from(&address.addr);
            cells[2] = address.name.clone().unwrap_or_default();
            if address.shared {
                notes.push("IP twice".to_owned());
            }
        }
        cells[5] = std::mem::take(&mut notes).join(", ");
        rows.push(std::mem::take(&mut cells).to_vec());
        if addresses.len() == 0 {
            return rows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::{bridge, port};
    use super::*;
    use crate::control::{AddressInfo, LeaseInfo};

    #[test]
    fn answers_are_put_together_and_doubles_are_marked() {
        let mut gateway = port("nat", "up", 1);
        let lease = serde_json::json!({"addr": "192.0.2.9", "mac": "02:00:00:00:00:01", "name": "node", "until": 0});
        gateway.leases = vec![serde_json::from_value::<LeaseInfo>(lease).unwrap()];
        let entry = |mac: &str, age| FdbInfo { switch: "default".into(), mac: mac.into(), port: "a".into(), age };
        let known = |addr: &str, mac: &str, shared: bool| AddressInfo {
            switch: "default".into(),
            addr: addr.parse().unwrap(),
            mac: mac.into(),
            port: "b".into(),
            age: 7,
            other: shared.then(|| "02:00:00:00:00:02".to_owned()),
        };
        let told = StationsInfo {
            addresses: vec![
                known("192.0.2.9", "02:00:00:00:00:01", false),
                known("fe80::1", "02:00:00:00:00:01", true),
                known("192.0.2.3", "02:00:00:00:00:03", false),
            ],
            flapping: BTreeMap::from([("default".to_owned(), vec!["02:00:00:00:00:02".to_owned()])]),
            flaps: Vec::new(),
        };
        let fdb = vec![entry("02:00:00:00:00:01", Some(4)), entry("02:00:00:00:00:02", None)];
        let all = stations(fdb, &told, &bridge(vec![gateway]));
        let wanted = "\
mac                address    name  port  heard   note
02:00:00:00:00:01  192.0.2.9  node  a     4s ago
                   fe80::1                        IP twice
02:00:00:00:00:02  fe80::1          a     static  MAC twice, IP twice
02:00:00:00:00:03  192.0.2.3        b     7s ago
";
        assert_eq!(text(&all, Some(80)), wanted);
        let json = serde_json::to_string(&all[1]).unwrap();
        assert_eq!(
            json,
            r#"{"switch":"default","mac":"02:00:00:00:00:02","port":"a","age":null,"addresses":[{"addr":"fe80::1","shared":true}],"flapping":true}"#
        );
    }
}
