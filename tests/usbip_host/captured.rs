//! Transfers in a capture, as usbmon has those of a machine's own devices.

use super::serve;
use std::process::Command;
use std::time::Duration;
use support::{PATIENCE, TempDir, eventually, needs, require, zbridge};

#[test]
fn a_device_is_an_interface_with_its_transfers() {
    require!(needs::tool("tshark", "tshark"));
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=loopback");
    let file = dir.path("usb.pcapng");
    let captures = |words: &[&str]| {
        let before = served.process.stderr().matches("captured by").count();
        let capture = zbridge!("capture").args(words.iter().copied()).env("XDG_RUNTIME_DIR", dir.root()).spawn();
        served.process.wait_for_nth("captured by", before + 1, PATIENCE);
        capture
    };
    let capture = captures(&["-w", file.to_str().unwrap()]);
    let cut = captures(&["-w", &dir.text("cut.pcapng"), "--snap", "70"]);
    let lines = captures(&[]);
    let other = captures(&["-f", "udp"]);
    // Its interface is there before its first transfer.
    eventually("both devices are named", || {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let has = |name: &[u8]| bytes.windows(name.len()).any(|part| part == name);
        (has(b"usbip#1-1") && has(b"usbip#1-2")).then_some(())
    });
    let mut port = served.attach("1-1");
    port.echo(b"hello, bus");
    eventually("it is seen", || lines.stdout().contains("bulk IN done, length 10").then_some(()));
    std::thread::sleep(Duration::from_millis(50));
    for capture in [&capture, &cut, &lines, &other] {
        capture.sigint();
    }
    let said = lines.wait().stdout;
    for wanted in [
        "usbip#1-1 out USB 1.2.0 control OUT, request 0x00 0x09 0x0001 0x0000, length 0",
        "usbip#1-1 in  USB 1.2.0 control OUT done, length 0",
        "usbip#1-1 out USB 1.2.1 bulk OUT, length 10",
    ] {
        assert!(said.lines().any(|line| line.ends_with(wanted)), "{wanted}: {said}");
    }
    assert_eq!(other.wait().stdout, "", "a transfer is no UDP");
    for capture in [capture, cut] {
        assert_eq!(capture.wait().code(), 0);
    }
    let tshark = |file: &str, words: &[&str]| {
        let read = Command::new("tshark").arg("-r").arg(dir.path(file)).args(words).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        String::from_utf8(read.stdout).unwrap()
    };
    for file in ["usb.pcapng", "cut.pcapng"] {
        assert_eq!(tshark(file, &["-Y", "_ws.malformed"]), "", "{file}");
    }
    let fields = ["frame.interface_name", "usb.bus_id", "usb.device_address", "usb.urb_type", "usb.transfer_type"];
    let fields = fields.iter().chain(&["usb.endpoint_address", "usb.urb_status", "usb.capdata"]);
    let fields: Vec<&str> = fields.flat_map(|field| ["-e", field]).collect();
    let seen = tshark("usb.pcapng", &[&["-T", "fields", "-E", "separator= "], &fields[..]].concat());
    let data = "68656c6c6f2c20627573";
    for wanted in [
        "usbip#1-1 1 2 'S' 0x02 0x00 -115".to_owned(),
        format!("usbip#1-1 1 2 'S' 0x03 0x01 -115 {data}"),
        "usbip#1-1 1 2 'C' 0x03 0x01 0".to_owned(),
        format!("usbip#1-1 1 2 'C' 0x03 0x82 0 {data}"),
    ] {
        assert!(seen.lines().any(|line| line.trim() == wanted), "{wanted}: {seen}");
    }
    // The time in the header is the frame's.
    let times = tshark("usb.pcapng", &["-T", "fields", "-e", "frame.time_epoch", "-e", "usb.urb_ts_sec", "-Y", "usb"]);
    for line in times.lines() {
        let (frame, header) = line.split_once('\t').expect("both");
        assert_eq!(frame.split_once('.').unwrap().0, header.trim(), "{times}");
    }
}
