//! Runs a sans-I/O service on the calling thread: frames come from a port's link, time from the clock.

use crate::frame::{Batch, Outgoing, PortId};
use crate::limits::{MAX_FRAME, PREFIX};
use crate::port::channel::Link;
use crate::service::Service;
use crate::time::Clock;
use crate::wire::Offload;

/// Frames that a service may send before it has to look at what has come.
const BUDGET: usize = 64;
/// Bytes of one batch to the switch: the budget in frames of 1514 bytes, or one frame of the longest kind.
const MESSAGE_BYTES: usize = BUDGET * 1600 + PREFIX + MAX_FRAME;

/// Runs `service` behind `link` until the port is removed or the bridge has ended.
pub fn run_service(link: &Link, service: &mut impl Service) {
    let clock = Clock::start();
    let mut out = Batch::new(MESSAGE_BYTES);
    loop {
        let now = clock.now();
        service.handle_timeout(now);
        let mut sent = 0;
        // A frame is given out only while the batch surely has room for it.
        while sent < BUDGET && out.free() >= PREFIX + MAX_FRAME {
            let put = &mut |frame: &[u8]| {
                out.push(frame, PortId(0), Offload::NONE);
            };
            if service.poll_transmit(now, 1, put) == 0 {
                break;
            }
            sent += 1;
        }
        if !out.is_empty() {
            let full = std::mem::replace(&mut out, Batch::new(MESSAGE_BYTES));
            if link.send_batch(full).is_err() {
                return;
            }
        }
        let patience =
            if sent == BUDGET { Some(std::time::Duration::ZERO) } else { service.poll_timeout().map(|at| at - now) };
        match link.recv_batch(patience) {
            Ok(Some(batch)) => {
                let now = clock.now();
                Outgoing::rest_of(&batch, 0).frames().for_each(|(_, frame)| service.handle_frame(now, frame));
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}
