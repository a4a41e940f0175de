//! `zbridge up`: benches out of one file, how they start, end and fail. The benches under `examples/` have tests of their
//! own.

use support::standin::{Build, tap_program};
use support::{Exit, Launch, PATIENCE, Process, Summary, TempDir, needs, require, zbridge};

/// `zbridge up` of a file with this text.
fn up(dir: &TempDir, text: &str) -> Launch {
    let file = dir.file("bench.toml", text);
    zbridge!("up", file, "--logs", dir.text("logs"))
}

const ORDER: &str = r#"
[[instance]]
name = "first"
command = ["sh", "-c", "trap 'sleep 0.1; echo over; exit 0' TERM; printf 'prompt> '; while :; do sleep 0.01; done"]
ready = "log ^prompt> $"

[[instance]]
name = "second"
command = ["sh", "-c", "trap 'sleep 0.1; echo over; exit 0' TERM; printf '\\377\\n'; echo up; while :; do sleep 0.01; done"]
after = "first"
ready = "log ^up$"
"#;

fn ended_in_order(exit: &Exit) {
    let at = |text: &str| exit.stderr.find(text).unwrap_or_else(|| panic!("no {text:?} in {exit:?}"));
    assert!(at("first: ready") < at("second: starts") && at("second: ended") < at("first: ended"), "{exit:?}");
}

#[test]
fn an_interrupt_stops_all_in_order() {
    for (signal, status) in [(Process::sigint as fn(&Process), 0), (Process::sigterm, 0)] {
        let dir = TempDir::new();
        let bench = up(&dir, ORDER).spawn();
        bench.wait_for("second: ready", PATIENCE);
        signal(&bench);
        let exit = bench.wait();
        assert_eq!(exit.code(), status, "{exit:?}");
        ended_in_order(&exit);
        assert!(exit.stdout.contains("first   | prompt> \n"), "a prompt is shown: {exit:?}");
        assert!(exit.stdout.contains("second  | \\xff\n") && !exit.stdout.contains('\x1b'), "{exit:?}");
        let log = std::fs::read(dir.path("logs/second.log")).unwrap();
        assert_eq!(log, b"\xff\nup\nover\n", "the log has the bytes themselves");
    }
}

#[test]
fn a_second_interrupt_ends_all_at_once() {
    let dir = TempDir::new();
    let deaf = "[[instance]]\nname = \"deaf\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; echo up; sleep 100\"]\n\
                ready = \"log up\"\n";
    let bench = up(&dir, deaf).spawn();
    bench.wait_for("deaf: ready", PATIENCE);
    bench.sigint();
    bench.wait_for("stopping in order", PATIENCE);
    // within a second it would be the same wish
    std::thread::sleep(std::time::Duration::from_millis(1200));
    bench.sigint();
    let exit = bench.wait();
    assert_eq!(exit.code(), 130, "{exit:?}");
    assert!(!exit.stderr.contains("still there after"), "not after the grace: {exit:?}");
}

/// Statuses: of one instance, of a time that is over, of one that is not ready, of a program that is not there.
#[test]
fn statuses_of_a_bench() {
    let table = |name: &str, command: &str, keys: &str| {
        format!("[[instance]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"{command}\"]\n{keys}\n")
    };
    let server = table("server", "exec sleep 100", "");
    let cases = [
        ([server.clone(), table("test", "exit 7", "")].concat(), Some("test"), 7, "test: ended with status 7"),
        ([server.clone(), table("test", "kill -9 $$", "")].concat(), Some("test"), 137, "signal 9 (SIGKILL)"),
        (table("test", "exit 7", ""), None, 1, "error: test: ended with status 7"),
        (table("test", "exit 0", ""), None, 0, "test: ended with status 0"),
        (server.clone(), None, 6, "the bench is not over after 2s"),
        (
            table("slow", "exec sleep 100", "ready = \"ping 192.0.2.1\"\nready-timeout = \"300ms\""),
            None,
            6,
            "slow: not ready after 300ms: ping 192.0.2.1",
        ),
        (table("quits", "exit 0", "ready = \"log up\""), None, 1, "quits: ended with status 0 before it was ready"),
        ("[[instance]]\nname = \"a\"\ncommand = \"./absent.exe\"\n".to_owned(), None, 4, "./absent.exe"),
    ];
    for (text, exit_with, status, says) in cases {
        let dir = TempDir::new();
        let wish = exit_with.map(|name| vec!["--exit-with", name]).unwrap_or_default();
        // a loaded machine takes its time with all but the one that has to take it
        let timeout = if says.contains("2s") { "2s" } else { "60s" };
        let exit = up(&dir, &text).args(["--timeout", timeout]).args(wish).run();
        assert_eq!(exit.code(), status, "{text}{exit:?}");
        assert!(exit.stderr.contains(says), "{says:?} is not in {exit:?}");
    }
}

/// Why a bench fails is said before what follows of it, and once.
#[test]
fn the_cause_comes_before_the_end() {
    let dir = TempDir::new();
    let slow =
        "[[instance]]\nname = \"slow\"\ncommand = \"sleep 100\"\nready = \"log up\"\nready-timeout = \"300ms\"\n";
    let exit = up(&dir, slow).run();
    assert_eq!(exit.code(), 6, "{exit:?}");
    let place = |text: &str| exit.stderr.find(text).unwrap_or_else(|| panic!("{text}: {exit:?}"));
    let cause = "error: slow: not ready after 300ms: log up";
    assert!(place(cause) < place("slow: ended with signal 15 (SIGTERM)"), "{exit:?}");
    assert_eq!(exit.stderr.matches(cause).count(), 1, "{exit:?}");
}

/// The ports of instances are gone when it is over, and in the summary all the same; also where one has failed.
#[test]
fn the_summary_has_the_ports_of_instances() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let table = |name: &str, addr: &str, command: &str| {
        format!("[[instance]]\nname = \"{name}\"\nhost = \"{addr}/24\"\ncommand = {command}\n")
    };
    let server = table("server", "192.0.2.1", "\"sleep 100\"\nready = \"ping 192.0.2.1\"");
    let ping = "[\"sh\", \"-c\", \"ping -c 2 -i 0.2 -W 5 192.0.2.1 && exit 7\"]\nafter = \"server\"";
    let dir = TempDir::new();
    let text = [server, table("client", "192.0.2.2", ping)].concat();
    for (wish, status) in [("client", 7), ("server", 130)] {
        let bench = up(&dir, &text).env("XDG_RUNTIME_DIR", dir.root()).args(["--exit-with", wish]).spawn();
        bench.wait_for("client: ended with status 7", PATIENCE);
        if wish == "server" {
            bench.sigint();
        }
        let exit = bench.wait();
        assert_eq!(exit.code(), status, "{exit:?}");
        let summary = Summary::parse(&exit.stdout);
        for name in ["client", "server"] {
            let port = summary.port(name);
            assert!(port.state == "left" && port.rx_frames >= 3 && port.tx_frames >= 3, "{exit:?}");
        }
    }
}

#[test]
fn a_failure_is_started_again() {
    let dir = TempDir::new();
    let count = dir.text("count");
    let text = format!(
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ]\"]\n\
         restart = \"on-failure\"\n"
    );
    let exit = up(&dir, &text).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\nx\n");
    assert!(exit.stderr.contains("a: ended with status 1; started again in 500ms"), "{exit:?}");
}

/// A user without any right runs a bench; killed, it leaves no process behind.
#[test]
fn an_ordinary_user_may_and_a_kill_leaves_nothing() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let text = format!(
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo uid=$(id -u); exec sleep 3{}\"]\n\
         ready = \"log uid=65534\"\n",
        std::process::id()
    );
    let launch = up(&dir, &text).env("HOME", dir.text("home")).as_nobody(&dir);
    let mut bench = launch.spawn();
    bench.wait_for("a: ready", PATIENCE);
    let sleeps = || {
        let name = format!("sleep\03{}\0", std::process::id());
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        entries.filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(|line| line == name.as_bytes())).count()
    };
    support::eventually("the start of its program", || (sleeps() == 1).then_some(()));
    bench.kill9();
    support::eventually("the end of its program", || (sleeps() == 0).then_some(()));
}

/// A full disk is said once; the bench goes on.
#[test]
fn a_log_that_cannot_be_written_is_said_once() {
    let dir = TempDir::new();
    let text =
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo 1; sleep 0.1; echo 2\"]\nlog = \"/dev/full\"\n";
    let exit = up(&dir, text).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert_eq!(exit.stderr.matches("is not complete: No space left").count(), 1, "{exit:?}");
    assert!(exit.stdout.contains("a  | 1\na  | 2\n"), "{exit:?}");
}

/// A bench that runs is a bridge as any other.
#[test]
fn a_bench_can_be_looked_at_and_changed() {
    let dir = TempDir::new();
    let text = format!("{ORDER}\n[[port]]\ntype = \"unix\"\ntarget = \"{}\"\n", dir.text("net"));
    let of = |launch: Launch| launch.env("XDG_RUNTIME_DIR", dir.root());
    let bench = of(up(&dir, &text)).args(["--name", "lab"]).spawn();
    bench.wait_for("bridge lab: `zbridge status lab` shows it", PATIENCE);
    bench.wait_for("second: ready", PATIENCE);
    let status = of(zbridge!("status", "lab")).run();
    assert!(status.stdout.contains("net   unix  listening"), "{status:?}");
    // a path means where it was typed
    let here = ["env", "-C", dir.root().to_str().unwrap()];
    let added = of(zbridge!("port", "add", "slip:unix:line", "--to", "lab")).under(here).run();
    assert_eq!((added.code(), added.stdout.lines().next()), (0, Some("line")), "{added:?}");
    assert!(dir.path("line").exists());
    let taken = of(up(&dir, ORDER)).args(["--name", "lab"]).run();
    assert!(taken.code() == 1 && taken.stderr.contains("a bridge named lab runs already"), "{taken:?}");
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
    assert_eq!(of(zbridge!("status", "lab")).run().code(), 3);
}

/// Its bridge and its logs have the bench's name, and those of a second run one of their own.
#[test]
fn a_bench_has_one_name() {
    let dir = TempDir::new();
    let text =
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo here; exec sleep 100\"]\nready = \"log here\"\n";
    let file = dir.file("lab.toml", text);
    let of = |launch: Launch| launch.env("XDG_RUNTIME_DIR", dir.root()).env("XDG_STATE_HOME", dir.root().join("state"));
    let run = |words: &[&str], name: &str| {
        let bench = of(zbridge!("up", &file)).args(words.iter().copied()).spawn();
        bench.wait_for(&format!("bridge {name}: `zbridge status {name}` shows it"), PATIENCE);
        bench.wait_for(&format!("logs in {}", dir.text(&format!("state/zbridge/{name}"))), PATIENCE);
        bench.wait_for("a: ready", PATIENCE);
        bench
    };
    let benches = [run(&[], "lab"), run(&[], "lab-2"), run(&["--name", "other"], "other")];
    for (bench, name) in benches.iter().zip(["lab", "lab-2", "other"]) {
        assert_eq!(std::fs::read(dir.path(&format!("state/zbridge/{name}/a.log"))).unwrap(), b"here\n", "{name}");
        assert!(of(zbridge!("ls")).run().stdout.contains(&format!("{name:5}  pid {} ", bench.pid())), "{name}");
    }
    assert_eq!(of(zbridge!("status", "lab")).run().code(), 0);
    // a folder that is given is nobody else's
    let logs = dir.text("state/zbridge/lab");
    let second = of(zbridge!("up", &file, "--logs", &logs)).run();
    let says = format!("a: its log {logs}/a.log is written by pid {}", benches[0].pid());
    assert!(second.code() == 1 && second.stderr.contains(&says), "{second:?}");
    assert_eq!(std::fs::read(dir.path("state/zbridge/lab/a.log")).unwrap(), b"here\n", "it is not emptied");
    for bench in benches {
        bench.sigint();
        assert_eq!(bench.wait().code(), 0);
    }
}

#[test]
fn instances_of_a_file_that_runs_as_a_bridge_are_not_passed_over() {
    let dir = TempDir::new();
    let text = format!("port = [\"unix:{}\"]\n{ORDER}", dir.text("net"));
    let file = dir.file("lab.toml", &text);
    let bridge = zbridge!("--config", &file).env("XDG_RUNTIME_DIR", dir.root()).spawn();
    bridge.wait_for("what is an instance is not started: first, second", PATIENCE);
    bridge.wait_for(&format!("hint: zbridge up {}", file.display()), PATIENCE);
    bridge.wait_for("to attach", PATIENCE);
    bridge.sigint();
    assert_eq!(bridge.wait().code(), 0);
}

#[test]
fn a_tap_that_is_not_opened_is_told_in_the_words_of_the_file() {
    require!(needs::root(), needs::tun());
    let dir = TempDir::new();
    let text = "[[instance]]\nname = \"a\"\ncommand = \"sleep 100\"\ntap = \"zeth\"\n";
    let bench = up(&dir, text).env("XDG_RUNTIME_DIR", dir.root()).spawn();
    bench.wait_for("a: has not opened its TAP zeth", PATIENCE);
    bench.wait_for("hint: its log may tell why; a program that speaks bare IP wants a TUN: tun = \"NAME\"", PATIENCE);
}

/// A bench joins a bridge that runs: its instances and what is there are one network.
#[test]
fn a_bench_joins_a_bridge() {
    require!(needs::root(), needs::tun(), needs::tool("setpriv", "util-linux"), needs::tool("ping", "iputils-ping"));
    let dir = TempDir::new();
    let program = tap_program(&dir, Build::Dynamic).unwrap();
    let of = |launch: Launch| launch.env("XDG_RUNTIME_DIR", dir.root()).as_nobody_with_tun(&dir);
    let mut bridge = of(zbridge!("--name", "lab", "--port", format!("unix:{}", dir.text("net")))).ready();
    let there = of(zbridge!("run", "--join", "lab", "--")).arg(program).ready();
    let ping =
        "[[instance]]\nname = \"host\"\ncommand = \"ping -c 3 -i 0.2 -W 5 192.0.2.1\"\nhost = \"192.0.2.9/24\"\n";
    let exit = of(up(&dir, ping)).args(["--join", "lab", "--name", "bench"]).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(exit.stdout.contains("to-lab  unix  up"), "{exit:?}");
    assert!(bridge.stderr().contains("to-bench: added by"), "{}", bridge.stderr());

    let absent = of(up(&dir, ping)).args(["--join", "lba"]).run();
    assert!(absent.code() == 3 && absent.stderr.contains("no bridge named lba runs"), "{absent:?}");
    let other = of(up(&dir, &format!("{ping}switch = \"field\"\n"))).args(["--join", "lab"]).run();
    assert!(other.code() == 2 && other.stderr.contains("no switch of the bench's: field"), "{other:?}");

    let none = of(up(&dir, ORDER)).args(["--join", "lab"]).run();
    assert!(none.code() == 2 && none.stderr.contains("the bench has no switch"), "{none:?}");

    let idle = "[[instance]]\nname = \"host\"\ncommand = \"sleep 100\"\nhost = \"192.0.2.9/24\"\n";
    let bench = of(up(&dir, idle)).args(["--join", "lab"]).spawn();
    bench.wait_for("host: starts", PATIENCE);
    bridge.kill9();
    bench.wait_for("bridge lab has ended; the bench goes on without it", PATIENCE);
    bench.wait_for("hint: start it again once the bridge runs again: zbridge up … --join lab", PATIENCE);
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
    drop(there);
}

/// The folder of a guest's socket that a killed bench has left is cleared away by the next.
#[test]
fn what_a_killed_bench_leaves_the_next_clears_away() {
    let dir = TempDir::new();
    let text = "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo up; exec sleep 100\"]\nqemu = true\nready = \"log up\"\n";
    let start = || {
        let bench = up(&dir, text).env("XDG_RUNTIME_DIR", dir.root()).spawn();
        bench.wait_for("a: ready", PATIENCE);
        bench
    };
    let folders = || {
        let names = std::fs::read_dir(dir.root()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("zbridge-")).collect::<Vec<_>>()
    };
    let socket = dir.path("zbridge/killed.sock");
    let mut killed = zbridge!("--name", "killed", "--port", format!("unix:{}", dir.text("net")))
        .env("XDG_RUNTIME_DIR", dir.root())
        .ready();
    killed.kill9();
    assert!(socket.exists());
    start().kill9();
    assert!(!socket.exists(), "the control socket of a killed bridge");
    let left = folders();
    assert_eq!(left.len(), 1, "{left:?}");
    let bench = start();
    assert!(folders().len() == 1 && folders() != left, "{:?}", folders());
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
    assert!(folders().is_empty(), "{:?}", folders());
}

/// A bench that root starts: its ports are nobody's, and its programs, which are root without the right to what is
/// another's, reach them.
#[test]
fn programs_of_root_reach_the_ports_of_their_bench() {
    require!(needs::root(), needs::tool("socat", "socat"));
    let dir = TempDir::new();
    let [socket, line, fifo] = ["s", "l", "f"].map(|name| dir.text(name));
    let script = format!(
        "socat -u /dev/null UNIX-CONNECT:{socket} && socat -u /dev/null UNIX-CONNECT:{line} && exec 3<>{fifo}.in && \
         echo all are reached"
    );
    let ports = format!("port = [\"unix:{socket}\", \"slip:unix:{line}\", \"slip:pipe:{fifo}\"]\n");
    let table = format!("{ports}[[instance]]\nname = \"a\"\ncommand = [\"bash\", \"-c\", \"{script}\"]\n");
    let exit = zbridge!("up", dir.file("lab.toml", &table), "--exit-with", "a", "--logs", dir.text("logs")).run();
    assert!(exit.code() == 0 && exit.stdout.contains("a  | all are reached"), "{exit:?}");
}
