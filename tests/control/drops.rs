//! `zbridge drops`: the numbers balance from outside whatever is lost, and each loss has its reason, time and example.

use super::{A, B, Lab};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::frame::{BROADCAST, numbered};
use support::{Peer, StreamPeer, eventually};

/// Where LLDP goes.
const LLDP: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0x0e];

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"))
}

/// What anybody can check who has the JSON alone.
fn check_balance(rows: &[Value]) -> [u64; 4] {
    let mut sums = [0; 4];
    for row in rows {
        let [copies, sent, queued, lost] = ["copies", "sent", "queued", "dropped_out"].map(|key| number(row, key));
        assert_eq!(copies, sent + queued + lost, "{row}");
        assert_eq!(number(row, "received"), number(row, "forwarded") + number(row, "dropped_in"), "{row}");
        for (way, key) in [("in", "dropped_in"), ("out", "dropped_out")] {
            let reasons = row["reasons"].as_array().unwrap().iter().filter(|reason| reason["way"] == way);
            assert_eq!(reasons.map(|reason| number(reason, "frames")).sum::<u64>(), number(row, key), "{row}");
        }
        sums.iter_mut().zip([copies, sent, queued, lost]).for_each(|(sum, one)| *sum += one);
    }
    assert_eq!(sums[0], sums[1] + sums[2] + sums[3]);
    sums
}

/// The losses of all ports: by port and reason, the number and the example.
fn losses(rows: &[Value]) -> BTreeMap<(String, String), (u64, String)> {
    let all = rows.iter().flat_map(|row| row["reasons"].as_array().unwrap().iter().map(move |loss| (row, loss)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|(row, loss)| {
        assert!(loss["last"].as_u64().is_some(), "when it was is known: {row}");
        ((text(&row["name"]), text(&loss["reason"])), (number(loss, "frames"), text(&loss["example"])))
    })
    .collect()
}

#[test]
fn the_numbers_of_a_lossy_bench_balance_from_outside() {
    let lab = Lab::new();
    let gram = format!("unixgram:{},peer={}", lab.dir.text("gram"), lab.dir.text("nobody"));
    let specs = [
        lab.spec("a"),
        format!("{},queue=16", lab.spec("deaf")),
        format!("{},mtu=200", lab.spec("small")),
        format!("{},isolate", lab.spec("apart1")),
        format!("{},isolate", lab.spec("apart2")),
        gram,
    ];
    let _zbridge = lab.bridge(&specs.iter().flat_map(|spec| ["-p", spec]).collect::<Vec<_>>());
    let mut a = lab.join("a");
    let (_deaf, _small) = (lab.join("deaf"), lab.join("small"));
    let (mut apart, mut other) = (lab.join("apart1"), lab.join("apart2"));
    other.send(&numbered(BROADCAST, B.mac, 0, 60));
    a.expect(&numbered(BROADCAST, B.mac, 0, 60));
    apart.send(&numbered(B.mac, A.mac, 1, 60));
    let sender = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(2);
        let mut round = 0;
        while Instant::now() < until || round < 400 {
            a.send(&numbered(BROADCAST, A.mac, round, 1000));
            if round % 50 == 0 {
                a.send(&[0; 5]);
                a.send(&numbered(LLDP, A.mac, round, 60));
                a.send(&numbered([2, 0, 0, 0, 0, 99], A.mac, round, 60));
            }
            round += 1;
        }
        a
    });
    while !sender.is_finished() {
        check_balance(&rows(&lab.told(&["drops", "--json"])));
        std::thread::sleep(Duration::from_millis(20));
    }
    let a = sender.join().unwrap();
    let all = eventually("every kind of loss", || {
        let rows = rows(&lab.told(&["drops", "--json"]));
        check_balance(&rows);
        let losses = losses(&rows);
        let has = |port: &str, reason: &str| losses.contains_key(&(port.to_owned(), reason.to_owned()));
        let full = has("deaf#1", "queue-full") || has("deaf#1", "stalled");
        (full
            && has("small#1", "too-big")
            && has("a#1", "malformed")
            && has("a#1", "reserved-group")
            && has("apart1#1", "isolated"))
        .then_some(losses)
    });
    let example = |port: &str, reason: &str| all[&(port.to_owned(), reason.to_owned())].1.clone();
    assert!(example("small#1", "too-big").contains("length 1000"), "{all:?}");
    assert!(example("a#1", "reserved-group").contains("01:80:c2:00:00:0e"), "{all:?}");
    assert_eq!(all[&("apart1#1".to_owned(), "isolated".to_owned())].0, 1);
    // The line of a listener and of a port that has left are part of the sum.
    let sums = check_balance(&rows(&lab.told(&["drops", "--json"])));
    drop(a);
    lab.told(&["wait", "port=a", "listening"]);
    lab.told(&["port", "del", "small"]);
    let rows = rows(&lab.told(&["drops", "--json"]));
    let after = check_balance(&rows);
    assert!(after[0] >= sums[0] && after[3] >= sums[3], "no copy is forgotten: {rows:?}");
    assert!(losses(&rows).contains_key(&("a".to_owned(), "malformed".to_owned())), "the listener tells it now");
    assert!(rows.iter().any(|row| row["state"] == "left" && number(row, "dropped_out") > 0), "{rows:?}");
}

#[test]
fn a_loss_is_told_with_its_reason_an_example_and_what_to_do() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a", "b"]);
    let mut a = lab.join("a");
    assert_eq!(lab.told(&["drops"]), "nothing was dropped\n");
    let watching = lab.launch(&["drops", "--watch"]).spawn();
    watching.wait_for("nothing was dropped", support::PATIENCE);
    a.send(&A.arp_request(B.ip));
    let text = eventually("it is told", || Some(lab.told(&["drops"])).filter(|text| text.contains("no-egress")));
    for part in [
        "a#1\n  in: 1 received = 0 forwarded + 1 dropped\n  out: 0 copies = 0 sent + 0 queued + 0 dropped\n",
        "  in no-egress: 1, the last ",
        "      no other port that is up may take it\n",
        " > ff:ff:ff:ff:ff:ff, ARP, Request who-has",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    watching.wait_for(" > ff:ff:ff:ff:ff:ff, ARP, Request who-has", support::PATIENCE);
    watching.sigint();
    assert!(lab.told(&["drops", "b"]).starts_with("b\n  in: 0 received"));
    lab.refused(&["drops", "c"], 4, "no port is named c");
    lab.refused(&["drops", "--to", "nobody"], 3, "no bridge named nobody runs");
    let _peer: StreamPeer = lab.join("b");
    a.send(&A.arp_request(B.ip));
    assert_eq!(rows(&lab.told(&["drops", "a", "--json"])).len(), 2, "a listener is shown with its clients");
}
