//! A real guest behind the gateway: a Linux kernel under QEMU on a `unix:` port, which downloads through `nat:`.
//!
//! Emulated, its kernel checks and sums some 20 MiB a second, so it fetches 64 MiB; `ZBRIDGE_DOWNLOAD_MIB=1024` makes that
//! a gibibyte.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use support::{Guest, Namespace, Nic, PATIENCE, TempDir, eventually, needs, require, zbridge};

#[test]
fn a_guest_downloads_and_serves() {
    require!(needs::guest(), needs::netns(), needs::tool("python3", "python3"), needs::tool("curl", "curl"));
    let mib: u64 = std::env::var("ZBRIDGE_DOWNLOAD_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let (host, dir) = (Namespace::new("nat-host"), TempDir::new());
    let mut data = File::create(dir.path("data")).expect("a file");
    let mut chance = File::open("/dev/urandom").expect("bytes").take(mib << 20);
    std::io::copy(&mut chance, &mut data).and_then(|_| data.flush()).expect("a file of chance");
    let wanted = host.check(&format!("sha256sum < {}", dir.text("data")));
    let serve =
        format!("cd {} && exec python3 -m http.server 8000 --bind 127.0.0.1 >/dev/null 2>&1", dir.root().display());
    let mut server = host.command("sh").args(["-c", &serve]).spawn().expect("a server");

    let nat = "nat:10.0.2.2/24,ipv6=2001:db8::2/64,forward=tcp:127.0.0.1:2222->10.0.2.15:80";
    let zbridge = zbridge!("-p", format!("unix:{}", dir.text("inst1")), "-p", nat).inside(&host).ready();
    let nic = Nic::stream(dir.text("inst1")).address("10.0.2.15/24").address("2001:db8::15/64");
    let mut guest = Guest::new("nat").nic(nic).gateway("10.0.2.2").memory(512).boot();
    for gateway in ["10.0.2.2", "2001:db8::2"] {
        eventually("the gateway answers", || (guest.run(&format!("ping -c 1 -W 5 {gateway}")).rc == 0).then_some(()));
    }

    let begun = Instant::now();
    let fetch = "set -o pipefail; wget -q -O - http://10.0.2.2:8000/data | sha256sum";
    let within = PATIENCE.max(Duration::from_secs(60 + mib));
    let found = guest.run_within(within, &format!("busybox sh -c '{fetch}'"));
    assert_eq!((found.rc, found.output.as_str()), (0, wanted.as_str()));
    let took = begun.elapsed();
    println!("{mib} MiB in {took:.1?}, {:.1} MiB/s with their checksum", mib as f64 / took.as_secs_f64());

    // and what the guest serves is fetched through a forward
    guest.check(
        "mkdir -p /tmp/www && echo hello from the guest > /tmp/www/index.html && busybox httpd -p 80 -h /tmp/www",
    );
    let fetched = host.check("curl -sf --retry 20 --retry-all-errors -m 20 http://127.0.0.1:2222/index.html");
    assert_eq!(fetched, "hello from the guest\n");
    server.kill().and_then(|()| server.wait()).expect("it ends");
    drop(zbridge);
}
