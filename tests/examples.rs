//! Every bench under `examples/`, run by the command of its page as it stands there, by an ordinary user where that is what
//! it is for. At the place of a
//! simulator stands a small program or script of its name: one that opens a TAP, a zbridge that is a host on the socket
//! or serial line that the bench has given it, or a QEMU with a Linux guest.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use support::standin::{Build, tap_program};
use support::{Exit, Launch, Namespace, Process, TempDir, eventually, eventually_within, needs, require, zbridge};

#[path = "docs/page.rs"]
mod page;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// What most benches need.
fn machine() -> needs::Need {
    needs::programs()?;
    needs::tool("ping", "iputils-ping")
}

/// Puts a shell script at `path` below `dir`.
fn script(dir: &TempDir, path: &str, text: &str) {
    let file = dir.path(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The commands of an example's page, as they stand there.
fn typed(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("{EXAMPLES}/{name}/README.md")).unwrap();
    let blocks = page::blocks(&text);
    blocks.iter().filter(|block| block.language == "sh").flat_map(page::commands).collect()
}

/// The command of an example's page that runs its bench, typed in `dir`, where PATH leads to the examples, zbridge and what
/// is in `bin` are in the search path, and everybody may open a TAP.
fn up(dir: &TempDir, name: &str) -> Launch {
    let command = typed(name).into_iter().find(|command| command.contains("zbridge up ")).expect("how to run it");
    types(dir, name, &command)
}

fn types(dir: &TempDir, name: &str, command: &str) -> Launch {
    // The copy that any user can reach.
    let _ = zbridge!("--version").as_nobody(dir).run();
    script(dir, "bin/zbridge", &format!("exec {} \"$@\"", dir.text("program")));
    // A container often has none; who is root already is asked for no password either.
    script(dir, "bin/sudo", "exec \"$@\"");
    let folder = dir.path(&format!("PATH/examples/{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(format!("{EXAMPLES}/{name}")).unwrap().flatten() {
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let tun = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";
    Launch::new("bash")
        .args(["-c", command])
        .under(["unshare", "-m", "sh", "-c", tun, "sh"])
        .under(["env", "-C", dir.root().to_str().unwrap()])
        .env("PATH", format!("{}:{}", dir.text("bin"), std::env::var("PATH").unwrap()))
        .env("HOME", dir.root())
        .env("XDG_RUNTIME_DIR", dir.root())
}

/// By an ordinary user.
fn ordinary(launch: Launch) -> Launch {
    launch.under(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
}

/// The same until it ends by itself, by an ordinary user.
fn up_as_nobody(dir: &TempDir, name: &str) -> Exit {
    ended(ordinary(up(dir, name)).spawn())
}

/// Waits for the end of a bench.
fn ended(mut bench: Process) -> Exit {
    eventually_within(Duration::from_secs(150), "the end of a bench", || (!bench.is_running()).then_some(()));
    bench.wait()
}

/// The script of a host with this address, behind `port` of a zbridge: its USB/IP server answers pings.
fn host_behind(dir: &TempDir, port: &str, addr: &str) -> String {
    format!("exec {}/program -p {port} -p usbip:{addr},public,device=cdc-acm", dir.root().display())
}

#[test]
fn native_sim() {
    require!(machine());
    let dir = TempDir::new();
    std::fs::create_dir(dir.path("zephyr")).unwrap();
    std::fs::rename(tap_program(&dir, Build::Dynamic).unwrap(), dir.path("zephyr/zephyr.exe")).unwrap();
    let exit = up_as_nobody(&dir, "native_sim");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("host    | 3 packets transmitted, 3 received"), "{exit:?}");
    assert!(exit.stderr.contains("zephyr: ready after"), "{exit:?}");
    let log = std::fs::read_to_string(dir.path(".local/state/zbridge/native_sim/host.log")).unwrap();
    assert!(log.contains("3 received"), "{log}");
}

#[test]
fn two_instances() {
    require!(machine());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    for build in ["one", "two"] {
        script(&dir, &format!("{build}/zephyr/zephyr.exe"), &format!("exec {} \"$@\"", program.display()));
    }
    let exit = up_as_nobody(&dir, "two_instances");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert_eq!(exit.stdout.matches("2 packets transmitted, 2 received").count(), 2, "{exit:?}");
}

#[test]
fn scenario() {
    require!(machine());
    let dir = TempDir::new();
    // The report lies where the command is typed.
    std::fs::set_permissions(dir.root(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let exit = up_as_nobody(&dir, "scenario");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("passed  the client finds its server again: 6 of 6 steps"), "{exit:?}");
    let report = std::fs::read_to_string(dir.path("report.xml")).unwrap();
    assert!(report.contains("tests=\"6\" failures=\"0\""), "{report}");
}

#[test]
fn copies() {
    require!(machine());
    let dir = TempDir::new();
    std::fs::create_dir(dir.path("zephyr")).unwrap();
    std::fs::rename(tap_program(&dir, Build::Dynamic).unwrap(), dir.path("zephyr/zephyr.exe")).unwrap();
    let exit = up_as_nobody(&dir, "copies");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert_eq!(exit.stdout.matches("2 packets transmitted, 2 received").count(), 2, "{exit:?}");
}

#[test]
fn usbip_native_sim() {
    require!(machine(), needs::tool("usbip", "usbip"));
    let dir = TempDir::new();
    script(&dir, "zephyr/zephyr.exe", &host_behind(&dir, "tap:zeth", "192.0.2.1/24"));
    let exit = up_as_nobody(&dir, "usbip_native_sim");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("Exportable USB devices") && exit.stdout.contains("192.0.2.1"), "{exit:?}");
}

#[test]
fn native_sim_bridge() {
    require!(machine());
    let dir = TempDir::new();
    let program = dir.path("program").display().to_string();
    script(&dir, "zephyr/zephyr.exe", &format!("exec {program} -p tap:zeth0 -p tap:zeth1"));
    let exit = up_as_nobody(&dir, "native_sim_bridge");
    assert_eq!(exit.code(), 0, "{exit:?}");
}

#[test]
fn fvp() {
    require!(machine());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    // the interface is the one that the model is told of
    let find = "for word; do case $word in bp.hostbridge.interfaceName=*) name=${word#*=};; esac; done";
    script(&dir, "bin/FVP_BaseR_AEMv8R", &format!("{find}\nexec {} --eth-if=$name", program.display()));
    let exit = up_as_nobody(&dir, "fvp");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("zephyr  | ARM0: up, 192.0.2.1"), "{exit:?}");
}

/// Finds the word behind the last `-serial` and calls it `$line`, without `unix:` or `pipe:`.
const FIND_LINE: &str = "for word; do [ \"$before\" = -serial ] && line=${word#*:}; before=$word; done";

#[test]
fn qemu_slip() {
    require!(machine());
    let dir = TempDir::new();
    let device = host_behind(&dir, "slip:unix:$line,connect", "192.0.2.1/24");
    script(&dir, "bin/qemu-system-i386", &format!("{FIND_LINE}\n{device}"));
    let exit = up_as_nobody(&dir, "qemu_slip");
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("3 packets transmitted, 3 received"), "{exit:?}");
}

#[test]
fn wpan() {
    require!(machine(), needs::tool("tcpdump", "tcpdump"));
    let dir = TempDir::new();
    // the server sends back what it hears; the client says hello until it has heard it
    let server = "sleep 0.3; echo Waiting for UDP packets on port 4242 >&2; exec cat < $line.in > $line.out";
    let client = "exec 3< $line.in 4> $line.out
        (while :; do printf '\\360\\005hello' >&4; sleep 0.5; done) &
        [ \"$(head -c 7 <&3 | tail -c 5)\" = hello ]; status=$?
        kill $!; exit $status";
    let roles = format!("case $line in *server) {server};; esac\n{client}");
    script(&dir, "bin/qemu-system-i386", &format!("{FIND_LINE}\n{roles}"));
    let bench = ordinary(up(&dir, "wpan")).spawn();
    bench.wait_for("client: ended with status 0", support::PATIENCE);
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
    // A machine for tests has no screen for wireshark: tcpdump reads the same file.
    script(&dir, "bin/wireshark", "exec tcpdump -r \"$1\"");
    for command in typed("wpan").iter().filter(|command| command.starts_with("wireshark")) {
        let exit = ordinary(types(&dir, "wpan", command)).run();
        assert!(exit.code() == 0 && exit.stdout.lines().count() >= 2, "{command}: {exit:?}");
    }
    let air = std::fs::read(dir.path("air.pcapng")).unwrap();
    assert!(air.windows(5).filter(|bytes| bytes == b"hello").count() >= 2, "{air:02x?}");
    assert!(!dir.path("ip-stack-server.in").exists(), "the FIFOs go with the bench");
}

#[test]
fn qemu_user() {
    require!(machine(), needs::netns(), needs::tool("bash", "bash"));
    let dir = TempDir::new();
    let machine = Namespace::new("user");
    machine.ip("link set lo up");
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let find = "for word; do case $word in *addr.path=*) socket=${word##*addr.path=};; esac; done";
    let zbridge = dir.path("program").display().to_string();
    let run = format!("exec {zbridge} run --port unix:$socket,connect -- {} --ipv4-addr=10.0.2.15", program.display());
    script(&dir, "bin/qemu-system-i386", &format!("{find}\n{run}"));
    let exit = ended(ordinary(up(&dir, "qemu_user")).inside(&machine).spawn());
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("visitor  | hello\n"), "{exit:?}");
}

#[test]
fn usb_device() {
    require!(machine(), needs::netns());
    let dir = TempDir::new();
    let (machine, board) = (Namespace::new("usb"), Namespace::new("board"));
    // the cable is plugged in, and out for a moment
    machine.veth("enx00005e005300", &board, "usb0");
    machine.ip("link set enx00005e005300 down");
    board.ip("addr add 192.0.2.1/24 dev usb0");
    for command in typed("usb_device") {
        let exit = ended(types(&dir, "usb_device", &command).inside(&machine).spawn());
        assert_eq!(exit.code(), 0, "{command}: {exit:?}");
        let is_whole = exit.stdout.contains("3 received") || !command.contains("up PATH");
        assert!(is_whole, "{command}: {exit:?}");
    }
}

/// A real QEMU with a real kernel: what `qemu` adds to the command attaches an e1000 card.
#[test]
fn qemu_ethernet() {
    require!(machine(), needs::guest());
    let dir = TempDir::new();
    let boot = needs::vm_folder().join("boot");
    let agent = dir.text("agent");
    // of the bench's words only those that zbridge has added: the kernel is another
    let find = "while [ \"$1\" != -netdev ]; do shift; done";
    let run = format!("exec {} --agent {agent} --param ip0=192.0.2.1/24 \"$@\"", boot.display());
    script(&dir, "bin/qemu-system-i386", &format!("{find}\n{run}"));
    let bench = up(&dir, "qemu_ethernet").spawn();
    // the guest goes on for as long as somebody is there
    let _somebody = eventually("the guest's agent", || UnixStream::connect(&agent).ok());
    let exit = ended(bench);
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("3 packets transmitted, 3 received"), "{exit:?}");
}

/// Every bench among the examples is sound, is told of, and has a test here.
#[test]
fn all_are_checked() {
    let mut found = Vec::new();
    let tests = include_str!("examples.rs");
    for entry in std::fs::read_dir(EXAMPLES).unwrap() {
        let folder = entry.unwrap().path();
        let bench = folder.join("bench.toml");
        if bench.exists() {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let exit = zbridge!("check", &bench).run();
            // The program may not be built yet.
            let odd =
                |line: &&str| !line.contains("there is no such program") && !line.contains("hint: a relative path");
            assert_eq!((exit.code(), exit.stderr.lines().find(odd)), (0, None), "{name}");
            assert!(exit.stdout.contains("instances\n"), "{}", exit.stdout);
            let command = format!("zbridge up PATH/examples/{name}/bench.toml");
            assert!(typed(&name).iter().any(|typed| typed.contains(&command)), "{name}: {:?}", typed(&name));
            assert!(tests.contains(&format!("fn {name}()")), "{name} has no test");
            found.push(name);
        }
    }
    assert!(found.len() >= 11, "{found:?}");
    let several = zbridge!("check", format!("{EXAMPLES}/native_sim_bridge/bench.toml")).run().stdout;
    for on in ["tap zeth0 on switch default, tap zeth1 on switch right\n", "host 192.0.2.3/24 on switch right, after"] {
        assert!(several.contains(on), "{on} is not in {several}");
    }
}
