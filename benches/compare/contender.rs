//! Who is measured, and how each is started with its ports. A program that is not installed is left out; nothing is
//! installed.

use super::link::Link;
use super::process::Program;
use super::{Fault, Result};
use rustix::net::SocketType;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Namespace, TempDir, needs};

/// A program that moves frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Contender {
    /// This project's.
    Zbridge,
    /// The least that a program can do with the same system calls (`relay.rs`).
    Bare,
    /// The same with super-frames between TAPs.
    BareGso,
    /// vde_switch of vde2, with its own datagram sockets or TAPs.
    Vde,
    /// ovs-vswitchd with its user-space datapath.
    Ovs,
    /// QEMU's hub.
    Qemu,
    /// socat, between two ports.
    Socat,
    /// The kernel's bridge between veths.
    Kernel,
}

use Contender::{Bare, BareGso, Kernel, Ovs, Qemu, Socat, Vde, Zbridge};

/// All of them, in the order of the tables.
pub const ALL: [Contender; 8] = [Zbridge, Bare, BareGso, Vde, Ovs, Qemu, Socat, Kernel];

impl Contender {
    /// Its name on the command line and in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Zbridge => "zbridge",
            Bare => "bare relay",
            BareGso => "bare relay, GSO",
            Vde => "vde_switch",
            Ovs => "Open vSwitch",
            Qemu => "QEMU hub",
            Socat => "socat",
            Kernel => "kernel bridge",
        }
    }

    /// The program, its Debian package, and the argument that makes it tell its version; none, if it is built here.
    pub fn program(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Zbridge | Bare | BareGso => None,
            Vde => Some(("vde_switch", "vde2", "--version")),
            Ovs => Some(("ovs-vswitchd", "openvswitch-switch", "--version")),
            Qemu => Some(("qemu-system-x86_64", "qemu-system-x86", "--version")),
            Socat => Some(("socat", "socat", "-V")),
            Kernel => Some(("ip", "iproute2", "-V")),
        }
    }

    /// Says what is missing, if it is not there.
    pub fn missing(self) -> Option<String> {
        let (program, package, _) = self.program()?;
        needs::tool(program, package).err().map(|missing| missing.to_string())
    }

    /// Its version, in its own words.
    pub fn version(self) -> String {
        let Some((program, _, argument)) = self.program() else { return env!("CARGO_PKG_VERSION").into() };
        let ran = Command::new(program).arg(argument).output();
        let said = ran.map(|ran| [ran.stdout, ran.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.chars().any(|sign| sign.is_ascii_digit()));
        line.unwrap_or_default().trim().to_owned()
    }
}

/// What ports are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// UNIX stream sockets (for vde_switch its own).
    Stream,
    /// UNIX SOCK_SEQPACKET sockets (the same).
    Seq,
    /// UNIX datagram sockets (the same).
    Gram,
    /// Two TAPs, with a host behind each.
    Tap,
}

/// What a workload needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// How many ports; two, if they are TAPs.
    pub ports: usize,
    /// What they are made of.
    pub medium: Medium,
    /// Stations that it has to remember.
    pub stations: usize,
    /// How the bare relay finds its way: `pairs`, `table`, `flood`.
    pub way: &'static str,
}

/// Where the programs are that are not on the PATH.
pub struct Lab {
    /// zbridge.
    pub zbridge: PathBuf,
    /// This program, for the relays.
    pub relay: PathBuf,
}

/// A contender at work. The fields are dropped in this order.
pub struct Running {
    /// Its process; the kernel has none.
    pub program: Option<Program>,
    _helpers: Vec<Program>,
    /// The other ends of its ports.
    pub links: Vec<Link>,
    /// Behind TAPs: the two hosts.
    pub hosts: Vec<Namespace>,
    _home: Option<Namespace>,
    folder: TempDir,
}

/// The address of the host behind TAP `index`.
pub fn host(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, index + 1)
}

/// The TAPs' names, in the switch's namespace until each has its host.
const TAPS: [&str; 2] = ["zc0", "zc1"];
/// What they have in common.
const TAP: &str = "zc";

impl Lab {
    /// Starts `contender` with what a workload needs.
    pub fn start(&self, contender: Contender, need: &Need) -> Result<Running> {
        let folder = TempDir::new();
        let home = (need.medium == Medium::Tap).then(|| Namespace::new("switch"));
        let mut running =
            Running { program: None, _helpers: Vec::new(), links: Vec::new(), hosts: Vec::new(), _home: home, folder };
        if need.medium == Medium::Gram && contender != Vde {
            let own = |index| running.folder.path(&format!("g{index}"));
            running.links = (0..need.ports).map(|index| Link::gram(&own(index))).collect::<Result<_>>()?;
        }
        match contender {
            Kernel => running.kernel_bridge(),
            Ovs => running.open_vswitch()?,
            _ => {
                let command = self.command(contender, need, &running.folder);
                running.launch(command)?;
            }
        }
        if need.medium == Medium::Tap {
            running.add_hosts()?;
        } else {
            running.attach(contender, need)?;
        }
        if let Some(program) = &mut running.program {
            program.check()?;
        }
        Ok(running)
    }

    fn command(&self, contender: Contender, need: &Need, folder: &TempDir) -> Command {
        let (program, arguments) = match contender {
            Zbridge => (self.zbridge.clone(), zbridge(need, folder)),
            Bare | BareGso => (self.relay.clone(), relay(contender, need, folder)),
            Vde => ("vde_switch".into(), vde(need, folder)),
            Qemu => ("qemu-system-x86_64".into(), qemu(need, folder)),
            Socat => ("socat".into(), socat(need, folder)),
            Ovs | Kernel => ("true".into(), Vec::new()),
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

fn zbridge(need: &Need, folder: &TempDir) -> Vec<String> {
    let mut words = vec!["-qq".into()];
    if need.stations > 10_000 {
        words.extend(["--switch".into(), "default,fdb-limit=1048576,fdb-port-limit=1048576".into()]);
    }
    let mut port = |spec: String| words.extend(["--port".into(), spec]);
    match need.medium {
        Medium::Stream => port(format!("unix:{}", folder.text("p"))),
        Medium::Seq => port(format!("unixseq:{}", folder.text("p"))),
        Medium::Tap => TAPS.iter().for_each(|tap| port(format!("tap:{tap}"))),
        Medium::Gram => (0..need.ports).for_each(|index| {
            let (own, peer) = (folder.text(&format!("p{index}")), folder.text(&format!("g{index}")));
            port(format!("unixgram:{own},peer={peer}"));
        }),
    }
    words
}

fn relay(contender: Contender, need: &Need, folder: &TempDir) -> Vec<String> {
    let ports = need.ports.to_string();
    let mut words = vec!["--relay".to_owned()];
    match need.medium {
        Medium::Stream => words.extend(["stream".into(), need.way.into(), folder.text("p"), ports]),
        Medium::Seq => words.extend(["seq".into(), folder.text("p"), ports]),
        Medium::Gram => {
            words.push("gram".into());
            let names = |index| [format!("p{index}"), format!("g{index}")];
            words.extend((0..need.ports).flat_map(names).map(|name| folder.text(&name)));
        }
        Medium::Tap => {
            words.push(if contender == BareGso { "gso" } else { "tap" }.into());
            words.extend(TAPS.map(str::to_owned));
        }
    }
    words
}

fn vde(need: &Need, folder: &TempDir) -> Vec<String> {
    let mut words = vec!["-s".into(), folder.text("vde"), "-n".into(), (need.ports + 2).to_string()];
    if need.stations > 1000 {
        // the largest that it accepts
        words.extend(["--hashsize".into(), "65536".into()]);
    }
    if need.medium == Medium::Tap {
        words.extend(TAPS.iter().flat_map(|tap| ["-t".to_owned(), (*tap).to_owned()]));
    }
    words
}

fn qemu(need: &Need, folder: &TempDir) -> Vec<String> {
    let plain = "-machine none -nodefaults -display none -monitor none -serial none";
    let mut words: Vec<String> = plain.split(' ').map(str::to_owned).collect();
    for index in 0..need.ports {
        let path = folder.text(&format!("p{index}"));
        let netdev = match need.medium {
            Medium::Tap => format!("tap,id=n{index},ifname={TAP}{index},script=no,downscript=no"),
            _ => format!("stream,id=n{index},server=on,addr.type=unix,addr.path={path}"),
        };
        let hub = format!("hubport,id=h{index},hubid=0,netdev=n{index}");
        words.extend(["-netdev".into(), netdev, "-netdev".into(), hub]);
    }
    words
}

fn socat(need: &Need, folder: &TempDir) -> Vec<String> {
    let mut words = vec!["-b".into(), "131072".into()];
    for (index, tap) in TAPS.iter().enumerate() {
        let path = folder.text(&format!("p{index}"));
        words.push(match need.medium {
            Medium::Tap => format!("TUN,tun-type=tap,tun-name={tap},iff-no-pi,iff-up"),
            Medium::Seq => format!("UNIX-LISTEN:{path},type=5"),
            _ => format!("UNIX-LISTEN:{path}"),
        });
    }
    words
}

impl Running {
    /// A command that will run in the switch's namespace, if it has one.
    fn at_home(&self, command: Command) -> Command {
        let Some(home) = &self._home else { return command };
        let mut inside = home.command(&command.get_program().to_string_lossy());
        inside.args(command.get_args());
        inside
    }

    fn launch(&mut self, command: Command) -> Result<()> {
        let command = self.at_home(command);
        self.program = Some(Program::start(command, self.folder.path("log"))?);
        Ok(())
    }

    fn attach(&mut self, contender: Contender, need: &Need) -> Result<()> {
        let folder = &self.folder;
        let path = |name: &str, index: usize| folder.path(&format!("{name}{index}"));
        let kind = if need.medium == Medium::Seq { SocketType::SEQPACKET } else { SocketType::STREAM };
        let attached: Result<Vec<Link>> = match (contender, need.medium) {
            (Vde, _) => (0..need.ports).map(|index| Link::vde(&folder.path("vde"), &path("c", index), index)).collect(),
            (_, Medium::Gram) => {
                return self.links.iter().enumerate().try_for_each(|(index, link)| link.aim(&path("p", index)));
            }
            (Zbridge | Bare, _) => (0..need.ports).map(|_| Link::dial(&folder.path("p"), kind)).collect(),
            _ => (0..need.ports).map(|index| Link::dial(&path("p", index), kind)).collect(),
        };
        self.links = attached.map_err(|fault| self.explain(fault))?;
        Ok(())
    }

    /// The end of the program says more than what it led to.
    fn explain(&mut self, fault: Fault) -> Fault {
        self.program.as_mut().and_then(|program| program.check().err()).unwrap_or(fault)
    }

    fn home(&self) -> Result<&Namespace> {
        self._home.as_ref().ok_or_else(|| "the switch has no namespace".into())
    }

    /// Moves each TAP to a host of its own and gives it an address there.
    fn add_hosts(&mut self) -> Result<()> {
        for (index, tap) in (0..).zip(TAPS) {
            let host_namespace = Namespace::new(tap);
            let home = self.home()?;
            let start = Instant::now();
            while home.run(&format!("ip link show {tap}")).rc != 0 {
                if start.elapsed() > Duration::from_secs(15) {
                    return Err(self.explain(format!("there is no TAP {tap}").into()));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            home.ip(&format!("link set {tap} netns {}", host_namespace.name()));
            host_namespace.check("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
            host_namespace.ip(&format!("addr add {}/24 dev {tap}", host(index)));
            host_namespace.ip(&format!("link set {tap} up"));
            self.hosts.push(host_namespace);
        }
        let ping = format!("ping -n -q -c 3 -i 0.2 -W 2 {}", host(1));
        let ran = self.hosts[0].run(&ping);
        if ran.rc != 0 {
            return Err(self.explain("the hosts behind the TAPs cannot reach each other".into()));
        }
        self.links = vec![Link::udp(&self.hosts[0], host(0), host(1))?, Link::udp(&self.hosts[1], host(1), host(0))?];
        Ok(())
    }

    fn kernel_bridge(&self) {
        let Ok(home) = self.home() else { return };
        home.ip("link add br0 type bridge");
        home.ip("link set br0 up");
        for tap in TAPS {
            home.ip(&format!("link add {tap} type veth peer name b{tap}"));
            home.ip(&format!("link set b{tap} master br0 up"));
        }
    }

    /// A database, its schema, and the daemon, all in the folder; then a bridge in user space with two TAPs.
    fn open_vswitch(&mut self) -> Result<()> {
        let database = self.folder.text("conf.db");
        let socket = self.folder.text("db.sock");
        let control = |name: &str| format!("--unixctl={}", self.folder.text(name));
        let run = |program: &str, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words);
            self.at_home(command)
        };
        let made =
            run("ovsdb-tool", &["create", &database, "/usr/share/openvswitch/vswitch.ovsschema"]).output()?.status;
        if !made.success() {
            return Err("ovsdb-tool cannot make a database".into());
        }
        let remote = format!("--remote=punix:{socket}");
        let server = run("ovsdb-server", &[&database, &remote, &control("db.ctl")]);
        let address = format!("unix:{socket}");
        let mut daemon = run("ovs-vswitchd", &[&address, &control("sw.ctl"), "--disable-system"]);
        daemon.env("OVS_RUNDIR", self.folder.root()).env("OVS_LOGDIR", self.folder.root());
        let to = format!("--db={address}");
        let taps = TAPS.map(|tap| format!("-- add-port br0 {tap} -- set interface {tap} type=tap"));
        let words = format!("{to} --timeout=15 add-br br0 -- set bridge br0 datapath_type=netdev {}", taps.join(" "));
        let mut configure = run("ovs-vsctl", &words.split(' ').collect::<Vec<_>>());
        self._helpers.push(Program::start(server, self.folder.path("db.log"))?);
        std::thread::sleep(Duration::from_millis(300));
        self.program = Some(Program::start(daemon, self.folder.path("log"))?);
        let configured = configure.output()?;
        if !configured.status.success() {
            let said = String::from_utf8_lossy(&configured.stderr).trim().to_owned();
            return Err(self.explain(format!("ovs-vsctl: {said}").into()));
        }
        Ok(())
    }
}
