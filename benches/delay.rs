//! How exactly a bridge that has nothing else to do keeps a delay and a rate.
//!
//! `cargo bench --bench delay`; on an idle machine. A frame each few milliseconds goes through a port with a delay, from a
//! UNIX socket to another, and the error is what it came later than that: the wake-up of the switch, its work, and the
//! wake-up of the reader. Then frames of 1514 bytes are sent as fast as they are taken through a port with a rate.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::TempDir;
use zbridge::config::PortSpec;
use zbridge::engine::Bridge;

const FRAMES: u32 = 2000;

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        // so does `cargo test --all-targets`
        println!("measures only on demand: cargo bench --bench delay");
        return;
    }
    println!("what a frame comes later than its delay, in microseconds");
    println!("{:>8} {:>8} {:>8} {:>8}", "delay", "p50", "p99", "max");
    for millis in [0, 1, 5, 20, 100] {
        let mut late = delays(millis);
        late.sort_unstable();
        let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize].as_nanos() as f64 / 1e3;
        println!("{:>5} ms {:>8.1} {:>8.1} {:>8.1}", millis, at(0.5), at(0.99), at(1.0));
    }
    println!("frames of 1514 bytes at a rate, over a second");
    for (rate, bits) in [("250kbit", 250e3), ("10mbit", 10e6), ("100mbit", 100e6), ("1gbit", 1e9)] {
        let got = throughput(rate);
        println!("{rate:>8} {:>12.0} bit/s, {:+.3} %", got, (got / bits - 1.0) * 100.0);
    }
}

/// Two clients of a bridge, the second of which is sent frames as `keys` say.
fn lab(keys: &str) -> (Bridge, UnixStream, UnixStream, TempDir) {
    let dir = TempDir::new();
    let bridge = Bridge::empty().expect("a bridge");
    let join = |name: &str, keys: &str| {
        let port = PortSpec::parse(&format!("unix:{}{keys}", dir.text(name))).expect("a port");
        bridge.add_port(port).expect("it is open");
        UnixStream::connect(dir.path(name)).expect("a connection")
    };
    let (a, b) = (join("a", ""), join("b", keys));
    std::thread::sleep(Duration::from_millis(200));
    (bridge, a, b, dir)
}

/// A frame for everybody, behind its length.
fn framed(number: u32, len: usize) -> Vec<u8> {
    let mut frame = (len as u32).to_be_bytes().to_vec();
    frame.extend([0xff; 6]);
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.resize(4 + len, 0);
    frame
}

fn delays(millis: u64) -> Vec<Duration> {
    let delay = Duration::from_millis(millis);
    let (bridge, mut a, mut b, _dir) =
        lab(&format!(",tx.delay={}", if millis == 0 { "0".into() } else { format!("{millis}ms") }));
    let reader = std::thread::spawn(move || {
        let mut frame = [0; 64];
        (0..FRAMES).map(|_| b.read_exact(&mut frame).map(|()| Instant::now()).expect("a frame")).collect::<Vec<_>>()
    });
    let mut sent = Vec::new();
    for number in 0..FRAMES {
        sent.push(Instant::now());
        a.write_all(&framed(number, 60)).expect("room");
        // No divisor of a delay, so that frames leave alone.
        std::thread::sleep(Duration::from_micros(1370));
    }
    let came = reader.join().expect("it has read");
    bridge.stop().expect("it ends");
    came.into_iter().zip(sent).map(|(came, sent)| (came - sent).saturating_sub(delay)).collect()
}

/// Bits a second that come, from the first frame on for a second.
fn throughput(rate: &str) -> f64 {
    const LEN: usize = 1514;
    let (bridge, mut a, mut b, _dir) = lab(&format!(",tx.rate={rate},tx.limit=1000"));
    let writer = std::thread::spawn(move || while a.write_all(&framed(0, LEN)).is_ok() {});
    let mut frame = [0; LEN + 4];
    b.read_exact(&mut frame).expect("a frame");
    let begun = Instant::now();
    let (mut frames, mut last) = (0, begun);
    while begun.elapsed() < Duration::from_secs(1) {
        b.read_exact(&mut frame).expect("a frame");
        (frames, last) = (frames + 1, Instant::now());
    }
    bridge.stop().expect("it ends");
    drop(b);
    writer.join().expect("it has written");
    f64::from(frames) * (LEN * 8) as f64 / (last - begun).as_secs_f64()
}
