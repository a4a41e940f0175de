//! Which frames a capture is to have: the words of pcap-filter(7) that people use, and a few of zbridge's own.
//!
//! ```text
//! expression  term [and|or term]…        both bind alike, from left to right, as in pcap-filter
//! term        [not] primitive, or an expression in parentheses
//! primitive   [proto] [src|dst] host|net|port|portrange VALUE · a protocol's name · a comparison · a row of WORDS
//! ```
//!
//! What is said of a frame is what pcap-filter says of it: `vlan` moves what stands behind it to what the tag has in it,
//! `host` is that of ARP too, a port is TCP's, UDP's or SCTP's and of the first fragment only, and a frame that is too
//! short for what is asked of it is not taken, whatever the expression makes of that. `tests/capture` compares the two.

mod lex;
mod parse;
mod test;
mod value;

use crate::counters::DropReason;
use crate::error::Result;
use test::{Frame, Test};

pub use crate::config::value::is_port;

/// The longest filter.
pub const FILTER_BYTES: usize = 4096;

/// A word that a filter may have, as it is documented.
pub struct WordRow {
    /// The word.
    pub word: &'static str,
    /// How it is used.
    pub form: &'static str,
    /// Its meaning.
    pub meaning: &'static str,
}

/// The words of a filter.
pub const WORDS: &[WordRow] = &[
    WordRow { word: "host", form: "[ip|ip6|arp] [src|dst] host ADDR", meaning: "an IP address, also ARP's" },
    WordRow { word: "net", form: "[src|dst] net CIDR", meaning: "a network: 192.0.2.0/24, 192.0.2, 2001:db8::/32" },
    WordRow { word: "port", form: "[tcp|udp|sctp] [src|dst] port N", meaning: "a port, by number or name" },
    WordRow { word: "portrange", form: "[tcp|udp|sctp] [src|dst] portrange A-B", meaning: "ports from A to B" },
    WordRow { word: "src", form: "src ADDR", meaning: "only of the sender" },
    WordRow { word: "dst", form: "dst ADDR", meaning: "only of the receiver" },
    WordRow { word: "ether", form: "ether [src|dst] MAC, ether proto N", meaning: "a MAC address, an EtherType" },
    WordRow { word: "proto", form: "[ip|ip6] proto N", meaning: "a protocol in IP, by number or name" },
    WordRow { word: "ip", form: "ip", meaning: "IPv4" },
    WordRow { word: "ip6", form: "ip6", meaning: "IPv6" },
    WordRow { word: "arp", form: "arp", meaning: "ARP" },
    WordRow { word: "rarp", form: "rarp", meaning: "RARP" },
    WordRow { word: "tcp", form: "tcp", meaning: "TCP" },
    WordRow { word: "udp", form: "udp", meaning: "UDP" },
    WordRow { word: "sctp", form: "sctp", meaning: "SCTP" },
    WordRow { word: "icmp", form: "icmp", meaning: "ICMP" },
    WordRow { word: "icmp6", form: "icmp6", meaning: "ICMPv6, neighbour discovery with it" },
    WordRow { word: "igmp", form: "igmp", meaning: "IGMP" },
    WordRow {
        word: "vlan",
        form: "vlan [ID]",
        meaning: "a VLAN tag; what stands behind it is asked of what it carries",
    },
    WordRow { word: "broadcast", form: "broadcast", meaning: "to all stations" },
    WordRow { word: "multicast", form: "[ip|ip6] multicast", meaning: "to a group" },
    WordRow { word: "len", form: "len < N, tcp[tcpflags] & tcp-syn != 0", meaning: "a comparison of numbers" },
    WordRow { word: "less", form: "less N", meaning: "of N bytes at most" },
    WordRow { word: "greater", form: "greater N", meaning: "of N bytes at least" },
    WordRow { word: "in", form: "in PORT", meaning: "came in by this port" },
    WordRow { word: "out", form: "out PORT", meaning: "was for this port; copies that left are captured with it" },
    WordRow { word: "drop", form: "drop [REASON]", meaning: "ended early; the reasons are those of zbridge status" },
    WordRow { word: "and", form: "A and B, A && B", meaning: "both" },
    WordRow { word: "or", form: "A or B, A || B", meaning: "either" },
    WordRow { word: "not", form: "not A, !A", meaning: "the opposite" },
];

/// A frame as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The name of the port that it is noted at.
    pub port: &'a str,
    /// It came in there, or was to leave there.
    pub incoming: bool,
    /// Why it ended there.
    pub reason: Option<DropReason>,
    /// Its bytes, as far as they are kept.
    pub bytes: &'a [u8],
    /// How many it had.
    pub len: u32,
    /// Whether it is Ethernet; else nothing is asked of its bytes.
    pub ethernet: bool,
}

/// An expression.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(Test),
}

/// A filter. See the head of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter(Node);

impl Filter {
    /// Understands `text`; `None`: there is no word in it, and all frames pass.
    ///
    /// # Errors
    /// A usage error that says where it is wrong and names the nearest word.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        Ok(parse::parse(text)?.map(Self))
    }

    /// Whether a frame passes.
    pub fn takes(&self, seen: &Seen<'_>) -> bool {
        self.0.eval(seen, &Frame::new(seen)) == Some(true)
    }

    /// Whether it asks nothing but what a frame holds: neither for ports nor for its end.
    pub fn asks_frames_only(&self) -> bool {
        !self.0.any(&|test| matches!(test, Test::In(_) | Test::Out(_) | Test::Drop(_)))
    }

    /// The ports that it names.
    pub fn ports(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.0.visit(&mut |test| {
            if let Test::In(port) | Test::Out(port) = test {
                found.push(port.as_str());
            }
        });
        found
    }

    /// Whether it asks for copies that left.
    pub fn wants_copies(&self) -> bool {
        self.0.any(&|test| matches!(test, Test::Out(_)))
    }
}

impl Node {
    /// `None`: the frame is too short to say.
    fn eval(&self, seen: &Seen<'_>, frame: &Frame<'_>) -> Option<bool> {
        match self {
            Self::All(nodes) => {
                for node in nodes {
                    if !node.eval(seen, frame)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Self::Any(nodes) => {
                for node in nodes {
                    if node.eval(seen, frame)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Self::Not(node) => node.eval(seen, frame).map(|taken| !taken),
            Self::Test(test) => test.eval(seen, frame),
        }
    }

    fn visit<'a>(&'a self, each: &mut impl FnMut(&'a Test)) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.visit(each)),
            Self::Not(node) => node.visit(each),
            Self::Test(test) => each(test),
        }
    }

    fn any(&self, is: &impl Fn(&Test) -> bool) -> bool {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().any(|node| node.any(is)),
            Self::Not(node) => node.any(is),
            Self::Test(test) => is(test),
        }
    }
}

#[cfg(test)]
mod tests;
