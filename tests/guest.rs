//! Real guests: two Linux kernels under QEMU and this host, on every socket that QEMU speaks.
//!
//! Booting takes most of the time, so it is done once, and one test goes through all that the guests are for. Each
//! guest has three interfaces, on three switches of one zbridge:
//!
//! | switch | guest one | guest two | host |
//! |---|---|---|---|
//! | default | `unix:`, QEMU dials | the same | `tap:` |
//! | field | `unixgram:` | `unix:…,connect`, QEMU listens | `tap:` |
//! | twins | `unix:`, the MAC address of every Zephyr | `unix:`, the same address | |

use std::time::{Duration, Instant};
use support::{Guest, Namespace, Nic, PATIENCE, Process, Summary, TempDir, eventually, needs, require, zbridge};

const ZEPHYR: &str = "02:00:5e:00:53:3b";

fn start(host: &Namespace, dir: &TempDir) -> Process {
    let ports = [
        "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64,mtu=9000".to_owned(),
        format!("unix:{}", dir.text("inst1")),
        format!("unix:{}", dir.text("inst2")),
        "tap:zeth1,addr=198.51.100.2/24,switch=field".to_owned(),
        format!("unixgram:{},peer={},switch=field", dir.text("gram"), dir.text("gram.qemu")),
        format!("unix:{},connect,switch=field", dir.text("served")),
        format!("unix:{},switch=twins", dir.text("twin1")),
        format!("unix:{},switch=twins", dir.text("twin2")),
    ];
    zbridge!().args(ports.iter().flat_map(|port| ["-p", port])).inside(host).ready()
}

/// An interface made by the very words that zbridge printed for the port `name`, with nothing added.
fn as_printed(zbridge: &Process, name: &str) -> Nic {
    let words = eventually(&format!("a line that attaches a QEMU to {name}"), || {
        let stdout = zbridge.stdout();
        let mut lines = stdout.lines().filter(|line| line.trim_start().starts_with(&format!("{name} ")));
        lines.find_map(|line| line.split_once("QEMU:").map(|(_, words)| words.to_owned()))
    });
    Nic::pasted(&words)
}

/// Boots both guests side by side.
fn boot(zbridge: &Process) -> [Guest; 2] {
    let served = as_printed(zbridge, "served");
    let nics = |number: u8, field: Nic| {
        [
            as_printed(zbridge, &format!("inst{number}"))
                .address(&format!("192.0.2.1{number}/24"))
                .address(&format!("2001:db8::1{number}/64"))
                .mtu(9000),
            field.address(&format!("198.51.100.1{number}/24")),
            as_printed(zbridge, &format!("twin{number}")).mac(ZEPHYR).address(&format!("203.0.113.{number}/24")),
        ]
    };
    let builds = [("one", nics(1, as_printed(zbridge, "gram"))), ("two", nics(2, served))]
        .map(|(name, nics)| nics.into_iter().fold(Guest::new(name).module("8021q"), |guest, nic| guest.nic(nic)));
    std::thread::scope(|scope| {
        builds.map(|build| scope.spawn(|| build.boot())).map(|booting| match booting.join() {
            Ok(guest) => guest,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

/// Guests and host on the switch `field` find each other. Gives how long that took.
fn field_is_whole(host: &Namespace, one: &mut Guest) -> Duration {
    let begun = Instant::now();
    let ping = "ping -c 1 -W 1 198.51.100.12";
    eventually("guest two is found from guest one", || (one.run(ping).rc == 0).then_some(()));
    for guest in ["198.51.100.11", "198.51.100.12"] {
        eventually("the guests are found from the host", || host.pings(guest).then_some(()));
    }
    begun.elapsed()
}

/// Frames that a guest's interface has sent.
fn sent(guest: &mut Guest, interface: &str) -> u64 {
    let text = guest.check(&format!("cat /sys/class/net/{interface}/statistics/tx_packets"));
    text.trim().parse().expect("a number")
}

/// Frames that the host's interface has received.
fn received(host: &Namespace, interface: &str) -> u64 {
    let text = host.check(&format!("ip -s -o link show {interface}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "RX:");
    words.by_ref().find(|word| word.bytes().all(|byte| byte.is_ascii_digit())).expect("octets");
    words.next().and_then(|word| word.parse().ok()).expect("a number of frames")
}

#[test]
fn guests_and_host_are_one_network() {
    require!(
        needs::guest(),
        needs::netns(),
        needs::tun(),
        needs::tool("ping", "iputils-ping"),
        needs::tool("iperf3", "iperf3"),
    );
    let (host, dir) = (Namespace::new("host"), TempDir::new());
    let zbridge = start(&host, &dir);
    let begun = Instant::now();
    let [mut one, mut two] = boot(&zbridge);
    println!("both guests are up after {:?}", begun.elapsed());
    zbridge.wait_for("served: open again", PATIENCE);

    // everybody finds everybody, small and large
    for address in ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"] {
        eventually(address, || host.pings(address).then_some(()));
        host.check(&format!("ping -n -c 1 -W 5 -M do -s 8900 {address}"));
    }
    for (guest, others) in [
        (&mut one, ["192.0.2.2", "192.0.2.12", "2001:db8::2", "2001:db8::12"]),
        (&mut two, ["192.0.2.2", "192.0.2.11", "2001:db8::2", "2001:db8::11"]),
    ] {
        for other in others {
            guest.check(&format!("ping -c 1 -W 5 {other} && ping -c 1 -W 5 -s 8900 {other}"));
        }
    }
    println!("the field switch is whole after {:?}", field_is_whole(&host, &mut one));

    // in a VLAN of their own
    for (guest, number) in [(&mut one, 1), (&mut two, 2)] {
        guest.check(&format!(
            "ip link add link eth0 name v100 type vlan id 100 && ip addr add 10.0.100.{number}/24 dev v100 && \
             ip link set v100 up"
        ));
    }
    one.check("ping -c 2 -W 5 10.0.100.2");

    // TCP to the host and from guest to guest
    host.check("iperf3 -s -D --one-off");
    two.check("iperf3 -s -D --one-off");
    let before = [sent(&mut one, "eth0"), received(&host, "zeth0")];
    let to_host = eventually("iperf3", || Some(one.run("iperf3 -c 192.0.2.2 -t 1 -f m")).filter(|ran| ran.rc == 0));
    let [plain, merged] = [sent(&mut one, "eth0") - before[0], received(&host, "zeth0") - before[1]];
    println!("{plain} frames of guest one came to the host as {merged}");
    assert!(merged < plain, "segments are merged towards a TAP, {plain} were {merged}");
    let to_guest = eventually("iperf3", || Some(one.run("iperf3 -c 192.0.2.12 -t 1 -f m")).filter(|ran| ran.rc == 0));
    for report in [to_host.output, to_guest.output] {
        println!("{}", report.lines().find(|line| line.contains("receiver")).expect("iperf3's last line"));
    }

    // two interfaces with one address
    for guest in [&mut one, &mut two] {
        guest.check("ping -c 300 -i 0.1 203.0.113.255 > /dev/null 2>&1 &");
    }
    let warning = zbridge.wait_for(&format!("{ZEPHYR} is heard on"), PATIENCE);
    assert!(warning.contains("twin1") && warning.contains("twin2") && warning.contains("rewrite=mac"), "{warning}");

    let summary = Summary::of(zbridge);
    for name in ["zeth0", "inst1", "inst2"] {
        let port = summary.all_of(name);
        assert!(port.rx_frames > 20 && port.tx_frames > 20, "{port:#?}");
    }
    assert!(summary.all_of("inst2").tx_bytes > 100_000, "iperf3 went there");
    summary.check_pair("twin1", "twin2");
    restarts(&host, &dir, &mut one);
}

/// zbridge ends, as asked and by SIGKILL. A QEMU that listens, or has no connection to lose, is found again.
fn restarts(host: &Namespace, dir: &TempDir, one: &mut Guest) {
    let mut zbridge = start(host, dir);
    println!("after a clean stop: the field switch is whole after {:?}", field_is_whole(host, one));
    zbridge.kill9();
    host.check("! ip link show zeth1 2>/dev/null");
    let zbridge = start(host, dir);
    println!("after kill -9: the field switch is whole after {:?}", field_is_whole(host, one));
    let summary = Summary::of(zbridge);
    for name in ["zeth1", "gram", "served"] {
        let port = summary.port(name);
        assert!(port.state == "up" && port.rx_frames > 2 && port.tx_frames > 2, "{port:#?}");
    }
}
