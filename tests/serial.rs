//! Serial ports from outside: every transport, peers that come and go, noise, and readers that stall.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{Framing, LinePeer, PATIENCE, Peer, Received, StreamPeer, TempDir, eventually, frame, zbridge};
use zbridge::config::{Config, PortSpec};
use zbridge::counters::DropReason;
use zbridge::engine::{Bridge, PortStatus};

const A: frame::Mac = [2, 0, 0, 0, 0, 1];
const B: frame::Mac = [2, 0, 0, 0, 0, 2];
const MOMENT: Duration = Duration::from_millis(300);

/// A bridge with these ports, in which DIR stands for the folder.
fn bridge(dir: &TempDir, ports: &[&str]) -> Bridge {
    let mut config = Config::default();
    for port in ports {
        config.add_port(PortSpec::parse(&port.replace("DIR", &dir.root().display().to_string())).unwrap()).unwrap();
    }
    Bridge::start(&config).unwrap()
}

fn port(bridge: &Bridge, name: &str) -> PortStatus {
    let status = bridge.status().unwrap().remove(0);
    status.ports.into_iter().find(|port| port.name == name).unwrap()
}

/// A stream peer that is a port: what comes from now on reaches it.
fn attached(bridge: &Bridge, dir: &TempDir, name: &str) -> StreamPeer {
    let peer = StreamPeer::unix(dir.path(name));
    eventually(&format!("{name} is attached"), || {
        let ports = bridge.status().unwrap().remove(0).ports;
        // A client of the listener.
        let its = format!("{name}#");
        ports.iter().any(|port| port.name.starts_with(&its) && port.state == "up").then_some(())
    });
    peer
}

fn wait_for(bridge: &Bridge, name: &str, state: &str) {
    eventually(&format!("{name} is {state}"), || (port(bridge, name).state == state).then_some(()));
}

/// A frame each way between a line and a stream, and what is nasty about SLIP in it.
fn exchange(line: &mut LinePeer, wire: &mut StreamPeer, round: u8) {
    let nasty = [&[0xc0, 0xdb, 0xdc, 0xdd, b'\r', b'?', b'P', 0xf0][..], &[round]].concat();
    let there = frame::ethernet(frame::BROADCAST, A, frame::EXPERIMENT, &nasty);
    let back = frame::ethernet(A, B, frame::EXPERIMENT, &[&nasty[..], &[1; 1400]].concat());
    line.send(&there);
    wire.expect(&there);
    wire.send(&back);
    line.expect(&back);
}

/// One port on `transport`, a stream port beside it, and a peer that `attach` makes, three times.
fn serves(transport: &str, attach: impl Fn(&TempDir) -> LinePeer) {
    serves_at(transport, |dir, _| attach(dir));
}

/// The same, for a peer that has to ask where the port is.
fn serves_at(transport: &str, attach: impl Fn(&TempDir, &PortStatus) -> LinePeer) {
    let dir = TempDir::new();
    let bridge = bridge(&dir, &[&format!("slip:{transport},name=line"), "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    let begun = port(&bridge, "line");
    for round in 0..3 {
        let mut line = attach(&dir, &begun);
        wait_for(&bridge, "line", "up");
        exchange(&mut line, &mut wire, round);
        drop(line);
        eventually("the peer's leaving is seen", || (port(&bridge, "line").state != "up").then_some(()));
    }
    let counters = port(&bridge, "line").counters;
    assert_eq!(
        (counters.rx_frames, counters.tx_frames),
        (3, 3),
        "{:?}",
        counters.drops().map(|(row, n)| (row.word, n)).collect::<Vec<_>>()
    );
    bridge.stop().unwrap();
    let left: Vec<_> = dir.root().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "peer"), "nothing of ours is left: {left:?}");
}

#[test]
fn unix_listening() {
    serves("unix:DIR/line", |dir| LinePeer::unix(Framing::Slip, dir.path("line")));
}

#[test]
fn unix_dialling() {
    let listener = std::cell::OnceCell::new();
    serves("unix:DIR/peer,connect", |dir| {
        let listener = listener.get_or_init(|| UnixListener::bind(dir.path("peer")).unwrap());
        LinePeer::on(Framing::Slip, listener.accept().unwrap().0)
    });
}

#[test]
fn pseudo_terminal() {
    serves("pty:DIR/line", |dir| LinePeer::device(Framing::Slip, dir.path("line")));
}

#[test]
fn fifos() {
    serves("pipe:DIR/line", |dir| LinePeer::fifos(Framing::Slip, dir.text("line")));
}

#[test]
fn tcp_dialling() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    serves(&format!("tcp:{address}"), |_| LinePeer::on_tcp(Framing::Slip, listener.accept().unwrap().0));
}

#[test]
fn tcp_listening() {
    serves_at("tcp:127.0.0.1:0,listen", |_, begun| {
        let address = begun.peer.split(' ').find_map(|word| word.parse().ok());
        LinePeer::tcp(Framing::Slip, address.unwrap_or_else(|| panic!("where it listens: {begun:?}")))
    });
}

/// A terminal whose controlling side is in the hands of the test: to zbridge, a UART.
fn uart() -> (LinePeer, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    let device = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (LinePeer::on_file(Framing::Slip, File::from(master)), device)
}

#[test]
fn a_uart_is_set_and_its_unplugging_is_a_state() {
    let dir = TempDir::new();
    let (mut line, device) = uart();
    std::os::unix::fs::symlink(&device, dir.path("tty")).unwrap();
    let bridge = bridge(&dir, &["slip:serial:DIR/tty@9600,parity=none,stop=2,name=line", "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    exchange(&mut line, &mut wire, 0);
    let settings = std::process::Command::new("stty").args(["-a", "-F", &device]).output().unwrap();
    // The terminal is exclusively the bridge's; root may look at it all the same.
    let settings = String::from_utf8_lossy(&settings.stdout);
    if !settings.is_empty() {
        for word in ["speed 9600 baud", " cs8 ", " cstopb ", "-parenb", "-icanon", "-echo ", "-opost"] {
            assert!(settings.contains(word), "{word} in {settings}");
        }
    }
    drop(line);
    wait_for(&bridge, "line", "waiting");
    assert!(!port(&bridge, "line").peer.is_empty(), "it says why");
    let (mut line, device) = uart();
    std::fs::remove_file(dir.path("tty")).unwrap();
    std::os::unix::fs::symlink(&device, dir.path("tty")).unwrap();
    wait_for(&bridge, "line", "up");
    exchange(&mut line, &mut wire, 1);
    bridge.stop().unwrap();
}

#[test]
fn a_program_is_started_again_without_a_shell() {
    let dir = TempDir::new();
    let script = dir.file(
        "peer",
        "#!/bin/sh\necho $$ > DIR/pid\ncat DIR/to & exec cat > DIR/from\n".replace("DIR", dir.root().to_str().unwrap()),
    );
    std::process::Command::new("chmod").arg("700").arg(&script).status().unwrap();
    std::process::Command::new("mkfifo").args([dir.path("to"), dir.path("from")]).status().unwrap();
    let bridge = bridge(&dir, &["slip:exec:DIR/peer '$(touch DIR/shell)',name=line", "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    let mut pids = Vec::new();
    for round in 0..2 {
        // What the program reads from one FIFO is what we read from the other.
        let (to, from) = (open(&dir.path("to"), true), open(&dir.path("from"), false));
        let mut line = LinePeer::on_files(Framing::Slip, from, to);
        exchange(&mut line, &mut wire, round);
        let pid: i32 = eventually("its pid", || std::fs::read_to_string(dir.path("pid")).ok()?.trim().parse().ok());
        std::fs::remove_file(dir.path("pid")).unwrap();
        let status = port(&bridge, "line");
        assert_eq!((status.state, status.peer), ("up", format!("pid {pid}")));
        let group = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        wait_for(&bridge, "line", "waiting");
        pids.push(pid);
    }
    assert!(!dir.path("shell").exists());
    let last: i32 = eventually("a third one", || std::fs::read_to_string(dir.path("pid")).ok()?.trim().parse().ok());
    bridge.stop().unwrap();
    let last = Path::new("/proc").join(last.to_string());
    eventually("the last one ends with the bridge", || (!last.exists()).then_some(()));
}

fn open(path: &Path, write: bool) -> File {
    let file = File::options().read(!write).write(write).open(path).unwrap();
    rustix::io::ioctl_fionbio(&file, true).unwrap();
    file
}

#[test]
fn a_descriptor_is_inherited() {
    let dir = TempDir::new();
    let (mut line, device) = uart();
    let process = support::Launch::new("/bin/sh")
        .apart()
        .args(["-c", "exec \"$0\" \"$@\" 3<>\"$DEVICE\"", env!("CARGO_BIN_EXE_zbridge")])
        .args(["--port", "slip:fd:3,name=line", "--port", &format!("unix:{}", dir.text("wire"))])
        .env("DEVICE", &device)
        .spawn();
    let mut wire = StreamPeer::unix(dir.path("wire"));
    exchange(&mut line, &mut wire, 0);
    drop(line);
    process.wait_for("trying again until it is there", PATIENCE);
    process.sigint();
    assert_eq!(process.wait().code(), 0);
    assert_eq!(zbridge!("--port", "slip:fd:9").run().code(), 1);
}

#[test]
fn a_pseudo_terminal_is_opened_and_closed_a_hundred_times() {
    let dir = TempDir::new();
    let bridge = bridge(&dir, &["slip:pty:DIR/line", "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    let mut busy = frame::numbered(A, B, 0, 1514);
    for round in 0..100u32 {
        let mut line = LinePeer::device(Framing::Slip, dir.path("line"));
        if round % 3 == 0 {
            // It waits in silence, and is found all the same.
            wait_for(&bridge, "line", "up");
            busy = frame::numbered(A, B, round, 700);
            wire.send(&busy);
            line.expect(&busy);
        }
        let sent = frame::numbered(frame::BROADCAST, A, round, 900);
        line.send(&sent);
        wire.expect(&sent);
        if round % 3 == 1 {
            // It leaves with its terminal full of what it did not read, having set its modes as a shell would.
            (0..20).for_each(|_| wire.send(&busy));
            let cooked = std::process::Command::new("stty")
                .args(["-F", &dir.text("line"), "icanon", "icrnl", "opost"])
                .status()
                .unwrap();
            assert!(cooked.success());
            drop(line);
            wait_for(&bridge, "line", "waiting");
            continue;
        }
        if round % 5 == 0 {
            line.send_raw(&[0x55; 10]);
        }
    }
    let status = port(&bridge, "line");
    assert_eq!(status.counters.rx_frames - status.counters.dropped(DropReason::Malformed), 100, "{status:?}");
    bridge.stop().unwrap();
    assert!(std::fs::symlink_metadata(dir.path("line")).is_err(), "the link is removed");
}

#[test]
fn only_a_stale_link_is_replaced() {
    let dir = TempDir::new();
    let start = || {
        let mut config = Config::default();
        config.add_port(PortSpec::parse(&format!("slip:pty:{}", dir.text("line"))).unwrap()).unwrap();
        Bridge::start(&config)
    };
    std::os::unix::fs::symlink("/dev/pts/no-such", dir.path("line")).unwrap();
    let first = start().unwrap();
    let refused = start().err().unwrap();
    assert!(refused.what().contains(&format!("the terminal of pid {}", std::process::id())), "{refused}");
    first.stop().unwrap();
    std::fs::write(dir.path("line"), "a file").unwrap();
    assert!(start().is_err());
    assert_eq!(std::fs::read(dir.path("line")).unwrap(), b"a file");
}

#[test]
fn a_listening_line_serves_one_peer_at_a_time() {
    let dir = TempDir::new();
    let bridge = bridge(&dir, &["slip:unix:DIR/line", "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    assert_eq!(port(&bridge, "line").state, "listening");
    let mut first = LinePeer::unix(Framing::Slip, dir.path("line"));
    exchange(&mut first, &mut wire, 0);
    let mut second = LinePeer::unix(Framing::Slip, dir.path("line"));
    let early = frame::numbered(frame::BROADCAST, A, 7, 100);
    second.send(&early);
    wire.expect_none(MOMENT, |frame| frame == early);
    exchange(&mut first, &mut wire, 1);
    // Half a frame, then it dies: nothing of it is in what the second one says.
    first.send_raw(&[0xc0, 1, 2, 3]);
    drop(first);
    wire.expect(&early);
    exchange(&mut second, &mut wire, 2);
    bridge.stop().unwrap();
}

#[test]
fn noise_costs_no_frame_beside_it() {
    let dir = TempDir::new();
    let bridge = bridge(&dir, &["slip:unix:DIR/line", "unix:DIR/wire"]);
    let mut wire = attached(&bridge, &dir, "wire");
    let mut line = LinePeer::unix(Framing::Slip, dir.path("line"));
    let mut seed = 0x5eed_u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for number in 0..300 {
        // At most 13 octets, so that no noise is long enough to be forwarded as a frame.
        let noise: Vec<u8> = (0..random() % 14).map(|_| random()).filter(|octet| *octet != 0xc0).collect();
        line.send_raw(&noise);
        line.send(&frame::numbered(frame::BROADCAST, A, number, 60));
    }
    for number in 0..300 {
        assert_eq!(wire.receive(PATIENCE), Received::Frame(frame::numbered(frame::BROADCAST, A, number, 60)));
    }
    // Too long by one: dropped whole.
    line.send(&[0xc0; 1523]);
    line.send(&frame::numbered(frame::BROADCAST, A, 300, 60));
    wire.expect(&frame::numbered(frame::BROADCAST, A, 300, 60));
    let counters = port(&bridge, "line").counters;
    assert_eq!(counters.dropped(DropReason::Oversize), 1);
    assert!(counters.dropped(DropReason::Malformed) + counters.dropped(DropReason::LineNoise) > 100);
    assert_eq!(counters.forwarded, 301);
    bridge.stop().unwrap();
}

#[test]
fn a_reader_that_stalls_holds_nobody_up() {
    let dir = TempDir::new();
    let bridge = bridge(&dir, &["slip:unix:DIR/line,queue=100", "unix:DIR/wire", "unix:DIR/other"]);
    let mut line = LinePeer::unix(Framing::Slip, dir.path("line"));
    let mut wire = attached(&bridge, &dir, "wire");
    let mut other = attached(&bridge, &dir, "other");
    let hello = frame::numbered(frame::BROADCAST, A, 0, 60);
    line.send(&hello);
    wire.expect(&hello);
    other.expect(&hello);
    for number in 0..3000 {
        wire.send(&frame::numbered(A, B, number, 1000));
    }
    let start = Instant::now();
    let beside = frame::numbered(frame::BROADCAST, B, 1, 100);
    wire.send(&beside);
    other.expect(&beside);
    assert!(start.elapsed() < PATIENCE / 2);
    eventually("its frames are dropped", || {
        let counters = port(&bridge, "line").counters;
        (counters.dropped(DropReason::Stalled) + counters.dropped(DropReason::QueueFull) > 0).then_some(())
    });
    // It reads again: what waited is whole, and the port goes on.
    let last = frame::numbered(A, B, 9999, 64);
    let got = line.receive_where(|frame| frame::number(frame).is_some());
    assert_eq!(frame::number(&got), Some(0));
    eventually("nothing waits", || {
        while let Received::Frame(frame) = line.receive(Duration::from_millis(1)) {
            assert!(frame::number(&frame).is_some() || frame == beside, "{frame:02x?}");
        }
        (port(&bridge, "line").queued == 0).then_some(())
    });
    wire.send(&last);
    line.expect(&last);
    bridge.stop().unwrap();
}

#[test]
fn the_program_says_how_to_attach_and_what_was_there() {
    let dir = TempDir::new();
    let (unix, pty, pipe) = (dir.text("slip.sock"), dir.text("slip.dev"), dir.text("p"));
    let process = zbridge!(
        "--port",
        format!("slip:unix:{unix}"),
        "--port",
        format!("slip:pty:{pty}"),
        "--port",
        format!("slip:pipe:{pipe}"),
        "--port",
        "slip:tcp:127.0.0.1:0,listen,name=tcp",
    )
    .spawn();
    process.wait_for(&format!("-serial mon:stdio -serial unix:{unix}"), PATIENCE);
    process.wait_for(&format!("-serial mon:stdio -serial pipe:{pipe}"), PATIENCE);
    process.wait_for(&format!("nobody has opened {pty} yet"), PATIENCE);
    process.wait_for("nobody has connected to 127.0.0.1:", PATIENCE);
    let mut line = LinePeer::unix(Framing::Slip, &unix);
    line.send_raw(&[0xc0, b'\r', b'h', b'i', b'!', 0xc0]);
    process.wait_for("slip.sock: says: hi!", PATIENCE);
    drop(line);
    process.wait_for("slip.sock: its peer closed the connection; waiting for its next peer", PATIENCE);
    process.sigint();
    assert_eq!(process.wait().code(), 0);
}

#[test]
fn two_bridges_do_not_serve_one_pair_of_fifos() {
    let dir = TempDir::new();
    let pipe = dir.text("p");
    let spec = format!("wpan:pipe:{pipe}");
    let mut first = zbridge!("--port", &spec).ready();
    let second = zbridge!("--port", &spec).run();
    let says = format!("cannot use {pipe}: pid {} (zbridge) serves its FIFOs", first.pid());
    assert!(second.stderr.contains(&says), "{}", second.stderr);
    assert!(second.stderr.contains("hint: stop that process, or choose another path"), "{}", second.stderr);
    assert_eq!(second.code(), 1);
    assert!(dir.path("p.in").exists() && dir.path("p.out").exists(), "they are the first one's");
    // One that is killed leaves the FIFOs behind, and whoever comes next takes them.
    first.kill9();
    let third = zbridge!("--port", &spec).ready();
    third.wait_for(&format!("-serial pipe:{pipe}"), PATIENCE);
    third.sigint();
    assert_eq!(third.wait().code(), 0);
}
