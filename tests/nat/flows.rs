//! What `zbridge flows` shows of the gateway: who, where to, state, bytes, and the forwards.

use crate::lab::{GATEWAY, GUEST, Lab, drink, listen, pour, udp};
use std::io::{Read, Write};
use std::net::TcpStream;
use support::{Launch, TempDir, eventually, needs, require, zbridge};

/// The flows as JSON, one a line.
fn flows(dir: &TempDir) -> Vec<serde_json::Value> {
    let exit = zbridge!("flows", "--json").env("XDG_RUNTIME_DIR", dir.root()).run();
    assert_eq!(exit.code(), 0, "{}", exit.stderr);
    exit.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn lab(label: &str, dir: &TempDir, keys: &str) -> Lab {
    Lab::start_with(label, keys, |launch: Launch| launch.env("XDG_RUNTIME_DIR", dir.root()))
}

#[test]
fn each_flow_is_shown_with_its_bytes_and_its_state() {
    require!(needs::netns(), needs::tun());
    let dir = TempDir::new();
    let lab = lab("flows", &dir, ",forward=tcp:127.0.0.1:2222->10.0.2.15:22");
    let listener = lab.listen("127.0.0.1:0");
    let port = listener.local_addr().expect("an address").port();
    let (mut guest, mut host) = lab.joined(&listener);
    guest.write_all(&[1; 1000]).expect("bytes leave");
    host.read_exact(&mut [0; 1000]).expect("they come");
    host.write_all(&[2; 3000]).expect("bytes come back");
    guest.read_exact(&mut [0; 3000]).expect("they come");
    let (asker, answerer) = (udp(&lab.guest, &format!("{GUEST}:5353")), udp(&lab.host, "127.0.0.1:0"));
    let to = format!("{GATEWAY}:{}", answerer.local_addr().expect("an address").port());
    asker.send_to(&[3; 70], &to).expect("it leaves");
    answerer.recv_from(&mut [0; 99]).expect("it comes");
    let inside = listen(&lab.guest, &format!("{GUEST}:22"));
    let client = lab.host.inside(|| TcpStream::connect("127.0.0.1:2222")).expect("the forward listens");
    let (server, _) = inside.accept().expect("a client");

    let all = flows(&dir);
    let one = |wanted: &dyn Fn(&serde_json::Value) -> bool| -> serde_json::Value {
        let found: Vec<_> = all.iter().filter(|flow| wanted(flow)).collect();
        assert_eq!(found.len(), 1, "{all:?}");
        found[0].clone()
    };
    let out = one(&|flow| flow["protocol"] == "tcp" && flow["direction"] == "out");
    assert_eq!((&out["up"], &out["down"], &out["state"]), (&1000.into(), &3000.into(), &"open".into()), "{out}");
    assert_eq!(out["guest"], guest.local_addr().expect("an address").to_string());
    assert_eq!((&out["remote"], &out["port"]), (&format!("{GATEWAY}:{port}").into(), &"nat".into()));
    assert!(out["round_trip_us"].as_u64().is_some_and(|micros| micros < 10_000_000), "{out}");
    let datagrams = one(&|flow| flow["protocol"] == "udp");
    assert_eq!((&datagrams["up"], &datagrams["guest"]), (&70.into(), &format!("{GUEST}:5353").into()));
    assert_eq!(datagrams["remote"], to);
    let waits = one(&|flow| flow["state"] == "listening");
    assert_eq!((&waits["remote"], &waits["guest"]), (&"127.0.0.1:2222".into(), &format!("{GUEST}:22").into()));
    let inward = one(&|flow| flow["direction"] == "in" && flow["state"] == "open");
    assert_eq!(inward["remote"], client.local_addr().expect("an address").to_string(), "the client itself");

    // one side ends, and then the other
    pour(&guest, &[]);
    let state = |wanted: &str| {
        let found = flows(&dir).into_iter().find(|flow| flow["guest"] == out["guest"]);
        (found.as_ref().map(|flow| flow["state"].as_str().expect("a word")) == Some(wanted)).then_some(())
    };
    eventually("the guest has ended", || state("guest ended"));
    drop((host, server));
    assert!(drink(&guest).is_empty());
    let table = zbridge!("flows").env("XDG_RUNTIME_DIR", dir.root()).env("COLUMNS", "80").run().stdout;
    assert!(table.starts_with("flow  guest ") && table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("<-  127.0.0.1:2222"), "{table}");
}

/// As many as the gateway has room for: each is in the answer once, and the gateway goes on meanwhile.
#[test]
fn thousands_of_flows_are_listed() {
    require!(needs::netns(), needs::tun());
    const FLOWS: usize = 1500;
    let dir = TempDir::new();
    let lab = lab("many-flows", &dir, "");
    let answerer = udp(&lab.host, "127.0.0.1:0");
    let to = format!("{GATEWAY}:{}", answerer.local_addr().expect("an address").port());
    let sockets = lab.guest.inside(|| {
        let open = |_| std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        (0..FLOWS).map(open).collect::<Vec<_>>()
    });
    let mut found = 0;
    for sockets in sockets.chunks(50) {
        sockets.iter().for_each(|socket| assert_eq!(socket.send_to(b"x", &to).expect("it leaves"), 1));
        for _ in sockets {
            answerer.recv_from(&mut [0; 9]).expect("it comes");
            found += 1;
        }
    }
    let mut guests: Vec<String> =
        flows(&dir).iter().map(|flow| flow["guest"].as_str().expect("a guest").to_owned()).collect();
    assert_eq!((found, guests.len()), (FLOWS, FLOWS));
    guests.sort_unstable();
    guests.dedup();
    assert_eq!(guests.len(), FLOWS, "each once");
}
