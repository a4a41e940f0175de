//! URBs and bytes a second of zbridge's USB/IP server beside that of jiegec/usbip, on this machine, in one run.
//!
//! ```text
//! cargo run --release --manifest-path benches/usbip_peer/Cargo.toml [-- SECONDS]
//! ```
//!
//! Both serve a device whose bulk endpoints take anything and give zeroes, over the machine's own TCP; one client,
//! the same for both, keeps 16 transfers in flight and asks again as soon as replies are there. zbridge runs as its
//! users have it, switch and service on their threads. `switch` is zbridge once more, this time through the switch
//! and its TCP in user space, at MTU 9000; the client then has such a TCP itself. The three take turns, three times;
//! what is shown are the medians.

mod client;
mod peer;

use client::{IN_FLIGHT, Load, OverSwitch, OverTcp};
use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use zbridge::config::{Config, PortSpec};
use zbridge::engine::Bridge;

/// What went wrong.
type Fault = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 3;
const SIZES: [u32; 3] = [512, 16 << 10, 1 << 20];
const CONTENDERS: [&str; 3] = ["jiegec", "zbridge", "switch"];

/// An address of this machine that nobody has.
fn free() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn bridge(keys: &str) -> Result<Bridge, Fault> {
    let mut config = Config::default();
    config.add_port(PortSpec::parse(&format!("usbip:192.0.2.1/24,device=loopback,{keys}"))?)?;
    Ok(Bridge::start(&config)?)
}

/// Measures one contender once: URBs in the time.
fn measure(contender: &str, load: Load, time: Duration) -> Result<f64, Fault> {
    match contender {
        "jiegec" => {
            let addr = free()?;
            let _runtime = peer::serve(addr)?;
            client::run(OverTcp::connect(addr)?, peer::BUSID, load, time)
        }
        "zbridge" => {
            let addr = free()?;
            let bridge = bridge(&format!("usbip-listen={addr}"))?;
            let rate = client::run(OverTcp::connect(addr)?, "1-1", load, time);
            bridge.stop()?;
            rate
        }
        _ => {
            let bridge = bridge("mtu=9000")?;
            let rate = client::run(OverSwitch::connect(&bridge)?, "1-1", load, time);
            bridge.stop()?;
            rate
        }
    }
}

fn main() -> Result<(), Fault> {
    let seconds = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    println!("{IN_FLIGHT} in flight, {seconds} s each, medians of {ROUNDS}; URB/s (MB/s)");
    println!("{:>14} {:>20} {:>20} {:>20}   zbridge / jiegec", "", CONTENDERS[0], CONTENDERS[1], CONTENDERS[2]);
    for (direction, input) in [("in", true), ("out", false)] {
        for length in SIZES {
            let mut rates = vec![Vec::new(); CONTENDERS.len()];
            for _ in 0..ROUNDS {
                for (contender, rates) in CONTENDERS.iter().zip(&mut rates) {
                    rates.push(measure(contender, Load { input, length }, time)?);
                }
            }
            let medians = rates.iter_mut().map(|rates| {
                rates.sort_by(f64::total_cmp);
                rates[rates.len() / 2]
            });
            let medians: Vec<f64> = medians.collect();
            print!("{:>14}", format!("{direction} {length}"));
            for rate in &medians {
                print!(" {:>20}", format!("{rate:.0} ({:.0})", rate * f64::from(length) / 1e6));
            }
            println!("   {:.1}", medians[1] / medians[0]);
        }
    }
    Ok(())
}
