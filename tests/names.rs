//! Ports whose hosts have names: a name server that does not answer holds up nobody.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use support::frame::numbered;
use support::{
    Launch, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, needs, require, zbridge,
};

/// A name server of this machine that answers when it is told to.
struct NameServer {
    socket: UdpSocket,
    asked: Vec<(Vec<u8>, SocketAddr)>,
}

impl NameServer {
    /// At an address of this machine that no other test process has, nor another test of this one.
    fn new(dir: &TempDir, number: u8) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let addr = format!("127.{number}.{high}.{low}");
        // Longer than any test waits.
        dir.file("resolv.conf", format!("nameserver {addr}\noptions timeout:30 attempts:1\n"));
        let socket = UdpSocket::bind((addr, 53)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, asked: Vec::new() }
    }

    /// Waits until it is asked for `name`.
    fn wait_for(&mut self, name: &str) {
        let label = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        while !self.asked.iter().any(|(question, _)| question.windows(label.len()).any(|part| part == label)) {
            self.receive();
        }
    }

    fn receive(&mut self) {
        let mut room = [0; 512];
        let (count, from) = self.socket.recv_from(&mut room).expect("a question");
        self.asked.push((room[..count].to_vec(), from));
    }

    /// Answers all that it is asked, with 127.0.0.1, until `done`.
    fn answer_until(mut self, mut done: impl FnMut() -> bool) {
        self.socket.set_nonblocking(true).unwrap();
        eventually("what the answers are for", || {
            let mut room = [0; 512];
            while let Ok((count, from)) = self.socket.recv_from(&mut room) {
                self.asked.push((room[..count].to_vec(), from));
            }
            for (question, from) in self.asked.drain(..) {
                self.socket.send_to(&answer(&question), from).unwrap();
            }
            done().then_some(())
        });
    }
}

/// The answer to a question with one name in it (RFC 1035, 4.1): an address, or that there is none of that type.
fn answer(question: &[u8]) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|&octet| octet == 0).unwrap();
    let is_a = question[name_end + 1..name_end + 3] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 5]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

fn with_names(launch: Launch, dir: &TempDir) -> Launch {
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", dir.text("resolv.conf"));
    launch.under(["unshare", "-m", "sh", "-c", &script, "sh"]).env("XDG_RUNTIME_DIR", dir.root())
}

fn join(zbridge: &Process, dir: &TempDir, name: &str) -> StreamPeer {
    let peer = StreamPeer::unix(dir.path(name));
    zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
    peer
}

#[test]
fn a_name_that_is_slow_to_resolve_holds_nobody_up() {
    require!(needs::root());
    require!(needs::tool("unshare", "util-linux"));
    let dir = TempDir::new();
    let mut server = NameServer::new(&dir, 78);
    let board = TcpListener::bind("127.0.0.1:0").unwrap();
    board.set_nonblocking(true).unwrap();
    let number = board.local_addr().unwrap().port();
    let far = format!("tcp:far.test:{number},public,name=far");
    let launch = zbridge!("-p", far, "-p", format!("unix:{}", dir.text("a")), "-p", format!("unix:{}", dir.text("b")));
    let zbridge = with_names(launch, &dir).ready();
    server.wait_for("far");
    let (mut a, mut b) = (join(&zbridge, &dir, "a"), join(&zbridge, &dir, "b"));
    let mut frames = |count: u32| {
        let frame = numbered(Station::new(2).mac, Station::new(1).mac, count, 60);
        a.send(&frame);
        assert_eq!(b.receive(PATIENCE), Received::Frame(frame));
    };
    let ask = |args: &[&str]| {
        let exit = zbridge!().args(args.iter().copied()).env("XDG_RUNTIME_DIR", dir.root()).run();
        assert_eq!(exit.code(), 0, "{}", exit.stderr);
        exit.stdout
    };
    frames(1);
    assert!(ask(&["status"]).contains("looking up far.test"));
    ask(&["port", "add", &format!("slip:tcp:line.test:{number},public,name=line")]);
    server.wait_for("line");
    frames(2);
    // A port that is removed meanwhile is not there again when its name is known.
    ask(&["port", "del", "line"]);
    let mut board_is_reached = None;
    server.answer_until(|| {
        board_is_reached = board_is_reached.take().or_else(|| board.accept().ok());
        board_is_reached.is_some()
    });
    eventually("the port is up", || {
        ask(&["status"]).lines().any(|line| line.contains("far") && line.contains(" up ")).then_some(())
    });
    assert!(!ask(&["status"]).contains("line"));
    frames(3);
}

/// A port that is added waits for its name, and nobody else does: the control socket answers others meanwhile.
#[test]
fn who_adds_a_port_of_a_slow_name_waits_alone() {
    require!(needs::root());
    require!(needs::tool("unshare", "util-linux"));
    let dir = TempDir::new();
    let mut server = NameServer::new(&dir, 79);
    let zbridge = with_names(zbridge!("-p", format!("unix:{}", dir.text("a"))), &dir).ready();
    let launch = |args: &[&str]| zbridge!().args(args.iter().copied()).env("XDG_RUNTIME_DIR", dir.root());
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spec = format!("udp:{free}->board.test:7002,public,name=board");
    let adding = launch(&["port", "add", &spec]).spawn();
    server.wait_for("board");
    let start = std::time::Instant::now();
    let shown = launch(&["status"]).run();
    assert!(shown.code() == 0 && !shown.stdout.contains("board"), "{shown:?}");
    assert!(launch(&["port", "add", &format!("unix:{}", dir.text("b"))]).run().stdout.starts_with("b\n"));
    assert!(start.elapsed() < zbridge::engine::PATIENCE, "the name is still being looked up");
    let mut peer = join(&zbridge, &dir, "b");
    let mut other = join(&zbridge, &dir, "a");
    let frame = numbered(Station::new(2).mac, Station::new(1).mac, 1, 60);
    peer.send(&frame);
    assert_eq!(other.receive(PATIENCE), Received::Frame(frame));
    server.answer_until(|| launch(&["status"]).run().stdout.contains("board"));
    let added = adding.wait();
    assert_eq!((added.code(), added.stdout.lines().next()), (0, Some("board")), "{added:?}");
}

/// What the start shows is only that the name is looked up: so who is not there behind it is said, and once.
#[test]
fn a_peer_that_is_not_there_behind_a_name_is_told_of_once() {
    let dir = TempDir::new();
    // Nobody listens on a port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [format!("tcp:localhost:{port},name=far"), format!("slip:tcp:localhost:{port},name=line")];
    let zbridge = zbridge!("-v", "-p", &ports[0], "-p", &ports[1]).env("XDG_RUNTIME_DIR", dir.root()).ready();
    for name in ["far", "line"] {
        zbridge.wait_for(&format!("warning: {name}: cannot connect to "), PATIENCE);
        // The next attempts are for who wants to know all.
        zbridge.wait_for_nth(&format!("{name}: cannot connect to "), 3, PATIENCE);
    }
    assert_eq!(zbridge.stderr().matches("warning: ").count(), 2, "{}", zbridge.stderr());
}
