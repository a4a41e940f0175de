//! A program that embeds the switch, in both ways that there are.
//!
//! First without any I/O: the switch alone, under a clock of our own, as a test would drive it. Then as a running
//! bridge: a UNIX socket where QEMU could connect (here a thread plays the guest), and a port that is this program.
//!
//! `cargo run --example embed`

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use zbridge::config::PortSpec;
use zbridge::engine::Bridge;
use zbridge::switch::{PortConfig, Switch, SwitchConfig};
use zbridge::time::Instant;

/// A frame from `src` to `dst`, both the last octet of a locally administered address; 0xff is everybody.
fn frame(dst: u8, src: u8, text: &str) -> Vec<u8> {
    let dst = if dst == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, dst] };
    [&dst[..], &[2, 0, 0, 0, 0, src], &[0x88, 0xb5], text.as_bytes()].concat()
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    under_my_own_clock()?;
    as_a_running_bridge()
}

fn under_my_own_clock() -> Result<(), Box<dyn Error>> {
    let mut switch = Switch::new(&SwitchConfig::default());
    let ports: Vec<_> = (0..3).filter_map(|_| switch.add_port(PortConfig::default())).collect();
    let mut now = Instant::ZERO;
    let mut out = Vec::new();

    switch.handle_frame(now, ports[0], &frame(0xff, 1, "where is 2?"));
    while let Some(port) = switch.poll_transmit(&mut out) {
        println!("{port:?} sends {:?}", String::from_utf8_lossy(&out[14..]));
    }
    switch.handle_frame(now, ports[2], &frame(1, 2, "here"));
    while let Some(port) = switch.poll_transmit(&mut out) {
        println!("{port:?} sends {:?}: it has been learned", String::from_utf8_lossy(&out[14..]));
    }
    println!("stations known now: {}", switch.fdb(now).count());
    now += Duration::from_secs(301);
    println!("stations known 301 s later: {}", switch.fdb(now).count());
    Ok(())
}

fn as_a_running_bridge() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("zbridge-embed-{}", std::process::id()));
    let bridge = Bridge::empty()?;
    bridge.add_port(PortSpec::parse(&format!("unix:{}", path.display()))?)?;
    let mut me = bridge.add_channel("default", "me")?;

    let guest = std::thread::spawn(move || -> std::io::Result<()> {
        let mut socket = UnixStream::connect(path)?;
        let hello = frame(0xff, 7, "hello from the socket");
        socket.write_all(&(hello.len() as u32).to_be_bytes())?;
        socket.write_all(&hello)?;
        let mut answer = [0; 4 + 14 + 16];
        socket.read_exact(&mut answer)?;
        println!("the guest got {:?}", String::from_utf8_lossy(&answer[18..]));
        Ok(())
    });

    let hello = me.recv(Duration::from_secs(5))?.ok_or("nothing came")?;
    println!("this program got {:?}", String::from_utf8_lossy(&hello[14..]));
    me.send(&frame(7, 1, "hello to you too"))?;
    guest.join().map_err(|_| "the guest failed")??;
    for port in &bridge.stop()?[0].ports {
        println!("{} {}: {} in, {} out", port.name, port.kind, port.counters.rx_frames, port.counters.tx_frames);
    }
    Ok(())
}
