//! USB/IP over the machine's own TCP: Debian's `usbip`, the back ends of a serial port, and clients that mean no good.
//!
//! The program runs as its users run it; the clients are plain sockets. No right is needed.

mod captured;
mod client;
mod foreign;
mod serial;
mod vanished;

use client::{Attached, import_request, submit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::{Launch, PATIENCE, Process, TempDir, eventually, needs, require, zbridge};

/// What a client may make the program's memory grow by, in KiB: two devices' pending data, and the allocator's slack.
const GROWTH: u64 = 48 << 10;

/// A zbridge that serves USB/IP at an address of this machine.
struct Served {
    process: Process,
    addr: SocketAddr,
}

fn serve(dir: &TempDir, devices: &str) -> Served {
    serve_at(dir, devices, "127.0.0.1:0")
}

fn serve_at(dir: &TempDir, devices: &str, listen: &str) -> Served {
    let keys = devices.replace("DIR", &dir.root().display().to_string());
    let port = format!("usbip:192.0.2.1/24,{keys},usbip-listen={listen}");
    let process = zbridge!("-v", "--port", port).env("XDG_RUNTIME_DIR", dir.root()).spawn();
    let line = process.wait_for("USB/IP is served at tcp", PATIENCE);
    let addr = line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).expect("an address");
    Served { process, addr }
}

impl Served {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn attach(&self, busid: &str) -> Attached {
        eventually("the device is free", || Attached::import(self.connect(), busid))
    }

    /// What Debian's `usbip` lists.
    fn list(&self) -> String {
        let port = self.addr.port().to_string();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        Launch::new("usbip").env("PATH", path).args(["--tcp-port", &port, "list", "-r", "127.0.0.1"]).run().stdout
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        self.process.resident_kib()
    }

    fn finish(self) {
        self.process.sigterm();
        let exit = self.process.wait();
        assert_eq!(exit.code(), 0);
    }
}

/// Whether the other end has closed; false if it is silent for `patience`.
fn is_closed(mut stream: &TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    }
}

#[test]
fn debians_usbip_lists_what_the_machine_serves() {
    require!(needs::tool("usbip", "usbip"));
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=loopback+busid=2-3,device=hid-mouse");
    let list = || served.list();
    let all = list();
    for text in ["1-1: ", "(2fe3:0001)", "(ef/02/01)", "2-3: ", "(0525:a4a0)", "1-2: "] {
        assert!(all.contains(text), "{text}: {all}");
    }
    let device = served.attach("2-3");
    assert!(!list().contains("2-3: "), "a device in use is hidden");
    drop(device);
    eventually("it is shown again", || list().contains("2-3: ").then_some(()));
    served.finish();
}

#[test]
fn a_second_importer_is_told_that_the_device_is_busy() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm");
    let mut first = served.attach("1-1");
    let mut second = served.connect();
    second.write_all(&import_request("1-1")).unwrap();
    let mut reply = Vec::new();
    second.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, [1, 0x11, 0, 3, 0, 0, 0, 2]);
    first.echo(&pattern(100_000));
    served.finish();
}

#[test]
fn usb_ls_shows_devices_importers_and_transfers() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=loopback+busid=2-3,import=127.0.0.1:1/1-1");
    let ask = |words: &[&str]| zbridge!().args(words).env("XDG_RUNTIME_DIR", dir.root()).run();
    let devices = || -> Vec<serde_json::Value> {
        ask(&["usb", "ls", "--json"]).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = devices();
    let words = |device: &serde_json::Value| ["busid", "id", "speed", "state"].map(|key| device[key].clone());
    assert_eq!(words(&all[0]), ["1-1", "2fe3:0001", "high", "free"]);
    assert_eq!(words(&all[1]), ["2-3", "0525:a4a0", "high", "free"]);
    assert_eq!((&all[2]["import"], all[2].get("id")), (&"127.0.0.1:1/1-1".into(), None));
    eventually("it is not there", || (devices()[2]["state"] == "waiting").then_some(()));
    let mut device = served.attach("1-1");
    device.echo(&pattern(100_000));
    let used = &devices()[0];
    assert_eq!(used["state"], "in use");
    assert_eq!(used["importer"]["peer"], device.stream.local_addr().unwrap().to_string());
    assert!(used["urbs"]["done"].as_u64() > Some(10) && used["urbs"]["errors"] == 0, "{used}");
    drop(device);
    eventually("it is free", || (devices()[0]["state"] == "free").then_some(()));
    assert!(devices()[0]["urbs"]["done"].as_u64() > Some(10), "its transfers are not forgotten");
    let text = ask(&["usb"]).stdout;
    assert!(text.starts_with("busid ") && text == ask(&["usb", "ls"]).stdout, "{text}");
    served.finish();
}

/// As `nc -N` does it: whoever has said all it has to say may still read.
#[test]
fn a_client_that_says_no_more_gets_its_reply() {
    let dir = TempDir::new();
    let far = serve(&dir, "device=cdc-acm");
    let near = serve(&dir, &format!("device=loopback,import={}/1-1", far.addr));
    let ask = |served: &Served, request: &[u8]| {
        let mut stream = served.connect();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        reply
    };
    let list = [1, 0x11, 0x80, 5, 0, 0, 0, 0];
    for round in 0..20 {
        for (served, devices) in [(&far, 1), (&near, 2)] {
            let reply = ask(served, &list);
            let count = reply.get(8..12).map(|count| u32::from_be_bytes(count.try_into().unwrap()));
            assert_eq!(count, Some(devices), "{round}: {} bytes", reply.len());
            assert!(reply.len() > 12 + devices as usize * 312, "{round}: {} bytes", reply.len());
        }
        // No such device.
        assert_eq!(ask(&far, &import_request("9-9")), [1, 0x11, 0, 3, 0, 0, 0, 4], "{round}");
    }
    // An importer that says no more has nothing left to do with the device.
    let port = far.attach("1-1");
    port.stream.shutdown(std::net::Shutdown::Write).unwrap();
    far.attach("1-1").echo(&pattern(1000));
    near.finish();
    far.finish();
}

/// Bytes without a short period.
fn pattern(count: u32) -> Vec<u8> {
    (0..count).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect()
}

#[test]
fn what_is_no_usbip_ends_its_connection_and_no_other() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=cdc-acm");
    let mut good = served.attach("1-1");
    good.echo(&pattern(1000));
    let before = served.memory();
    let devid = 0x0001_0003;
    let word = |at: usize, value: u32, mut bytes: Vec<u8>| {
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        bytes
    };
    let after_import: Vec<(&str, Vec<u8>)> = vec![
        ("a length of 2^31", word(24, 1 << 31, submit(1, devid, 0, 1, 0))),
        ("2^31 - 1 packets", word(32, i32::MAX as u32, submit(1, devid, 1, 2, 64))),
        ("endpoint 200", submit(1, devid, 1, 200, 64)),
        ("direction 7", submit(1, devid, 7, 1, 64)),
        ("another device", submit(1, devid + 1, 1, 2, 64)),
        ("a seqnum twice", [submit(1, devid, 1, 1, 16), submit(1, devid, 1, 1, 16)].concat()),
        ("a reply", word(0, 3, submit(1, devid, 1, 1, 16))),
        ("command 0", word(0, 0, submit(1, devid, 1, 1, 16))),
    ];
    for (name, bytes) in after_import {
        let mut bad = served.attach("1-2");
        // The other end may close while this is being sent.
        let _ = bad.stream.write_all(&bytes);
        assert!(is_closed(&bad.stream, PATIENCE), "{name}");
        good.echo(&pattern(5000));
    }
    for (name, bytes) in [
        ("a SUBMIT before the import", submit(1, 0x0001_0002, 1, 1, 64)),
        ("another version", vec![1, 6, 0x80, 5, 0, 0, 0, 0]),
        ("an unknown request", vec![1, 0x11, 0x80, 9, 0, 0, 0, 0]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a bus id without its end", [&import_request("1-2")[..8], &[b'x'; 32]].concat()),
    ] {
        let mut bad = served.connect();
        let _ = bad.write_all(&bytes);
        assert!(is_closed(&bad, PATIENCE), "{name}");
        good.echo(&pattern(5000));
    }
    let grown = served.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    served.finish();
}

/// What is only more than there is room for ends that transfer and nothing else.
#[test]
fn what_is_too_much_ends_alone() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm");
    let peer = served.attach("1-1");
    let devid = 0x0001_0002;
    let mut stream = &peer.stream;
    let many = 9000;
    (1..=many).for_each(|at| stream.write_all(&submit(100 + at, devid, 1, 2, 64)).unwrap());
    stream.write_all(&submit(10, devid, 1, 2, i32::MAX as u32)).unwrap();
    let mut refused = 0;
    loop {
        let mut reply = [0; 48];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!((&reply[..4], &reply[20..24]), (&[0, 0, 0, 3][..], &(-12i32).to_be_bytes()[..]));
        if reply[4..8] == 10u32.to_be_bytes() {
            break;
        }
        refused += 1;
    }
    assert!((1..many).contains(&refused), "{refused}");
    served.finish();
}

#[test]
fn a_half_open_client_has_ten_seconds() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm");
    let begun = Instant::now();
    let mut silent = vec![served.connect(), served.connect()];
    silent[1].write_all(&import_request("1-1")[..39]).unwrap();
    let mut good = served.attach("1-1");
    for stream in silent {
        assert!(is_closed(&stream, Duration::from_secs(40)), "{:?}", begun.elapsed());
        assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
        good.echo(&pattern(1000));
    }
    served.finish();
}

#[test]
fn one_byte_at_a_time_is_as_good() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm");
    let mut slow = served.attach("1-1");
    slow.piece = 1;
    slow.echo(&pattern(700));
    served.finish();
}

/// The device is free again after each, however much of a session there was.
#[test]
fn a_session_may_end_at_every_byte() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=cdc-acm");
    let mut good = served.attach("1-2");
    let devid = 0x0001_0002;
    let configure = {
        let mut bytes = submit(2, devid, 0, 0, 0);
        bytes[40..].copy_from_slice(&[0, 9, 1, 0, 0, 0, 0, 0]);
        bytes
    };
    let session =
        [import_request("1-1"), configure, submit(3, devid, 1, 2, 512), submit(4, devid, 0, 1, 20), vec![7; 20]]
            .concat();
    let before = served.memory();
    for end in 0..=session.len() {
        let mut stream = served.connect();
        stream.write_all(&session[..end]).unwrap();
        drop(stream);
        if end % 20 == 0 {
            good.echo(&pattern(500));
        }
    }
    served.attach("1-1").echo(&pattern(5000));
    let grown = served.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    served.finish();
}

#[test]
fn connections_of_one_address_are_counted() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm");
    let mut good = served.attach("1-1");
    let many: Vec<_> = (0..40).map(|_| served.connect()).collect();
    let refused = many[20..].iter().filter(|stream| is_closed(stream, PATIENCE)).count();
    assert_eq!(refused, 20);
    good.echo(&pattern(5000));
    drop(many);
    eventually("others are let in again", || {
        let mut stream = served.connect();
        stream.write_all(&[1, 0x11, 0x80, 5, 0, 0, 0, 0]).ok()?;
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).ok()
    });
    served.finish();
}

/// A client that does not read what it has asked for gets no more memory than its window, and holds up nobody.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm,device=loopback");
    let mut good = served.attach("1-1");
    let mut lazy = served.attach("1-2");
    let before = served.memory();
    lazy.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for seqnum in 10..1000 {
        if lazy.stream.write_all(&submit(seqnum, 0x0001_0003, 1, 1, 1 << 20)).is_err() {
            break;
        }
        if seqnum % 100 == 0 {
            good.echo(&pattern(5000));
        }
    }
    good.echo(&pattern(50_000));
    let grown = served.memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
    served.finish();
}

#[test]
fn what_cannot_be_opened_is_said_with_a_way_out() {
    let dir = TempDir::new();
    let refusal = |device: &str| {
        let device = device.replace("DIR", &dir.root().display().to_string());
        let exit = zbridge!("--port", format!("usbip:192.0.2.1/24,device={device}")).run();
        assert_ne!(exit.code(), 0);
        exit.stderr
    };
    dir.file("there", "x");
    assert!(refusal("mass-storage+image=DIR/missing").contains("truncate -s 64M"));
    assert!(refusal("mass-storage+image=DIR/there").contains("shorter than a block"));
    assert!(refusal("cdc-acm+pty=DIR/there").contains("something is there already"));
    assert!(refusal("cdc-acm+unix=DIR/there").contains("no socket"));
    assert!(refusal("hid-keyboard+script=DIR/missing").contains("cannot open"));
    assert!(refusal("loopback,mtu=100").contains("expected 1280 to 65521"));
}

/// What does not fill a block is no part of the disk, and the person is told.
#[test]
fn an_image_that_does_not_end_with_a_block_is_told_of() {
    let dir = TempDir::new();
    dir.file("odd.img", [0; 1000]);
    let served = serve(&dir, "device=mass-storage+image=DIR/odd.img");
    let says = format!("the image {} ends 488 bytes behind its last block of 512", dir.text("odd.img"));
    served.process.wait_for(&says, PATIENCE);
    served.finish();
}

#[test]
fn a_port_that_takes_a_right_is_told_of() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let spec = "usbip:192.0.2.1/24,device=loopback,usbip-listen=127.0.0.1:80";
    let exit = zbridge!("--port", spec).env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run();
    let says = "cannot listen on tcp 127.0.0.1:80: Permission denied";
    assert!(exit.stderr.contains(says) && exit.stderr.contains("hint: a port below 1024 takes a right"), "{exit:?}");
    assert_eq!(exit.code(), 5);
}

/// With nothing to do nobody wakes: not the switch, not the service, not its back ends.
#[test]
fn an_idle_port_sleeps() {
    let dir = TempDir::new();
    std::fs::File::create(dir.path("disk.img")).unwrap().set_len(1 << 20).unwrap();
    let served =
        serve(&dir, "device=cdc-acm+pty=DIR/tty,device=cdc-acm+unix=DIR/acm,device=mass-storage+image=DIR/disk.img");
    let switches = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", served.process.pid())).unwrap();
        // one that was only there for the start may just have ended
        let status = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
        let named = status.map(|text| {
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            (field("Name:"), field("voluntary_ctxt_switches:"))
        });
        named.collect::<Vec<_>>()
    };
    // The announcements of its addresses are over after some seconds, and nothing comes after them.
    let mut last = switches();
    eventually("three seconds in which nobody wakes", || {
        std::thread::sleep(Duration::from_secs(3));
        let before = std::mem::replace(&mut last, switches());
        (before == last).then_some(())
    });
    served.finish();
}
