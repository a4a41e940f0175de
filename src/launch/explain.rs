//! Why an instance cannot have namespaces, and what to do about it: which setting of the system it is.

use super::stage::{Refused, Step};
use crate::error::{Class, Error};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// Debian's switch for user namespaces of ordinary users.
const DEBIAN: &str = "kernel.unprivileged_userns_clone";

/// Ubuntu's: user namespaces can be made, but give no rights.
const UBUNTU: &str = "kernel.apparmor_restrict_unprivileged_userns";

/// What it does.
const IDLE: &str = "AppArmor lets user namespaces of ordinary users do nothing";

/// The limits on the number of namespaces, by kind (namespaces(7)).
const LIMITS: [&str; 4] =
    ["user.max_user_namespaces", "user.max_net_namespaces", "user.max_mnt_namespaces", "user.max_pid_namespaces"];

const OTHERWISE: &str = "or run zbridge as root, which works without";

/// Explains which setting refused a step into the namespaces, with the system's files below `root`.
pub fn no_namespace(refused: &Refused, root: &Path) -> Error {
    let error = |why: &str| {
        let what = format!("cannot make a namespace for the instance: {why}");
        Error::new(Class::Permission, what).because(refused.errno)
    };
    if let Some((setting, what, mend)) = forbidding(root).next() {
        return error(&format!("{what} ({setting}=0)")).hint(format!("{mend}, {OTHERWISE}"));
    }
    match (refused.step, refused.errno) {
        (_, Errno::NOSPC | Errno::USERS) => error("there are as many as there may be, or they are nested too deep")
            .hint(format!("sudo sysctl -w {}=100000, {OTHERWISE}", LIMITS[0])),
        (_, Errno::INVAL) => error("this kernel has no user namespaces (CONFIG_USER_NS)").hint("run zbridge as root"),
        (Step::Mapping, Errno::PERM | Errno::ACCESS) if setting(root, UBUNTU).is_some_and(|value| value != 0) => {
            by_apparmor(&error)
        }
        (_, Errno::PERM | Errno::ACCESS) if in_container(root) => error("this container permits none").hint(
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/net/tun …, \
             or as root in it with --cap-add SYS_ADMIN --cap-add NET_ADMIN",
        ),
        (_, errno) => error(&std::io::Error::from(errno).to_string())
            .hint(format!("a seccomp filter or a security module may forbid user namespaces; lift it, {OTHERWISE}")),
    }
}

/// Explains an error inside the namespaces: by Ubuntu's restriction, if a capability is missing that a user namespace
/// gives.
pub fn restricted(error: Error, root: &Path) -> Error {
    let no_right = error.class() == Class::Permission && !error.what().contains("/dev/net/tun");
    if no_right && setting(root, UBUNTU).is_some_and(|value| value != 0) {
        let told = |why: &str| Error::new(Class::Permission, format!("{}: {why}", error.what()));
        return by_apparmor(&told).because(error);
    }
    error
}

/// The settings that permit no namespace at all: each with what it does, and the command that mends it.
fn forbidding(root: &Path) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let debian = (DEBIAN, "user namespaces are off for ordinary users", 1);
    let limits = LIMITS.map(|limit| (limit, "there may be none", 15_000));
    let zero = |(name, _, _): &(&str, _, _)| setting(root, name) == Some(0);
    let all: Vec<_> = std::iter::once(debian).chain(limits).filter(zero).collect();
    all.into_iter().map(|(name, what, better)| (name, what, format!("sudo sysctl -w {name}={better}")))
}

/// The settings of a system with these files that keep an ordinary user from namespaces with rights in them: each with
/// what it does, and the command that mends it.
pub fn obstacles(root: &Path) -> Vec<(&'static str, &'static str, String)> {
    let restricts = setting(root, UBUNTU).is_some_and(|value| value != 0);
    let apparmor = restricts.then(|| (UBUNTU, IDLE, format!("sudo sysctl -w {UBUNTU}=0")));
    forbidding(root).chain(apparmor).collect()
}

fn by_apparmor(error: &dyn Fn(&str) -> Error) -> Error {
    error(&format!("{IDLE} ({UBUNTU}=1)")).hint(format!("sudo sysctl -w {UBUNTU}=0, {OTHERWISE}"))
}

/// The value of a setting (`net.ipv4.ip_forward`), where the kernel has it.
pub fn setting(root: &Path, name: &str) -> Option<u64> {
    let file = root.join("proc/sys").join(name.replace('.', "/"));
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Whether this is a container: Docker and Podman leave these.
pub fn in_container(root: &Path) -> bool {
    [".dockerenv", "run/.containerenv"].iter().any(|file| root.join(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said on a machine with these files.
    fn said(files: &[(&str, &str)], step: Step, errno: Errno) -> String {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let error = no_namespace(&Refused { step, errno }, root.path());
        assert_eq!(error.class(), Class::Permission);
        error.to_string()
    }

    #[test]
    fn the_setting_is_named_with_its_remedy() {
        let debian = said(&[("proc/sys/kernel/unprivileged_userns_clone", "0\n")], Step::User, Errno::PERM);
        assert!(debian.contains("hint: sudo sysctl -w kernel.unprivileged_userns_clone=1"), "{debian}");
        let none = said(&[("proc/sys/user/max_user_namespaces", "0\n")], Step::User, Errno::NOSPC);
        assert!(none.contains("(user.max_user_namespaces=0)") && none.contains("=15000"), "{none}");
        let nets = said(&[("proc/sys/user/max_net_namespaces", "0\n")], Step::User, Errno::NOSPC);
        assert!(nets.contains("(user.max_net_namespaces=0)"), "{nets}");
        let full = said(&[("proc/sys/user/max_user_namespaces", "7\n")], Step::User, Errno::NOSPC);
        assert!(full.contains("as many as there may be"), "{full}");
        let ubuntu = ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let ubuntu = said(&[ubuntu], Step::Mapping, Errno::PERM);
        assert!(ubuntu.contains("apparmor_restrict_unprivileged_userns=0"), "{ubuntu}");
        let docker = said(&[(".dockerenv", "")], Step::User, Errno::PERM);
        assert!(docker.contains("seccomp=unconfined") && docker.contains("/dev/net/tun"), "{docker}");
        assert!(said(&[], Step::User, Errno::INVAL).contains("CONFIG_USER_NS"));
        assert!(said(&[], Step::User, Errno::PERM).contains("seccomp"));
    }

    #[test]
    fn ubuntus_restriction_shows_later() {
        let root = tempfile::tempdir().unwrap();
        let error = Error::new(Class::Permission, "tap:zeth: not permitted to create it");
        assert_eq!(restricted(error.clone(), root.path()), error);
        let folder = root.path().join("proc/sys/kernel");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("apparmor_restrict_unprivileged_userns"), "1\n").unwrap();
        assert!(restricted(error, root.path()).what().contains("AppArmor"));
        let device = Error::new(Class::Permission, "tap:zeth: not permitted to open /dev/net/tun");
        assert_eq!(restricted(device.clone(), root.path()), device);
    }
}
