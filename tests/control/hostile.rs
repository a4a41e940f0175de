//! Clients of the control socket that mean harm, or are broken: the switch goes on, and so do the others.

use super::{A, B, BROADCAST, Lab};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::frame::numbered;
use support::{Peer, StreamPeer, eventually};

/// A bridge that carries frames from A to B all the time, none of which may be lost.
struct Carrying {
    lab: Lab,
    zbridge: support::Process,
    a: StreamPeer,
    b: StreamPeer,
    sent: u32,
}

impl Carrying {
    fn start() -> Self {
        let lab = Lab::new();
        let zbridge = lab.with_ports(&["a", "b"]);
        let (mut a, mut b) = (lab.join("a"), lab.join("b"));
        b.send(&numbered(A.mac, B.mac, 0, 60));
        a.expect(&numbered(A.mac, B.mac, 0, 60));
        Self { lab, zbridge, a, b, sent: 0 }
    }

    /// Sends some frames, each of which arrives.
    fn carry(&mut self) {
        for _ in 0..50 {
            self.sent += 1;
            self.a.send(&numbered(B.mac, A.mac, self.sent, 60));
            self.b.expect(&numbered(B.mac, A.mac, self.sent, 60));
        }
    }

    fn connect(&self) -> UnixStream {
        let client = UnixStream::connect(self.lab.socket("default")).unwrap();
        client.set_read_timeout(Some(support::PATIENCE)).unwrap();
        client
    }

    /// A connection that has been greeted.
    fn greeted(&self) -> UnixStream {
        let mut client = self.connect();
        assert!(line(&mut client).starts_with("{\"zbridge\":1,"));
        client
    }

    /// Somebody who behaves is answered at once.
    fn answers(&self) {
        let start = Instant::now();
        assert_eq!(self.lab.client("default").status().unwrap().switches.len(), 1);
        assert!(start.elapsed() < support::PATIENCE / 2, "{:?}", start.elapsed());
    }

    fn threads_and_descriptors(&self) -> (usize, usize) {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", self.zbridge.pid())).unwrap().count();
        (count("task"), count("fd"))
    }

    fn resident_kib(&self) -> u64 {
        self.zbridge.resident_kib()
    }
}

/// The next line, byte by byte.
fn line(client: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.last() != Some(&b'\n') && client.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn a_line_without_end_is_cut() {
    let mut bridge = Carrying::start();
    let before = bridge.resident_kib();
    let mut client = bridge.greeted();
    let megabyte = vec![b'['; 1 << 20];
    let sent = (0..64).take_while(|_| client.write_all(&megabyte).is_ok()).count();
    assert!(sent < 64, "it is not read for ever");
    assert!(line(&mut client).contains("a line of more than 65536 bytes"));
    assert!(bridge.resident_kib() < before + 4096, "{before} KiB, then {} KiB", bridge.resident_kib());
    bridge.carry();
    bridge.answers();
}

#[test]
fn half_lines_and_nonsense_are_answered_for_what_they_are() {
    let mut bridge = Carrying::start();
    let mut client = bridge.greeted();
    for piece in
        ["{\"id\":1,", "\"comm", "and\":\"status\"}", "\nnonsense\n\n", "{\"id\":2}\n{\"id\":3,\"command\":\"fly\"}\n"]
    {
        client.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(line(&mut client).starts_with("{\"id\":1,\"ok\":{"));
    assert!(line(&mut client).starts_with("{\"id\":null,\"error\":{\"class\":\"usage\",\"what\":\"no request: "));
    assert!(line(&mut client).starts_with("{\"id\":null,\"error\""), "an empty line is no request either");
    assert!(line(&mut client).starts_with("{\"id\":2,\"error\":{\"class\":\"usage\",\"what\":\"there is no command\""));
    assert!(line(&mut client).contains("unknown command \\\"fly\\\""));
    // a request without its end is none
    client.write_all(b"{\"id\":4,\"command\":\"port-del\",\"port\":\"a\"}").unwrap();
    drop(client);
    bridge.carry();
    bridge.answers();
}

#[test]
fn a_thousand_connections_keep_nobody_from_the_switch_or_from_asking() {
    support::many_descriptors();
    let mut bridge = Carrying::start();
    let (threads, descriptors) = bridge.threads_and_descriptors();
    let mut clients: Vec<UnixStream> = (0..1000).map(|_| bridge.connect()).collect();
    bridge.carry();
    // those who have said nothing for the longest time make room, and are told so
    assert!(line(clients.last_mut().unwrap()).starts_with("{\"zbridge\":1,"));
    let first = clients.first_mut().unwrap();
    assert!(line(first).starts_with("{\"zbridge\":1,"));
    let told = line(first);
    assert!(told.contains("it had said nothing for the longest time when 64 clients were connected"), "{told}");
    bridge.answers();
    let now = bridge.threads_and_descriptors();
    // and the one that is just being told
    assert!(now.0 == threads && now.1 <= descriptors + 64 + 1, "{now:?}");
    bridge.carry();
    drop(clients);
    // one may have been leaving when they were counted
    eventually("they are forgotten", || (bridge.threads_and_descriptors().1 <= descriptors).then_some(()));
    bridge.answers();
}

/// A connection that a capture has had leaves nothing behind by which another one, which the bridge has in its place,
/// is taken for closed.
#[test]
fn who_connects_right_after_a_capture_is_answered() {
    const CAPTURE: &[u8] = b"{\"id\":1,\"command\":\"capture\"}\n";
    let ask = |client: &mut UnixStream, request: &[u8]| {
        client.write_all(request).unwrap();
        let answer = line(client);
        assert!(answer.starts_with("{\"id\":1,\"ok\":"), "{answer}");
    };
    let mut bridge = Carrying::start();
    for round in 0..300 {
        let mut capture = bridge.greeted();
        ask(&mut capture, CAPTURE);
        let mut next = None;
        // What it does not read keeps the capture's thread, which has the connection too, for a while after its end.
        if round % 100 == 0 {
            (0..200).for_each(|_| bridge.carry());
            capture.shutdown(std::net::Shutdown::Write).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            next = Some(bridge.greeted());
        }
        drop(capture);
        if next.is_some() {
            std::thread::sleep(Duration::from_millis(100));
        }
        ask(next.get_or_insert_with(|| bridge.greeted()), b"{\"id\":1,\"command\":\"status\"}\n");
    }
    bridge.answers();
}

/// Programs that are joined hold a connection each for as long as they run, and `wait` holds one until it is answered.
#[test]
fn neither_joined_programs_nor_those_who_wait_take_the_place_of_others() {
    support::many_descriptors();
    let mut bridge = Carrying::start();
    let mut kept = Vec::new();
    for number in 0..100 {
        let mut client = bridge.lab.client("default");
        let (near, far) = UnixStream::pair().unwrap();
        client.add_port_with_fd(&format!("unix:x,connect,name=joined{number}"), far.as_fd()).unwrap();
        kept.push((client, near));
    }
    let waits: Vec<UnixStream> = (0..100)
        .map(|_| {
            let mut client = bridge.greeted();
            let request = r#"{"id":1,"command":"wait","port":"absent","state":"up","timeout_ms":600000}"#;
            client.write_all(format!("{request}\n").as_bytes()).unwrap();
            client
        })
        .collect();
    let idle: Vec<UnixStream> = (0..100).map(|_| bridge.connect()).collect();
    bridge.answers();
    bridge.carry();
    let text = bridge.lab.told(&["status"]);
    assert!((0..100).all(|number| text.contains(&format!("joined{number} "))), "{text}");
    // what they wait for comes
    bridge.lab.told(&["port", "add", &format!("{},name=absent", bridge.lab.spec("absent"))]);
    let _peer = StreamPeer::unix(bridge.lab.dir.path("absent"));
    for mut client in waits {
        assert_eq!(line(&mut client), "{\"id\":1,\"ok\":{}}\n");
    }
    drop((kept, idle));
    eventually("they have left", || (!bridge.lab.told(&["status"]).contains("joined")).then_some(()));
    bridge.carry();
}

#[test]
fn those_who_do_not_read_wait_alone() {
    let mut bridge = Carrying::start();
    let before = bridge.resident_kib();
    let requests = "{\"id\":1,\"command\":\"status\"}\n".repeat(20_000);
    let mut deaf: Vec<UnixStream> = (0..8).map(|_| bridge.connect()).collect();
    for client in &mut deaf {
        client.set_nonblocking(true).unwrap();
        // as much as is taken without an answer being read
        let mut rest = requests.as_bytes();
        while let Ok(sent) = client.write(rest) {
            rest = &rest[sent..];
            if rest.is_empty() {
                break;
            }
        }
    }
    for _ in 0..5 {
        bridge.carry();
        bridge.answers();
    }
    assert!(bridge.resident_kib() < before + 8192, "{before} KiB, then {} KiB", bridge.resident_kib());
    // they leave in the middle of an answer
    drop(deaf);
    bridge.carry();
    bridge.answers();
}

#[test]
fn requests_of_one_who_has_left_are_done_and_others_are_not_disturbed() {
    let mut bridge = Carrying::start();
    let spec = bridge.lab.spec("new");
    let mut client = bridge.connect();
    write!(client, "{{\"command\":\"port-add\",\"spec\":\"{spec}\"}}\n{{\"command\":\"wait\",\"port\":\"x\",\"state\":\"up\",\"timeout_ms\":99999999}}\n").unwrap();
    drop(client);
    bridge.lab.told(&["wait", "port=new", "listening"]);
    let (_, descriptors) = bridge.threads_and_descriptors();
    // one whose input ends, as `echo … | socat` does, gets its answers
    let mut client = bridge.greeted();
    client.write_all(b"{\"id\":5,\"command\":\"port-del\",\"port\":\"new\"}\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(line(&mut client), "{\"id\":5,\"ok\":{}}\n");
    assert_eq!(line(&mut client), "", "and then the end");
    eventually("all is closed", || (bridge.threads_and_descriptors().1 < descriptors).then_some(()));
    bridge.carry();
}

#[test]
fn answers_that_nobody_will_hear_are_not_sought() {
    const ASKED: usize = 100;
    let mut bridge = Carrying::start();
    for number in 0..6000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        bridge.a.send(&numbered(BROADCAST, [2, 0, 0, 1, high, low], number, 60));
    }
    eventually("all are learned", || (bridge.lab.told(&["fdb", "--json"]).lines().count() > 6000).then_some(()));
    let (request, ticks) = ("{\"command\":\"fdb\"}\n", |bridge: &Carrying| bridge.zbridge.cpu_ticks());
    let (before, (_, descriptors)) = (ticks(&bridge), bridge.threads_and_descriptors());
    let mut client = BufReader::new(bridge.greeted());
    for _ in 0..ASKED {
        client.get_mut().write_all(request.as_bytes()).unwrap();
        let mut told = String::new();
        client.read_line(&mut told).unwrap();
        assert!(told.contains("\"ok\""), "{}", &told[..told.len().min(200)]);
    }
    drop(client);
    let heard = ticks(&bridge) - before;
    assert!(heard > 4, "it is work: {heard}");
    // One who leaves at once has asked for twenty times as much.
    let before = ticks(&bridge);
    let mut client = bridge.connect();
    client.write_all(request.repeat(20 * ASKED).as_bytes()).unwrap();
    drop(client);
    eventually("it is let go", || (bridge.threads_and_descriptors().1 <= descriptors).then_some(()));
    let unheard = ticks(&bridge) - before;
    assert!(unheard < 3 * heard, "{unheard} ticks, and {heard} for {ASKED} answers");
}

#[test]
fn more_waits_than_allowed_are_refused() {
    let mut bridge = Carrying::start();
    let mut client = bridge.greeted();
    for id in 0..20 {
        let wait =
            format!("{{\"id\":{id},\"command\":\"wait\",\"port\":\"x\",\"state\":\"up\",\"timeout_ms\":60000}}\n");
        client.write_all(wait.as_bytes()).unwrap();
    }
    for id in 16..20 {
        let told = line(&mut client);
        assert!(told.starts_with(&format!("{{\"id\":{id},\"error\"")) && told.contains("more than 16"), "{told}");
    }
    bridge.carry();
    bridge.answers();
}
