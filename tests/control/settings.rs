//! Settings of ports, and the forwarding database, are changed while frames pass.

use super::{A, B, Lab, cells};
use support::Peer;
use support::frame::numbered;

/// What passes from `a` to `b` next is this frame, and not what was sent before it.
fn passes(a: &mut impl Peer, b: &mut impl Peer, number: u32, len: usize) {
    let frame = numbered(B.mac, A.mac, number, len);
    a.send(&frame);
    b.expect(&frame);
}

#[test]
fn a_port_is_set_while_frames_pass() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", &lab.spec("a"), "-p", &lab.spec("b"), "-p", "nat:10.0.2.2/24"]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    passes(&mut a, &mut b, 1, 600);
    // Isolated from each other, and not any more.
    lab.told(&["set", "a", "isolate"]);
    passes(&mut a, &mut b, 2, 600);
    lab.told(&["set", "b", "isolate", "guard=off"]);
    a.send(&numbered(B.mac, A.mac, 3, 600));
    lab.told(&["set", "b", "isolate=off"]);
    passes(&mut a, &mut b, 4, 600);
    // A shorter mtu, which whoever comes later has, too.
    lab.told(&["set", "a", "isolate=off", "mtu=100"]);
    a.send(&numbered(B.mac, A.mac, 5, 600));
    passes(&mut a, &mut b, 6, 100);
    let mut again = lab.join("a");
    again.send(&numbered(B.mac, A.mac, 7, 600));
    passes(&mut again, &mut b, 8, 100);
    lab.told(&["set", "a", "mtu=default", "queue=16"]);
    passes(&mut again, &mut b, 9, 600);
    assert!(lab.told(&["status", "--json"]).contains("queue=16"), "the port is what it was set to");
    // What cannot be set changes nothing.
    lab.refused(&["set", "a", "mtu=100", "name=x"], 2, "name");
    passes(&mut again, &mut b, 10, 600);
    lab.refused(&["set", "nat", "mtu=1400"], 2, "the mtu of nat is told to its hosts when it comes");
    lab.refused(&["set", "a#1", "static=02:00:5e:00:53:01"], 2, "static is set of its listener");
    lab.refused(&["set", "x", "learn=off"], 4, "no port is named x");
}

#[test]
fn stations_are_bound_and_forgotten() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a", "b"]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    passes(&mut a, &mut b, 1, 60);
    let known = || cells(&lab.told(&["fdb"]));
    let (mac, bound) = ("02:00:00:00:00:01", "02:00:5e:00:53:01");
    assert!(known().contains(mac), "{}", known());
    lab.told(&["fdb", "flush", "b"]);
    assert!(known().contains(mac));
    lab.told(&["fdb", "flush"]);
    assert!(!known().contains(mac), "{}", known());
    passes(&mut a, &mut b, 2, 60);
    lab.told(&["fdb", "del", mac]);
    lab.refused(&["fdb", "del", mac], 4, "is not known\n  hint: --if-exists allows that");
    lab.told(&["fdb", "del", mac, "--if-exists"]);
    // Bound by hand, and by the port's own key.
    lab.told(&["fdb", "add", bound, "b"]);
    lab.refused(&["fdb", "add", bound, "b"], 2, "is bound to b already");
    lab.told(&["fdb", "add", bound, "b", "--may-exist"]);
    lab.told(&["fdb", "flush"]);
    assert!(known().contains(&format!("{bound} b#1")), "{}", known());
    lab.told(&["fdb", "del", bound]);
    lab.told(&["set", "b", &format!("static={bound}")]);
    assert!(known().contains(&format!("{bound} b#1")), "{}", known());
    lab.told(&["set", "b", "static=off"]);
    assert!(!known().contains(bound), "{}", known());
    // Where nothing is learned, what was is forgotten.
    passes(&mut a, &mut b, 3, 60);
    lab.told(&["set", "a", "learn=off"]);
    passes(&mut a, &mut b, 4, 60);
    assert!(!known().contains(mac), "{}", known());
    lab.refused(&["fdb", "add", "ff:ff:ff:ff:ff:ff", "b"], 2, "one station's MAC address");
    lab.refused(&["fdb", "add", bound, "x"], 4, "no port is named x");
}
