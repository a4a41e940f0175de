//! `wpan:TRANSPORT`: a node of an IEEE 802.15.4 radio medium, on a serial line.

use super::transport::{self, Transport};
use super::{Attach, KindRow, KindText, PortKind};
use crate::config::grammar::{Fault, Keys, Writer};

pub(super) static ROW: KindRow = KindRow {
    word: "wpan",
    target: "TRANSPORT",
    summary: "IEEE 802.15.4 node on a serial line (Zephyr's uart_pipe)",
    keys: &transport::KEYS,
    choices: None,
    example: "wpan:pipe:/tmp/node1,switch=radio",
    note: "Each frame goes as F0, its length and its bytes without FCS. The switch of a wpan port is a radio medium, which \
           only wpan ports join: a frame reaches every other node in range. Which those are and how much is lost \
           is said by links=FILE of the switch.",
    parse,
};

/// A node of an IEEE 802.15.4 medium.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Wpan {
    /// Its transport.
    pub transport: Transport,
}

fn parse(target: &str, keys: &mut Keys) -> Result<PortKind, Fault> {
    Ok(PortKind::Wpan(Wpan { transport: transport::parse(&ROW, target, keys)? }))
}

impl KindText for Wpan {
    fn row(&self) -> &'static KindRow {
        &ROW
    }

    fn target(&self) -> String {
        self.transport.target()
    }

    fn default_name(&self) -> String {
        self.transport.default_name(ROW.word)
    }

    fn write(&self, out: &mut Writer) {
        self.transport.write(out);
    }

    fn claims(&self) -> Vec<String> {
        self.transport.claims()
    }

    fn attach(&self, _name: &str) -> Option<Attach> {
        self.transport.attach()
    }
}
