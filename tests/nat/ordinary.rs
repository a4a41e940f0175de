//! The way out of an ordinary user: `zbridge run` with `nat:`, and not a right in the world.

use crate::lab::{FAR, GATEWAY, GATEWAY6, Lab, bytes};
use std::io::ErrorKind;
use support::{Namespace, PATIENCE, TempDir, eventually, needs, require, zbridge};

#[test]
fn curl_goes_out_and_comes_in() {
    require!(needs::root(), needs::tun(), needs::netns(), needs::tool("setpriv", "util-linux"));
    require!(needs::tool("curl", "curl"), needs::tool("python3", "python3"), needs::tool("ping", "iputils-ping"));
    let (host, dir, data) = (Namespace::new("ordinary"), TempDir::new(), TempDir::new());
    data.file("data", bytes(3_000_000));
    let serve = |bind: &str, port: u16| {
        format!("cd {} && exec python3 -m http.server {port} --bind {bind} 2>&1", data.root().display())
    };
    let mut servers: Vec<_> = ["127.0.0.1", "::1"]
        .map(|bind| host.command("sh").args(["-c", &serve(bind, 8000)]).spawn().expect("a server"))
        .into();
    let fetch =
        |url: &str| format!("curl -sf --retry 40 --retry-connrefused --retry-delay 1 -m 60 {url}/data | sha256sum");
    let script = [
        fetch(&format!("http://{GATEWAY}:8000")),
        fetch(&format!("http://[{GATEWAY6}]:8000")),
        format!("ping -c 1 -W 10 {GATEWAY} >&2; ping -c 1 -W 10 {GATEWAY6} >&2"),
        serve("::", 8080),
    ];
    let nat = "nat:10.0.2.2/24,ipv6=2001:db8::2/64,forward=tcp:127.0.0.1:2222->10.0.2.15:8080,\
               forward=tcp:[::1]:2222->[2001:db8::15]:8080";
    let gateways = ["--gateway", GATEWAY, "--gateway", GATEWAY6];
    let guest = zbridge!("run", "-p", nat, "--host", "10.0.2.15/24", "--host", "2001:db8::15/64")
        .args(gateways)
        .args(["--", "sh", "-ec", &script.join("\n")])
        .env("XDG_RUNTIME_DIR", dir.root())
        .inside(&host)
        .as_nobody_with_tun(&dir)
        .spawn();
    guest.wait_for("Serving HTTP", PATIENCE);
    let wanted = host.check(&format!("sha256sum < {}", data.text("data")));
    assert_eq!(guest.stdout().matches(wanted.trim()).count(), 2, "{}", guest.stdout());
    for addr in ["127.0.0.1", "[::1]"] {
        assert_eq!(host.check(&fetch(&format!("http://{addr}:2222"))), wanted, "back through {addr}");
    }
    servers.iter_mut().for_each(|server| server.kill().and_then(|()| server.wait()).map(drop).expect("it ends"));
}

#[test]
fn the_hosts_loopback_can_be_kept_out_of_reach() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("aloof", ",host-loopback=off");
    let listeners = [lab.listen("127.0.0.1:7"), lab.listen("[::1]:7")];
    for (listener, gateway) in listeners.iter().zip([GATEWAY.to_owned(), format!("[{GATEWAY6}]")]) {
        let error = lab.connect(&format!("{gateway}:7")).expect_err("the loopback is the host's own");
        assert!(!matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut), "{error}");
        listener.set_nonblocking(true).expect("a mode");
        assert!(listener.accept().is_err(), "a connection came");
    }
    // everything else is as it was
    let far = crate::lab::listen(&lab.far, &format!("{FAR}:7"));
    lab.connect(&format!("{FAR}:7")).expect("a connection beyond");
    far.accept().expect("a client");
    assert!(lab.guest.pings(GATEWAY));
}

#[test]
fn status_shows_the_flows() {
    require!(needs::netns(), needs::tun());
    let dir = TempDir::new();
    let named = |launch: support::Launch| launch.env("XDG_RUNTIME_DIR", dir.root());
    let lab = Lab::start_with("status", "", |launch| named(launch).args(["--name", "bench"]));
    let listener = lab.listen("127.0.0.1:0");
    let pair = lab.joined(&listener);
    let shown = |words: &[&str]| named(zbridge!()).args(words).run().stdout;
    eventually("a flow", || shown(&["status"]).contains("1 tcp, 0 udp, 0 ping").then_some(()));
    let json: serde_json::Value = serde_json::from_str(&shown(&["status", "--json"])).expect("JSON");
    let ports = json["switches"][0]["ports"].as_array().expect("ports");
    let flows = &ports.iter().find(|port| port["kind"] == "nat").expect("the gateway")["flows"];
    assert_eq!((&flows["tcp"], &flows["udp"], &flows["ping"]), (&1.into(), &0.into(), &0.into()), "{flows}");
    assert!(flows["begun"].as_u64() >= Some(1), "{flows}");
    drop(pair);
    eventually("no flow", || shown(&["status"]).contains("0 tcp, 0 udp, 0 ping").then_some(()));
}
