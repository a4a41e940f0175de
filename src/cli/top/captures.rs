//! Captures of ports into files of the current directory, each on a connection and a thread of its own.

use crate::capture::Wish;
use crate::cli::units;
use crate::engine::control::{Client, Stopper};
use crate::error::{Error, Result};
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS};
use crate::rights::{self, Role};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// It reads a control socket and writes an open file.
static ROLE: Role = Role::new("top-capture", &[BASE, SOCKETS, NETWORK, READ]);

/// Bytes of one read.
const CHUNK: usize = 64 << 10;

/// A capture that runs, or is just asked for.
struct Running {
    port: String,
    path: PathBuf,
    /// Bytes that are written.
    written: Arc<AtomicU64>,
    /// What ends it, once the bridge has answered.
    stopper: Option<Stopper>,
    /// It is to end as soon as the bridge has answered.
    unwanted: bool,
}

/// What becomes of a capture.
enum News {
    /// The bridge captures.
    Begun(String, Stopper),
    /// It has ended, with what there is to say of it; its file stays if it `stays`.
    Ended { port: String, outcome: String, stays: bool },
}

/// All captures.
pub struct Captures {
    /// What the user has called the bridge, if anything: a path reaches one of another user.
    reach: Option<String>,
    running: Vec<Running>,
    finished: Vec<(PathBuf, String)>,
    tell: Sender<News>,
    told: Receiver<News>,
}

impl Captures {
    /// None yet, of the bridge called so.
    pub fn new(reach: Option<String>) -> Self {
        let (tell, told) = unbounded();
        Self { reach, running: Vec::new(), finished: Vec::new(), tell, told }
    }

    /// The ports that are being captured, each with the file and how much is in it.
    pub fn running(&self) -> impl Iterator<Item = (&str, String)> {
        self.running.iter().map(|it| {
            let written = units::bytes(it.written.load(Ordering::Relaxed));
            (it.port.as_str(), format!("{} has {written}; c ends the capture", it.path.display()))
        })
    }

    /// Begins the capture of a port of this bridge, or ends it. Says which.
    pub fn toggle(&mut self, bridge: &str, port: &str) -> String {
        if let Some(running) = self.running.iter_mut().find(|running| running.port == port) {
            running.unwanted = true;
            running.stopper.iter().for_each(Stopper::stop);
            return format!("the capture of {port} ends");
        }
        match self.begin(bridge, port) {
            Ok(()) => format!("the bridge is asked to capture {port} …"),
            Err(error) => format!("{port} cannot be captured: {}", error.what()),
        }
    }

    /// A thread asks the bridge, which may hang.
    fn begin(&mut self, bridge: &str, port: &str) -> Result<()> {
        let time = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S");
        let (file, path) = create(&format!("zbridge-{}-{time}", plain(port)))?;
        let (tell, port, written) = (self.tell.clone(), port.to_owned(), Arc::new(AtomicU64::new(0)));
        let reach = self.reach.as_deref().unwrap_or(bridge).to_owned();
        let (of, counter) = (port.clone(), written.clone());
        let work = move || {
            let (outcome, stays) = capture(&reach, &of, file, &counter, &tell);
            // Nobody may listen any more.
            let _ = tell.send(News::Ended { port: of, outcome, stays });
        };
        rights::spawn_to_look("zb-capture", &ROLE, work)
            .map_err(|cause| Error::system("cannot start a thread", &cause))?;
        self.running.push(Running { port, path, written, stopper: None, unwanted: false });
        Ok(())
    }

    /// What is to be said of a capture that has begun, with its file, or has ended, once for each.
    pub fn news(&mut self) -> Option<String> {
        let news = self.told.try_recv().ok()?;
        self.take(news)
    }

    fn take(&mut self, news: News) -> Option<String> {
        match news {
            News::Begun(port, stopper) => {
                let running = self.running.iter_mut().find(|running| running.port == port)?;
                if running.unwanted {
                    stopper.stop();
                }
                running.stopper = Some(stopper);
                Some(format!("{} is captured into {}; c ends it", running.port, running.path.display()))
            }
            News::Ended { port, outcome, stays } => {
                let place = self.running.iter().position(|running| running.port == port)?;
                let path = self.running.remove(place).path;
                if !stays {
                    // It is empty, and was made here a moment ago.
                    let _ = std::fs::remove_file(&path);
                    return Some(format!("{port} cannot be captured: {outcome}"));
                }
                let said = format!("{}: {outcome}", path.display());
                self.finished.push((path, outcome));
                Some(said)
            }
        }
    }

    /// Ends all of them, and waits for their last frames, but not longer than `patience`.
    pub fn end_all(&mut self, patience: Duration) {
        for running in &mut self.running {
            running.unwanted = true;
            running.stopper.iter().for_each(Stopper::stop);
        }
        let until = Instant::now() + patience;
        while !self.running.is_empty()
            && let Ok(news) = self.told.recv_deadline(until)
        {
            self.take(news);
        }
    }

    /// The files of captures that have ended, and how that came.
    pub fn finished(&self) -> &[(PathBuf, String)] {
        &self.finished
    }
}

/// Captures until the bridge or the user ends it. Gives what there is to say of that, and whether the file is one.
fn capture(reach: &str, port: &str, mut file: File, written: &AtomicU64, tell: &Sender<News>) -> (String, bool) {
    // Both directions: what the port has sent, and what has left by it.
    let wish = Wish { ports: vec![port.to_owned()], copies: true, ..Wish::default() };
    let begun = Client::connect(reach).and_then(|client| {
        let capturing = client.capture(None, wish)?;
        Ok((capturing.stopper()?, capturing))
    });
    let mut capturing = match begun {
        Ok((stopper, capturing)) => {
            // Nobody may listen any more.
            let _ = tell.send(News::Begun(port.to_owned(), stopper));
            capturing
        }
        Err(error) => return (error.what().to_owned(), false),
    };
    let mut room = vec![0; CHUNK];
    let so_far = || units::bytes(written.load(Ordering::Relaxed));
    let outcome = loop {
        match capturing.read(&mut room) {
            Ok(0) => break format!("{} captured", so_far()),
            Ok(count) => match file.write_all(room.get(..count).unwrap_or_default()) {
                Ok(()) => drop(written.fetch_add(count as u64, Ordering::Relaxed)),
                Err(error) => break format!("it ended after {}: {error}", so_far()),
            },
            Err(error) => break format!("the bridge broke it off after {}: {error}", so_far()),
        }
    };
    (outcome, true)
}

/// A new file of the user's own; no link is followed, and no file is overwritten.
fn create(name: &str) -> Result<(File, PathBuf)> {
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let here = std::env::current_dir().unwrap_or_default();
    for number in 0_u32.. {
        let end = if number == 0 { String::new() } else { format!("-{number}") };
        // Whole, so that it is found from elsewhere too.
        let path = here.join(format!("{name}{end}.pcapng"));
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
