//! Captures of ports into files of the current directory, each on a connection and a thread of its own.

use crate::capture::Wish;
use crate::engine::control::{Client, Stopper};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// It reads a control socket and writes an open file.
static ROLE: Role = Role::new("top-capture", &[BASE, SOCKETS, NETWORK, READ]);

/// Bytes of one read.
const CHUNK: usize = 64 << 10;

/// A capture that runs.
struct Running {
    port: String,
    stopper: Stopper,
}

/// A capture that has ended.
struct Ended {
    port: String,
    path: PathBuf,
    outcome: String,
}

/// All captures.
pub struct Captures {
    bridge: String,
    running: Vec<Running>,
    finished: Vec<(PathBuf, String)>,
    tell: Sender<Ended>,
    ended: Receiver<Ended>,
}

impl Captures {
    /// None yet, of this bridge.
    pub fn new(bridge: &str) -> Self {
        let (tell, ended) = unbounded();
        Self { bridge: bridge.to_owned(), running: Vec::new(), finished: Vec::new(), tell, ended }
    }

    /// The ports that are being captured.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        self.running.iter().map(|running| running.port.as_str())
    }

    /// Begins the capture of a port, or ends it. Says which, and where the file is.
    pub fn toggle(&mut self, port: &str) -> String {
        if let Some(running) = self.running.iter().find(|running| running.port == port) {
            running.stopper.stop();
            return format!("the capture of {port} ends");
        }
        match self.begin(port) {
            Ok(path) => format!("{port} is captured into {}; c ends it", path.display()),
            Err(error) => format!("{port} cannot be captured: {}", error.what()),
        }
    }

    fn begin(&mut self, port: &str) -> Result<PathBuf> {
        // Both directions: what the port has sent, and what has left by it.
        let wish = Wish { ports: vec![port.to_owned()], copies: true, ..Wish::default() };
        let mut capturing = Client::connect(&self.bridge)?.capture(None, wish)?;
        let stopper = capturing.stopper()?;
        let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
        let (mut file, path) = create(&format!("zbridge-{}-{time}", plain(port)))?;
        let (tell, port, told_path) = (self.tell.clone(), port.to_owned(), path.clone());
        self.running.push(Running { port: port.clone(), stopper });
        let work = move || {
            let mut room = vec![0; CHUNK];
            let mut bytes = 0;
            let outcome = loop {
                match capturing.read(&mut room) {
                    Ok(0) => break format!("{bytes} bytes captured"),
                    Ok(count) => match file.write_all(room.get(..count).unwrap_or_default()) {
                        Ok(()) => bytes += count,
                        Err(error) => break format!("it ended after {bytes} bytes: {error}"),
                    },
                    Err(error) => break format!("the bridge broke it off after {bytes} bytes: {error}"),
                }
            };
            // Nobody may listen any more.
            let _ = tell.send(Ended { port, path: told_path, outcome });
        };
        rights::spawn_to_look("zb-capture", &ROLE, work)
            .map_err(|cause| Error::system("cannot start a thread", &cause))?;
        Ok(path)
    }

    /// What is to be said of a capture that has ended, once for each.
    pub fn news(&mut self) -> Option<String> {
        let ended = self.ended.try_recv().ok()?;
        Some(self.take(ended))
    }

    fn take(&mut self, Ended { port, path, outcome }: Ended) -> String {
        self.running.retain(|running| running.port != port);
        let said = format!("{}: {outcome}", path.display());
        self.finished.push((path, outcome));
        said
    }

    /// Ends all of them, and waits for their last frames, but not longer than `patience`.
    pub fn end_all(&mut self, patience: Duration) {
        self.running.iter().for_each(|running| running.stopper.stop());
        let until = Instant::now() + patience;
        while !self.running.is_empty()
            && let Ok(ended) = self.ended.recv_deadline(until)
        {
            self.take(ended);
        }
    }

    /// The files of captures that have ended, and how that came.
    pub fn finished(&self) -> &[(PathBuf, String)] {
        &self.finished
    }
}

/// A new file of the user's own; no link is followed, and no file is overwritten.
fn create(name: &str) -> Result<(File, PathBuf)> {
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    for number in 0_u32.. {
        let end = if number == 0 { String::new() } else { format!("-{number}") };
        let path = PathBuf::from(format!("{name}{end}.pcapng"));
        match open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 100 => {}
            done => {
                return done.map(|file| (file, path)).map_err(|cause| Error::system("the file of a capture", &cause));
            }
        }
    }
    Err(Error::usage("there are too many files of captures here"))
}

/// A port's name as a part of a file's.
fn plain(port: &str) -> String {
    port.chars().map(|sign| if sign.is_ascii_alphanumeric() || "-_.".contains(sign) { sign } else { '-' }).collect()
}
