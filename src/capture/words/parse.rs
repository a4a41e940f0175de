//! The words of a frame, taken apart.

use super::{Draft, LONGEST, Packet, Spoken, WORDS_BYTES, frames_in_hex};
use crate::config::grammar::nearest;
use crate::error::{Error, Result};
use crate::visible::visible;
use crate::wire::Mac;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

const KNOWN: &[&str] = &[
    "arp",
    "who-has",
    "tell",
    "reply",
    "is-at",
    "icmp",
    "ping",
    "udp",
    "tcp",
    "from",
    "to",
    "broadcast",
    "vlan",
    "len",
    "ttl",
    "super",
    "syn",
    "ack",
    "fin",
    "rst",
    "psh",
];

/// Flags of TCP.
const FLAGS: &[(&str, u8)] = &[("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16)];

pub fn parse(text: &str) -> Result<Spoken> {
    if text.len() > WORDS_BYTES {
        return Err(Error::usage(format!("a frame in more than {WORDS_BYTES} bytes")));
    }
    if let Some(bytes) = frames_in_hex(text) {
        return match bytes.len() {
            0..=LONGEST => Ok(Spoken::Bytes(bytes)),
            _ => Err(Error::usage(format!("a frame of more than {LONGEST} bytes"))),
        };
    }
    let words: Vec<&str> = text.split([' ', '\t', '\n', ',']).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(Error::usage("there is no frame").hint("zbridge trace in=inst1 'arp who-has 192.0.2.2'"));
    }
    let mut parser = Parser { words: &words, draft: EMPTY, said: false };
    while let Some(word) = parser.next() {
        parser.take(word)?;
    }
    parser.check()
}

const EMPTY: Draft =
    Draft { packet: Packet::Bare, from: None, to: None, tags: Vec::new(), len: None, ttl: 64, segment: None };

struct Parser<'a> {
    words: &'a [&'a str],
    draft: Draft,
    /// The packet was said.
    said: bool,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(word)
    }

    fn take_if(&mut self, wanted: &[&str]) -> bool {
        let found = self.words.first().is_some_and(|word| wanted.contains(word));
        if found {
            self.next();
        }
        found
    }

    /// The next word as a value; `form` says what it should be.
    fn value<T: FromStr>(&mut self, before: &str, form: &str) -> Result<T> {
        let word = self.next().ok_or_else(|| Error::usage(format!("behind {before:?} is missing {form}")))?;
        word.parse().map_err(|_| Error::usage(format!("{:?} behind {before:?}: expected {form}", visible(word))))
    }

    fn take(&mut self, word: &str) -> Result<()> {
        match word {
            "arp" | "icmp" | "ping" | "icmp6" | "udp" | "tcp" => {
                if std::mem::replace(&mut self.said, true) {
                    return Err(Error::usage(format!("{word:?}: a frame carries one packet")));
                }
                self.draft.packet = self.packet(word)?;
            }
            "from" => self.draft.from = Some(self.value(word, "a MAC address")?),
            "to" => self.draft.to = Some(self.value(word, "a MAC address")?),
            "broadcast" => self.draft.to = Some(Mac::BROADCAST),
            "vlan" => {
                let id: u16 = self.value(word, "a number from 0 to 4095")?;
                if id > 4095 {
                    return Err(Error::usage(format!("vlan {id}: expected a number from 0 to 4095")));
                }
                self.draft.tags.push(id);
            }
            "len" => self.draft.len = Some(self.value(word, "a number of bytes")?),
            "ttl" => self.draft.ttl = self.value(word, "a number from 0 to 255")?,
            "super" => self.draft.segment = Some(self.value(word, "the bytes of a segment")?),
            _ => match (FLAGS.iter().find(|(flag, _)| *flag == word), &mut self.draft.packet) {
                (Some((_, bit)), Packet::Tcp(.., flags)) => *flags |= bit,
                (Some(_), _) => return Err(Error::usage(format!("{word:?} is a flag of TCP"))),
                (None, _) => {
                    let known = nearest(word, KNOWN.iter().copied());
                    return Err(Error::usage(format!("{:?} is no word of a frame; {known}", visible(word)))
                        .hint("zbridge help trace has them all"));
                }
            },
        }
        Ok(())
    }

    fn packet(&mut self, word: &str) -> Result<Packet> {
        Ok(match word {
            "arp" if self.take_if(&["reply"]) => {
                let sender: Ipv4Addr = self.value("reply", "an IPv4 address")?;
                if !self.take_if(&["is-at"]) {
                    return Err(Error::usage("behind the address is missing is-at MAC"));
                }
                Packet::Answer { sender, mac: self.value("is-at", "a MAC address")? }
            }
            "arp" => {
                self.take_if(&["request"]);
                self.take_if(&["who-has"]);
                let target = self.value("who-has", "an IPv4 address")?;
                let sender = if self.take_if(&["tell"]) { Some(self.value("tell", "an IPv4 address")?) } else { None };
                Packet::Question { target, sender }
            }
            "udp" | "tcp" => {
                let form = "an address with a port, 192.0.2.1:5683 or [2001:db8::1]:5683";
                let from: SocketAddr = self.value(word, form)?;
                self.take_if(&[">"]);
                let to: SocketAddr = self.value(">", form)?;
                same_family(from.ip(), to.ip())?;
                if word == "udp" { Packet::Udp(from, to) } else { Packet::Tcp(from, to, 0) }
            }
            _ => {
                let first: IpAddr = self.value(word, "an IP address")?;
                let second =
                    self.take_if(&[">"]) || self.words.first().is_some_and(|word| word.parse::<IpAddr>().is_ok());
                if second {
                    let to = self.value(">", "an IP address")?;
                    same_family(first, to)?;
                    Packet::Ping { from: Some(first), to }
                } else {
                    Packet::Ping { from: None, to: first }
                }
            }
        })
    }

    fn check(mut self) -> Result<Spoken> {
        if self.draft.tags.len() > 2 {
            return Err(Error::usage("a frame has two VLAN tags at most"));
        }
        if self.draft.len.is_some_and(|len| usize::from(len) > LONGEST - 200) {
            return Err(Error::usage(format!("len: expected {} bytes at most", LONGEST - 200)));
        }
        if let Packet::Tcp(.., flags) = &mut self.draft.packet
            && *flags == 0
        {
            *flags = 2;
        }
        match self.draft.segment {
            Some(0) => Err(Error::usage("super 0: expected the bytes of a segment")),
            Some(_) if !matches!(self.draft.packet, Packet::Tcp(..)) => {
                Err(Error::usage("a super-frame is one of TCP")
                    .hint("tcp 192.0.2.1:1 > 192.0.2.2:2 len 9000 super 1448"))
            }
            _ => Ok(Spoken::Draft(self.draft)),
        }
    }
}

fn same_family(from: IpAddr, to: IpAddr) -> Result<()> {
    match from.is_ipv4() == to.is_ipv4() {
        true => Ok(()),
        false => Err(Error::usage(format!("{from} and {to} are not of one family"))),
    }
}
