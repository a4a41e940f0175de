//! The fuzz targets: functions that take any bytes, hand them to one parser or machine, and panic if it does what it
//! must never do. What drives them is in `tests/fuzz/main.rs` and `tests/fuzz/libfuzzer`.
//!
//! A target has no state that outlives a call, so that an input means the same every time.

mod coalesce;
mod control;
mod endpoint;
mod failing;
mod framing;
mod headers;
mod lan;
mod nat;
mod rewrite;
#[path = "../../failing_edges/script.rs"]
mod script;
mod split;
mod switch;
mod usbip;
mod words;

/// A target: its name, which is also that of its folder of the corpus, and its function.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "port_spec", run: words::port_spec },
    Target { name: "switch_spec", run: words::switch_spec },
    Target { name: "config", run: words::config },
    Target { name: "length_prefix", run: framing::length_prefix },
    Target { name: "slip", run: framing::slip },
    Target { name: "uart_pipe", run: framing::uart_pipe },
    Target { name: "view", run: headers::view },
    Target { name: "offload", run: headers::offload },
    Target { name: "coalesce", run: coalesce::coalesce },
    Target { name: "checksum", run: headers::checksum },
    Target { name: "rewrite", run: rewrite::rewrite },
    Target { name: "switch", run: switch::switch },
    Target { name: "failing_edges", run: failing::failing_edges },
    Target { name: "failing_switch", run: failing::failing_switch },
    Target { name: "endpoint", run: endpoint::endpoint },
    Target { name: "pdu", run: usbip::pdu },
    Target { name: "usbip", run: usbip::usbip },
    Target { name: "usbip_client", run: usbip::usbip_client },
    Target { name: "usbip_split", run: split::usbip_split },
    Target { name: "hid_script", run: usbip::hid_script },
    Target { name: "nat", run: nat::nat },
    Target { name: "dhcp4", run: lan::dhcp4 },
    Target { name: "dhcp6", run: lan::dhcp6 },
    Target { name: "dns", run: lan::dns },
    Target { name: "tftp", run: lan::tftp },
    Target { name: "dhcp_client", run: lan::dhcp_client },
    Target { name: "control", run: control::control },
    Target { name: "filter", run: words::filter },
    Target { name: "trace_words", run: words::trace_words },
    Target { name: "scenario", run: words::scenario },
];

impl Target {
    /// The target called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }
}

/// Reads numbers and pieces off the front of an input. Past its end there are zeros and nothing.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// The next `len` bytes, or what is left.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// A piece whose length stands before it.
    fn piece(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.take(len.into())
    }
}
