//! Understands the words of a filter.

use super::lex::{Token, tokens};
use super::test::{Calc, Layer, Number, Relation, Side, Test};
use super::value::{constant, ether_type, layer, mask, net, number, port, ports, protocol, service, whole};
use super::{FILTER_BYTES, Node, WORDS};
use crate::config::grammar::near;
use crate::config::text::wrap;
use crate::counters::DROP_REASONS;
use crate::error::{Error, Result};
use crate::wire::Mac;

/// How deep parentheses may stand in each other.
const DEPTH: usize = 64;

/// What a fault is answered with.
const GUIDE: &str = "the words are those of pcap-filter that people use: zbridge help capture";
/// Where the further lines of a hint begin, and how long they may be.
const INDENT: &str = "        ";
const WIDTH: usize = 79;
/// A longer filter is shown in part, behind what is wrong with it; so many characters of it.
const ECHOED: usize = 60;
const PART: usize = 24;

/// What stands before a value, and counts for a value that stands alone behind `and` or `or`.
#[derive(Clone, Copy, Default)]
struct Qualifiers<'a> {
    layer: Option<Layer>,
    side: Option<Side>,
    /// `host`, `net`, `port`, `portrange` or `proto`.
    kind: Option<&'a str>,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    /// Tags that what follows is behind.
    tags: u8,
    last: Option<Qualifiers<'a>>,
    depth: usize,
}

/// Understands `text`.
pub fn parse(text: &str) -> Result<Option<Node>> {
    if text.len() > FILTER_BYTES {
        let what = format!("a filter of more than {FILTER_BYTES} bytes: this one has {}", text.len());
        return Err(
            Error::usage(what).hint("capture with a shorter one, and narrow the file down: tshark -r FILE -Y WORDS")
        );
    }
    let mut parser = Parser { text, tokens: tokens(text), next: 0, tags: 0, last: None, depth: 0 };
    if parser.tokens.is_empty() {
        return Ok(None);
    }
    let node = parser.expression()?;
    match parser.peek() {
        None => Ok(Some(node)),
        Some(")") => Err(parser.wrong("there is a \")\" without its \"(\"")),
        Some(_) => Err(parser.wrong_word("\"and\" or \"or\" has to stand here", &parser.joints())),
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|token| token.text)
    }

    fn take(&mut self) -> Option<&'a str> {
        let token = self.peek();
        self.next += usize::from(token.is_some());
        token
    }

    fn took(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.next += usize::from(is);
        is
    }

    /// A fault at the next word.
    fn wrong(&self, what: &str) -> Error {
        let token = self.tokens.get(self.next);
        let rest = token.map(|token| self.text.get(token.at..).unwrap_or_default());
        let place = |rest: Option<&str>| rest.map_or_else(|| "at its end".to_owned(), |rest| format!("at {rest:?}"));
        let said = if self.text.chars().count() <= ECHOED {
            format!("filter {:?}: {}: {what}", self.text, place(rest))
        } else {
            let rest = rest.map(|rest| match rest.char_indices().nth(PART) {
                Some((end, _)) => format!("{}…", rest.get(..end).unwrap_or_default()),
                None => rest.to_owned(),
            });
            let byte = token.map_or(self.text.len(), |token| token.at);
            format!("filter: {what}: {}, byte {byte} of {}", place(rest.as_deref()), self.text.len())
        };
        Error::usage(said).hint(GUIDE)
    }

    /// The same at a word that is none, with the nearest one, or with all of them where none is near.
    fn wrong_word(&self, what: &str, known: &[&str]) -> Error {
        let Some(word) = self.peek() else { return self.wrong(what) };
        if let Some(hint) = compared(word) {
            return self.wrong("this is a number, which a comparison has").hint(hint);
        }
        match near(word, known.iter().copied()) {
            Some(near) => self.wrong(&format!("{what}; the nearest is {near:?}")),
            None => {
                let all = wrap(INDENT, WIDTH, &format!("known are {}", known.join(", ")));
                self.wrong(what).hint(format!("{}\n{INDENT}zbridge help capture says what each means", all.trim()))
            }
        }
    }

    /// The words that may stand where an expression could end: behind a protocol, those that narrow it down, too.
    fn joints(&self) -> Vec<&'static str> {
        let before = self.next.checked_sub(1).and_then(|at| self.tokens.get(at));
        let narrow = before.is_some_and(|token| layer(token.text).is_some());
        let more: &[&str] = if narrow { &["src", "dst", "host", "net", "port", "portrange", "proto"] } else { &[] };
        ["and", "or"].iter().chain(more).copied().collect()
    }

    fn too_deep(&self) -> Error {
        self.wrong(&format!("parentheses stand too deep in each other, more than {DEPTH}"))
            .hint("leave out those that only hold others; and, or bind alike, from left to right")
    }

    fn expression(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.too_deep());
        }
        let mut node = self.term()?;
        loop {
            node = if self.took("and") || self.took("&&") {
                both(node, self.term()?, true)
            } else if self.took("or") || self.took("||") {
                both(node, self.term()?, false)
            } else {
                self.depth -= 1;
                return Ok(node);
            };
        }
    }

    fn term(&mut self) -> Result<Node> {
        let mut negated = false;
        while self.took("not") || self.took("!") {
            negated = !negated;
        }
        let start = self.next;
        let node = if let Some(test) = self.comparison()? {
            Node::Test(test)
        } else if self.took("(") {
            let node = self.expression()?;
            if !self.took(")") {
                return Err(self.wrong("a \")\" is missing"));
            }
            node
        } else {
            self.next = start;
            self.primitive()?
        };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    /// A comparison, if the next words are one.
    fn comparison(&mut self) -> Result<Option<Test>> {
        let start = self.next;
        // What is none is found out by its relation, which a comparison has in its place.
        let Some(one) = self.sum(0)? else {
            self.next = start;
            return Ok(None);
        };
        let relation = match self.peek() {
            Some("<") => Relation::Less,
            Some("<=") => Relation::AtMost,
            Some("=" | "==") => Relation::Equal,
            Some("!=") => Relation::Unequal,
            Some(">=") => Relation::AtLeast,
            Some(">") => Relation::Greater,
            _ => {
                self.next = start;
                return Ok(None);
            }
        };
        self.next += 1;
        let other = self.sum(0)?.ok_or_else(|| self.wrong("a number is missing"))?;
        Ok(Some(Test::Compare(self.tags, relation, Box::new((one, other)))))
    }

    /// A sum of numbers, whose signs bind at least as much as `least`: as in C.
    fn sum(&mut self, least: u8) -> Result<Option<Number>> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.too_deep());
        }
        let found = self.sum_within(least);
        self.depth -= 1;
        found
    }

    fn sum_within(&mut self, least: u8) -> Result<Option<Number>> {
        let Some(mut one) = self.number()? else { return Ok(None) };
        loop {
            let (calc, binds) = match self.peek() {
                Some("|") => (Calc::Or, 1),
                Some("^") => (Calc::Xor, 1),
                Some("&") => (Calc::And, 2),
                Some("<<") => (Calc::Shl, 3),
                Some(">>") => (Calc::Shr, 3),
                Some("+") => (Calc::Add, 4),
                Some("-") => (Calc::Sub, 4),
                Some("*") => (Calc::Mul, 5),
                Some("/") => (Calc::Div, 5),
                _ => return Ok(Some(one)),
            };
            if binds < least {
                return Ok(Some(one));
            }
            self.next += 1;
            let Some(other) = self.sum(binds + 1)? else { return Ok(None) };
            one = Number::Sum(calc, Box::new(one), Box::new(other));
        }
    }

    fn number(&mut self) -> Result<Option<Number>> {
        let start = self.next;
        if self.took("(") {
            let inner = self.sum(0)?;
            return Ok(inner.filter(|_| self.took(")")));
        }
        let Some(word) = self.take() else { return Ok(None) };
        if word == "len" {
            return Ok(Some(Number::Length));
        }
        if let Some(layer) = layer(word)
            && self.took("[")
        {
            let (place, size) = self.place()?;
            return Ok(Some(Number::Bytes(layer, Box::new(place), size)));
        }
        let found = constant(word).or_else(|| number(word)).map(Number::Is);
        if found.is_none() {
            self.next = start;
        }
        Ok(found)
    }

    /// The place behind `[`: `PLACE]` or `PLACE:SIZE]`.
    fn place(&mut self) -> Result<(Number, u8)> {
        let word = self.peek().unwrap_or_default();
        let (place, size) = match word.split_once(':') {
            Some((place, size)) => {
                let place = constant(place).or_else(|| number(place));
                let place = place.ok_or_else(|| self.wrong("expected a place and a size, as in ip[2:2]"))?;
                self.next += 1;
                (Number::Is(place), size)
            }
            None => (self.sum(0)?.ok_or_else(|| self.wrong("expected a place in the header, as in ip[8]"))?, "1"),
        };
        let size = match size {
            "1" => 1,
            "2" => 2,
            "4" => 4,
            _ => return Err(self.wrong("a size is 1, 2 or 4")),
        };
        if !self.took("]") {
            return Err(self.wrong("a \"]\" is missing"));
        }
        Ok((place, size))
    }

    fn primitive(&mut self) -> Result<Node> {
        let Some(word) = self.peek() else { return Err(self.wrong("something to look for is missing")) };
        let test = match word {
            "in" | "out" => {
                self.next += 1;
                let port = self.take().ok_or_else(|| self.wrong("the name of a port is missing"))?.to_owned();
                if word == "in" { Test::In(port) } else { Test::Out(port) }
            }
            "drop" => {
                self.next += 1;
                self.reason()?
            }
            "broadcast" => {
                self.next += 1;
                Test::Mac(Side::Dst, Mac([0xff; 6]))
            }
            "multicast" => {
                self.next += 1;
                Test::Group
            }
            "less" | "greater" => {
                self.next += 1;
                let bytes = self.value("a number of bytes", number)?;
                let relation = if word == "less" { Relation::AtMost } else { Relation::AtLeast };
                Test::Compare(self.tags, relation, Box::new((Number::Length, Number::Is(bytes))))
            }
            "vlan" => {
                self.next += 1;
                let id = self.peek().and_then(number);
                self.next += usize::from(id.is_some());
                let id = id.map(|id| u16::try_from(id).ok().filter(|id| *id < 4096));
                let id = id.map(|id| id.ok_or_else(|| self.wrong("a VLAN is 0 to 4095"))).transpose()?;
                let test = Test::Vlan(self.tags, id);
                // More tags than that no frame has.
                self.tags = self.tags.saturating_add(1).min(8);
                test
            }
            _ => return self.qualified(),
        };
        Ok(Node::Test(test))
    }

    fn reason(&mut self) -> Result<Test> {
        let Some(word) = self.peek().filter(|word| !["and", "or", "&&", "||", ")"].contains(word)) else {
            return Ok(Test::Drop(None));
        };
        let found = DROP_REASONS.iter().find(|row| row.word == word).map(|row| row.reason);
        let known: Vec<_> = DROP_REASONS.iter().map(|row| row.word).collect();
        let reason = found.ok_or_else(|| self.wrong_word("this is no reason of a drop", &known))?;
        self.next += 1;
        Ok(Test::Drop(Some(reason)))
    }

    /// `[proto] [src|dst] [host|net|port|portrange|proto] VALUE`, or the name of a protocol.
    fn qualified(&mut self) -> Result<Node> {
        let start = self.next;
        let mut found = Qualifiers { layer: self.peek().and_then(layer), ..Qualifiers::default() };
        self.next += usize::from(found.layer.is_some());
        found.side = self.side()?;
        if let Some(kind) = self.peek().filter(|word| ["host", "net", "port", "portrange", "proto"].contains(word)) {
            found.kind = Some(kind);
            self.next += 1;
        }
        if let (Some(layer), None, None) = (found.layer, found.side, found.kind) {
            if let Some(node) = self.of_layer(layer)? {
                return Ok(node);
            }
        } else if self.next == start {
            // A value that stands alone means as the one before it.
            let is_value = self
                .peek()
                .is_some_and(|word| word.starts_with(|char: char| char.is_ascii_digit()) || word.contains(':'));
            let known = WORDS.iter().map(|row| row.word).collect::<Vec<_>>();
            found = match self.last.filter(|_| self.next > 0) {
                Some(last) if is_value || self.peek().and_then(service).is_some() => last,
                None if is_value => found,
                _ => return Err(self.wrong_word("this is no word of a filter", &known)),
            };
        }
        self.last = Some(found);
        self.valued(found)
    }

    /// What stands behind the name of a protocol alone. `None`: an address.
    fn of_layer(&mut self, layer: Layer) -> Result<Option<Node>> {
        let test = match (self.peek(), layer) {
            (Some("broadcast"), Layer::Ether) => Test::Mac(Side::Dst, Mac([0xff; 6])),
            (Some("multicast"), Layer::Ether) => Test::Group,
            (Some("multicast"), Layer::Ip | Layer::Ip6) => Test::IpGroup(self.tags, layer),
            (Some(word), Layer::Ether) if !is_joint(word) => return Ok(None),
            (Some(word), Layer::Ip | Layer::Ip6 | Layer::Arp | Layer::Rarp) if !is_joint(word) => return Ok(None),
            (_, Layer::Ether) => return Err(self.wrong("ether says nothing alone: ether host MAC, ether proto N")),
            _ => return Ok(Some(Node::Test(Test::Has(self.tags, layer)))),
        };
        self.next += 1;
        Ok(Some(Node::Test(test)))
    }

    fn side(&mut self) -> Result<Option<Side>> {
        let one = match self.peek() {
            Some("src") => Side::Src,
            Some("dst") => Side::Dst,
            _ => return Ok(None),
        };
        self.next += 1;
        // `src or dst`, `src and dst`: of both.
        let other = if one == Side::Src { "dst" } else { "src" };
        let joint = self.peek().unwrap_or_default();
        let follows = self.tokens.get(self.next + 1).is_some_and(|token| token.text == other);
        Ok(Some(match joint {
            "or" | "||" | "and" | "&&" if follows => {
                self.next += 2;
                if joint.starts_with(['o', '|']) { Side::Either } else { Side::Both }
            }
            _ => one,
        }))
    }

    fn valued(&mut self, found: Qualifiers<'_>) -> Result<Node> {
        let side = found.side.unwrap_or(Side::Either);
        let test = match (found.kind, found.layer) {
            (None | Some("host"), Some(Layer::Ether)) => {
                Test::Mac(side, self.value("a MAC address", |word| word.parse().ok())?)
            }
            (Some("proto"), Some(Layer::Ether)) => Test::EtherType(self.tags, self.value("an EtherType", ether_type)?),
            (Some("proto"), layer @ (None | Some(Layer::Ip | Layer::Ip6))) => {
                Test::Proto(self.tags, layer, self.value("a protocol in IP", protocol)?)
            }
            (Some("port"), layer) if carries_ports(layer) => {
                let port = self.value("a port", port)?;
                Test::Ports(self.tags, layer, side, port, port)
            }
            (Some("portrange"), layer) if carries_ports(layer) => {
                let (from, to) = self.value("ports, as 1000-2000", ports)?;
                Test::Ports(self.tags, layer, side, from, to)
            }
            (None | Some("host" | "net"), None | Some(Layer::Ip | Layer::Ip6 | Layer::Arp | Layer::Rarp)) => {
                let (addr, bits) = match found.kind {
                    Some("host") => self.value("an IP address, not a name", |word| word.parse().ok().map(whole))?,
                    Some(_) => self.value("a network, as 192.0.2.0/24", net)?,
                    None => self
                        .value("an IP address or a network", |word| net(word).filter(|_| word.contains(['.', ':'])))?,
                };
                let bits = if self.took("mask") { self.value("a mask, as 255.255.255.0", mask)? } else { bits };
                Test::Net(self.tags, found.layer, side, addr, bits)
            }
            (kind, _) => {
                let what = format!("{} means nothing of this protocol", kind.unwrap_or("an address"));
                return Err(self.wrong(&what));
            }
        };
        Ok(Node::Test(test))
    }

    fn value<T>(&mut self, form: &str, read: impl Fn(&'a str) -> Option<T>) -> Result<T> {
        let value = self.peek().and_then(read).ok_or_else(|| self.wrong(&format!("expected {form}")))?;
        self.next += 1;
        Ok(value)
    }
}

/// How a number that has a name is asked for, be it a flag of TCP without its `tcp-`.
fn compared(word: &str) -> Option<String> {
    let flag = format!("tcp-{word}");
    let word = if constant(&flag).is_some() { &flag } else { word };
    constant(word)?;
    Some(match word.split_once('-') {
        Some(("icmp", _)) => format!("icmp[icmptype] == {word}"),
        Some(("icmp6", _)) => format!("icmp6[icmp6type] == {word}"),
        Some(_) => format!("tcp[tcpflags] & {word} != 0"),
        None => "tcp[tcpflags] & tcp-syn != 0".to_owned(),
    })
}

/// Joins two terms, and long rows of them without depth.
fn both(one: Node, other: Node, all: bool) -> Node {
    match (one, all) {
        (Node::All(mut nodes), true) => {
            nodes.push(other);
            Node::All(nodes)
        }
        (Node::Any(mut nodes), false) => {
            nodes.push(other);
            Node::Any(nodes)
        }
        (one, true) => Node::All(vec![one, other]),
        (one, false) => Node::Any(vec![one, other]),
    }
}

fn is_joint(word: &str) -> bool {
    ["and", "or", "&&", "||", ")"].contains(&word)
}

fn carries_ports(layer: Option<Layer>) -> bool {
    matches!(layer, None | Some(Layer::Tcp | Layer::Udp | Layer::Sctp))
}
