//! A bridge with a `nat:` port, run by an ordinary user in a network namespace that is its host, and programs on its
//! switch.

use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use support::{Exit, Launch, Namespace, Process, TempDir, needs, zbridge};

/// What every test here needs.
pub fn machine() -> needs::Need {
    needs::netns()?;
    needs::tun()?;
    needs::tool("setpriv", "util-linux")?;
    needs::tool("unshare", "util-linux")
}

/// See the module.
pub struct Lab {
    // dropped in this order: the bridge goes before what it stands on
    _zbridge: Process,
    pub host: Namespace,
    pub dir: TempDir,
}

impl Lab {
    /// Starts the bridge `lab` with `nat:10.0.2.2/24` and `keys`. Its folder `boot` has a file to boot. Its host asks the
    /// resolver on its loopback.
    pub fn start(label: &str, keys: &str) -> Self {
        let (host, dir) = (Namespace::new(label), TempDir::new());
        std::fs::create_dir(dir.path("boot")).expect("a folder");
        dir.file("boot/zephyr.bin", image());
        dir.file("resolv.conf", "nameserver 127.0.0.1\n");
        // a script of a DHCP client, which says what it was told
        let script = dir.file("script", "#!/bin/sh\nenv >&2\nenv\n");
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
        let nat = format!("nat:10.0.2.2/24{keys}");
        let resolve = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", dir.text("resolv.conf"));
        let zbridge = zbridge!("--name", "lab", "--port", nat).env("XDG_RUNTIME_DIR", dir.root()).inside(&host);
        let zbridge = zbridge.under(["unshare", "-m", "sh", "-c", &resolve, "sh"]).as_nobody(&dir).ready();
        Self { _zbridge: zbridge, host, dir }
    }

    /// `zbridge run` of an ordinary user on that bridge: a shell script with an interface that has `addr`.
    pub fn guest(&self, name: &str, addr: &str, script: &str) -> Launch {
        let run = zbridge!("run", "--join", "lab", "--name", name, "--host", addr, "--", "sh", "-ec", script);
        run.env("XDG_RUNTIME_DIR", self.dir.root()).env("DIR", self.dir.root()).as_nobody_with_tun(&self.dir)
    }

    /// The same to its end, with no IPv4 address. It must succeed.
    pub fn check(&self, name: &str, script: &str) -> String {
        let exit: Exit = self.guest(name, "fe80::15/64", script).run();
        assert_eq!(exit.code(), 0, "{script}\n{}\n{}", exit.stdout, exit.stderr);
        exit.stdout
    }

    /// What `zbridge ARGUMENTS` says.
    pub fn ask(&self, args: &[&str]) -> String {
        let asked = zbridge!().args(args.iter().copied()).env("XDG_RUNTIME_DIR", self.dir.root());
        let exit = asked.as_nobody(&self.dir).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
        exit.stdout
    }

    /// A web server on the host's loopback that says `hello`.
    pub fn serve(&self) {
        for addr in ["127.0.0.1:8000", "[::1]:8000"] {
            let listener = self.host.inside(|| TcpListener::bind(addr)).expect("a listener");
            std::thread::spawn(move || {
                for mut client in listener.incoming().flatten() {
                    let _ = client.read(&mut [0; 4096]);
                    let _ = client.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
                }
            });
        }
    }

    /// A resolver on the host's loopback, over UDP and TCP: every name has the address 192.0.2.80, and the text records
    /// of `long.example` are 3000 bytes.
    pub fn resolve(&self) {
        let (udp, tcp) = self.host.inside(|| (UdpSocket::bind("127.0.0.1:53"), TcpListener::bind("127.0.0.1:53")));
        let (udp, tcp) = (udp.expect("a socket"), tcp.expect("a listener"));
        SockRef::from(&udp).set_recv_buffer_size(1 << 20).expect("a buffer");
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok((count, from)) = udp.recv_from(&mut room) {
                let _ = udp.send_to(&answer(&room[..count], false), from);
            }
        });
        std::thread::spawn(move || {
            for mut client in tcp.incoming().flatten() {
                let mut length = [0; 2];
                if client.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; u16::from_be_bytes(length).into()];
                    let _ = client.read_exact(&mut query);
                    let answer = answer(&query, true);
                    let _ = client.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat());
                }
            }
        });
    }
}

/// What boards boot: 100,000 bytes.
pub fn image() -> Vec<u8> {
    (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// The answer to a query with one question (RFC 1035, 4.1): the question, and the records.
fn answer(query: &[u8], tcp: bool) -> Vec<u8> {
    let name_end = query.iter().skip(12).position(|byte| *byte == 0).expect("a name") + 13;
    let long = query[12..name_end].windows(4).any(|label| label == b"long");
    let kind = query[name_end + 1];
    let mut out = query[..name_end + 4].to_vec();
    out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
    let mut record = |kind: u8, value: &[u8]| {
        out[7] += 1;
        out.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
        out.extend((value.len() as u16).to_be_bytes());
        out.extend(value);
    };
    match (kind, long) {
        (16, true) if tcp => (0..15).for_each(|number| record(16, &[&[199][..], &[b'a' + number; 199]].concat())),
        (16, true) => out[2] |= 2,
        (1, _) => record(1, &[192, 0, 2, 80]),
        _ => {}
    }
    out
}
