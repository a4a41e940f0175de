//! Many flows: a thousand at once, ten thousand one after the other, and what they leave behind.

use crate::lab::{GATEWAY, Lab, drink, many_descriptors, pour};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use support::{Launch, TempDir, eventually, needs, require, zbridge};

#[test]
fn a_thousand_at_once() {
    require!(needs::netns(), needs::tun());
    many_descriptors();
    let lab = Lab::start("thousand", "");
    let listener = lab.listen("127.0.0.1:0");
    let mut pairs: Vec<_> = (0..1000).map(|_| lab.joined(&listener)).collect();
    for round in 0..3_u8 {
        for (guest, _) in &mut pairs {
            guest.write_all(&[round; 100]).expect("the guest writes");
        }
        for (_, host) in &mut pairs {
            let mut room = [0; 100];
            host.read_exact(&mut room).expect("the host reads");
            host.write_all(&room).expect("the host answers");
        }
        for (guest, _) in &mut pairs {
            let mut room = [0; 100];
            guest.read_exact(&mut room).expect("the guest reads");
            assert_eq!(room, [round; 100]);
        }
    }
    for (guest, host) in &pairs {
        pour(guest, b"");
        assert_eq!(drink(host), b"");
    }
}

#[test]
fn ten_thousand_one_after_the_other_leave_nothing_behind() {
    require!(needs::netns(), needs::tun());
    many_descriptors();
    let lab = Lab::start("churn", "");
    let listener = lab.listen("127.0.0.1:0");
    let descriptors = || {
        let folder = format!("/proc/{}/fd", lab.zbridge.pid());
        std::fs::read_dir(folder).expect("its descriptors").count()
    };
    let before = descriptors();
    let run = |count: usize| {
        for number in 0..count {
            let (guest, host) = lab.joined(&listener);
            // either side is the first to end, by turns
            let (first, second) = if number % 2 == 0 { (guest, host) } else { (host, guest) };
            pour(&first, b"hello");
            assert_eq!(drink(&second), b"hello");
            pour(&second, b"good bye");
            assert_eq!(drink(&first), b"good bye");
        }
    };
    run(2000);
    let early = lab.resident();
    run(8000);
    let late = lab.resident();
    println!("after 2000 flows {early} KiB, after 10000 {late} KiB");
    assert!(late < early + 4096, "memory grows: {early} KiB after 2000 flows, {late} KiB after 10000");
    eventually("every socket is closed", || (descriptors() == before).then_some(()));
}

/// A guest takes all the descriptors that there are for flows, and whoever else is served does not notice.
#[test]
fn the_flows_of_a_guest_leave_descriptors_for_others() {
    require!(needs::netns(), needs::tun());
    let dir = TempDir::new();
    let few = |launch: Launch| {
        let limit = "ulimit -n 64 && exec \"$@\"";
        launch.under(["sh", "-c", limit, "sh"]).env("XDG_RUNTIME_DIR", dir.root())
    };
    let lab = Lab::start_with("few", "", few);
    let listener = lab.listen("127.0.0.1:0");
    // what finds no descriptor is asked again, until then
    let patience = Duration::from_secs(4);
    let connect = |listener: &TcpListener| {
        let to = format!("{GATEWAY}:{}", listener.local_addr().expect("an address").port()).parse().expect("one");
        lab.guest.inside(|| TcpStream::connect_timeout(&to, patience))
    };
    let mut flows = Vec::new();
    while let Ok(flow) = connect(&listener) {
        flows.push((flow, listener.accept().expect("a client")));
        assert!(flows.len() < 64, "the limit is 64");
    }
    assert!(flows.len() > 16, "{}", flows.len());
    let exit = zbridge!("status").env("XDG_RUNTIME_DIR", dir.root()).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains(&format!("{} tcp", flows.len())), "{exit:?}");
    drop(flows);
    eventually("what has ended makes room", || connect(&listener).ok());
}
