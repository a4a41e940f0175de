//! Names: of hosts on the segment, and all others by the host's resolvers.

use crate::lab::{Lab, machine};
use support::{needs, require};

#[test]
fn hosts_have_names_and_others_come_from_the_resolver() {
    require!(machine(), needs::tool("dig", "bind9-dnsutils"));
    let lab = Lab::start("names", ",dns=10.0.2.3,host=02:00:5e:00:53:09/10.0.2.9/board1");
    lab.resolve();
    let dig = |words: &str| {
        let addr = "10.0.2.77/24";
        let exit = lab.guest("inst1", addr, &format!("dig +short +time=5 +tries=2 @10.0.2.3 {words}")).run();
        assert_eq!(exit.code(), 0, "{words}: {exit:?}");
        exit.stdout
    };
    assert_eq!(dig("board1.lab"), "10.0.2.9\n");
    assert_eq!(dig("+tcp board1.lab"), "10.0.2.9\n");
    assert_eq!(dig("-x 10.0.2.9"), "board1.lab.\n");
    assert_eq!(dig("gateway.lab"), "10.0.2.2\n");
    assert_eq!(dig("absent.lab"), "");
    assert_eq!(dig("far.example"), "192.0.2.80\n");
    assert_eq!(dig("+tcp far.example"), "192.0.2.80\n");
    // an answer that is too long for a datagram is fetched over a stream
    let long = dig("long.example TXT");
    assert_eq!((long.lines().count(), long.len()), (15, 15 * 202));
    // the resolver is another one from now on
    lab.dir.file("resolv.conf", "nameserver 127.0.0.9\n");
    let refused = lab.guest("inst1", "10.0.2.77/24", "dig +time=9 +tries=1 @10.0.2.3 far.example").run();
    assert!(refused.stdout.contains("SERVFAIL"), "{}", refused.stdout);
}
