//! Network namespaces: a host of its own for each end of a test.

use crate::{Ran, eventually};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// A network namespace with a name no other has, lo up, removed on drop.
///
/// IPv6 addresses are usable at once in it: duplicate address detection is off.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace; `label` shows in its name (`zbt-PID-N-LABEL`). Needs [`needs::netns`](crate::needs::netns).
    pub fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_orphans);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("zbt-{}-{number}-{label}", std::process::id()) };
        assert!(ip_netns("add", &namespace.name), "ip netns add {}", namespace.name);
        namespace.check("ip link set lo up; echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
        namespace
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run `program` in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a shell script in it.
    pub fn run(&self, script: &str) -> Ran {
        let ran = self.command("sh").args(["-c", &format!("exec 2>&1\n{script}")]).output().expect("ip runs");
        Ran { rc: ran.status.code().unwrap_or(-1), output: String::from_utf8_lossy(&ran.stdout).into_owned() }
    }

    /// Runs a shell script that must succeed, and gives its output.
    pub fn check(&self, script: &str) -> String {
        self.run(script).checked(&self.name, script)
    }

    /// Runs `ip ARGUMENTS` in it, which must succeed: `ns.ip("addr add 192.0.2.1/24 dev eth0")`.
    pub fn ip(&self, arguments: &str) -> String {
        self.check(&format!("ip {arguments}"))
    }

    /// Joins it to `other` with a veth pair: `near` here, `far` there, both up.
    pub fn veth(&self, near: &str, other: &Self, far: &str) {
        self.ip(&format!("link add {near} type veth peer name {far} netns {}", other.name));
        self.ip(&format!("link set {near} up"));
        other.ip(&format!("link set {far} up"));
    }

    /// Whether one ping (IPv4 or IPv6) to `address` is answered within two seconds.
    pub fn pings(&self, address: &str) -> bool {
        self.run(&format!("ping -n -c 1 -W 2 {address}")).rc == 0
    }

    /// Has TCP run for a second to `other`, which is 192.0.2.2, and for another one back by IPv6 from 2001:db8::2: a
    /// megabyte at least each time. Needs iperf3.
    ///
    /// # Panics
    /// Less has arrived.
    pub fn transfers_with(&self, other: &Self) {
        other.check("iperf3 -s -D --one-off -p 5201; iperf3 -s -D --one-off -p 5202");
        for arguments in ["-c 192.0.2.2", "-R -p 5202 -c 2001:db8::2"] {
            // the servers say nothing when they are ready
            let report = eventually("a server", || {
                let ran = self.run(&format!("iperf3 -J -t 1 {arguments}"));
                (ran.rc == 0).then_some(ran.output)
            });
            let octets = report.split("\"sum_received\"").nth(1).and_then(|sum| sum.split("\"bytes\":").nth(1));
            let octets: f64 =
                octets.and_then(|text| text.split(',').next()?.trim().parse().ok()).expect("iperf3's report");
            assert!(octets > 1e6, "{octets} octets in a second");
        }
    }

    /// Moves the calling thread into it, for good.
    pub fn enter(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace's file");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("setns");
    }

    /// Calls `work` inside it, on a thread of its own: sockets opened there stay in the namespace when they are handed
    /// out.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip_netns("del", &self.name);
    }
}

fn ip_netns(verb: &str, name: &str) -> bool {
    Command::new("ip").args(["netns", verb, name]).output().is_ok_and(|ran| ran.status.success())
}

/// Removes the namespaces of test processes that were killed before they could.
fn remove_orphans() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let pid = name.strip_prefix("zbt-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            ip_netns("del", &name);
        }
    }
}
