//! Nobody's output stops anything: standard output and standard error that are full, stopped or closed, logs that nobody
//! reads, and the signals that wrappers send twice.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use support::{Launch, PATIENCE, Peer, Received, Station, StreamPeer, TempDir, eventually, needs, require, zbridge};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A pipe that takes nothing any more, until its reader is read from.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe that does not wait");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe");
    (reader, writer)
}

/// A program whose output the test has in hand itself. Killed on drop.
struct Running {
    child: Child,
    dir: TempDir,
}

impl Running {
    fn start(launch: Launch, dir: TempDir, stdout: Stdio, stderr: Stdio) -> Self {
        let mut command: Command = launch.command();
        command.env("XDG_RUNTIME_DIR", dir.root()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Self { child: command.spawn().expect("zbridge"), dir }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("a process");
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the end of zbridge", || self.child.try_wait().expect("a child"))
    }

    fn connect(&self, name: &str) -> StreamPeer {
        eventually("a socket", || std::os::unix::net::UnixStream::connect(self.dir.path(name)).ok());
        StreamPeer::unix(self.dir.path(name))
    }

    fn status(&self) -> support::Exit {
        zbridge!("status").env("XDG_RUNTIME_DIR", self.dir.root()).run()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Frames pass between two clients of the ports `a` and `b`.
fn passes(running: &Running) {
    let (mut a, mut b) = (running.connect("a"), running.connect("b"));
    let (request, reply) = (A.echo_request(B, 1, b"x"), B.echo_reply(A, 1, b"x"));
    // The first finds out when both have their ports.
    eventually("a frame", || {
        a.send(&request);
        (b.receive(Duration::from_millis(200)) == Received::Frame(request.clone())).then_some(())
    });
    b.send(&reply);
    a.expect(&reply);
}

#[test]
fn who_does_not_read_its_output_stops_no_switch() {
    let ends: [fn(PipeWriter) -> (Stdio, Stdio); 3] = [
        |full| (Stdio::null(), full.into()),
        |full| (full.into(), Stdio::null()),
        |full| (full.try_clone().expect("a copy").into(), full.into()),
    ];
    for streams in ends {
        let dir = TempDir::new();
        let (mut reader, full) = full_pipe();
        let (stdout, stderr) = streams(full);
        let ports = ["a", "b"].map(|name| format!("unix:{}", dir.text(name)));
        let mut running = Running::start(zbridge!("-p", &ports[0], "-p", &ports[1]), dir, stdout, stderr);
        passes(&running);
        // Each client is logged: more than a pipe holds.
        for _ in 0..1000 {
            drop(std::os::unix::net::UnixStream::connect(running.dir.path("a")).expect("it listens"));
        }
        passes(&running);
        let status = running.status();
        assert!(status.code() == 0 && status.stdout.contains("listening"), "{status:?}");
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.wait().code(), Some(0));
        assert!(!running.dir.path("a").exists(), "its socket is removed");
        let mut text = Vec::new();
        reader.read_to_end(&mut text).expect("what it wrote");
    }
}

/// What was not read in time is counted where it is missing.
#[test]
fn lost_lines_are_counted() {
    let dir = TempDir::new();
    let (mut reader, full) = full_pipe();
    let table = "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"yes 0123456789 | head -n 400000; echo end\"]\n\
                 [[instance]]\nname = \"b\"\ncommand = [\"sh\", \"-c\", \"exec sleep 1000\"]\n";
    let file = dir.file("lab.toml", table);
    let logs = dir.text("logs");
    let mut running = Running::start(zbridge!("up", file, "--logs", &logs), dir, full.into(), Stdio::null());
    let log = running.dir.path("logs/a.log");
    eventually("the whole log, although nobody reads the screen", || {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.lines().count() == 400_001 && text.ends_with("0123456789\nend\n")).then_some(())
    });
    let mut text = Vec::new();
    let mut room = vec![0; 1 << 16];
    // Now somebody reads, and learns of it.
    while !String::from_utf8_lossy(&text).contains("lost here") {
        let count = reader.read(&mut room).expect("what it wrote");
        assert!(count > 0, "it ended without a word");
        text.extend_from_slice(&room[..count]);
    }
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
    let text = String::from_utf8_lossy(&text).into_owned();
    let note = text.lines().find(|line| line.contains("lost here: they were not read in time"));
    let lost: usize = note.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_else(|| panic!("no note"));
    let shown = text.lines().filter(|line| line.ends_with("| 0123456789") || line.ends_with("| end")).count();
    assert!(lost > 0 && shown + lost >= 400_001, "{shown} shown, {lost} lost");
}

#[test]
fn a_bench_ends_whoever_does_not_read() {
    let table = "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"yes | head -c 50000000; sleep 1000\"]\n\
                 [[instance]]\nname = \"b\"\ncommand = [\"sh\", \"-c\", \"exit 3\"]\n";
    let forever = table.replace("exit 3", "exec sleep 1000");
    for (text, words, status) in
        [(table, &["--exit-with", "b"][..], 3), (forever.as_str(), &["--timeout", "1s"], 6), (forever.as_str(), &[], 0)]
    {
        for both in [false, true] {
            let dir = TempDir::new();
            let (_reader, full) = full_pipe();
            let (stdout, stderr) = match both {
                true => (Stdio::from(full.try_clone().expect("a copy")), Stdio::from(full)),
                false => (full.into(), Stdio::null()),
            };
            let file = dir.file("lab.toml", text);
            let logs = dir.text("logs");
            let launch = zbridge!("up", file, "--logs", logs).args(words.iter().copied());
            let mut running = Running::start(launch, dir, stdout, stderr);
            if words.is_empty() {
                eventually("its programs", || running.dir.path("logs/b.log").exists().then_some(()));
                running.signal(rustix::process::Signal::TERM);
            }
            assert_eq!(running.wait().code(), Some(status), "{words:?}");
        }
    }
}

/// A log that is a FIFO without a reader, and one whose reader comes late.
#[test]
fn a_fifo_as_a_log_waits_for_its_reader() {
    require!(needs::tool("mkfifo", "coreutils"));
    let dir = TempDir::new();
    let fifo = dir.text("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let table = format!(
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo hello; exec sleep 1000\"]\nlog = \"{fifo}\"\n\
         ready = \"log hello\"\n"
    );
    let bench = zbridge!("up", dir.file("lab.toml", &table)).spawn();
    bench.wait_for("a: ready", PATIENCE);
    let mut text = [0; 6];
    File::open(&fifo).expect("a FIFO").read_exact(&mut text).expect("its log");
    assert_eq!(&text, b"hello\n");
    bench.sigterm();
    assert_eq!(bench.wait().code(), 0);
}

/// What a program writes with a pause in it is one line for who waits for it.
#[test]
fn a_pause_in_a_line_is_no_end_of_it() {
    let dir = TempDir::new();
    let table = "[[instance]]\nname = \"slow\"\n\
                 command = [\"sh\", \"-c\", \"printf boo; sleep 0.7; printf 'ted OK'; exec sleep 1000\"]\n\
                 ready = \"log ^booted OK$\"\n\
                 [[instance]]\nname = \"long\"\nready = \"log READY\"\n\
                 command = [\"sh\", \"-c\", \"head -c 8188 /dev/zero | tr '\\\\0' x; echo READY; exec sleep 1000\"]\n";
    let bench = zbridge!("up", dir.file("lab.toml", table), "--logs", dir.text("logs")).spawn();
    bench.wait_for("slow: ready", PATIENCE);
    bench.wait_for("long: ready", PATIENCE);
    bench.sigterm();
    assert_eq!(bench.wait().code(), 0);
}

/// timeout(1), sudo and terminals send a signal twice within milliseconds.
#[test]
fn two_signals_at_once_are_one() {
    let dir = TempDir::new();
    let saved = dir.text("saved");
    let table = format!(
        "[[instance]]\nname = \"a\"\nready = \"log up\"\ncommand = [\"sh\", \"-c\", \"trap 'sleep 0.3; echo > {saved}; \
         exit 0' TERM; echo up; while :; do sleep 0.01; done\"]\n"
    );
    let bench = zbridge!("up", dir.file("lab.toml", &table), "--logs", dir.text("logs")).spawn();
    bench.wait_for("a: ready", PATIENCE);
    bench.sigterm();
    bench.sigterm();
    bench.sigint();
    let exit = bench.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(dir.path("saved").exists(), "its instance had its time: {exit:?}");

    let socket = dir.path("net");
    for _ in 0..5 {
        let bridge = zbridge!("-p", format!("unix:{}", socket.display())).ready();
        bridge.sigterm();
        // It may have ended by then.
        let pid = i32::try_from(bridge.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let exit = bridge.wait();
        assert!(exit.code() == 0 && exit.stdout.contains("rx frames"), "its summary is there: {exit:?}");
        assert!(!socket.exists());
    }
}

/// nohup(1), and a shell that starts a command in the background.
#[test]
fn an_ignored_signal_stays_ignored() {
    let dir = TempDir::new();
    let table = "[[instance]]\nname = \"a\"\ncommand = \"sleep 1000\"\n";
    let file = dir.file("lab.toml", table).display().to_string();
    let port = format!("unix:{}", dir.text("net"));
    let ignoring = ["sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh"];
    for words in [vec!["-p", &port], vec!["up", &file, "--logs", dir.root().to_str().expect("text")]] {
        let process = zbridge!().args(words).under(ignoring).spawn();
        process.wait_for("shows it", PATIENCE);
        let caught = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("a process");
        let ignored = caught.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line").trim();
        let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
        assert_eq!(ignored & 0b11, 0b11, "HUP and INT");
        process.sigterm();
        assert_eq!(process.wait().code(), 0);
    }
}

/// Whatever ends a command early, what it made goes with it.
#[test]
fn an_early_end_leaves_nothing_behind() {
    let dir = TempDir::new();
    let table = format!(
        "[[port]]\ntype = \"unix\"\ntarget = \"{}\"\n[[port]]\ntype = \"slip\"\ntarget = \"pipe:{}\"\n\
         [[instance]]\nname = \"a\"\ncommand = \"sleep 3\"\n",
        dir.text("s1"),
        dir.text("ser")
    );
    let file = dir.file("b.toml", &table);
    let exit = zbridge!("up", &file, "--join", "nosuch").run();
    assert_eq!(exit.code(), 3, "{exit:?}");
    assert!(exit.stderr.contains("no bridge named nosuch runs") && !exit.stderr.contains("known"), "{exit:?}");
    let link = format!("{}/link", dir.text("folder"));
    std::os::unix::fs::symlink("nowhere", dir.path("folder")).expect("a link");
    let exit = zbridge!("up", &file, "--logs", &link).run();
    assert!(exit.code() != 0, "{exit:?}");
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let port = format!("unix:{}", dir.text("s1"));
    let ended = zbridge!("-p", &port, "-p", format!("slip:pipe:{}", dir.text("ser"))).command().stdout(full).status();
    assert_eq!(ended.expect("zbridge").code(), Some(1));
    for name in ["s1", "ser.in", "ser.out"] {
        assert!(dir.path(name).symlink_metadata().is_err(), "{name} is still there");
    }
}

/// `check` finds what `up` would.
#[test]
fn a_check_finds_what_a_start_would() {
    let dir = TempDir::new();
    let check = |text: &str| zbridge!("check", dir.file("w.toml", text)).run();
    let table = |name: &str, rest: &str| format!("[[instance]]\nname = \"{name}\"\ncommand = \"x\"\n{rest}\n");
    let long = check(&table("a", "").replace("\"x\"", &format!("\"{}\"", "x".repeat(70_000))));
    assert_eq!(long.code(), 0, "its program is looked for in vain");
    let twice = check(&[table("a", "log = \"/tmp/x.log\""), table("b", "log = \"/tmp/./x.log\"")].concat());
    assert!(twice.code() == 2 && twice.stderr.contains("instances a and b have one log"), "{twice:?}");
    let nowhere = check(&table("a", "cwd = \"/no/where\""));
    assert!(nowhere.code() == 4 && nowhere.stderr.contains("there is no folder /no/where"), "{nowhere:?}");
    let unbuilt = check(&table("a", "").replace("\"x\"", "\"./zephyr/zephyr.exe\""));
    let looked = format!("{}/zephyr/zephyr.exe is not there", std::env::current_dir().expect("a folder").display());
    assert!(unbuilt.code() == 0 && unbuilt.stdout.contains("instances"), "it may still be built: {unbuilt:?}");
    assert!(
        unbuilt.stderr.contains(&looked) && unbuilt.stderr.contains("hint: a relative path counts from"),
        "{unbuilt:?}"
    );
    let typo = check("[[port]]\ntype = \"tap\"\n\ntargt = \"zeth0\"\n");
    let says = "w.toml:4: unknown key \"targt\"; the nearest is \"target\"";
    assert!(typo.code() == 2 && typo.stderr.contains(says), "{typo:?}");
    let json = |text: &str| zbridge!("check", "--json", dir.file("w.toml", text)).run();
    let odd = json(&table("a", ""));
    let starts = r#"{"ok":true,"warnings":[{"class":"no-object","what":"instance a: x: there is no such program in PATH","errno":2}]"#;
    assert!(odd.code() == 0 && odd.stdout.starts_with(starts), "{odd:?}");
    assert!(
        odd.stdout.contains(r#""instances":[{"name":"a","switch":"default","command":["x"],"after":[]}]"#),
        "{odd:?}"
    );
    let wrong = json("[[port]]\n");
    assert!(
        wrong.code() == 2 && wrong.stdout.starts_with(r#"{"ok":false,"error":{"class":"usage","what":""#),
        "{wrong:?}"
    );
    let endless = zbridge!("check", "/dev/zero").run();
    assert!(endless.code() == 2 && endless.stderr.contains("/dev/zero: it is no file"), "{endless:?}");
}
