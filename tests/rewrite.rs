//! Copies of one image side by side: the same static MAC and IPv4 address behind each port, and addresses of their own
//! on the switch (`rewrite=`, `zbridge run --rewrite`).

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use std::collections::HashSet;
use support::standin::{Build, tap_program};
use support::{Launch, PATIENCE, Peer, Process, StreamPeer, TempDir, needs, require, zbridge};
use zbridge::wire::Mac;

/// What every instance has by itself.
const MAC: [u8; 6] = [2, 0, 0x5e, 0, 0x53, 0x3b];

/// What these tests need that start programs.
fn machine() -> needs::Need {
    needs::programs()?;
    needs::tool("bash", "bash")?;
    needs::tool("ping", "iputils-ping")
}

/// `zbridge run --join lab` of an ordinary user.
fn join(dir: &TempDir, name: &str) -> Launch {
    let run = zbridge!("run").env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(dir);
    run.args(["--join", "lab", "--name", name])
}

/// A copy of the image, reached as 192.0.2.`number`.
fn copy(dir: &TempDir, number: usize, program: &str) -> Launch {
    let rule = format!("ip=192.0.2.1:192.0.2.{number}");
    join(dir, &format!("copy{number}")).args(["--rewrite", "mac", "--rewrite", &rule, "--", program])
}

/// A bridge called lab.
fn lab(dir: &TempDir) -> Process {
    let bridge = zbridge!("--name", "lab", "--port", format!("unix:{}", dir.text("net")));
    bridge.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(dir).ready()
}

/// Reaches each of these addresses by ping, UDP and TCP, and says who they are.
const REACH: &str = r#"
for ip in "$@"; do
    ping -c 2 -i 0.2 -W 5 "$ip" >&2
    for how in udp tcp; do
        exec 3<>"/dev/$how/$ip/7"
        echo "hello $how $ip" >&3
        # at once: what is left of a datagram after a read is lost
        line=$(timeout 10 dd bs=64 count=1 status=none <&3)
        [ "$line" = "hello $how $ip" ]
        exec 3>&-
    done
done
ip neigh
"#;

#[test]
fn five_copies_with_one_address_are_reached_each_by_its_own() {
    require!(machine(), needs::tool("nsenter", "util-linux"), needs::tool("tcpdump", "tcpdump"));
    require!(needs::tool("tshark", "tshark"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap().display().to_string();
    let bridge = lab(&dir);
    let mut copies: Vec<Process> = (11..=14).map(|number| copy(&dir, number, &program).spawn()).collect();
    copies.iter().for_each(|copy| drop(copy.wait_for("zeth: up, 192.0.2.1", PATIENCE)));
    let seen = dir.text("seen.pcap");
    let capture = capture_in(&dir, &copies[0], &seen);
    // the fifth talks to the first
    copies.push(copy(&dir, 15, &program).arg("--ping=192.0.2.11").spawn());
    copies[4].wait_for("answer from 192.0.2.11: seq=3", PATIENCE);

    let addresses: Vec<String> = (11..=15).map(|number| format!("192.0.2.{number}")).collect();
    let host = join(&dir, "host").args(["--host", "192.0.2.99/24", "--", "bash", "-ec", REACH, "bash"]);
    let host = host.args(addresses.clone()).run();
    assert_eq!(host.code(), 0, "{host:?}");
    let stations: HashSet<&str> = host.stdout.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(stations.len(), 5, "{}", host.stdout);
    assert!(!stations.contains("02:00:5e:00:53:3b"), "{}", host.stdout);
    for copy in &copies {
        assert!(!copy.stdout().contains("checksum"), "{}", copy.stdout());
    }
    capture.sigint();
    capture.wait();
    check_capture(&seen);
    drop(bridge);
}

/// Captures what a copy itself sees, in its namespace.
fn capture_in(dir: &TempDir, copy: &Process, file: &str) -> Process {
    // zbridge, the stage, the init, the program
    let pid = (0..3).fold(copy.pid(), |pid, _| {
        support::eventually("a child", || {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_ascii_whitespace().next()?.parse().ok()
        })
    });
    let words = ["-t", &pid.to_string(), "-n", "tcpdump", "-Z", "root", "-U", "-i", "zeth", "-w", file];
    let capture = Launch::new("nsenter").args(words).env("TMPDIR", dir.root()).spawn();
    capture.wait_for("listening on", PATIENCE);
    capture
}

/// Has tshark look at every checksum of a capture, and at whom the frames are from and to.
fn check_capture(file: &str) {
    let tshark = |filter: &str| {
        let check = ["ip", "tcp", "udp"].map(|protocol| format!("{protocol}.check_checksum:TRUE"));
        let options = check.iter().flat_map(|check| ["-o", check]);
        let exit = Launch::new("tshark").args(["-n", "-r", file, "-Y", filter]).args(options).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
        exit.stdout
    };
    let wrong =
        "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0";
    assert_eq!(tshark(wrong), "", "wrong checksums");
    for protocol in ["tcp", "udp && !icmp", "icmp", "arp"] {
        assert!(tshark(protocol).lines().count() >= 2, "{protocol}: {}", tshark(protocol));
    }
    let own = "eth.dst[0] & 1 || eth.addr == 02:00:5e:00:53:3b";
    assert_eq!(tshark(&format!("!({own})")), "", "its own address alone");
    assert_eq!(tshark("ip && !(ip.addr == 192.0.2.1)"), "", "its own address alone");
}

/// Hosts whose kernels leave checksums and segments to be finished: TCP and UDP both ways, and an ICMP error, to and from
/// two that have the same address.
#[test]
fn unfinished_frames_are_translated_too() {
    require!(machine(), needs::tool("iperf3", "iperf3"));
    let dir = TempDir::new();
    let bridge = lab(&dir);
    let server = |number: usize| {
        let rule = format!("ip=192.0.2.1:192.0.2.{number}");
        let host =
            ["--rewrite", "mac", "--rewrite", &rule, "--host", "192.0.2.1/24", "--", "iperf3", "-s", "--forceflush"];
        let server = join(&dir, &format!("host{number}")).args(host).spawn();
        server.wait_for("Server listening", PATIENCE);
        server
    };
    let servers = [server(11), server(12)];
    let script = r#"
        # a server takes one client, and the next when it has made its listener anew
        again() { for try in $(seq 100); do "$@" >&2 && return; sleep 0.1; done; return 1; }
        # sends until an ICMP error has come for what was sent
        refused() { for try in $(seq 200); do echo hello >&3 || return 0; sleep 0.1; done; return 1; }
        for ip in 192.0.2.11 192.0.2.12; do
            again iperf3 -c $ip -n 16M
            again iperf3 -c $ip -n 16M -R
            again iperf3 -c $ip -u -b 20M -n 1M -l 1400
            # 9000 bytes in fragments
            ping -c 2 -i 0.2 -W 5 -s 9000 "$ip" >&2
            # nobody is at this port, which an ICMP error says of the packet that it quotes
            exec 3<>"/dev/udp/$ip/9"
            refused
        done
        # by the address that it has made of its own MAC address, and that is of another here
        again ping -c 1 -W 1 "$1%eth0"
        ping -c 2 -i 0.2 -W 5 -s 9000 "$1%eth0" >&2
        again iperf3 -c "$1%eth0" -n 16M
        again iperf3 -c "$1%eth0" -n 16M -R
        exec 3<>"/dev/udp/$1%eth0/9"
        refused"#;
    let [a, b, c, d, e, f] = Mac::made_of("host11").0.map(u16::from);
    let made = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f);
    let client = ["--host", "192.0.2.99/24", "--", "bash", "-ec", script, "bash", &made.to_string()];
    let client = join(&dir, "client").args(client).run();
    assert_eq!(client.code(), 0, "{client:?}");
    drop((servers, bridge));
}

#[test]
fn a_bench_of_copies() {
    require!(machine());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let copies: String = (11..=13)
        .map(|number| {
            format!(
                "[[instance]]\nname = \"copy{number}\"\ncommand = \"{}\"\ntap = \"zeth\"\n\
                 rewrite = [\"mac\", \"ip=192.0.2.1:192.0.2.{number}\"]\nready = \"ping 192.0.2.{number}\"\n",
                program.display()
            )
        })
        .collect();
    let reach = dir.file("reach", REACH);
    let host = format!(
        "[[instance]]\nname = \"host\"\ncommand = [\"bash\", \"-e\", {:?}, \"192.0.2.11\", \"192.0.2.12\", \"192.0.2.13\"]\n\
         host = \"192.0.2.99/24\"\nafter = [\"copy11\", \"copy12\", \"copy13\"]\n",
        reach.to_str().unwrap()
    );
    let bench = dir.file("bench.toml", copies + &host);
    let up = zbridge!("up", bench, "--exit-with", "host", "--timeout", "60s", "--logs", dir.text("logs"));
    let exit = up.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
}

/// A frame of no known protocol from `source`, with a number in it.
fn frame(destination: [u8; 6], source: [u8; 6], number: u16) -> Vec<u8> {
    [&destination[..], &source, &[0x88, 0xb5], &number.to_be_bytes(), &[0; 1000]].concat()
}

#[test]
fn every_client_of_a_socket_is_a_station_of_its_own() {
    let dir = TempDir::new();
    let (guests, other) = (dir.text("guests"), dir.text("other"));
    let _bridge = zbridge!("--port", format!("unix:{guests},rewrite=mac"), "--port", format!("unix:{other}")).ready();
    let mut host = StreamPeer::unix(&other);
    let mut copies = [StreamPeer::unix(&guests), StreamPeer::unix(&guests)];
    let peer = [2, 0, 0, 0, 0, 9];
    let stations = copies.each_mut().map(|copy| {
        copy.send(&frame([0xff; 6], MAC, 0));
        let heard = host.receive_where(|_| true);
        assert_eq!(heard[14..], frame([0xff; 6], MAC, 0)[14..]);
        let station: [u8; 6] = heard[6..12].try_into().unwrap();
        assert!(station != MAC && station[0] & 3 == 2, "{station:02x?}");
        station
    });
    assert_ne!(stations[0], stations[1]);
    // more than the socket holds, so that some of it waits in the port's queue
    for number in 0..2000 {
        host.send(&frame(stations[1], peer, number));
    }
    for number in 0..2000 {
        // behind the flood of the other copy's first frame
        let got = copies[1].receive_where(|got| got[..6] != [0xff; 6]);
        assert_eq!(got, frame(MAC, peer, number));
    }
}

/// What a DHCP client sends first (RFC 2131, 3.1), with its hardware address in the header and as its identifier.
fn discover() -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    message[10] = 0x80;
    message[28..34].copy_from_slice(&MAC);
    message.extend([99, 130, 83, 99, 53, 1, 1, 61, 7, 1].into_iter().chain(MAC).chain([255]));
    let mut frame = Vec::new();
    let headers = PacketBuilder::ethernet2(MAC, [0xff; 6]).ipv4([0; 4], [255; 4], 64).udp(68, 67);
    headers.write(&mut frame, &message).unwrap();
    frame
}

/// A DHCP server takes copies for what they are on the switch: each is offered an address of its own, and each finds
/// its own hardware address in the offer.
#[test]
fn copies_are_told_apart_by_a_dhcp_server() {
    let dir = TempDir::new();
    let guests = dir.text("guests");
    let bridge = zbridge!("--port", format!("unix:{guests},rewrite=mac"), "--port", "nat:10.0.2.2/24");
    let _bridge = bridge.env("XDG_RUNTIME_DIR", dir.root()).ready();
    let mut copies = [StreamPeer::unix(&guests), StreamPeer::unix(&guests)];
    let offered = copies.each_mut().map(|copy| {
        copy.send(&discover());
        // behind Ethernet, IPv4 and UDP: an offer is of op 2, with the client's address at 28 and what is offered at 16
        let is_offer = |frame: &[u8]| frame.get(34..38) == Some(&[0, 67, 0, 68]) && frame.get(70..76) == Some(&MAC);
        let offer = copy.receive_where(is_offer);
        let packet = SlicedPacket::from_ethernet(&offer).unwrap();
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
            panic!("{packet:?}")
        };
        let right = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload()).unwrap();
        assert!(udp.checksum() == 0 || udp.checksum() == right, "{packet:?}");
        <[u8; 4]>::try_from(&offer[58..62]).unwrap()
    });
    assert!(offered[0] != offered[1] && offered.iter().all(|ip| ip[..3] == [10, 0, 2]), "{offered:?}");
}

#[test]
fn what_cannot_be_translated_is_refused() {
    let says = |rules: &[&str]| {
        let exit = zbridge!("run").args(rules.iter().flat_map(|rule| ["--rewrite", rule])).args(["--", "true"]).run();
        assert_eq!(exit.code(), 2, "{exit:?}");
        exit.stderr
    };
    assert!(says(&["ip=192.0.2.1"]).contains("mac, mac=OLD:NEW or ip=OLD:NEW"));
    let twice = says(&["ip=192.0.2.1:192.0.2.2", "ip=192.0.2.2:192.0.2.3"]);
    assert!(twice.contains("rewrite=ip=192.0.2.2:192.0.2.3 contradicts rewrite=ip=192.0.2.1:192.0.2.2"), "{twice}");
    let radio = zbridge!("--port", "wpan:pipe:/tmp/x,rewrite=mac").run();
    assert!(radio.stderr.contains("rewrite means nothing on a radio medium"), "{radio:?}");
}
