//! A guest behind a line that loses frames, as a UART without flow control does: bytes arrive all the same.

use crate::lab::{GATEWAY, GUEST, bytes, drink, listen, pour};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::{Namespace, Process, TempDir, eventually, needs, require, zbridge};

/// One frame of so many is lost, by chance.
const LOST: u64 = 40;
/// Bytes of a stream: a guest that does not say what it has takes long for more.
const LENGTHS: [(u8, usize); 2] = [(1, 2 << 20), (0, 256 << 10)];
/// Timeouts grow with every loss of what was sent again, to half a minute.
const LONG: Duration = Duration::from_secs(90);

/// A guest with a switch of its own, a gateway with another, and a line between the two.
struct Lossy {
    line: Vec<(UnixStream, JoinHandle<u64>)>,
    switches: [Process; 2],
    guest: Namespace,
    host: Namespace,
}

impl Lossy {
    fn start() -> Self {
        let (host, guest, dir) = (Namespace::new("lossy"), Namespace::new("guest"), TempDir::new());
        let ports = [["tap:zg".to_owned(), dir.text("near")], ["nat:10.0.2.2/24".to_owned(), dir.text("far")]];
        let switches = ports
            .each_ref()
            .map(|[port, line]| zbridge!("-p", port.clone(), "-p", format!("unix:{line}")).inside(&host).ready());
        host.ip(&format!("link set zg netns {}", guest.name()));
        guest.ip(&format!("addr add {GUEST}/24 dev zg"));
        guest.ip("link set zg up");
        let [near, far] = ports.map(|[_, line]| UnixStream::connect(line).expect("a port"));
        let clone = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
        let ways = [(clone(&near), clone(&far), 1), (far, near, 2)];
        let line = ways.map(|(from, to, seed)| {
            let end = clone(&from);
            (end, std::thread::spawn(move || lose_some(from, to, seed)))
        });
        let lab = Self { line: line.into(), switches, guest, host };
        eventually("the gateway answers", || lab.guest.pings(GATEWAY).then_some(()));
        lab
    }
}

/// Passes frames on, each behind its length, but for some. Gives how many those were.
fn lose_some(mut from: UnixStream, mut to: UnixStream, mut seed: u64) -> u64 {
    let (mut lost, mut length) = (0, [0; 4]);
    while from.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut frame).is_err() {
            break;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (seed >> 33).is_multiple_of(LOST) {
            lost += 1;
        } else if to.write_all(&[&length[..], &frame].concat()).is_err() {
            break;
        }
    }
    lost
}

#[test]
fn streams_survive_a_line_that_loses() {
    require!(needs::netns(), needs::tun());
    let lab = Lossy::start();
    let listener = listen(&lab.host, "127.0.0.1:0");
    let port = listener.local_addr().expect("an address").port();
    for (sack, length) in LENGTHS {
        let data = bytes(length);
        lab.guest.check(&format!("echo {sack} > /proc/sys/net/ipv4/tcp_sack"));
        for up in [true, false] {
            let guest = lab.guest.inside(|| TcpStream::connect((GATEWAY, port))).expect("a connection");
            let (host, _) = listener.accept().expect("a client");
            for end in [&guest, &host] {
                end.set_read_timeout(Some(LONG)).expect("a timeout");
            }
            let (from, to) = if up { (guest, host) } else { (host, guest) };
            let start = Instant::now();
            let found = std::thread::scope(|scope| {
                scope.spawn(|| pour(&from, &data));
                drink(&to)
            });
            assert!(found == data, "sack={sack}, up={up}: {} bytes came", found.len());
            println!("sack={sack}, up={up}: {:?}", start.elapsed());
        }
    }
    for (end, thread) in lab.line {
        end.shutdown(Shutdown::Both).expect("a stream");
        assert!(thread.join().expect("it ends") > 0, "nothing was lost");
    }
    drop(lab.switches);
}
