//! A program under test: started, watched line by line, signalled, waited for.
//!
//! Two threads read its stdout and stderr for as long as it has them open, so it never blocks on a full pipe. Its
//! lines are kept in one place under a lock, and [`Process::wait_for`] sleeps on it until the line it wants is there.

use crate::{Namespace, PATIENCE, TempDir, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where a user's programs keep their sockets (XDG Base Directory Specification).
const RUN_DIRECTORY: &str = "XDG_RUNTIME_DIR";
/// The user and the group without any right.
const NOBODY: u32 = 65534;

/// A program about to be started.
#[derive(Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    namespace: Option<String>,
    wrapper: Vec<OsString>,
    apart: bool,
    nobody: bool,
}

impl Launch {
    /// Will start `program`. For zbridge itself there is [`zbridge!`](crate::zbridge!).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            namespace: None,
            wrapper: Vec::new(),
            apart: false,
            nobody: false,
        }
    }

    /// With a run directory (`XDG_RUNTIME_DIR`) of its own, unless it is given one: bridges that share one take each
    /// other's names and ask each other whether they live, and tests run side by side.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// With `name` in its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Inside a network namespace.
    #[must_use]
    pub fn inside(self, namespace: &Namespace) -> Self {
        self.inside_named(namespace.name())
    }

    /// Inside the network namespace `name`.
    #[must_use]
    pub(crate) fn inside_named(mut self, name: &str) -> Self {
        self.namespace = Some(name.to_owned());
        self
    }

    /// Through another program, which replaces itself by it at last: `setpriv …`, `unshare …`.
    #[must_use]
    pub fn under<A: Into<OsString>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Self {
        self.wrapper.extend(wrapper.into_iter().map(Into::into));
        self
    }

    /// As an ordinary user with no rights and no groups. The program is copied to `dir`, where that user can reach it,
    /// wherever it was built.
    #[must_use]
    pub fn as_nobody(mut self, dir: &TempDir) -> Self {
        let open = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode in the test's folder");
        };
        let copy = dir.path("program");
        if !copy.exists() {
            // by another process: what this one has open for writing may be open in children it is just starting, and
            // such a file cannot be run
            let copied = Command::new("cp").args([&self.program, &copy]).status();
            assert!(copied.is_ok_and(|status| status.success()), "room for a copy of the program");
            open(&copy, 0o755);
            open(dir.root(), 0o777);
        }
        self.program = copy;
        self.nobody = true;
        self.under(["setpriv", &format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"])
    }

    /// The same, with a /dev/net/tun that every user may open, as udev has it on an ordinary machine. Needs root.
    #[must_use]
    pub fn as_nobody_with_tun(self, dir: &TempDir) -> Self {
        let device = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";
        self.under(["unshare", "-m", "sh", "-c", device, "sh"]).as_nobody(dir)
    }

    /// The command, with nothing said of its standard streams yet.
    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(name) = &self.namespace {
            // ip replaces itself by the program, so that the process id is the program's
            words.extend(["ip", "netns", "exec", name].map(OsString::from));
        }
        words.extend(self.wrapper.iter().cloned());
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits for the first it says on stdout: a program that is ready says so there.
    ///
    /// # Panics
    /// If it ends before.
    pub fn ready(self) -> Process {
        let mut process = self.spawn();
        eventually("the program's first line", || {
            let running = process.is_running();
            let ready = !process.stdout().is_empty();
            assert!(running || ready, "{}: ended at its start", process.program.display());
            ready.then_some(())
        });
        process
    }

    /// Starts it, with nothing on its stdin.
    pub fn spawn(self) -> Process {
        let given = self.env.iter().rev().find(|(name, _)| name == RUN_DIRECTORY).map(|(_, value)| value.clone());
        let own = (self.apart && given.is_none()).then(TempDir::new);
        let mut command = self.command();
        if let Some(dir) = &own {
            if self.nobody {
                chown(dir.root(), Some(NOBODY), Some(NOBODY)).expect("a folder for another user");
            }
            command.env(RUN_DIRECTORY, dir.root());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        let lines = Arc::new(Lines::default());
        collect(child.stdout.take().expect("piped"), Stream::Out, &lines);
        collect(child.stderr.take().expect("piped"), Stream::Err, &lines);
        let run_directory = own.as_ref().map(|dir| dir.root().into()).or(given);
        Process { program: self.program, child, lines, ended: None, run_directory, _own: own }
    }

    /// Starts it and waits for its end: for commands that end by themselves.
    pub fn run(self) -> Exit {
        self.spawn().wait()
    }

    /// The same for a command that takes its time.
    pub fn run_within(self, time: Duration) -> Exit {
        self.spawn().wait_within(time)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stream {
    Out,
    Err,
}

/// All lines so far, in the order in which they came, and how many streams still may bring more.
#[derive(Default, Debug)]
struct Lines {
    state: Mutex<(Vec<(Stream, String)>, usize)>,
    grown: Condvar,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, (Vec<(Stream, String)>, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads `pipe` into `lines` until its end, on a thread of its own.
fn collect(pipe: impl Read + Send + 'static, stream: Stream, lines: &Arc<Lines>) {
    lines.lock().1 += 1;
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            lines.lock().0.push((stream, String::from_utf8_lossy(&line).into_owned()));
            lines.grown.notify_all();
        }
        lines.lock().1 -= 1;
        lines.grown.notify_all();
    });
}

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status, or the signal that ended it.
    pub status: ExitStatus,
    /// All it wrote to stdout.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl Exit {
    /// The exit status.
    ///
    /// # Panics
    /// If a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }
}

/// A running program. Killed on drop; in a panic its output is shown first.
#[derive(Debug)]
pub struct Process {
    program: PathBuf,
    child: Child,
    lines: Arc<Lines>,
    ended: Option<ExitStatus>,
    run_directory: Option<OsString>,
    _own: Option<TempDir>,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of its output, of either stream and from its start, has `text` in it, and gives that line.
    ///
    /// # Panics
    /// After `timeout`, or when the program ends without it.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> String {
        self.wait_for_nth(text, 1, timeout)
    }

    /// The address of the first listener of `tcp:` on 127.0.0.1, which took a free port: its attach line names it.
    ///
    /// # Panics
    /// If there is no such line.
    pub fn tcp_address(&self) -> SocketAddr {
        let line = self.wait_for("addr.port=", PATIENCE);
        let digits =
            line.split("addr.port=").nth(1).and_then(|rest| rest.split(|char: char| !char.is_ascii_digit()).next());
        let port: u16 = digits.and_then(|digits| digits.parse().ok()).expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// The same for the `nth` such line, counted from 1: for what happens again.
    pub fn wait_for_nth(&self, text: &str, nth: usize, timeout: Duration) -> String {
        let deadline = Instant::now() + timeout;
        let mut state = self.lines.lock();
        loop {
            let mut found = state.0.iter().filter(|(_, line)| line.contains(text));
            if let Some((_, line)) = found.nth(nth.saturating_sub(1)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(state.1 > 0, "{}: ended without {text:?} ({nth})", self.program.display());
            assert!(!left.is_zero(), "{}: no {text:?} ({nth}) in {timeout:?}", self.program.display());
            state = self.lines.grown.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.written(Stream::Out)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.written(Stream::Err)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("wait for a child");
        }
        self.ended.is_none()
    }

    /// What a bridge in its run directory answers to `zbridge status`.
    ///
    /// # Panics
    /// If none answers, or the directory is not known.
    pub fn status(&self) -> String {
        let directory = self.run_directory.clone().expect("a run directory");
        let exit = Launch::new(&self.program).arg("status").env(RUN_DIRECTORY, directory).run();
        assert_eq!(exit.code(), 0, "{exit:?}");
        exit.stdout
    }

    /// Frames that the port `name` and its clients have dropped for `reason` until now, by the cell of its row in the
    /// status that says it: `3 (no-egress 1, link-down 2)`. A listener's row stands for its clients.
    pub fn dropped_as(&self, name: &str, reason: &str) -> u64 {
        let status = self.status();
        let rows = status.lines().map(|row| row.split("  ").map(str::trim));
        let of_port = |first: &str| first == name;
        let cells = rows.filter(|row| row.clone().next().is_some_and(of_port)).flatten();
        let reasons = cells.filter_map(|cell| {
            let (count, reasons) = cell.strip_suffix(')')?.split_once(" (")?;
            count.parse::<u64>().is_ok().then_some(reasons)
        });
        let counts = reasons.flat_map(|reasons| reasons.split(", ")).filter_map(|counted| counted.rsplit_once(' '));
        counts.filter(|(told, _)| *told == reason).map(|(_, count)| count.parse::<u64>().expect("a number")).sum()
    }

    /// Processor time that it has had, in hundredths of a second (proc_pid_stat(5), utime and stime).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = self.told_by_the_kernel("stat");
        let fields = stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Memory that it has, in KiB (proc_pid_status(5), VmRSS).
    pub fn resident_kib(&self) -> u64 {
        let status = self.told_by_the_kernel("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a process that runs").count()
    }

    fn told_by_the_kernel(&self, what: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{what}", self.pid())).expect("a process that runs")
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Asks it to end, as a service manager does.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGHUP: a bridge with a file reads it again.
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops it from running (SIGSTOP): a peer that hangs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run again after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.ended = Some(self.child.wait().expect("wait for a child"));
    }

    /// Waits for its end, for at most [`PATIENCE`].
    ///
    /// # Panics
    /// If it still runs then.
    pub fn wait(self) -> Exit {
        self.wait_within(PATIENCE)
    }

    /// The same, for at most `time`.
    ///
    /// # Panics
    /// If it still runs then.
    pub fn wait_within(mut self, time: Duration) -> Exit {
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < time, "{}: still runs after {time:?}", self.program.display());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.drain();
        let status = self.ended.expect("it has ended");
        Exit { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Waits for the last lines of a program that has ended. A child of its own may hold the pipes open for longer;
    /// then what there is must do.
    fn drain(&self) {
        let state = self.lines.lock();
        drop(self.lines.grown.wait_timeout_while(state, Duration::from_secs(2), |state| state.1 > 0));
    }

    fn signal(&self, signal: Signal) {
        // once it was waited for, its process id may be another's
        assert!(self.ended.is_none(), "{}: has ended", self.program.display());
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
    }

    fn written(&self, stream: Stream) -> String {
        let state = self.lines.lock();
        state.0.iter().filter(|(from, _)| *from == stream).map(|(_, line)| format!("{line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // both fail only if it has just ended
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let program = self.program.display();
            eprintln!("--- {program}: stdout\n{}--- {program}: stderr\n{}---", self.stdout(), self.stderr());
        }
    }
}
