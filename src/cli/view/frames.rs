//! The frames of a port as lines, for as long as the page wants them.
//!
//! A browser that is slow, or a port with a million frames a second, holds nobody up: the bridge counts what it cannot
//! send, so many lines a second are written at most, and for the rest there is one that says how many there were.

use crate::capture::Wish;
use crate::capture::line::Lines;
use crate::capture::pcapng::read::Blocks;
use crate::engine::control::{Capturing, Client};
use crate::error::{Class, Error, Result};
use crate::http::{Body, Outlet, Response};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pages that watch a port at a time.
const STREAMS: usize = 6;
/// Lines a second.
const LINES: u32 = 40;
/// Bytes of a frame that a line is made of.
const SNAP: u32 = 256;
/// How often something is written where nothing passes, by which a client that has gone is noticed.
const QUIET: Duration = Duration::from_secs(5);

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// One that is open.
struct Open;

impl Open {
    fn new() -> Result<Self> {
        if OPEN.fetch_add(1, Ordering::Relaxed) >= STREAMS {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(Class::Runtime, "too many pages watch frames: close one"));
        }
        Ok(Self)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that has a line for each frame of `port`, of the bridge that is reached as `reach`.
///
/// # Errors
/// No such port; the bridge has ended, or has too many captures.
pub fn of(reach: &str, port: &str) -> Result<Response> {
    let open = Open::new()?;
    let wish = Wish { ports: vec![port.to_owned()], snap: Some(SNAP), copies: true, ..Wish::default() };
    let capturing = Client::connect(reach)?.capture(None, wish)?;
    let stream = move |outlet: &mut Outlet| {
        let _open = open;
        pass_on(capturing, outlet);
    };
    Ok(Response { body: Body::Stream(Box::new(stream)), ..Response::new(200, "text/plain; charset=utf-8", "") })
}

/// How many lines may still be written.
struct Budget {
    since: Instant,
    left: u32,
    skipped: u64,
}

impl Budget {
    /// Whether a frame gets a line. The number of those that got none comes with the next second.
    fn take(&mut self, out: &mut String) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            if self.skipped > 0 {
                out.push_str(&format!("… {} more frames\n", self.skipped));
            }
            *self = Self { since: Instant::now(), left: LINES, skipped: 0 };
        }
        let has = self.left > 0;
        if has {
            self.left -= 1
        } else {
            self.skipped += 1
        }
        has
    }
}

fn pass_on(mut capturing: Capturing, outlet: &mut Outlet) {
    let (mut blocks, mut lines, mut room) = (Blocks::default(), Lines::new(), vec![0; 64 * 1024]);
    let mut budget = Budget { since: Instant::now(), left: LINES, skipped: 0 };
    loop {
        let Some(count) = capturing.read_within(&mut room, |fd| outlet.wait_for(fd, QUIET)) else { return };
        match count {
            Ok(0) | Err(_) => {
                let _ = outlet.put("the capture has ended: the port, or the bridge, is no more\n".as_bytes());
                return;
            }
            Ok(count) => blocks.push(room.get(..count).unwrap_or_default()),
        }
        let mut out = String::new();
        loop {
            match blocks.next_block() {
                Ok(Some(block)) if block.packet().is_none() || budget.take(&mut out) => {
                    lines.push(&block, crate::cli::capture::time_of_day, &mut out);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if outlet.put(out.as_bytes()).is_err() {
            return;
        }
    }
}
