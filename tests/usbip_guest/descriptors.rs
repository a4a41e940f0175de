//! Descriptors as `lsusb` and the kernel read them: every device at every speed.

use super::Lab;
use support::{TempDir, needs, require};

/// What `lsusb` prints and the kernel logs where a descriptor is not as it should be.
const COMPLAINTS: &[&str] = &[
    "cannot",
    "can't",
    "couldn't",
    "error",
    "junk",
    "unrecognized",
    "invalid",
    "warning",
    "truncated",
    "too short",
    "no superspeed companion",
    "exceeds",
    "changing to",
    "setting to",
];

/// Devices of the kernel that are no root hubs.
const DEVICES: &str = "/sys/bus/usb/devices/[0-9]*-*[0-9]";

#[test]
fn every_device_is_clean_at_every_speed() {
    require!(needs::guest());
    let dir = TempDir::new();
    std::fs::File::create(dir.path("disk.img")).unwrap().set_len(8 << 20).unwrap();
    let kinds = ["cdc-acm", "loopback", "mass-storage+image=DIR/disk.img+ro", "hid-keyboard", "hid-mouse"];
    let speeds = [("full", "12"), ("high", "480"), ("super", "5000")];
    let devices: Vec<_> =
        speeds.iter().flat_map(|(speed, _)| kinds.map(|kind| format!("device={kind}+speed={speed}"))).collect();
    let mut lab = Lab::in_dir(dir, "lsusb", &devices.join(","));
    lab.guest.check("modprobe -a usbtest cdc-acm usb-storage usbhid");
    for (at, (speed, rate)) in speeds.iter().enumerate() {
        lab.guest.check("dmesg -c > /dev/null");
        for kind in 0..kinds.len() {
            let busid = format!("1-{}", at * kinds.len() + kind + 1);
            lab.attach(&busid, &format!("[ $(cat {DEVICES}/idProduct | wc -l) = {} ]", kind + 1));
        }
        // Configured, and at its speed.
        lab.wait(&format!("[ $(cat {DEVICES}/bConfigurationValue | grep -cx 1) = {} ]", kinds.len()));
        lab.wait(&format!("[ $(cat {DEVICES}/speed | grep -cx {rate}) = {} ]", kinds.len()));
        let listed = lab.guest.check("lsusb | grep -v ' ID 1d6b:'");
        let ids: Vec<_> = listed.lines().map(|line| line[23..32].to_owned()).collect();
        assert_eq!(ids.len(), kinds.len(), "{listed}");
        for id in ids {
            let told = lab.guest.check(&format!("lsusb -v -d {id} 2>&1"));
            assert!(told.contains("bNumConfigurations") && told.contains("Device Status:"), "{speed} {id}: {told}");
            assert_eq!(told.contains("SuperSpeed USB Device Capability"), *speed == "super", "{told}");
            let found: Vec<_> = told.lines().filter(|line| complains(line)).collect();
            assert!(found.is_empty(), "{speed} {id}: {found:?}\n{told}");
        }
        let log = lab.guest.check("dmesg");
        let found: Vec<_> = log.lines().filter(|line| line.contains("usb ") && complains(line)).collect();
        assert!(found.is_empty(), "{speed}: {found:?}");
        lab.detach();
    }
    lab.finish();
}

fn complains(line: &str) -> bool {
    let line = line.to_lowercase();
    COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}
