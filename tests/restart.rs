//! Who owns a path, and what becomes of a port whose other end goes away and comes back: restarts on either side.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};
use support::frame::{BROADCAST, numbered};
use support::{
    GramPeer, Namespace, PATIENCE, Peer, Process, Received, SeqPeer, Station, StreamPeer, Summary, TempDir, needs,
    require, zbridge,
};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// Starts zbridge with these ports; DIR in them is `dir`.
fn start(dir: &TempDir, ports: &[&str]) -> Process {
    let here = dir.root().to_str().unwrap();
    zbridge!().args(ports.iter().flat_map(|port| ["-p".to_owned(), port.replace("DIR", here)])).ready()
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[test]
fn a_path_has_one_owner() {
    let dir = TempDir::new();
    let owner = start(&dir, &["unix:DIR/s", "unixseq:DIR/q", "unixgram:DIR/g"]);
    let pid = format!("pid {} (zbridge)", owner.pid());
    for (kind, name, does) in
        [("unix", "s", "listens on it"), ("unixseq", "q", "listens on it"), ("unixgram", "g", "is bound to it")]
    {
        let says = format!("{pid} {does}");
        let exit = zbridge!("-p", format!("{kind}:{}", dir.text(name))).run();
        assert_eq!(exit.code(), 1);
        assert!(exit.stderr.contains(&says), "{says:?} is not in {}", exit.stderr);
        assert!(exit.stderr.contains("hint: stop that process, or choose another path"), "{}", exit.stderr);
    }
    // of another kind it is no less somebody's
    let exit = zbridge!("-p", format!("unix:{}", dir.text("g"))).run();
    assert!(exit.code() == 1 && exit.stderr.contains("it is in use"), "{exit:?}");
    // the owner has not noticed
    let (mut one, mut two) = (StreamPeer::unix(dir.path("s")), SeqPeer::unix(dir.path("q")));
    owner.wait_for("s#1: connected", PATIENCE);
    owner.wait_for("q#1: connected", PATIENCE);
    one.send(&A.arp_request(B.ip));
    two.expect(&A.arp_request(B.ip));
    Summary::of(owner);
    assert!(["s", "q", "g"].iter().all(|name| !dir.path(name).exists()));
}

/// What is in the way in /tmp may be another user's.
#[test]
fn another_users_socket_is_named_as_such() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("s"));
    let _owner = zbridge!("--user", "root", "-p", &port).ready();
    let exit = zbridge!("-p", &port).as_nobody(&dir).run();
    let says = "s: it is a socket of user 0, who alone may use or remove it\n  hint: choose a path of your own";
    assert!(exit.code() == 1 && exit.stderr.contains(says), "{exit:?}");
}

#[test]
fn a_tcp_address_has_one_owner() {
    require!(needs::netns());
    let namespace = Namespace::new("owner");
    let launch = || zbridge!("-p", "tcp:127.0.0.1:1000,listen").inside(&namespace);
    let owner = launch().ready();
    let exit = launch().run();
    assert_eq!(exit.code(), 1);
    let hint = format!("hint: pid {} (zbridge) listens there; choose another port, or end that", owner.pid());
    assert!(exit.stderr.contains("Address already in use") && exit.stderr.contains(&hint), "{exit:?}");
}

#[test]
fn a_socket_that_was_left_behind_is_replaced() {
    let dir = TempDir::new();
    let ports = ["unix:DIR/s", "unixseq:DIR/q", "unixgram:DIR/g"];
    let mut zbridge = start(&dir, &ports);
    for round in 0..3 {
        zbridge.kill9();
        assert!(["s", "q", "g"].iter().all(|name| is_socket(&dir.path(name))), "left behind");
        let begun = Instant::now();
        zbridge = start(&dir, &ports);
        println!("round {round}: {:?} from the start to the ready lines", begun.elapsed());
        let (mut one, mut two) = (StreamPeer::unix(dir.path("s")), SeqPeer::unix(dir.path("q")));
        zbridge.wait_for("s#1: connected", PATIENCE);
        zbridge.wait_for("q#1: connected", PATIENCE);
        one.send(&numbered(BROADCAST, A.mac, round, 60));
        two.expect(&numbered(BROADCAST, A.mac, round, 60));
    }
    // a path that is somebody else's by now is left alone
    std::fs::remove_file(dir.path("s")).unwrap();
    let _other = StreamPeer::listen(dir.path("s"));
    Summary::of(zbridge);
    assert!(is_socket(&dir.path("s")) && !dir.path("q").exists());
}

#[test]
fn sockets_are_for_their_owner_unless_told_otherwise() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let _zbridge = start(&dir, &["unix:DIR/s", "unixgram:DIR/g,mode=0660", "unixseq:DIR/q,mode=0666"]);
    for (name, mode) in [("s", 0o600), ("g", 0o660), ("q", 0o666)] {
        assert_eq!(std::fs::metadata(dir.path(name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
}

/// A datagram peer that dies and is started again finds its port as it was.
#[test]
fn a_datagram_peer_comes_back() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unixgram:DIR/g,peer=DIR/g.peer", "unixgram:DIR/h", "unix:DIR/witness"]);
    let mut witness = StreamPeer::unix(dir.path("witness"));
    zbridge.wait_for("witness#1: connected", PATIENCE);
    for round in 0..3 {
        for name in ["g.peer", "h.peer"] {
            // whoever binds a path removes what its last owner left there
            let _ = std::fs::remove_file(dir.path(name));
        }
        // nobody is at g, and h is whoever sent last
        let mut follower = GramPeer::unix(dir.path("h.peer"), dir.path("h"));
        follower.send(&numbered(BROADCAST, B.mac, round, 60));
        witness.expect(&numbered(BROADCAST, B.mac, round, 60));
        let mut gram = GramPeer::unix(dir.path("g.peer"), dir.path("g"));
        gram.send(&numbered(BROADCAST, A.mac, round, 60));
        follower.expect(&numbered(BROADCAST, A.mac, round, 60));
        follower.send(&numbered(A.mac, B.mac, round, 60));
        assert_eq!(gram.receive(PATIENCE), Received::Frame(numbered(A.mac, B.mac, round, 60)), "none of those before");
    }
    let summary = Summary::of(zbridge);
    assert_eq!((summary.port("g").dropped_as("no-peer"), summary.port("g").tx_frames), (3, 3));
    assert_eq!((summary.port("h").dropped, summary.port("h").tx_frames), (0, 3));
}

/// Who dials keeps dialling: before anybody listens, and whenever the connection is lost.
#[test]
fn a_dialling_port_finds_its_peer() {
    require!(needs::netns());
    let (dir, namespace) = (TempDir::new(), Namespace::new("dial"));
    let path = |name: &str| dir.text(name);
    let zbridge = zbridge!("-p", format!("unix:{},connect", path("s")), "-p", format!("unixseq:{},connect", path("q")))
        .args(["-p", "tcp:127.0.0.1:1000,name=t"])
        .inside(&namespace)
        .ready();
    zbridge.wait_for("s: cannot connect to", PATIENCE);
    zbridge.wait_for("q: cannot connect to", PATIENCE);
    for round in 0..2 {
        let _ = ["s", "q"].map(|name| std::fs::remove_file(dir.path(name)));
        let begun = Instant::now();
        let (stream, seq) = (StreamPeer::listen(dir.path("s")), SeqPeer::listen(dir.path("q")));
        let tcp = namespace.inside(|| StreamPeer::listen_tcp("127.0.0.1:1000".parse().unwrap()));
        let (mut stream, mut seq, mut tcp) = (stream.accept(), seq.accept(), tcp.accept());
        println!("round {round}: all three are connected after {:?}", begun.elapsed());
        zbridge.wait_for_nth("t: connected to", 1 + round as usize, PATIENCE);
        stream.send(&numbered(BROADCAST, A.mac, round, 60));
        seq.expect(&numbered(BROADCAST, A.mac, round, 60));
        tcp.expect(&numbered(BROADCAST, A.mac, round, 60));
        tcp.send(&numbered(A.mac, B.mac, round, 60));
        stream.expect(&numbered(A.mac, B.mac, round, 60));
        drop((stream, seq, tcp));
        for name in ["s", "q", "t"] {
            let gone = format!("{name}: its peer closed the connection; trying again");
            zbridge.wait_for_nth(&gone, 1 + round as usize, PATIENCE);
        }
    }
    // it is no busier for that
    let before = zbridge.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert!(zbridge.cpu_ticks() - before <= 10, "it sleeps between its attempts");
    let summary = Summary::of(zbridge);
    assert_eq!((summary.port("t").state.as_str(), summary.port("s").state.as_str()), ("waiting", "waiting"));
}

#[test]
fn an_optional_listener_waits_for_its_path() {
    let dir = TempDir::new();
    let zbridge = start(&dir, &["unix:DIR/none/s,optional", "unix:DIR/t"]);
    zbridge.wait_for("t  unix  ", PATIENCE);
    let shown = zbridge.stdout();
    assert!(shown.contains("s  unix  waiting") && shown.contains("t  unix  listening"), "{shown}");
    std::fs::create_dir(dir.path("none")).unwrap();
    zbridge.wait_for("s: listening", PATIENCE);
    let mut one = StreamPeer::unix(dir.path("none/s"));
    let mut two = StreamPeer::unix(dir.path("t"));
    zbridge.wait_for("s#1: connected", PATIENCE);
    zbridge.wait_for("t#1: connected", PATIENCE);
    one.send(&A.arp_request(B.ip));
    two.expect(&A.arp_request(B.ip));
    Summary::of(zbridge).check_pair("s", "t");
}
