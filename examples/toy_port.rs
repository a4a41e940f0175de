//! A kind of port of this program's own: a capture file. What was recorded goes onto the switch at the pace at which it
//! was recorded, and what the switch sends back goes into a second file, which wireshark and tcpdump read.
//!
//! The two halves of a [`Link`](zbridge::engine::Link) do it, in a thread each. Any other kind is made in the same way:
//! what reads it has the half that sends, and what writes it the half that receives.
//!
//! `cargo run --example toy_port` replays a capture that it makes itself; `… toy_port IN.pcap OUT.pcap PORT…` replays
//! another one to ports of your choice: `unix:/tmp/inst1`.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zbridge::config::PortSpec;
use zbridge::engine::{Bridge, LinkReceiver, LinkSender};
use zbridge::frame::MAX_FRAME;

/// The header of a capture of Ethernet frames with microseconds (draft-ietf-opsawg-pcap): magic, version 2.4, two zeros,
/// the longest frame, the link type.
const HEADER: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, MAX_FRAME as u32, 1];

/// Writes frames with the time at which they came.
struct Recorder(BufWriter<File>);

impl Recorder {
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        HEADER.iter().try_for_each(|word| file.write_all(&word.to_le_bytes()))?;
        Ok(Self(file))
    }

    fn write(&mut self, at: Duration, frame: &[u8]) -> io::Result<()> {
        let length = frame.len() as u32;
        for word in [at.as_secs() as u32, at.subsec_micros(), length, length] {
            self.0.write_all(&word.to_le_bytes())?;
        }
        self.0.write_all(frame)
    }
}

/// Reads the frames of a capture that was written on a machine of the same byte order as most.
struct Capture(BufReader<File>);

impl Capture {
    fn open(path: &Path) -> io::Result<Self> {
        let mut capture = Self(BufReader::new(File::open(path)?));
        let header: [u32; 6] = capture.words()?;
        match (header[0], header[5]) {
            (0xa1b2_c3d4, 1) => Ok(capture),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "no capture of Ethernet frames with microseconds")),
        }
    }

    fn words<const COUNT: usize>(&mut self) -> io::Result<[u32; COUNT]> {
        let mut words = [0; COUNT];
        for word in &mut words {
            let mut bytes = [0; 4];
            self.0.read_exact(&mut bytes)?;
            *word = u32::from_le_bytes(bytes);
        }
        Ok(words)
    }

    /// The next frame, and when it came; `None` at the end, also if that is in the midst of a frame.
    fn next(&mut self) -> Option<(Duration, Vec<u8>)> {
        let [seconds, micros, length, _] = self.words().ok()?;
        let mut frame = vec![0; (length as usize <= MAX_FRAME).then_some(length as usize)?];
        self.0.read_exact(&mut frame).ok()?;
        Some((Duration::new(seconds.into(), micros.checked_mul(1000)?), frame))
    }
}

/// Sends what the capture has, each frame as long after the first as it was.
fn replay(mut capture: Capture, sender: LinkSender) -> JoinHandle<LinkSender> {
    spawn(move || {
        let begun = SystemTime::now();
        let mut first = None;
        while let Some((at, frame)) = capture.next() {
            let due = begun + at.saturating_sub(*first.get_or_insert(at));
            std::thread::sleep(due.duration_since(SystemTime::now()).unwrap_or_default());
            if let Err(error) = sender.send(&frame) {
                eprintln!("a frame of the capture was not sent: {error}");
            }
        }
        // The port is there as long as both its halves are.
        sender
    })
}

/// Writes what comes until the port is removed. Gives how many frames that were.
fn record(mut receiver: LinkReceiver, mut recorder: Recorder) -> JoinHandle<io::Result<usize>> {
    spawn(move || {
        let mut count = 0;
        while let Ok(frame) = receiver.recv(Duration::from_secs(60)) {
            let Some(frame) = frame else { continue };
            recorder.write(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), &frame)?;
            count += 1;
        }
        recorder.0.flush()?;
        Ok(count)
    })
}

/// Two questions and a pause between them.
fn make_capture(path: &Path) -> io::Result<()> {
    let mut recorder = Recorder::create(path)?;
    for (millis, text) in [(0, "who is there?"), (100, "and who else?")] {
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], text.as_bytes()].concat();
        recorder.write(Duration::from_millis(1_000_000 + millis), &frame)?;
    }
    recorder.0.flush()
}

/// A port that answers each frame to its sender.
fn answer(bridge: &Bridge) -> zbridge::error::Result<JoinHandle<()>> {
    let mut port = bridge.add_channel("default", "answers")?;
    Ok(spawn(move || {
        while let Ok(frame) = port.recv(Duration::from_secs(60)) {
            let Some(frame) = frame else { continue };
            let back = [&frame[6..12], &[2, 0, 0, 0, 0, 2], &frame[12..]].concat();
            if port.send(&back).is_err() {
                break;
            }
        }
    }))
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bridge = Bridge::empty()?;
    let (given, own) = (
        words.len() > 2 && words[0].ends_with(".pcap"),
        std::env::temp_dir().join(format!("zbridge-toy-port-{}", std::process::id())),
    );
    let (input, output) = match words.as_slice() {
        [input, output, ports @ ..] if given => {
            ports.iter().try_for_each(|port| bridge.add_port(PortSpec::parse(port)?))?;
            (input.into(), output.into())
        }
        _ => {
            std::fs::create_dir_all(&own)?;
            make_capture(&own.join("in.pcap"))?;
            answer(&bridge)?;
            (own.join("in.pcap"), own.join("out.pcap"))
        }
    };

    let (sender, receiver) = bridge.add_channel("default", "capture")?.split();
    let recorded = record(receiver, Recorder::create(&output)?);
    let sender = replay(Capture::open(&input)?, sender).join().map_err(|_| "the replay has failed")?;
    // The last answer may be on its way.
    std::thread::sleep(Duration::from_millis(300));
    drop(sender);
    println!("{} frames came back", recorded.join().map_err(|_| "the recording has failed")??);
    bridge.stop()?;
    let mut answers = Capture::open(&output)?;
    while let Some((_, frame)) = answers.next().filter(|_| !given) {
        println!("{:?}", String::from_utf8_lossy(frame.get(14..).unwrap_or_default()));
    }
    if !given {
        std::fs::remove_dir_all(own)?;
    }
    Ok(())
}
