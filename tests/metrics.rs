//! `--metrics`: read by the parser of Prometheus' own Python library, which is strict; where it listens, and who may not
//! hold it up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use support::needs::{Need, missing};
use support::{PATIENCE, Peer, Process, Station, StreamPeer, TempDir, eventually, require, zbridge};

const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// Prints each sample's name, labels and value.
const PARSER: &str = "import sys\n\
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as families\n\
    for family in families(sys.stdin.read()):\n\
    \x20   for s in family.samples: print(s.name, *(f'{k}={v}' for k, v in sorted(s.labels.items())), int(s.value))";

/// Debian's, which has the module; another Python of the search path may not.
const PYTHON: &str = "/usr/bin/python3";

fn parser() -> Need {
    let found = Command::new(PYTHON).args(["-c", "import prometheus_client"]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    missing("Prometheus' parser", "apt install python3-prometheus-client")
}

fn parsed(text: &str) -> Vec<String> {
    let mut child =
        Command::new(PYTHON).args(["-c", PARSER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{text}");
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The head and the body of an answer.
fn answer(mut socket: impl Read + Write, request: &str) -> (String, String) {
    socket.write_all(request.as_bytes()).unwrap();
    let mut told = String::new();
    socket.read_to_string(&mut told).unwrap();
    let (head, body) = told.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {told:?}"));
    (head.to_owned(), body.to_owned())
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Where a bridge says that its figures are.
fn address(bridge: &Process) -> SocketAddr {
    let line = bridge.wait_for("metrics: http://", PATIENCE);
    let (_, behind) = line.split_once("http://").unwrap();
    behind.split('/').next().unwrap().parse().unwrap()
}

#[test]
fn figures_are_read_by_a_strict_parser() {
    require!(parser());
    let dir = TempDir::new();
    let ports = ["a", "b"].map(|name| format!("unix:{}", dir.text(name)));
    let nat = "nat:10.0.2.2/24";
    let bridge = zbridge!("-p", &ports[0], "-p", &ports[1], "-p", nat, "--metrics", "127.0.0.1:0").spawn();
    let addr = address(&bridge);
    let [mut a, mut b] = ["a", "b"].map(|name| {
        eventually("it listens", || dir.path(name).exists().then_some(()));
        StreamPeer::unix(dir.path(name))
    });
    // Each has come before the other speaks.
    let sample = |line: &str| {
        let (head, body) = answer(TcpStream::connect(addr).unwrap(), GET);
        assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"), "{head}");
        let all = parsed(&body);
        all.iter().any(|known| known == line).then_some(all)
    };
    let up = |port: &str| format!("zbridge_port_up client={port}#1 kind=unix port={port} switch=default 1");
    for port in ["a", "b"] {
        eventually("both are up", || sample(&up(port)));
    }
    a.send(&A.arp_request(B.ip));
    b.expect(&A.arp_request(B.ip));
    let mut reserved = A.arp_request(B.ip);
    reserved[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 1]);
    a.send(&reserved);
    let labels = "client= kind=unix port=a";
    let dropped = format!("zbridge_port_dropped_frames_total {labels} reason=reserved-group switch=default 1");
    let all = eventually("the drop is told", || sample(&dropped));
    for line in [
        "zbridge_build_info version=0.1.0 1".to_owned(),
        format!("zbridge_port_receive_frames_total {labels} switch=default 2"),
        "zbridge_switch_up switch=default 1".to_owned(),
        "zbridge_port_leases client= kind=nat port=nat switch=default 0".to_owned(),
    ] {
        assert!(all.contains(&line), "{line}\n{all:#?}");
    }
    assert!(all.iter().any(|line| line.starts_with("zbridge_start_time_seconds 1")), "{all:#?}");
    // who is slow, or of another name, is not in the way
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(addr).unwrap()).collect();
    assert!(answer(TcpStream::connect(addr).unwrap(), GET).0.starts_with("HTTP/1.1 200 "));
    let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(answer(TcpStream::connect(addr).unwrap(), rebound).0.starts_with("HTTP/1.1 403 "));
    let other = "GET / HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n";
    assert!(answer(TcpStream::connect(addr).unwrap(), other).1.contains("/metrics"));
    drop(silent);
    // the port is taken now, and it is said by whom
    let exit = zbridge!("-p", format!("unix:{}", dir.text("c")), "--metrics", addr.to_string()).run();
    assert_eq!(exit.code(), 1, "{exit:?}");
    assert!(exit.stderr.contains("--metrics: cannot listen on tcp") && !dir.path("c").exists(), "{exit:?}");
    assert!(exit.stderr.contains(&format!("pid {} (zbridge) listens there", bridge.pid())), "{exit:?}");
    bridge.sigint();
    assert_eq!(bridge.wait().code(), 0);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn programs_are_told_of_on_a_socket_of_the_user() {
    require!(parser());
    let dir = TempDir::new();
    let socket = dir.path("figures");
    let text = format!(
        "metrics = \"unix:{}\"\n[[instance]]\nname = \"sim\"\ncommand = [\"sh\", \"-c\", \"sleep 0.2; exit 3\"]\n\
         restart = \"on-failure\"\n[[port]]\ntype = \"unix\"\ntarget = \"{}\"\n",
        socket.display(),
        dir.text("a"),
    );
    let bench = zbridge!("up", dir.file("bench.toml", text), "--logs", dir.text("logs")).spawn();
    let samples = || {
        let (_, body) = answer(UnixStream::connect(&socket).ok()?, GET);
        let all = parsed(&body);
        let restarts =
            all.iter().find_map(|line| line.strip_prefix("zbridge_instance_restarts_total instance=sim "))?;
        restarts.parse::<u64>().is_ok_and(|count| count > 0).then_some(all)
    };
    let all = eventually("it was started again", samples);
    let states = all.iter().filter(|line| line.starts_with("zbridge_instance_state instance=sim "));
    assert_eq!(states.filter(|line| line.ends_with(" 1")).count(), 1, "{all:#?}");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    bench.sigint();
    bench.wait();
    assert!(!socket.exists(), "it is removed");
}

#[test]
fn an_open_address_is_warned_of_and_a_wrong_one_refused() {
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("a"));
    let bridge = zbridge!("-p", &port, "--metrics", "0.0.0.0:0").spawn();
    bridge.wait_for("warning: metrics at 0.0.0.0:0: names and figures of the bench are told to a network", PATIENCE);
    bridge.sigint();
    bridge.wait();
    let exit = zbridge!("-p", &port, "--metrics", "9469").run();
    assert!(exit.code() == 2 && exit.stderr.contains("expected unix:PATH or HOST:PORT"), "{exit:?}");
    let file = dir.file("lab.toml", format!("port = [\"{port}\"]\nmetrics = 9469\n"));
    let exit = zbridge!("--config", file).run();
    assert!(exit.code() == 2 && exit.stderr.contains("lab.toml:2: metrics is an address"), "{exit:?}");
}
