//! A Linux guest whose network is a UART: SLIP by the kernel's own line discipline, against the host's kernel on a TAP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{
    Framing, Guest, LinePeer, Namespace, PATIENCE, Peer, Process, Received, TempDir, eventually, frame, needs, require,
    zbridge,
};

/// The line in the guest: its second serial port, at the speed that QEMU paces it with, 192.0.2.1 behind it.
const SLIP: &str = "slattach -L -m -p slip -s 115200 /dev/ttyS1 > /run/slattach 2>&1 &
    for i in $(seq 200); do [ -e /sys/class/net/sl0 ] && break; sleep 0.1; done
    ip addr add 192.0.2.1/24 dev sl0 && ip link set sl0 mtu 576 up && ip route add default dev sl0";

fn bridge(host: &Namespace, dir: &TempDir) -> Process {
    let slip = format!("slip:unix:{},mode=ip", dir.text("slip.sock"));
    let bridge = zbridge!("--port", "tap:zeth0,addr=192.0.2.2/24", "--port", slip).inside(host).spawn();
    bridge.wait_for("to attach", PATIENCE);
    bridge
}

fn guest(dir: &TempDir) -> Guest {
    let mut guest =
        Guest::new("uart").module("slip").qemu(["-serial", &format!("unix:{}", dir.text("slip.sock"))]).boot();
    guest.check(SLIP);
    guest
}

#[test]
fn a_guest_on_a_uart_reaches_everybody_and_is_reached() {
    require!(needs::root(), needs::netns(), needs::tun(), needs::guest(), needs::tool("iperf3", "iperf3"));
    let dir = TempDir::new();
    let host = Namespace::new("slip");
    let bridge = bridge(&host, &dir);
    let mut guest = guest(&dir);

    // Pings both ways. The guest says something first: that is how it is learned.
    let pinged = guest.run("ping -c 3 -W 5 192.0.2.2");
    assert!(pinged.output.contains(" 0% packet loss"), "{}", pinged.output);
    host.check("ping -n -c 3 -i 0.2 -W 5 192.0.2.1");
    assert!(host.ip("neigh show 192.0.2.1").contains("lladdr 02:"), "by the MAC of the port");

    // What is too long for the line is told.
    let long = host.run("ping -n -c 2 -W 5 -M do -s 1000 192.0.2.1");
    assert!(long.output.contains("mtu = 576") || long.output.contains("mtu=576"), "{}", long.output);
    host.check("ping -n -c 2 -W 5 -M do -s 548 192.0.2.1");

    // TCP both ways.
    host.check("iperf3 -s -D --one-off -p 5201; iperf3 -s -D --one-off -p 5202");
    for direction in ["-p 5201", "-p 5202 -R"] {
        let script = format!("iperf3 -c 192.0.2.2 -t 4 -w 8K -l 1K --connect-timeout 10000 {direction}");
        // the servers say nothing when they are ready
        eventually(&format!("iperf3 {direction}"), || {
            let ran = guest.run_within(Duration::from_secs(120), &script);
            (ran.rc == 0 && ran.output.contains("receiver")).then_some(())
        });
    }

    // The guest is killed and a new one takes its place, as the port does not go away.
    guest.process().kill9();
    bridge.wait_for("; waiting for its next peer", PATIENCE);
    drop(guest);
    let mut guest = self::guest(&dir);
    assert_eq!(guest.run("ping -c 1 -W 5 192.0.2.2").rc, 0);
    assert!(host.pings("192.0.2.1"));
    bridge.sigint();
    let exit = bridge.wait();
    assert_eq!(exit.code(), 0, "{}", exit.stderr);
    println!("{}", exit.stdout);
}

/// The answer of a device with nothing but IP to a ping, IPv4 (RFC 792) or IPv6 (RFC 4443, section 4).
fn pong(packet: &[u8]) -> Option<Vec<u8>> {
    let mut answer = packet.to_vec();
    let is_v6 = packet[0] >> 4 == 6;
    let (src, dst, head) = if is_v6 { (8..24, 24..40, 40) } else { (12..16, 16..20, 20) };
    answer[src.clone()].copy_from_slice(&packet[dst.clone()]);
    answer[dst].copy_from_slice(&packet[src]);
    let (request, reply) = if is_v6 { (128, 129) } else { (8, 0) };
    if packet[head] != request || packet[if is_v6 { 6 } else { 9 }] != if is_v6 { 58 } else { 1 } {
        return None;
    }
    answer[head] = reply;
    answer[head + 2..head + 4].fill(0);
    let pseudo = if is_v6 {
        let length = u32::try_from(answer.len() - 40).unwrap().to_be_bytes();
        [&answer[8..40], &length, &[0, 0, 0, 58], &answer[40..]].concat()
    } else {
        answer[20..].to_vec()
    };
    answer[head + 2..head + 4].copy_from_slice(&frame::checksum(&pseudo).to_be_bytes());
    Some(answer)
}

#[test]
fn hosts_reach_a_device_that_only_speaks_ip() {
    require!(needs::root(), needs::netns(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let host = Namespace::new("ip");
    let slip = format!("slip:pty:{},mode=ip,ip=192.0.2.1/24,ip=2001:db8::1/64,mtu=1400", dir.text("slip.dev"));
    let tap = "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64";
    let bridge = zbridge!("--port", tap, "--port", slip).inside(&host).spawn();
    bridge.wait_for("to attach", PATIENCE);
    let mut line = LinePeer::device(Framing::Slip, dir.path("slip.dev"));
    bridge.wait_for("slip.dev: connected", PATIENCE);
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let device = std::thread::spawn(move || {
        let mut answered = 0;
        while !over.load(Ordering::Relaxed) {
            let Received::Frame(packet) = line.receive(Duration::from_millis(50)) else { continue };
            if let Some(answer) = pong(&packet) {
                line.send(&answer);
                answered += 1;
            }
        }
        answered
    });
    for address in ["192.0.2.1", "2001:db8::1"] {
        let pinged = host.run(&format!("ping -n -c 3 -i 0.2 -W 5 {address}"));
        assert!(pinged.output.contains(" 0% packet loss"), "{address}: {}", pinged.output);
        assert!(host.ip(&format!("neigh show {address}")).contains("lladdr 02:"), "by the MAC of the port");
        let long = host.run(&format!("ping -n -c 2 -W 5 -M do -s 1410 {address}"));
        assert!(long.output.contains("1400"), "{address}: {}", long.output);
    }
    done.store(true, Ordering::Relaxed);
    assert_eq!(device.join().unwrap(), 6);
    bridge.sigint();
    assert_eq!(bridge.wait().code(), 0);
}
