//! `zbridge top` at a terminal: keys, what is on the screen then, and what the terminal gets back, however it ends.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, zbridge};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// `zbridge top` at a terminal of its own, whose screen a terminal emulator keeps.
struct Top {
    master: File,
    /// Kept open, so that what the terminal was set to can be seen after the end.
    slave: File,
    child: Child,
    screen: vt100::Parser,
    /// All that was written.
    written: Vec<u8>,
}

impl Top {
    fn open(dir: &TempDir, environment: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).and_then(|()| unlockpt(&master)).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        tcsetwinsize(&master, size(24, 80)).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut launch = zbridge!("top").env("XDG_RUNTIME_DIR", dir.root()).env("TERM", "xterm");
        for (name, value) in environment {
            launch = launch.env(*name, *value);
        }
        let mut command = launch.command();
        command.current_dir(dir.root()).stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let screen = vt100::Parser::new(cells(24), cells(80), 0);
        Self { master: master.into(), slave, child, screen, written: Vec::new() }
    }

    /// Waits until the screen has this text, and gives all of it.
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.screen.screen().contents();
            if shown.contains(text) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{text:?} is not on the screen:\n{shown}");
            self.read();
        }
    }

    /// Reads what has come within a moment. False: nothing has.
    fn read(&mut self) -> bool {
        let mut asked = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut asked, Some(&Timespec::try_from(Duration::from_millis(50)).unwrap())).unwrap() == 0 {
            return false;
        }
        let mut room = [0; 4096];
        let count = self.master.read(&mut room).unwrap_or(0);
        self.written.extend_from_slice(&room[..count]);
        self.screen.process(&room[..count]);
        count > 0
    }

    fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// The terminal has another size from now on.
    fn resize(&mut self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The end: its status, or the signal that ended it. The terminal is as it was: a line editor again, on its usual
    /// screen, with a cursor.
    fn end(mut self) -> (Option<i32>, Option<i32>, String) {
        let status = eventually("it ends", || {
            self.read();
            self.child.try_wait().unwrap()
        });
        while self.read() {}
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        (status.code(), status.signal(), screen.contents())
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A bridge with the ports left and right.
fn bridge(dir: &TempDir) -> Process {
    let ports = ["left", "right"].map(|name| format!("unix:{}", dir.text(name)));
    zbridge!("-p", &ports[0], "-p", &ports[1]).env("XDG_RUNTIME_DIR", dir.root()).ready()
}

#[test]
fn ports_stations_and_events_are_shown_as_they_come() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    let screen = top.shows("listening");
    assert!(screen.starts_with("zbridge default  pid "), "{screen}");
    let (mut a, mut b) = (StreamPeer::unix(dir.path("left")), StreamPeer::unix(dir.path("right")));
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    top.shows("02:00:");
    top.shows("left: up, was");
    b.send(&B.arp_reply(A));
    a.expect(&B.arp_reply(A));
    top.shows("1 switch  2 ports, 2 clients  2 stations");
    top.keys("?");
    top.shows("any one closes this");
    top.keys("x");
    // A filter that only the right one meets.
    top.keys("/right\r");
    let screen = top.shows("filter right");
    let ports = |screen: &str| {
        let is_port = |line: &&str| {
            let line = line.trim_start_matches(['>', '!', '*', ' ']);
            line.starts_with("left  ") || line.starts_with("right  ")
        };
        screen.lines().filter(is_port).count()
    };
    assert_eq!(ports(&screen), 1, "{screen}");
    top.keys("\x1b");
    eventually("both are there again", || {
        top.read();
        (ports(&top.screen.screen().contents()) == 2).then_some(())
    });
    // Another size.
    tcsetwinsize(&top.master, size(40, 120)).unwrap();
    top.screen.screen_mut().set_size(cells(40), cells(120));
    kill_process(top.pid(), Signal::WINCH).unwrap();
    top.shows("peer ");
    top.keys("q");
    assert_eq!(top.end().0, Some(0));
}

#[test]
fn a_port_is_captured_and_removed_and_comes_back() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let status = || zbridge!("status").env("XDG_RUNTIME_DIR", dir.root()).run().stdout;
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    top.keys("j");
    top.keys("c");
    top.shows("right is captured into ");
    let (mut a, mut b) = (StreamPeer::unix(dir.path("left")), StreamPeer::unix(dir.path("right")));
    passes(&mut a, &mut b);
    drop((a, b));
    top.keys("c");
    top.shows(" bytes captured");
    let file = std::fs::read_dir(dir.root()).unwrap().flatten().map(|entry| entry.path());
    let file = file.into_iter().find(|path| path.extension().is_some_and(|ends| ends == "pcapng")).expect("a file");
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section header");
    assert!(bytes.windows(6).any(|at| at == A.mac), "the frame is in it");
    // Removed only after a yes, and added again as it was.
    top.keys("d");
    top.shows("remove right from the bridge?");
    top.keys("n");
    top.shows("right stays");
    top.keys("d");
    top.shows("remove right from the bridge?");
    top.keys("y");
    top.shows("right is removed");
    eventually("it is gone", || (!status().contains(&dir.text("right"))).then_some(()));
    top.keys("u");
    top.shows("right is back");
    eventually("it listens", || status().contains(&dir.text("right")).then_some(()));
    top.keys("\x03");
    let (code, _, screen) = top.end();
    assert_eq!(code, Some(0));
    assert!(screen.contains(".pcapng: ") && screen.contains("bytes captured"), "{screen}");
}

/// A shell's job control: the terminal is the shell's while the view is stopped.
#[test]
fn a_stopped_view_gives_the_terminal_back_until_it_goes_on() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    for stop in [|top: &mut Top| top.keys("\x1a"), |top: &mut Top| kill_process(top.pid(), Signal::TSTP).unwrap()] {
        top.shows("listening");
        assert!(top.screen.screen().alternate_screen());
        stop(&mut top);
        let state = format!("/proc/{}/stat", top.pid().as_raw_nonzero());
        eventually("it is stopped", || {
            top.read();
            std::fs::read_to_string(&state).unwrap().contains(") T ").then_some(())
        });
        while top.read() {}
        let modes = tcgetattr(&top.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
        assert!(!top.screen.screen().alternate_screen() && !top.screen.screen().hide_cursor());
        kill_process(top.pid(), Signal::CONT).unwrap();
    }
    top.shows("listening");
    top.keys("q");
    assert_eq!(top.end().0, Some(0));
}

/// Sends a frame of A and waits for it at the other end.
fn passes(from: &mut StreamPeer, to: &mut StreamPeer) {
    let frame = A.arp_request(B.ip);
    // The first finds out when both have their ports.
    eventually("a frame", || {
        from.send(&frame);
        (to.receive(Duration::from_millis(200)) == Received::Frame(frame.clone())).then_some(())
    });
}

#[test]
fn a_bridge_that_ends_is_said_so_and_found_again() {
    let dir = TempDir::new();
    let first = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    first.sigterm();
    first.wait();
    top.shows("GONE");
    let second = bridge(&dir);
    top.shows("the bridge is there again");
    drop(second);
    top.shows("GONE");
    top.keys("q");
    let (code, _, screen) = top.end();
    assert_eq!(code, Some(3), "{screen}");
    assert!(screen.contains("error: "), "{screen}");
}

#[test]
fn signals_end_it_and_the_terminal_is_as_before() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut top = Top::open(&dir, &[]);
        top.shows("listening");
        kill_process(top.pid(), signal).unwrap();
        let (_, by, _) = top.end();
        assert_eq!(by, Some(signal.as_raw()));
    }
}

#[test]
fn it_ends_when_its_terminal_is_gone() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    top.slave = File::open("/dev/null").unwrap();
    top.master = File::open("/dev/null").unwrap();
    // It has no controlling terminal, so that no signal tells it.
    let status = eventually("it ends", || top.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_signal_ends_it_while_nobody_reads_the_terminal_or_the_bridge_hangs() {
    let dir = TempDir::new();
    let bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    // Pictures until the terminal takes no more.
    for turn in 0..15 {
        top.resize(400, 900 + turn);
        std::thread::sleep(Duration::from_millis(150));
    }
    kill_process(top.pid(), Signal::TERM).unwrap();
    let status = eventually("it ends", || top.child.try_wait().unwrap());
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    let modes = tcgetattr(&top.slave).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    // A capture is begun at a bridge that is stopped.
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    let bridge = Stopped::new(bridge.pid());
    top.keys("c");
    let began = Instant::now();
    kill_process(top.pid(), Signal::TERM).unwrap();
    assert_eq!(top.end().1, Some(Signal::TERM.as_raw()));
    // Well below the time that the bridge had to answer; mostly it is 0.6 seconds.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    drop(bridge);
}

/// A process that is stopped for a while.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn a_bridge_that_does_not_answer_is_waited_for() {
    let dir = TempDir::new();
    let bridge = bridge(&dir);
    let stopped = Stopped::new(bridge.pid());
    let mut top = Top::open(&dir, &[]);
    top.shows("WAITING for the bridge");
    top.keys("q");
    let (code, _, screen) = top.end();
    assert_eq!(code, Some(1));
    assert!(screen.contains("has not answered"), "{screen}");
    let mut top = Top::open(&dir, &[]);
    top.shows("zbridge default  WAITING for the bridge");
    drop(stopped);
    top.shows("listening");
    top.keys("q");
    assert_eq!(top.end().0, Some(0));
}

#[test]
fn pasted_text_is_no_keys() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    top.keys("\x1b[200~ycdq\rdy\x1b[201~");
    let screen = top.shows("pasted text is for the filter only");
    assert!(!screen.contains("remove"), "{screen}");
    top.keys("/\x1b[200~rig\x1b[201~ht\r");
    top.shows("filter right");
    // A terminal that marks no paste; and all of it is read at once.
    top.keys("\x1b?");
    top.shows("any one closes this");
    top.keys("x");
    eventually("the help is closed", || {
        top.read();
        (!top.screen.screen().contents().contains("any one closes this")).then_some(())
    });
    top.keys(&"dcjy".repeat(800));
    let screen = top.shows("pasted text is for the filter only");
    assert!(!screen.contains("remove"), "{screen}");
    std::thread::sleep(Duration::from_millis(500));
    top.keys("d");
    top.shows("remove right from the bridge?");
    top.keys("n");
    top.shows("right stays");
    // A broken sequence holds up nothing.
    top.keys("\x1b[12");
    std::thread::sleep(Duration::from_millis(500));
    top.keys("q");
    assert_eq!(top.end().0, Some(0));
    assert!(!std::fs::read_dir(dir.root()).unwrap().flatten().any(|it| it.path().ends_with("pcapng")));
}

#[test]
fn a_terminal_that_claims_any_size_is_drawn_at() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    let mut top = Top::open(&dir, &[]);
    top.shows("listening");
    for (rows, columns) in [(65535, 60), (65535, 65535), (1, 65535), (0, 0), (1, 1), (24, 80)] {
        let before = top.written.len();
        top.resize(rows, columns);
        eventually("it is drawn anew", || {
            top.read();
            let new = &top.written[before..];
            new.windows(4).any(|bytes| bytes == b"\x1b[2J").then_some(())
        });
    }
    top.keys("q");
    assert_eq!(top.end().0, Some(0));
}

#[test]
fn without_colours_and_without_a_terminal() {
    let dir = TempDir::new();
    let _bridge = bridge(&dir);
    for (environment, coloured) in [(&[("NO_COLOR", "1")][..], false), (&[][..], true)] {
        let mut top = Top::open(&dir, environment);
        top.shows("listening");
        top.keys("q");
        while top.child.try_wait().unwrap().is_none() {
            top.read();
        }
        // SGR 30 to 38, alone or among others.
        let text = String::from_utf8_lossy(&top.written).into_owned();
        let has = text.split("\x1b[").skip(1).filter_map(|it| it.split_once('m')).any(|(codes, _)| {
            codes.split(';').any(|code| code.parse().is_ok_and(|code: u32| (30..=38).contains(&code) || code > 89))
        });
        assert_eq!(has, coloured, "{text:?}");
    }
    let refused = zbridge!("top").env("XDG_RUNTIME_DIR", dir.root()).run();
    assert_eq!(refused.code(), 2);
    assert!(refused.stderr.contains("top needs a terminal"), "{}", refused.stderr);
    let none = TempDir::new();
    assert_eq!(zbridge!("top").env("XDG_RUNTIME_DIR", none.root()).run().code(), 3, "no bridge runs");
}
