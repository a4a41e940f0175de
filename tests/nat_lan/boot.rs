//! Boards that boot from the net, as their firmware does it: U-Boot, and iPXE behind a PC's BIOS.

use crate::lab::{image, machine};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Launch, Namespace, Process, TempDir, eventually, needs, require, zbridge};

/// How long firmware may take in an emulator on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bridge with a port for the board, and a gateway that serves the folder `boot`.
fn bridge(host: &Namespace, dir: &TempDir, keys: &str) -> Process {
    let nat = format!("nat:10.0.2.2/24,tftp={}{keys}", dir.text("boot"));
    let zbridge = zbridge!("-p", format!("unix:{}", dir.text("board")), "-p", nat).env("XDG_RUNTIME_DIR", dir.root());
    zbridge.inside(host).ready()
}

fn netdev(dir: &TempDir) -> String {
    format!("stream,id=n0,server=off,addr.type=unix,addr.path={}", dir.text("board"))
}

/// The console of a machine.
struct Console {
    stream: UnixStream,
    text: String,
}

impl Console {
    fn open(dir: &TempDir) -> Self {
        let stream = eventually("a console", || UnixStream::connect(dir.path("console")).ok());
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        Self { stream, text: String::new() }
    }

    fn say(&mut self, words: &str) {
        self.text.clear();
        self.stream.write_all(words.as_bytes()).expect("a console");
    }

    /// Reads on until `wanted` was said.
    fn expect(&mut self, wanted: &str) -> &str {
        let start = Instant::now();
        let mut room = [0; 4096];
        while !self.text.contains(wanted) {
            assert!(start.elapsed() < PATIENCE, "no {wanted:?} in {:?}", self.text);
            if let Ok(count) = self.stream.read(&mut room) {
                self.text.push_str(&String::from_utf8_lossy(&room[..count]));
            }
        }
        &self.text
    }
}

/// `dhcp` asks for an address alone; where the files are it takes from the lease, although nothing is said of one to boot.
#[test]
fn u_boot_finds_the_server_of_files() {
    const FIRMWARE: &str = "/usr/lib/u-boot/qemu_arm/u-boot.bin";
    let there = std::path::Path::new(FIRMWARE).is_file();
    let firmware = if there { Ok(()) } else { needs::missing(FIRMWARE, "install with `apt-get install u-boot-qemu`") };
    require!(machine(), needs::tool("qemu-system-arm", "qemu-system-arm"), firmware);
    let (host, dir) = (Namespace::new("u-boot"), TempDir::new());
    std::fs::create_dir(dir.path("boot")).expect("a folder");
    dir.file("boot/zephyr.bin", image());
    let _zbridge = bridge(&host, &dir, "");
    let serial = format!("unix:{},server=on,wait=off", dir.text("console"));
    let machine =
        ["-M", "virt", "-cpu", "cortex-a15", "-m", "256", "-display", "none", "-monitor", "none", "-bios", FIRMWARE];
    let nic = ["-netdev", &netdev(&dir), "-device", "virtio-net-device,netdev=n0"];
    let _qemu = Launch::new("qemu-system-arm").args(machine).args(nic).args(["-serial", &serial]).spawn();
    let mut console = Console::open(&dir);
    console.expect("Hit any key");
    console.say("\n");
    console.expect("=> ");
    console.say("setenv autoload no; dhcp\n");
    console.expect("DHCP client bound to address 10.0.2.15");
    console.expect("=> ");
    console.say("tftpboot 0x40400000 zephyr.bin; echo over\n");
    let said = console.expect("\nover");
    assert!(said.contains("Bytes transferred = 100000"), "{said}");
}

/// A loader that was itself loaded by the lease's file asks again, as another kind of client, and gets another file.
#[test]
fn ipxe_is_given_its_own_file() {
    const ROM: &str = "/usr/lib/ipxe/qemu/pxe-virtio.rom";
    let there = std::path::Path::new(ROM).is_file();
    let rom = if there { Ok(()) } else { needs::missing(ROM, "install with `apt-get install ipxe-qemu`") };
    require!(machine(), needs::tool("qemu-system-x86_64", "qemu-system-x86"), rom);
    let (host, dir) = (Namespace::new("ipxe"), TempDir::new());
    std::fs::create_dir(dir.path("boot")).expect("a folder");
    dir.file("boot/image", image());
    dir.file("boot/loop.ipxe", "#!ipxe\necho AGAIN\n");
    let script =
        "#!ipxe\necho OWN ${net0/ip} ${next-server}\nimgfetch tftp://${next-server}/image && echo FETCHED\nshell\n";
    dir.file("boot/own.ipxe", script);
    let _zbridge = bridge(&host, &dir, ",bootfile=loop.ipxe,bootfile=loop.ipxe@arch:7,bootfile=own.ipxe@user:iPXE");
    let machine =
        ["-m", "128", "-nographic", "-boot", "n", "-netdev", &netdev(&dir), "-device", "virtio-net-pci,netdev=n0"];
    let qemu = Launch::new("qemu-system-x86_64").args(machine).spawn();
    qemu.wait_for("OWN 10.0.2.15 10.0.2.2", PATIENCE);
    qemu.wait_for("FETCHED", PATIENCE);
    assert!(!qemu.stdout().contains("AGAIN"), "{}", qemu.stdout());
}
