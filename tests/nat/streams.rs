//! TCP from a guest to the host and beyond: bytes, ends, resets, windows.

use crate::lab::{FAR, FAR6, GATEWAY, GATEWAY6, Lab, bytes, drink, listen, pour};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::{needs, require};

/// More than all buffers on the way hold.
const LARGE: usize = 24 << 20;

#[test]
fn a_guest_downloads_from_the_hosts_loopback() {
    require!(needs::netns(), needs::tun(), needs::tool("curl", "curl"), needs::tool("python3", "python3"));
    let lab = Lab::start("curl", "");
    let dir = support::TempDir::new();
    dir.file("data", bytes(5_000_000));
    for (bind, gateway) in [("127.0.0.1", GATEWAY.to_owned()), ("::1", format!("[{GATEWAY6}]"))] {
        let server = format!("cd {} && exec python3 -m http.server 8000 --bind {bind}", dir.root().display());
        let mut server = lab.host.command("sh").args(["-c", &server]).spawn().expect("a server");
        let fetch = format!("curl -s --retry 40 --retry-connrefused --retry-delay 1 -m 60 http://{gateway}:8000/data");
        let sum = lab.guest.check(&format!("{fetch} | sha256sum"));
        let wanted = lab.host.check(&format!("sha256sum < {}", dir.text("data")));
        server.kill().expect("it runs");
        server.wait().expect("it ends");
        assert_eq!(sum, wanted, "{bind}");
    }
}

#[test]
fn both_directions_at_once_and_beyond_the_host() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("far", "");
    let data = bytes(LARGE);
    for addr in [format!("{FAR}:7"), format!("[{FAR6}]:7")] {
        let listener = listen(&lab.far, &addr);
        let guest = lab.connect(&addr).expect("a connection to a far host");
        let (far, from) = listener.accept().expect("a client");
        assert!(!from.ip().to_string().starts_with("10.0.2."), "the host speaks for its guest: {from}");
        let (up, down) = std::thread::scope(|scope| {
            let up = scope.spawn(|| drink(&far));
            let down = scope.spawn(|| drink(&guest));
            scope.spawn(|| pour(&guest, &data));
            pour(&far, &data);
            (up.join().expect("read"), down.join().expect("read"))
        });
        assert!(up == data && down == data, "{addr}: {} up, {} down", up.len(), down.len());
    }
}

#[test]
fn a_half_that_is_closed_leaves_the_other_open() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("half", "");
    let listener = lab.listen("127.0.0.1:0");
    let (guest, host) = lab.joined(&listener);
    pour(&guest, b"the question");
    assert_eq!(drink(&host), b"the question");
    pour(&host, b"and the answer");
    assert_eq!(drink(&guest), b"and the answer");
    // the other way round
    let (guest, host) = lab.joined(&listener);
    pour(&host, b"a banner");
    assert_eq!(drink(&guest), b"a banner");
    pour(&guest, b"and the rest");
    assert_eq!(drink(&host), b"and the rest");
}

#[test]
fn a_reset_passes_in_both_directions() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("reset", "");
    let listener = lab.listen("127.0.0.1:0");
    for guest_resets in [true, false] {
        let (guest, host) = lab.joined(&listener);
        let (resets, mut hears) = if guest_resets { (guest, host) } else { (host, guest) };
        SockRef::from(&resets).set_linger(Some(Duration::ZERO)).expect("an abrupt end");
        drop(resets);
        let error = hears.read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the guest resets: {guest_resets}");
    }
}

/// What fails beyond fails for the guest as it does for the host, and as soon.
#[test]
fn a_connection_in_vain_is_told() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("vain", "");
    for addr in [format!("{GATEWAY}:9"), format!("[{GATEWAY6}]:9"), format!("{FAR}:9"), format!("[{FAR6}]:9")] {
        let refused = lab.connect(&addr).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{addr}");
    }
    lab.host.ip("route add unreachable 203.0.113.0/25");
    lab.host.ip("-6 route add prohibit 2001:db8:77::/64");
    let unreachable = lab.connect("203.0.113.1:80").expect_err("no route");
    assert_eq!(unreachable.kind(), ErrorKind::HostUnreachable);
    let prohibited = lab.connect("[2001:db8:77::1]:80").expect_err("a rule");
    assert_eq!(prohibited.kind(), ErrorKind::PermissionDenied);
    // a router beyond that says nothing, and a host that is not patient
    lab.host.ip(&format!("route add 203.0.113.128/25 via {FAR}"));
    lab.host.check("echo 1 > /proc/sys/net/ipv4/tcp_syn_retries");
    let silent = lab.connect("203.0.113.129:80").expect_err("nobody answers");
    assert_eq!(silent.kind(), ErrorKind::HostUnreachable);
}

/// A reader who rests closes the window of the writer, on whichever side; when it goes on everything arrives, and at once.
#[test]
fn a_closed_window_opens_again() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("window", "");
    let listener = lab.listen("127.0.0.1:0");
    let data = bytes(LARGE);
    let rests = |guest_writes: bool, (guest, host): (TcpStream, TcpStream)| {
        let (writer, mut reader) = if guest_writes { (guest, host) } else { (host, guest) };
        std::thread::scope(|scope| {
            scope.spawn(|| pour(&writer, &data));
            // after 200 ms, and then twice as late each time, a closed window is probed: after 6.2 s next after 12.6 s
            std::thread::sleep(Duration::from_millis(7500));
            let (mut found, mut silence) = (Vec::new(), Duration::ZERO);
            let mut piece = vec![0; 1 << 16];
            loop {
                let since = Instant::now();
                let count = reader.read(&mut piece).expect("an orderly end");
                silence = silence.max(since.elapsed());
                match count {
                    0 => break,
                    count => found.extend_from_slice(&piece[..count]),
                }
            }
            assert!(found == data, "the guest writes: {guest_writes}; {} bytes came", found.len());
            // who waits for the probe waits for five seconds
            assert!(silence < Duration::from_millis(4500), "the guest writes: {guest_writes}; nothing for {silence:?}");
        });
    };
    let pairs = [true, false].map(|guest_writes| (guest_writes, lab.joined(&listener)));
    std::thread::scope(|scope| {
        for (guest_writes, pair) in pairs {
            scope.spawn(move || rests(guest_writes, pair));
        }
    });
}

#[test]
fn a_stalled_host_holds_up_nobody_else() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("stalled", "");
    let listener = lab.listen("127.0.0.1:0");
    let stalled: Vec<_> = (0..8).map(|_| lab.joined(&listener)).collect();
    for (guest, _) in &stalled {
        guest.set_nonblocking(true).expect("a mode");
        let piece = bytes(1 << 16);
        let mut writer = guest;
        let mut quiet = 0;
        while quiet < 20 {
            match writer.write(&piece).map(|count| count > 0) {
                Ok(true) => quiet = 0,
                Ok(false) | Err(_) => {
                    quiet += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
    let (guest, host) = lab.joined(&listener);
    let data = bytes(LARGE);
    let found = std::thread::scope(|scope| {
        scope.spawn(|| pour(&guest, &data));
        drink(&host)
    });
    assert!(found == data, "{} bytes came", found.len());
    assert!(lab.guest.pings(GATEWAY));
}
