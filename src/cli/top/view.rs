//! Draws the live view: the ports above, stations and events below, the keys in the last line.
//!
//! It never tells anything by colour alone: a state is a word, what is wrong has a sign before it, and the selected port
//! has an arrow. The colours are such that red-green blindness takes nothing from them; with NO_COLOR there are none.

use super::super::layout::shortened;
use super::super::stations::Station;
use super::super::table::{counted, dropped};
use super::super::units::{amount, bits};
use super::events::{Happened, Weight, has_failed};
use super::model::{App, Order, Over, Row, Sample, whereabouts};
use crate::config::text::{meanings, wrap};
use crate::control::InstanceInfo;
use crate::visible::visible;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph};

/// Below this there is no room for a picture.
const LEAST: (u16, u16) = (60, 10);
/// From this width on, ports show their peers beside their rates.
const WIDE: u16 = 110;
/// Bars of a sparkline, from nothing to the most.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A bit rate that has the first bar, and one that has the last, in powers of ten.
const DECADES: (f64, f64) = (2.0, 10.0);

/// The keys, and what they do.
const KEYS: [(&str, &str); 12] = [
    ("up, down, j, k", "select a port; PgUp, PgDn, Home and End go further"),
    ("/", "filter: ports whose name, kind, state or peer has these letters; Enter keeps it, Esc ends it"),
    ("s", "sort: as the bridge has them, by traffic, by drops"),
    ("c", "capture the selected port into a file here, and end that again; the last line says where"),
    ("d", "remove the selected port, after a question"),
    ("u", "add the port again that was removed last"),
    ("?, h", "this help"),
    ("q, Ctrl-C", "end; captures are ended, and their files named. Ctrl-Z stops, `fg` goes on"),
    ("", ""),
    ("!", "this port has dropped frames in the last second, or is down or stalled; an event says why"),
    ("*", "this port is being captured"),
    (
        "sparkline",
        "received and sent bits (rx and tx, from the port's view), each bar ten times the one before; the newest is on the right",
    ),
];

/// The colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Palette {
    coloured: bool,
}

impl Palette {
    /// With colours, unless NO_COLOR is set (no-color.org: and not empty).
    pub fn of_environment() -> Self {
        Self { coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// As said.
    #[cfg(test)]
    pub fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    fn ink(self, colour: Color) -> Style {
        if self.coloured { Style::new().fg(colour) } else { Style::new() }
    }

    fn warning(self) -> Style {
        self.ink(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn faint(self) -> Style {
        self.ink(Color::DarkGray)
    }

    fn head(self) -> Style {
        self.ink(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, palette: Palette) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{}x{} is too small: {}x{} at least (q ends)", area.width, area.height, LEAST.0, LEAST.1);
        return frame.render_widget(Paragraph::new(text), area);
    }
    let wanted = rows_of(app.rows().len().saturating_add(1));
    // Ports have the most room that leaves the rest a third.
    let ports = wanted.clamp(4, area.height.saturating_sub(2).saturating_mul(2) / 3);
    let [title, table, below, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(ports), Constraint::Min(3), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(title_line(app, palette, title.width)), title);
    draw_ports(frame, app, palette, table);
    let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(below);
    let programs = app.newest().map_or(0, |look| look.instances.len());
    // A program has a line, but stations have half of the room.
    let programs = if programs == 0 { 0 } else { rows_of(programs.saturating_add(1)).min(left.height / 2) };
    let [stations, instances] = Layout::vertical([Constraint::Min(1), Constraint::Length(programs)]).areas(left);
    draw_stations(frame, app, palette, stations);
    draw_instances(frame, app, palette, instances);
    draw_events(frame, app, palette, right);
    frame.render_widget(Paragraph::new(last_line(app, palette, keys.width)), keys);
    match app.over() {
        Over::Help => draw_help(frame, palette, area),
        Over::Nothing | Over::Filter | Over::Remove(_) => {}
    }
}

/// As many rows of a screen, which has no more than a `u16` counts.
fn rows_of(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn title_line(app: &App, palette: Palette, width: u16) -> Line<'static> {
    let (name, pid) = app.bridge();
    let Some(pid) = pid else {
        let why = app.gone().map_or("it has not answered yet".into(), visible);
        let said = format!("zbridge {}  WAITING for the bridge (q ends): {why}", visible(name));
        return Line::from(Span::styled(cut(&said, width.into()), palette.warning().add_modifier(Modifier::REVERSED)));
    };
    let mut parts = vec![format!("zbridge {}", visible(name)), format!("pid {pid}")];
    if let Some(look) = app.newest() {
        let switches = &look.status.switches;
        let ports = counted(switches.iter().flat_map(|switch| &switch.ports));
        let total = total(app.rows());
        parts.push(format!("{} switch{}", switches.len(), if switches.len() == 1 { "" } else { "es" }));
        parts.extend([ports, format!("{} stations", look.stations.len()), bits(total)]);
    }
    // What tells least goes first where there is no room: the process, and how many switches.
    while parts.len() > 4 && parts.join("  ").chars().count() > width.into() {
        parts.remove(1);
    }
    let mut line = Line::from(Span::styled(parts.join("  "), palette.head()));
    let order = match app.order() {
        Order::Bridge => "",
        Order::Traffic => "  by traffic",
        Order::Drops => "  by drops",
    };
    line.push_span(Span::raw(order));
    if let Some(why) = app.gone() {
        let said = format!("zbridge {}  GONE (it is looked for; q ends): {}", visible(name), visible(why));
        return Line::from(Span::styled(cut(&said, width.into()), palette.warning().add_modifier(Modifier::REVERSED)));
    }
    line
}

/// Bits a second that enter all switches. A listener has its clients' numbers already.
fn total(rows: &[Row]) -> f64 {
    rows.iter().filter(|row| !row.is_client).map(|row| row.now().bits[0]).sum()
}

/// What a port's line has beside its name: which columns, and how wide those are that have no fixed width.
struct Widths {
    name: usize,
    kind: bool,
    peer: usize,
    frames: bool,
    bars: usize,
}

/// Columns of a fixed width: marks, state, bit rates, drops, with a blank before each; kind; frame rates.
const FIXED: usize = 4 + 11 + 2 * 9 + 7;
const KIND: usize = 9;
const FRAMES: usize = 2 * 7;
/// A name of this length is shown whole before anything else is.
const NAME: usize = 12;
/// A line of stations has room for MAC addresses from this width on.
const WITH_MAC: usize = 36;
/// Sparklines of fewer bars, and the blank before them, are worth less than the kind of a port.
const LEAST_BARS: usize = 9;

impl Widths {
    /// In a line of `width` characters, where the longest name has `longest`.
    fn of(width: u16, longest: usize) -> Self {
        let mut rest = usize::from(width).saturating_sub(FIXED);
        let wanted = longest.clamp(NAME, 24);
        // What tells least goes first: the kind, then the rates of frames.
        let frames = rest >= NAME + FRAMES;
        rest -= if frames { FRAMES } else { 0 };
        let kind = rest >= wanted + KIND + LEAST_BARS;
        rest -= if kind { KIND } else { 0 };
        if width >= WIDE {
            let name = (rest / 3).clamp(12, 24);
            let peer = (rest - name) / 2;
            Self { name, kind, peer: peer - 1, frames, bars: rest - name - peer - 1 }
        } else {
            let bars = if rest > NAME + 4 { (rest - NAME - 1).min(12) } else { 0 };
            Self { name: rest - bars - usize::from(bars > 0), kind, peer: 0, frames, bars }
        }
    }
}

fn draw_ports(frame: &mut Frame<'_>, app: &mut App, palette: Palette, area: Rect) {
    let names = app.rows().iter().map(|row| row.port.name.chars().count() + usize::from(row.is_client));
    let widths = Widths::of(area.width, names.max().unwrap_or(0));
    let shown = usize::from(area.height.saturating_sub(1));
    let place = app.place().unwrap_or(0);
    app.first = app.first.clamp((place + 1).saturating_sub(shown), place).min(app.rows().len().saturating_sub(shown));
    let peer = if widths.peer > 0 { format!(" {}", fitted("peer", widths.peer)) } else { String::new() };
    let kind = if widths.kind { format!("{:8} ", "kind") } else { String::new() };
    let frames = if widths.frames { format!("{:>7}{:>7}", "rx f/s", "tx f/s") } else { String::new() };
    let head = format!(
        "   {} {kind}{:10}{peer}{:>9}{:>9}{frames}{:>7} {}",
        fitted("port", widths.name),
        "state",
        "rx bit/s",
        "tx bit/s",
        "drops",
        if widths.bars > 0 { "rx and tx" } else { "" },
    );
    let mut lines = vec![Line::from(Span::styled(head.trim_end().to_owned(), palette.head()))];
    let rows = app.rows().iter().enumerate().skip(app.first).take(shown);
    lines.extend(rows.map(|(at, row)| port_line(app, row, at == place, &widths, palette)));
    if app.rows().is_empty() {
        let why = match (app.newest(), app.filter()) {
            (None, _) if app.bridge().1.is_none() => "waiting for the bridge: its process may be stopped, or busy",
            (None, _) => "asking the bridge …",
            (Some(_), "") => "it has no ports",
            (Some(_), _) => "no port meets the filter (Esc ends it)",
        };
        lines.push(Line::from(format!("  {why}")));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn port_line(app: &App, row: &Row, is_selected: bool, widths: &Widths, palette: Palette) -> Line<'static> {
    let (port, now) = (&row.port, row.now());
    let is_wrong = now.drops > 0.0 || matches!(port.state.as_str(), "down" | "stalled");
    let selected = if is_selected { '>' } else { ' ' };
    let captured = if app.is_captured(&port.name) { '*' } else { ' ' };
    let wrong = if is_wrong { '!' } else { ' ' };
    let name = if row.is_client { format!(" {}", port.name) } else { port.name.clone() };
    let state = match port.state.as_str() {
        "up" => Style::new(),
        "down" | "stalled" => palette.warning(),
        _ => palette.faint(),
    };
    let [rx, tx] = now.bits.map(amount);
    let mut numbers = format!("{rx:>9}{tx:>9}");
    if widths.frames {
        let [rx, tx] = now.frames.map(amount);
        numbers.push_str(&format!("{rx:>7}{tx:>7}"));
    }
    let drops = format!("{:>7}", amount(dropped(port) as f64));
    let mut spans = vec![
        Span::raw(format!("{selected}{captured}{wrong}{} ", fitted(&name, widths.name))),
        Span::styled(if widths.kind { format!("{:8} ", visible(&port.kind)) } else { String::new() }, palette.faint()),
        Span::styled(format!("{:10}", visible(&port.state)), state),
    ];
    if widths.peer > 0 {
        spans.push(Span::raw(format!(" {}", fitted(whereabouts(row), widths.peer))));
    }
    spans.push(Span::raw(numbers));
    spans.push(Span::styled(drops, if now.drops > 0.0 { palette.warning() } else { Style::new() }));
    spans.push(Span::styled(format!(" {}", sparkline(row, widths.bars)), palette.ink(Color::Blue)));
    let line = Line::from(spans);
    if is_selected { line.style(Style::new().add_modifier(Modifier::REVERSED)) } else { line }
}

/// The last samples of a port, the newest on the right.
fn sparkline(row: &Row, width: usize) -> String {
    let bars: Vec<char> = row.samples.iter().rev().take(width).map(bar).collect();
    let blanks = std::iter::repeat_n(' ', width - bars.len());
    blanks.chain(bars.into_iter().rev()).collect()
}

/// The bar of a sample, by its bits on a scale of powers of ten.
fn bar(sample: &Sample) -> char {
    let bits: f64 = sample.bits.iter().sum();
    if bits < 1.0 {
        return ' ';
    }
    let (first, last) = DECADES;
    let height = (bits.log10() - first) / (last - first) * 7.0 + 1.0;
    BARS.get(height.clamp(1.0, 8.0) as usize).copied().unwrap_or(' ')
}

/// The beginning of `text`, as much as has room.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// `text` in exactly `width` characters.
fn fitted(text: &str, width: usize) -> String {
    let text = shortened(&visible(text), width);
    let blanks = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(blanks))
}

fn panel(title: String, palette: Palette) -> Block<'static> {
    Block::new().borders(Borders::TOP).border_style(palette.faint()).title(Span::styled(title, palette.head()))
}

fn draw_stations(frame: &mut Frame<'_>, app: &App, palette: Palette, area: Rect) {
    let stations = app.stations();
    let shown = usize::from(area.height.saturating_sub(1));
    let more = stations.len().saturating_sub(shown);
    let title = if more > 0 { format!("stations (+{more}) ") } else { "stations ".to_owned() };
    // A column between the panels stays free.
    let width = usize::from(area.width.saturating_sub(1));
    let lines: Vec<Line<'_>> = stations.into_iter().take(shown).map(|it| station_line(it, width, palette)).collect();
    frame.render_widget(Paragraph::new(lines).block(panel(title, palette)), area);
}

fn station_line(station: &Station, width: usize, palette: Palette) -> Line<'static> {
    let first = station.addresses.first();
    let more = if station.addresses.len() > 1 { "+" } else { "" };
    let what = first.map_or("-", |address| address.name.as_deref().unwrap_or(&address.addr));
    let is_double = station.flapping || station.addresses.iter().any(|address| address.shared);
    let mark = if is_double { "!" } else { " " };
    // MAC, its port, and the name or address. In little room the address says who it is.
    let with_mac = first.is_none() || width >= WITH_MAC;
    let mac = if with_mac { format!("{} ", station.mac) } else { String::new() };
    let rest = width.saturating_sub(1 + mac.len());
    let port = rest.saturating_sub(1) * 2 / 5;
    let text = format!(
        "{mark}{mac}{} {}",
        fitted(&station.port, port),
        shortened(&visible(&format!("{what}{more}")), rest.saturating_sub(port + 1)),
    );
    Line::from(Span::styled(text, if is_double { palette.warning() } else { Style::new() }))
}

fn draw_instances(frame: &mut Frame<'_>, app: &App, palette: Palette, area: Rect) {
    let Some(look) = app.newest().filter(|_| area.height > 1) else { return };
    let shown = usize::from(area.height.saturating_sub(1));
    let more = look.instances.len().saturating_sub(shown);
    let title = if more > 0 { format!("instances (+{more}) ") } else { "instances ".to_owned() };
    let width = usize::from(area.width.saturating_sub(1));
    // What is wrong comes first, so that it is never what has no room.
    let mut all: Vec<&InstanceInfo> = look.instances.iter().collect();
    all.sort_by_key(|it| !has_failed(it));
    let lines: Vec<Line<'_>> = all.into_iter().take(shown).map(|it| instance_line(it, width, palette)).collect();
    frame.render_widget(Paragraph::new(lines).block(panel(title, palette)), area);
}

/// Its name and state, and its last words, or how it ended.
fn instance_line(instance: &InstanceInfo, width: usize, palette: Palette) -> Line<'static> {
    let is_bad = has_failed(instance);
    let last = instance.lines.last().map(String::as_str).unwrap_or_default();
    let said = instance.end.as_deref().filter(|_| is_bad).unwrap_or(last);
    let again = if instance.restarts > 0 { format!(" x{}", instance.restarts + 1) } else { String::new() };
    let name = width.saturating_sub(12) / 3;
    let text = format!(
        "{}{} {}{again} {}",
        if is_bad { '!' } else { ' ' },
        fitted(&instance.name, name),
        fitted(&instance.state, 9),
        visible(said),
    );
    Line::from(Span::styled(cut(text.trim_end(), width), if is_bad { palette.warning() } else { Style::new() }))
}

fn draw_events(frame: &mut Frame<'_>, app: &App, palette: Palette, area: Rect) {
    let shown = usize::from(area.height.saturating_sub(1));
    let mut lines: Vec<Line<'_>> = Vec::new();
    // From the newest back, as far as there is room.
    for happened in app.events().iter().rev() {
        let of_it = event_lines(happened, area.width, palette);
        if lines.len() + of_it.len() > shown {
            break;
        }
        lines.extend(of_it.into_iter().rev());
    }
    lines.reverse();
    frame.render_widget(Paragraph::new(lines).block(panel("events ".to_owned(), palette)), area);
}

/// Its time and what it was; that goes on below itself.
fn event_lines(happened: &Happened, width: u16, palette: Palette) -> Vec<Line<'static>> {
    let (mark, style) = match happened.weight {
        Weight::Plain => (' ', Style::new()),
        Weight::Warning => ('!', palette.warning()),
    };
    let indent = " ".repeat(happened.time.len() + 2);
    let text = wrap(&indent, usize::from(width), &visible(&happened.text));
    let lines = text.lines().enumerate().map(|(at, line)| {
        let rest = line.get(indent.len()..).unwrap_or_default().to_owned();
        let lead = if at == 0 { format!("{}{mark} ", happened.time) } else { indent.clone() };
        Line::from(vec![
            Span::styled(lead, if mark == '!' { style } else { palette.faint() }),
            Span::styled(rest, style),
        ])
    });
    lines.collect()
}

fn last_line(app: &App, palette: Palette, width: u16) -> Line<'static> {
    let ask = palette.warning();
    match app.over() {
        Over::Filter => Line::from(format!("/{}_  (Enter keeps it, Esc ends it)", visible(app.filter()))),
        Over::Remove(port) => {
            Line::from(Span::styled(format!("remove {} from the bridge? y, or any other key", visible(port)), ask))
        }
        Over::Nothing | Over::Help if !app.said().is_empty() => {
            Line::from(shortened(&visible(app.said()), width.into()))
        }
        Over::Nothing | Over::Help => {
            let filter = match app.filter() {
                "" => String::new(),
                filter => format!("filter {}  ", visible(filter)),
            };
            let keys = "/ filter  s sort  c capture  d remove  u undo  ? help  q quit";
            Line::from(vec![Span::styled(filter, ask), Span::styled(keys, palette.faint())])
        }
    }
}

fn draw_help(frame: &mut Frame<'_>, palette: Palette, area: Rect) {
    let width = area.width.min(78);
    let room = usize::from(width).saturating_sub(4);
    let pairs: Vec<[String; 2]> = KEYS.iter().map(|(key, text)| [(*key).to_owned(), (*text).to_owned()]).collect();
    let text = meanings("", Some(room), &pairs);
    let height = rows_of(text.lines().count().saturating_add(2)).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let lines: Vec<Line<'_>> = text.lines().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Clear, place);
    let block = Block::new().borders(Borders::ALL).border_style(palette.faint());
    let title = Span::styled(" keys: any one closes this ", palette.head());
    frame.render_widget(Paragraph::new(lines).block(block.title(title)), place);
}

#[cfg(test)]
mod tests;
