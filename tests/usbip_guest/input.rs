//! Keyboard and mouse, as the kernel's input layer has them.

use super::{Lab, wait_for_opened};
use support::{PATIENCE, TempDir, needs, require};

#[test]
fn a_keyboard_types_and_a_mouse_moves() {
    require!(needs::guest());
    let dir = TempDir::new();
    let made = std::process::Command::new("mkfifo").args([dir.path("keys"), dir.path("mouse")]).status().unwrap();
    assert!(made.success());
    let mut lab = Lab::in_dir(dir, "hid", "device=hid-keyboard+script=DIR/keys,device=hid-mouse+script=DIR/mouse");
    lab.guest.check("modprobe -a usbhid hid-generic evdev");
    lab.attach("1-1", "grep -q 'zbridge keyboard' /proc/bus/input/devices");
    let node = watch(&mut lab, "zbridge keyboard");
    std::fs::write(lab.dir.path("keys"), "type=Hi\nkey=capslock\n").unwrap();
    // The last key comes back as a light.
    lab.zbridge.wait_for("1-1: lights on: caps", PATIENCE);
    // EV_KEY is 1, left shift 42, H 35, I 23, caps lock 58.
    expect(&mut lab, &["1 42 1", "1 35 1", "1 23 1", "1 23 0", "1 58 0"]);
    lab.detach();
    lab.wait(&format!("! test -e /dev/input/{node}"));

    lab.attach("1-2", "grep -q 'zbridge mouse' /proc/bus/input/devices");
    watch(&mut lab, "zbridge mouse");
    std::fs::write(lab.dir.path("mouse"), "move=5,-3\nclick=left\nwheel=-1\nmove=300,0\n").unwrap();
    // EV_REL is 2 with x 0, y 1 and the wheel 8; EV_KEY 1 with the left button 272. A report holds 127 at most.
    expect(&mut lab, &["2 0 5", "2 1 -3", "1 272 1", "1 272 0", "2 8 -1", "2 0 127", "2 0 46"]);
    lab.finish();
}

/// Has the events of an input device written to a file, from now on. Gives its node.
fn watch(lab: &mut Lab, name: &str) -> String {
    // The machine has a keyboard of its own; which of them is event0 differs.
    let node = format!("grep -A 4 '{name}' /proc/bus/input/devices | grep -o 'event[0-9]*'");
    let node = lab.guest.check(&node).trim().to_owned();
    lab.guest.check(&format!("(exec keydump /dev/input/{node} > /run/events 2>&1 &)"));
    // The kernel drops what comes in the first moments, and only then lets the open call return.
    wait_for_opened(&mut lab.guest, &format!("/dev/input/{node}"));
    node
}

/// Waits until the file holds lines of type, code and value.
fn expect(lab: &mut Lab, events: &[&str]) {
    for event in events {
        lab.wait(&format!("grep -qxe '{event}' /run/events"));
    }
}
