//! `zbridge usb ls`: the USB devices of a running bridge, who uses them, and how their transfers end.

use super::args::Look;
use super::ask::{connect, lines};
use super::follow::Followed;
use super::layout::{Column, Head, Table};
use super::print;
use super::style::width_of;
use super::units::{amount, span};
use crate::control::{DeviceInfo, UrbInfo};
use crate::engine::control::Client;
use crate::error::Result;

/// The columns, with what each means.
pub const COLUMNS: [Head; 14] = [
    ("busid", Column::Short, "the device's number at its port: what `usbip attach -b` is told"),
    ("id", Column::Short, "vendor and product"),
    ("speed", Column::Short, "low, full, high or super"),
    ("state", Column::Short, "free, in use, or waiting for the server that it is imported from"),
    ("device", Column::Long, "what it says it is"),
    ("importer", Column::Long, "who uses it"),
    ("for", Column::Least(3), "since when"),
    ("urbs", Column::Least(1), "transfers (USB request blocks) that are done"),
    ("flying", Column::Least(4), "transfers that the importer waits for"),
    ("errors", Column::Least(2), "transfers that failed"),
    ("unlinked", Column::Least(5), "transfers that the importer called back"),
    ("port", Column::Least(6), "the port that has the device"),
    ("import", Column::Long, "the server and the device there that it stands for"),
    ("why", Column::Long, "why it is not there"),
];

const DEVICES: Followed<DeviceInfo> = Followed {
    ask: all,
    key: |device| format!("{} {} {}", device.switch, device.port, device.busid),
    state: |device| format!("{} {:?} {:?}", device.state, device.why, device.importer.as_ref().map(|it| it.peer)),
    table,
};

/// Shows them.
///
/// # Errors
/// No bridge runs (class no-daemon), or it does not answer.
pub fn perform(look: &Look) -> Result<()> {
    let mut client = connect(look.bridge.name().as_deref())?;
    let devices = all(&mut client)?;
    let width = width_of(std::io::stdout()).filter(|_| !look.wide);
    print(if look.json { lines(&devices) } else { text(&devices, width).into_bytes() })?;
    if look.watch { DEVICES.run(&mut client, devices, look.json, width) } else { Ok(()) }
}

fn all(client: &mut Client) -> Result<Vec<DeviceInfo>> {
    Ok(client.usb()?.devices)
}

fn text(devices: &[DeviceInfo], width: Option<usize>) -> String {
    if devices.is_empty() {
        return "no USB devices: no port of this bridge is a usbip:\n".to_owned();
    }
    table(&devices.iter().collect::<Vec<_>>()).text(width)
}

fn table(devices: &[&DeviceInfo]) -> Table {
    Table { columns: COLUMNS.to_vec(), rows: devices.iter().map(|device| row(device)).collect() }
}

fn row(device: &DeviceInfo) -> Vec<String> {
    let urbs = |of: fn(&UrbInfo) -> u64| device.urbs.as_ref().map_or_else(String::new, |urbs| amount(of(urbs) as f64));
    let cells = [
        device.busid.clone(),
        device.id.clone().unwrap_or_else(|| "-".to_owned()),
        if device.speed.is_empty() { "-".to_owned() } else { device.speed.clone() },
        device.state.clone(),
        device.name.clone(),
        device.importer.as_ref().map_or_else(String::new, |importer| importer.peer.to_string()),
        device.importer.as_ref().map_or_else(String::new, |importer| span(importer.age)),
        urbs(|urbs| urbs.done),
        urbs(|urbs| urbs.in_flight),
        urbs(|urbs| urbs.errors),
        urbs(|urbs| urbs.unlinked),
        device.port.clone(),
        device.import.clone().unwrap_or_default(),
        device.why.clone().unwrap_or_default(),
    ];
    cells.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn some() -> Vec<DeviceInfo> {
        let own = json!({
            "switch": "default", "port": "usbip", "busid": "1-1", "id": "1209:0001", "name": "zbridge serial port",
            "speed": "high", "state": "in use", "importer": {"peer": "192.0.2.9:41234", "age": 75},
            "urbs": {"done": 12345, "errors": 2, "unlinked": 1, "in_flight": 16},
        });
        let free = json!({
            "switch": "default", "port": "usbip", "busid": "1-2", "id": "1209:0002", "name": "zbridge loopback",
            "speed": "super", "state": "free", "urbs": {"done": 0, "errors": 0, "unlinked": 0, "in_flight": 0},
        });
        [own, free].map(|device| serde_json::from_value(device).unwrap()).into()
    }

    #[test]
    fn a_device_is_one_line_of_80_characters() {
        let wanted = "\
busid  id         speed  state   device               importer         urbs
1-1    1209:0001  high   in use  zbridge serial port  192.0.2.9:41234  12.3k
1-2    1209:0002  super  free    zbridge loopback                      0
  no room for: for, flying, errors, unlinked, port (--wide has all columns)
";
        assert_eq!(text(&some(), Some(80)), wanted);
        let wide = text(&some(), None);
        assert!(wide.contains("for  urbs   flying  errors  unlinked  port\n"), "{wide}");
        assert!(wide.contains("192.0.2.9:41234  1m   12.3k  16      2       1         usbip\n"), "{wide}");
    }

    #[test]
    fn an_imported_device_says_where_it_is_and_why_it_is_not_there() {
        let away = json!({
            "switch": "default", "port": "usbip", "busid": "1-3", "state": "waiting",
            "import": "192.0.2.77:3240/1-1", "why": "its server does not answer: Connection refused (os error 111)",
        });
        let mut devices = some();
        devices.push(serde_json::from_value(away).unwrap());
        let text = text(&devices, Some(80));
        let below = "1-3    -          -      waiting\n    import 192.0.2.77:3240/1-1; why its server does not answer: \
                     Connection\n    refused (os error 111)\n  no room for: for, urbs, flying, errors, unlinked, port (--wide has all\n  columns)\n";
        assert!(text.ends_with(below), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
