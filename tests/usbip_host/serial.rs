//! The back ends of a serial port: what passes, what the other end sees of the line, and what the host sees of the
//! other end.

use super::{GROWTH, PATIENCE, TempDir, eventually, pattern, serve, zbridge};
use rustix::termios::{ControlModes, InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

#[test]
fn a_pseudo_terminal_is_the_other_end_of_a_serial_port() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+pty=DIR/tty");
    let path = dir.path("tty");
    assert!(std::fs::read_link(&path).unwrap().starts_with("/dev/pts"));
    let mut port = served.attach("1-1");
    let mut tty = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    tty.write_all(b"to the host\r\n").unwrap();
    assert_eq!(port.read(13), b"to the host\r\n");
    // More than the terminal holds: what it does not take waits.
    let data = pattern(200_000);
    let sent = data.clone();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 200_000];
        std::thread::sleep(Duration::from_millis(300));
        tty.read_exact(&mut received).unwrap();
        received
    });
    port.write(&sent);
    assert!(reader.join().unwrap() == data);
    served.finish();
    assert!(!path.exists(), "the link is gone");
}

#[test]
fn a_client_of_a_socket_is_the_other_end_of_a_serial_port() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+unix=DIR/acm,device=cdc-acm+file=DIR/log");
    let mut port = served.attach("1-1");
    let data = pattern(1 << 20);
    let mut begun = UnixStream::connect(dir.path("acm")).unwrap();
    begun.write_all(b"first").unwrap();
    assert_eq!(port.read(5), b"first");
    drop(begun);
    let mut client = UnixStream::connect(dir.path("acm")).unwrap();
    let (to_host, from_host) = (data.clone(), data.clone());
    let mut writer = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(&to_host).unwrap());
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; from_host.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == from_host);
    });
    assert!(port.exchange(&data, data.len()) == data);
    writer.join().unwrap();
    reader.join().unwrap();
    let mut logged = served.attach("1-2");
    logged.write(b"what the host says\n");
    eventually("the file", || (std::fs::read(dir.path("log")).ok()? == b"what the host says\n").then_some(()));
    served.finish();
    assert!(!dir.path("acm").exists(), "the socket is gone");
}

#[test]
fn a_client_of_a_tcp_address_is_the_other_end_of_a_serial_port() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+tcp=127.0.0.1:0");
    let line = served.process.wait_for("a serial port is served at tcp", PATIENCE);
    let addr: SocketAddr = line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).unwrap();
    let mut port = served.attach("1-1");
    port.control((0x21, 0x22, 3), &[]);
    assert_eq!(port.state(), 0, "nobody is there");
    let mut client = TcpStream::connect(addr).unwrap();
    assert_eq!(port.state(), 3);
    // A second client waits until the first has left; what the host says in between waits, too.
    let mut second = TcpStream::connect(addr).unwrap();
    second.write_all(b"second").unwrap();
    let data = pattern(300_000);
    client.write_all(b"first").unwrap();
    assert_eq!(port.read(5), b"first");
    let sent = data.clone();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 300_000];
        client.read_exact(&mut received).unwrap();
        received
    });
    port.write(&sent);
    assert!(reader.join().unwrap() == data);
    assert_eq!(port.read(6), b"second");
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    port.write(b"to whom it concerns");
    let mut received = [0; 19];
    second.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"to whom it concerns");
    drop(second);
    // Whether the first was seen to leave before the second came depends on who was faster.
    while port.state() != 0 {}
    served.finish();
}

fn settings(tty: &File) -> Termios {
    tcgetattr(tty).unwrap()
}

#[test]
fn a_program_at_a_pseudo_terminal_is_the_carrier() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+pty=DIR/tty");
    let open = || File::options().read(true).write(true).open(dir.path("tty")).unwrap();
    let mut port = served.attach("1-1");
    port.control((0x21, 0x22, 3), &[]);
    assert_eq!(port.state(), 0, "nobody is there");
    let first = open();
    assert_eq!(port.state(), 3);
    let second = open();
    drop(first);
    // What is said to nobody waits for the next; it is more than a terminal holds.
    drop(second);
    assert_eq!(port.state(), 0);
    let data = pattern(30_000);
    port.write(&data);
    let mut third = open();
    assert_eq!(port.state(), 3);
    let mut received = vec![0; 30_000];
    third.read_exact(&mut received).unwrap();
    assert!(received == data);
    // One who says something and leaves is heard.
    drop(third);
    assert_eq!(port.state(), 0);
    open().write_all(b"in passing").unwrap();
    assert_eq!(port.read(10), b"in passing");
    served.finish();
}

#[test]
fn a_pseudo_terminal_shows_what_the_host_sets() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+pty=DIR/tty");
    let tty = File::options().read(true).write(true).open(dir.path("tty")).unwrap();
    let mut port = served.attach("1-1");
    let until = |what: &str, rate: u32| {
        eventually(what, || (settings(&tty).output_speed() == rate).then_some(()));
    };
    until("no DTR: hung up", 0);
    port.control((0x21, 0x22, 1), &[]);
    until("the rate after a reset", 115_200);
    // 31250 (MIDI) has no number among the B constants.
    port.control((0x21, 0x20, 0), &[0x12, 0x7a, 0, 0, 2, 0, 8]);
    until("31250 8N2", 31_250);
    assert!(settings(&tty).control_modes.contains(ControlModes::CSTOPB));
    // A break, as each program wants to read it, in its place between the bytes.
    let mut told = |input: InputModes, local: LocalModes, expected: &[u8]| {
        let mut settings = settings(&tty);
        settings.input_modes = input;
        settings.local_modes = local;
        tcsetattr(&tty, OptionalActions::Now, &settings).unwrap();
        port.write(b"a");
        for value in [0xffff, 0] {
            port.control((0x21, 0x23, value), &[]);
        }
        port.write(b"b");
        let mut received = vec![0; expected.len()];
        (&tty).read_exact(&mut received).unwrap();
        assert_eq!(received, expected, "{input:?}");
    };
    told(InputModes::empty(), LocalModes::empty(), b"a\0b");
    told(InputModes::IGNBRK, LocalModes::empty(), b"ab");
    told(InputModes::BRKINT, LocalModes::empty(), b"a\0b");
    // A program that wants to be interrupted by it.
    let script = format!(
        "trap 'echo >> {0}; exit' INT; stty brkint isig; echo > {0}; while :; do sleep 0.1; done",
        dir.text("int")
    );
    let stdin = tty.try_clone().unwrap();
    let mut program = Command::new("setsid").args(["-c", "sh", "-c", &script]).stdin(stdin).spawn().unwrap();
    let lines = |count| (std::fs::read(dir.path("int")).ok()?.len() == count).then_some(());
    eventually("the program runs", || lines(1));
    port.control((0x21, 0x23, 0xffff), &[]);
    eventually("the program was interrupted", || lines(2));
    program.wait().unwrap();
    port.control((0x21, 0x22, 0), &[]);
    until("DTR is off", 0);
    served.process.wait_for("1-1: 31250 8N2, DTR off, RTS off", PATIENCE);
    // The host is gone: the line is as it was.
    port.control((0x21, 0x22, 3), &[]);
    until("DTR is on", 31_250);
    drop(port);
    until("the host has left", 0);
    served.finish();
}

#[test]
fn a_file_is_written_by_and_by() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+file=DIR/log");
    let mut port = served.attach("1-1");
    port.control((0x21, 0x22, 3), &[]);
    assert_eq!(port.state(), 3);
    let data = pattern(2 << 20);
    port.write(&data);
    // What the host was told is sent, is in the file at the end.
    served.finish();
    assert!(std::fs::read(dir.path("log")).unwrap() == data);
    let again = serve(&dir, "device=cdc-acm+file=DIR/log");
    again.attach("1-1").write(b"more");
    again.finish();
    assert_eq!(std::fs::metadata(dir.path("log")).unwrap().len(), (2 << 20) + 4);
}

/// Whether zbridge ends or its port is removed.
#[test]
fn what_the_host_was_told_is_sent_still_reaches_who_reads_late() {
    for remove in [false, true] {
        let dir = TempDir::new();
        let served =
            serve(&dir, "device=cdc-acm+unix=DIR/acm,device=cdc-acm+tcp=127.0.0.1:0,device=cdc-acm+pty=DIR/tty");
        let line = served.process.wait_for("a serial port is served at tcp", PATIENCE);
        let addr: SocketAddr =
            line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).expect("an address");
        let mut near = UnixStream::connect(dir.path("acm")).unwrap();
        let mut far = TcpStream::connect(addr).unwrap();
        let mut tty = File::options().read(true).write(true).open(dir.path("tty")).unwrap();
        let data = pattern(400_000);
        let mut ports = ["1-1", "1-2", "1-3"].map(|busid| served.attach(busid));
        ports[0].write(&data);
        // More than zbridge takes in while the host reads nothing: with any of it unread at the end, the kernel would
        // throw away what is on its way back.
        far.write_all(&data).unwrap();
        ports[1].write(&data[..300_000]);
        // More than what a program reads in one go.
        ports[2].write(&data[..30_000]);
        if remove {
            let removed = zbridge!("port", "del", "usbip").env("XDG_RUNTIME_DIR", dir.root()).run();
            assert_eq!(removed.code(), 0, "{removed:?}");
        } else {
            served.process.sigterm();
        }
        let expect = |client: &mut dyn Read, expected: &[u8]| {
            let mut received = vec![0; expected.len()];
            client.read_exact(&mut received).unwrap();
            assert!(received == expected, "{} bytes", expected.len());
        };
        expect(&mut near, &data);
        expect(&mut tty, &data[..30_000]);
        assert_eq!(near.read(&mut [0]).unwrap(), 0, "and its end");
        if remove {
            served.process.sigterm();
        }
        let exit = served.process.wait();
        expect(&mut far, &data[..300_000]);
        assert_eq!(far.read(&mut [0]).unwrap(), 0, "and its end");
        assert_eq!(exit.code(), 0);
        assert!(!exit.stderr.contains("are lost"), "{}", exit.stderr);
    }
}

#[test]
fn what_nobody_takes_is_said_at_the_end() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+unix=DIR/acm,device=cdc-acm+unix=DIR/other");
    served.attach("1-1").write(&pattern(20_000));
    // More than the sockets hold, for one who reads none of it.
    let idle = UnixStream::connect(dir.path("other")).unwrap();
    let mut port = served.attach("1-2");
    port.control((0x21, 0x22, 3), &[]);
    assert_eq!(port.state(), 3);
    port.write(&pattern(400_000));
    served.process.sigterm();
    let exit = served.process.wait();
    assert_eq!(exit.code(), 0);
    assert!(exit.stderr.contains("1-1: 20000 bytes were not taken by its other end, and are lost"), "{}", exit.stderr);
    assert!(exit.stderr.lines().any(|line| line.contains("1-2: ") && line.contains("are lost")), "{}", exit.stderr);
    drop(idle);
}

/// Each sends what it can and leaves, while the host reads nothing: together they get one window.
#[test]
fn clients_that_come_and_go_get_no_more_memory_than_one() {
    let dir = TempDir::new();
    let served = serve(&dir, "device=cdc-acm+unix=DIR/acm");
    // More than a socket holds, and less than the window, so that each is seen to leave.
    let data = pattern(250_000);
    let mut port = served.attach("1-1");
    let before = served.memory();
    let mut clients = 0;
    while clients < 300 {
        let mut client = UnixStream::connect(dir.path("acm")).unwrap();
        client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        if client.write_all(&data).is_err() {
            break;
        }
        clients += 1;
    }
    let grown = served.memory().saturating_sub(before);
    assert!(clients < 10 && grown < GROWTH / 4, "{clients} clients, {grown} KiB");
    // The first was heard.
    assert!(port.read(data.len()) == data);
    served.finish();
}
