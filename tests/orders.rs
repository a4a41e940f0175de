//! The programs of a bench that runs, commanded by hand: `ps`, `start`, `stop`, `restart` and `kill`.

use support::{Exit, Launch, PATIENCE, Process, TempDir, eventually, needs, require, zbridge};

/// A bench called lab, and how it is asked.
struct Lab {
    dir: TempDir,
    bench: Process,
}

impl Lab {
    fn start(text: &str) -> Self {
        let dir = TempDir::new();
        let file = dir.file("lab.toml", text);
        let launch = zbridge!("up", file, "--logs", dir.text("logs")).env("XDG_RUNTIME_DIR", dir.root());
        Self { bench: launch.spawn(), dir }
    }

    fn ask(&self, words: &[&str]) -> Exit {
        let launch: Launch = zbridge!().args(words.iter().copied()).args(["--to", "lab"]);
        launch.env("XDG_RUNTIME_DIR", self.dir.root()).run()
    }

    fn done(&self, words: &[&str]) -> String {
        let exit = self.ask(words);
        assert_eq!(exit.code(), 0, "{words:?} {exit:?}");
        exit.stdout
    }

    /// The line of a program in `ps`.
    fn row(&self, name: &str) -> String {
        let shown = self.done(&["ps", "--json"]);
        let row = shown.lines().find(|line| line.contains(&format!("\"name\":\"{name}\"")));
        row.unwrap_or_else(|| panic!("no {name} in {shown}")).to_owned()
    }

    fn end(self) -> Exit {
        self.bench.sigint();
        self.bench.wait()
    }
}

const TWO: &str = r#"
[[instance]]
name = "sim1"
command = ["sh", "-c", "echo up; exec sleep 1000"]
ready = "log ^up$"

[[instance]]
name = "sim2"
command = ["sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"]
ready = "log ^up$"
"#;

#[test]
fn programs_are_commanded_by_hand() {
    let lab = Lab::start(TWO);
    lab.bench.wait_for("2 of 2", PATIENCE);
    let shown = lab.done(&["ps"]);
    assert!(shown.lines().next().is_some_and(|head| head.starts_with("name")), "{shown}");
    let pid = |name: &str| {
        let row = lab.row(name);
        let (_, rest) = row.split_once("\"pid\":").unwrap_or_else(|| panic!("no pid in {row}"));
        rest.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let first = pid("sim1");
    let command = std::fs::read(format!("/proc/{first}/cmdline")).unwrap();
    assert!(command.starts_with(b"sleep") || command.starts_with(b"sh"), "{command:?}");

    lab.done(&["restart", "sim1"]);
    assert!(pid("sim1") != first && lab.row("sim1").contains("\"restarts\":1"), "{}", lab.row("sim1"));
    lab.bench.wait_for("sim1: ready again (log ^up$), 2 of 2", PATIENCE);

    lab.done(&["stop", "sim1"]);
    let row = lab.row("sim1");
    assert!(row.contains("\"state\":\"stopped\"") && row.contains("\"end\":\"signal 15 (SIGTERM)\""), "{row}");
    assert!(!row.contains("\"pid\"") && row.contains("\"lines\":[\"up\",\"up\"]"), "{row}");
    let again = lab.ask(&["stop", "sim1"]);
    assert!(again.code() == 1 && again.stderr.contains("error: sim1 is stopped already"), "{again:?}");
    lab.done(&["start", "sim1"]);
    let again = lab.ask(&["start", "sim1,sim2"]);
    assert!(again.code() == 1 && again.stderr.contains("error: sim1 runs already"), "{again:?}");

    lab.done(&["kill", "sim2", "USR1"]);
    eventually("the signal", || lab.row("sim2").contains("usr1").then_some(()));
    assert!(lab.row("sim2").contains("\"state\":\"ready\""));
    lab.done(&["kill", "sim2"]);
    let row = lab.row("sim2");
    assert!(row.contains("\"state\":\"stopped\"") && row.contains("\"end\":\"signal 9 (SIGKILL)\""), "{row}");

    let unknown = lab.ask(&["kill", "sim3"]);
    assert_eq!(unknown.code(), 4, "{unknown:?}");
    assert!(unknown.stderr.contains("no instance is named sim3"), "{unknown:?}");
    assert!(unknown.stderr.contains("the nearest is \"sim1\"; there are sim1, sim2"), "{unknown:?}");
    let odd = lab.ask(&["kill", "sim1", "SIGNUKE"]);
    assert!(odd.code() == 2 && odd.stderr.contains("expected a signal by its name"), "{odd:?}");
    let exit = lab.end();
    assert_eq!(exit.code(), 0, "what was killed by hand is no failure: {exit:?}");
}

/// A bridge without programs says so, and the program of `run` can be killed.
#[test]
fn what_has_no_programs_to_command_says_so() {
    let dir = TempDir::new();
    let bridge = zbridge!("--name", "lab", "--port", format!("unix:{}", dir.text("net")))
        .env("XDG_RUNTIME_DIR", dir.root())
        .ready();
    let lab = Lab { dir, bench: bridge };
    assert_eq!(lab.done(&["ps"]), "no program runs beside this bridge\n");
    let none = lab.ask(&["restart", "sim1"]);
    assert!(none.code() == 4 && none.stderr.contains("no program runs beside this bridge"), "{none:?}");
    assert_eq!(lab.end().code(), 0);
}

/// While a program is stopped its port is there: a cable without a peer. What was set and counted is still there when it
/// has come back.
#[test]
fn a_port_keeps_its_place_for_its_program() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let lab = Lab::start(
        "[[instance]]\nname = \"server\"\ncommand = \"sleep 1000\"\nhost = \"192.0.2.1/24\"\nready = \"ping 192.0.2.1\"\n\
         [[instance]]\nname = \"client\"\ncommand = \"ping -q -i 0.2 192.0.2.1\"\nhost = \"192.0.2.2/24\"\nafter = \"server\"\n",
    );
    lab.bench.wait_for("2 of 2", PATIENCE);
    lab.done(&["set", "server", "tx.delay=1ms"]);
    let port = || {
        let status: serde_json::Value = serde_json::from_str(&lab.done(&["status", "--json"])).unwrap();
        let ports = status["switches"][0]["ports"].as_array().unwrap().clone();
        let named = ports.into_iter().find(|port| port["name"] == "server");
        named.unwrap_or_else(|| panic!("no port server in {status}"))
    };
    let counted = |port: &serde_json::Value| port["rx_frames"].as_u64().unwrap();
    let before = eventually("traffic", || Some(port()).filter(|port| counted(port) > 3));
    lab.done(&["stop", "server"]);
    let stopped = port();
    assert_eq!(stopped["state"], "waiting", "{stopped}");
    assert_eq!(stopped["peer"].as_str().map(|peer| peer.is_empty()), Some(false), "{stopped}");
    assert_eq!(stopped["impairments"][0], "tx.delay=1ms", "{stopped}");
    lab.done(&["set", "server", "tx.delay=2ms"]);
    lab.done(&["start", "server"]);
    lab.bench.wait_for("server: ready again", PATIENCE);
    let after = eventually("traffic again", || Some(port()).filter(|port| counted(port) > counted(&before) + 3));
    assert_eq!((&after["state"], &after["impairments"][0]), (&"up".into(), &"tx.delay=2ms".into()), "{after}");
    lab.done(&["kill", "client"]);
    assert_eq!(lab.end().code(), 0);
}
