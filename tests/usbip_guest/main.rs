//! USB/IP with a real importer: the Linux kernel of a guest whose network is zbridge itself.
//!
//! One test covers the switch, the TCP endpoint, the USB/IP server and the devices. Nothing of it needs a right, but
//! for the attachment over a TAP.

mod foreign;

use std::time::Duration;
use support::{Guest, Namespace, Nic, PATIENCE, Process, TempDir, needs, require, zbridge};

/// How long a script with many transfers may take under emulation.
const LONG: Duration = Duration::from_secs(300);

/// Detaches everything.
const DETACH: &str =
    "for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do usbip detach -p $p; done";

/// A running zbridge with one `usbip:` port, and a guest on its other port.
struct Lab {
    dir: TempDir,
    zbridge: Process,
    guest: Guest,
}

impl Lab {
    /// `devices`: the keys of the port; DIR stands for the lab's folder.
    fn new(name: &str, devices: &str) -> Self {
        Self::in_dir(TempDir::new(), name, devices)
    }

    fn in_dir(dir: TempDir, name: &str, devices: &str) -> Self {
        let zbridge = serve(&dir, devices);
        let nic = Nic::stream(dir.text("net")).address("192.0.2.2/24").address("2001:db8::2/64");
        // The unlink cases of usbtest ask again without a pause until a URB is gone, so that on one processor nothing
        // else would run to make that happen.
        let guest = Guest::new(name).nic(nic).module("vhci-hcd").qemu(["-smp", "2"]).boot();
        Self { dir, zbridge, guest }
    }

    /// Attaches a device and waits until `there` succeeds.
    fn attach(&mut self, busid: &str, there: &str) -> String {
        self.guest.check(&format!("usbip attach -r 192.0.2.1 -b {busid}"));
        self.wait(there)
    }

    /// Tries a script until it succeeds.
    fn wait(&mut self, script: &str) -> String {
        self.guest.check(&format!(
            "for i in $(seq 400); do out=$({script}) && break; sleep 0.05; done\n\
             {script} || {{ dmesg | tail -n 40; usbip port; exit 1; }}"
        ))
    }

    /// Detaches everything.
    fn detach(&mut self) {
        self.guest.check(DETACH);
        self.wait("! usbip port 2>/dev/null | grep -q '^Port'");
    }

    fn finish(self) {
        drop(self.guest);
        self.zbridge.sigterm();
        assert_eq!(self.zbridge.wait().code(), 0);
    }
}

fn serve(dir: &TempDir, devices: &str) -> Process {
    let keys = devices.replace("DIR", &dir.root().display().to_string());
    let port = format!("usbip:192.0.2.1/24,addr=2001:db8::1/64,{keys}");
    let zbridge = zbridge!("-v", "--port", format!("unix:{}", dir.text("net")), "--port", port).spawn();
    zbridge.wait_for("usbip attach", PATIENCE);
    zbridge
}

#[test]
fn a_serial_port_is_listed_attached_and_echoes() {
    require!(needs::guest());
    let mut lab = Lab::new("acm", "device=cdc-acm,device=loopback+speed=full,show-busy");
    for address in ["192.0.2.1", "2001:db8::1"] {
        let list = lab.guest.check(&format!("usbip list -r {address}"));
        assert!(list.contains("1-1: ") && list.contains("(2fe3:0001)"), "{list}");
        assert!(list.contains("(ef/02/01)") && list.contains("1-2: ") && list.contains("(0525:a4a0)"), "{list}");
    }
    lab.attach("1-1", "test -c /dev/ttyACM0");
    let echo = lab.guest.run_within(LONG, "ttyecho /dev/ttyACM0 1048576");
    assert_eq!((echo.rc, echo.output.as_str()), (0, "1048576 bytes came back\n"));
    let described = lab.guest.check("lsusb -v -d 2fe3:0001 2>&1");
    assert!(described.contains("bNumInterfaces          2") && described.contains("CDC ACM"), "{described}");
    for complaint in ["cannot", "can't", "Couldn't", "error", "junk", "unrecognized", "UNRECOGNIZED"] {
        assert!(!described.contains(complaint), "{described}");
    }
    let refused = lab.guest.run("usbip attach -r 192.0.2.1 -b 1-1");
    assert!(refused.rc != 0 && refused.output.contains("Device busy"), "{refused:?}");
    let missing = lab.guest.run("usbip attach -r 192.0.2.1 -b 9-9");
    assert!(missing.rc != 0, "{missing:?}");
    lab.detach();
    lab.finish();
}

#[test]
fn detached_and_attached_thirty_times() {
    require!(needs::guest());
    let mut lab = Lab::new("again", "device=cdc-acm");
    for round in 0..30 {
        lab.attach("1-1", "test -c /dev/ttyACM0");
        // In every third round with the port in use.
        if round % 3 == 0 {
            lab.guest.check("ttyecho /dev/ttyACM0 2000");
            lab.guest.check("(exec cat /dev/ttyACM0 > /dev/null 2>&1 &)");
        }
        lab.detach();
        lab.wait("! test -e /dev/ttyACM0");
    }
    lab.guest.check(TROUBLE_FREE);
    lab.finish();
}

/// Nothing in the kernel's log that should not be there.
const TROUBLE_FREE: &str = "! dmesg | grep -E 'BUG|Oops|hung task|WARNING|stuck for'";

#[test]
fn attached_again_after_the_server_was_killed_and_came_back() {
    require!(needs::guest());
    let dir = TempDir::new();
    let serve = |dir: &TempDir| {
        let port = format!("unix:{},connect", dir.text("net"));
        let zbridge =
            zbridge!("-v", "--port", port, "--port", "usbip:192.0.2.1/24,device=cdc-acm,device=loopback").spawn();
        zbridge.wait_for("usbip attach", PATIENCE);
        zbridge
    };
    // Here QEMU listens, and zbridge dials it until it is there: the guest's network comes back with zbridge.
    let nic = Nic::new(format!("stream,server=on,addr.type=unix,addr.path={}", dir.text("net")));
    let mut lab = Lab {
        zbridge: serve(&dir),
        guest: Guest::new("killed").nic(nic.address("192.0.2.2/24")).module("vhci-hcd").qemu(["-smp", "2"]).boot(),
        dir,
    };
    for round in ["idle", "in use", "never asked"] {
        lab.wait("ping -c 1 -W 1 192.0.2.1 > /dev/null");
        lab.attach("1-1", "test -c /dev/ttyACM0");
        lab.guest.check("ttyecho /dev/ttyACM0 20000");
        if round == "in use" {
            lab.guest.check("(exec ttyecho /dev/ttyACM0 100000000 > /run/echo 2>&1 &)");
            lab.guest.check("sleep 1");
        }
        lab.zbridge.kill9();
        lab.zbridge = serve(&lab.dir);
        match round {
            // Its first transfer finds out: the new server knows nothing of the connection.
            "idle" => _ = lab.guest.run("echo hello > /dev/ttyACM0"),
            // It has found out.
            "in use" => {}
            // Its user says so.
            _ => lab.detach(),
        }
        lab.wait("! test -e /dev/ttyACM0");
        lab.wait("! usbip port 2>/dev/null | grep -q '^Port'");
    }
    lab.wait("ping -c 1 -W 1 192.0.2.1 > /dev/null");
    lab.attach("1-1", "test -c /dev/ttyACM0");
    lab.guest.check("ttyecho /dev/ttyACM0 20000");
    lab.guest.check(TROUBLE_FREE);
    lab.finish();
}

/// The device node of the loopback device, for testusb.
const NODE: &str = "node() { for d in /sys/bus/usb/devices/*; do [ \"$(cat $d/idProduct 2>/dev/null)\" = a4a0 ] || continue; \
                    printf /dev/bus/usb/%03d/%03d $(cat $d/busnum) $(cat $d/devnum); done; }\n";

fn usbtest(lab: &mut Lab, cases: &str) {
    // Each case by itself, so that one that hangs is known by its number.
    for case in cases.split(' ') {
        usbtest_case(lab, case);
    }
}

fn usbtest_case(lab: &mut Lab, cases: &str) {
    let script = format!(
        "{NODE}failed=\nfor case in {cases}; do\n  set -- $case\n  testusb $(node) $(echo $case | tr : ' ') || \
         failed=\"$failed $case\"\ndone\n[ -z \"$failed\" ] || {{ echo failed:$failed; dmesg | tail -n 60; exit 1; }}"
    );
    let ran = lab.guest.run_within(LONG, &script);
    print!("{}", ran.output);
    assert_eq!(ran.rc, 0, "{}", ran.output);
}

#[test]
fn the_kernels_usbtest_passes() {
    require!(needs::guest());
    let mut lab = Lab::new("usbtest", "device=loopback,device=loopback+speed=full,device=loopback+speed=super");
    for busid in ["1-1", "1-2", "1-3"] {
        println!("{busid}");
        lab.guest.check("modprobe -r usbtest; modprobe usbtest");
        lab.attach(busid, "grep -q . /sys/bus/usb/drivers/usbtest/*-*/uevent");
        usbtest(
            &mut lab,
            "0 1 2 3 4 5:10 6:10 7:10 8:10 9 10:10 11 12 13 14:20:1024:512 17 18 19 20 21:20:1024:512 24:5 27:4 28:4 29:50",
        );
        lab.detach();
        lab.guest.check("modprobe -r usbtest; modprobe usbtest alt=1");
        lab.attach(busid, "grep -q . /sys/bus/usb/drivers/usbtest/*-*/uevent");
        usbtest(&mut lab, "15:3:512 16:3:512 22:3:512 23:3:512");
        lab.detach();
    }
    lab.finish();
}

#[test]
fn a_disk_holds_file_systems() {
    require!(needs::guest());
    let dir = TempDir::new();
    for name in ["ext4.img", "vfat.img", "cow.img", "ro.img"] {
        std::fs::File::create(dir.path(name)).unwrap().set_len(24 << 20).unwrap();
    }
    let mut lab = Lab::in_dir(
        dir,
        "disk",
        "device=mass-storage+image=DIR/ext4.img+speed=super,device=mass-storage+image=DIR/vfat.img,\
         device=mass-storage+image=DIR/cow.img+cow,device=mass-storage+image=DIR/ro.img+ro",
    );
    for (busid, make, kind) in [
        ("1-1", "mke2fs -q -F -t ext4 /dev/sda", "ext4"),
        ("1-2", "mkfs.fat -F 16 /dev/sda > /dev/null", "vfat"),
        ("1-3", "mkfs.fat -F 16 /dev/sda > /dev/null", "vfat"),
    ] {
        lab.attach(busid, "test -b /dev/sda");
        let script = format!(
            "set -e\n{make}\nmkdir -p /mnt\nmount -t {kind} /dev/sda /mnt\n\
             head -c 6000000 /dev/urandom > /mnt/a\nsha256sum /mnt/a > /run/sum\numount /mnt\n\
             echo 3 > /proc/sys/vm/drop_caches\nblockdev --flushbufs /dev/sda\n\
             mount -t {kind} -o ro /dev/sda /mnt\nsha256sum -c /run/sum\numount /mnt"
        );
        let ran = lab.guest.run_within(LONG, &script);
        assert!(ran.rc == 0 && ran.output.contains("/mnt/a: OK"), "{busid}: {}", ran.output);
        lab.detach();
        lab.wait("! test -e /dev/sda");
        // Once more after it was taken away: what was written is on the image, or beside it.
        lab.attach(busid, "test -b /dev/sda");
        lab.guest.check(&format!("mount -t {kind} -o ro /dev/sda /mnt && sha256sum -c /run/sum && umount /mnt"));
        lab.detach();
        lab.wait("! test -e /dev/sda");
    }
    lab.attach("1-4", "test -b /dev/sda");
    assert_eq!(lab.guest.check("cat /sys/block/sda/ro").trim(), "1");
    let cow = std::fs::read(lab.dir.path("cow.img")).unwrap();
    assert!(cow.iter().all(|byte| *byte == 0), "its image was written");
    lab.guest.check("! dmesg | grep -E 'I/O error|BUG|Oops'");
    lab.finish();
}

#[test]
fn an_image_that_shrinks_is_a_medium_error() {
    require!(needs::guest());
    let dir = TempDir::new();
    std::fs::File::create(dir.path("disk.img")).unwrap().set_len(8 << 20).unwrap();
    let mut lab = Lab::in_dir(dir, "shrunk", "device=mass-storage+image=DIR/disk.img,device=cdc-acm");
    lab.attach("1-1", "test -b /dev/sda");
    std::fs::File::options().write(true).open(lab.dir.path("disk.img")).unwrap().set_len(1 << 20).unwrap();
    let ran = lab.guest.run_within(LONG, "dd if=/dev/sda of=/dev/null bs=64k skip=64 count=1 2>&1");
    assert!(ran.rc != 0 && ran.output.contains("Input/output error"), "{ran:?}");
    assert!(lab.guest.check("dmesg").contains("Medium Error"));
    lab.guest.check("dd if=/dev/sda of=/dev/null bs=64k count=1 2>&1");
    lab.attach("1-2", "test -c /dev/ttyACM0");
    lab.guest.check("ttyecho /dev/ttyACM0 2000");
    lab.finish();
}

#[test]
fn a_keyboard_types_and_a_mouse_moves() {
    require!(needs::guest());
    let dir = TempDir::new();
    dir.file("mouse", "move=5,-3\nclick=left\nwheel=1\n");
    let made = std::process::Command::new("mkfifo").arg(dir.path("keys")).status().unwrap();
    assert!(made.success());
    let mut lab = Lab::in_dir(dir, "hid", "device=hid-keyboard+script=DIR/keys,device=hid-mouse+script=DIR/mouse");
    lab.guest.check("modprobe -a usbhid hid-generic evdev");
    lab.attach("1-1", "grep -q 'zbridge keyboard' /proc/bus/input/devices");
    // The machine has a keyboard of its own; which of them is event0 differs.
    let node = "grep -A 4 'zbridge keyboard' /proc/bus/input/devices | grep -o 'event[0-9]*'";
    let node = lab.guest.check(node).trim().to_owned();
    lab.guest.check(&format!("keydump /dev/input/{node} > /run/events 2>&1 & sleep 1"));
    std::fs::write(lab.dir.path("keys"), "type=Hi\nkey=capslock\n").unwrap();
    // The last key comes back as a light.
    lab.zbridge.wait_for("1-1: lights on: caps", PATIENCE);
    // EV_KEY is 1, left shift 42, H 35, I 23, caps lock 58.
    for event in ["1 42 1", "1 35 1", "1 23 1", "1 23 0", "1 58 0"] {
        lab.wait(&format!("grep -qx '{event}' /run/events"));
    }
    lab.detach();
    lab.wait(&format!("! test -e /dev/input/{node}"));
    lab.guest.check("usbip attach -r 192.0.2.1 -b 1-2");
    lab.wait("grep -q 'zbridge mouse' /proc/bus/input/devices");
    lab.finish();
}

#[test]
fn attached_over_a_tap() {
    require!(needs::guest(), needs::netns(), needs::tun());
    let namespace = Namespace::new("usbip");
    let zbridge = zbridge!("--port", "tap:zb0,up", "--port", "usbip:192.0.2.1/24,device=cdc-acm,mtu=9000")
        .inside(&namespace)
        .spawn();
    zbridge.wait_for("usbip attach", PATIENCE);
    // The guest's own TAP and zbridge's, joined by the kernel's bridge: QEMU cannot hold zbridge's.
    namespace.check(
        "ip tuntap add guest0 mode tap && ip link add br0 type bridge && ip link set zb0 master br0 && \
         ip link set guest0 master br0 && ip link set guest0 up && ip link set br0 up",
    );
    let nic = Nic::new("tap,ifname=guest0,script=no,downscript=no").address("192.0.2.2/24");
    let mut guest = Guest::new("tap").nic(nic).module("vhci-hcd").inside(&namespace).boot();
    guest.check(
        "for i in $(seq 100); do ping -c 1 -W 1 192.0.2.1 > /dev/null && break; done; usbip attach -r 192.0.2.1 -b 1-1",
    );
    guest.check("for i in $(seq 200); do test -c /dev/ttyACM0 && break; sleep 0.05; done; ttyecho /dev/ttyACM0 100000");
    drop(guest);
    zbridge.sigterm();
    assert_eq!(zbridge.wait().code(), 0);
}
