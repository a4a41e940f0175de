//! A machine on which a reader types what a page says: an ordinary user with an empty home, a network of its own, a `/tmp`
//! and a `/srv` that are the test's, and the programs that the text takes for granted.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use support::standin::{Build, tap_program, tun_program};
use support::{Launch, Namespace, Process, TempDir};

/// What stands in for a program that a machine for tests does not have.
struct StandIn {
    /// Where the reader has it: a command of the search path, or a file below the folder they are in.
    place: &'static str,
    /// The script; TAP and TUN are the programs of `tests/support/standin`, which behave as native_sim and Contiki-NG do.
    script: &'static str,
    /// Why it is not the program itself; it stands in the script, too.
    why: &'static str,
}

const STAND_INS: &[StandIn] = &[
    StandIn {
        place: "work/zephyr.exe",
        script: "exec TAP \"$@\"",
        why: "a native_sim image takes a Zephyr tree and its toolchain; this one opens its TAP with the same calls",
    },
    StandIn { place: "work/zephyr/zephyr.exe", script: "exec TAP \"$@\"", why: "the same, where west puts it" },
    StandIn {
        place: "work/riot.elf",
        script: "exec TAP --eth-if=\"$1\" --ipv4-addr=192.0.2.7",
        why: "a RIOT image takes its tree; RIOT native is told the TAP as its first argument",
    },
    StandIn {
        place: "work/coap-example-server.native",
        script: "exec TUN 2001:db8::302:304:506:708",
        why: "a Contiki-NG image takes its tree; its native platform opens tun0 as a TUN",
    },
    StandIn {
        place: "bin/west",
        script: "[ \"$*\" = 'build -t run' ] && exec TAP",
        why: "west takes a Zephyr tree; it runs the image in the folder of the build",
    },
    StandIn {
        place: "bin/sudo",
        script: "SUDO_UID=65534 SUDO_GID=65534 exec \"$@\"",
        why: "lines with sudo are run as root by the test: a container often has no sudo, and no user may become root",
    },
    StandIn { place: "bin/modprobe", script: "[ \"$*\" = vhci-hcd ]", why: "a container loads no modules" },
    StandIn {
        place: "bin/usbip",
        script: "[ \"$1\" = attach ] || exec /usr/sbin/usbip \"$@\"\n/usr/sbin/usbip list -r \"$3\" | grep -q \" $5:\"",
        why: "without the module nothing attaches: the server is asked for the bus id instead, by the real usbip",
    },
];

/// Files that the reader has beside them.
const FILES: &[(&str, &str)] = &[
    ("srv/boot/zephyr.bin", "boot"),
    ("srv/boot/undionly.kpxe", "boot"),
    ("srv/boot/boot.ipxe", "boot"),
    (
        "work/lab.toml",
        "[[port]]\ntype = \"unix\"\ntarget = \"/tmp/inst1\"\n[[instance]]\nname = \"board\"\ncommand = [\"sh\", \"-c\", \"echo up; sleep 1000\"]\nready = \"log up\"\n",
    ),
];

/// Who may open a TAP on an ordinary machine: everybody.
const MOUNTS: &str = "mount --bind BASE/tmp /tmp && mount --bind BASE/srv /srv && mount -t tmpfs none /dev/net && \
                      mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";

/// See the head of the file.
pub struct Ground {
    /// Where all of it is. Not in /tmp, which is another one there.
    base: tempfile::TempDir,
    network: Namespace,
}

impl Ground {
    /// Makes it. Needs root.
    pub fn new(label: &str) -> Self {
        let base = tempfile::Builder::new().prefix("zbdocs").tempdir_in("/var/tmp").expect("a new folder");
        open(base.path(), 0o755);
        let ground = Self { base, network: Namespace::new(label) };
        for (folder, mode) in
            [("tmp", 0o1777), ("home", 0o755), ("work", 0o755), ("run", 0o700), ("bin", 0o755), ("srv", 0o755)]
        {
            std::fs::create_dir(ground.path(folder)).expect("a folder");
            open(&ground.path(folder), mode);
            chown(ground.path(folder), Some(65534), Some(65534)).expect("a folder of the user's");
        }
        // By another process: what this one has open for writing cannot be run.
        let [tap, tun] = compiled();
        let zbridge = env!("CARGO_BIN_EXE_zbridge").into();
        for (from, to) in [(zbridge, "bin/zbridge"), (tap, "bin/tap_program"), (tun, "bin/tun_program")] {
            let copied = std::process::Command::new("cp").arg::<&PathBuf>(&from).arg(ground.path(to)).status();
            assert!(copied.is_ok_and(|status| status.success()), "room for {to}");
            open(&ground.path(to), 0o755);
        }
        let [tap, tun] = ["tap", "tun"].map(|kind| ground.path(&format!("bin/{kind}_program")).display().to_string());
        for it in STAND_INS {
            assert!(!it.why.is_empty(), "{}: why is it not the program itself?", it.place);
            let script = it.script.replace("TAP", &tap).replace("TUN", &tun);
            ground.put(it.place, &format!("#!/bin/sh\n# {}\n{script}\n", it.why), 0o755);
        }
        FILES.iter().for_each(|(place, text)| ground.put(place, text, 0o644));
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Writes a file of the user's.
    pub fn put(&self, place: &str, text: &str, mode: u32) {
        let path = self.path(place);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        open(&path, mode);
    }

    /// Types a command in a terminal of its own. Whoever starts a shell is asked whether they are there.
    pub fn types(&self, command: &str) -> Process {
        let stdin = "exec < <(echo 'echo a shell is here'; exec sleep 1000)\n";
        let line = if command.contains("-- bash") { format!("{stdin}{command}") } else { command.to_owned() };
        let mounts = MOUNTS.replace("BASE", &self.base.path().display().to_string());
        let bin = format!("PATH={}:{}", self.path("bin").display(), std::env::var("PATH").expect("a search path"));
        let user: &[&str] = if command.starts_with("sudo ") {
            &[]
        } else {
            &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        };
        Launch::new("bash")
            .args(["-c", &line])
            .under(["unshare", "-m", "sh", "-c", &mounts, "sh"])
            .under(user.iter().copied())
            .under(["env", "-C", self.path("work").to_str().expect("ASCII"), &bin])
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .inside(&self.network)
            .spawn()
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode in the test's folder");
}

/// The stand-ins for native_sim and Contiki-NG, compiled once.
fn compiled() -> [PathBuf; 2] {
    static PROGRAMS: std::sync::OnceLock<(TempDir, [PathBuf; 2])> = std::sync::OnceLock::new();
    let (_, programs) = PROGRAMS.get_or_init(|| {
        let dir = TempDir::new();
        let needed = "a C compiler, which was asked for";
        let programs = [tap_program(&dir, Build::Dynamic).expect(needed), tun_program(&dir).expect(needed)];
        (dir, programs)
    });
    programs.clone()
}
