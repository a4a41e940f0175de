//! `zbridge graph` and `zbridge view`: what the pictures have in them, read by the programs that they are for, and the page
//! in a browser. Elements are looked at, not pixels; screenshots are kept in the test's folder.

mod browser;

use browser::Browser;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Launch, PATIENCE, Peer, Process, Station, StreamPeer, TempDir, eventually, needs, require, zbridge};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A bench with a program, a radio medium, and names that want to be more than names.
const BENCH: &str = r#"
[switch.radio]
medium = "802.15.4"
links = "LINKS"

[[port]]
type = "wpan"
target = "unix:DIR/n1"
name = "root"
switch = "radio"

[[port]]
type = "wpan"
target = "unix:DIR/n2"
name = "leaf"
switch = "radio"

[[port]]
type = "unix"
target = "DIR/a"

[[port]]
type = "unix"
target = "DIR/b"

[[instance]]
name = "sim"
command = ["sh", "-c", "echo '<b>boots</b> & runs'; exec sleep 1000"]
"#;

struct Lab {
    dir: TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = TempDir::new();
        let links = dir.file("links", "root leaf 0.9 0.5\n");
        let text = BENCH.replace("DIR", dir.root().to_str().unwrap()).replace("LINKS", links.to_str().unwrap());
        dir.file("bench.toml", text);
        Self { dir }
    }

    fn launch(&self, args: &[&str]) -> Launch {
        zbridge!().args(args).env("XDG_RUNTIME_DIR", self.dir.root())
    }

    fn up(&self) -> Process {
        let (file, logs) = (self.dir.text("bench.toml"), self.dir.text("logs"));
        let bench = self.launch(&["up", &file, "--name", "lab", "--logs", &logs]).spawn();
        bench.wait_for("sim: ready", PATIENCE);
        bench
    }

    fn told(&self, args: &[&str]) -> String {
        let exit = self.launch(args).run();
        assert_eq!(exit.code(), 0, "{args:?}: {exit:?}");
        exit.stdout
    }

    /// Two stations that have spoken with each other.
    fn peers(&self) -> (StreamPeer, StreamPeer) {
        let [mut a, mut b] = ["a", "b"].map(|name| StreamPeer::unix(self.dir.path(name)));
        self.told(&["wait", "port=a#1"]);
        self.told(&["wait", "port=b#1"]);
        a.send(&A.arp_request(B.ip));
        b.expect(&A.arp_request(B.ip));
        b.send(&B.arp_reply(A));
        a.expect(&B.arp_reply(A));
        (a, b)
    }

    /// The page's server, and its address: where it listens and the path.
    fn view(&self) -> (Process, SocketAddr, String) {
        let view = self.launch(&["view", "lab", "--no-open"]).spawn();
        let line = eventually("its address", || {
            let said = view.stdout();
            said.contains('\n').then_some(said)
        });
        let (addr, path) = line.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
        (view, addr.parse().unwrap(), format!("/{path}"))
    }
}

/// What a program that reads `text` makes of it.
fn read_by(program: &str, args: &[&str], text: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// The texts of an SVG, by a parser of XML.
const TEXTS: &str = "import sys, xml.etree.ElementTree as E\n\
    for e in E.fromstring(sys.stdin.read()).iter('{http://www.w3.org/2000/svg}text'): print(e.text)";

#[test]
fn a_picture_is_read_by_those_it_is_for() {
    require!(needs::tool("dot", "graphviz"), needs::tool("python3", "python3"));
    let lab = Lab::new();
    let _bench = lab.up();
    let _peers = lab.peers();
    let tree = lab.told(&["graph", "lab"]);
    for line in ["bridge lab", "switch radio, a radio medium", "root ↔ leaf  hears  0.9 → 0.5 ←", "program sim: ready"]
    {
        assert!(tree.contains(line), "{line}\n{tree}");
    }
    assert!(tree.contains(&A.ip.to_string()) && tree.contains("● a#1"), "{tree}");
    let svg = read_by("python3", &["-c", TEXTS], &lab.told(&["graph", "lab", "--svg"]));
    for text in ["switch default", "a#1", "0.9 → 0.5 ←", "▸ sim  ready", &A.ip.to_string()] {
        assert!(svg.lines().any(|line| line == text), "{text}\n{svg}");
    }
    let nodes = read_by("dot", &["-Tplain"], &lab.told(&["graph", "lab", "--dot"]));
    assert!(nodes.lines().filter(|line| line.starts_with("node ")).count() == 9, "{nodes}");
    assert!(lab.told(&["graph", "lab", "--mermaid"]).starts_with("flowchart LR\n"));
    let json: serde_json::Value = serde_json::from_str(&lab.told(&["graph", "lab", "--json"])).unwrap();
    assert_eq!(json["switches"][0]["radio"]["links"][0]["chances"], json!([0.9, 0.5]));
    // what does not run, by its file
    let planned = lab.told(&["graph", "--config", &lab.dir.text("bench.toml"), "--svg"]);
    assert!(read_by("python3", &["-c", TEXTS], &planned).contains("wpan · planned"));
}

/// The status of an answer to a request.
fn asked(addr: SocketAddr, path: &str, fields: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\n{fields}\r\n").unwrap();
    let mut told = String::new();
    let _ = socket.read_to_string(&mut told);
    let status = told.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {told:?}")), told)
}

#[test]
fn only_who_may_look_is_answered() {
    let lab = Lab::new();
    let _bench = lab.up();
    let (_view, addr, path) = lab.view();
    let host = format!("Host: {addr}\r\n");
    let (status, page) = asked(addr, &path, &host);
    assert_eq!(status, 200, "{page}");
    let policy = page.lines().find(|line| line.starts_with("Content-Security-Policy: ")).unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!page.contains("://") || page.matches("://").all(|_| page.contains("www.w3.org")), "nothing from outside");
    let same = format!("{host}Origin: http://{addr}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(asked(addr, &format!("{path}picture?width=700"), &same).0, 200);
    let named = format!("Host: localhost:{}\r\n", addr.port());
    assert_eq!(asked(addr, &path, &named).0, 200);
    let (last, guess) = (&path[path.len() - 2..path.len() - 1], path[..path.len() - 2].to_owned());
    let wrong = format!("{guess}{}/", if last == "0" { "1" } else { "0" });
    for (path, fields, code) in [
        (&*wrong, host.clone(), 403),
        ("/", host.clone(), 403),
        (&*path, format!("Host: evil.example:{}\r\n", addr.port()), 403),
        (&*path, "Host: 127.0.0.1:1\r\n".to_owned(), 403),
        (&*path, "Host: 127.0.0.1\r\n".to_owned(), 403),
        (&*path, format!("{host}Origin: http://evil.example\r\n"), 403),
        (&*path, format!("{host}Origin: null\r\n"), 403),
        (&*path, format!("{host}Sec-Fetch-Site: cross-site\r\n"), 403),
        (&*path, String::new(), 400),
        (&*format!("{path}nothing"), host.clone(), 404),
        (&*format!("{path}frames?port=nobody"), host.clone(), 404),
    ] {
        let (status, told) = asked(addr, path, &fields);
        assert_eq!(status, code, "{path} {fields}: {told}");
    }
    for listen in ["0.0.0.0:0", "192.0.2.1:80"] {
        let exit = lab.launch(&["view", "lab", "--listen", listen]).run();
        assert!(exit.code() == 2 && exit.stderr.contains("for this machine only"), "{exit:?}");
    }
}

#[test]
fn who_is_slow_or_many_holds_nobody_up() {
    let lab = Lab::new();
    let _bench = lab.up();
    let (view, addr, path) = lab.view();
    let host = format!("Host: {addr}\r\n");
    let held: Vec<TcpStream> = (0..100)
        .filter_map(|number| {
            let mut socket = TcpStream::connect(addr).ok()?;
            let text = format!("GET {path} HTTP/1.1\r\n{host}");
            socket.write_all(text.get(..number % text.len())?.as_bytes()).ok()?;
            Some(socket)
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(asked(addr, &path, &host).0, 200);
    }
    drop(held);
    // as many that ask for frames and read none
    let streams: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut socket = TcpStream::connect(addr).unwrap();
            write!(socket, "GET {path}frames?port=a HTTP/1.1\r\n{host}\r\n").unwrap();
            socket
        })
        .collect();
    eventually("the page is there beside them", || (asked(addr, &path, &host).0 == 200).then_some(()));
    drop(streams);
    view.sigint();
    assert_eq!(view.wait().code(), 0);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_browser_shows_what_passes() {
    require!(needs::tool("chromium", "chromium"));
    let lab = Lab::new();
    let mut bench = lab.up();
    let (mut a, mut b) = lab.peers();
    let (_view, addr, path) = lab.view();
    let mut page = Browser::start(&lab.dir);
    page.is_wide(1200);
    page.does("Page.navigate", json!({"url": format!("http://{addr}{path}")}));
    page.sees("document.querySelectorAll('#bench .port').length === 4");
    // a frame that nobody may forward, and some that pass
    let mut reserved = A.arp_request(B.ip);
    reserved[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 1]);
    let mut passes = || {
        a.send(&reserved);
        for number in 0..20 {
            a.send(&A.echo_request(B, number, b"view"));
            b.expect(&A.echo_request(B, number, b"view"));
        }
    };
    passes();
    let port = |name: &str| format!("document.querySelector('[data-port=\"{name}\"]')");
    page.sees(&format!("{}.classList.contains('drops') && {0}.querySelector('.alarm') !== null", port("a")));
    page.sees(&format!(
        "{}.querySelector('text.dropped').textContent.startsWith('⚠ 1 dropped: reserved')",
        port("a#1")
    ));
    page.sees("document.querySelector('#bench .chance').textContent === '0.9 → 0.5 ←'");
    page.sees("document.querySelector('#programs pre').textContent === '<b>boots</b> & runs'");
    // rates move while frames pass
    support::eventually_within(Duration::from_secs(120), "a rate that moves", || {
        passes();
        let moves = format!("{}.querySelector('.rate.moves') !== null && {0}.dataset.speed !== '-1'", port("a"));
        (page.asks(&moves) == true).then_some(())
    });
    page.keeps(&lab.dir.path("light.png.base64"));
    // by the keyboard: a port is chosen, its frames come, and Escape closes it
    page.asks(&format!("{}.focus()", port("a#1")));
    page.types("Enter");
    page.sees("!document.getElementById('panel').hidden");
    page.sees("document.getElementById('chosen').textContent === 'port a#1'");
    support::eventually_within(Duration::from_secs(120), "the line of a frame", || {
        passes();
        let line =
            "[...document.querySelectorAll('#frames li')].some((it) => it.textContent.includes('ICMP echo request'))";
        let drop = "document.querySelector('#frames li.drop') !== null";
        (page.asks(&format!("{line} && {drop}")) == true).then_some(())
    });
    page.sees("document.querySelector('#drops dl').textContent.includes('reserved')");
    let dark = json!({"features": [
        {"name": "prefers-color-scheme", "value": "dark"}, {"name": "prefers-reduced-motion", "value": "reduce"},
    ]});
    page.does("Emulation.setEmulatedMedia", dark);
    page.sees(&format!("getComputedStyle({}.querySelector('.wire')).animationName === 'none'", port("a")));
    page.keeps(&lab.dir.path("dark.png.base64"));
    page.types("Escape");
    page.sees("document.getElementById('panel').hidden");
    // a narrow window has all of it, one below the other
    page.is_wide(400);
    page.sees("document.querySelector('#bench svg').viewBox.baseVal.width < 420 && document.documentElement.scrollWidth <= 400");
    page.keeps(&lab.dir.path("narrow.png.base64"));
    // the bridge ends, and comes again
    bench.sigint();
    page.sees("!document.getElementById('trouble').hidden");
    bench = {
        drop(bench);
        lab.up()
    };
    page.sees("document.getElementById('trouble').hidden && document.querySelectorAll('#bench .port').length === 4");
    page.sees("document.querySelector('#events').textContent.includes('the bridge runs again')");
    let faults: Vec<&String> = page.complaints.iter().filter(|it| !it.contains("\"source\":\"network\"")).collect();
    assert!(faults.is_empty(), "{faults:?}");
    drop(bench);
}
