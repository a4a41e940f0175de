//! Checks of the machine itself: the device of TAPs, namespaces, forwarding.

use super::facts::is_link_local;
use super::{Facts, Findings};
use crate::launch;
use std::fs::File;
use std::io::ErrorKind;

/// Whether a TAP can be opened at all.
pub fn device(facts: &Facts, found: &mut Findings) {
    let path = facts.root.join("dev/net/tun");
    let Err(cause) = File::options().read(true).write(true).open(path) else { return };
    let about = "/dev/net/tun";
    match cause.kind() {
        ErrorKind::NotFound if launch::in_container(&facts.root) => found.bad(
            about,
            "this container has no such device: no TAP can be opened",
            "docker run --device /dev/net/tun … (and --cap-add NET_ADMIN to make TAPs)",
        ),
        ErrorKind::PermissionDenied => found.bad(
            about,
            "this user may not open it: no TAP can be opened",
            "sudo chmod 666 /dev/net/tun (what udev does; making a TAP still needs its right)",
        ),
        _ => found.bad(about, format!("no TAP can be opened: {cause}"), "sudo modprobe tun"),
    }
}

/// Whether an ordinary user can have namespaces, and rights in them.
pub fn namespaces(facts: &Facts, found: &mut Findings) {
    for (setting, what, mend) in launch::obstacles(&facts.root) {
        // Root needs no user namespace, but the others.
        if !facts.is_root {
            found.bad(setting, format!("{what}: `zbridge run` and [[instance]] cannot start programs"), mend);
        } else {
            found.note(setting, format!("{what}: only root can use `zbridge run` and [[instance]]"), mend);
        }
    }
}

/// Whether guests behind a TAP with an address reach more than this host.
pub fn forwarding(facts: &Facts, found: &mut Findings) {
    for (setting, six) in [("net.ipv4.ip_forward", false), ("net.ipv6.conf.all.forwarding", true)] {
        let routed = facts.taps_of_ports().find(|tap| {
            tap.interface.master.is_none()
                && tap.addrs.iter().any(|net| net.addr.is_ipv6() == six && !is_link_local(net.addr))
        });
        if let Some(tap) = routed
            && facts.setting(setting) == Some(0)
        {
            found.note(
                tap.name(),
                format!("guests behind it reach this host and nothing beyond: {setting} is 0"),
                format!(
                    "--port nat:10.0.2.2/24 needs no right; or sudo sysctl -w {setting}=1, and a rule that masquerades"
                ),
            );
        }
    }
}
