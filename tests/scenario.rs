//! Scenarios on benches: how they are played, judged, reported, and what they leave when their bench does not last.

use support::{Exit, Launch, PATIENCE, TempDir, needs, require, zbridge};

/// A folder with a bench of this text, called lab.
struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new(text: &str) -> Self {
        let dir = TempDir::new();
        dir.file("lab.toml", text);
        Self { dir }
    }

    fn zbridge(&self, words: &[&str]) -> Launch {
        zbridge!().args(words.iter().copied()).env("XDG_RUNTIME_DIR", self.dir.root())
    }

    fn up(&self, words: &[&str]) -> Launch {
        let (file, logs) = (self.dir.text("lab.toml"), self.dir.text("logs"));
        self.zbridge(&["up", &file, "--logs", &logs]).args(words.iter().copied())
    }

    fn junit(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path("report.xml")).expect("a report");
        assert!(text.starts_with("<?xml") && text.ends_with("</testsuites>\n"), "it is whole: {text}");
        text
    }
}

fn has(text: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(text.contains(piece), "{piece}\nis not in\n{text}");
    }
}

/// A program that says what it is told to by signals.
const TALKS: &str = r#"
[[instance]]
name = "sim1"
command = ["sh", "-c", "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done"]
ready = "log ^up$"
"#;

fn scenario(steps: &[&str]) -> String {
    let steps: String = steps.iter().map(|step| format!("[[scenario.step]]\n{}\n", step.replace("; ", "\n"))).collect();
    format!("{TALKS}\n[[scenario]]\nname = \"talk\"\n{steps}")
}

#[test]
fn a_scenario_is_played_and_the_bench_ends() {
    let lab = Lab::new(&scenario(&[
        "after = \"sim1 ready\"; do = [\"kill sim1 USR1\", \"restart sim1\"]; expect = 'log sim1 /^up$/'; repeat = 2",
        "do = \"stop sim1\"; expect = [\"sim1 stopped\", \"restarts(sim1) == 2\"]",
        "do = \"start sim1\"; expect = \"sim1 ready\"",
    ]));
    let report = lab.dir.text("report.xml");
    let exit = lab.up(&["--junit", &report]).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
    has(&exit.stdout, &["passed  talk: 3 of 3 steps", "1 of 1 scenarios as expected"]);
    has(
        &lab.junit(),
        &["tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"0\"", "<testsuite name=\"talk\" tests=\"3\""],
    );
}

#[test]
fn what_is_not_as_expected_is_told_with_what_was_seen() {
    let lab = Lab::new(&scenario(&[
        "on = 'log sim1 /^up$/'; do = \"kill sim1 USR1\"; expect = 'log sim1 /^usr2$/'; within = \"500ms\"",
        "do = \"restart sim1\"",
    ]));
    let report = lab.dir.text("report.xml");
    let exit = lab.up(&["--junit", &report]).run();
    assert_eq!(exit.code(), 6, "{exit:?}");
    has(&exit.stdout, &["FAILED  talk: 0 of 2 steps", "not within 500ms: log sim1 /^usr2$/", "its last is \"usr1\""]);
    has(&exit.stderr, &["error: 1 of 1 scenarios not as expected"]);
    let seen = "sim1 has written no line that matches /^usr2$/; its last is &quot;usr1&quot;";
    has(&lab.junit(), &["failures=\"1\"", "skipped=\"1\"", seen, "sim1 | usr1</system-out>", "step 1 has failed"]);
}

/// Interrupted, out of time, without its programs: the report is whole, and says why.
#[test]
fn a_bench_that_ends_before_leaves_a_whole_report() {
    let waits = scenario(&["expect = 'log sim1 /never/'; within = \"10m\"", "do = \"restart sim1\""]);
    let lab = Lab::new(&waits);
    let report = lab.dir.text("report.xml");
    let bench = lab.up(&["--junit", &report]).spawn();
    bench.wait_for("sim1: ready", PATIENCE);
    bench.sigint();
    let exit = bench.wait();
    assert_eq!(exit.code(), 130, "{exit:?}");
    has(&lab.junit(), &["<failure type=\"unmet\" message=\"interrupted\">", "failures=\"1\""]);

    let exit = lab.up(&["--junit", &report, "--timeout", "1s"]).run();
    assert_eq!(exit.code(), 6, "{exit:?}");
    has(&lab.junit(), &["message=\"the bench is not over after 1s\"", "<error type=\"bench\""]);

    let dies = waits.replace("while :; do sleep 0.05; done", "sleep 0.3; exit 3");
    let lab = Lab::new(&dies);
    let report = lab.dir.text("report.xml");
    let exit = lab.up(&["--junit", &report]).run();
    assert_eq!(exit.code(), 6, "{exit:?}");
    has(&lab.junit(), &["<error type=\"bench\" message=\"sim1: ended with status 3\">", "failures=\"1\""]);
}

#[test]
fn a_step_that_cannot_be_done_is_an_error_at_the_start() {
    let lab = Lab::new(&scenario(&[
        "after = \"sim2 ready\"; do = [\"set inst1 tx.los=1%\", \"fly\"]; expect = \"drop(sim1) == 0\"",
    ]));
    for words in [vec!["up", "--play"], vec!["check"]] {
        let (verb, rest) = words.split_first().unwrap();
        let exit = lab.zbridge(&[verb, &lab.dir.text("lab.toml")]).args(rest.iter().copied()).run();
        assert_eq!(exit.code(), 2, "{exit:?}");
        has(
            &exit.stderr,
            &[
                "lab.toml:10: no instance is named sim2",
                "lab.toml:11: there is no impairment \"los\"; the nearest is \"loss\"",
                "lab.toml:11: \"fly\": unrecognized subcommand 'fly'",
                "lab.toml:12: \"drop(sim1) == 0\": nothing is called \"drop\"; the nearest is \"drops\"",
            ],
        );
        assert!(!exit.stderr.contains("sim1: starts"), "{exit:?}");
    }
    let good = Lab::new(&scenario(&["at = \"1s\"; do = \"restart sim1\"; expect = \"sim1 ready\""]));
    let exit = good.zbridge(&["check", &good.dir.text("lab.toml")]).run();
    has(&exit.stdout, &["scenario  talk\n", "  1s  ┬ restart sim1\n", "      └ expect sim1 ready, within 30s\n"]);
    // Without being asked to, a bench plays nothing, and says so.
    let bench = good.up(&[]).spawn();
    bench.wait_for("1 scenario of its file: not played; --play does", PATIENCE);
    bench.wait_for("sim1: ready", PATIENCE);
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
}

/// `play`, `wait` and `assert` on a bridge that runs.
#[test]
fn a_running_bench_is_played_on_waited_for_and_checked() {
    let lab = Lab::new(TALKS);
    let bench = lab.up(&[]).spawn();
    let ask = |words: &[&str]| -> Exit { lab.zbridge(words).args(["--to", "lab"]).run() };
    assert_eq!(ask(&["wait", "sim1", "ready"]).code(), 0);
    assert_eq!(ask(&["wait", "log sim1 /^up$/"]).code(), 0);
    let vain = ask(&["wait", "restarts(sim1) > 0", "--timeout", "200ms"]);
    assert_eq!(vain.code(), 6, "{vain:?}");
    has(&vain.stderr, &["after 200ms in vain for restarts(sim1) > 0: restarts(sim1) is 0"]);
    assert_eq!(ask(&["assert", "restarts(sim1) == 0 and program(sim1) == ready"]).code(), 0);
    let wrong = ask(&["assert", "restarts(sim1) == 3"]);
    assert_eq!(wrong.code(), 6, "{wrong:?}");
    has(&wrong.stderr, &["error: restarts(sim1) == 3 does not hold: restarts(sim1) is 0"]);
    let odd = ask(&["assert", "restart(sim1) == 3"]);
    assert!(odd.code() == 2 && odd.stderr.contains("the nearest is \"restarts\""), "{odd:?}");

    let steps = "[[scenario]]\nname = \"again\"\n[[scenario.step]]\ndo = \"restart sim1\"\nexpect = \"sim1 ready\"\n";
    let file = lab.dir.file("again.toml", steps).display().to_string();
    let report = lab.dir.text("report.xml");
    let played = ask(&["play", &file, "--junit", &report]);
    assert_eq!(played.code(), 0, "{played:?}");
    has(&lab.junit(), &["<testsuites name=\"lab\" tests=\"1\" failures=\"0\""]);
    assert_eq!(ask(&["assert", "restarts(sim1) == 1"]).code(), 0);
    let other = lab.dir.file("other.toml", steps.replace("restart sim1", "restart sim7")).display().to_string();
    let unknown = ask(&["play", &other]);
    assert!(unknown.code() == 2 && unknown.stderr.contains("other.toml:4: no instance is named sim7"), "{unknown:?}");
    bench.sigint();
    assert_eq!(bench.wait().code(), 0);
}

/// Twenty instances over lossy links; some are killed, restarted and cut off meanwhile.
#[test]
fn twenty_instances_over_lossy_links() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let text = r#"
[[instance]]
name = "server"
command = "sleep 1000"
host = "192.0.2.1/24"
ready = "ping 192.0.2.1"

[[instance]]
name = "sim"
count = 19
command = ["sh", "-c", "until ping -c 1 -W 1 192.0.2.1 >/dev/null; do :; done; echo reached; while :; do ping -c 1 -W 1 192.0.2.1 >/dev/null || echo lost; sleep 0.2; done"]
host = "192.0.2.{i+10}/24"
both.loss = "5%"
both.delay = "1ms"
after = "server"

[[scenario]]
name = "all reach the server, and again when it has come back"
[[scenario.step]]
on = "log sim19 /^reached/"
do = ["capture start run.pcapng", "set server tx.loss=10%"]
expect = ["ping 192.0.2.11", "frames(server) > 20", "log sim1 /./"]
within = "60s"
[[scenario.step]]
do = ["kill sim1", "restart sim2 sim3"]
expect = ["sim1 stopped", "sim2 ready", "log sim2 /^reached/", "log sim3 /^reached/"]
within = "60s"
[[scenario.step]]
do = ["cut sim4 from server", "down sim5"]
expect = ["log sim4 /^lost/", "log sim5 /^lost/", "state(sim5) == down"]
within = "60s"
[[scenario.step]]
do = ["heal", "up sim5", "start sim1"]
expect = ["log sim1 /^reached/", "state(sim5) == up"]
within = "60s"
[[scenario.step]]
do = "capture stop"
expect = ["drops(sim4) > 0", "drops(sim6, nobody) == 0"]
within = "1s"

[[scenario]]
name = "what is played after a failure"
[[scenario.step]]
do = "restart sim7"
expect = "log sim7 /^reached/"
within = "60s"
"#;
    let lab =
        Lab::new(&text.replace(", nobody", ", malformed").replace("sim6, malformed) == 0", "sim6, malformed) > 0"));
    let report = lab.dir.text("report.xml");
    let bench = lab.up(&["--junit", &report, "--timeout", "5m"]);
    let exit = bench.under(["env", "-C", &lab.dir.root().display().to_string()]).run_within(5 * PATIENCE);
    assert_eq!(exit.code(), 6, "the last step of the first scenario is wrong on purpose: {exit:?}");
    let junit = lab.junit();
    has(&junit, &["tests=\"6\" failures=\"1\" errors=\"0\" skipped=\"0\"", "drops(sim6, malformed) is 0"]);
    has(
        &exit.stdout,
        &["FAILED  all reach the server", "4 of 5 steps", "passed  what is played after a failure: 1 of 1"],
    );
    let captured = std::fs::read(lab.dir.path("run.pcapng")).expect("a capture");
    assert!(captured.len() > 10_000 && captured.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{} bytes", captured.len());
}
