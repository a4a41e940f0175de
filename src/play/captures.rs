//! Captures of a scenario: `capture start FILE` until `capture stop`, or its end. The file is created before anything is
//! played, and written by a thread of its own.

use crate::control::Wish;
use crate::engine::control::{Capturing, Client, Stopper};
use crate::error::{Class, Error, Result};
use crate::rights::role::{BASE, SOCKETS};
use crate::rights::{self, Role};
use crate::scenario::{Act, Scenario};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// It copies frames from a socket into a file.
static ROLE: Role = Role::new("capture", &[BASE, SOCKETS]);

/// Captures of all scenarios of a file together.
const MOST: u32 = 64;

/// See the head of the file.
pub struct Captures {
    files: BTreeMap<PathBuf, File>,
    /// A connection for each capture: later, this process may not make any more.
    clients: Vec<Client>,
    running: Vec<(Stopper, JoinHandle<()>)>,
}

impl Captures {
    /// Creates the files that these scenarios name, and connects to the bridge that their frames come from.
    ///
    /// # Errors
    /// One of them cannot be created, or there are too many; the error has the place of its step.
    pub fn new(bridge: &str, scenarios: &[Scenario]) -> Result<Self> {
        let (mut files, mut clients, mut count) = (BTreeMap::new(), Vec::new(), 0_u32);
        for step in scenarios.iter().flat_map(|scenario| &scenario.steps) {
            let paths = step.deeds.iter().filter_map(|deed| match &deed.act {
                Act::CaptureStart(path) => Some(path),
                Act::Ask(_) | Act::CaptureStop => None,
            });
            for path in paths {
                count = count.saturating_add(step.repeat);
                if count > MOST {
                    return Err(Error::usage(format!("there are more than {MOST} captures")).at(&step.place));
                }
                let made = File::create(path).map_err(|cause| Error::system(path.display(), &cause).at(&step.place))?;
                files.insert(path.clone(), made);
            }
        }
        for _ in 0..count {
            clients.push(Client::connect(bridge)?);
        }
        Ok(Self { files, clients, running: Vec::new() })
    }

    /// Captures all frames in this file from here on, from its beginning.
    ///
    /// # Errors
    /// The bridge does not let it; the system has no threads or descriptors left.
    pub fn start(&mut self, path: &Path) -> Result<()> {
        let cannot = |cause: &std::io::Error| Error::system(path.display(), cause);
        let none = || Error::new(Class::Runtime, format!("{}: there is no connection left for it", path.display()));
        let (file, client) = self.files.get(path).zip(self.clients.pop()).ok_or_else(none)?;
        let mut file = file.try_clone().map_err(|cause| cannot(&cause))?;
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(|cause| cannot(&cause))?;
        let mut capturing = client.capture(None, Wish::default())?;
        let stopper = capturing.stopper()?;
        let shown = path.display().to_string();
        let copy = move || {
            if let Err(cause) = copy(&mut capturing, &mut file) {
                log::error!("{shown}: {cause}; the capture is not complete");
            }
        };
        let thread = rights::spawn("zb-capture", &ROLE, copy).map_err(|cause| cannot(&cause))?;
        self.running.push((stopper, thread));
        Ok(())
    }

    /// Ends all that run, and waits for their last frames.
    pub fn stop(&mut self) {
        for (stopper, thread) in self.running.drain(..) {
            stopper.stop();
            if thread.join().is_err() {
                log::error!("a capture ended abnormally");
            }
        }
    }
}

fn copy(from: &mut Capturing, to: &mut File) -> std::io::Result<()> {
    let mut room = vec![0; 64 * 1024];
    loop {
        match from.read(&mut room)? {
            0 => return Ok(()),
            count => to.write_all(room.get(..count).unwrap_or_default())?,
        }
    }
}
