//! USB/IP with a real importer: the Linux kernel of a guest whose network is zbridge itself.
//!
//! One test covers the switch, the TCP endpoint, the USB/IP server and the devices. Nothing of it needs a right, but
//! for the attachment over a TAP.

mod descriptors;
mod disk;
mod foreign;
mod input;
mod serial;

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
        Self::with(dir, name, zbridge)
    }

    /// With a zbridge that listens at the lab's `net`.
    fn with(dir: TempDir, name: &str, zbridge: Process) -> Self {
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

    /// Tries a script until it succeeds, and gives what it printed then.
    fn wait(&mut self, script: &str) -> String {
        wait(&mut self.guest, script)
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

/// Tries a script in `guest` until it succeeds, and gives what it printed then.
fn wait(guest: &mut Guest, script: &str) -> String {
    guest.check(&format!(
        "for i in $(seq 400); do out=$({script}) && {{ printf '%s\\n' \"$out\"; exit 0; }}; sleep 0.05; done\n\
         printf '%s\\n' \"$out\"; dmesg | tail -n 40; usbip port; exit 1"
    ))
}

/// Waits until a program in `guest` has `node` open.
fn wait_for_opened(guest: &mut Guest, node: &str) {
    wait(guest, &format!("ls -l /proc/[0-9]*/fd 2> /dev/null | grep -q -- '-> {node}$'"));
}

/// What writes stdin to `node`: to the open device itself, since by its name a shell's `>` and dd's `of=` would make a
/// file where the device has gone.
fn to(node: &str) -> String {
    format!("dd of=/proc/self/fd/3 conv=notrunc 3< {node}")
}

/// The port that exports `devices`.
fn keys(dir: &TempDir, devices: &str) -> String {
    let devices = devices.replace("DIR", &dir.root().display().to_string());
    format!("usbip:192.0.2.1/24,addr=2001:db8::1/64,{devices}")
}

fn serve(dir: &TempDir, devices: &str) -> Process {
    let zbridge = zbridge!("-v", "--port", format!("unix:{}", dir.text("net")), "--port", keys(dir, devices)).spawn();
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
            wait_for_opened(&mut lab.guest, "/dev/ttyACM0");
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
            wait_for_opened(&mut lab.guest, "/dev/ttyACM0");
        }
        lab.zbridge.kill9();
        lab.zbridge = serve(&lab.dir);
        match round {
            // Its first transfer finds out, unless the kernel already has: the new server knows nothing of the
            // connection. A shell's `>` would then make a file where the device was.
            "idle" => _ = lab.guest.run("ttyecho /dev/ttyACM0 5"),
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
