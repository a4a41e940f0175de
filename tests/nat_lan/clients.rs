//! DHCP clients of other makers, and another maker's server, each as a distribution runs it.

use crate::lab::machine;
use socket2::SockRef;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use support::{Launch, Namespace, PATIENCE, Process, TempDir, eventually, needs, require, zbridge};

/// A board with an interface of its own, plugged into a bridge with a gateway.
struct Board {
    // dropped in this order: the bridge goes before what it stands on
    zbridge: Process,
    guest: Namespace,
    _host: Namespace,
    _dir: TempDir,
}

impl Board {
    fn start(label: &str, keys: &str) -> Self {
        let (host, guest, dir) = (Namespace::new(label), Namespace::new("board"), TempDir::new());
        let nat = format!("nat:10.0.2.2/24{keys}");
        let zbridge = zbridge!("-p", "tap:zg,mac=02:00:5e:00:53:09", "-p", nat).env("XDG_RUNTIME_DIR", dir.root());
        let zbridge = zbridge.inside(&host).ready();
        host.ip(&format!("link set zg netns {}", guest.name()));
        guest.ip("link set zg up");
        zbridge.wait_for("its interface is up again", PATIENCE);
        Self { zbridge, guest, _host: host, _dir: dir }
    }

    /// The lease's row of `zbridge status`.
    fn lease(&self) -> Vec<String> {
        let said = self.zbridge.status();
        let row = said.lines().find(|line| line.contains("lease of nat")).unwrap_or_default();
        row.split_whitespace().map(str::to_owned).collect()
    }
}

/// What a client calls itself in option 81 is its name (RFC 4702).
#[test]
fn a_whole_name_is_a_name() {
    require!(machine(), needs::tool("udhcpc", "udhcpc"), needs::tool("dhcpcd", "dhcpcd-base"));
    let board = Board::start("names", "");
    // BusyBox, as OpenWrt and Buildroot run it
    board.guest.check("udhcpc -i zg -n -q -f -t 10 -T 1 -s /bin/true -F board9");
    assert_eq!(board.lease()[3..6], ["10.0.2.15", "02:00:5e:00:53:09", "board9"]);
    // as Raspberry Pi OS runs it; it is another name of the same board, although it gives an identifier, too
    let folders = "for f in /run /var/lib/dhcpcd; do mkdir -p $f; mount -t tmpfs none $f; done; mkdir -p /run/dhcpcd\n";
    let dhcpcd = "dhcpcd -4 -B -t 20 -1 --noarp --nohook resolv.conf -h board7.example.org -F both zg";
    board.guest.check(&format!("unshare -m sh -c '{folders}{dhcpcd}'"));
    assert_eq!(board.lease()[3..6], ["10.0.2.15", "02:00:5e:00:53:09", "board7"]);
}

/// systemd-networkd, which identifies itself by a number of its machine.
#[test]
fn networkd_has_address_name_and_prefix() {
    const NETWORKD: &str = "/lib/systemd/systemd-networkd";
    let there = std::path::Path::new(NETWORKD).is_file();
    let systemd = if there { Ok(()) } else { needs::missing(NETWORKD, "install with `apt-get install systemd`") };
    require!(machine(), systemd);
    let board = Board::start("networkd", ",ipv6=2001:db8::2/64");
    let script = format!(
        "set -e; mount -t tmpfs none /run; hostname netd7
         mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp /run/systemd/network /run/udev
         echo docker > /run/systemd/container; chown -R systemd-network /run/systemd/netif
         echo 0123456789abcdef0123456789abcdef > /run/id; touch /etc/machine-id; mount --bind /run/id /etc/machine-id
         mount -o remount,ro /sys 2>/dev/null || mount -t sysfs -o ro none /sys
         printf '[Match]\\nName=zg\\n[Network]\\nDHCP=yes\\nIPv6AcceptRA=yes\\nLinkLocalAddressing=ipv6\\n' \
           > /run/systemd/network/10.network
         exec {NETWORKD}"
    );
    let networkd = Launch::new("unshare").args(["-m", "-u", "sh", "-c", &script]).inside(&board.guest).spawn();
    eventually("address, prefix and name", || {
        let addrs = board.guest.check("ip -o addr show dev zg");
        let named = board.lease().get(5).is_some_and(|name| name == "netd7");
        (addrs.contains("10.0.2.15/24") && addrs.contains("inet6 2001:db8::") && named).then_some(())
    });
    drop(networkd);
}

/// A bridge whose network has a server of its own behind a TAP, and `zbridge run --host dhcp` there.
struct Network {
    _zbridge: Process,
    host: Namespace,
    dir: TempDir,
}

impl Network {
    fn start(label: &str) -> Self {
        let (host, dir) = (Namespace::new(label), TempDir::new());
        let zbridge = zbridge!("--name", "lab", "-p", "tap:zs,addr=192.168.77.1/24").env("XDG_RUNTIME_DIR", dir.root());
        Self { _zbridge: zbridge.inside(&host).ready(), host, dir }
    }

    fn run(&self, script: &str) -> Launch {
        let run = zbridge!("run", "--join", "lab", "--name", "inst7", "--host", "dhcp", "--", "sh", "-ec", script);
        run.env("XDG_RUNTIME_DIR", self.dir.root())
    }
}

/// dnsmasq, with what a cloud's servers say beside it: a network of one address, and routes without classes.
#[test]
fn a_program_takes_all_that_dnsmasq_grants() {
    require!(machine(), needs::tool("dnsmasq", "dnsmasq-base"));
    let network = Network::start("dnsmasq");
    let serve = |more: &[&str]| {
        let common = ["-d", "-C", "/dev/null", "-i", "zs", "--bind-dynamic", "-u", "root", "--no-resolv", "--port=0"];
        let leases = format!("--dhcp-leasefile={}", network.dir.text("dnsmasq"));
        let server = Launch::new("dnsmasq").args(common).arg(leases).arg("--dhcp-range=192.168.77.50,192.168.77.60,2m");
        let server = server.args(more.iter().copied()).inside(&network.host).spawn();
        server.wait_for("IP range", PATIENCE);
        server
    };
    let server =
        serve(&["--domain=home.test", "--dhcp-option=option:mtu,1400", "--dhcp-option=option:dns-server,192.168.77.1"]);
    let script = "ip -4 -o addr show dev eth0 | grep -o '192.168.77.*/24'; ip route show default
                  cat /etc/resolv.conf /sys/class/net/eth0/mtu";
    let exit = network.run(script).run();
    let addr = exit.stdout.lines().next().unwrap_or_default().to_owned();
    let wanted = format!(
        "{addr}\ndefault via 192.168.77.1 dev eth0 proto static \nsearch home.test\nnameserver 192.168.77.1\n1400\n"
    );
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted.as_str()), "{}", exit.stderr);
    drop(server);
    let server = serve(&["--dhcp-option=option:netmask,255.255.255.255", "--dhcp-option=option:router,192.168.77.1"]);
    let exit =
        network.run("ip -4 -o addr show dev eth0 | grep -o '/32'; ip route; ping -c 1 -W 5 192.168.77.1 >&2").run();
    let wanted = "/32\ndefault via 192.168.77.1 dev eth0 proto static onlink \n";
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted), "{}", exit.stderr);
    drop(server);
    let routes = "--dhcp-option=121,10.9.0.0/16,192.168.77.9,0.0.0.0/0,192.168.77.8";
    let server = serve(&["--dhcp-option=option:router,192.168.77.1", routes]);
    let exit = network.run("ip route | grep static").run();
    let wanted =
        "default via 192.168.77.8 dev eth0 proto static \n10.9.0.0/16 via 192.168.77.9 dev eth0 proto static \n";
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, wanted), "{}", exit.stderr);
    drop(server);
}

/// A server that broadcasts every answer. It grants for a minute, to be renewed after a second, goes on once, and then
/// refuses. `tell` gets the type of each message, and the address that the client has.
fn serve(socket: &UdpSocket, tell: &Sender<(u8, Ipv4Addr)>) {
    let mut renewals = 0;
    let mut room = [0; 1500];
    while let Ok((count, _)) = socket.recv_from(&mut room) {
        let asked = &room[..count];
        let at = asked[240..].windows(2).position(|pair| pair == [53, 1]).expect("a type");
        let (kind, ciaddr) = (asked[240 + at + 2], Ipv4Addr::new(asked[12], asked[13], asked[14], asked[15]));
        let renews = kind == 3 && !ciaddr.is_unspecified();
        renewals += u32::from(renews);
        let answer = match kind {
            1 => 2,
            _ if renews && renewals > 1 => 6,
            _ => 5,
        };
        let mut out = asked[..240].to_vec();
        out[0] = 2;
        out[16..20].copy_from_slice(&[192, 168, 77, 50]);
        out.extend([53, 1, answer, 54, 4, 192, 168, 77, 1, 51, 4, 0, 0, 0, 60, 58, 4, 0, 0, 0, 1, 59, 4, 0, 0, 0, 50]);
        out.extend([1, 4, 255, 255, 255, 0, 255]);
        socket.send_to(&out, "255.255.255.255:68").expect("an answer");
        if tell.send((kind, ciaddr)).is_err() {
            return;
        }
    }
}

/// RFC 2131, sections 4.1 and 4.4.5: a refusal is always broadcast, and so may be any answer.
#[test]
fn broadcast_answers_are_heard_while_a_lease_lasts() {
    require!(machine());
    let network = Network::start("broadcast");
    let socket = network.host.inside(|| UdpSocket::bind("0.0.0.0:67")).expect("a socket");
    SockRef::from(&socket).bind_device(Some(b"zs")).expect("an interface");
    socket.set_broadcast(true).expect("an option");
    let (tell, told): (_, Receiver<(u8, Ipv4Addr)>) = channel();
    std::thread::spawn(move || serve(&socket, &tell));
    let program = network.run("echo here; exec sleep 60").ready();
    let (none, own) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 168, 77, 50));
    // it has an address, keeps it, is refused, and looks for another
    for wanted in [(1, none), (3, none), (3, own), (3, own), (1, none), (3, none)] {
        let next = told.recv_timeout(PATIENCE.max(Duration::from_secs(20))).expect("a message");
        assert_eq!(next, wanted);
    }
    drop(program);
}

/// What was given out is known after a restart, by address and by name.
#[test]
fn leases_are_kept_in_a_file() {
    require!(machine());
    let (host, dir) = (Namespace::new("kept"), TempDir::new());
    let start = || {
        let nat = format!("nat:10.0.2.2/24,leases={}", dir.text("leases"));
        zbridge!("--name", "lab", "-p", nat).env("XDG_RUNTIME_DIR", dir.root()).inside(&host).ready()
    };
    let run = |name: &str, script: &str| {
        let run = zbridge!("run", "--join", "lab", "--name", name, "--host", "dhcp", "--", "sh", "-ec", script);
        let exit = run.env("XDG_RUNTIME_DIR", dir.root()).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
        exit.stdout
    };
    let zbridge = start();
    run("inst1", "true");
    zbridge.sigint();
    assert_eq!(zbridge.wait().code(), 0);
    let kept = std::fs::read_to_string(dir.path("leases")).expect("a file");
    assert!(kept.ends_with(" 10.0.2.15 * *\n") || kept.ends_with(" 10.0.2.15 inst1 *\n"), "{kept}");
    let zbridge = start();
    let found =
        run("inst2", "ip -4 -o addr show dev eth0 | grep -o '10.0.2[0-9.]*/24'; getent ahostsv4 inst1.lab | head -1");
    assert_eq!(found.split_whitespace().collect::<Vec<_>>()[..2], ["10.0.2.16/24", "10.0.2.15"], "{found}");
    assert!(zbridge.status().contains("inst1"), "{}", zbridge.status());
}
