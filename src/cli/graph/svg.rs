//! A picture as SVG: a file that needs nothing beside itself, and looks as it should on light and dark ground.

use super::layout::{Card, Group, Plan, Row, WIDTH, plan};
use super::model::{Link, Mood, Picture, Port, Program, ProgramMood, Switch};
use crate::cli::table::how_many;
use crate::cli::units::{amount, bits, per_second};
use crate::visible::visible;
use std::fmt::Write as _;

/// How it looks. The page of `zbridge view` has the same.
pub const STYLE: &str = include_str!("style.css");

/// Pixels of one character, at most for the most part: of text, of bold text, of an address.
const TEXT: f64 = 6.7;
const BOLD: f64 = 7.6;
const MONO: f64 = 7.0;
/// Between the edge of a card and its text.
const PAD: f64 = 12.0;

/// For whom it is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// A file: it has its style in it.
    File,
    /// The page of `zbridge view`: ports can be chosen.
    Page,
}

/// A picture as a file of its own.
pub fn file(picture: &Picture) -> String {
    draw(picture, WIDTH, Use::File)
}

/// Draws a picture in a width.
pub fn draw(picture: &Picture, width: u32, usage: Use) -> String {
    let laid = plan(picture, width);
    let mut out = String::with_capacity(16 * 1024);
    let (w, h) = (laid.width.round(), laid.height.round());
    let name = escaped(&picture.bridge);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"bench\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
         role=\"{}\">\n<title>{name}: a bench of zbridge</title>\n",
        if usage == Use::File { "img" } else { "group" },
    );
    if usage == Use::File {
        let (w, h) = (w - 1.0, h - 1.0);
        let _ = write!(
            out,
            "<style>\n{STYLE}</style>\n<rect class=\"ground\" x=\"0.5\" y=\"0.5\" width=\"{w}\" height=\"{h}\" rx=\"10\"/>\n"
        );
    }
    let mut pen = Pen { out, usage };
    for group in &laid.groups {
        if let Some(switch) = picture.switches.get(group.switch) {
            pen.group(&laid, group, switch);
        }
    }
    pen.programs(&laid, &picture.programs);
    pen.out.push_str("</svg>\n");
    pen.out
}

/// What is drawn so far.
struct Pen {
    out: String,
    usage: Use,
}

impl Pen {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let written = self.out.write_fmt(text);
        debug_assert!(written.is_ok(), "a string takes what is written to it");
    }

    fn text(&mut self, x: f64, y: f64, look: &str, text: &str) {
        self.add(format_args!("<text class=\"{look}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escaped(text)));
    }

    fn group(&mut self, laid: &Plan, group: &Group, switch: &Switch) {
        let one_side = group.bar.0 < 40.0;
        let (middle, side) = if one_side { (group.bar.0, " side") } else { (laid.width / 2.0, "") };
        let room = ((laid.width - 2.0 * group.bar.0.min(40.0)) / BOLD) as usize;
        self.text(middle, group.top + 18.0, &format!("title{side}"), &cut(&format!("switch {}", switch.name), room));
        let clients = switch.ports.iter().map(|port| port.clients.len()).sum();
        let ports = how_many(switch.ports.len(), clients);
        let below = match (&switch.trouble, &switch.radio) {
            (Some(trouble), _) => format!("⚠ {trouble}"),
            (None, Some(radio)) if radio.all_to_all => {
                format!("802.15.4 radio · {ports} · every node hears every other")
            }
            (None, Some(_)) => format!("802.15.4 radio · {ports} · lines are who hears whom"),
            (None, None) => ports,
        };
        let look = if switch.trouble.is_some() { "below trouble" } else { "below" };
        self.text(middle, group.top + 37.0, &format!("{look}{side}"), &cut(&below, room));
        let (left, right) = group.bar;
        let top = group.top + 54.0;
        match &switch.radio {
            None => self.bar("bar", left, right, top, group.bottom),
            Some(radio) if radio.all_to_all || one_side => {
                // The air is as wide as a bar.
                let inset = if one_side { 0.0 } else { 128.0 };
                self.bar("air", left + inset, right - inset, top, group.bottom);
            }
            Some(radio) => self.hears(group, &radio.links),
        }
        for card in &group.cards {
            if let Some(port) = switch.ports.get(card.port) {
                self.port(group, switch, card, port);
            }
        }
    }

    fn bar(&mut self, look: &str, left: f64, right: f64, top: f64, bottom: f64) {
        let (width, height) = (right - left, bottom - top);
        self.add(format_args!(
            "<rect class=\"{look}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"10\"/>\n"
        ));
    }

    /// Begins what belongs to a port, which can be chosen on a page.
    fn begin(&mut self, look: &str, name: &str, rate: f64, says: &str) {
        self.add(format_args!("<g class=\"{look}\""));
        if self.usage == Use::Page {
            // As a power of ten: a number that changes with every look would be told at every look.
            let speed = if rate > 0.0 { rate.log10().clamp(0.0, 5.0).round() } else { -1.0 };
            let (name, says) = (escaped(name), escaped(says));
            self.add(format_args!(
                " data-port=\"{name}\" data-speed=\"{speed}\" tabindex=\"0\" role=\"button\" aria-label=\"{says}\""
            ));
        }
        self.out.push_str(">\n");
    }

    fn port(&mut self, group: &Group, switch: &Switch, card: &Card, port: &Port) {
        let (wired, traffic) = (switch.radio.as_ref().is_none_or(|radio| radio.all_to_all), port.traffic);
        let drops = if port.dropped > 0 { " drops" } else { "" };
        let look = format!("port {}{drops}", word(port.mood));
        let says = format!("port {}, {}, {}, {} dropped", port.name, port.kind, port.state, port.dropped);
        self.begin(&look, &port.name, traffic.rx_rate + traffic.tx_rate, &says);
        if wired || group.bar.0 < 40.0 {
            self.wire(group, switch, card, port);
        }
        let Card { x, y, width, height, .. } = *card;
        self.add(format_args!(
            "<rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>\n"
        ));
        let (mut rows, mut clients) = (card.rows.iter().peekable(), port.clients.iter());
        while let Some(row) = rows.next_if(|row| row.port.is_none()) {
            self.row(card, row);
        }
        while let Some(row) = rows.next() {
            // Its first row; those behind it are the same client's until the next that has a sign.
            let rate = clients.next().map_or(0.0, |client| client.traffic.rx_rate + client.traffic.tx_rate);
            let name = row.port.clone().unwrap_or_default();
            self.begin("of-client", &name, rate, &format!("client {name}, {}", row.right));
            self.row(card, row);
            while let Some(row) = rows.next_if(|row| row.sign.is_none()) {
                self.row(card, row);
            }
            self.out.push_str("</g>\n");
        }
        self.out.push_str("</g>\n");
    }

    /// The link of a port to the bar, with what passes.
    fn wire(&mut self, group: &Group, switch: &Switch, card: &Card, port: &Port) {
        let (from, y) = card.anchor();
        let inset = if switch.radio.is_some() && group.bar.0 >= 40.0 { 128.0 } else { 0.0 };
        let to = if card.left { group.bar.0 + inset } else { group.bar.1 - inset };
        self.add(format_args!(
            "<path class=\"wire\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>\
             <circle class=\"joint\" cx=\"{to:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n"
        ));
        let (middle, traffic) = (f64::midpoint(from, to), port.traffic);
        let wide = (from - to).abs() > 100.0;
        // What comes in goes towards the bar.
        let (inwards, outwards) = if card.left { ("→", "←") } else { ("←", "→") };
        for (way, rate, speed, frames, at) in [
            (inwards, traffic.rx_rate, traffic.rx_bits, traffic.rx_frames, y - 7.0),
            (outwards, traffic.tx_rate, traffic.tx_bits, traffic.tx_frames, y + 15.0),
        ] {
            let says = match (rate > 0.0, wide) {
                (true, true) => format!("{way} {} {}", per_second(rate), bits(speed)),
                (true, false) => format!("{way} {}", per_second(rate)),
                (false, _) if frames == 0 => continue,
                (false, true) => format!("{way} {} frames", amount(frames as f64)),
                (false, false) => format!("{way} {}", amount(frames as f64)),
            };
            self.text(middle, at, if rate > 0.0 { "rate moves" } else { "rate" }, &says);
        }
        if port.dropped > 0 {
            let (x, top) = (if card.left { to + 13.0 } else { to - 13.0 }, y - 8.5);
            self.add(format_args!(
                "<path class=\"alarm\" d=\"M{x:.1} {top:.1}l8.5 14.5h-17z\"/>\
                 <path class=\"alarm-sign\" d=\"M{x:.1} {:.1}v4.5m0 3v.1\"/>\n",
                top + 4.8
            ));
        }
    }

    fn row(&mut self, card: &Card, row: &Row) {
        let mut x = card.x + PAD + row.indent;
        if let Some(mood) = row.sign {
            let (cx, cy) = (x + 4.5, row.y - 4.5);
            match mood {
                Mood::Down => self.add(format_args!(
                    "<path class=\"sign down\" d=\"M{:.1} {:.1}l8 8m0-8l-8 8\"/>\n",
                    cx - 4.0,
                    cy - 4.0
                )),
                mood => self.add(format_args!(
                    "<circle class=\"sign {}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>\n",
                    word(mood)
                )),
            }
            x += 15.0;
        }
        let room = card.x + card.width - PAD - x;
        let of_sign = match row.look {
            "name" | "dropped" | "failed" | "program" | "client" => BOLD,
            "station" | "twice" => MONO,
            _ => TEXT,
        };
        let of_right = if of_sign == MONO { MONO } else { TEXT };
        let wanted = cells(&row.right) as f64 * of_right + 10.0;
        // An address that needs all of the row is worth more than what stands behind it.
        let with_right =
            !row.right.is_empty() && (of_sign != MONO || room - wanted >= cells(&row.left) as f64 * of_sign);
        let right = if with_right { cut(&row.right, (room * 0.62 / of_right) as usize) } else { String::new() };
        let taken = if right.is_empty() { 0.0 } else { cells(&right) as f64 * of_right + 10.0 };
        self.text(x, row.y, row.look, &cut(&row.left, ((room - taken) / of_sign) as usize));
        if !right.is_empty() {
            self.text(card.x + card.width - PAD, row.y, &format!("{} right", row.look), &right);
        }
    }

    /// The links of a radio medium, with the probabilities of those that lose frames where there is room for them.
    fn hears(&mut self, group: &Group, links: &[Link]) {
        let anchor =
            |port: usize| group.cards.iter().find(|card| card.port == port).map(|card| (card.anchor(), card.left));
        let mut labels: Vec<(f64, f64, f64)> = Vec::new();
        let mut texts = Vec::new();
        for (number, link) in links.iter().enumerate() {
            let [Some(((ax, ay), a_left)), Some(((bx, by), b_left))] = link.nodes.map(anchor) else { continue };
            let words = link.words(ax > bx);
            let loses = if words.is_empty() { "" } else { " loses" };
            // Of one side it goes out into the middle and comes back; the farther apart, the farther out.
            let reach = 40.0 + 0.22 * (ay - by).abs().min(700.0) + 5.0 * (number % 3) as f64;
            let bend = if a_left { reach } else { -reach };
            let (cx, dx) =
                if a_left == b_left { (ax + bend, bx + bend) } else { (f64::midpoint(ax, bx), f64::midpoint(ax, bx)) };
            self.add(format_args!(
                "<path class=\"hears{loses}\" d=\"M{ax:.1} {ay:.1}C{cx:.1} {ay:.1} {dx:.1} {by:.1} {bx:.1} {by:.1}\"/>\n"
            ));
            if !loses.is_empty() {
                let half = cells(&words) as f64 * TEXT / 2.0 + 3.0;
                let spot = [0.5, 0.38, 0.62, 0.28, 0.72].into_iter().map(|t| curve(t, ax, ay, cx, dx, bx, by)).find(
                    |(x, y)| {
                        labels.iter().all(|(ox, oy, other)| (x - ox).abs() > half + other || (y - oy).abs() > 15.0)
                    },
                );
                if let Some((x, y)) = spot {
                    labels.push((x, y, half));
                    texts.push((x, y + 4.0, words));
                }
            }
        }
        texts.iter().for_each(|(x, y, words)| self.text(*x, *y, "chance", words));
    }

    fn programs(&mut self, laid: &Plan, programs: &[Program]) {
        for (y, row) in &laid.programs {
            for (column, place) in row.iter().enumerate() {
                let Some(program) = programs.get(*place) else { continue };
                let x = 20.0 + super::layout::PROGRAM * column as f64;
                let look = if program.mood == ProgramMood::Failed { "failed" } else { "program" };
                self.text(x, *y, look, &cut(&format!("▸ {}  {}", program.name, program.state), 40));
            }
        }
    }
}

/// A point of a curve from a to b that leaves and arrives on the level.
fn curve(t: f64, ax: f64, ay: f64, cx: f64, dx: f64, bx: f64, by: f64) -> (f64, f64) {
    let s = 1.0 - t;
    let [p, q, r, u] = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
    (p * ax + q * cx + r * dx + u * bx, (p + q) * ay + (r + u) * by)
}

fn word(mood: Mood) -> &'static str {
    match mood {
        Mood::Up => "up",
        Mood::Waits => "waits",
        Mood::Down => "down",
    }
}

/// How many columns a text has, where those of East Asia count twice.
fn cells(text: &str) -> usize {
    text.chars()
        .map(|char| if u32::from(char) >= 0x1100 && !('\u{2000}'..'\u{2e80}').contains(&char) { 2 } else { 1 })
        .sum()
}

/// What of a text has room in so many columns, with `…` where it was cut.
fn cut(text: &str, room: usize) -> String {
    let text = visible(text);
    if cells(&text) <= room {
        return text.into_owned();
    }
    let mut taken = 1;
    let kept = text.chars().take_while(|char| {
        taken += cells(char.encode_utf8(&mut [0; 4]));
        taken <= room
    });
    kept.collect::<String>().trim_end().to_owned() + "…"
}

/// Text as XML has it. What XML cannot have, and what turns text around, is written out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for char in visible(text).chars() {
        match char {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No character of XML (Extensible Markup Language 1.0, 2.2).
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            char => out.push(char),
        }
    }
    out
}
