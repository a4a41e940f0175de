//! Pictures as they are written: what names may do in each form, and what stands where.

use super::model::{Link, Mood, Picture, Place, Port, Program, Radio, Switch, Traffic, paired};
use super::{svg, text, words};

/// A name that tries to get out of every form.
const HOSTILE: &str =
    "</text><script>alert(1)</script>\"]; x{{`%%{init}%% #quot; \\\" -->|a| & ' \u{202e}\u{ffff}\n end";

fn bench(name: &str) -> Picture {
    let program = Program { name: name.into(), state: name.into(), ..Program::default() };
    let place = Place { mac: name.into(), addr: name.into(), name: name.into(), twice: true };
    let client = Port { name: format!("{name}#1"), about: name.into(), mood: Mood::Up, ..Port::default() };
    let port = Port {
        name: name.into(),
        kind: "unix".into(),
        state: "up".into(),
        mood: Mood::Up,
        about: name.into(),
        stations: vec![place],
        more_stations: 7,
        program: Some(program.clone()),
        notes: vec![name.into()],
        traffic: Traffic { rx_frames: 12, rx_rate: 3.0, ..Traffic::default() },
        dropped: 4,
        reasons: name.into(),
        queued: 1,
        clients: vec![client],
    };
    let radio = Radio { all_to_all: false, links: vec![Link { nodes: [0, 1], chances: [0.9, 0.5] }] };
    let switch = |radio| Switch {
        name: name.into(),
        trouble: Some(name.into()),
        radio,
        ports: vec![port.clone(), Port::default()],
    };
    Picture { bridge: name.into(), switches: vec![switch(None), switch(Some(radio))], programs: vec![program] }
}

/// The elements of XML in order, when every one is closed, and no text has a sign of its own meaning.
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut all, mut rest) = (Vec::new(), Vec::new(), xml);
    while let Some((before, behind)) = rest.split_once('<') {
        assert!(!before.contains('>') || open.last().is_some_and(|name| name == "style"), "{before}");
        let (tag, after) = behind.split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        all.push(name.clone());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty());
    all
}

#[test]
fn a_hostile_name_stays_a_name_in_svg() {
    for usage in [svg::Use::File, svg::Use::Page] {
        for width in [320, 980] {
            let (plain, hostile) = (svg::draw(&bench("a"), width, usage), svg::draw(&bench(HOSTILE), width, usage));
            // What has no room is left out.
            let (mut known, mut found) = (elements(&plain), elements(&hostile));
            assert!(known.len() >= found.len() && found.len() > 40, "{usage:?} {width}");
            for all in [&mut known, &mut found] {
                all.sort();
                all.dedup();
            }
            assert_eq!(known, found);
            assert!(!hostile.contains("<script") && !hostile.contains('\u{ffff}') && !hostile.contains('\u{202e}'));
        }
    }
}

#[test]
fn a_hostile_name_stays_a_name_in_mermaid_and_dot() {
    let lines = |text: &str| text.lines().map(|line| line.split('"').next().unwrap().to_owned()).collect::<Vec<_>>();
    let (plain, hostile) = (words::mermaid(&bench("a")), words::mermaid(&bench(HOSTILE)));
    assert_eq!(lines(&plain), lines(&hostile));
    let quotes = |text: &str| text.matches('"').count();
    assert_eq!(quotes(&plain), quotes(&hostile));
    assert!(!hostile.contains('`') && !hostile.contains("%%") && !hostile.contains("<script"));
    let (plain, hostile) = (words::dot(&bench("a")), words::dot(&bench(HOSTILE)));
    assert_eq!(lines(&plain), lines(&hostile));
    let bare = |text: &str| text.replace("\\\\", "").replace("\\\"", "").matches('"').count();
    assert_eq!(bare(&plain), bare(&hostile));
}

#[test]
fn a_tree_has_a_line_for_everything() {
    let told = text::tree(&bench("lab"), None);
    for line in [
        "bridge lab\n",
        "switch lab\n",
        "├─ ● lab    unix  up  in 3 f/s 0 bit/s, out 0 f/s 0 bit/s  lab\n",
        "! 4 dropped: lab\n",
        "lab ↔   hears  0.9 → 0.5 ←\n",
        "program lab: lab\n",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!text::tree(&bench(HOSTILE), None).contains('\u{202e}'));
}

#[test]
fn links_are_pairs() {
    let links = paired([(1, 0, 0.5), (0, 1, 0.9), (2, 2, 1.0), (3, 1, 1.0)].into_iter());
    assert_eq!(links.len(), 2);
    assert_eq!((links[0].nodes, links[0].chances), ([0, 1], [0.9, 0.5]));
    assert_eq!((links[1].nodes, links[1].chances), ([1, 3], [0.0, 1.0]));
}
