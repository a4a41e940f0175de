//! `tap:NAME`: a TAP interface of this machine. The process is the cable; the host's own stack is the peer.

use super::access::owner;
use super::{Attach, KeyRow, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value;
use crate::wire::{Cidr, Mac};

pub(super) const OFFLOAD: KeyRow = KeyRow {
    word: "offload",
    value: Some("on|off"),
    repeatable: false,
    live: false,
    summary: "large segments and open checksums pass whole (default: on)",
};

pub(super) static ROW: KindRow = KindRow {
    word: "tap",
    target: "NAME",
    summary: "TAP interface of this machine, opened or created",
    keys: &[
        KeyRow {
            word: "addr",
            value: Some("CIDR"),
            repeatable: true,
            live: false,
            summary: "give the interface this address; implies up",
        },
        KeyRow { word: "up", value: None, repeatable: false, live: false, summary: "set the interface up" },
        KeyRow {
            word: "persist",
            value: None,
            repeatable: false,
            live: false,
            summary: "leave the interface behind at the end",
        },
        KeyRow {
            word: "user",
            value: Some("USER"),
            repeatable: false,
            live: false,
            summary: "who may open it later, a name or a number",
        },
        KeyRow {
            word: "mac",
            value: Some("MAC"),
            repeatable: false,
            live: false,
            summary: "the host's address on it (default: of one that is made, made of its name)",
        },
        KeyRow {
            word: "fd",
            value: Some("N"),
            repeatable: false,
            live: false,
            summary: "take the TAP that is open as this descriptor",
        },
        OFFLOAD,
    ],
    example: "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64",
    note: "To create one takes CAP_NET_ADMIN; to open one that `ip tuntap add NAME mode tap user $USER` made does not. \
           A TAP has one holder: a simulator that opens a TAP itself (native_sim, QEMU -nic tap) is attached with \
           packet:NAME instead.",
    choices: None,
    parse,
};

/// A TAP interface.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tap {
    /// The name of the interface.
    pub name: String,
    /// Addresses to give it.
    pub addrs: Vec<Cidr>,
    /// Whether to set it up; given addresses imply it.
    pub up: bool,
    /// Whether it outlives the process (TUNSETPERSIST).
    pub persist: bool,
    /// Who may open it (TUNSETOWNER): a user's name or number.
    pub user: Option<String>,
    /// The host's address on it.
    pub mac: Option<Mac>,
    /// An open descriptor of it, instead of opening it.
    pub fd: Option<i32>,
    /// Whether super-frames and partial checksums are exchanged with the host; the default is yes.
    pub offload: bool,
}

impl Tap {
    /// The interface called `name` with every key at its default, for a program that embeds the switch.
    pub fn new(name: &str) -> Self {
        let (addrs, user, mac, fd) = (Vec::new(), None, None, None);
        Self { name: name.to_owned(), addrs, up: false, persist: false, user, mac, fd, offload: true }
    }
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let name = value::ifname(target).map_err(|form| bad_target(&ROW, target, &form))?;
    let addrs = keys.values("addr", value::cidr)?;
    let up = keys.flag("up")?.unwrap_or(!addrs.is_empty());
    Ok(PortKind::Tap(Tap {
        name,
        addrs,
        up,
        persist: keys.flag("persist")?.unwrap_or(false),
        user: keys.value("user", |text| owner(text, "user"))?,
        mac: keys.value("mac", value::station)?,
        fd: keys.value("fd", |text| value::number(text, 3..=i32::MAX))?,
        offload: keys.flag("offload")?.unwrap_or(true),
    }))
}

impl KindText for Tap {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        self.name.clone()
    }

    fn default_name(&self) -> String {
        value::name_from(&self.name)
    }

    fn write(&self, out: &mut Writer) {
        for addr in &self.addrs {
            out.value("addr", addr);
        }
        match (self.up, self.addrs.is_empty()) {
            (true, true) => out.flag("up"),
            (false, false) => out.value("up", "off"),
            _ => {}
        }
        if self.persist {
            out.flag("persist");
        }
        out.option("user", self.user.as_ref());
        out.option("mac", self.mac);
        out.option("fd", self.fd);
        if !self.offload {
            out.value("offload", "off");
        }
    }

    fn claims(&self) -> Vec<String> {
        let descriptor = self.fd.map(|fd| format!("descriptor {fd}"));
        std::iter::once(format!("interface {}", self.name)).chain(descriptor).collect()
    }

    /// With `addr=` the host is attached from the start. The address is that of Zephyr's net-setup.
    fn attach(&self, _name: &str) -> Option<Attach> {
        if !self.addrs.is_empty() {
            return None;
        }
        let name = crate::config::text::shell(&self.name);
        let up = if self.up { String::new() } else { format!(" && sudo ip link set {name} up") };
        Attach::new("host", format!("sudo ip addr add 192.0.2.2/24 dev {name}{up}"))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{PortKind, PortSpec};

    fn tap(text: &str) -> super::Tap {
        match PortSpec::parse(text).unwrap().kind {
            PortKind::Tap(tap) => tap,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_imply_up() {
        assert!(tap("tap:z,addr=192.0.2.2/24").up);
        assert!(!tap("tap:z,addr=192.0.2.2/24,up=off").up);
        assert!(!tap("tap:z").up);
    }

    #[test]
    fn descriptors_of_the_standard_streams_are_refused() {
        assert_eq!(tap("tap:z,fd=3").fd, Some(3));
        let error = PortSpec::parse("tap:z,fd=2").unwrap_err();
        assert!(error.what().contains("fd=\"2\": expected a number from 3 to 2147483647"), "{error}");
    }

    #[test]
    fn what_is_left_to_attach() {
        let hint = |text| PortSpec::parse(text).unwrap().attach_hint().map(|attach| attach.to_string());
        let line = "host: sudo ip addr add 192.0.2.2/24 dev z";
        assert_eq!(hint("tap:z,up").as_deref(), Some(line));
        assert_eq!(hint("tap:z"), Some(format!("{line} && sudo ip link set z up")));
        assert_eq!(hint("tap:z,addr=192.0.2.2/24"), None);
    }
}
