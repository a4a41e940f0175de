//! What zbridge gives up, on every way of starting, and that nothing is missed that a port needs again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::frame::{BROADCAST, numbered};
use support::{
    Exit, Launch, Namespace, PATIENCE, Peer, Process, StreamPeer, TempDir, eventually, needs, require, zbridge,
};

/// The user of no files, and of `as_nobody`.
const NOBODY: &str = "65534";

/// What a program has in its own network namespace: NET_BIND_SERVICE, NET_ADMIN, NET_RAW.
const OF_A_PROGRAM: &str = "0000000000003400";
const NONE: &str = "0000000000000000";

/// A thread as /proc/PID/task/TID/status shows it (proc(5)).
struct Thread(String);

impl Thread {
    fn all(pid: u32) -> Vec<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).map(Self).collect()
    }

    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0)).trim()
    }

    fn name(&self) -> &str {
        self.field("Name")
    }

    /// It has no capability in any set, may get none, and makes the system calls of a list only.
    #[track_caller]
    fn has_nothing(&self) {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(self.field(set), NONE, "{set} of {}", self.0);
        }
        assert_eq!((self.field("NoNewPrivs"), self.field("Seccomp")), ("1", "2"), "{}", self.0);
    }

    /// Nor root's number, nor a group, nor what root's number would give to what it starts.
    #[track_caller]
    fn is_nobody(&self) {
        self.has_nothing();
        assert_eq!(self.field("Uid").split_whitespace().collect::<Vec<_>>(), [NOBODY; 4], "{}", self.0);
        assert_eq!((self.field("CapBnd"), self.field("Groups")), (NONE, ""), "{}", self.0);
    }
}

/// Says something to a bridge, which must do it.
#[track_caller]
fn told(run: &Path, words: &[&str]) -> String {
    let exit = ask(run, words);
    assert_eq!(exit.code(), 0, "{words:?}: {exit:?}");
    exit.stdout
}

fn ask(run: &Path, words: &[&str]) -> Exit {
    Launch::new(env!("CARGO_BIN_EXE_zbridge")).args(words).env("XDG_RUNTIME_DIR", run).run()
}

/// The ports of a lab with every thread that there is: switch, gateway, devices, disk, file, control socket.
fn ports(dir: &TempDir) -> Vec<String> {
    fs::write(dir.path("disk"), [0; 4096]).unwrap();
    fs::create_dir(dir.path("boot")).unwrap();
    let [a, disk, file, boot] = ["a", "disk", "file", "boot"].map(|name| dir.text(name));
    let usb = format!("device=mass-storage+image={disk}+cow,device=cdc-acm+file={file}");
    [format!("unix:{a}"), format!("nat:10.0.2.2/24,tftp={boot}"), format!("usbip:10.0.2.9/24,{usb}")].into()
}

fn with_ports(launch: Launch, ports: &[String]) -> Launch {
    launch.args(ports.iter().flat_map(|port| ["-p".to_owned(), port.clone()]))
}

#[test]
fn started_by_root_every_thread_has_nothing() {
    require!(needs::netns(), needs::tun());
    let (host, dir) = (Namespace::new("rights"), TempDir::new());
    let launch = with_ports(zbridge!("-p", "tap:zr0,up"), &ports(&dir));
    let zbridge = launch.env("XDG_RUNTIME_DIR", dir.root()).inside(&host).ready();
    told(dir.root(), &["wait", "port=zr0"]);
    let threads = Thread::all(zbridge.pid());
    threads.iter().for_each(Thread::is_nobody);
    for name in ["zbridge", "zb-signals", "zb-default", "zb-nat", "zb-usbip", "zb-disk", "zb-file", "zb-control"] {
        assert!(threads.iter().any(|thread| thread.name() == name), "{name}");
    }
    let status = told(dir.root(), &["status", "--json"]);
    assert!(
        status.contains("\"sandbox\":\"no capabilities, no_new_privs") && status.contains("user nobody"),
        "{status}"
    );
    // in a folder that is root's alone, with a keeper that removes what is there
    let left = |name: &str| dir.path(name).symlink_metadata().is_ok();
    assert!(left("a"));
    zbridge.sigint();
    let exit = zbridge.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
    assert!(!left("a") && !left("zbridge/default.sock"));
}

#[test]
fn an_ordinary_users_threads_have_no_less_than_the_lists() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let launch = with_ports(zbridge!(), &ports(&dir)).env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir);
    let zbridge = launch.ready();
    let socket = dir.text("zbridge/default.sock");
    told(dir.root(), &["wait", "port=a", "listening", "--to", &socket]);
    Thread::all(zbridge.pid()).iter().for_each(Thread::has_nothing);
    let off = zbridge!("-p", format!("unix:{}", dir.text("off")), "--sandbox", "off").as_nobody(&dir).ready();
    for thread in Thread::all(off.pid()) {
        assert_eq!((thread.field("NoNewPrivs"), thread.field("Seccomp")), ("0", "0"), "{}", thread.0);
    }
}

/// What is made belongs to who called sudo(8), who uses it, and finds the bridge.
#[test]
fn under_sudo_the_bridge_is_the_callers() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    let dir = TempDir::new();
    let socket = dir.text("a");
    let zbridge = zbridge!("-p", format!("unix:{socket}"), "-p", format!("slip:pty:{}", dir.text("tty")));
    let zbridge = zbridge.env("SUDO_UID", NOBODY).env("SUDO_GID", NOBODY).env("SUDO_USER", "nobody");
    // it makes the folder one that everybody may use
    let client = || Launch::new(env!("CARGO_BIN_EXE_zbridge")).env("XDG_RUNTIME_DIR", dir.root()).as_nobody(&dir);
    drop(client());
    let zbridge = zbridge.env("XDG_RUNTIME_DIR", dir.root()).ready();
    let root = || Launch::new(env!("CARGO_BIN_EXE_zbridge")).env("XDG_RUNTIME_DIR", dir.root());
    for ask in
        [client().arg("status"), root().args(["status", "default"]), root().arg("status").env("SUDO_UID", NOBODY)]
    {
        let exit = ask.run();
        assert!(exit.code() == 0 && exit.stdout.contains("listening"), "{exit:?}");
    }
    let exit = Launch::new("stat").args(["-L", "-c", "%u", &socket, &dir.text("tty")]).run();
    assert_eq!(exit.stdout, "65534\n65534\n", "{exit:?}");
    Thread::all(zbridge.pid()).iter().for_each(|thread| {
        thread.has_nothing();
        assert_eq!(thread.field("Uid").split_whitespace().next(), Some(NOBODY));
    });
}

#[test]
fn user_names_whom_to_go_on_as() {
    require!(needs::root());
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("a"));
    let zbridge = zbridge!("-p", &port, "--user", "daemon").ready();
    let uid = fs::read_to_string("/etc/passwd").unwrap();
    let uid = uid.lines().find_map(|line| line.strip_prefix("daemon:")?.split(':').nth(1)).unwrap().to_owned();
    for thread in Thread::all(zbridge.pid()) {
        thread.has_nothing();
        assert_eq!(thread.field("Uid").split_whitespace().next(), Some(uid.as_str()), "{}", thread.0);
    }
    let exit = zbridge!("-p", &port, "--user", "no-such-user").run();
    assert_eq!(exit.code(), 2, "{exit:?}");
    assert!(exit.stderr.contains("--user no-such-user: there is no such user"), "{exit:?}");
}

/// A port may be given away when the bridge has no right to any more: the keeper does it, and where there is none, one's own
/// is given to oneself.
#[test]
fn an_added_port_is_given_to_whom_it_is_for() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"));
    for nobody in [false, true] {
        let dir = TempDir::new();
        let port = |name: &str, keys: &str| format!("unix:{}{keys}", dir.text(name));
        let launch = zbridge!("-p", port("a", "")).env("XDG_RUNTIME_DIR", dir.root());
        let bridge = if nobody { launch.as_nobody(&dir) } else { launch }.ready();
        let ask = |port: String| {
            let ask = zbridge!("port", "add", port).env("XDG_RUNTIME_DIR", dir.root());
            if nobody { ask.as_nobody(&dir) } else { ask }.run()
        };
        let own = ask(port("own", ",user=nobody,mode=0640"));
        assert_eq!(own.code(), 0, "{own:?}");
        let theirs = ask(port("theirs", ",user=daemon"));
        assert_eq!(theirs.code(), if nobody { 5 } else { 0 }, "{theirs:?}");
        let found = fs::metadata(dir.path("own")).unwrap();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (65534, 0o640));
        bridge.sigterm();
        assert_eq!(bridge.wait().code(), 0, "it goes on whatever is asked of it");
    }
}

/// With nothing left, everything that may be lost comes back, and every kind of port can be added.
#[test]
fn what_needs_a_right_again_is_done() {
    require!(needs::netns(), needs::tun());
    let (host, far, dir) = (Namespace::new("again"), Namespace::new("far"), TempDir::new());
    host.veth("eth0", &far, "eth0");
    // files that only root may touch
    fs::write(dir.path("disk"), [0; 4096]).unwrap();
    fs::write(dir.path("leases"), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.path("keys"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for file in ["disk", "leases"] {
        fs::set_permissions(dir.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let launch = zbridge!("-p", "tap:zr0,addr=192.0.2.1/24", "-p", "packet:eth0,name=wire").inside(&host);
    let zbridge = launch.env("XDG_RUNTIME_DIR", dir.root()).ready();
    told(dir.root(), &["wait", "port=zr0"]);
    // a TAP that was deleted, an interface that came back
    host.ip("link del zr0");
    host.ip("link del eth0");
    zbridge.wait_for("zr0: the interface was deleted", PATIENCE);
    eventually("the TAP, set up as before", || {
        host.run("ip addr show zr0").output.contains("192.0.2.1/24").then_some(())
    });
    host.veth("eth0", &far, "eth0");
    told(dir.root(), &["wait", "port=wire"]);
    let path = |name: &str| dir.text(name);
    let added = [
        format!("unix:{}", path("u")),
        format!("unixseq:{}", path("s")),
        format!("unixgram:{},peer={}", path("g"), path("gp")),
        "tcp:127.0.0.1:99,listen".to_owned(),
        "udp:127.0.0.1:98->127.0.0.1:97".to_owned(),
        "tap:zr1,up".to_owned(),
        "packet:zr1,name=zr1p".to_owned(),
        format!("slip:pty:{}", path("p")),
        format!("slip:pipe:{}", path("f")),
        format!("slip:unix:{}", path("l")),
        format!("nat:10.0.2.2/24,forward=tcp:127.0.0.1:80->10.0.2.15:80,leases={}", path("leases")),
        format!(
            "usbip:10.0.2.10/24,name=files,device=mass-storage+image={},device=cdc-acm+file={},device=hid-keyboard+script={}",
            path("disk"),
            path("log"),
            path("keys")
        ),
        format!("usbip:10.0.2.9/24,device=cdc-acm+pty={},usbip-listen=127.0.0.1:96", path("acm")),
    ];
    for port in &added {
        told(dir.root(), &["port", "add", port]);
    }
    Thread::all(zbridge.pid()).iter().for_each(Thread::is_nobody);
    assert!(host.check("ss -ltn").contains("127.0.0.1:80"));
    let mut peer = StreamPeer::unix(path("u"));
    zbridge.wait_for("u#1: connected", PATIENCE);
    peer.send(&numbered(BROADCAST, [2, 0, 0, 0, 0, 7], 1, 60));
    for name in ["u", "p", "nat", "usbip", "zr1"] {
        told(dir.root(), &["port", "del", name]);
    }
    assert!(!dir.path("u").exists() && dir.path("p").symlink_metadata().is_err());
    zbridge.sigterm();
    let exit = zbridge.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
    let left: Vec<_> = fs::read_dir(dir.root()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    let mut left: Vec<_> = left.iter().filter_map(|name| name.to_str()).collect();
    left.sort_unstable();
    assert_eq!(left, ["disk", "keys", "leases", "log", "zbridge"], "all that was made is gone, but files");
}

#[test]
fn other_folders_are_out_of_reach() {
    require!(needs::root());
    // not below the temporary folder, which is anybody's
    let outside = tempfile_in("/var");
    for nobody in [false, true] {
        let dir = TempDir::new();
        let launch = zbridge!("-p", format!("unix:{}", dir.text("a"))).env("XDG_RUNTIME_DIR", dir.root());
        let zbridge = if nobody { launch.as_nobody(&dir) } else { launch }.ready();
        let to = dir.text("zbridge/default.sock");
        let exit = ask(dir.root(), &["port", "add", &format!("unix:{}/b", outside.display()), "--to", &to]);
        assert_eq!(exit.code(), 5, "{exit:?}");
        assert!(exit.stderr.contains("--sandbox off"), "{exit:?}");
        let exit = ask(dir.root(), &["port", "add", "slip:exec:cat", "--to", &to]);
        assert_eq!(exit.code(), 5, "{exit:?}");
        assert!(exit.stderr.contains("starts no program"), "{exit:?}");
        zbridge.sigint();
        zbridge.wait();
    }
    fs::remove_dir(outside).unwrap();
}

/// A folder that everybody may use.
fn tempfile_in(parent: &str) -> std::path::PathBuf {
    let folder = Path::new(parent).join(format!("zbt-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A program that `run` starts as root: no more than its network namespace asks for, unless it is said.
#[test]
fn a_program_of_roots_has_what_its_network_needs() {
    require!(needs::root(), needs::tun(), needs::tool("ping", "iputils-ping"));
    let show = ["--", "cat", "/proc/self/status"];
    let exit = zbridge!("run", "--host", "192.0.2.9/24").args(show).run();
    let program = Thread(exit.stdout.clone());
    for set in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(program.field(set), OF_A_PROGRAM, "{set}: {exit:?}");
    }
    assert_eq!(program.field("NoNewPrivs"), "1", "{exit:?}");
    let exit = zbridge!("run", "--privileged", "--host", "192.0.2.9/24").args(show).run();
    let program = Thread(exit.stdout.clone());
    assert_eq!((program.field("NoNewPrivs"), program.field("CapBnd").len()), ("0", 16), "{exit:?}");
    assert_ne!(program.field("CapBnd"), OF_A_PROGRAM, "{exit:?}");
    let script = "ping -c 1 -W 2 192.0.2.9 >&2 && ! mount -t tmpfs none /mnt 2>/dev/null";
    let exit = zbridge!("run", "--host", "192.0.2.9/24", "--", "sh", "-c", script).run();
    assert_eq!(exit.code(), 0, "{exit:?}");
}

/// Nor do the threads beside the program: who waits for it, for signals and for the bridge that it has joined; and in its
/// own namespaces, who asks for its address.
#[test]
fn what_attends_a_program_has_nothing() {
    require!(needs::root(), needs::tun());
    let dir = TempDir::new();
    let bridge = zbridge!("--name", "lab", "-p", "nat:10.0.2.2/24").env("XDG_RUNTIME_DIR", dir.root()).ready();
    let script = "cat /proc/1/task/*/status; echo over; exec sleep 60";
    let run = zbridge!("run", "--join", "lab", "--host", "dhcp", "--", "sh", "-c", script);
    let run = run.env("XDG_RUNTIME_DIR", dir.root()).spawn();
    run.wait_for("over", PATIENCE);
    let threads = Thread::all(run.pid());
    for name in ["zb-child", "zb-signals", "zb-joined"] {
        threads.iter().find(|thread| thread.name() == name).unwrap_or_else(|| panic!("{name}")).has_nothing();
    }
    let said = run.stdout();
    let init: Vec<Thread> = said.split("Name:").skip(1).map(|text| Thread(format!("Name:{text}"))).collect();
    init.iter().find(|thread| thread.name() == "zb-dhcp").expect("who asks for the address").has_nothing();
    stop(bridge);
    run.wait_for("bridge lab has ended", PATIENCE);
}

/// Beside the programs of a bench, whose starter keeps its rights, all that reads what others send has none.
#[test]
fn the_switches_of_a_bench_have_nothing_and_its_programs_come_back() {
    require!(needs::root(), needs::tun());
    let dir = TempDir::new();
    let text = format!(
        "port = [\"unix:{}\", \"nat:192.0.2.2/24\"]\n[[instance]]\nname = \"again\"\nhost = \"192.0.2.9/24\"\n\
         restart = \"on-failure\"\ncommand = [\"sh\", \"-c\", \"grep CapEff /proc/self/status; sleep 0.2; exit 1\"]\n",
        dir.text("a")
    );
    let bench = zbridge!("up", dir.file("bench.toml", text), "--logs", dir.text("logs")).spawn();
    bench.wait_for_nth(&format!("again  | CapEff:\t{OF_A_PROGRAM}"), 2, PATIENCE);
    let engine = ["zb-default", "zb-nat", "zb-control", "zb-signals", "zb-starter", "zb-output"];
    let threads = Thread::all(bench.pid());
    for name in engine {
        threads.iter().find(|thread| thread.name() == name).unwrap_or_else(|| panic!("{name}")).is_nobody();
    }
    stop(bench);
}

fn stop(process: Process) {
    process.sigint();
    let exit = process.wait();
    assert_eq!(exit.code(), 0, "{exit:?}");
}
