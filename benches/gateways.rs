//! `nat:` beside the other ways out for guests without rights: passt and its twin pasta, slirp4netns and QEMU's own SLIRP,
//! back to back in one run.
//!
//! ```text
//! cargo bench --bench gateways                      three rounds, two seconds for each measurement
//! cargo bench --bench gateways -- 1 0.5             one round of half seconds
//! ```
//!
//! Each has a guest of its own, a network namespace whose only interface is the contender's TAP, and leads from there to
//! a server on the loopback of a host, which is a namespace, too. The guest's kernel and the server are the same for all.
//! QEMU runs no machine: its user network and a TAP are joined by its hub. passt gives a QEMU its network by a stream
//! socket; here its other end is a switch of zbridge's with the TAP, and beside it the same switch is on such a socket of a
//! second zbridge, whose gateway has passt's place. (QEMU's own hub loses frames between a TAP and such a socket.) Each is
//! started as its manual shows it, with the largest MTU that it offers. What is shown are the medians of the rounds; who is not installed is left out. Needs
//! root, for the namespaces.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Namespace, PATIENCE, TempDir, needs};

const GATEWAY: &str = "10.0.2.2";
/// Connections at once, where several are measured.
const TOGETHER: usize = 16;
/// Connections that rest, where they are to cost nothing.
const IDLE: usize = 1000;
const CONTENDERS: [Contender; 6] = [
    Contender { name: "zbridge", programs: &[], mtu: 1500 },
    Contender { name: "pasta", programs: &[PASST], mtu: 65520 },
    Contender { name: "slirp4netns", programs: &[("slirp4netns", "slirp4netns")], mtu: 65520 },
    Contender { name: "QEMU's SLIRP", programs: &[QEMU], mtu: 1500 },
    Contender { name: "zbridge, by a socket", programs: &[], mtu: 65500 },
    Contender { name: "passt, by a socket", programs: &[PASST], mtu: 65500 },
];
/// A program that has to be installed, and by which package.
type Program = (&'static str, &'static str);
const PASST: Program = ("passt", "passt");
const QEMU: Program = ("qemu-system-x86_64", "qemu-system-x86");
const COLUMNS: [(&str, Measure); 6] = [
    ("up, Gbit/s", |lab, time| lab.stream(b'u', 1, time)),
    ("down, Gbit/s", |lab, time| lab.stream(b'd', 1, time)),
    ("down, 16 streams", |lab, time| lab.stream(b'd', TOGETHER, time)),
    ("conn/s", |lab, time| lab.connections(1, time)),
    ("conn/s, 16 at once", |lab, time| lab.connections(TOGETHER, time)),
    ("conn/s beside 1000 idle", Lab::beside_idle),
];

type Measure = fn(&Lab, Duration) -> f64;

struct Contender {
    name: &'static str,
    programs: &'static [Program],
    mtu: u32,
}

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        return println!("measures only on demand: cargo bench --bench gateways");
    }
    let numbers: Vec<f64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let rounds = numbers.first().map_or(3, |count| *count as usize).max(1);
    let time = Duration::from_secs_f64(numbers.get(1).copied().unwrap_or(2.0));
    if let Err(missing) = needs::netns().and_then(|()| needs::tun()) {
        return println!("skipped: {missing}");
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("as many descriptors as there are");
    let there =
        |contender: &&Contender| contender.programs.iter().all(|(tool, package)| needs::tool(tool, package).is_ok());
    let contenders: Vec<_> = CONTENDERS.iter().filter(there).collect();
    let mut results = vec![vec![Vec::new(); COLUMNS.len()]; contenders.len()];
    for round in 0..rounds {
        for at in 0..contenders.len() {
            // by turns the first, so that nobody always has the machine at its best
            let at = (at + round) % contenders.len();
            let lab = Lab::start(contenders[at]);
            for ((_, measure), found) in COLUMNS.iter().zip(&mut results[at]) {
                found.push(measure(&lab, time));
            }
        }
    }
    let head: Vec<_> = COLUMNS.iter().map(|(title, _)| *title).collect();
    println!("| | mtu | {} |\n|---|{}", head.join(" | "), "---:|".repeat(COLUMNS.len() + 1));
    for (contender, found) in contenders.iter().zip(&mut results) {
        let medians: Vec<String> = found.iter_mut().map(|values| show(median(values))).collect();
        println!("| {} | {} | {} |", contender.name, contender.mtu, medians.join(" | "));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn show(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// A contender between its host and its guest.
struct Lab {
    _gateway: Vec<Running>,
    guest: Namespace,
    /// The server of the host's loopback, as the guest knows it.
    server: SocketAddr,
    _host: Namespace,
    _beyond: Namespace,
    _dir: TempDir,
}

/// A process that ends when it is not needed any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lab {
    fn start(contender: &Contender) -> Self {
        let (host, guest, beyond) = (Namespace::new("gw-host"), Namespace::new("gw-guest"), Namespace::new("gw-out"));
        // a host with a way out, which pasta wants to see
        host.veth("out", &beyond, "in");
        host.ip("addr add 198.51.100.1/24 dev out");
        beyond.ip("link set in up");
        host.ip("route add default via 198.51.100.254");
        for namespace in [&host, &guest] {
            namespace.check("echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
        }
        let dir = TempDir::new();
        let gateway = start(contender, &host, &guest, &dir.text("socket"));
        if !matches!(contender.name, "pasta" | "slirp4netns") {
            wait_for(contender.name, || host.run("ip link show zg").rc == 0);
            // it has to be open when it moves
            std::thread::sleep(Duration::from_secs(1));
            host.ip(&format!("link set zg netns {}", guest.name()));
            guest.ip("addr add 10.0.2.15/24 dev zg");
            guest.ip(&format!("link set zg mtu {} up", contender.mtu));
            guest.ip(&format!("route add default via {GATEWAY}"));
        }
        let listener = host.inside(|| TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let server =
            SocketAddr::new(GATEWAY.parse().expect("an address"), listener.local_addr().expect("bound").port());
        std::thread::spawn(move || serve(&listener));
        let lab = Self { _gateway: gateway, guest, server, _host: host, _beyond: beyond, _dir: dir };
        wait_for(contender.name, || {
            lab.connect().is_ok_and(|mut stream| stream.write_all(b"c").is_ok() && stream.read(&mut [0]).is_ok())
        });
        lab
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let server = self.server;
        let stream = self.guest.inside(move || TcpStream::connect_timeout(&server, Duration::from_secs(5)))?;
        // a contender that has died is noticed
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Gbit/s of `count` streams at once; `way` is `u` for up, `d` for down.
    fn stream(&self, way: u8, count: usize, time: Duration) -> f64 {
        let streams: Vec<_> = (0..count).map(|_| self.connect().expect("a connection")).collect();
        let end = Instant::now() + time;
        let bytes: u64 = std::thread::scope(|scope| {
            let move_all = |mut stream: TcpStream| {
                stream.write_all(&[way]).expect("the server takes it");
                let (mut buffer, mut moved) = (vec![0; 128 << 10], 0);
                while Instant::now() < end {
                    let count = if way == b'u' { stream.write(&buffer) } else { stream.read(&mut buffer) };
                    moved += count.expect("it goes on") as u64;
                }
                if way == b'u' {
                    // what counts is what has arrived
                    stream.shutdown(Shutdown::Write).expect("an end");
                    let mut arrived = [0; 8];
                    stream.read_exact(&mut arrived).expect("how much it was");
                    moved = u64::from_be_bytes(arrived);
                }
                moved
            };
            let threads: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || move_all(stream))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
        });
        let taken = (Instant::now() - (end - time)).as_secs_f64();
        bytes as f64 * 8.0 / 1e9 / taken
    }

    /// The same as one of [`Self::connections`] while a thousand others rest; no number where there cannot be so many.
    fn beside_idle(&self, time: Duration) -> f64 {
        let idle: Vec<_> = (0..IDLE).map_while(|_| self.connect().ok()).collect();
        if idle.len() == IDLE { self.connections(1, time) } else { f64::NAN }
    }

    /// Connections a second that are opened, asked, answered and closed, `together` at once.
    fn connections(&self, together: usize, time: Duration) -> f64 {
        let (server, end) = (self.server, Instant::now() + time);
        let client = || {
            let mut done = 0_u32;
            while Instant::now() < end {
                let Ok(mut stream) = TcpStream::connect_timeout(&server, Duration::from_secs(1)) else { continue };
                if stream.write_all(b"c").is_ok() && stream.read(&mut [0]).is_ok_and(|count| count == 1) {
                    done += 1;
                }
            }
            f64::from(done)
        };
        let one_after_the_other = |_| self.guest.inside(client);
        let total: f64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..together).map(|at| scope.spawn(move || one_after_the_other(at))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
        });
        total / time.as_secs_f64()
    }
}

/// Starts what leads from the TAP `zg` to the host, over a socket at `socket` or not.
fn start(contender: &Contender, host: &Namespace, guest: &Namespace, socket: &str) -> Vec<Running> {
    let (netns, mtu) = (format!("/run/netns/{}", guest.name()), contender.mtu);
    let run = |words: &str| {
        let words: Vec<&str> = words.split_ascii_whitespace().collect();
        let mut command = host.command(words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("the contender starts"))
    };
    let zbridge = env!("CARGO_BIN_EXE_zbridge");
    let ours = "-q -f --runas 0 -4 -a 10.0.2.15 -n 24 -g 10.0.2.2 -t none -u none";
    let on_socket = |gateway: &str| {
        let gateway = run(gateway);
        wait_for(contender.name, || std::path::Path::new(socket).exists());
        vec![run(&format!("{zbridge} -q --port tap:zg --port unix:{socket},connect")), gateway]
    };
    match contender.name {
        "zbridge" => vec![run(&format!("{zbridge} -q --port tap:zg --port nat:10.0.2.2/24"))],
        "pasta" => vec![run(&format!("pasta {ours} --config-net -I zg -T none -U none --netns {netns}"))],
        "slirp4netns" => vec![run(&format!("slirp4netns --configure --mtu {mtu} --netns-type=path {netns} zg"))],
        "QEMU's SLIRP" => {
            host.ip("tuntap add zg mode tap");
            vec![run("qemu-system-x86_64 -machine none -display none -nodefaults -netdev user,id=u -netdev \
                 tap,id=t,ifname=zg,script=no,downscript=no -netdev hubport,hubid=0,netdev=u,id=a -netdev \
                 hubport,hubid=0,netdev=t,id=b")]
        }
        "zbridge, by a socket" => {
            on_socket(&format!("{zbridge} -q --port unix:{socket},mtu={mtu} --port nat:10.0.2.2/24,mtu={mtu}"))
        }
        _ => on_socket(&format!("passt {ours} -s {socket}")),
    }
}

fn wait_for(name: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(40), "{name} does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Serves whoever comes: `c` is answered by a byte, `u` takes all and says how much it was, `d` gives until nobody takes.
fn serve(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        std::thread::spawn(move || {
            let mut way = [0];
            let mut buffer = vec![0; 128 << 10];
            match stream.read(&mut way).map(|_| way[0]) {
                Ok(b'c') => drop(stream.write_all(&[1])),
                Ok(b'd') => while stream.write(&buffer).is_ok() {},
                Ok(b'u') => {
                    let mut taken = 0_u64;
                    while let Ok(count @ 1..) = stream.read(&mut buffer) {
                        taken += count as u64;
                    }
                    drop(stream.write_all(&taken.to_be_bytes()));
                }
                _ => {}
            }
        });
    }
}
