//! Files: TFTP by the usual clients, and what boards are told to boot.

use crate::lab::{Lab, image, machine};
use crate::stuck::{Stuck, fuse};
use socket2::SockRef;
use std::net::UdpSocket;
use std::time::Duration;
use support::{Namespace, PATIENCE, needs, require, zbridge};

#[test]
fn clients_fetch_the_file_and_nothing_else() {
    require!(machine(), needs::tool("tftp", "tftp-hpa"), needs::tool("curl", "curl"));
    let dir = support::TempDir::new();
    std::fs::create_dir(dir.path("boot")).expect("a folder");
    dir.file("boot/zephyr.bin", image());
    dir.file("secret", "secret");
    let lab = Lab::start("tftp", &format!(",tftp={},ipv6=2001:db8::2/64", dir.text("boot")));
    let fetch = |script: &str| lab.guest("inst1", "10.0.2.77/24", &format!("cd $DIR\n{script}")).run();
    let got = fetch("tftp -m binary 10.0.2.2 -c get zephyr.bin hpa && curl -s -m 20 tftp://10.0.2.2/zephyr.bin >curl");
    assert_eq!(got.code(), 0, "{got:?}");
    for client in ["hpa", "curl"] {
        assert!(std::fs::read(lab.dir.path(client)).expect("a file") == image(), "{client}");
    }
    let got = fetch("curl -s -m 20 --tftp-blksize 1400 tftp://10.0.2.2/./zephyr.bin | cmp - hpa");
    assert_eq!(got.code(), 0, "{got:?}");
    for path in ["absent", "../secret", "..%2fsecret"] {
        let refused = fetch(&format!("curl -sS -m 20 --path-as-is 'tftp://10.0.2.2/{path}'"));
        assert!(refused.code() == 68, "{path}: {refused:?}");
    }
    let refused = fetch("tftp -m binary 10.0.2.2 -c put hpa zephyr.bin");
    assert!(refused.stdout.contains("read only") || refused.stderr.contains("read only"), "{refused:?}");
}

/// A board that boots from a server that is gone waits alone: the gateway serves all others.
#[test]
fn a_folder_that_does_not_answer_holds_up_nobody() {
    require!(machine(), fuse(), needs::tool("curl", "curl"), needs::tool("ping", "iputils-ping"));
    let dir = support::TempDir::new();
    std::fs::create_dir(dir.path("boot")).expect("a folder");
    let stuck = Stuck::mount(dir.path("boot"));
    let lab = Lab::start("stuck", &format!(",tftp={}", dir.text("boot")));
    // It is to go before the bridge, which cannot end while the kernel keeps a call of it.
    let stuck = stuck;
    let boots: Vec<_> = (1..=6)
        .map(|board| {
            let fetch = format!("curl -s -m 600 tftp://10.0.2.2/zephyr{board}.bin");
            lab.guest(&format!("board{board}"), &format!("10.0.2.7{board}/24"), &fetch).spawn()
        })
        .collect();
    stuck.wait_for_a_victim();
    let exit = lab.guest("other", "10.0.2.88/24", "ping -c 3 -i 0.2 -W 5 10.0.2.2").run();
    assert!(exit.code() == 0 && exit.stdout.contains(" 0% packet loss"), "{exit:?}");
    assert!(lab.ask(&["status"]).contains("\nnat "));
    drop(boots);
}

/// As Zephyr's tftp_client does it, here by the usual clients.
#[test]
fn clients_write_files_where_they_may() {
    require!(machine(), needs::tool("tftp", "tftp-hpa"), needs::tool("curl", "curl"));
    // a folder of the user who runs the bridge
    let lab = Lab::start("tftp-write", "");
    std::os::unix::fs::chown(lab.dir.path("boot"), Some(65_534), Some(65_534)).expect("another owner");
    let keys = format!("nat:10.0.3.2/24,tftp={},tftp-write,name=files", lab.dir.text("boot"));
    lab.ask(&["port", "add", "--to", "lab", &keys]);
    std::fs::write(lab.dir.path("boot/old.bin"), "old").expect("a file");
    lab.dir.file("image", image());
    let put = "cd $DIR; tftp -m binary 10.0.3.2 -c put image new.bin
               curl -sS -m 60 --tftp-blksize 1400 -T image tftp://10.0.3.2/old.bin
               curl -sS -m 20 -T image tftp://10.0.3.2/absent/x && echo written; true";
    let exit = lab.guest("inst1", "10.0.3.77/24", put).run();
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, ""), "{}", exit.stderr);
    for name in ["new.bin", "old.bin"] {
        assert!(std::fs::read(lab.dir.path("boot").join(name)).expect("a file") == image(), "{name}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(lab.dir.path("boot")).expect("a folder").map(|it| it.expect("a file").file_name()).collect();
    names.sort();
    assert_eq!(names, ["new.bin", "old.bin", "zephyr.bin"], "nothing is left over");
}

#[test]
fn a_file_to_boot_that_is_not_there_is_told_of() {
    let dir = support::TempDir::new();
    dir.file("zephyr.bin", image());
    let nat = |file: &str| format!("nat:10.0.2.2/24,tftp={},bootfile={file}", dir.root().display());
    let says =
        format!("nat: there is no file nofile.bin in {} yet, which boards are told to boot", dir.root().display());
    let zbridge = zbridge!("-p", nat("nofile.bin")).env("XDG_RUNTIME_DIR", dir.root()).ready();
    zbridge.wait_for(&says, PATIENCE);
    let right = zbridge!("-p", nat("zephyr.bin")).env("XDG_RUNTIME_DIR", dir.root()).ready();
    assert!(!right.stderr().contains("there is no file"), "{}", right.stderr());
}

/// A board's boot loader that knows only BOOTP: it asks with nothing but its MAC, and is told address, server and file.
#[test]
fn a_bootp_client_is_told_what_to_boot() {
    require!(machine(), needs::tool("curl", "curl"));
    let (host, guest, dir) = (Namespace::new("bootp"), Namespace::new("board"), support::TempDir::new());
    dir.file("zephyr.bin", image());
    let keys = format!("tftp={},bootfile=zephyr.bin,host=02:00:5e:00:53:09/10.0.2.9", dir.root().display());
    let zbridge = zbridge!("-p", "tap:zg", "-p", format!("nat:10.0.2.2/24,{keys}")).inside(&host).ready();
    host.ip(&format!("link set zg netns {}", guest.name()));
    guest.check("for n in all default; do echo 0 > /proc/sys/net/ipv4/conf/$n/rp_filter; done");
    guest.check("ip link set zg address 02:00:5e:00:53:09; ip link set zg up");
    zbridge.wait_for("its interface is up again", PATIENCE);
    let socket = guest.inside(|| UdpSocket::bind("0.0.0.0:68")).expect("a socket");
    SockRef::from(&socket).bind_device(Some(b"zg")).expect("an interface");
    socket.set_broadcast(true).expect("an option");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    // RFC 951, section 3; the answer is to be broadcast, as this host has no address (RFC 1542, section 3.1.1)
    let mut request = [0; 300];
    request[..12].copy_from_slice(&[1, 1, 6, 0, 0xb0, 0x07, 0, 1, 0, 0, 0x80, 0]);
    request[28..34].copy_from_slice(&[2, 0, 0x5e, 0, 0x53, 9]);
    request[236..241].copy_from_slice(&[99, 130, 83, 99, 255]);
    let reply = support::eventually("an answer", || {
        socket.send_to(&request, "255.255.255.255:67").expect("a broadcast");
        let mut room = [0; 600];
        let (count, from) = socket.recv_from(&mut room).ok()?;
        assert_eq!(from.to_string(), "10.0.2.2:67");
        Some(room[..count].to_vec())
    });
    assert_eq!((reply.len(), reply[0], &reply[4..8]), (300, 2, &request[4..8]));
    assert_eq!((&reply[16..20], &reply[20..24]), (&[10, 0, 2, 9][..], &[10, 0, 2, 2][..]));
    assert!(reply[108..].starts_with(b"zephyr.bin\0"));
    guest.ip("addr add 10.0.2.9/24 dev zg");
    assert_eq!(guest.check("curl -s -m 20 tftp://10.0.2.2/zephyr.bin | wc -c"), "100000\n");
}
