//! At a terminal. `zbridge run`: keys, job control of the shell inside and of the shell outside, and who has the terminal
//! in the end. A bridge and a bench: what they say behind a key.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Launch, PATIENCE, TempDir, needs, require, zbridge};

/// A program at a terminal of its own, and the person before it.
struct Terminal {
    master: File,
    child: Child,
    /// All that the screen has shown, and where the last wait ended.
    shown: String,
    seen: usize,
}

impl Terminal {
    /// Starts what `launch` says, which has to begin with `setsid -c -w`.
    fn open(launch: &Launch) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let child = launch.command().stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { master: master.into(), child, shown: String::new(), seen: 0 }
    }

    /// Reads what is shown until it has `text` in it, behind what the last wait has found.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} is not behind {:?}", self.shown);
            assert!(self.read(), "{text:?} is not in {:?}", self.shown);
        }
    }

    /// Reads what has come within a moment. False at the end.
    fn read(&mut self) -> bool {
        let mut asked = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut asked, Some(&Timespec::try_from(Duration::from_millis(200)).unwrap())).unwrap() == 0 {
            return true;
        }
        let mut room = [0; 4096];
        match self.master.read(&mut room) {
            Ok(len) if len > 0 => self.shown.push_str(&String::from_utf8_lossy(&room[..len])),
            _ => return false,
        }
        true
    }

    /// Types.
    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line that a shell answers with what it `shows`.
    fn line(&mut self, line: &str, shows: &str) {
        self.keys(&format!("{line}\n"));
        self.wait_for(shows);
    }

    /// The program's exit status, in the end.
    fn end(mut self) -> Option<i32> {
        while self.read() && self.child.try_wait().unwrap().is_none() {}
        self.child.wait().unwrap().code()
    }
}

fn machine() -> needs::Need {
    needs::root()?;
    needs::tun()?;
    needs::tool("setsid", "util-linux")?;
    needs::tool("perl", "perl-base")?;
    needs::tool("bash", "bash")
}

const SESSION: [&str; 3] = ["setsid", "-c", "-w"];
const SHELL: [&str; 4] = ["bash", "--norc", "--noprofile", "-i"];

/// A command that says so when it runs, and when it runs on.
const SLEEP: &str = "perl -e '$| = 1; $SIG{CONT} = sub { print qq(on\\n) }; print qq(now\\n); sleep 9 while 1'";

#[test]
fn a_shell_inside_controls_its_jobs() {
    require!(machine());
    let dir = TempDir::new();
    let shell = zbridge!("run", "--host", "192.0.2.9/24", "--").args(SHELL).env("PS1", "$ ").env("TERM", "dumb");
    let mut at = Terminal::open(&shell.under(SESSION).as_nobody_with_tun(&dir));
    at.wait_for("$ ");
    at.line(SLEEP, "now\r\n");
    at.keys("\x03");
    at.wait_for("$ ");
    at.line("echo status $?", "status 130\r\n$ ");
    at.line(SLEEP, "now\r\n");
    at.keys("\x1a");
    at.wait_for("Stopped");
    at.wait_for("$ ");
    at.line("jobs", "Stopped");
    at.wait_for("$ ");
    at.line("fg", "on\r\n");
    at.keys("\x03");
    at.wait_for("$ ");
    at.line("echo status $?", "status 130\r\n$ ");
    at.keys("exit 5\n");
    assert_eq!(at.end(), Some(5));
}

#[test]
fn a_shell_outside_controls_zbridge_as_one_job() {
    require!(machine());
    let dir = TempDir::new();
    // so that the shell has it where every user can run it
    let zbridge = zbridge!().as_nobody_with_tun(&dir).command();
    let zbridge = zbridge.get_args().last().unwrap().to_str().unwrap().to_owned();
    let shell = Launch::new("/bin/bash").args(&SHELL[1..]).env("PS1", "$ ").env("TERM", "dumb").under(SESSION);
    let mut at = Terminal::open(&shell);
    at.wait_for("$ ");
    at.line(&format!("{zbridge} run -- {SLEEP}"), "now\r\n");
    at.keys("\x1a");
    at.wait_for("Stopped");
    at.wait_for("$ ");
    at.line("fg", "on\r\n");
    at.keys("\x03");
    at.wait_for("$ ");
    at.line("echo status $?", "status 130\r\n$ ");
    // a shell that was the program cannot give the terminal back: zbridge does
    at.line(&format!("{zbridge} run -- bash --norc -c 'set -m; sleep 0.1; exit 6'"), "\r\n$ ");
    at.line("echo status $?", "status 6\r\n$ ");
    at.line(&format!("echo typed | {zbridge} run -- cat | cat"), "typed\r\n");
    at.keys("exit 0\n");
    assert_eq!(at.end(), Some(0));
}

/// `^C` is shown where the cursor was; what is said then begins a line.
#[test]
fn the_key_that_ends_it_stands_alone() {
    require!(needs::tool("setsid", "util-linux"));
    let dir = TempDir::new();
    let bench =
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"echo up; exec sleep 100\"]\nready = \"log up\"\n";
    let bench = dir.file("lab.toml", format!("port = [\"unix:{}\"]\n{bench}", dir.text("net")));
    let cases = [
        (zbridge!("-p", format!("unix:{}", dir.text("net"))), "to attach", "^C\r\nport  kind"),
        (zbridge!("up", bench, "--logs", dir.text("logs")), "a: ready", "^C\r\nstopping in order"),
    ];
    for (launch, begun, says) in cases {
        let mut at = Terminal::open(&launch.env("XDG_RUNTIME_DIR", dir.root()).under(SESSION));
        at.wait_for(begun);
        at.keys("\x03");
        at.wait_for(says);
        assert_eq!(at.end(), Some(0));
    }
}

#[test]
fn a_key_reaches_a_program_once() {
    require!(machine());
    let dir = TempDir::new();
    let script = "trap 'echo got' INT; echo ready; for n in 1 2 3 4 5 6; do sleep 0.2; done; exit 4";
    let program = zbridge!("run", "--", "bash", "-c", script).under(SESSION).as_nobody_with_tun(&dir);
    let mut at = Terminal::open(&program);
    at.wait_for("ready");
    at.keys("\x03");
    at.wait_for("got");
    let seen = at.seen;
    while at.read() && at.child.try_wait().unwrap().is_none() {}
    assert!(!at.shown[seen..].contains("got"), "{:?}", at.shown);
    assert_eq!(at.end(), Some(4));
}
