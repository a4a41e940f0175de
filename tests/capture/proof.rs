//! What a capture shows, beside what tcpdump has on the other side of the port.

use super::{RUN, tshark};
use support::{PATIENCE, TempDir, needs, require, zbridge};

/// What is seen of each frame, without what depends on its place in the file.
const FIELDS: [&str; 5] = ["eth.src", "eth.dst", "frame.len", "_ws.col.Protocol", "_ws.col.Info"];

/// The host `host` of a bench has tcpdump on its interface, while the bridge is captured at its port: the dissected text is
/// the same, line by line.
#[test]
fn an_exchange_reads_the_same_on_both_sides() {
    let tools = [("ping", "iputils-ping"), ("tcpdump", "tcpdump"), ("tshark", "tshark"), ("dig", "bind9-dnsutils")];
    require!(needs::root(), needs::netns());
    for (tool, package) in tools {
        require!(needs::tool(tool, package));
    }
    let dir = TempDir::new();
    let (near, far) = (dir.path("near.pcapng"), dir.path("far.pcap"));
    let script = format!(
        "tcpdump -Z root -U -n --immediate-mode -i eth0 -w {0} 'arp or icmp or udp port 53' & dump=$!
         until [ -s {0} ]; do sleep 0.05; done
         until [ -e {1} ]; do sleep 0.05; done
         ping -n -c 3 -i 0.2 -s 100 192.0.2.1; dig +tries=1 +time=2 @192.0.2.1 host.zbridge.test; ping -n -c 1 -W 1 192.0.2.77
         sleep 0.3; kill $dump; wait $dump; echo all is o\"\"ver",
        far.display(),
        dir.path("go").display()
    );
    let bench = format!(
        "[[port]]\ntype = \"nat\"\ntarget = \"192.0.2.1/24\"\n\n[[instance]]\nname = \"host\"\n\
         command = [\"sh\", \"-c\", '''{script}''']\nhost = \"192.0.2.9/24\"\nprivileged = true\n"
    );
    let up = zbridge!("up", dir.file("lab.toml", bench).to_str().unwrap()).env(RUN, dir.root()).spawn();
    support::eventually("the bench runs", || {
        let wait = zbridge!("wait", "port=host", "--timeout", "1s").env(RUN, dir.root()).run();
        (wait.code() == 0).then_some(())
    });
    let words = ["capture", "host", "--copies", "-f", "arp or icmp or udp port 53", "-w", near.to_str().unwrap()];
    let capture = zbridge!().args(words).env(RUN, dir.root()).spawn();
    up.wait_for("captured by", PATIENCE);
    dir.file("go", "");
    up.wait_for("all is over", 4 * PATIENCE);
    capture.sigint();
    assert_eq!(capture.wait().code(), 0);
    up.sigint();
    up.wait();
    let [near, far] = [near, far].map(|file| tshark(&file, &FIELDS));
    assert_eq!(near, far);
    let has = |words: &str| near.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        (has("Echo (ping) request"), has("Echo (ping) reply"), has("DNS Standard query")),
        (3, 3, 2),
        "{near:#?}"
    );
    assert!(has("Who has 192.0.2.77? Tell 192.0.2.9") > 0, "{near:#?}");
}
