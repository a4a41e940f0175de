//! Whole pictures as text, compared with those that are kept in `screens`, and what keys do.

use super::super::asker::{Change, Look};
use super::super::model::Action;
use super::*;
use crate::cli::stations::{Address, Station};
use crate::control::{InstanceInfo, PortInfo, StatusInfo, SwitchInfo};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::{Duration, Instant};

/// Name, kind, state, peer and target of a port, and its bytes a second in and out.
type Given = (&'static str, &'static str, &'static str, &'static str, &'static str, [u64; 2]);

const BENCH: [Given; 10] = [
    ("zeth0", "tap", "up", "", "zeth0,addr=192.0.2.2/24", [90_000, 1_200_000]),
    ("inst1", "unix", "up", "", "/tmp/bench/inst1.sock", [1_200_000, 90_000]),
    ("inst1#1", "unix", "up", "pid 4711 (qemu-system-x86)", "", [1_200_000, 90_000]),
    ("inst2", "unix", "listening", "", "/tmp/bench/a/path/of/some/length/inst2.sock", [0, 0]),
    ("lab-uplink", "udp", "up", "127.0.0.1:5002", "127.0.0.1:5001->127.0.0.1:5002", [400, 400]),
    ("slip0", "slip", "connecting", "", "pty:/tmp/bench/slip0", [0, 0]),
    ("node1", "wpan", "up", "pid 4712 (zephyr.exe)", "pipe:/tmp/bench/node1", [12, 9]),
    ("nat", "nat", "up", "2 tcp, 1 udp, 0 ping", "10.0.2.2/24", [52_000, 480_000]),
    ("usb", "usbip", "up", "", "192.0.2.1/24,device=cdc-acm", [0, 0]),
    ("a-board-with-a-long-name", "packet", "stalled", "enx00005e005300", "enx00005e005300", [0, 64_000]),
];

/// The ports of the bench in a second.
fn ports(second: u64) -> Vec<PortInfo> {
    let port = |(name, kind, state, peer, target, [rx, tx]): Given| {
        let port = serde_json::json!({
            "name": name, "kind": kind, "state": state, "peer": peer, "target": target, "queued": 0,
            "listener": name.split_once('#').map(|(listener, _)| listener),
            "rx_frames": rx * second / 600, "rx_bytes": rx * second, "tx_frames": tx * second / 600,
            "tx_bytes": tx * second, "copies": 0, "forwarded": 0,
            "drops": if state == "stalled" && second > 1 {
                serde_json::json!({"stalled": 40 * second})
            } else {
                serde_json::json!({})
            },
        });
        serde_json::from_value(port).unwrap()
    };
    BENCH.map(port).into()
}

fn stations() -> Vec<Station> {
    let station = |last: u8, port: &str, addr: &str, name: Option<&str>, flapping| Station {
        switch: "default".into(),
        mac: format!("02:00:5e:00:53:{last:02x}"),
        port: port.into(),
        age: Some(1),
        addresses: vec![Address { addr: addr.into(), name: name.map(str::to_owned), shared: false }],
        flapping,
        flap_ports: String::new(),
    };
    vec![
        station(1, "zeth0", "192.0.2.2", None, false),
        station(9, "inst1#1", "192.0.2.9", Some("board"), false),
        station(0x10, "nat", "10.0.2.2", None, false),
        station(0x77, "lab-uplink", "2001:db8::77:1234", None, true),
    ]
}

fn look(ports: Vec<PortInfo>, stations: Vec<Station>) -> Look {
    let switches =
        vec![SwitchInfo { name: "default".into(), trouble: None, fdb: 0, cuts: Vec::new(), ports, replay: None }];
    let status = StatusInfo { name: "default".into(), pid: 42, version: "0".into(), since: 0, sandbox: None, switches };
    let instance = |name: &str, state: &str, end: Option<&str>, line: &str| -> InstanceInfo {
        let it = serde_json::json!({"name": name, "state": state, "end": end, "lines": [line]});
        serde_json::from_value(it).unwrap()
    };
    let instances = vec![
        instance("board", "ready", None, "*** Booting Zephyr OS ***"),
        instance("peer", "ended", Some("status 1"), "no route to host"),
    ];
    Look { status, stations, instances }
}

/// The view after some seconds of the bench.
fn app() -> App {
    let mut app = App::new("default");
    let start = Instant::now();
    for second in 1..9 {
        let mut ports = ports(second);
        // One comes late, and one had a peer.
        ports.retain(|port| second > 2 || port.name != "usb");
        if second < 5 {
            ports.iter_mut().filter(|port| port.name == "slip0").for_each(|port| port.state = "up".into());
        }
        let stations = if second > 3 { stations() } else { Vec::new() };
        app.look(start + Duration::from_secs(second), &format!("12:00:0{second}"), look(ports, stations));
    }
    app
}

/// The picture as text, lines without the blanks at their ends.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, Palette::new(false))).unwrap();
    let buffer = terminal.backend().buffer();
    let cell = |x, y| buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
    let line = |y| (0..width).map(|x| cell(x, y)).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

fn press(app: &mut App, code: KeyCode) -> Option<Action> {
    app.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Compares a picture with the one that is kept. `ZBRIDGE_SCREENS=1` keeps the new one instead.
fn compare(name: &str, picture: &str) {
    let path = format!("{}/src/cli/top/screens/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("ZBRIDGE_SCREENS").is_some() {
        std::fs::write(&path, picture).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(picture, kept, "{name}\n{picture}");
}

#[test]
fn whole_screens() {
    for (width, height) in [(80, 24), (120, 40)] {
        let mut app = app();
        compare(&format!("{width}x{height}"), &screen(&mut app, width, height));
        press(&mut app, KeyCode::Char('?'));
        compare(&format!("{width}x{height}-help"), &screen(&mut app, width, height));
    }
}

#[test]
fn the_guide_has_the_screen_and_the_least_size() {
    let page = include_str!("../../topics/bridge.md");
    assert!(page.contains(&screen(&mut app(), 80, 24)), "src/cli/topics/bridge.md has another screen");
    assert!(page.contains(&format!("{}x{}", LEAST.0, LEAST.1)));
}

#[test]
fn every_size_is_drawn() {
    let mut app = app();
    for width in (1..=200).step_by(7) {
        for height in [1, 5, 10, 11, 24, 50] {
            let text = screen(&mut app, width, height);
            assert_eq!(text.lines().count(), usize::from(height));
        }
    }
    assert!(screen(&mut app, 59, 24).starts_with("59x24 is too small"));
}

#[test]
fn keys_select_filter_sort_and_ask() {
    let mut app = app();
    let first = |app: &mut App| screen(app, 80, 24).lines().nth(2).unwrap().to_owned();
    let selected = |app: &mut App| {
        let text = screen(app, 80, 24);
        let line = text.lines().find(|line| line.starts_with('>')).unwrap();
        line[2..].trim_start_matches('!').split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(selected(&mut app), "zeth0");
    press(&mut app, KeyCode::Down);
    assert_eq!(selected(&mut app), "inst1");
    // What keys do at the selected port.
    assert_eq!(press(&mut app, KeyCode::Char('c')), Some(Action::Capture("inst1".into())));
    assert_eq!(press(&mut app, KeyCode::Char('d')), None);
    assert!(screen(&mut app, 80, 24).ends_with("remove inst1 from the bridge? y, or any other key\n"));
    assert_eq!(press(&mut app, KeyCode::Char('n')), None);
    assert!(screen(&mut app, 80, 24).ends_with("inst1 stays\n"));
    press(&mut app, KeyCode::Char('d'));
    assert_eq!(press(&mut app, KeyCode::Char('y')), Some(Action::Change(Change::Remove("inst1".into()))));
    let spec = "unix:/tmp/bench/inst1.sock,name=inst1,switch=default".to_owned();
    assert_eq!(press(&mut app, KeyCode::Char('u')), Some(Action::Change(Change::Add(spec))));
    assert_eq!(press(&mut app, KeyCode::Char('u')), None, "once for each");
    // The busiest first.
    press(&mut app, KeyCode::Char('s'));
    assert!(first(&mut app).contains("inst1 ") || first(&mut app).contains("zeth0 "), "{}", first(&mut app));
    press(&mut app, KeyCode::Char('s'));
    assert!(first(&mut app).contains("a-bo"), "{}", first(&mut app));
    press(&mut app, KeyCode::Char('s'));
    // A filter as it is typed.
    for key in "/QEMU".chars() {
        press(&mut app, KeyCode::Char(key));
    }
    let text = screen(&mut app, 80, 24);
    assert!(text.ends_with("/QEMU_  (Enter keeps it, Esc ends it)\n"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" up  ")).count(), 1, "{text}");
    press(&mut app, KeyCode::Enter);
    assert!(screen(&mut app, 80, 24).contains("filter QEMU"));
    press(&mut app, KeyCode::Esc);
    assert!(screen(&mut app, 80, 24).contains("zeth0"));
    press(&mut app, KeyCode::End);
    assert_eq!(selected(&mut app), "a-bo…ong-name");
    let end = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!((app.key(end), press(&mut app, KeyCode::Char('q'))), (Some(Action::Quit), Some(Action::Quit)));
}

#[test]
fn a_bridge_that_is_gone_is_said_so_until_it_is_back() {
    let mut app = app();
    app.lose("no bridge named default runs");
    let text = screen(&mut app, 80, 24);
    assert!(
        text.starts_with("zbridge default  GONE (it is looked for; q ends): no bridge named default runs"),
        "{text}"
    );
    assert_eq!(app.gone(), Some("no bridge named default runs"));
    let mut again = look(ports(1), Vec::new());
    again.status.pid = 43;
    app.look(Instant::now() + Duration::from_secs(60), "12:01:00", again);
    let text = screen(&mut app, 80, 24);
    assert!(text.starts_with("zbridge default  pid 43 ") && text.contains("the bridge is there again"), "{text}");
}

#[test]
fn many_ports_scroll() {
    let mut app = App::new("default");
    let many = (0..300).map(|number| {
        let mut port = ports(1).swap_remove(0);
        port.name = format!("p{number}");
        port
    });
    app.look(Instant::now(), "12:00:00", look(many.collect(), Vec::new()));
    for _ in 0..40 {
        press(&mut app, KeyCode::PageDown);
    }
    assert!(screen(&mut app, 80, 24).contains(">  p299"));
    press(&mut app, KeyCode::Home);
    let text = screen(&mut app, 80, 24);
    assert!(text.contains(">  p0 ") && !text.contains("p299"), "{text}");
}

#[test]
fn what_others_have_named_cannot_act_on_the_terminal() {
    let mut app = App::new("default");
    let mut port = ports(1).swap_remove(0);
    (port.name, port.peer) = ("a\u{1b}[2J".into(), "\u{202e}x".into());
    app.look(Instant::now(), "12:00:00", look(vec![port], Vec::new()));
    let text = screen(&mut app, 120, 24);
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
}
