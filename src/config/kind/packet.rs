//! `packet:IFNAME`: an existing interface of this machine, with an AF_PACKET socket.

use super::{Attach, KindRow, KindText, PortKind, bad_target};
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::text::shell;
use crate::config::value;

pub(super) static ROW: KindRow = KindRow {
    word: "packet",
    target: "IFNAME",
    summary: "an existing interface: a real adapter, a veth, a TAP",
    keys: &[super::tap::OFFLOAD],
    example: "packet:enx00005e005300",
    note: "It takes CAP_NET_RAW and sets the interface promiscuous. The interface should have no address: the host \
           still sees its frames too. A TAP that native_sim or QEMU opens itself is attached this way.",
    choices: None,
    parse,
};

/// An existing interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its name.
    pub ifname: String,
    /// Whether super-frames and unfinished checksums are given to it; they are unless said.
    pub offload: bool,
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    let ifname = value::ifname(target).map_err(|form| bad_target(&ROW, target, &form))?;
    Ok(PortKind::Packet(Packet { ifname, offload: keys.flag("offload")?.unwrap_or(true) }))
}

impl Packet {
    /// How a peer is attached to the interface as it is: one that is down is set up first, and only a TAP waits for the
    /// program behind it.
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
        if !self.offload {
            out.value("offload", "off");
        }
    }

    fn claims(&self) -> Vec<String> {
        vec![format!("interface {}", self.ifname)]
    }

    /// What hangs on the wire of the interface is attached already. The rest is seen from it: [`Packet::attach_to`].
    fn attach(&self, _name: &str) -> Option<Attach> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_attach() {
        let packet = Packet { ifname: "v1".into(), offload: true };
        let line = |is_down, is_tap| packet.attach_to(is_down, is_tap).map(|attach| attach.to_string());
        assert_eq!(line(true, false).as_deref(), Some("host: sudo ip link set v1 up"));
        assert_eq!(line(true, true), line(true, false));
        assert_eq!(line(false, true).as_deref(), Some("native_sim: ./zephyr.exe --eth-if=v1"));
        assert_eq!(line(false, false), None);
    }
}
