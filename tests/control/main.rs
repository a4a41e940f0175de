//! A running bridge, looked at and changed from outside: `ls`, `status`, `port`, `fdb`, `wait`, and the socket itself.

mod descriptor;
mod drops;
mod events;
mod gateway;
mod hostile;
mod namespaces;
mod reload;
mod settings;
mod trace;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use support::frame::{BROADCAST, numbered};
use support::{
    Exit, Launch, PATIENCE, Peer, Process, Station, StreamPeer, Summary, TempDir, eventually, needs, require, zbridge,
};
use zbridge::control::Lifetime;
use zbridge::engine::Client;
use zbridge::wire::Mac;

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A table's cells with one space between: a column is as wide as its widest cell, and process numbers are of any width.
fn cells(table: &str) -> String {
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// A user's run directory, and what runs in it.
struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: TempDir::new() }
    }

    /// A command line of this user.
    fn launch(&self, args: &[&str]) -> Launch {
        zbridge!().args(args).env("XDG_RUNTIME_DIR", self.dir.root())
    }

    /// Starts a bridge with these arguments.
    fn bridge(&self, args: &[&str]) -> Process {
        self.launch(args).ready()
    }

    /// Starts a bridge with the ports `unix:NAME`.
    fn with_ports(&self, names: &[&str]) -> Process {
        let specs: Vec<String> = names.iter().map(|name| self.spec(name)).collect();
        self.bridge(&specs.iter().flat_map(|spec| ["-p", spec]).collect::<Vec<_>>())
    }

    fn spec(&self, name: &str) -> String {
        format!("unix:{}", self.dir.text(name))
    }

    fn ask(&self, args: &[&str]) -> Exit {
        self.launch(args).run()
    }

    /// What a command that succeeds prints.
    fn told(&self, args: &[&str]) -> String {
        let exit = self.ask(args);
        assert_eq!(exit.code(), 0, "{args:?}: {exit:?}");
        exit.stdout
    }

    /// A command that fails with this status and says this.
    fn refused(&self, args: &[&str], code: i32, says: &str) {
        let exit = self.ask(args);
        assert_eq!(exit.code(), code, "{args:?}: {exit:?}");
        assert!(exit.stderr.contains(says) && exit.stdout.is_empty(), "{says:?} is not in {exit:?}");
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path(&format!("zbridge/{name}.sock"))
    }

    fn client(&self, name: &str) -> Client {
        Client::connect(self.socket(name).to_str().unwrap()).unwrap()
    }

    /// Connects to a port and waits until it is up.
    fn join(&self, name: &str) -> StreamPeer {
        let peer = StreamPeer::unix(self.dir.path(name));
        self.told(&["wait", &format!("port={name}"), "up"]);
        peer
    }
}

#[test]
fn where_none_runs_it_is_said() {
    let lab = Lab::new();
    let listed = lab.ask(&["ls"]);
    assert_eq!((listed.code(), listed.stdout.as_str()), (0, ""));
    assert!(listed.stderr.contains("no bridge runs"), "{listed:?}");
    for words in [&["status"][..], &["fdb"], &["port", "add", "unix:/tmp/x"], &["port", "del", "x"]] {
        lab.refused(words, 3, "no bridge runs\n  hint: start one: zbridge --port");
    }
    let looked = format!("looked in {}: only its own user sees a bridge", lab.dir.path("zbridge").display());
    lab.refused(&["status"], 3, &looked);
    assert!(listed.stderr.contains(&looked), "{listed:?}");
    lab.refused(&["status", "lab"], 3, "no bridge named lab runs");
    lab.refused(&["wait", "port=x", "--timeout", "100ms"], 6, "error: after 100ms no bridge runs\n  hint: start one");
    lab.refused(&["status", "a b"], 2, "expected 1 to 64 letters");
    let _bridge = lab.bridge(&["-p", &lab.spec("a"), "--name", "bench"]);
    lab.refused(&["status", "bnech"], 3, "no bridge named bnech runs\n  hint: the nearest is \"bench\"");
}

#[test]
fn all_switches_are_shown_with_state_peer_counters_and_reasons() {
    let lab = Lab::new();
    let (a, b) = (lab.spec("a"), format!("{},switch=lab", lab.spec("b")));
    let zbridge = lab.bridge(&["-p", &a, "-p", &b, "--name", "bench"]);
    assert_eq!(lab.told(&["ls"]), format!("bench  pid {}  2 switches  2 ports\n", zbridge.pid()));
    let mut peer = lab.join("a");
    peer.send(&numbered([1, 0x80, 0xc2, 0, 0, 0], A.mac, 1, 60));
    peer.send(&numbered(BROADCAST, A.mac, 1, 60));
    let shown = eventually("both frames", || {
        let text = lab.told(&["status", "bench"]);
        text.contains("  2   0").then_some(text)
    });
    let me = format!("pid {} ", std::process::id());
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 9, "{shown}");
    assert!(lines[8].starts_with("  b  QEMU:  -netdev stream,id=b,"), "that of a has its peer: {shown}");
    assert_eq!((lines[0], lines[4]), ("switch default", "switch lab"), "{shown}");
    assert!(lines[1].starts_with("port  kind  state  rx  tx  rx bit/s"), "{shown}");
    assert!(lines[2].starts_with("a     unix  up     2   0   ") && lines[2].ends_with("/a"), "{shown}");
    assert!(lines[2].contains("  0       2 (no-egress 1, reserved-group 1)"), "{shown}");
    assert!(lines[3].starts_with("a#1   unix  up     2   0   "), "{shown}");
    let rest = format!("  0       2 (no-egress 1, reserved-group 1)  {}  -        {me}", Mac(A.mac));
    assert!(lines[3].contains(&rest), "{shown}");

    let json: serde_json::Value = serde_json::from_str(&lab.told(&["status", "--json", "--to", "bench"])).unwrap();
    let port = &json["switches"][0]["ports"][1];
    assert_eq!((&json["name"], &json["pid"]), (&"bench".into(), &zbridge.pid().into()));
    assert_eq!((&port["state"], &port["rx_bytes"]), (&"up".into(), &120.into()));
    assert_eq!((&port["name"], &port["listener"]), (&"a#1".into(), &"a".into()));
    assert_eq!(port["heard"], serde_json::json!([Mac(A.mac).to_string()]));
    // Sixty bytes twice, since the look before or since it came.
    assert!(port["rates"]["over_ms"].as_u64() > Some(0) && port["rates"]["tx_frames"] == 0, "{port}");
    let listener = &json["switches"][0]["ports"][0];
    assert_eq!((&listener["state"], &listener["rx_frames"]), (&"up".into(), &2.into()), "it stands for its clients");
    assert_eq!((&listener["name"], &listener["target"]), (&"a".into(), &lab.dir.text("a").into()));
    assert!(listener["attach"]["line"].as_str().unwrap().contains("addr.path="), "{listener}");
    assert_eq!(port["drops"], serde_json::json!({"no-egress": 1, "reserved-group": 1}));
    let listed: serde_json::Value = serde_json::from_str(&lab.told(&["ls", "--json"])).unwrap();
    assert_eq!(listed["switches"][1]["name"], "lab");
}

#[test]
fn each_bridge_has_a_name_of_its_own() {
    let lab = Lab::new();
    let (mut first, second) = (lab.with_ports(&["a"]), lab.with_ports(&["b"]));
    let third = lab.bridge(&["--name", "lab", "-p", &lab.spec("c")]);
    let pids = [&first, &second, &third].map(Process::pid);
    let listed = format!(
        "default pid {} 1 switch 1 port\ndefault-2 pid {} 1 switch 1 port\nlab pid {} 1 switch 1 port\n",
        pids[0], pids[1], pids[2]
    );
    assert_eq!(cells(&lab.told(&["ls"])), listed);
    second.wait_for("bridge default-2: `zbridge status default-2` shows it", PATIENCE);
    for (bridge, port) in [("default", "a"), ("default-2", "b"), ("lab", "c")] {
        assert!(lab.told(&["status", bridge]).contains(&format!("\n{port} ")), "{bridge}");
    }
    assert!(lab.told(&["status"]).contains("\na "), "the default is meant");
    lab.refused(&["--name", "lab", "-p", &lab.spec("d")], 1, &format!("lab runs already: pid {}", pids[2]));
    assert!(!lab.dir.path("d").exists(), "nothing was opened");
    let bench = lab.dir.file("bench.toml", "[[instance]]\nname = \"a\"\ncommand = \"true\"\n");
    lab.refused(
        &["up", bench.to_str().unwrap(), "--name", "lab"],
        1,
        "hint: for a program on it: zbridge run --join lab -- PROGRAM",
    );

    // what a killed one leaves behind blocks nobody
    first.kill9();
    assert!(lab.socket("default").exists());
    lab.refused(&["status", "default"], 3, "no bridge named default runs");
    let several = "several bridges run: default-2, lab\n  hint: say which one is meant: zbridge status NAME, zbridge port add SPEC --to NAME";
    lab.refused(&["status"], 2, several);
    let again = lab.bridge(&["--name", "default", "-p", &lab.spec("a")]);
    assert!(lab.told(&["ls"]).starts_with(&format!("default    pid {} ", again.pid())));
    for bridge in [again, second, third] {
        bridge.sigterm();
        assert_eq!(bridge.wait().code(), 0);
    }
    assert_eq!(lab.told(&["ls"]), "");
    assert!(!lab.socket("lab").exists(), "it takes its socket away");
}

#[test]
fn one_that_hangs_is_listed_and_holds_up_nobody() {
    let lab = Lab::new();
    let (first, last) = (lab.bridge(&["-p", &lab.spec("a"), "--name", "a"]), lab.bridge(&["-p", &lab.spec("z")]));
    first.freeze();
    let listing = lab.launch(&["ls"]).spawn();
    listing.wait_for(&format!("default  pid {} ", last.pid()), PATIENCE);
    let listed = listing.wait();
    let both = format!("default pid {} 1 switch 1 port\na pid {} does not answer\n", last.pid(), first.pid());
    assert!(listed.code() == 0 && cells(&listed.stdout) == both && listed.stderr.is_empty(), "{listed:?}");
    let json = lab.ask(&["ls", "--json"]);
    assert!(json.stdout.lines().count() == 1 && json.stderr.contains("does not answer"), "{json:?}");
    last.sigint();
    last.wait();
    // The only one that runs is meant, and does not answer.
    lab.refused(&["status"], 1, "a: the bridge does not answer");
    let start = std::time::Instant::now();
    lab.refused(&["wait", "port=a", "--timeout", "1s"], 6, "after 1s a: the bridge does not answer");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(lab.told(&["ls"]), format!("a  pid {}  does not answer\n", first.pid()));
    first.thaw();
}

#[test]
fn ports_come_and_go_while_it_runs() {
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    let mut a = lab.join("a");
    let added = lab.told(&["port", "add", &format!("{},queue=64", lab.spec("b"))]);
    assert!(added.starts_with("b\nto attach\n  b  QEMU:  -netdev stream,id=b,"), "{added}");
    let mut b = lab.join("b");
    assert_eq!(lab.told(&["port", "del", "b#1"]), "", "one client goes, and not its listener");
    b.expect_closed();
    let mut b = lab.join("b");
    for (from, to) in [(A, B), (B, A)] {
        let (sender, receiver) = if from == A { (&mut a, &mut b) } else { (&mut b, &mut a) };
        sender.send(&numbered(to.mac, from.mac, 1, 60));
        receiver.expect(&numbered(to.mac, from.mac, 1, 60));
    }
    let spec = format!("{},queue=64", lab.spec("b"));
    lab.refused(&["port", "add", &lab.spec("b")], 2, "there is a port named b already, on switch default");
    assert!(lab.told(&["port", "add", &spec, "--may-exist"]).starts_with("b\n"));
    lab.refused(&["port", "add", &lab.spec("b"), "--may-exist"], 2, "there is a port named b already");
    let fixed =
        "no switch is named lab; known are default\n  hint: no switch is added to a running bridge; it has default";
    lab.refused(&["port", "add", "unix:/tmp/x,switch=lab"], 4, fixed);
    lab.refused(&["port", "add", "uinx:/tmp/x"], 2, "the nearest is \"unix\"");
    lab.refused(&["port", "add", "unix:/none/x"], 4, "hint: the directory has to exist");
    lab.refused(&["port", "del", "c"], 4, "no port is named c");
    assert_eq!(lab.told(&["port", "del", "c", "--if-exists"]), "");
    assert_eq!(lab.told(&["port", "del", "b"]), "");
    b.expect_closed();
    assert!(!lab.dir.path("b").exists());
    assert!(!lab.told(&["status"]).contains("\nb "));
    assert!(lab.told(&["port", "add", &lab.spec("b")]).starts_with("b\n"), "its name and path are free again");
    // what it had counted is in the summary all the same
    let summary = Summary::of(zbridge);
    let b = summary.all_of("b");
    assert_eq!((b.rx_frames, b.tx_frames), (1, 1), "{summary:?}");
}

#[test]
fn of_many_who_add_one_name_one_has_it_and_the_others_hear_why() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    for _ in 0..10 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let spec = format!("nat:192.0.2.1/24,forward=tcp:{free}->192.0.2.9:80");
        let mut clients: Vec<Client> = (0..6).map(|_| lab.client("default")).collect();
        let told: Vec<_> = std::thread::scope(|scope| {
            let adding = |client| scope.spawn(|| Client::add_port(client, &spec, Lifetime::Bridge));
            let threads: Vec<_> = clients.iter_mut().map(adding).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refused: Vec<_> = told.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 5, "{refused:?}");
        assert!(refused.iter().all(|error| error.what().contains("a port named nat")), "{refused:?}");
        clients[0].remove_port("nat").unwrap();
    }
}

#[test]
fn a_relative_path_is_where_it_was_typed() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a"]);
    let line = format!("cd {} && exec {} port add unix:here", lab.dir.root().display(), env!("CARGO_BIN_EXE_zbridge"));
    let added = Launch::new("sh").args(["-c", &line]).env("XDG_RUNTIME_DIR", lab.dir.root()).run();
    assert_eq!(added.code(), 0, "{added:?}");
    assert!(lab.dir.path("here").exists());
}

#[test]
fn the_learned_table_is_shown_whole() {
    const STATIONS: u32 = 9000; // more than one answer holds
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a", "b"]);
    let mut a = lab.join("a");
    let b = lab.join("b");
    for number in 0..STATIONS {
        let [_, _, high, low] = number.to_be_bytes();
        a.send(&numbered(BROADCAST, [2, 0, 0, 1, high, low], number, 60));
    }
    eventually("all are learned", || (lab.told(&["fdb", "--json"]).lines().count() == STATIONS as usize).then_some(()));
    let text = lab.told(&["fdb"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + STATIONS as usize);
    assert!(lines[0].starts_with("address            port  switch   age"), "{}", lines[0]);
    assert!(lines[1].starts_with("02:00:00:01:00:00  a#1   default  "), "{}", lines[1]);
    assert!(lines.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "sorted, each once");
    assert_eq!(lab.told(&["fdb", "--switch", "default", "--json"]).lines().count(), STATIONS as usize);
    lab.refused(&["fdb", "--switch", "lab"], 4, "no switch is named lab; known are default");
    drop((a, b));
}

#[test]
fn stations_are_shown_with_their_addresses_and_which_two_have() {
    let lab = Lab::new();
    let _zbridge = lab.with_ports(&["a", "b"]);
    let (mut a, mut b) = (lab.join("a"), lab.join("b"));
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    b.send(&B.arp_reply(A));
    a.expect(&B.arp_reply(A));
    let rows = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    let row = |station: Station, port: &str| format!("{} {} {port}", Mac(station.mac), station.ip);
    let text = lab.told(&["stations"]);
    assert_eq!(rows(&text), ["mac address port", &row(A, "a#1"), &row(B, "b#1")], "{text}");
    assert!(!text.contains("twice"), "{text}");
    // b says by turns with a that the address of a is its own
    let other = Station { mac: B.mac, ..A };
    for _ in 0..8 {
        b.send(&other.arp_reply(B));
        a.send(&A.arp_request(B.ip));
    }
    let shared =
        || lab.told(&["stations", "--json"]).lines().any(|line| line.contains("\"shared\":true")).then_some(());
    eventually("two have it", shared);
    assert_eq!(lab.told(&["stations"]).matches("IP twice").count(), 2, "each of the two is marked");
}

/// A client is connected to a bridge.
fn is_asking(client: &Process) {
    let folder = format!("/proc/{}/fd", client.pid());
    let is_socket = |target: PathBuf| target.to_string_lossy().starts_with("socket:");
    eventually("it is connected", || {
        let descriptors = std::fs::read_dir(&folder).ok()?.flatten();
        descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(is_socket).then_some(())
    });
}

#[test]
fn waiting_is_over_when_the_port_is_there_or_the_time_is() {
    let lab = Lab::new();
    // begun before there is anything to ask
    let waiting = lab.launch(&["wait", "port=a", "listening", "--timeout", "20s"]).spawn();
    std::thread::sleep(Duration::from_millis(100));
    let mut zbridge = lab.with_ports(&["a"]);
    assert_eq!(waiting.wait().code(), 0);
    lab.refused(&["wait", "port=a", "--timeout", "150ms"], 6, "after 150ms a is listening, not up");
    lab.refused(&["wait", "port=b", "--timeout", "0s"], 6, "there is no port named b");
    lab.refused(&["wait", "port=a", "ready"], 2, "\"ready\" is no state of a port");
    let waiting = lab.launch(&["wait", "port=a", "up", "--timeout", "20s"]).spawn();
    is_asking(&waiting);
    let peer = StreamPeer::unix(lab.dir.path("a"));
    assert_eq!(waiting.wait().code(), 0);
    let waiting = lab.launch(&["wait", "port=a", "gone", "--timeout", "20s"]).spawn();
    is_asking(&waiting);
    lab.told(&["port", "del", "a"]);
    assert_eq!(waiting.wait().code(), 0);
    drop(peer);
    let waiting = lab.launch(&["wait", "port=a", "up", "--timeout", "1200ms"]).spawn();
    is_asking(&waiting);
    zbridge.kill9();
    assert_eq!(waiting.wait().code(), 6, "the bridge ended, and none came");
}

/// Times that the thread of the control socket was put to sleep.
fn sleeps(process: &Process) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap().map(|task| task.unwrap().path());
    let is_control = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).unwrap().trim() == "zb-control";
    let status = std::fs::read_to_string(tasks.into_iter().find(is_control).unwrap().join("status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn who_waits_costs_nothing_until_it_is_true() {
    let lab = Lab::new();
    let zbridge = lab.bridge(&["-v", "-p", &lab.spec("a"), "-p", &lab.spec("b")]);
    let waiting: Vec<Process> =
        ["up", "gone"].map(|state| lab.launch(&["wait", "port=a", state, "--timeout", "60s"]).spawn()).into();
    zbridge.wait_for_nth("is connected", 2, PATIENCE);
    // once it has seen to both, it sleeps
    eventually("a second in which it wakes twice at most", || {
        let before = sleeps(&zbridge);
        std::thread::sleep(Duration::from_secs(1));
        (sleeps(&zbridge) - before <= 2).then_some(())
    });
    // What others do wakes nobody who need not care.
    let mut other = StreamPeer::unix(lab.dir.path("b"));
    zbridge.wait_for("b#1: connected", PATIENCE);
    let before = sleeps(&zbridge);
    (0..100).for_each(|number| other.send(&numbered(BROADCAST, A.mac, number, 60)));
    std::thread::sleep(Duration::from_millis(300));
    assert!(sleeps(&zbridge) - before <= 5, "woken {} times", sleeps(&zbridge) - before);
    let peer = StreamPeer::unix(lab.dir.path("a"));
    let mut waiting = waiting.into_iter();
    assert_eq!(waiting.next().unwrap().wait().code(), 0, "it is up");
    lab.client("default").remove_port("a").unwrap();
    assert_eq!(waiting.next().unwrap().wait().code(), 0, "it is gone");
    drop((peer, other));
}

#[test]
fn watching_says_what_changes() {
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    let text = lab.launch(&["status", "--watch"]).spawn();
    let json = lab.launch(&["status", "--watch", "--json"]).spawn();
    text.wait_for("a     unix  listening", PATIENCE);
    json.wait_for("\"listening\"", PATIENCE);
    let mut peer = StreamPeer::unix(lab.dir.path("a"));
    text.wait_for("time      port  kind  state", PATIENCE);
    // A listener and its only client are one.
    let line = text.wait_for("a     unix  up", PATIENCE);
    assert!(line.as_bytes().get(8) == Some(&b' ') && line.split(':').count() > 2, "it has its time: {line}");
    peer.send(&numbered(BROADCAST, A.mac, 1, 60));
    text.wait_for("1 (no-egress 1)", PATIENCE);
    json.wait_for("\"no-egress\":1", PATIENCE);
    assert!(json.stdout().lines().all(|line| line.starts_with("{\"time\":")), "{}", json.stdout());
    drop(peer);
    text.wait_for_nth("a     unix  listening", 2, PATIENCE);
    zbridge.sigterm();
    zbridge.wait();
    for watch in [text, json] {
        let exit = watch.wait();
        assert_eq!(exit.code(), 3, "{exit:?}");
        assert!(exit.stderr.contains("default has ended"), "{exit:?}");
    }
}

#[test]
fn other_users_are_refused() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    let open = |path: PathBuf, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(lab.dir.path("zbridge")), mode(lab.socket("default"))), (0o700, 0o600));
    let socket = lab.socket("default");
    let ask = || lab.launch(&["status", socket.to_str().unwrap()]).as_nobody(&lab.dir).run();
    let exit = ask();
    assert_eq!(exit.code(), 5, "{exit:?}");
    // even where the files would let them in
    open(lab.dir.path("zbridge"), 0o755);
    open(socket.clone(), 0o666);
    let exit = ask();
    assert_eq!(exit.code(), 5, "{exit:?}");
    assert!(exit.stderr.contains("user 65534 may not command this bridge"), "{exit:?}");
    zbridge.wait_for("is refused: user 65534", PATIENCE);
    assert!(lab.told(&["status"]).contains("\na "));
}

/// Whoever makes the directory in /tmp first could answer there. Root may say that it is meant all the same.
#[test]
fn another_users_bridge_is_not_believed() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let lab = Lab::new();
    let zbridge = lab.launch(&["-p", &lab.spec("a")]).as_nobody(&lab.dir).ready();
    let says = "default.sock: user 65534 answers there, and not this user's bridge";
    let socket = lab.socket("default");
    let path = socket.to_str().unwrap();
    lab.refused(&["status"], 5, &format!("{says}\n  hint: if that one is meant, name it: zbridge status {path}"));
    assert!(lab.told(&["ls"]).contains("user 65534 answers there"));
    assert!(lab.told(&["status", path]).contains("\na "));
    assert!(lab.told(&["status", "default"]).contains("\na "));
    assert!(lab.told(&["port", "add", &lab.spec("b"), "--to", path]).starts_with("b\n"));
    // Another ordinary user may not, even where the files would let it.
    let open = |path: PathBuf, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(lab.dir.path("zbridge"), 0o755);
    open(socket.clone(), 0o666);
    let other = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "--"];
    let other = Launch::new(lab.dir.path("program")).args(["status", path]).under(other).run();
    assert!(other.code() == 5 && other.stderr.contains(says), "{other:?}");
    assert_eq!(lab.launch(&["status"]).as_nobody(&lab.dir).run().code(), 0, "its own user's client");
    drop(zbridge);
}

/// Root looks in its own place for a name, and is told of the other.
#[test]
fn root_is_told_the_path_of_another_users_bridge() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let lab = Lab::new();
    let name = format!("lab{}", std::process::id());
    let here = |launch: Launch| launch.under(["env", "-u", "XDG_RUNTIME_DIR"]);
    let zbridge = here(zbridge!("--name", &name, "-p", lab.spec("a")).as_nobody(&lab.dir)).ready();
    let path = format!("/tmp/zbridge-65534/{name}.sock");
    let exit = here(zbridge!("status", &name)).run();
    let says = format!("no bridge named {name} runs\n  hint: if another user's is meant, name it by its path: {path}");
    assert!(exit.code() == 3 && exit.stderr.contains(&says), "{exit:?}");
    let exit = here(zbridge!("status", &path)).run();
    assert!(exit.code() == 0 && exit.stdout.contains("\na "), "{exit:?}");
    zbridge.sigterm();
    assert_eq!(zbridge.wait().code(), 0);
}

#[test]
fn a_run_directory_that_is_anothers_is_not_used() {
    require!(needs::root());
    let lab = Lab::new();
    std::fs::create_dir(lab.dir.path("zbridge")).unwrap();
    std::fs::set_permissions(lab.dir.path("zbridge"), std::fs::Permissions::from_mode(0o777)).unwrap();
    lab.refused(&["--name", "lab", "-p", &lab.spec("a")], 5, "others may write to it");
    let zbridge = lab.with_ports(&["a"]);
    zbridge.wait_for("it runs, but cannot be commanded", PATIENCE);
}
