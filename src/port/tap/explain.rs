//! Why a TAP could not be had, and what to do about it.
//!
//! The kernel answers with a bare errno and means several things by each. What it means is found out here, once
//! something has failed: by looking at the interface, at /dev/net/tun, and at who holds it.

use crate::config;
use crate::config::text::shell;
use crate::error::{Class, Error, SOMEBODY, copy};
use crate::port::netlink::Interface;
use crate::port::owner;
use crate::wire::{Cidr, Mac};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;

/// Where TAPs come from.
const DEVICE: &str = "/dev/net/tun";

/// A setting for an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// This address of its own.
    Mac(Mac),
    /// This mtu.
    Mtu(u32),
    /// Set up.
    Up,
    /// This network address.
    Addr(Cidr),
}

/// A change, and the command that makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The change.
    pub change: Change,
    command: String,
}

impl Step {
    /// The key that asks for it.
    pub fn what(&self) -> String {
        match &self.change {
            Change::Mac(mac) => format!("mac={mac}"),
            Change::Mtu(mtu) => format!("mtu={mtu}"),
            Change::Up => "up".to_owned(),
            Change::Addr(cidr) => format!("addr={cidr}"),
        }
    }
}

/// All that makes the interface `name` what is asked for, in order: up before it has addresses, since with a link-local one
/// the kernel asks for routers on the spot, up or not, and what it sends while the interface is down is lost
/// (addrconf_dad_begin).
pub fn steps(name: &str, options: &config::Tap, mtu: Option<u32>) -> Vec<Step> {
    let is_up = options.up || !options.addrs.is_empty();
    let changes = options.mac.map(Change::Mac).into_iter().chain(mtu.map(Change::Mtu));
    let changes = changes.chain(is_up.then_some(Change::Up)).chain(options.addrs.iter().copied().map(Change::Addr));
    let name = shell(name);
    let step = |change: Change| {
        let command = match &change {
            Change::Mac(mac) => format!("ip link set {name} address {mac}"),
            Change::Mtu(mtu) => format!("ip link set {name} mtu {mtu}"),
            Change::Up => format!("ip link set {name} up"),
            Change::Addr(cidr) => format!("ip addr add {cidr} dev {name}"),
        };
        Step { change, command }
    };
    changes.map(step).collect()
}

/// The commands for `steps`, for root to type, on one line.
pub fn commands(steps: &[Step]) -> String {
    let commands: Vec<String> = steps.iter().map(|step| format!("sudo {}", step.command)).collect();
    commands.join(" && ")
}

/// An open TAP could not be set up for want of the right.
pub fn not_set_up(port: &str, refused: &[Step]) -> String {
    let what: Vec<String> = refused.iter().map(Step::what).collect();
    format!("{port}: not permitted to set it up ({}); it is used as it is", what.join(", "))
}

/// TUNSETIFF, or the opening of its device, failed. `before` is the interface that was there.
pub fn not_opened(options: &config::Tap, mtu: Option<u32>, cause: &io::Error, before: Option<&Interface>) -> Error {
    let name = options.name.as_str();
    let port = format!("tap:{name}");
    // All of it at once, so that nobody comes back for each of them.
    let made = || {
        let make = format!("sudo ip tuntap add {} mode tap user $USER", shell(name));
        let steps = commands(&steps(name, options, mtu));
        if steps.is_empty() { make } else { format!("{make} && {steps}") }
    };
    if let Err(cause) = fs::File::options().read(true).write(true).open(DEVICE) {
        return no_device(&port, &cause);
    }
    let error = match (Errno::from_io_error(cause), before) {
        (Some(Errno::PERM), None) => {
            Error::new(Class::Permission, format!("{port}: not permitted to create it")).hint(made())
        }
        (Some(Errno::PERM), Some(tap)) => Error::new(Class::Permission, format!("{port}: {}", belongs(tap)))
            .hint(format!("sudo ip link delete {} && {}", shell(name), made())),
        (Some(Errno::BUSY), _) => {
            let name = name.to_owned();
            Error::new(Class::Runtime, format!("{port}: in use by {SOMEBODY}"))
                .who(move || user(&name, Path::new("/proc")))
                .hint("a TAP has one user at a time: end that one, or take another name")
        }
        (Some(Errno::INVAL), Some(other)) => {
            Error::usage(format!("{port}: {}", unfit(other))).hint(instead(name, other))
        }
        _ => Error::system(port, cause),
    };
    error.because(copy(cause))
}

/// /dev/net/tun cannot be opened.
fn no_device(port: &str, cause: &io::Error) -> Error {
    let error = match Errno::from_io_error(cause) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            Error::new(Class::NoObject, format!("{port}: there is no {DEVICE}"))
                .hint("sudo modprobe tun; in a container: --device /dev/net/tun")
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            Error::new(Class::Permission, format!("{port}: not permitted to open {DEVICE}"))
                .hint("sudo chmod 0666 /dev/net/tun; in a container: --device /dev/net/tun")
        }
        _ => Error::system(format!("{port}: {DEVICE}"), cause),
    };
    error.because(copy(cause))
}

/// The owner of a TAP that could not be attached.
fn belongs(tap: &Interface) -> String {
    match tap.tun.owner {
        Some(uid) => format!("belongs to the user with id {uid}"),
        None => "belongs to a group that this user is not in".into(),
    }
}

/// Why TUNSETIFF calls an interface invalid.
fn unfit(found: &Interface) -> String {
    match found.kind.as_deref() {
        Some("tun") if !found.tun.tap => "is a TUN, which carries packets, not frames".into(),
        Some("tun") if found.tun.multi_queue => "was made with multi_queue, which is for several descriptors".into(),
        Some("tun") => "is a TAP that the kernel will not attach to".into(),
        Some(kind) => format!("is an interface of kind {kind}, not a TAP"),
        None => "is an interface that exists already, not a TAP".into(),
    }
}

/// The alternatives. Deleting is advised for a TAP alone: another interface of the name may be in use.
fn instead(name: &str, found: &Interface) -> String {
    let nobody = Mac::from_u64(0);
    match found.mac.filter(|mac| *mac != nobody) {
        Some(_) if found.tun.tap => {
            format!(
                "take another name, or make it again: sudo ip link delete {name} && sudo ip tuntap add {name} mode tap"
            )
        }
        Some(_) => format!("attach it with packet:{name}, or take another name"),
        None => "take another name".into(),
    }
}

/// The process that uses a TAP, if `proc` shows it: the tun driver puts `iff: NAME` into its descriptors' fdinfo.
pub fn user(name: &str, proc: &Path) -> String {
    let pids = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut holders = pids.filter(|pid| holds(&proc.join(format!("{pid}/fdinfo")), name)).peekable();
    // A TAP of the same name in another network namespace is another TAP.
    let space = |pid: &str| fs::read_link(proc.join(pid).join("ns/net")).ok();
    let ours = space("thread-self");
    let first = holders.peek().copied();
    match holders.find(|pid| space(&pid.to_string()) == ours).or(first) {
        Some(pid) if pid == std::process::id() => "another port of this zbridge".into(),
        Some(pid) => owner::process_in(proc, &pid.to_string()),
        None => SOMEBODY.into(),
    }
}

/// Whether one of the descriptors described in `fdinfo` is attached to the TAP called `name`.
fn holds(fdinfo: &Path, name: &str) -> bool {
    let texts = fs::read_dir(fdinfo).into_iter().flatten().flatten();
    texts.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|text| {
        text.lines().any(|line| line.strip_prefix("iff:").is_some_and(|interface| interface.trim() == name))
    })
}

/// `fd=N` names nothing that could be taken over.
pub fn not_inherited(port: &str, number: i32, errno: Errno) -> Error {
    let error = match errno {
        Errno::BADF => Error::usage(format!("{port}: descriptor {number} is not open"))
            .hint("fd= is for a TAP that was opened by the program that started this one"),
        Errno::BUSY => Error::usage(format!("{port}: descriptor {number} is this process's own, or taken already")),
        Errno::PERM => Error::usage(format!("{port}: descriptor {number} is not known to be nobody else's"))
            .hint("in a program that embeds zbridge: Bridge::adopt_port takes an OwnedFd"),
        errno => Error::system(format!("{port}: descriptor {number}"), &errno.into()),
    };
    error.because(errno)
}

/// The descriptor that was to be taken over is no TAP's.
pub fn not_a_tap(name: &str, errno: Errno) -> Error {
    let error = match errno {
        Errno::BADFD => Error::usage(format!("tap:{name}: the descriptor is attached to no interface"))
            .hint("whoever opens /dev/net/tun has to call TUNSETIFF too"),
        _ => Error::usage(format!("tap:{name}: the descriptor is not a TAP's ({})", io::Error::from(errno))),
    };
    error.because(errno)
}

/// The interface behind a descriptor cannot be set up from here.
pub fn elsewhere(port: &str) -> Error {
    Error::usage(format!("{port}: is in another network namespace, where it cannot be set up from here"))
        .hint("leave out addr=, up, mac= and mtu=, and set it up there")
}

/// Netlink refused `what`, and not for want of the right.
pub fn not_configured(port: &str, what: &str, cause: &io::Error) -> Error {
    let error = Error::system(format!("{port}: {what}"), cause);
    match Errno::from_io_error(cause) {
        Some(Errno::ACCESS) if what.contains(':') => {
            let name = port.trim_start_matches("tap:");
            error.hint(format!("IPv6 is disabled there: sudo sysctl net.ipv6.conf.{name}.disable_ipv6=0"))
        }
        Some(Errno::INVAL) if what.starts_with("mtu=") => error.hint("a TAP's mtu is 68 to 65521"),
        Some(Errno::ADDRNOTAVAIL) => error.hint("a group address cannot be an interface's own"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::netlink::Tun;

    fn errno(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_missing_device_is_told_from_a_forbidden_one() {
        let gone = no_device("tap:z", &errno(Errno::NOENT));
        assert_eq!((gone.class(), gone.what()), (Class::NoObject, "tap:z: there is no /dev/net/tun"));
        assert!(gone.advice().unwrap().contains("modprobe tun"));
        assert!(gone.advice().unwrap().contains("--device /dev/net/tun"));
        assert_eq!(no_device("tap:z", &errno(Errno::NODEV)), gone);
        assert_eq!(no_device("tap:z", &errno(Errno::PERM)).class(), Class::Permission);
        assert_eq!(no_device("tap:z", &errno(Errno::MFILE)).class(), Class::Runtime);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let of = |kind: &str, tap, multi_queue| Interface {
            kind: Some(kind.into()),
            tun: Tun { tap, multi_queue, ..Tun::default() },
            ..Interface::default()
        };
        assert!(unfit(&of("veth", false, false)).contains("kind veth"));
        assert!(unfit(&of("tun", false, false)).contains("TUN"));
        assert!(unfit(&of("tun", true, true)).contains("multi_queue"));
        assert!(unfit(&Interface::default()).contains("exists already"));
        let mac = Some(Mac([2, 0, 0x5e, 0, 0x53, 1]));
        let veth = Interface { mac, ..of("veth", false, false) };
        assert_eq!(instead("v0", &veth), "attach it with packet:v0, or take another name");
        let loopback = Interface { mac: Some(Mac([0; 6])), ..Interface::default() };
        assert_eq!([&loopback, &of("tun", false, false)].map(|it| instead("lo", it)), ["take another name"; 2]);
        assert!(instead("z", &Interface { mac, ..of("tun", true, true) }).contains("ip link delete z"));
        let mut owned = of("tun", true, false);
        owned.tun.owner = Some(1000);
        assert!(belongs(&owned).contains("1000"));
    }

    #[test]
    fn the_holder_is_found_by_its_fdinfo() {
        let proc = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = proc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("77/fdinfo/3", "pos:\t0\nflags:\t0100002\niff:\tzeth01\n");
        put("77/comm", "other\n");
        put("4242/fdinfo/0", "pos:\t0\n");
        put("4242/fdinfo/9", "pos:\t0\nflags:\t0100002\nmnt_id:\t26\niff:\tzeth0\n");
        put("4242/comm", "qemu-system-x86\n");
        put("self/fdinfo/1", "iff:\tzeth9\n");
        assert_eq!(user("zeth0", proc.path()), "pid 4242 (qemu-system-x86)");
        assert_eq!(user("zeth9", proc.path()), SOMEBODY);
        assert_eq!(user("zeth0", &proc.path().join("none")), SOMEBODY);
    }

    #[test]
    fn all_commands_are_said_at_once() {
        let cidrs = ["192.0.2.2/24", "2001:db8::2/64"].map(|text| text.parse().unwrap());
        let options = config::Tap { addrs: cidrs.into(), up: true, ..config::Tap::new("z") };
        let set_up = "sudo ip link set z mtu 9000 && sudo ip link set z up && sudo ip addr add 192.0.2.2/24 dev z && \
                      sudo ip addr add 2001:db8::2/64 dev z";
        let steps = steps("z", &options, Some(9000));
        assert_eq!(commands(&steps), set_up);
        let what = "tap:z: not permitted to set it up (mtu=9000, up, addr=192.0.2.2/24, addr=2001:db8::2/64); it is used \
                    as it is";
        assert_eq!(not_set_up("tap:z", &steps), what);
        assert_eq!(super::steps("z", &config::Tap::new("z"), None), []);
    }

    #[test]
    fn refused_settings_say_what_to_do() {
        let off = not_configured("tap:z", "addr=2001:db8::2/64", &errno(Errno::ACCESS));
        assert!(off.advice().unwrap().contains("net.ipv6.conf.z.disable_ipv6=0"));
        let huge = not_configured("tap:z", "mtu=70000", &errno(Errno::INVAL));
        assert!(huge.advice().unwrap().contains("65521"));
    }
}
