//! Machines that vanish: no FIN and no RST comes from one that has lost its cable.

use super::client::Attached;
use super::{PATIENCE, is_closed};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use support::{Namespace, Process, TempDir, needs, require, zbridge};

/// After this long what the vanished had is free.
const LIMIT: Duration = Duration::from_secs(30);

/// A zbridge inside `namespace` that serves USB/IP at `host`.
fn serve(dir: &TempDir, namespace: &Namespace, host: &str, devices: &str) -> (Process, SocketAddr) {
    let port = format!("usbip:192.0.2.1/24,{devices},usbip-listen={host}:0,public");
    let process = zbridge!("-v", "--port", port).env("XDG_RUNTIME_DIR", dir.root()).inside(namespace).spawn();
    let line = process.wait_for("USB/IP is served at tcp", PATIENCE);
    let addr = line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).expect("an address");
    (process, addr)
}

fn import(namespace: &Namespace, addr: SocketAddr, busid: &str) -> Option<Attached> {
    let stream = namespace.inside(|| TcpStream::connect(addr)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Attached::import(stream, busid)
}

#[test]
fn a_machine_that_vanishes_has_its_devices_for_thirty_seconds_at_most() {
    require!(needs::netns());
    let dir = TempDir::new();
    let (here, there) = (Namespace::new("here"), Namespace::new("there"));
    here.veth("eth0", &there, "eth0");
    here.ip("addr add 198.51.100.1/24 dev eth0");
    there.ip("addr add 198.51.100.2/24 dev eth0");
    let (_foreign, foreign) = serve(&TempDir::new(), &there, "198.51.100.2", "device=cdc-acm");
    let devices = format!("device=cdc-acm,device=cdc-acm+unix={},import={foreign}/1-1", dir.text("acm"));
    let (zbridge, addr) = serve(&dir, &here, "198.51.100.1", &devices);
    // One that is silent, one for whom data will come, and a device of a server there.
    let _silent = import(&there, addr, "1-1").expect("it is free");
    let mut reads = import(&there, addr, "1-2").expect("it is free");
    let mut user = import(&here, addr, "1-3").expect("it is free");
    user.echo(b"from there");
    let mut line = UnixStream::connect(dir.path("acm")).unwrap();
    line.write_all(b"heard").unwrap();
    assert_eq!(reads.read(5), b"heard");
    for seqnum in 1000..1008 {
        reads.stream.write_all(&super::submit(seqnum, 0x0001_0003, 1, 2, 64)).unwrap();
    }
    // Without its address that machine hears nothing and says nothing.
    there.ip("addr flush dev eth0");
    let gone = Instant::now();
    line.write_all(b"not heard").unwrap();
    let left = || LIMIT.saturating_sub(gone.elapsed());
    assert!(is_closed(&user.stream, left()), "the device of the server that has vanished");
    for busid in ["1-1", "1-2"] {
        zbridge.wait_for(&format!("{busid} is free again"), left());
        println!("{busid} is free after {:?}", gone.elapsed());
        import(&here, addr, busid).expect("it is free");
    }
    zbridge.sigterm();
    assert_eq!(zbridge.wait().code(), 0);
}
