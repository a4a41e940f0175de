//! A service of this program's own on a switch: a host that tells the time of day to whoever connects to its TCP port
//! 13 (RFC 867). A second service asks it.
//!
//! A service is a machine without descriptors: it is given frames and the time, and gives frames and when it wants to be
//! called next. Here each has an [`Endpoint`] for what lies between a frame and a byte of TCP. The bridge runs it on a
//! thread of its own, for as long as its port is there.
//!
//! `cargo run --example toy_service`; with the path of a socket behind it, it serves a QEMU that connects there.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zbridge::config::PortSpec;
use zbridge::engine::Bridge;
use zbridge::frame::Batch;
use zbridge::service::endpoint::{Endpoint, EndpointConfig, Event};
use zbridge::service::{Arrived, Figures, Outside, Report, Service, Shown};
use zbridge::time::Instant;
use zbridge::wire::Mac;

const PORT: u16 = 13;

/// A host 192.0.2.`last`.
fn host(last: u8) -> zbridge::error::Result<Endpoint> {
    let addr = format!("192.0.2.{last}/24").parse().map_err(|_| zbridge::error::Error::usage("no address"))?;
    Endpoint::new(&EndpointConfig::new(Mac([2, 0, 0, 0, 0, last]), vec![addr]))
}

struct Daytime {
    endpoint: Endpoint,
    told: u64,
    /// How many were told when it was reported last.
    reported: Option<u64>,
}

impl Daytime {
    fn new() -> zbridge::error::Result<Self> {
        let mut endpoint = host(13)?;
        endpoint.listen(PORT, 8)?;
        Ok(Self { endpoint, told: 0, reported: None })
    }
}

impl Service for Daytime {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        self.endpoint.handle_frame_from(now, arrived.ingress, arrived.frame);
        while let Some(event) = self.endpoint.poll_event() {
            if let Event::Accepted { conn, .. } = event {
                let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() % 86_400);
                let line = format!("{:02}:{:02}:{:02} UTC\r\n", seconds / 3600, seconds / 60 % 60, seconds % 60);
                self.endpoint.send(conn, line.as_bytes());
                self.endpoint.shutdown(conn);
                self.told += 1;
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut dyn Outside) {
        self.endpoint.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        self.endpoint.fill(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }

    /// What `zbridge status --json`, and [`PortStatus`](zbridge::engine::PortStatus), show of it.
    fn poll_report(&mut self, _: Instant, _: fn() -> SystemTime) -> Option<Report> {
        if self.reported.replace(self.told) == Some(self.told) {
            return None;
        }
        let mut shown = Shown::default();
        shown.figures = vec![Figures::new("answers", [("told", self.told)])];
        Some(Report::quiet(shown))
    }
}

/// Asks once, and gives the answer to whoever waits for it.
struct Asker {
    endpoint: Endpoint,
    asked: bool,
    answer: Vec<u8>,
    tell: Sender<Vec<u8>>,
}

impl Service for Asker {
    fn handle_frame(&mut self, now: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        self.endpoint.handle_frame_from(now, arrived.ingress, arrived.frame);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Readable(conn) => {
                    let answer = &mut self.answer;
                    let read = |bytes: &[u8]| {
                        answer.extend_from_slice(bytes);
                        bytes.len()
                    };
                    self.endpoint.recv(conn, read);
                }
                Event::PeerClosed(conn) => {
                    self.endpoint.shutdown(conn);
                    // Nobody may be waiting any more.
                    let _ = self.tell.send(std::mem::take(&mut self.answer));
                }
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut dyn Outside) {
        self.endpoint.handle_timeout(now);
        if !self.asked {
            let server = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 13), PORT));
            self.asked = self.endpoint.connect(now, server).is_ok();
        }
    }

    fn poll_transmit(&mut self, now: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        self.endpoint.fill(now, out)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.poll_timeout()
    }
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let bridge = Bridge::empty()?;
    bridge.add_service("default", "daytime", |_| Daytime::new())?;
    if let Some(path) = std::env::args().nth(1).filter(|path| path.starts_with('/')) {
        bridge.add_port(PortSpec::parse(&format!("unix:{path}"))?)?;
        println!("192.0.2.13 port {PORT} tells the time to whoever is on {path}");
        let ended = bridge.wait_ended(None).ok_or("the bridge is gone")?;
        return Err(ended.why.into());
    }

    let (tell, answers) = channel();
    let asker = |_: &mut dyn Outside| Ok(Asker { endpoint: host(2)?, asked: false, answer: Vec::new(), tell });
    bridge.add_service("default", "asker", asker)?;
    let answer = answers.recv_timeout(Duration::from_secs(10))?;
    println!("it is {}", String::from_utf8_lossy(&answer).trim_end());
    for port in &bridge.stop()?[0].ports {
        println!(
            "{}: {} frames in, {} out, {:?}",
            port.name, port.counters.rx_frames, port.counters.tx_frames, port.figures
        );
    }
    Ok(())
}
