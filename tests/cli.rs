//! What a person meets first: help, start lines, summary, exit statuses, the file, the demonstration.

use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;
use support::{Exit, Launch, PATIENCE, Peer, Process, Station, StreamPeer, Summary, TempDir, frame, needs, require};
use support::{eventually, zbridge};
use zbridge::wire::Mac;

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// Connects a client to `path`, whose port's name is that of the file, and waits until it has its port.
fn join(zbridge: &Process, path: &Path) -> StreamPeer {
    let peer = StreamPeer::unix(path);
    let name = path.file_name().unwrap().to_str().unwrap();
    zbridge.wait_for(&format!("{name}#1: connected"), PATIENCE);
    peer
}

fn ended(exit: &Exit, code: i32, says: &str) {
    assert_eq!(exit.code(), code, "{exit:?}");
    assert!(exit.stderr.contains(says), "{says:?} is not in {}", exit.stderr);
}

#[test]
fn help_ports_and_manual_name_every_kind() {
    let kinds = ["tap:NAME", "unix:PATH", "unixgram:PATH", "unixseq:PATH", "tcp:HOST:PORT", "packet:IFNAME"];
    let pages = [zbridge!("--help").run(), zbridge!("ports").run(), zbridge!("man").run()];
    for (page, kind) in pages.iter().flat_map(|page| kinds.map(|kind| (page, kind))) {
        assert_eq!(page.code(), 0);
        assert!(page.stdout.contains(kind), "{kind} is not in {}", page.stdout);
    }
    assert!(pages[2].stdout.contains(".TH"), "a page for man(1)");
    let one = zbridge!("ports", "unixgram").run().stdout;
    assert!(one.contains("peer=PATH") && one.contains("queue=FRAMES") && !one.contains("tap:NAME"), "{one}");
    assert!(one.contains("$ zbridge --port unixgram:"), "an example: {one}");
    let version = zbridge!("--version").run();
    assert_eq!((version.code(), version.stdout.trim()), (0, concat!("zbridge ", env!("CARGO_PKG_VERSION"))));
}

/// A shell offers what is there now: commands, bridges that run, their ports, states.
#[test]
fn completions_complete() {
    require!(needs::tool("bash", "bash"));
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("inst7"));
    let _bridge = zbridge!("--name", "bench7", "-p", port).env("XDG_RUNTIME_DIR", dir.root()).ready();
    let script = dir.file("completion", zbridge!("completions", "bash").run().stdout);
    let program = Path::new(env!("CARGO_BIN_EXE_zbridge")).parent().unwrap();
    let offered = |line: &str| {
        // bash makes a word of each = and :
        let apart = line.replace('=', " = ").replace(':', " : ");
        let words: Vec<&str> = apart.split_ascii_whitespace().collect();
        let (open, last) = if line.ends_with(' ') { ("''", words.len()) } else { ("", words.len() - 1) };
        let ask = format!(
            "PATH={}:$PATH; source {}; COMP_WORDS=({apart} {open}) COMP_CWORD={last} COMP_LINE='{line}' \
             COMP_POINT={} COMP_TYPE=9; _zbridge; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            program.display(),
            script.display(),
            line.len(),
        );
        let asked = Launch::new("bash").args(["-c", &ask]).env("XDG_RUNTIME_DIR", dir.root()).run();
        asked.stdout.lines().map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered("zbridge com"), ["completions"]);
    assert_eq!(offered("zbridge status be"), ["bench7"]);
    assert_eq!(offered("zbridge run --join b"), ["bench7"]);
    assert_eq!(offered("zbridge port del i"), ["inst7"]);
    assert_eq!(offered("zbridge wait port=i"), ["inst7"]);
    assert_eq!(offered("zbridge wait port="), ["inst7"]);
    let here = dir.root().display();
    assert_eq!(offered(&format!("zbridge --port unix:{here}/in")), [format!("{here}/inst7")]);
    assert_eq!(offered("zbridge --port usbip:192.0.2.1/24,device=hid-m"), ["hid-mouse"]);
    assert_eq!(offered("zbridge --port usbip:192.0.2.1/24,device=hid-mouse,device=l"), ["loopback"]);
    assert_eq!(offered(&format!("zbridge run -- {here}/compl")), [format!("{here}/completion")]);
    assert_eq!(offered("zbridge run --join bench7 --switch "), ["default"]);
    let bench = dir.file("lab.toml", "[[instance]]\nname = \"inst9\"\ncommand = \"x\"\n");
    assert_eq!(offered(&format!("zbridge up {} --exit-with i", bench.display())), ["inst9"]);
    assert_eq!(offered("zbridge wait port=inst7 l"), ["listening"]);
    assert_eq!(offered("zbridge ports n"), ["nat"]);
    assert_eq!(offered("zbridge help tr"), ["trace", "trouble"]);
    for shell in ["zsh", "fish"] {
        assert!(zbridge!("completions", shell).run().stdout.contains("ZBRIDGE_COMPLETE"), "{shell}");
    }
    ended(&zbridge!("completions", "csh").run(), 2, "there are some for bash");
}

/// A mistyped option of `run` is not a program.
#[test]
fn an_unknown_option_of_run_is_named() {
    let exit = zbridge!("run", "--hots", "192.0.2.9/24", "--", "true").run();
    ended(&exit, 2, "zbridge run has no option --hots; the nearest is \"--host\"");
    ended(&zbridge!("run", "--", "--joim=lab", "true").run(), 2, "the nearest is \"--join\"");
}

#[test]
fn help_is_by_topic_and_by_command() {
    let topics = zbridge!("help").run().stdout;
    assert!(topics.contains("gateway") && topics.contains("trouble"), "{topics}");
    assert!(zbridge!("help", "copies").run().stdout.contains("Copies of one image"));
    assert!(zbridge!("help", "wait").run().stdout.contains("--timeout <TIME>"));
    for verb in ["extcap", "stations", "wait", "port"] {
        let help = zbridge!("help", verb).run();
        assert!(help.stdout.contains(&format!("Usage: zbridge {verb}")), "{}", help.stdout);
        assert!(help.stdout.lines().all(|line| line.chars().count() <= 80), "{}", help.stdout);
    }
    ended(&zbridge!("help", "gatway").run(), 2, "the nearest is \"gateway\"");
}

/// The status tells whose fault it was; the message what, where, and what to do.
#[test]
fn statuses_and_messages() {
    let dir = TempDir::new();
    let path = |name: &str| dir.text(name);
    dir.file("file", "precious");
    let broken = dir.file("lab.toml", "port = [\n  \"unix:/tmp/a\",\n  \"uinx:/tmp/b\",\n]\n");
    let broken = broken.to_str().unwrap();
    let cases: [(i32, &[&str], &str); 12] = [
        (2, &[], "Usage:"),
        (2, &["--prot", "unix:/tmp/x"], "--port"),
        (2, &["-p", "uinx:/tmp/x"], "unknown port kind \"uinx\"; the nearest is \"unix\"\n  hint: `zbridge ports`"),
        (2, &["-p", "unix:/tmp/x,leanr=off"], "unix has no key \"leanr\"; the nearest is \"learn\""),
        (2, &["-p", "unix:/tmp/x,mtu=12"], "mtu=\"12\": expected"),
        (2, &["-p", "unix:/tmp/x,addr=192.0.2.1/24"], "unix has no key \"addr\""),
        (2, &["ports", "pakcet"], "the nearest is \"packet\""),
        (2, &["check", broken], &format!("{broken}:3: ")),
        (4, &["check", &path("none.toml")], "none.toml: No such file"),
        (4, &["-p", &format!("unix:{}", path("none/sock"))], "hint: the directory has to exist"),
        (1, &["-p", &format!("unix:{}", path("file"))], "it exists and is no socket"),
        (1, &["-p", "tcp:127.0.0.1:0,listen", "-p", &format!("unixgram:{}", path("file"))], "is no socket"),
    ];
    for (code, args, says) in cases {
        let exit = zbridge!().args(args).run();
        ended(&exit, code, says);
        assert!(exit.stdout.is_empty(), "errors go to stderr: {}", exit.stdout);
    }
    assert_eq!(std::fs::read_to_string(dir.path("file")).unwrap(), "precious");
}

/// Nothing that can only fail is waited for, and what is said is of the option that was given.
/// An argument that is no text is named, and the option before it.
#[test]
fn an_argument_that_is_no_text_is_named() {
    let bad = std::ffi::OsString::from_vec(b"unix:/tmp/\xff".to_vec());
    let exit = zbridge!("-v", "--port").args([bad]).run();
    let says = "error: --port unix:/tmp/\\xff: it is not UTF-8 text\n  hint: ";
    assert!(exit.code() == 2 && exit.stderr.starts_with(says), "{exit:?}");
}

/// The help of a small terminal has no line that it breaks, and the options of all commands come last.
#[test]
fn help_is_as_wide_as_the_terminal() {
    require!(needs::tool("script", "bsdutils"));
    let program = env!("CARGO_BIN_EXE_zbridge");
    let shown = |words: &str| {
        let line = format!("stty cols 80; exec {program} {words}");
        Launch::new("script").args(["-qec", &line, "/dev/null"]).run().stdout.replace('\r', "")
    };
    let keys = shown("up --help");
    let (_, keys) = keys.split_once("in the file:\n").expect("its keys");
    for line in keys.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(line.is_empty() || line.starts_with("  "), "{line}");
    }
    assert!(keys.contains("\n                 "), "what goes on is below what it goes on from: {keys}");
    let run = shown("run --help");
    let place = |word: &str| run.find(word).unwrap_or_else(|| panic!("{word} is not in {run}"));
    assert!(place("--name") < place("--verbose") && place("--mtu") < place("--verbose"), "{run}");
    let demo = shown("demo");
    assert_eq!(demo.lines().find(|line| line.chars().count() > 80), None);
}

#[test]
fn what_a_program_cannot_get_is_said_at_once() {
    let run = |words: &[&str]| zbridge!("run").args(words.iter().copied()).args(["--", "true"]).run();
    let usb = "usbip:192.0.2.1/24,device=loopback";
    for ports in [&[][..], &["-p", usb], &["-p", "nat:10.0.2.2/24,dhcp=off", "-p", usb]] {
        let exit = run(&[ports, &["--host", "dhcp"]].concat());
        ended(&exit, 2, "nobody is on the program's bridge who could give it an address");
        ended(&exit, 2, "hint: --port nat:10.0.2.2/24 can; or join a bridge that runs, --join NAME");
    }
    for taps in ["", "zeth0,"] {
        ended(&run(&["--tap", taps]), 2, "error: --tap: the name of a TAP is missing\n  hint: --tap zeth, ");
    }
}

#[test]
fn a_command_of_several_lines_is_shown_on_one() {
    let dir = TempDir::new();
    let file = dir.file(
        "lab.toml",
        "[[instance]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"\"\"\nwhile :; do\n\techo \"it's\"\ndone\"\"\"]\nhost = \
         \"192.0.2.1/24\"\n[[instance]]\nname = \"other\"\ncommand = \"true\"\nhost = \"192.0.2.2/24\"\nafter = \"a\"\n",
    );
    let shown = "switch default\ninstances\n  a      sh -c $'while :; do\\n\\techo \"it\\'s\"\\ndone'\n         host 192.0.2.1/24\n  \
                 other  true\n         host 192.0.2.2/24, after a\n";
    assert_eq!(zbridge!("check", file).run().stdout, shown);
}

#[test]
fn a_page_is_as_wide_as_its_terminal() {
    require!(needs::tool("script", "bsdutils"));
    let line = format!("stty cols 72; {} ports nat", env!("CARGO_BIN_EXE_zbridge"));
    let page = Launch::new("script").args(["-qc", &line, "/dev/null"]).env("NO_COLOR", "1").run().stdout;
    let long: Vec<&str> = page.lines().filter(|line| line.trim_end().chars().count() > 72).collect();
    assert!(page.contains("forward=PROTO") && long.iter().all(|line| line.starts_with("    $ ")), "{long:?}");
    // for a program that reads it a key is one line
    assert!(
        zbridge!("ports", "nat").run().stdout.contains("lead an address of the host to a guest, PROTO is tcp or udp")
    );
}

#[test]
fn status_5_for_want_of_a_right() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    ended(&zbridge!("-p", "packet:lo").as_nobody(&dir).run(), 5, "Operation not permitted");
    let other = TempDir::new();
    let exit = zbridge!("-p", format!("unix:{}", other.text("sock"))).as_nobody(&dir).run();
    ended(&exit, 5, "hint: choose a directory that you own");
}

#[test]
fn it_says_what_is_there_and_sums_up_at_the_end() {
    let dir = TempDir::new();
    let (one, two) = (dir.text("inst1"), dir.text("second"));
    for signal in [Process::sigint, Process::sigterm] {
        let zbridge = zbridge!("-p", format!("unix:{one}"), "-p", format!("unixgram:{two},name=g")).ready();
        let lines = format!(
            "inst1  unix      listening\n\
             g      unixgram  up         nobody yet\n\
             to attach\n  \
               inst1  QEMU:  -netdev stream,id=inst1,server=off,addr.type=unix,addr.path={one} \
               -net nic,netdev=inst1,macaddr={}\n  \
               g      QEMU:  -netdev dgram,id=g,local.type=unix,local.path={two}.qemu,remote.type=unix,\
               remote.path={two} -net nic,netdev=g,macaddr={}\n",
            Mac::made_of("inst1"),
            Mac::made_of("g"),
        );
        eventually("the start lines", || (zbridge.stdout() == lines).then_some(()));
        let (mut a, mut b) = (join(&zbridge, Path::new(&one)), StreamPeer::unix(&one));
        zbridge.wait_for("inst1#2: connected", PATIENCE);
        a.send(&A.arp_request(B.ip));
        b.expect(&A.arp_request(B.ip));
        b.send(&B.arp_reply(A));
        a.expect(&B.arp_reply(A));
        a.send(&frame::numbered([1, 0x80, 0xc2, 0, 0, 0x0e], A.mac, 0, 60));
        a.send(&frame::numbered(B.mac, A.mac, 1, 60));
        b.expect(&frame::numbered(B.mac, A.mac, 1, 60));
        signal(&zbridge);
        let exit = zbridge.wait();
        assert_eq!(exit.code(), 0);
        let summary = Summary::parse(&exit.stdout);
        let (first, second) = (summary.all_of("inst1"), summary.port("inst1#2"));
        assert_eq!((first.rx_frames, first.rx_bytes, first.dropped_as("reserved-group")), (4, 2 * 60 + 2 * 42, 1));
        assert_eq!((second.rx_frames, second.rx_bytes, second.tx_frames, second.tx_bytes), (1, 42, 2, 102));
        assert_eq!(summary.port("g").dropped_as("no-peer"), 1, "the flood went there too");
        assert!(!Path::new(&one).exists() && !Path::new(&two).exists(), "its sockets are removed");
    }
}

/// A listener's row is that of the clients that have left, if there were any.
#[test]
fn a_listener_that_had_no_client_is_listening() {
    let dir = TempDir::new();
    let (used, unused) = (dir.path("used"), dir.path("unused"));
    let zbridge =
        zbridge!("-p", format!("unix:{}", used.display()), "-p", format!("unix:{}", unused.display())).ready();
    let mut client = join(&zbridge, &used);
    client.send(&frame::numbered(frame::BROADCAST, A.mac, 1, 60));
    drop(client);
    zbridge.wait_for_nth("used#1: ", 2, PATIENCE);
    let summary = Summary::of(zbridge);
    let states = ["used", "unused"].map(|name| summary.port(name).state.as_str());
    assert_eq!(states, ["clients that left", "listening"], "{summary:?}");
}

#[test]
fn quiet_says_nothing_but_trouble() {
    let dir = TempDir::new();
    let absent = format!("unix:{},connect", dir.text("absent"));
    let zbridge = zbridge!("-q", "-p", format!("unix:{}", dir.text("a")), "-p", absent).spawn();
    zbridge.wait_for("trying again until it is there", PATIENCE);
    drop(StreamPeer::unix(dir.path("a")));
    zbridge.sigint();
    let exit = zbridge.wait();
    assert_eq!((exit.code(), exit.stdout.as_str()), (0, ""));
    let lines: Vec<&str> = exit.stderr.trim_end().lines().collect();
    assert_eq!(lines.len(), 2, "the warning with its hint, and nothing else: {lines:?}");
    assert!(lines[0].starts_with("warning: absent: ") && lines[1].starts_with("  hint: "), "{lines:?}");
}

#[test]
fn verbose_and_rust_log_say_more() {
    let dir = TempDir::new();
    let absent = format!("unix:{},connect,name=far", dir.text("absent"));
    for launch in [zbridge!("-v"), zbridge!("-q").env("RUST_LOG", "zbridge::engine=debug")] {
        launch.args(["-p", &absent]).spawn().wait_for("zbridge::engine::life: far: cannot connect", PATIENCE);
    }
}

#[test]
fn colours_are_for_terminals_and_not_forced() {
    require!(needs::tool("script", "bsdutils"));
    let binary = env!("CARGO_BIN_EXE_zbridge");
    let at_terminal = |no_color| {
        let line = format!("{binary} -p uinx:/tmp/x; {binary} --help");
        let script = Launch::new("script").args(["-qc", &line, "/dev/null"]);
        script.env("NO_COLOR", no_color).env("TERM", "xterm").run().stdout
    };
    let (coloured, plain) = (at_terminal(""), at_terminal("1"));
    assert!(coloured.contains("\x1b[31merror:"), "{coloured:?}");
    assert!(plain.contains("error:") && !plain.contains('\x1b'), "{plain:?}");
}

#[test]
fn a_file_runs_and_the_command_line_overrides_it() {
    let dir = TempDir::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| dir.text(name));
    let text = format!(
        "port = [\"unix:{a}\", {{ type = \"unix\", target = \"{b}\", switch = \"lab\", mtu = 9000 }}]\n\
         [switch.lab]\nageing = \"20s\"\nfdb-limit = 64\n"
    );
    let file = dir.file("lab.toml", text);
    let checked = zbridge!("check", &file).run();
    let would_run =
        format!("switch default\n  a  unix  {a}\nswitch lab  ageing=20s,fdb-limit=64\n  b  unix  {b}  mtu=9000\n");
    assert_eq!((checked.code(), checked.stdout), (0, would_run));
    assert!(!Path::new(&a).exists(), "a check opens nothing");

    let over = [format!("unix:{c},name=a"), format!("unix:{d},switch=lab")];
    let zbridge = zbridge!("--config", &file, "-p", &over[0], "-p", &over[1], "-s", "lab,ageing=10s").ready();
    zbridge.wait_for("d  unix", PATIENCE);
    let shown = zbridge.stdout();
    assert!(shown.starts_with("switch default\na  unix  listening\nswitch lab\nb  unix  listening\nd"), "{shown}");
    assert!(!Path::new(&a).exists() && Path::new(&c).exists() && Path::new(&d).exists());
    let mut b = join(&zbridge, Path::new(&b));
    let mut d = join(&zbridge, Path::new(&d));
    b.send(&frame::numbered(frame::BROADCAST, A.mac, 1, 9014));
    b.send(&frame::numbered(frame::BROADCAST, A.mac, 2, 9015));
    b.send(&frame::numbered(frame::BROADCAST, A.mac, 3, 60));
    d.expect(&frame::numbered(frame::BROADCAST, A.mac, 1, 9014));
    d.expect(&frame::numbered(frame::BROADCAST, A.mac, 3, 60));
    let summary = Summary::of(zbridge);
    assert_eq!(summary.port("b").dropped_as("oversize") + summary.all_of("b").dropped_as("oversize"), 1);
}

#[test]
fn switches_in_one_process_are_apart() {
    let dir = TempDir::new();
    let spec = |name: &str, more: &str| format!("unix:{}{more}", dir.text(name));
    let default = ["a", "b"].map(|name| spec(name, ""));
    let lab = ["c", "d"].map(|name| spec(name, ",switch=lab"));
    let ports = default.iter().chain(&lab).flat_map(|port| ["-p", port]);
    let zbridge = zbridge!().args(ports).ready();
    let mut threads: Vec<String> = std::fs::read_dir(format!("/proc/{}/task", zbridge.pid()))
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap().trim().to_owned())
        .collect();
    threads.sort();
    assert!(threads.contains(&"zb-default".into()) && threads.contains(&"zb-lab".into()), "{threads:?}");

    let [mut a, mut b, mut c, mut d] = ["a", "b", "c", "d"].map(|name| join(&zbridge, &dir.path(name)));
    // the same station, on both switches at once, is two stations
    for round in 0..10 {
        a.send(&frame::numbered(frame::BROADCAST, A.mac, round, 60));
        c.send(&frame::numbered(frame::BROADCAST, A.mac, 100 + round, 60));
        b.expect(&frame::numbered(frame::BROADCAST, A.mac, round, 60));
        d.expect(&frame::numbered(frame::BROADCAST, A.mac, 100 + round, 60));
    }
    d.send(&frame::numbered(A.mac, B.mac, 200, 60));
    c.expect(&frame::numbered(A.mac, B.mac, 200, 60));
    for peer in [&mut a, &mut b, &mut c, &mut d] {
        peer.expect_none(Duration::from_millis(20), |_| true);
    }
    assert!(!zbridge.stderr().contains("by turns"), "{}", zbridge.stderr());
    let summary = Summary::of(zbridge);
    summary.check_pair("a", "b");
    summary.check_pair("c", "d");
    assert_eq!((summary.all_of("c").rx_frames, summary.all_of("d").tx_frames), (10, 10));
}

#[test]
fn the_demonstration_needs_no_right() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let exit = zbridge!("demo").as_nobody(&dir).run();
    assert_eq!((exit.code(), exit.stderr.as_str()), (0, ""));
    assert!(exit.stdout.contains("alice answer from 192.0.2.2: seq=4"), "{}", exit.stdout);
    assert!(exit.stdout.contains("02:00:5e:00:53:02  bob"), "the learned table: {}", exit.stdout);
    assert!(exit.stdout.contains("zbridge --port unix:/tmp/inst1"), "how to attach something: {}", exit.stdout);
    let counted = exit.stdout.split("What it has counted").nth(1).unwrap().split("Now").next().unwrap();
    Summary::parse(counted).check_pair("alice", "bob");
}

#[test]
fn the_demonstration_can_be_interrupted() {
    let demo = zbridge!("demo").spawn();
    demo.wait_for("seq=1", PATIENCE);
    demo.sigint();
    let exit = demo.wait();
    assert_eq!(exit.code(), 0);
    assert!(exit.stdout.contains("What it has counted"), "{}", exit.stdout);
}

#[test]
fn the_readme_has_the_table_of_port_kinds() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = zbridge::internals::cli::port_table();
    assert!(readme.contains(&table), "put this into README.md:\n{table}");
}

/// Copies of one table: what all would share, a slip in braces, and braces of a shell.
#[test]
fn copies_that_would_be_one_are_refused() {
    let dir = TempDir::new();
    let check = |command: &str, rewrite: &str| {
        let text = format!(
            "[[instance]]\nname = \"copy\"\ncount = 2\ncommand = '{command}'\ntap = \"zeth\"\nrewrite = \"ip=192.0.2.1:{rewrite}\"\n"
        );
        zbridge!("check", dir.file("bench.toml", text)).run()
    };
    let same = check("./zephyr.exe", "192.0.2.11");
    ended(&same, 2, "bench.toml:6: rewrite=\"ip=192.0.2.1:192.0.2.11\" is the same for every copy");
    ended(&same, 2, "hint: put the number of the copy into it: \"ip=192.0.2.1:192.0.2.{i+10}\"");
    let slip = check("./zephyr.exe --seed={m}", "192.0.2.{i+10}");
    ended(&slip, 2, "command: {m} is no number of a copy\n  hint: there are {i}, from 1 on, and {i+10}, ten more");
    let good = check("sh -c \"echo ${i} {a,b} {i} {{i}}\"", "192.0.2.{i+10}");
    assert!(good.code() == 0 && good.stdout.contains("echo ${i} {a,b} 2 {i}"), "{good:?}");
}
