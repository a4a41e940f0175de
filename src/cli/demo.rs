//! `zbridge demo`: two simulated hosts ping each other across a switch. No root, no arguments, nothing on the machine
//! is touched.
//!
//! The hosts are services on ports inside the process, so the frames go through the same engine, switch and queues as
//! those of a TAP or a QEMU.

use super::style::width_of;
use super::{print, show, stop};
use crate::engine::{Bridge, run_service};
use crate::error::{Error, Result};
use crate::frame::Batch;
use crate::port::own::Link;
use crate::service::endpoint::EndpointConfig;
use crate::service::outside::Outside;
use crate::service::ping_host::PingHost;
use crate::service::{Arrived, Service};
use crate::time::Instant;
use crate::wire::{Cidr, Mac};
use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use std::net::{IpAddr, Ipv4Addr};
use std::thread::JoinHandle;
use std::time::Duration;

const SWITCH: &str = crate::config::DEFAULT_SWITCH;
const HOSTS: [(&str, u8); 2] = [("alice", 1), ("bob", 2)];
const INTERVAL: Duration = Duration::from_millis(500);
/// Answers that are shown before the tables are.
const ANSWERS: usize = 8;

/// Runs the demonstration.
///
/// # Errors
/// The system has no descriptors or threads left.
pub fn run() -> Result<()> {
    let stop = stop::one_wish()?;
    print(INTRODUCTION)?;
    let bridge = Bridge::empty()?;
    let (told, answers) = unbounded();
    let hosts = HOSTS.map(|(name, number)| {
        bridge.add_channel(SWITCH, name).and_then(|link| start(link, name, number, told.clone()))
    });
    for _ in 0..ANSWERS {
        match answers.recv_timeout(INTERVAL * 4) {
            Ok(line) => print(line)?,
            Err(RecvTimeoutError::Timeout) => print("no answer within two seconds\n")?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !stop.is_empty() {
            break;
        }
    }
    print(format!("\nWhat the switch has learned\n{}", show::fdb(&bridge.switch(SWITCH)?.fdb()?)))?;
    let last = bridge.stop()?;
    print(format!("\nWhat it has counted\n{}{CONCLUSION}", show::counters(&last, width_of(std::io::stdout()))))?;
    for host in hosts {
        let ended = host?.join();
        ended.map_err(|_| Error::new(crate::error::Class::Runtime, "a simulated host has failed"))??;
    }
    Ok(())
}

const INTRODUCTION: &str = "
  alice 192.0.2.1 ──┐          ┌── bob 192.0.2.2
                    └─ switch ─┘
Two simulated hosts on the ports of a switch in this process ping each other.

";

const CONCLUSION: &str = "
Now something real
  zbridge --port unix:/tmp/inst1 --port unix:/tmp/inst2  # two QEMU guests
  zbridge --port tap:zeth0 --port unix:/tmp/inst1        # a host and a guest
  zbridge ports                                          # everything else
";

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// Starts the thread of one host, which pings the other.
fn start(link: Link, name: &'static str, number: u8, told: Sender<String>) -> Result<JoinHandle<Result<()>>> {
    let mac = Mac([0x02, 0, 0x5e, 0, 0x53, number]);
    let addrs = vec![Cidr { addr: address(number), prefix: 24 }];
    let mut config = EndpointConfig::new(mac, addrs);
    config.seed = number.into();
    let peer = address(3 - number);
    let mut host = Told { host: PingHost::new(&config, peer, INTERVAL)?, name, peer, told };
    let thread = std::thread::Builder::new().name(format!("zb-{name}"));
    thread.spawn(move || run_service(&link, &mut host)).map_err(|error| Error::system("cannot start a thread", &error))
}

/// A host that tells of each answer.
struct Told {
    host: PingHost,
    name: &'static str,
    peer: IpAddr,
    told: Sender<String>,
}

impl Service for Told {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, outside: &mut dyn Outside) {
        let before = self.host.stats().received;
        self.host.handle_frame(now, arrived, outside);
        let stats = self.host.stats();
        if stats.received > before
            && let Some(rtt) = stats.last
        {
            let Self { name, peer, .. } = self;
            let line = format!("{name:5} answer from {peer}: seq={} time={} µs\n", stats.received, rtt.as_micros());
            // When nobody listens any more, the demonstration is over.
            let _ = self.told.send(line);
        }
    }

    fn poll_transmit(&mut self, now: Instant, outside: &mut dyn Outside, out: &mut Batch) -> bool {
        self.host.poll_transmit(now, outside, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.host.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant, outside: &mut dyn Outside) {
        self.host.handle_timeout(now, outside);
    }
}
