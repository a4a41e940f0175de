//! `packet:IFNAME`: an existing interface of this machine, with an AF_PACKET socket.

use super::slip::{self, IpPeer, ip_peer};
use super::{Attach, KeyRow, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::text::shell;
use crate::config::value;

pub(super) static ROW: KindRow = KindRow {
    word: "packet",
    target: "IFNAME",
    summary: "an existing interface: a real adapter, a veth, a TAP",
    keys: &[
        KeyRow {
            word: "up",
            value: None,
            repeatable: false,
            live: false,
            summary: "set the interface up when it is opened (takes CAP_NET_ADMIN)",
        },
        super::tap::OFFLOAD,
        KeyRow {
            word: "mode",
            value: Some("ether|ip"),
            repeatable: false,
            live: false,
            summary: "what the interface carries: Ethernet frames, or IP packets, as a TUN does (default: ether)",
        },
        slip::IP,
        slip::GATEWAY,
        slip::MAC,
    ],
    example: "packet:enx00005e005300",
    note: "It takes CAP_NET_RAW and sets the interface promiscuous. The interface should have no address: the host \
           still sees its frames too. A TAP that native_sim or QEMU makes itself at each start is attached by \
           packet:NAME,optional,up. With mode=ip the port speaks for the peer, as slip does.",
    choices: None,
    parse,
};

/// An existing interface.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Packet {
    /// Its name.
    pub ifname: String,
    /// Whether super-frames and partial checksums are given to it; the default is yes.
    pub offload: bool,
    /// It is set up when it is opened.
    pub up: bool,
    /// `mode=ip`: it carries IP packets; otherwise Ethernet frames.
    pub ip: Option<IpPeer>,
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let ifname = value::ifname(target).map_err(|form| bad_target(&ROW, target, &form))?;
    let is_ip = keys.value("mode", |text| match text {
        "ether" => Ok(false),
        "ip" => Ok(true),
        _ => Err("ether or ip".to_owned()),
    })?;
    let ip = ip_peer(is_ip == Some(true), keys)?;
    let (up, offload) = (keys.flag("up")?.unwrap_or(false), keys.flag("offload")?.unwrap_or(true));
    Ok(PortKind::Packet(Packet { ifname, offload, up, ip }))
}

impl Packet {
    /// An interface of this name, with every key at its default.
    pub fn new(ifname: &str) -> Self {
        Self { ifname: ifname.to_owned(), offload: true, up: false, ip: None }
    }

    /// The command that attaches a peer: an interface that is down is set up first, and only a TAP waits for its
    /// program.
    pub fn attach_to(&self, is_down: bool, is_tap: bool) -> Option<Attach> {
        let name = shell(&self.ifname);
        match (is_down, is_tap) {
            (true, _) => Attach::new("host", format!("sudo ip link set {name} up")),
            (false, true) => Attach::new("native_sim", format!("./zephyr.exe --eth-if={name}")),
            (false, false) => None,
        }
    }
}

impl KindText for Packet {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        self.ifname.clone()
    }

    fn default_name(&self) -> String {
        value::name_from(&self.ifname)
    }

    fn write(&self, out: &mut Writer) {
        if self.up {
            out.flag("up");
        }
        if !self.offload {
            out.value("offload", "off");
        }
        if let Some(ip) = &self.ip {
            ip.write(out);
        }
    }

    fn claims(&self) -> Vec<String> {
        vec![format!("interface {}", self.ifname)]
    }

    /// The peer on the interface's wire is attached already. The rest depends on its state: [`Packet::attach_to`].
    fn attach(&self, _name: &str) -> Option<Attach> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortSpec;

    #[test]
    fn a_mode_has_its_keys() {
        let text = "packet:tun0,up,offload=off,mode=ip,ip=192.0.2.1/24,ip=2001:db8::1/64,gateway=192.0.2.2";
        assert_eq!(PortSpec::parse(text).unwrap().canonical(), text);
        assert_eq!(PortSpec::parse("packet:v1,mode=ether").unwrap().canonical(), "packet:v1");
        for bad in ["packet:v1,ip=192.0.2.1/24", "packet:v1,mode=tun", "packet:v1,mode=ip,mtu=575"] {
            assert!(PortSpec::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_left_to_attach() {
        let packet = Packet::new("v1");
        let line = |is_down, is_tap| packet.attach_to(is_down, is_tap).map(|attach| attach.to_string());
        assert_eq!(line(true, false).as_deref(), Some("host: sudo ip link set v1 up"));
        assert_eq!(line(true, true), line(true, false));
        assert_eq!(line(false, true).as_deref(), Some("native_sim: ./zephyr.exe --eth-if=v1"));
        assert_eq!(line(false, false), None);
    }
}
