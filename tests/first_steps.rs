//! What people try first, and what they are told then: whether a program is there, what was typed wrongly.

use support::standin::{Build, tap_program};
use support::{Launch, Namespace, PATIENCE, Process, TempDir, eventually, needs, require, zbridge};

/// `zbridge` of an ordinary user, whose bridges are in `dir`.
fn user(dir: &TempDir) -> Launch {
    zbridge!().env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(dir)
}

/// The state of a port and its peer, as `status` shows them.
fn shown(launch: Launch, port: &str) -> (String, String) {
    let exit = launch.arg("status").run();
    let line = exit.stdout.lines().find(|line| line.starts_with(&format!("{port} "))).unwrap_or_default();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let word = |place: usize| words.get(place).map_or_else(|| format!("{exit:?}"), |word| (*word).to_owned());
    (word(2), word(13))
}

/// Its port is up while it has its TAP open, whichever that is; for that `wait` waits.
#[test]
fn a_port_is_up_when_its_program_has_opened_its_tap() {
    require!(needs::programs());
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let state = || shown(user(&dir), "sim");
    let wait = |state: &str| {
        let exit = user(&dir).args(["wait", "port=sim", state]).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
    };
    for (ifname, made) in [("zeth", "zeth"), ("", "tap0")] {
        let (go, end) = (dir.text(&format!("go-{made}")), dir.text(&format!("end-{made}")));
        let script = format!(
            "until [ -e {go} ]; do sleep 0.05; done; {} --eth-if={ifname} & until [ -e {end} ]; do sleep 0.05; done; \
             kill $!; wait; sleep 100",
            program.display()
        );
        let sim = user(&dir).args(["run", "--name", "sim", "--", "sh", "-c", &script]).spawn();
        let at_start = eventually("its port", || Some(state()).filter(|(state, _)| !state.starts_with("Exit")));
        assert_eq!(at_start, ("down".into(), "zeth".into()));
        let early = user(&dir).args(["wait", "port=sim", "up", "--timeout", "100ms"]).run();
        assert!(early.code() == 6 && early.stderr.contains("sim is down, not up"), "{early:?}");
        std::fs::write(&go, "").unwrap();
        wait("up");
        assert!(sim.wait_for(": up,", PATIENCE).contains(made));
        assert_eq!(state(), ("up".into(), made.into()));
        std::fs::write(&end, "").unwrap();
        wait("down");
        sim.sigterm();
        sim.wait();
    }
}

/// A program that has closed its TAP and opens it again need not send anything to be there.
#[test]
fn a_port_is_up_again_when_its_program_is_silent() {
    require!(needs::programs(), needs::tool("python3", "python3"));
    let dir = TempDir::new();
    let (end, again) = (dir.text("end"), dir.text("again"));
    // TUNSETIFF with IFF_TAP | IFF_NO_PI (linux/if_tun.h)
    let script = format!(
        "import fcntl, os, struct, time
def tap():
    fd = os.open('/dev/net/tun', os.O_RDWR)
    fcntl.ioctl(fd, 0x400454ca, struct.pack('16sH22x', b'zeth', 0x1002))
    return fd
def until(path):
    while not os.path.exists(path): time.sleep(0.05)
fd = tap(); until('{end}'); os.close(fd); until('{again}'); fd = tap(); time.sleep(100)"
    );
    let sim = user(&dir).args(["run", "--name", "sim", "--", "python3", "-c", &script]).spawn();
    let wait = |state: &str| {
        let exit = user(&dir).args(["wait", "port=sim", state, "--timeout", "10s"]).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
    };
    wait("up");
    std::fs::write(&end, "").unwrap();
    wait("down");
    std::fs::write(&again, "").unwrap();
    wait("up");
    sim.sigterm();
    sim.wait();
}

/// The same of a TAP of this machine, which is there before the program that opens it.
#[test]
fn a_tap_of_the_machine_is_up_when_a_program_has_opened_it() {
    require!(needs::programs(), needs::netns());
    let (dir, machine) = (TempDir::new(), Namespace::new("machine"));
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    machine.ip("tuntap add zeth0 mode tap");
    machine.ip("link set zeth0 up");
    let zbridge = || zbridge!().env("XDG_RUNTIME_DIR", dir.root()).inside(&machine);
    let bridge = zbridge().args(["--port", "packet:zeth0"]).ready();
    assert!(bridge.stdout().contains("zeth0  packet  down"), "{}", bridge.stdout());
    bridge.wait_for("zeth0  native_sim:  ./zephyr.exe --eth-if=zeth0", PATIENCE);
    let start = || -> Process { Launch::new(&program).arg("--eth-if=zeth0").inside(&machine).ready() };
    for _ in 0..2 {
        let sim = start();
        assert_eq!(zbridge().args(["wait", "port=zeth0", "up"]).run().code(), 0);
        drop(sim);
        assert_eq!(zbridge().args(["wait", "port=zeth0", "down"]).run().code(), 0);
    }
    bridge.wait_for("zeth0: no program has its interface open any more", PATIENCE);
}

/// Nothing breaks in the middle of a word on a small terminal, and where there is none COLUMNS says how wide a line is.
#[test]
fn what_is_said_fits_its_lines() {
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    for words in [&["--help"][..], &["-h"], &["run", "--help"], &["up", "--help"], &["help", "promises"]] {
        let help = zbridge!().args(words.iter().copied()).run();
        assert!((70..=80).contains(&widest(&help.stdout)), "{words:?}: {}", widest(&help.stdout));
        let wide = zbridge!().args(words.iter().copied()).env("COLUMNS", "96").run();
        assert!((81..=96).contains(&widest(&wide.stdout)), "{words:?}: {}", widest(&wide.stdout));
    }
    let dir = TempDir::new();
    let port = |name: &str| format!("unix:{},name={name}", dir.text(name));
    let bridge = zbridge!("--port", port("a-name-of-some-length"), "--port", port("b"));
    let bridge = bridge.env("XDG_RUNTIME_DIR", dir.root()).env("COLUMNS", "80").ready();
    let client = support::StreamPeer::unix(dir.path("a-name-of-some-length"));
    bridge.wait_for("a-name-of-some-length#1: connected", PATIENCE);
    let status = zbridge!("status").env("XDG_RUNTIME_DIR", dir.root()).env("COLUMNS", "80").run();
    let table = status.stdout.split("to attach").next().unwrap_or_default();
    assert!(widest(table) <= 80 && table.contains("\n    pid "), "{table}");
    drop(client);
    bridge.sigterm();
    let end = bridge.wait();
    let (_, table) = end.stdout.split_once("rx frames").expect("the counters");
    assert!(widest(table) <= 80 && table.contains("\na-name-of-some-length\n"), "{table}");
}

/// What is typed wrongly, and what is said: a part of the error, and one of the hint.
#[test]
fn what_is_meant_is_told() {
    let dir = TempDir::new();
    let wrong = |words: &[&str], says: &str, hint: &str| {
        let exit = zbridge!().args(words.iter().copied()).env("XDG_RUNTIME_DIR", dir.root()).run();
        assert_eq!(exit.code(), 2, "{words:?}: {exit:?}");
        assert!(exit.stderr.contains(says) && exit.stderr.contains(&format!("hint: {hint}")), "{words:?}: {exit:?}");
    };
    let one = "each port stands behind an option of its own: zbridge --port";
    wrong(&["unix:/tmp/x"], "unix:/tmp/x is a port, and no command", &format!("{one} unix:/tmp/x"));
    wrong(&["--port", "tap:a", "tap:b"], "tap:b is a port", &format!("{one} tap:b"));
    wrong(&["port", "unix:/tmp/x"], "unix:/tmp/x is a port", "zbridge port add unix:/tmp/x");
    wrong(&["lab.toml"], "lab.toml is a file", "zbridge up lab.toml starts the programs in it");
    wrong(&["/bin/sh"], "/bin/sh is a program", "zbridge run -- /bin/sh");
    wrong(&["run"], "the program is missing", "zbridge run -- ./zephyr.exe");
    wrong(&["run", "-v", "--"], "the program is missing", "zbridge run -- ./zephyr.exe");
    let join = ["run", "--join", "lab"];
    wrong(
        &[&join[..], &["--port", "tap:a", "--", "true"]].concat(),
        "--port with",
        "add it there: zbridge port add tap:a --to lab",
    );
    wrong(
        &[&join[..], &["--bridge", "x", "--", "true"]].concat(),
        "a program is on one bridge",
        "--join is one that runs",
    );
    let stray = ["run", "--tap", "zeth0", "zeth1", "zeth2", "--", "true"];
    wrong(&stray, "zeth1 zeth2 before `--`", "several names are one word: --tap zeth0,zeth1,zeth2");
}

/// Where a name or a path is taken by a port of the same bridge, that is said, and not that somebody else has it.
#[test]
fn who_has_a_path_is_told() {
    require!(needs::programs());
    let dir = TempDir::new();
    let [a, b] = ["a", "b"].map(|name| dir.text(name));
    let bridge = user(&dir).args(["--port", &format!("unix:{a}"), "--port", &format!("unix:{b},switch=other")]).ready();
    let add = |spec: String| {
        let exit = user(&dir).args(["port", "add", &spec]).run();
        assert_ne!(exit.code(), 0);
        exit.stderr
    };
    for kind in ["unix", "unixgram", "slip:unix"] {
        let said = add(format!("{kind}:{a},name=c"));
        assert!(said.contains(&format!("ports a and c both want path {a}")), "{said}");
    }
    let said = add(format!("unix:{b},name=c"));
    assert!(
        said.contains("another port of the bridge listens on it") && said.contains("zbridge port del NAME"),
        "{said}"
    );
    drop(bridge);
    let none = zbridge!("--port", "packet:nosuch0", "--port", format!("unix:{a}")).as_nobody(&dir).run();
    assert!(none.code() == 4 && none.stderr.contains("there is no such interface"), "{none:?}");
}

/// All that is wrong with a file is said at once, and what is odd about it before it runs.
#[test]
fn a_file_is_checked_as_a_whole() {
    let dir = TempDir::new();
    let file = dir.text("lab.toml");
    let check = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        zbridge!("check", &file).args(words.iter().copied()).run()
    };
    let instance = |keys: &str| format!("[[instance]]\ncommand = \"true\"\n{keys}\n");
    let wrong = [
        "port = [\"tpa:x\", \"unix:/tmp/a,nme=q\"]\n[switch.default]\nagein = 3\n",
        &instance("name = \"a\"\nafetr = \"b\""),
        &instance("name = \"b\"\nready = \"tcp a:80\""),
    ]
    .concat();
    let exit = check(&wrong, &[]);
    let says = [
        "unknown port kind \"tpa\"",
        "unix has no key \"nme\"",
        "no key \"agein\"",
        "no key \"afetr\"",
        "not the name \"a\"",
    ];
    assert_eq!(exit.stderr.matches("error: ").count(), says.len(), "{exit:?}");
    assert!(exit.code() == 2 && says.iter().all(|part| exit.stderr.contains(part)), "{exit:?}");
    let json = check(&wrong, &["--json"]).stdout;
    assert_eq!(json.matches("\"class\":\"usage\"").count(), says.len() + 1, "{json}");
    let waits =
        check(&[instance("name = \"a\"\nafter = \"x\""), instance("name = \"b\"\nafter = \"y\"")].concat(), &[]);
    assert!(waits.stderr.contains("a is after \"x\"") && waits.stderr.contains("b is after \"y\""), "{waits:?}");
    let odd = check("[[instance]]\nname = \"a\"\ncommand = \"true | cat\"\nhost = \"dhcp\"\n", &[]);
    assert_eq!(odd.code(), 0);
    for part in ["no shell reads its command, and \"|\" is passed on", "instance a asks for an address by DHCP"] {
        assert!(odd.stderr.contains(part), "{part}: {odd:?}");
    }
}

/// Options that mean nothing to a command are not in its help, nor taken.
#[test]
fn a_command_has_the_options_that_it_heeds() {
    for words in [&["man"][..], &["ls"], &["status"], &["port", "add"], &["check"], &["demo"]] {
        let help = zbridge!().args(words.iter().copied()).arg("--help").run().stdout;
        assert!(!help.contains("--sandbox") && !help.contains("--user"), "{words:?}: {help}");
    }
    assert_eq!(zbridge!("status", "--sandbox", "off").run().code(), 2);
    for words in [&["run"][..], &["up"], &[]] {
        let help = zbridge!().args(words.iter().copied()).arg("--help").run().stdout;
        assert!(help.contains("--sandbox <on|off|log>") && help.contains("--user <NAME>"), "{words:?}: {help}");
    }
}

/// What root starts goes on as somebody else: who commands it is said, and a program of root reaches what it has made.
#[test]
fn what_root_starts_is_in_reach_of_its_programs() {
    require!(needs::programs(), needs::tool("python3", "python3"));
    let dir = TempDir::new();
    std::fs::set_permissions(dir.root(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let path = dir.text("inst1");
    let connect = format!("import socket; socket.socket(socket.AF_UNIX).connect({path:?})");
    let run =
        |words: &[&str]| zbridge!("run").args(words.iter().copied()).args(["--", "python3", "-c", &connect]).run();
    let port = format!("unix:{path}");
    // By the right that programs of root do not keep it would always work.
    let exit = run(&["--port", &port]);
    assert_eq!(exit.code(), 0, "{exit:?}");
    let bridge = zbridge!("--port", &port).ready();
    bridge.wait_for("it goes on as nobody; only root commands it, or whom --user NAME names", PATIENCE);
    bridge.wait_for("bridge default:", PATIENCE);
    drop(bridge);
    let named = zbridge!("--port", &port, "--user", "daemon").ready();
    named.wait_for("bridge default:", PATIENCE);
    assert!(!named.stderr().contains("goes on as"), "{}", named.stderr());
}

/// A bench says first what it is called: what one types next needs that.
#[test]
fn a_bench_is_named_before_its_ports() {
    let dir = TempDir::new();
    let text = format!("port = [\"unix:{}\"]\n[[instance]]\nname = \"a\"\ncommand = \"true\"\n", dir.text("inst1"));
    let file = dir.file("lab.toml", text);
    let script = format!("exec \"$0\" up {} --logs {} 2>&1", file.display(), dir.text("logs"));
    let exit = Launch::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_zbridge")]).apart().run();
    let place = |part: &str| exit.stdout.find(part).unwrap_or_else(|| panic!("{part}: {exit:?}"));
    assert!(place("bridge lab: ") < place("inst1  unix  listening"), "{exit:?}");
}

/// Two copies of one image with its addresses: the first who asks for them makes it known.
#[test]
fn copies_are_told_of_when_both_answer() {
    require!(needs::programs(), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    for (mac, says) in [
        ("02:00:5e:00:53:01", "by turns: two instances share this address"),
        ("02:00:5e:00:53:02", "192.0.2.1 is the address of"),
    ] {
        let bridge = user(&dir).args(["--name", "lab", "--port", &format!("unix:{}", dir.text("net"))]).ready();
        let copy = |name: &str, mac: &str| {
            let words = ["run", "--join", "lab", "--name", name, "--"];
            user(&dir).args(words).arg(&program).args([&format!("--mac-addr={mac}"), "--ipv4-addr=192.0.2.1"]).ready()
        };
        let copies = [copy("inst1", "02:00:5e:00:53:01"), copy("inst2", mac)];
        let host = ["run", "--join", "lab", "--host", "192.0.2.9/24", "--", "ping", "-c", "1", "-W", "5", "192.0.2.1"];
        user(&dir).args(host).run();
        let said = bridge.wait_for(says, PATIENCE);
        assert!(said.contains("inst1") && said.contains("inst2"), "{said}");
        drop(copies);
    }
}
