//! The kernel's own USB/IP server as another server: devices that QEMU makes for one guest, exported by its usbip-host,
//! imported by zbridge over the bridge, and attached by another guest.

use super::{DETACH, LONG, to, wait, wait_for_opened};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use support::{Guest, Namespace, Nic, PATIENCE, TempDir, needs, require, zbridge};

/// The lines of the disk's file that the guest has written, and of what came by the serial line.
const TEXT: &[u8] = b"from one kernel to the other\n";

/// The guest with the devices: a disk at 5 Gbit/s on port 1 of its host controller, a serial adapter at 12 Mbit/s on
/// port 2, and a keyboard at 480 Mbit/s on port 3.
fn owner(dir: &TempDir) -> Guest {
    std::fs::File::create(dir.path("disk.img")).unwrap().set_len(16 << 20).unwrap();
    let mut owner = Guest::new("owner")
        .nic(Nic::stream(dir.text("owner")).address("192.0.2.3/24"))
        .module("xhci-pci")
        .module("usbip-host")
        .qemu(["-device", "qemu-xhci,id=xhci", "-device", "usb-storage,drive=disk,port=1", "-drive"])
        .qemu([format!("if=none,id=disk,format=raw,file={}", dir.text("disk.img"))])
        .qemu(["-device", "usb-serial,chardev=line,port=2", "-chardev"])
        .qemu([format!("socket,id=line,path={}", dir.text("line"))])
        .qemu(["-device", "usb-kbd,port=3"])
        .boot();
    for busid in ["2-1", "1-2", "1-3"] {
        owner.check(&format!(
            "for i in $(seq 200); do test -e /sys/bus/usb/devices/{busid}/bConfigurationValue && break; sleep 0.05; done\n\
             usbip bind -b {busid} || {{ ls /sys/bus/usb/devices; dmesg | tail; exit 1; }}"
        ));
    }
    owner.check("usbipd -D");
    owner
}

#[test]
fn devices_of_the_kernels_server_are_exported_again() {
    require!(needs::guest(), needs::netns(), needs::tun());
    let dir = TempDir::new();
    let namespace = Namespace::new("foreign");
    let line = UnixListener::bind(dir.path("line")).unwrap();
    // The disk's transfers are cut, as for a server with small buffers.
    let imports = ["2-1+split=16384", "1-2", "1-3"].map(|busid| format!("import=192.0.2.3:3240/{busid}")).join(",");
    let zbridge = zbridge!("-v", "--port", "tap:zb0,addr=192.0.2.254/24")
        .args(["--port", &format!("unix:{}", dir.text("owner")), "--port", &format!("unix:{}", dir.text("other"))])
        .args(["--port", &format!("usbip:192.0.2.1/24,{imports}")])
        .inside(&namespace)
        .spawn();
    zbridge.wait_for("usbip  usbip  connecting  1-1 192.0.2.3:3240/2-1", PATIENCE);
    let mut owner = owner(&dir);
    zbridge.wait_for_nth("is there; to attach: sudo usbip attach -r 192.0.2.1 -b 1-", 3, PATIENCE);
    let mut other =
        Guest::new("other").nic(Nic::stream(dir.text("other")).address("192.0.2.2/24")).module("vhci-hcd").boot();

    let list = other.check("usbip list -r 192.0.2.1");
    for text in ["1-1: ", "(46f4:0001)", "1-2: ", "(0403:6001)", "1-3: ", "(0627:0001)"] {
        assert!(list.contains(text), "{text}: {list}");
    }
    let attach = |other: &mut Guest, busid: &str, there: &str| {
        other.check(&format!("usbip attach -r 192.0.2.1 -b {busid}"));
        wait(other, there);
    };
    // Bulk transfers up to the disk's largest, in parts; SuperSpeed.
    attach(&mut other, "1-1", "test -b /dev/sda");
    let script = "set -e\nmke2fs -q -F -t ext4 /dev/sda\nmkdir -p /mnt\nmount -t ext4 /dev/sda /mnt\n\
                  head -c 5000000 /dev/urandom > /mnt/a\nsha256sum /mnt/a > /run/sum\numount /mnt\n\
                  echo 3 > /proc/sys/vm/drop_caches\nmount -t ext4 -o ro /dev/sda /mnt\nsha256sum -c /run/sum\n\
                  umount /mnt";
    let ran = other.run_within(LONG, script);
    assert!(ran.rc == 0 && ran.output.contains("/mnt/a: OK"), "{ran:?}");
    let say = "printf 'from one kernel to the other\\n'";
    other.check(&format!("{say} | {} conv=fsync 2>&1", to("/dev/sda")));
    assert!(std::fs::read(dir.path("disk.img")).unwrap().starts_with(TEXT));
    // Control and interrupt transfers.
    other.check("modprobe -a usbhid hid-generic evdev");
    attach(&mut other, "1-3", "grep -q 'QEMU USB Keyboard' /proc/bus/input/devices");
    // A full-speed device, whose reads always wait.
    attach(&mut other, "1-2", "test -c /dev/ttyUSB0");
    other.check(&format!("stty -F /dev/ttyUSB0 raw -echo && {say} | {} 2>&1", to("/dev/ttyUSB0")));
    // QEMU has connected before it ran.
    let (mut host, _) = line.accept().unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = vec![0; TEXT.len()];
    host.read_exact(&mut received).unwrap();
    assert_eq!(received, TEXT);
    other.check("(exec head -n 1 /dev/ttyUSB0 > /run/line &)");
    wait_for_opened(&mut other, "/dev/ttyUSB0");
    host.write_all(TEXT).unwrap();
    wait(&mut other, "grep -q 'one kernel' /run/line");

    // Given back, they are the other kernel's again, and can be had again.
    other.check(DETACH);
    wait(&mut other, "! test -e /dev/sda");
    attach(&mut other, "1-1", "test -b /dev/sda");
    other.check("head -c 29 /dev/sda | grep 'one kernel'");
    for guest in [&mut owner, &mut other] {
        guest.check("! dmesg | grep -E 'BUG|Oops|hung task|WARNING'");
    }
    drop((owner, other));
    zbridge.sigterm();
    assert_eq!(zbridge.wait().code(), 0);
}
