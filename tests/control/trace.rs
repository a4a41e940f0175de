//! `zbridge trace`: what a running bridge says it would do with a frame, which is what it then does.

use super::{A, B, Lab};
use serde_json::Value;
use support::Peer;
use zbridge::wire::Mac;

fn traced(lab: &Lab, words: &[&str]) -> Value {
    let args: Vec<&str> = ["trace"].iter().chain(words).chain(&["--json"]).copied().collect();
    serde_json::from_str(&lab.told(&args)).unwrap()
}

fn steps(answer: &Value) -> String {
    answer["steps"].as_array().unwrap().iter().map(|it| format!("{}: {}\n", it["step"], it["text"])).collect()
}

#[test]
fn a_bridge_tells_what_it_would_do_and_does_nothing() {
    let lab = Lab::new();
    let nat = "nat:10.0.2.2/24,name=way-out";
    let small = format!("{},mtu=100", lab.spec("small"));
    let specs = [lab.spec("a"), lab.spec("b"), small, format!("{},isolate", lab.spec("c")), nat.to_owned()];
    let _zbridge = lab.bridge(&specs.iter().flat_map(|spec| ["-p", spec]).collect::<Vec<_>>());
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    let _small = lab.join("small");
    // Nothing is known yet: a station is made up.
    let answer = traced(&lab, &["in=a", "arp who-has 10.0.2.2"]);
    assert_eq!((&answer["outcome"], &answer["port"]), (&"flood".into(), &"a#1".into()));
    let behind: Vec<&str> =
        answer["copies"].as_array().unwrap().iter().filter_map(|it| it["behind"].as_str()).collect();
    assert_eq!(behind, ["the gateway answers ARP for 10.0.2.2"]);
    assert!(answer["filled"][0].as_str().unwrap().contains("made up"), "{answer}");
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    let answer = traced(&lab, &["in=a", "icmp 192.0.2.1 > 192.0.2.2 to 02:00:00:00:00:02"]);
    assert!(steps(&answer).contains("02:00:00:00:00:02 is not known: for all"), "{answer}");
    b.send(&B.arp_reply(A));
    a.expect(&B.arp_reply(A));
    let answer = traced(&lab, &["in=a", "icmp 192.0.2.1 > 192.0.2.2"]);
    assert_eq!((&answer["outcome"], &answer["copies"][0]["port"]), (&"unicast".into(), &"b#1".into()));
    assert!(steps(&answer).contains(&format!("{} is known on this port", Mac(A.mac))), "{answer}");
    assert!(answer["frame"].as_str().unwrap().contains("192.0.2.1 > 192.0.2.2: ICMP echo request"), "{answer}");
    // A station that has moved; a frame to itself; a group that ends here.
    let answer = traced(&lab, &["in=a", "from 02:00:00:00:00:02 broadcast vlan 5"]);
    assert!(steps(&answer).contains("has moved from b#1") && steps(&answer).contains("VLAN 5"), "{answer}");
    let answer = traced(&lab, &["in=a", "to 02:00:00:00:00:01"]);
    assert_eq!((&answer["outcome"], &answer["reason"]), (&"dropped".into(), &"same-segment".into()));
    let answer = traced(&lab, &["in=b", "to 01:80:c2:00:00:0e"]);
    assert_eq!(answer["reason"], "reserved-group");
    // One copy is too long for a port; the other is sent.
    let text = lab.told(&["trace", "in=a", "broadcast", "len", "500"]);
    assert!(text.contains("to b#1: sent at once\n") && text.contains("to small#1: dropped: too-big"), "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("raise `mtu=` of this port"), "{text}");
    // A super-frame is cut for who takes plain frames only.
    let words = "tcp 192.0.2.1:1 > 192.0.2.2:2 ack len 9000 super 1000";
    let answer = traced(&lab, &["in=a", words]);
    assert_eq!((&answer["copies"][0]["frames"], &answer["copies"][0]["sent"]), (&9.into(), &9.into()), "{answer}");
    // Nothing was sent or learned by all that.
    let numbers = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let fdb = lab.told(&["fdb"]);
    assert_eq!(fdb.lines().filter(|line| line.starts_with("02:00:00:00:00:0")).count(), 2, "{:?}", numbers(&fdb));
    b.send(&B.arp_request(A.ip));
    a.expect(&B.arp_request(A.ip));
    lab.refused(&["trace", "in=nobody", "broadcast"], 4, "no port is named nobody");
    lab.refused(&["trace", "in=c", "broadcast"], 4, "nobody is connected to c");
    lab.refused(&["trace", "in=a", "icmp 192.0.2.1 > 203.0.113.1"], 2, "no station on the bridge is known to have");
    lab.refused(&["trace", "a", "broadcast"], 2, "is no port to come in by");
}

#[test]
fn the_frame_that_was_dropped_last_and_one_of_a_capture() {
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a", "b"]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    lab.refused(&["trace", "in=a", "last"], 2, "has dropped nothing of which there is an example");
    let file = lab.dir.text("run.pcapng");
    let capture = lab.launch(&["capture", "-w", &file, "--count", "2"]).spawn();
    zbridge.wait_for("captured by", support::PATIENCE);
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    let lldp = support::frame::numbered([1, 0x80, 0xc2, 0, 0, 0x0e], A.mac, 7, 60);
    a.send(&lldp);
    assert_eq!(capture.wait().code(), 0);
    let last = traced(&lab, &["in=a", "last"]);
    assert_eq!((&last["reason"], last["hex"].as_str().unwrap().len()), (&"reserved-group".into(), 120));
    let first = traced(&lab, &["in=b", "--file", &file, "--frame", "1"]);
    assert!(first["frame"].as_str().unwrap().contains("who-has 192.0.2.2 tell 192.0.2.1"), "{first}");
    assert!(steps(&first).contains("has moved from a#1"), "{first}");
    let newest = traced(&lab, &["in=a", "--file", &file]);
    assert_eq!(newest["reason"], "reserved-group");
    lab.refused(&["trace", "in=a", "--file", &file, "--frame", "9"], 2, "it has 2 frames, not 9");
}
