//! What a capture costs the switch: frames of 64 bytes between two UNIX stream ports, as fast as they go and at a million a
//! second, without a capture and with `capture --snap 96` into a file.
//!
//! `cargo bench --bench capture [-- SECONDS]`

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Bytes of a frame, and of its length before it.
const FRAME: usize = 64;
const PREFIX: usize = 4;
/// Frames of one send.
const BURST: usize = 64;
/// The rate that the switch has to keep up with.
const RATE: f64 = 1e6;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn zbridge(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zbridge"));
    command.args(words).env("XDG_RUNTIME_DIR", folder).stdout(Stdio::null());
    command
}

fn connect(path: &Path) -> Result<UnixStream> {
    for _ in 0..200 {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) => sleep(Duration::from_millis(10)),
        }
    }
    Err(format!("{} does not listen", path.display()).into())
}

/// Frames that have arrived in `time`, of those that were sent at `rate`, or as fast as they go; and what was sent.
fn measured(from: &mut UnixStream, to: &UnixStream, time: Duration, rate: Option<f64>) -> Result<(u64, u64)> {
    let (arrived, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut reader = to.try_clone()?;
    reader.set_read_timeout(Some(Duration::from_millis(100)))?;
    let counts = {
        let (arrived, over) = (arrived.clone(), over.clone());
        spawn(move || {
            let mut room = vec![0; 256 * 1024];
            while !over.load(Ordering::Relaxed) {
                if let Ok(count) = reader.read(&mut room) {
                    arrived.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        })
    };
    let frame =
        [&(FRAME as u32).to_be_bytes()[..], &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5], &[0; 50]].concat();
    let burst = frame.repeat(BURST);
    let (begin, mut sent) = (Instant::now(), 0u64);
    while begin.elapsed() < time {
        from.write_all(&burst)?;
        sent += BURST as u64;
        if let Some(rate) = rate {
            let due = begin + Duration::from_secs_f64(sent as f64 / rate);
            sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    sleep(Duration::from_millis(300));
    over.store(true, Ordering::Relaxed);
    counts.join().map_err(|_| "the reader has panicked")?;
    Ok((arrived.load(Ordering::Relaxed) / (FRAME + PREFIX) as u64, sent))
}

fn capture(folder: &Path) -> Result<Child> {
    let file = folder.join("run.pcapng");
    let words = ["capture", "--snap", "96", "-w", file.to_str().ok_or("a path that is text")?];
    let child = zbridge(folder, &words).spawn()?;
    while !file.exists() {
        sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn main() -> Result<()> {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse::<f64>().ok()).unwrap_or(3.0);
    let time = Duration::from_secs_f64(seconds);
    let dir = tempfile::tempdir()?;
    let folder = dir.path();
    let ports = ["a", "b"].map(|name| format!("unix:{}", folder.join(name).display()));
    let mut bridge = zbridge(folder, &["-q", "-p", &ports[0], "-p", &ports[1]]).spawn()?;
    let (mut a, mut b) = (connect(&folder.join("a"))?, connect(&folder.join("b"))?);
    // So that it is known where the frames go.
    b.write_all(&[&[0, 0, 0, 60][..], &[0xff; 6], &[2, 0, 0, 0, 0, 2, 0x88, 0xb5], &[0; 46]].concat())?;
    a.read_exact(&mut [0; 64])?;
    for (what, rate) in [("as fast as it goes", None), ("at 1 M frames/s", Some(RATE))] {
        let (without, sent) = measured(&mut a, &b, time, rate)?;
        let mut child = capture(folder)?;
        let (with, with_sent) = measured(&mut a, &b, time, rate)?;
        let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
        let ended = child.wait()?;
        println!(
            "{what}: {:.2} M frames/s without a capture ({} of {sent} lost), {:.2} with one ({} of {with_sent} lost): \
             {:.2} of the rate; its own end: {}",
            without as f64 / seconds / 1e6,
            sent.saturating_sub(without),
            with as f64 / seconds / 1e6,
            with_sent.saturating_sub(with),
            with as f64 / without.max(1) as f64,
            if stopped.success() && ended.success() { "good" } else { "bad" }
        );
    }
    bridge.kill()?;
    bridge.wait()?;
    Ok(())
}
