//! Files: TFTP by the usual clients, and what boards are told to boot.

use crate::lab::{Lab, image, machine};
use support::{needs, require};

#[test]
fn clients_fetch_the_file_and_nothing_else() {
    require!(machine(), needs::tool("tftp", "tftp-hpa"), needs::tool("curl", "curl"));
    let dir = support::TempDir::new();
    std::fs::create_dir(dir.path("boot")).expect("a folder");
    dir.file("boot/zephyr.bin", image());
    dir.file("secret", "secret");
    let lab = Lab::start("tftp", &format!(",tftp={},ipv6=2001:db8::2/64", dir.text("boot")));
    let fetch = |script: &str| lab.guest("inst1", "10.0.2.77/24", &format!("cd $DIR\n{script}")).run();
    let got = fetch("tftp -m binary 10.0.2.2 -c get zephyr.bin hpa && curl -s -m 20 tftp://10.0.2.2/zephyr.bin >curl");
    assert_eq!(got.code(), 0, "{got:?}");
    for client in ["hpa", "curl"] {
        assert!(std::fs::read(lab.dir.path(client)).expect("a file") == image(), "{client}");
    }
    let got = fetch("curl -s -m 20 --tftp-blksize 1400 tftp://10.0.2.2/./zephyr.bin | cmp - hpa");
    assert_eq!(got.code(), 0, "{got:?}");
    for path in ["absent", "../secret", "..%2fsecret"] {
        let refused = fetch(&format!("curl -sS -m 20 --path-as-is 'tftp://10.0.2.2/{path}'"));
        assert!(refused.code() == 68, "{path}: {refused:?}");
    }
    let refused = fetch("tftp -m binary 10.0.2.2 -c put hpa zephyr.bin");
    assert!(refused.stdout.contains("read only") || refused.stderr.contains("read only"), "{refused:?}");
}
