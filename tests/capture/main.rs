//! Captures as users have them: lines, files, FIFOs, filters; and that no frame is lost for them.

mod ends;
mod filters;
mod proof;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::frame::{BROADCAST, number, numbered};
use support::{
    Framing, LinePeer, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, needs, require,
    zbridge,
};
use zbridge::internals::capture::Blocks;

/// Where bridges have their control sockets.
const RUN: &str = "XDG_RUNTIME_DIR";
const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A bridge with the ports `a` and `b`, and others.
struct Lab {
    zbridge: Process,
    a: StreamPeer,
    b: StreamPeer,
    dir: TempDir,
}

impl Lab {
    /// In `args` DIR is the test's folder.
    fn start(args: &[&str]) -> Self {
        let dir = TempDir::new();
        let args = args.iter().map(|arg| arg.replace("DIR", &dir.root().display().to_string()));
        let ports = ["a", "b"].map(|name| format!("unix:{}", dir.text(name)));
        let zbridge = zbridge!("-p", &ports[0], "-p", &ports[1]).args(args).env(RUN, dir.root()).ready();
        let [a, b] = ["a", "b"].map(|name| {
            let peer = StreamPeer::unix(dir.path(name));
            zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
            peer
        });
        Self { zbridge, a, b, dir }
    }

    /// `zbridge capture` of it, once it captures.
    fn capture(&self, args: &[&str]) -> Process {
        let before = self.zbridge.stderr().matches("captured by").count();
        let args = args.iter().map(|arg| arg.replace("DIR", &self.dir.root().display().to_string()));
        let capture = zbridge!("capture").args(args).env(RUN, self.dir.root()).spawn();
        self.zbridge.wait_for_nth("captured by", before + 1, PATIENCE);
        capture
    }

    /// Both are heard, by two frames each.
    fn talk(&mut self) {
        self.a.send(&A.arp_request(B.ip));
        self.b.expect(&A.arp_request(B.ip));
        self.b.send(&B.arp_reply(A));
        self.a.expect(&B.arp_reply(A));
        self.a.send(&A.echo_request(B, 1, b"hello"));
        self.b.expect(&A.echo_request(B, 1, b"hello"));
    }
}

/// What tshark makes of some fields of a file, a line a frame; none is malformed.
fn tshark(file: &Path, fields: &[&str]) -> Vec<String> {
    let malformed = Command::new("tshark").arg("-r").arg(file).args(["-Y", "_ws.malformed"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&malformed.stdout), "");
    let read = Command::new("tshark")
        .arg("-r")
        .arg(file)
        .args(["-T", "fields", "-E", "separator= "])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8(read.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

/// Names of the interfaces, and how many frames they have.
fn read(bytes: &[u8]) -> (Vec<String>, usize) {
    let (mut blocks, mut names, mut frames) = (Blocks::default(), Vec::new(), 0);
    blocks.push(bytes);
    while let Some(block) = blocks.next_block().expect("a pcapng file") {
        names.extend(block.interface().map(|interface| interface.name));
        frames += usize::from(block.packet().is_some());
    }
    (names, frames)
}

/// Addresses and names of the name resolution blocks of a file.
fn hosts(bytes: &[u8]) -> Vec<(Vec<u8>, String)> {
    let (mut blocks, mut found) = (Blocks::default(), Vec::new());
    blocks.push(bytes);
    while let Some(block) = blocks.next_block().expect("a pcapng file") {
        let mut rest = if block.kind == 4 { &block.bytes[8..] } else { &[] };
        while let [kind @ 1..=2, 0, low, high, record @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let (addr, name) = record[..length].split_at(if *kind == 1 { 4 } else { 16 });
            found.push((addr.to_vec(), String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
            rest = &record[length.next_multiple_of(4)..];
        }
    }
    found
}

/// How many interfaces have their statistics in a file.
fn statistics(file: &Path) -> usize {
    let (mut blocks, mut found) = (Blocks::default(), 0);
    blocks.push(&std::fs::read(file).unwrap());
    while let Some(block) = blocks.next_block().expect("a pcapng file") {
        found += usize::from(block.statistics().is_some());
    }
    found
}

#[test]
fn lines_at_the_terminal_and_a_summary() {
    let mut lab = Lab::start(&[]);
    let capture = lab.capture(&["--copies"]);
    lab.talk();
    eventually("all is shown", || (capture.stdout().lines().count() >= 6).then_some(()));
    capture.sigint();
    let end = capture.wait();
    let lines: Vec<&str> = end.stdout.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    assert_eq!(end.code(), 0);
    assert!(lines[0].starts_with("a#1 in  ARP, Request who-has "), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("b#1 out ARP, Request")), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("b#1 out IP ") && line.contains("ICMP echo request")),
        "{lines:?}"
    );
    assert!(end.stderr.contains("6 frames captured, 0 filtered out, 0 missed by the capture"), "{}", end.stderr);
}

/// Imports the device 1-1 of a USB/IP server, and asks for its device descriptor.
fn ask_for_descriptor(server: std::net::SocketAddr) {
    let mut stream = std::net::TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut import = [&[1, 0x11, 0x80, 3, 0, 0, 0, 0][..], b"1-1"].concat();
    import.resize(40, 0);
    stream.write_all(&import).unwrap();
    stream.read_exact(&mut [0; 320]).unwrap();
    let words: [u32; 10] = [1, 1, 0x1_0002, 1, 0, 0, 18, 0, 0, 0];
    let mut submit: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    submit.extend([0x80, 6, 0, 1, 0, 0, 18, 0]);
    stream.write_all(&submit).unwrap();
    stream.read_exact(&mut [0; 48 + 18]).unwrap();
}

#[test]
fn a_mixed_bench_in_one_file_without_a_malformed_frame() {
    require!(needs::tool("tshark", "tshark"));
    let mut lab = Lab::start(&[
        "-p",
        "slip:unix:DIR/line,mode=ip,ip=192.0.2.77/24,name=line",
        "-p",
        "wpan:unix:DIR/n0,switch=air",
        "-p",
        "wpan:unix:DIR/n1,switch=air",
        "-p",
        "nat:192.0.2.2/24",
        "-p",
        "usbip:192.0.2.3/24,device=cdc-acm,usbip-listen=127.0.0.1:0",
        "-v",
    ]);
    let served = lab.zbridge.wait_for("USB/IP is served at tcp", PATIENCE);
    let served: std::net::SocketAddr =
        served.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).expect("an address");
    let mut line = LinePeer::unix(Framing::Slip, lab.dir.text("line"));
    let mut nodes = ["n0", "n1"].map(|name| LinePeer::unix(Framing::UartPipe, lab.dir.text(name)));
    lab.zbridge.wait_for("n1: connected", PATIENCE);
    let capture = lab.capture(&["-w", "DIR/all.pcapng", "--copies"]);
    lab.talk();
    // An echo request to the gateway, as the line has it: without Ethernet.
    let gateway = Station { ip: [192, 0, 2, 2].into(), ..A };
    let ping = Station { ip: [192, 0, 2, 77].into(), ..B }.echo_request(gateway, 9, b"line");
    line.send(&ping[14..]);
    assert!(matches!(line.receive(PATIENCE), Received::Frame(answer) if answer[9] == 1), "the gateway answers");
    let data = [&[0x61, 0x88, 7, 0xcd, 0xab, 1, 0, 2, 0][..], &[0xf0; 20]].concat();
    nodes[0].send(&data);
    nodes[1].expect(&data);
    ask_for_descriptor(served);
    std::thread::sleep(Duration::from_millis(50));
    capture.sigint();
    assert_eq!(capture.wait().code(), 0);
    let file = lab.dir.path("all.pcapng");
    let seen = tshark(
        &file,
        &["frame.interface_name", "frame.encap_type", "frame.packet_flags_direction", "_ws.col.Protocol"],
    );
    // Wireshark's numbers of encapsulations: 1 Ethernet, 7 raw IP, 115 usbmon, 206 IEEE 802.15.4 TAP.
    for wanted in [
        "a#1 1 0x00000001 ARP",
        "b#1 1 0x00000002 ICMP",
        "line 7 0x00000001 ICMP",
        "line 7 0x00000002 ICMP",
        "n0 206 0x00000001 IEEE 802.15.4",
        "n1 206 0x00000002 IEEE 802.15.4",
        "usbip#1-1 115 0x00000002 USB",
        "usbip#1-1 115 0x00000001 USB",
    ] {
        assert!(seen.iter().any(|line| line == wanted), "{wanted}: {seen:#?}");
    }
}

#[test]
fn drops_have_their_reasons() {
    require!(needs::tool("tshark", "tshark"));
    let mut lab = Lab::start(&["-p", "unixgram:DIR/nobody,name=nobody"]);
    let drops = lab.capture(&["-w", "DIR/drops.pcapng", "--drops"]);
    let lines = lab.capture(&["--filter", "drop no-peer"]);
    lab.talk();
    lab.a.send(&support::frame::ethernet([1, 0x80, 0xc2, 0, 0, 0], A.mac, 0x88b5, &[0; 46]));
    eventually("both are seen", || (lines.stdout().lines().count() >= 1).then_some(()));
    std::thread::sleep(Duration::from_millis(50));
    for capture in [drops, lines] {
        capture.sigterm();
        let end = capture.wait();
        assert_eq!(end.code(), 0, "{}", end.stderr);
        assert!(end.stdout.lines().all(|line| line.contains(" nobody ") && line.ends_with("[dropped: no-peer]")));
    }
    let seen = tshark(&lab.dir.path("drops.pcapng"), &["frame.interface_name", "frame.comment"]);
    let of = |start: &str| seen.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("nobody dropped: no-peer"), 1, "{seen:?}");
    assert_eq!((of("a#1 dropped: reserved-group"), seen.len()), (1, 2), "{seen:?}");
}

#[test]
fn a_reader_that_stands_still_loses_no_frame_of_the_switch() {
    const FRAMES: u32 = 60_000;
    let mut lab = Lab::start(&[]);
    lab.talk();
    let capture = lab.capture(&["-w", "-"]);
    capture.freeze();
    for number in 0..FRAMES {
        lab.a.send(&numbered(B.mac, A.mac, number, 600));
        if number % 64 == 63 {
            for wanted in number - 63..=number {
                let Received::Frame(frame) = lab.b.receive(PATIENCE) else { panic!("frame {wanted} is lost") };
                assert_eq!(support::frame::number(&frame), Some(wanted));
            }
        }
    }
    capture.thaw();
    capture.sigint();
    let end = capture.wait();
    let said = end.stderr.lines().find(|line| line.contains("frames captured")).expect(&end.stderr).to_owned();
    let figures: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(figures[2] > 0, "some are missing: {said}");
    assert_eq!(figures[0] + figures[2], u64::from(FRAMES), "{said}");
    assert!(lab.zbridge.status().contains("a#1"), "and the bridge answers");
}

#[test]
fn each_reader_of_a_fifo_gets_a_whole_file() {
    let dir = TempDir::new();
    let fifo = dir.text("fifo");
    assert!(Command::new("mkfifo").args(["-m", "666", &fifo]).status().unwrap().success());
    let capture = format!("default,capture={fifo}");
    let mut lab = Lab::start(&["--switch", &capture]);
    lab.talk();
    for round in 0..2 {
        let mut reader = std::fs::File::open(&fifo).unwrap();
        let mut got = Vec::new();
        eventually("a frame is read", || {
            lab.a.send(&numbered(BROADCAST, A.mac, round, 60));
            let mut room = [0; 65_536];
            let read = reader.read(&mut room).unwrap();
            got.extend_from_slice(&room[..read]);
            (read > 0 && self::read(&got).1 > 0).then_some(())
        });
        assert_eq!(read(&got).0, ["a#1", "b#1"], "the names of all that were heard");
        drop(reader);
        // It is noticed that nobody reads any more.
        std::thread::sleep(Duration::from_millis(100));
    }
    while let Received::Frame(frame) = lab.b.receive(Duration::from_millis(100)) {
        assert!(number(&frame).is_some());
    }
}

#[test]
fn a_reader_that_comes_at_once_gets_nothing_of_what_another_has_left() {
    let dir = TempDir::new();
    let fifo = dir.text("fifo");
    // Root's bridge goes on as another user, who has to write here to put a FIFO in the place of one that is read.
    std::fs::set_permissions(dir.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Command::new("mkfifo").args(["-m", "666", &fifo]).status().unwrap().success());
    let capture = format!("default,capture={fifo}");
    let mut lab = Lab::start(&["--switch", &capture]);
    lab.talk();
    for round in 0..30 {
        let mut reader = std::fs::File::open(&fifo).unwrap();
        let mut head = [0; 4];
        reader.read_exact(&mut head).unwrap();
        assert_eq!(head, [0x0a, 0x0d, 0x0d, 0x0a], "reader {round} gets a file from its beginning");
        // More than it reads.
        for number in 0..20 {
            lab.a.send(&numbered(B.mac, A.mac, number, 600));
            lab.b.expect(&numbered(B.mac, A.mac, number, 600));
        }
        reader.read_exact(&mut [0; 2000]).unwrap();
    }
    assert_eq!(std::fs::metadata(&fifo).unwrap().permissions().mode() & 0o7777, 0o666);
    let others = std::fs::read_dir(dir.root()).unwrap().flatten().filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.contains("fifo") && name != "fifo"
    });
    assert_eq!(others.count(), 0);
}

#[test]
fn what_ends_a_capture() {
    let mut lab = Lab::start(&[]);
    let count = lab.capture(&["--count", "2", "-w", "DIR/two.pcapng"]);
    let time = lab.capture(&["--for", "300ms", "-w", "DIR/time.pcapng"]);
    let rotated = lab.capture(&["-w", "DIR/many.pcapng", "--rotate", "4K,2"]);
    lab.talk();
    for number in 0..100 {
        lab.a.send(&numbered(B.mac, A.mac, number, 1000));
    }
    for capture in [count, time] {
        assert_eq!(capture.wait().code(), 0);
    }
    rotated.sigint();
    assert_eq!(rotated.wait().code(), 0);
    assert_eq!(read(&std::fs::read(lab.dir.path("two.pcapng")).unwrap()).1, 2);
    let many: Vec<String> = std::fs::read_dir(lab.dir.root())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("many-"))
        .collect();
    assert_eq!(many.len(), 2, "{many:?}");
    for name in many {
        let bytes = std::fs::read(lab.dir.path(&name)).unwrap();
        assert!((1..5).contains(&read(&bytes).1) && bytes.len() <= 5000, "{name} has {} bytes", bytes.len());
    }
    // A reader who has seen enough ends it without a word.
    let script = "\"$0\" capture --copies | head -n 1";
    let head = support::Launch::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_zbridge")]).env(RUN, lab.dir.root());
    let head = head.spawn();
    lab.zbridge.wait_for_nth("captured by", 4, PATIENCE);
    lab.a.send(&numbered(B.mac, A.mac, 1, 60));
    let end = head.wait();
    assert_eq!((end.code(), end.stdout.lines().count()), (0, 1), "{}", end.stderr);
}

#[test]
fn an_output_that_nobody_reads_keeps_a_capture_from_no_end() {
    let mut lab = Lab::start(&[]);
    let fifo = lab.dir.text("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // One that has the FIFO open and never reads.
    let script = "sleep 8 <\"$1\" & exec \"$0\" capture --for 1s >\"$1\"";
    let stuck = support::Launch::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_zbridge"), &fifo]);
    let stuck = stuck.env(RUN, lab.dir.root()).spawn();
    lab.zbridge.wait_for("captured by", PATIENCE);
    let other = lab.dir.text("other");
    assert!(Command::new("mkfifo").arg(&other).status().unwrap().success());
    let unread = lab.capture(&["-w", &other]);
    lab.talk();
    for number in 0..2000 {
        lab.a.send(&numbered(B.mac, A.mac, number, 60));
        lab.b.expect(&numbered(B.mac, A.mac, number, 60));
    }
    let begin = std::time::Instant::now();
    unread.sigterm();
    for capture in [unread, stuck] {
        let end = capture.wait();
        assert_eq!(end.code(), 0, "{}", end.stderr);
        assert!(end.stderr.contains("could not be written, for nobody reads"), "{}", end.stderr);
    }
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn a_capture_tells_its_own_end_from_the_bridges() {
    let lab = Lab::start(&[]);
    let time = lab.capture(&["--for", "200ms"]).wait();
    assert_eq!(time.code(), 0, "{}", time.stderr);
    assert!(time.stderr.contains("0 frames captured") && !time.stderr.contains("ended"), "{}", time.stderr);
    let left = lab.capture(&["-w", "DIR/left.pcapng"]);
    lab.zbridge.sigterm();
    let end = left.wait();
    assert_eq!(end.code(), 3, "{}", end.stderr);
    assert!(end.stderr.contains("the bridge has ended before the capture"), "{}", end.stderr);
    assert_eq!(read(&std::fs::read(lab.dir.path("left.pcapng")).unwrap()).1, 0);
}

#[test]
fn a_quiet_capture_is_a_whole_file() {
    let lab = Lab::start(&["-p", "unix:DIR/c,capture=DIR/c.pcapng"]);
    let quiet = lab.capture(&["-w", "DIR/quiet.pcapng"]);
    eventually("the ports are named", || {
        let names = read(&std::fs::read(lab.dir.path("quiet.pcapng")).unwrap_or_default()).0;
        (names == ["a#1", "b#1"]).then_some(())
    });
    let _c = StreamPeer::unix(lab.dir.path("c"));
    lab.zbridge.wait_for("c#1: connected", PATIENCE);
    eventually("and the one that comes", || {
        let names = read(&std::fs::read(lab.dir.path("quiet.pcapng")).unwrap_or_default()).0;
        (names == ["a#1", "b#1", "c#1"]).then_some(())
    });
    quiet.sigint();
    let end = quiet.wait();
    assert_eq!(end.code(), 0, "{}", end.stderr);
    let file = lab.dir.path("quiet.pcapng");
    let said = format!("0 frames captured to {}, 0 filtered out, 0 missed by the capture\n", file.display());
    let begin = "listening on all ports of default; Ctrl-C ends\n".to_owned();
    assert_eq!(end.stderr, begin + &said);
    assert_eq!(statistics(&file), 3);
    lab.zbridge.wait_for(" is over: 0 frames", PATIENCE);
    assert_eq!(read(&std::fs::read(lab.dir.path("c.pcapng")).unwrap()).0, ["c#1"]);
}

#[test]
fn a_port_to_which_nobody_has_come_has_a_file_that_tools_read() {
    let lab = Lab::start(&["-p", "unix:DIR/c,capture=DIR/c.pcapng"]);
    lab.zbridge.sigterm();
    lab.zbridge.wait();
    let file = lab.dir.path("c.pcapng");
    assert_eq!((read(&std::fs::read(&file).unwrap()), statistics(&file)), ((vec!["c".to_owned()], 0), 1));
    if needs::tool("tshark", "tshark").is_ok() {
        assert_eq!(tshark(&file, &["frame.number"]), [""; 0]);
    }
}

#[test]
fn what_is_refused() {
    let lab = Lab::start(&[]);
    for (args, code, says) in [
        (&["c"][..], 4, "no port is named c\n  hint: the nearest is \"a\"; known are a, a#1, b, b#1\n"),
        (&["nothing"], 4, "no port is named nothing\n  hint: known are a, a#1, b, b#1\n"),
        (&["tcp"], 4, "no port is named tcp\n  hint: a filter? -f tcp\n"),
        (&["udp", "port", "53"], 4, "no port is named udp\n  hint: a filter? -f 'udp port 53'\n"),
        (&["-f", "tcp-syn"], 2, "hint: tcp[tcpflags] & tcp-syn != 0\n"),
        (&["-f", "tcp and syn"], 2, "hint: tcp[tcpflags] & tcp-syn != 0\n"),
        (&["--switch", "lab"], 4, "no switch is named lab"),
        (&["--filter", "udp prt 5"], 2, "\"and\" or \"or\" has to stand here"),
        (&["--snap", "5"], 2, "5"),
    ] {
        let args = args.iter().map(|arg| arg.replace("DIR", &lab.dir.root().display().to_string()));
        let end = zbridge!("capture").args(args).env(RUN, lab.dir.root()).run();
        assert_eq!(end.code(), code, "{}", end.stderr);
        assert!(end.stderr.contains(says), "{}", end.stderr);
    }
    for filter in ["foo bar", "drop xyzzyxyz"] {
        let end = zbridge!("capture", "-f", filter).env(RUN, lab.dir.root()).run();
        assert!(end.stderr.contains("\n  hint: known are "), "{}", end.stderr);
        assert!(end.stderr.lines().all(|line| line.chars().count() < 80), "{}", end.stderr);
    }
}

#[test]
fn another_user_captures_nothing() {
    require!(needs::root());
    let lab = Lab::start(&[]);
    let other = zbridge!("capture", "--to", lab.dir.text("zbridge/default.sock")).as_nobody(&lab.dir).run();
    assert!([3, 5].contains(&other.code()), "{}", other.stderr);
    assert!(!lab.zbridge.stderr().contains("captured by"));
}

#[test]
fn wiresharks_programs_capture_through_extcap() {
    require!(needs::tool("tshark", "tshark"));
    let mut lab = Lab::start(&[]);
    let home = lab.dir.text("home");
    let install = zbridge!("extcap", "--install").env("HOME", &home).run();
    assert_eq!(install.code(), 0, "{}", install.stderr);
    let tshark = |words: &[&str]| {
        support::Launch::new("tshark").args(words.iter().copied()).env("HOME", &home).env(RUN, lab.dir.root())
    };
    let list = tshark(&["-D"]).run();
    for wanted in ["zbridge:default (zbridge default: all ports)", "zbridge:default:a (zbridge default: a (unix))"] {
        assert!(list.stdout.contains(wanted), "{}", list.stdout);
    }
    let file = lab.dir.text("live.pcapng");
    let live = tshark(&["-i", "zbridge:default:a", "-f", "arp", "-w", &file, "-a", "packets:1"]).spawn();
    lab.zbridge.wait_for("captured by", PATIENCE);
    lab.talk();
    let end = live.wait();
    assert_eq!(end.code(), 0, "{}", end.stderr);
    assert_eq!(self::tshark(Path::new(&file), &["_ws.col.Protocol"]), ["ARP"]);
}

/// A message of Wireshark's toolbar.
fn control(number: u8, command: u8, value: &[u8]) -> Vec<u8> {
    [&[b'T', 0, 0, value.len() as u8 + 2, number, command], value].concat()
}

#[test]
fn the_toolbar_changes_the_filter_of_a_capture_that_runs() {
    let mut lab = Lab::start(&[]);
    let [fifo, to, from] = ["fifo", "to", "from"].map(|name| lab.dir.text(name));
    assert!(Command::new("mkfifo").args([&fifo, &to, &from]).status().unwrap().success());
    let words = ["extcap", "--capture", "--extcap-interface", "zbridge:default", "--fifo", &fifo];
    let controls = ["--extcap-control-in", &to, "--extcap-control-out", &from];
    let capture = zbridge!().args(words).args(controls).env(RUN, lab.dir.root()).spawn();
    let mut reader = std::fs::File::open(&fifo).unwrap();
    lab.zbridge.wait_for("captured by", PATIENCE);
    let mut chosen = std::fs::OpenOptions::new().write(true).open(&to).unwrap();
    let (said, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut answers = std::fs::File::open(&from).unwrap();
        let mut room = [0; 4096];
        while let Ok(count @ 1..) = answers.read(&mut room) {
            let _ = said.send(String::from_utf8_lossy(&room[6..count]).into_owned());
        }
    });
    let mut got = Vec::new();
    let mut frames = |wanted: usize| {
        eventually("frames are read", || {
            let mut room = [0; 65_536];
            if read(&got).1 < wanted {
                let count = reader.read(&mut room).unwrap();
                got.extend_from_slice(&room[..count]);
            }
            (read(&got).1 >= wanted).then_some(())
        });
        read(&got).1
    };
    lab.talk();
    assert_eq!(frames(3), 3);
    // The reader of answers has to be there before one is written.
    std::thread::sleep(Duration::from_millis(100));
    chosen.write_all(&control(0, 1, b"arp")).unwrap();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), "zbridge: only arp");
    lab.talk();
    assert_eq!(frames(5), 5, "no echo any more");
    chosen.write_all(&control(0, 1, b"arpp")).unwrap();
    assert!(hear.recv_timeout(PATIENCE).unwrap().contains("the nearest is \"arp\""));
    chosen.write_all(&[control(0, 1, b"icmp"), control(255, 0, b"")].concat()).unwrap();
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), "zbridge: only icmp");
    lab.talk();
    assert_eq!(frames(6), 6, "only the echo");
    capture.sigterm();
    assert_eq!(capture.wait().code(), 0);
}

#[test]
fn a_port_that_is_added_has_its_file_until_it_goes() {
    let mut lab = Lab::start(&[]);
    let file = lab.dir.path("c.pcapng");
    let ask = |words: &[&str]| zbridge!().args(words.iter().copied()).env(RUN, lab.dir.root()).run();
    let added = ask(&["port", "add", &format!("unix:{},capture={}", lab.dir.text("c"), file.display())]);
    assert_eq!(added.code(), 0, "{}", added.stderr);
    let mut c = StreamPeer::unix(lab.dir.path("c"));
    lab.zbridge.wait_for("c#1: connected", PATIENCE);
    c.send(&numbered(BROADCAST, A.mac, 7, 60));
    lab.b.expect(&numbered(BROADCAST, A.mac, 7, 60));
    lab.b.send(&numbered(BROADCAST, B.mac, 8, 60));
    c.expect(&numbered(BROADCAST, B.mac, 8, 60));
    assert_eq!(ask(&["port", "del", "c"]).code(), 0);
    let counted = eventually("the file is whole", || {
        let (mut blocks, mut counted) = (Blocks::default(), None);
        blocks.push(&std::fs::read(&file).unwrap());
        while let Some(block) = blocks.next_block().unwrap() {
            counted = block.statistics().map(|(_, counted)| counted).or(counted);
        }
        counted
    });
    assert_eq!((counted.seen, counted.missed), (1, 0), "what it sent, and not what others did");
    let refused = ask(&["port", "add", &format!("unix:{},capture=/nonexistent/x", lab.dir.text("d"))]);
    assert!(refused.code() != 0 && refused.stderr.contains("cannot capture to /nonexistent/x"), "{}", refused.stderr);
}

#[test]
fn an_instance_of_a_bench_has_its_file() {
    require!(needs::root(), needs::netns(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let file = dir.path("host.pcapng");
    let bench = format!(
        "[[port]]\ntype = \"nat\"\ntarget = \"192.0.2.1/24\"\n\n[[instance]]\nname = \"host\"\ncommand = \"ping -c 1 192.0.2.1\"\n\
         host = \"192.0.2.9/24\"\ncapture = \"{}\"\n",
        file.display()
    );
    let up = zbridge!("up", dir.file("lab.toml", bench).to_str().unwrap()).env(RUN, dir.root()).spawn();
    up.wait_for("ended with status 0", PATIENCE);
    up.sigint();
    up.wait();
    let bytes = std::fs::read(&file).unwrap();
    let (names, frames) = read(&bytes);
    assert_eq!(names, ["host"]);
    assert!(frames >= 2, "ARP and an echo: {frames}");
    let hosts = hosts(&bytes);
    for wanted in [([192, 0, 2, 9], "host"), ([192, 0, 2, 1], "nat")] {
        assert!(hosts.contains(&(wanted.0.to_vec(), wanted.1.to_owned())), "{wanted:?}: {hosts:?}");
    }
}
