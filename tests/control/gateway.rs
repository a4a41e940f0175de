//! `zbridge forward`, `dns` and `lease`: a gateway is changed while it runs.

use super::{Lab, cells};
use std::net::{TcpListener, TcpStream};

/// Removes the port from `tcp:127.0.0.1:40001->10.0.2.15:22`.
fn listens(forward: &str) -> String {
    let listen = forward.trim().split_once("->").expect("a forward").0;
    listen.strip_prefix("tcp:").expect("of TCP").to_owned()
}

#[test]
fn a_forward_comes_and_goes_while_it_runs() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", "nat:10.0.2.2/24"]);
    assert!(lab.told(&["forward", "ls"]).starts_with("no forwards: zbridge forward add"));
    let added = lab.told(&["forward", "add", "tcp:127.0.0.1:0->10.0.2.15:22"]);
    let listen = listens(&added);
    assert!(!listen.ends_with(":0"), "{added}");
    TcpStream::connect(&listen).expect("it listens");
    let listed = cells(&lab.told(&["forward", "ls"]));
    assert_eq!(listed.lines().nth(1), Some(format!("tcp {listen} 10.0.2.15:22 0 nat").as_str()), "{listed}");
    // The same once more, and one that is otherwise.
    let again = added.trim();
    lab.refused(&["forward", "add", again], 2, "is there already\n  hint: --may-exist allows that");
    assert_eq!(lab.told(&["forward", "add", again, "--may-exist"]), added);
    let other = again.replace(".15:", ".16:");
    lab.refused(&["forward", "add", &other, "--may-exist"], 2, &format!("is there already, as {again}"));
    lab.told(&["forward", "del", &format!("tcp:{listen}")]);
    assert!(TcpStream::connect(&listen).is_err(), "nobody listens");
    lab.refused(&["forward", "del", again], 4, "there is no forward tcp:");
    lab.told(&["forward", "del", again, "--if-exists"]);
}

#[test]
fn a_forward_that_cannot_be_says_why() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", "nat:10.0.2.2/24", "-p", &lab.spec("a"), "-p", "nat:10.0.3.2/24,name=far"]);
    lab.refused(&["forward", "add", "tcp:127.0.0.1:0"], 2, "expected PROTO:HOST:PORT->GUEST:PORT");
    lab.refused(&["forward", "add", "tcp:127.0.0.1:0->192.0.2.1:22"], 2, "in the network of no gateway");
    lab.refused(&["forward", "add", "tcp:0.0.0.0:0->10.0.2.15:22"], 2, "is not this machine's loopback");
    lab.told(&["forward", "add", "tcp:0.0.0.0:0->10.0.2.15:22", "--public"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = format!("tcp:{}->10.0.2.15:22", taken.local_addr().unwrap());
    lab.refused(&["forward", "add", &spec], 1, "cannot listen on tcp");
    lab.refused(&["forward", "add", "tcp:127.0.0.1:0->10.0.2.15:22", "--port", "a"], 4, "no gateway is named a");
    // The gateway whose network it is gets it, unless one is named.
    lab.told(&["forward", "add", "udp:127.0.0.1:0->10.0.3.15:22"]);
    assert!(cells(&lab.told(&["forward", "ls", "--json"])).contains(r#""port":"far""#));
    lab.refused(&["forward", "add", "tcp:127.0.0.1:0->10.0.3.9:1", "--port", "nat"], 2, "the gateways are nat");
    lab.refused(&["dns", "add", "board", "10.0.2.9"], 2, "several gateways have a resolver: ");
    lab.told(&["dns", "add", "board", "10.0.2.9", "--port", "nat"]);
    lab.told(&["port", "del", "nat"]);
    lab.told(&["port", "del", "far"]);
    lab.refused(&["forward", "add", "tcp:127.0.0.1:0->10.0.3.9:1"], 4, "this bridge has no gateway");
}

#[test]
fn names_are_added_and_taken_away() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", "nat:10.0.2.2/24,host=02:00:5e:00:53:09/10.0.2.9/board9"]);
    lab.told(&["dns", "add", "Board1", "10.0.2.20", "2001:db8::20"]);
    lab.told(&["dns", "add", "*.example", "192.0.2.1"]);
    lab.refused(&["dns", "add", "board1.lab", "10.0.2.21"], 2, "is there already, as 10.0.2.20 2001:db8::20");
    lab.refused(&["dns", "add", "board1", "10.0.2.20", "2001:db8::20"], 2, "is there already");
    lab.told(&["dns", "add", "board1", "10.0.2.20", "2001:db8::20", "--may-exist"]);
    lab.refused(&["dns", "add", "a_b", "10.0.2.20"], 2, "no name of letters");
    let listed = cells(&lab.told(&["dns", "ls"]));
    for line in [
        "*.example 192.0.2.1 added nat",
        "board1.lab 10.0.2.20 2001:db8::20 added nat",
        "board9.lab 10.0.2.9 host nat",
        "gateway.lab 10.0.2.2 gateway nat",
    ] {
        assert!(listed.lines().any(|found| found == line), "{line:?} is not in\n{listed}");
    }
    lab.told(&["dns", "del", "board1"]);
    lab.refused(&["dns", "del", "board1"], 4, "there is no added name board1");
    lab.told(&["dns", "del", "board1", "--if-exists"]);
    assert!(!lab.told(&["dns", "ls"]).contains("board1"));
}

#[test]
fn hosts_are_pinned_and_let_go() {
    let lab = Lab::new();
    let _zbridge = lab.bridge(&["-p", "nat:10.0.2.2/24"]);
    lab.told(&["lease", "pin", "02:00:5e:00:53:01/10.0.2.20/board1"]);
    lab.refused(&["lease", "pin", "02:00:5e:00:53:01/10.0.2.20/board1"], 2, "is there already");
    lab.told(&["lease", "pin", "02:00:5e:00:53:01/10.0.2.20/board1", "--may-exist"]);
    lab.refused(&["lease", "pin", "02:00:5e:00:53:02/10.0.2.20"], 2, "10.0.2.20 is 02:00:5e:00:53:01's");
    lab.refused(&["lease", "pin", "02:00:5e:00:53:02/10.0.2.2"], 2, "10.0.2.2 is the gateway's own");
    lab.refused(&["lease", "pin", "02:00:5e:00:53:02/10.0.9.9"], 2, "in the network of no gateway");
    lab.refused(&["lease", "pin", "02:00:5e:00:53:02/10.0.2.21/board1"], 2, "the name board1 is another host's");
    let listed = cells(&lab.told(&["lease", "ls"]));
    assert_eq!(listed.lines().nth(1), Some("10.0.2.20 02:00:5e:00:53:01 board1 pinned nat"), "{listed}");
    lab.told(&["lease", "drop", "02:00:5e:00:53:01"]);
    lab.refused(&["lease", "drop", "10.0.2.20"], 4, "there is no lease of 10.0.2.20");
    lab.told(&["lease", "drop", "10.0.2.20", "--if-exists"]);
    assert!(lab.told(&["lease", "ls"]).starts_with("no leases"));
}
