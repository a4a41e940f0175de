//! `zbridge run --tun`: programs that open a TUN and speak bare IP, as Contiki-NG's native platform does, are hosts of the
//! Ethernet, and of its neighbour discovery they hear nothing.

use support::standin::{Build, tap_program, tun_program};
use support::{Launch, PATIENCE, TempDir, needs, require, zbridge};

fn machine() -> needs::Need {
    needs::programs()?;
    needs::tool("ping", "iputils-ping")
}

/// `zbridge run` of an ordinary user.
fn run(dir: &TempDir) -> Launch {
    zbridge!("run").env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(dir)
}

/// Pings from a host of the same bridge.
fn ping(dir: &TempDir, to: &str) -> bool {
    let hosts = ["--join", "lab", "--host", "192.0.2.9/24", "--host", "2001:db8::9/64", "--"];
    let exit = run(dir).args(hosts).args(["ping", "-c", "2", "-i", "0.2", "-W", "5", to]).run();
    exit.code() == 0
}

#[test]
fn a_tun_program_is_a_host_of_the_ethernet() {
    require!(machine());
    let dir = TempDir::new();
    let program = tun_program(&dir).unwrap();
    // its addresses are given, or learned from what it says; `--tun` alone is tun0
    for (tun, name, given) in [
        ("--tun", "tun0", false),
        ("--tun=tun7", "tun7", false),
        ("--tun=tun0,ip=192.0.2.1/24,ip=2001:db8::1/64", "tun0", true),
        // made by the program, as the TUN for it is another
        ("--tun=tun0", "other", false),
    ] {
        let words = [tun, "--bridge", "lab", "--name", "node", "--"];
        let node = run(&dir).args(words).arg(&program).args([&format!("--tun={name}"), "--host=2001:db8::ff/64"]);
        let said: &[&str] = if given { &[] } else { &["--say=192.0.2.9", "--say=2001:db8::9"] };
        let node = node.args(said.iter().copied()).args(["192.0.2.1", "2001:db8::1"]).ready();
        node.wait_for(&format!("{name}: up"), PATIENCE);
        for addr in ["192.0.2.1", "2001:db8::1"] {
            assert!(ping(&dir, addr), "{tun} {name}: {addr}");
        }
        assert!(!node.stdout().contains("neighbour discovery"), "{tun} {name}: {}", node.stdout());
        assert_eq!(node.stderr(), "", "{tun} {name}");
        node.sigterm();
        assert_eq!(node.wait().code(), 143);
    }
}

#[test]
fn a_program_that_wants_a_tun_is_told_how() {
    require!(machine());
    let dir = TempDir::new();
    let program = tun_program(&dir).unwrap();
    let wrong = run(&dir).args(["--name", "node", "--"]).arg(&program).arg("192.0.2.1").ready();
    wrong.wait_for("hint: it made itself a TUN, which carries packets and no frames: --tun=tun0", PATIENCE);
    let keys = run(&dir).args(["--tun=tun0,mtu=1400", "--", "true"]).run();
    assert!(keys.code() == 2 && keys.stderr.contains("only ip=, gateway= and mac= may stand behind"), "{keys:?}");
}

/// One half of it speaks frames and the other packets.
#[test]
fn a_tap_and_a_tun_are_two_ports() {
    require!(machine());
    let dir = TempDir::new();
    let (tap, tun) = (tap_program(&dir, Build::Dynamic).unwrap(), tun_program(&dir).unwrap());
    let script = format!("{} & exec {} 192.0.2.2", tap.display(), tun.display());
    let words = ["--bridge", "lab", "--name", "two", "--tap", "zeth", "--tun=tun0,ip=192.0.2.2/24", "--"];
    let both = run(&dir).args(words).args(["sh", "-c", &script]).ready();
    both.wait_for("zeth: up", PATIENCE);
    both.wait_for("tun0: up", PATIENCE);
    assert!(ping(&dir, "192.0.2.1") && ping(&dir, "192.0.2.2"));
    let status = zbridge!("status", "lab").env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir).run().stdout;
    assert!(status.contains("two.zeth ") && status.contains("two.tun0 "), "{status}");
}

#[test]
fn a_bench_has_tuns_as_well() {
    require!(machine());
    let dir = TempDir::new();
    let program = tun_program(&dir).unwrap();
    let bench = format!(
        "[[instance]]\nname = \"node\"\ncommand = \"{} 192.0.2.1\"\ntun = \"tun0,ip=192.0.2.1/24\"\n\
         ready = \"ping 192.0.2.1\"\n\
         [[instance]]\nname = \"host\"\ncommand = \"ping -c 1 -W 5 192.0.2.1\"\nhost = \"192.0.2.9/24\"\n\
         iface = \"net7\"\nafter = \"node\"\n",
        program.display()
    );
    let file = dir.file("bench.toml", &bench);
    let words = ["up", file.to_str().unwrap(), "--exit-with", "host", "--logs", &dir.text("logs")];
    let exit = Launch::new(env!("CARGO_BIN_EXE_zbridge")).args(words).env("XDG_RUNTIME_DIR", dir.root());
    let exit = exit.as_nobody_with_tun(&dir).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    let check = zbridge!("check", file).run();
    assert!(check.stdout.contains("tun tun0, ready ping 192.0.2.1") && check.code() == 0, "{check:?}");
}
