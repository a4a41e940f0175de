//! Where everything of a picture goes, in pixels: a switch is a bar from top to bottom with its ports as cards on both
//! sides of it, or on one where there is little room; several switches stand below each other.
//!
//! It is the same for the same picture, and no two texts meet: every card has the rows that it needs, cards of a side stand
//! below each other, and what does not fit a row is cut by who draws it. On a radio medium there is no bar; the links
//! between nodes cross the space that it would have.

use super::model::{Mood, Picture, Place, Port, Program, ProgramMood, Switch};
use crate::cli::units::per_second;

/// The width of a picture where nothing else is said.
pub const WIDTH: u32 = 980;
/// The least width.
pub const LEAST: u32 = 320;
/// From this width on there are cards on both sides.
const TWO_SIDES: f64 = 820.0;
/// Around everything.
const MARGIN: f64 = 20.0;
/// Between a bar and its cards: a link with its rates.
const LINK: f64 = 128.0;
const NARROW_LINK: f64 = 84.0;
const BAR: f64 = 56.0;
const NARROW_BAR: f64 = 22.0;
/// A card: what is above its first row and below its last, and between two of them.
const ABOVE: f64 = 8.0;
const BELOW: f64 = 8.0;
const BETWEEN: f64 = 16.0;
const HEAD_ROW: f64 = 24.0;
const ROW: f64 = 17.0;
/// The name of a switch.
const TITLE: f64 = 54.0;
/// Between two switches.
const APART: f64 = 34.0;

/// A row of a card.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The base line of its text.
    pub y: f64,
    /// What it is, as the style sheet calls it.
    pub look: &'static str,
    /// What stands at its left, which is cut first, and at its right.
    pub left: String,
    pub right: String,
    /// The sign before it.
    pub sign: Option<Mood>,
    /// The port that it belongs to, if that is not the card's.
    pub port: Option<String>,
    /// How far it is indented.
    pub indent: f64,
}

/// The card of a port.
#[derive(Clone, PartialEq, Debug)]
pub struct Card {
    /// The port's place in its switch.
    pub port: usize,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// It stands at the left of the bar.
    pub left: bool,
    pub rows: Vec<Row>,
}

impl Card {
    /// Where its link begins.
    pub fn anchor(&self) -> (f64, f64) {
        (if self.left { self.x + self.width } else { self.x }, self.y + ABOVE + HEAD_ROW / 2.0 + 3.0)
    }
}

/// A switch: its title, bar and cards.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// Its place in the picture.
    pub switch: usize,
    pub top: f64,
    /// Left and right end of its bar, or of the space for radio links.
    pub bar: (f64, f64),
    /// Where the bar ends.
    pub bottom: f64,
    pub cards: Vec<Card>,
}

/// A picture laid out.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub width: f64,
    pub height: f64,
    pub groups: Vec<Group>,
    /// The base line of each row of programs without a port, and their places in the picture.
    pub programs: Vec<(f64, Vec<usize>)>,
}

/// Lays a picture out in a width.
pub fn plan(picture: &Picture, width: u32) -> Plan {
    let width = f64::from(width.max(LEAST));
    let (mut y, mut groups) = (MARGIN, Vec::new());
    for (index, switch) in picture.switches.iter().enumerate() {
        let group = group(index, switch, y, width);
        y = group.bottom + APART;
        groups.push(group);
    }
    let a_row = ((width - 2.0 * MARGIN) / PROGRAM).floor().max(1.0) as usize;
    let mut programs = Vec::new();
    let all: Vec<usize> = (0..picture.programs.len()).collect();
    for row in all.chunks(a_row) {
        programs.push((y, row.to_vec()));
        y += PROGRAM_ROW;
    }
    let bottom = if programs.is_empty() { y - APART } else { y - PROGRAM_ROW };
    Plan { width, height: bottom.max(MARGIN) + MARGIN, groups, programs }
}

/// A program without a port.
pub const PROGRAM: f64 = 300.0;
const PROGRAM_ROW: f64 = 30.0;

fn group(index: usize, switch: &Switch, top: f64, width: f64) -> Group {
    let two = width >= TWO_SIDES;
    let (bar, link) = if two { (BAR, LINK) } else { (NARROW_BAR, NARROW_LINK) };
    let start = if two { (width - bar) / 2.0 } else { MARGIN };
    let span = (start, start + bar);
    let card = if two { start - link - MARGIN } else { width - MARGIN - (span.1 + link) };
    let first = top + TITLE;
    let mut free = [first, first];
    let mut cards = Vec::new();
    for (place, port) in switch.ports.iter().enumerate() {
        let left = two && free[0] <= free[1];
        let y = if left { &mut free[0] } else { &mut free[1] };
        let x = if left { MARGIN } else { span.1 + link };
        // Where links have no room, each node says whom it hears.
        let heard = if two { String::new() } else { heard(switch, place) };
        let (rows, height) = rows(port, heard);
        let rows = rows.into_iter().map(|row| Row { y: row.y + *y, ..row }).collect();
        cards.push(Card { port: place, x, y: *y, width: card, height, left, rows });
        *y += height + BETWEEN;
    }
    let lowest = free[0].max(free[1]) - BETWEEN;
    let bottom = if switch.ports.is_empty() { first + HEAD_ROW } else { lowest };
    let span = if switch.radio.is_some() && two { (start - link, span.1 + link) } else { span };
    Group { switch: index, top, bar: span, bottom, cards }
}

/// The rows of a card as if it began at 0, and its height.
fn rows(port: &Port, heard: String) -> (Vec<Row>, f64) {
    let mut rows = Rows { y: ABOVE, rows: Vec::new(), port: None, indent: 0.0 };
    rows.head(port);
    if !port.about.is_empty() {
        rows.add("about", port.about.clone(), String::new());
    }
    rows.body(port);
    if !heard.is_empty() {
        rows.add("about", heard, String::new());
    }
    for client in &port.clients {
        (rows.port, rows.indent) = (Some(client.name.clone()), 0.0);
        let passes = format!("→ {}  ← {}", per_second(client.traffic.rx_rate), per_second(client.traffic.tx_rate));
        let right = if client.mood == Mood::Up { passes } else { client.state.clone() };
        rows.add("client", client.name.clone(), right);
        rows.sign(client.mood);
        rows.indent = 14.0;
        if !client.about.is_empty() {
            rows.add("about", client.about.clone(), String::new());
        }
        rows.body(client);
    }
    (rows.rows, rows.y + BELOW)
}

/// Whom a node hears, and how well.
fn heard(switch: &Switch, node: usize) -> String {
    let links = switch.radio.iter().flat_map(|radio| &radio.links);
    let names = links.filter_map(|link| {
        let (other, chance) = match (link.nodes, link.chances) {
            ([this, other], [_, back]) if this == node => (other, back),
            ([other, this], [there, _]) if this == node => (other, there),
            _ => return None,
        };
        let name = &switch.ports.get(other)?.name;
        (chance > 0.0).then(|| if chance < 1.0 { format!("{name} {chance}") } else { name.clone() })
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() { String::new() } else { format!("hears {}", names.join(", ")) }
}

/// Rows as they are added.
struct Rows {
    y: f64,
    rows: Vec<Row>,
    port: Option<String>,
    indent: f64,
}

impl Rows {
    fn head(&mut self, port: &Port) {
        self.y += HEAD_ROW - ROW;
        self.add("name", port.name.clone(), format!("{} · {}", port.kind, port.state));
        self.sign(port.mood);
    }

    fn sign(&mut self, mood: Mood) {
        self.rows.last_mut().into_iter().for_each(|row| row.sign = Some(mood));
    }

    fn add(&mut self, look: &'static str, left: String, right: String) {
        self.y += ROW;
        let (y, port, indent) = (self.y - 4.0, self.port.clone(), self.indent);
        self.rows.push(Row { y, look, left, right, sign: None, port, indent });
    }

    fn body(&mut self, port: &Port) {
        if let Some(program) = &port.program {
            self.program(program);
        }
        port.stations.iter().for_each(|place| self.place(place));
        if port.more_stations > 0 {
            self.add("about", format!("and {} more addresses", port.more_stations), String::new());
        }
        port.notes.iter().for_each(|note| self.add("about", note.clone(), String::new()));
        if port.own_drops() {
            self.add("dropped", format!("⚠ {} dropped: {}", port.dropped, port.reasons), String::new());
        }
    }

    fn program(&mut self, program: &Program) {
        let look = if program.mood == ProgramMood::Failed { "failed" } else { "program" };
        self.add(look, format!("▸ {}", program.name), program.state.clone());
    }

    fn place(&mut self, place: &Place) {
        let twice = if place.twice { " ⚠ twice" } else { "" };
        let look = if place.twice { "twice" } else { "station" };
        let left = [place.addr.as_str(), place.name.as_str()].join(" ").trim().to_owned() + twice;
        match left.as_str() {
            "" => self.add(look, place.mac.clone(), String::new()),
            _ => self.add(look, left, place.mac.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(switches: usize, ports: usize) -> Picture {
        let port = |number: usize| Port {
            name: format!("port-{number}"),
            about: "x".repeat(number % 3),
            dropped: (number % 2) as u64,
            clients: vec![Port::default(); number % 4],
            ..Port::default()
        };
        let switch = |_| Switch { ports: (0..ports).map(port).collect(), ..Switch::default() };
        Picture { switches: (0..switches).map(switch).collect(), ..Picture::default() }
    }

    /// No card meets another, or leaves the picture; every row is in its card, and below the one before.
    #[test]
    fn nothing_overlaps() {
        for (switches, ports) in [(1, 0), (1, 1), (1, 2), (2, 7), (3, 64), (1, 200)] {
            for width in [0, 400, 819, 820, 980, 2000] {
                let laid = plan(&bench(switches, ports), width);
                let cards: Vec<&Card> = laid.groups.iter().flat_map(|group| &group.cards).collect();
                assert_eq!(cards.len(), switches * ports);
                for (index, card) in cards.iter().enumerate() {
                    assert!(
                        card.x >= 0.0 && card.x + card.width <= laid.width && card.width > 150.0,
                        "{width} {card:?}"
                    );
                    assert!(card.y >= 0.0 && card.y + card.height <= laid.height, "{card:?}");
                    assert!(card.rows.is_sorted_by(|a, b| a.y + 10.0 < b.y));
                    assert!(card.rows.iter().all(|row| row.y > card.y + 10.0 && row.y < card.y + card.height));
                    let meets = |other: &&&Card| {
                        card.x < other.x + other.width
                            && other.x < card.x + card.width
                            && card.y < other.y + other.height
                            && other.y < card.y + card.height
                    };
                    assert!(cards.iter().skip(index + 1).filter(meets).count() == 0, "{switches} {ports} {width}");
                }
            }
        }
    }
}
