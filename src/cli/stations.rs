//! The stations of a running bridge as `stations` shows them: each with its MAC address, the IP addresses that it says it
//! has, its name where a gateway has leased it one of them, its port, and when it was heard last.
//!
//! What is put together here comes from three answers of the bridge: its forwarding databases, what stations have told of
//! themselves, and the leases of its ports. An address that two stations have is marked.

use crate::config::text::columns;
use crate::control::{FdbInfo, StationsInfo, StatusInfo};
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
        let station = Station { switch, mac, port, age, addresses: Vec::new(), flapping: false };
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
    all.iter_mut().for_each(|it| it.flapping = flapping.contains(&(it.switch.as_str(), it.mac.as_str())));
    all
}

/// A table with a line for each station, and one more for each further address of it. The switch is shown where there are
/// several.
pub fn table(stations: &[Station]) -> String {
    let switches: BTreeSet<&str> = stations.iter().map(|station| station.switch.as_str()).collect();
    let mut rows = vec![["mac", "address", "name", "port", "heard", ""].map(str::to_owned)];
    for station in stations {
        let heard = station.age.map_or_else(|| "static".to_owned(), |age| format!("{age} s ago"));
        let port = match switches.len() {
            0 | 1 => station.port.clone(),
            _ => format!("{}:{}", station.switch, station.port),
        };
        let mut notes = Vec::new();
        if station.flapping {
            notes.push("MAC twice");
        }
        let mut cells = [station.mac.clone(), String::new(), String::new(), port, heard, String::new()];
        let mut addresses = station.addresses.iter();
        loop {
            let address = addresses.next();
            if let Some(address) = address {
                cells[1].clone_from(&address.addr);
                cells[2] = address.name.clone().unwrap_or_default();
                if address.shared {
                    notes.push("IP twice");
                }
            }
            cells[5] = std::mem::take(&mut notes).join(", ");
            rows.push(std::mem::take(&mut cells));
            if addresses.len() == 0 {
                break;
            }
        }
    }
    columns("", &rows)
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
        };
        let fdb = vec![entry("02:00:00:00:00:01", Some(4)), entry("02:00:00:00:00:02", None)];
        let all = stations(fdb, &told, &bridge(vec![gateway]));
        let wanted = "\
mac                address    name  port  heard
02:00:00:00:00:01  192.0.2.9  node  a     4 s ago
                   fe80::1                         IP twice
02:00:00:00:00:02  fe80::1          a     static   MAC twice, IP twice
02:00:00:00:00:03  192.0.2.3        b     7 s ago
";
        assert_eq!(table(&all), wanted);
        let json = serde_json::to_string(&all[1]).unwrap();
        assert_eq!(
            json,
            r#"{"switch":"default","mac":"02:00:00:00:00:02","port":"a","age":null,"addresses":[{"addr":"fe80::1","shared":true}],"flapping":true}"#
        );
    }
}
