//! `zbridge reload` and `zbridge down`: a file is read again while frames pass, and a bridge ends.

use super::{A, B, Lab};
use std::sync::atomic::{AtomicBool, Ordering};
use support::frame::numbered;
use support::{PATIENCE, Peer, Process};

impl Lab {
    /// Writes the file of the bridge: its ports.
    fn write(&self, ports: &[&str]) -> String {
        let lines: Vec<String> = ports.iter().map(|port| format!("    {port:?},\n")).collect();
        self.dir.file("lab.toml", format!("port = [\n{}]\n", lines.concat()));
        self.dir.text("lab.toml")
    }

    /// Starts a bridge with that file.
    fn with_file(&self, ports: &[&str]) -> Process {
        let file = self.write(ports);
        self.bridge(&["--config", &file])
    }
}

#[test]
fn a_changed_file_is_carried_out_and_frames_pass_all_the_time() {
    let lab = Lab::new();
    let (spec_a, spec_b, spec_c) = (lab.spec("a"), lab.spec("b"), lab.spec("c"));
    let nat = "nat:10.0.2.2/24,forward=tcp:127.0.0.1:0->10.0.2.15:22";
    let _zbridge = lab.with_file(&[&spec_a, &spec_b, &spec_c, nat]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    lab.told(&["port", "add", &lab.spec("hand")]);
    // Frames in order and without a gap, while the file changes forty times.
    let over = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                a.send(&numbered(B.mac, A.mac, number, 200));
                b.expect(&numbered(B.mac, A.mac, number, 200));
            }
            number
        });
        let limited = format!("{spec_c},mtu=1400");
        let elsewhere = format!("unix:{},name=c", lab.dir.text("elsewhere"));
        for round in 0..10 {
            lab.write(&[&spec_a, &spec_b, nat]);
            assert_eq!(lab.told(&["reload"]), "removed c\n", "{round}");
            lab.write(&[&spec_a, &spec_b, nat, &limited]);
            assert_eq!(lab.told(&["reload"]), "added c\n", "{round}");
            lab.write(&[&spec_a, &spec_b, nat, &elsewhere]);
            assert_eq!(lab.told(&["reload"]), "replaced c\n", "{round}");
            lab.write(&[&spec_a, &spec_b, nat, &spec_c]);
            assert_eq!(lab.told(&["reload"]), "replaced c\n", "{round}");
        }
        over.store(true, Ordering::Relaxed);
        load.join().expect("no frame is lost")
    });
    assert!(count > 100, "{count} frames only");
    assert_eq!(lab.told(&["reload"]), "nothing differs\n");
    let status = lab.told(&["status"]);
    assert!(status.contains("\nhand ") && !status.contains("elsewhere"), "{status}");
    // A gateway gets and loses forwards, and is the same.
    lab.write(&[&spec_a, &spec_b, &spec_c, "nat:10.0.2.2/24,forward=udp:127.0.0.1:0->10.0.2.15:53"]);
    assert_eq!(lab.told(&["reload"]), "changed nat\n");
}

#[test]
fn a_file_with_a_fault_changes_nothing() {
    let lab = Lab::new();
    let (spec_a, spec_b) = (lab.spec("a"), lab.spec("b"));
    let zbridge = lab.with_file(&[&spec_a, &spec_b]);
    let before = lab.told(&["fdb"]) + &lab.told(&["status", "--json"]).matches("\"name\"").count().to_string();
    let _stays = lab.join("b");
    lab.write(&[&spec_a, "uinx:/tmp/x"]);
    lab.refused(&["reload"], 2, "lab.toml:3");
    lab.refused(&["reload"], 2, "nothing was changed");
    lab.write(&[&spec_a, &format!("{spec_b},switch=other")]);
    lab.refused(&["reload"], 2, "switch other is not there, and switches cannot change while the bridge runs");
    lab.dir.file("lab.toml", "[switch.default]\nageing = \"20s\"\n[[port]]\ntype = \"unix\"\ntarget = \"/tmp/x\"\n");
    lab.refused(&["reload"], 2, "settings of a switch cannot change");
    std::fs::remove_file(lab.dir.path("lab.toml")).unwrap();
    lab.refused(&["reload"], 4, "lab.toml");
    let after = lab.told(&["fdb"]) + &lab.told(&["status", "--json"]).matches("\"name\"").count().to_string();
    assert_eq!(before.is_empty(), after.is_empty());
    lab.told(&["wait", "port=b", "up", "--timeout", "100ms"]);
    // A port that cannot be opened anew is put back as it was, and the rest holds.
    lab.write(&[&spec_a, &format!("unix:{},name=b", lab.dir.text("no/such/folder")), &lab.spec("c")]);
    lab.refused(&["reload"], 4, "the port is as it was");
    assert!(lab.told(&["status"]).contains("\nc "));
    let _again = lab.join("b");
    // SIGHUP is the same wish; a fault in the file ends nothing.
    lab.write(&["uinx:/tmp/x"]);
    zbridge.sighup();
    zbridge.wait_for("the nearest is \"unix\"", PATIENCE);
    lab.write(&[&spec_a, &spec_b]);
    zbridge.sighup();
    lab.told(&["wait", "port=c", "gone", "--timeout", "10s"]);
}

#[test]
fn a_good_file_brings_back_what_a_bad_one_has_taken() {
    let lab = Lab::new();
    let (spec_a, spec_b) = (lab.spec("a"), lab.spec("b"));
    let _zbridge = lab.with_file(&[&spec_a, &spec_b]);
    lab.write(&[&format!("unix:{}", lab.dir.text("nowhere/x"))]);
    lab.refused(&["reload"], 4, "the rest of it holds: removed a, b");
    lab.write(&[&spec_a, &spec_b]);
    assert_eq!(lab.told(&["reload"]), "added a, b\n");
}

#[test]
fn a_bridge_without_a_file_has_nothing_to_read_again() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    lab.refused(&["reload"], 2, "this bridge was not started with a file");
}

#[test]
fn a_bridge_that_is_told_to_end_is_gone_when_the_command_is_done() {
    let lab = Lab::new();
    for _ in 0..3 {
        let zbridge = lab.with_ports(&["a"]);
        let mut a = lab.join("a");
        assert_eq!(lab.told(&["down"]), "");
        assert!(!lab.dir.path("a").exists() && !lab.socket("default").exists());
        a.expect_closed();
        let exit = zbridge.wait();
        assert_eq!(exit.code(), 0, "{exit:?}");
    }
    lab.refused(&["down"], 3, "no bridge runs");
}
