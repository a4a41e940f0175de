//! What a bridge gives up: from the command line and the ports to a [`Policy`].

use crate::config::{Config, MetricsAt, PortKind, PortSpec, Serial, Transport, UsbKind};
use crate::error::{Class, Error, Result};
use crate::port::{keeper, sys};
use crate::rights::deed::Orders;
use crate::rights::{self, Mode, Policy, User};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};
use std::path::{Path, PathBuf};

/// What the command line says of it.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
pub struct SandboxArgs {
    /// What zbridge itself gives up once its ports are open: capabilities, folders, system calls [default: on]
    #[arg(long, value_name = "on|off|log", value_enum, hide_possible_values = true)]
    pub sandbox: Option<Mode>,

    /// Started by root, go on as this user [default: who called sudo, else nobody]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

impl SandboxArgs {
    /// The same with what `other` says of it instead.
    #[must_use]
    pub fn overlaid(self, other: &Self) -> Self {
        Self { sandbox: other.sandbox.or(self.sandbox), user: other.user.clone().or(self.user) }
    }
}

/// The user of no files, where the system does not name one.
const NOBODY: u32 = 65_534;

/// The lowest port of TCP and UDP for everybody (ip(7), `ip_unprivileged_port_start`).
const LOW_PORTS: u16 = 1024;

/// What a process runs.
#[derive(Clone, Copy, Debug)]
pub enum Runs<'a> {
    /// A bridge of these ports, and perhaps programs on it.
    Bridge(&'a Config),
    /// A program on another process's bridge: threads wait for it, and one in its namespaces asks for its address.
    Program,
    /// Neither: it asks, and ends.
    Nothing,
}

/// Puts in force what is asked for. It comes before anything is opened, and before there is any other thread that has to be
/// held to it.
///
/// # Errors
/// There is no such user; the keeper of rights cannot be started.
pub fn install(args: &SandboxArgs, runs: Runs<'_>) -> Result<()> {
    let nothing = Config::default();
    let (config, bridge) = match runs {
        Runs::Bridge(config) => (config, true),
        Runs::Program => (&nothing, false),
        Runs::Nothing => return Ok(()),
    };
    let root = geteuid().is_root();
    if args.user.is_some() && !root {
        return Err(Error::new(Class::Permission, "--user: only root goes on as another user"));
    }
    let programs = config.ports.iter().any(|port| matches!(port.kind.transport(), Some(Transport::Exec { .. })));
    let user = if root { Some(user(args.user.as_deref())?) } else { None };
    let mode = args.sandbox.unwrap_or_default();
    if mode == Mode::Off {
        return Ok(());
    }
    // What an `exec:` port starts is started as who called, again and again, so its bridge stays that.
    let user = user.filter(|_| !programs && may_change_users());
    // A program's threads make nothing.
    let places = if bridge { places(config, user.as_ref()) } else { Vec::new() };
    let owner = user.as_ref().map_or((0, 0), |user| (user.uid, user.gid));
    let log = mode == Mode::Log;
    let keeper =
        if root && bridge { Some(keeper::start(&Orders { places: places.clone(), owner, log })?) } else { None };
    let keep = if root { CapabilitySet::empty() } else { needed(config) };
    sys::trap::arm();
    in_quiet(|| rights::install(Policy { mode, user, keep, places, keeper, programs }))?;
    Ok(())
}

/// Does `work` on a thread that holds all signals back, as those that it starts will: who wants them asks for them later,
/// and they must not come to another thread then.
fn in_quiet<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let work = || {
            let held = sys::process::Signals::hold(&[]).map_err(|errno| Error::system("signals", &errno.into()))?;
            let done = work();
            drop(held);
            done
        };
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whom to go on as.
fn user(given: Option<&str>) -> Result<User> {
    let account = |name: &str| {
        let found = sys::account(name)?;
        let (name, uid, gid, groups) = (found.name, found.uid, found.gid, found.groups);
        Some(User { name, uid, gid, groups, person: true })
    };
    if let Some(name) = given {
        return account(name).ok_or_else(|| Error::usage(format!("--user {name}: there is no such user")));
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if let (Some(uid), Some(gid)) = (number("SUDO_UID").filter(|uid| *uid != 0), number("SUDO_GID")) {
        let found = std::env::var("SUDO_USER").ok().and_then(|name| account(&name)).filter(|user| user.uid == uid);
        let unnamed = User { name: uid.to_string(), uid, gid, groups: vec![gid], person: true };
        return Ok(found.unwrap_or(unnamed));
    }
    let nobody = User { name: "nobody".into(), uid: NOBODY, gid: NOBODY, groups: Vec::new(), person: false };
    Ok(account("nobody").map_or(nobody, |found| User { groups: Vec::new(), person: false, ..found }))
}

/// Whether root is one who may become another: not in a namespace that knows no other.
fn may_change_users() -> bool {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let users: u64 = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    has.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) && users > u64::from(NOBODY)
}

/// The capabilities that ports need again, of a user who has some.
fn needed(config: &Config) -> CapabilitySet {
    let mut needed = CapabilitySet::empty();
    for port in &config.ports {
        match &port.kind {
            PortKind::Tap(_) => needed |= CapabilitySet::NET_ADMIN,
            PortKind::Packet(packet) => {
                needed |= CapabilitySet::NET_RAW;
                needed.set(CapabilitySet::NET_ADMIN, needed.contains(CapabilitySet::NET_ADMIN) || packet.up);
            }
            PortKind::Nat(nat) if nat.forwards.iter().any(|forward| forward.listen.port() < LOW_PORTS) => {
                needed |= CapabilitySet::NET_BIND_SERVICE;
            }
            PortKind::Nat(_) | PortKind::Usbip(_) | PortKind::Slip(_) | PortKind::Wpan(_) => {}
            PortKind::Unix(_) | PortKind::UnixGram(_) | PortKind::Tcp(_) | PortKind::Udp(_) => {}
        }
    }
    needed
}

/// The folders in which anything is made, opened or removed: of its ports, and those where sockets usually are.
fn places(config: &Config, user: Option<&User>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = vec![std::env::temp_dir(), "/tmp".into(), crate::engine::control::directory()];
    places.extend(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from));
    places.extend(user.filter(|user| user.person).map(|user| PathBuf::from(format!("/run/user/{}", user.uid))));
    let folder = |path: &Path| {
        path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent }.to_owned())
    };
    let of_switches = config.switches.iter().flat_map(|switch| [&switch.capture, &switch.fates]);
    let captures = of_switches.filter_map(|path| path.as_deref());
    let captures = captures.chain(config.instances.iter().flat_map(|it| it.captures()).map(|(path, _)| path));
    places.extend(captures.filter_map(folder));
    // It may be read again.
    places.extend(config.source.as_deref().and_then(|source| folder(&source.file)));
    if let Some(MetricsAt::Unix(path)) = &config.metrics {
        places.extend(folder(path));
    }
    for port in &config.ports {
        places.extend(port.capture.as_deref().and_then(folder));
        places.extend(paths(port).into_iter().filter_map(folder));
        if let PortKind::Nat(nat) = &port.kind {
            places.extend(nat.lan.tftp.clone());
            places.extend(nat.lan.leases.as_deref().and_then(folder));
        }
        if let Some(Transport::Serial(uart)) = port.kind.transport() {
            places.push("/dev".into());
            // A link by the adapter's serial number leads to the device.
            places.extend(uart.device.canonicalize().ok().as_deref().and_then(folder));
        }
    }
    places.iter().filter_map(|place| std::path::absolute(place).ok()).collect()
}

/// What a port has a path for.
fn paths(port: &PortSpec) -> Vec<&Path> {
    let of_transport = port.kind.transport().and_then(|transport| match transport {
        Transport::Unix { path, .. } | Transport::Pty { path, .. } | Transport::Pipe { path, .. } => {
            Some(path.as_path())
        }
        Transport::Serial(uart) => Some(&uart.device),
        Transport::Tcp { .. } | Transport::Fd(_) | Transport::Exec { .. } => None,
    });
    match &port.kind {
        PortKind::Unix(unix) => vec![&unix.path],
        PortKind::UnixGram(unix) => unix.peer.iter().map(PathBuf::as_path).chain([unix.path.as_path()]).collect(),
        PortKind::Usbip(usbip) => usbip.devices.iter().filter_map(|device| of_device(&device.kind)).collect(),
        PortKind::Slip(_) | PortKind::Wpan(_) => of_transport.into_iter().collect(),
        PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Tcp(_) | PortKind::Udp(_) | PortKind::Nat(_) => Vec::new(),
    }
}

fn of_device(kind: &UsbKind) -> Option<&Path> {
    match kind {
        UsbKind::CdcAcm(Serial::Pty(path, _) | Serial::Unix(path, _) | Serial::File(path)) => Some(path),
        UsbKind::MassStorage { image, .. } => Some(image),
        UsbKind::Keyboard(script) | UsbKind::Mouse(script) => script.as_deref(),
        UsbKind::CdcAcm(Serial::Echo | Serial::Tcp(_)) | UsbKind::Loopback => None,
    }
}
