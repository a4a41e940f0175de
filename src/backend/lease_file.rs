//! Leases in a file, so that hosts keep addresses and names when the gateway starts anew.
//!
//! A line is a lease, in dnsmasq's format: `end of the lease in UNIX seconds · MAC · address · name or * · identifier
//! of the client or *`. Other lines are skipped. A thread of its own writes the file, so that a slow disk holds up
//! nobody: to a temporary file, which is renamed. Changes during a write are written next, and the last state when the
//! gateway ends.

use crate::error::{Error, Result};
use crate::rights::role::{BASE, BLOCKS, FILES, SOCKETS};
use crate::rights::{self, Role, deed};
use crate::service::lease::{Lease, Who};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::fs::OFlags;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest file that is read: more than a full pool's.
const LONGEST: u64 = 64 << 20;

/// After this long a disk that was full is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The leases at an instant.
type Snapshot = (SystemTime, Vec<Lease>);

/// The thread of a file of leases. When this is dropped it writes what it has, and ends.
pub struct LeaseFile {
    queue: Option<Sender<Snapshot>>,
    thread: Option<JoinHandle<()>>,
}

/// Sandbox: it writes one file again and again.
static ROLE: Role = Role::new("leases", &[BASE, FILES, BLOCKS, SOCKETS]);

impl LeaseFile {
    /// Reads the file at `path`, if it is there, and will write it. Gives the leases in it that are not over.
    ///
    /// # Errors
    /// It cannot be read, or nothing can be written there.
    pub fn open(path: &Path) -> Result<(Self, Vec<Lease>)> {
        let cannot = |error: io::Error| {
            Error::system(format_args!("leases={}", path.display()), &error)
                .hint("leases= names a file that this user may read and write, in a folder that is there")
        };
        let found = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(cannot(error)),
        };
        let now = SystemTime::now();
        let leases: Vec<Lease> = found.lines().filter_map(|line| parse(line, now)).collect();
        write(path, &(now, leases.clone())).map_err(cannot)?;
        let (queue, work) = unbounded();
        let target = path.to_owned();
        let thread = rights::spawn("zb-leases", &ROLE, move || run(&target, &work));
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok((Self { queue: Some(queue), thread: Some(thread) }, leases))
    }

    /// Queues these leases to be written.
    pub fn save(&self, leases: Vec<Lease>) {
        if self.queue.as_ref().is_none_or(|queue| queue.send((SystemTime::now(), leases)).is_err()) {
            log::debug!("the thread of a file of leases has ended");
        }
    }
}

impl Drop for LeaseFile {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of a file of leases ended abnormally");
        }
    }
}

/// Writes the newest leases until the sender is gone. A failure is logged once and retried; so is the recovery. The
/// last leases are tried once.
fn run(path: &Path, work: &Receiver<Snapshot>) {
    let (mut newest, mut failed, mut over) = (None, false, false);
    while !over {
        let came = if failed { work.recv_timeout(PAUSE) } else { work.recv().map_err(RecvTimeoutError::from) };
        match came {
            Ok(snapshot) => newest = Some(work.try_iter().last().unwrap_or(snapshot)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => over = true,
        }
        let Some(snapshot) = newest.take() else { continue };
        let before = failed;
        let written = write(path, &snapshot);
        failed = written.is_err();
        match written {
            Ok(()) if before => log::info!("leases={}: leases are kept again", path.display()),
            Ok(()) => {}
            Err(error) if before => log::debug!("leases={}: {error}", path.display()),
            Err(error) => log::warn!("leases={}: {error}; leases are not kept for now", path.display()),
        }
        newest = Some(snapshot).filter(|_| failed);
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = deed::file(path, OFlags::RDONLY)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(io::Error::other("not a file of leases"));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, LONGEST), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: &Path, (at, leases): &Snapshot) -> io::Result<()> {
    let text: String = leases.iter().map(|lease| line(lease, *at)).collect();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside: PathBuf = path.with_file_name(name);
    let mut file = deed::create(&beside)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| deed::rename(&beside, path));
    if written.is_err() {
        // A partial file is truncated to free its room, as it may not be removable.
        let _ = file.set_len(0);
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn line(lease: &Lease, at: SystemTime) -> String {
    let end = (at + lease.left).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = lease.name.as_deref().unwrap_or("*");
    format!("{end} {} {} {name} {}\n", lease.mac, lease.addr, lease.who.id_text())
}

/// Reads a lease that is not over. The caller checks the name.
fn parse(line: &str, now: SystemTime) -> Option<Lease> {
    let mut words = line.split_ascii_whitespace();
    let mut word = || words.next();
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(word()?.parse::<u32>().ok()?.into()))?;
    let (mac, addr) = (word()?.parse().ok()?, word()?.parse().ok()?);
    let name = Some(word()?).filter(|name| *name != "*").map(str::to_owned);
    let who = Who::read(mac, word()?)?;
    let left = end.duration_since(now).ok().filter(|left| !left.is_zero())?;
    Some(Lease { mac, who, addr, name, left })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Mac;

    fn lease(last: u8, name: Option<&str>, id: Option<&[u8]>) -> Lease {
        let mac = Mac([2, 0, 0, 0, 0, last]);
        let (addr, left) = ([10, 0, 2, last].into(), Duration::from_secs(3600));
        Lease { mac, who: Who::new(mac, id), addr, name: name.map(str::to_owned), left }
    }

    #[test]
    fn what_was_saved_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leases");
        let (file, found) = LeaseFile::open(&path).unwrap();
        assert!(found.is_empty());
        file.save(vec![lease(1, None, None)]);
        let saved = [lease(15, Some("board1"), None), lease(16, None, Some(&[0xff, 7]))];
        file.save(saved.to_vec());
        drop(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let tails: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(tails, ["02:00:00:00:00:0f 10.0.2.15 board1 *", "02:00:00:00:00:10 10.0.2.16 * ff:07"]);
        let (_file, found) = LeaseFile::open(&path).unwrap();
        for (found, saved) in found.iter().zip(&saved) {
            assert_eq!((&found.who, found.addr, &found.name), (&saved.who, saved.addr, &saved.name));
            assert!(found.left <= saved.left && found.left > Duration::from_secs(3500));
        }
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_no_lease_is_passed_over() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for bad in [
            "",
            "1001",
            "1000 02:00:00:00:00:0f 10.0.2.15 * *",
            "x 02:00:00:00:00:0f 10.0.2.15 * *",
            "1001 02:00:00:00:00 10.0.2.15 * *",
            "1001 02:00:00:00:00:0f 10.0.2 * *",
            "1001 02:00:00:00:00:0f 10.0.2.15 *",
            "1001 02:00:00:00:00:0f 10.0.2.15 * zz",
            "99999999999 02:00:00:00:00:0f 10.0.2.15 * *",
            "duid 00:01:00:01",
        ] {
            assert_eq!(parse(bad, now), None, "{bad}");
        }
        assert!(parse("1001 02:00:00:00:00:0f 10.0.2.15 * *", now).is_some());
        let dir = tempfile::tempdir().unwrap();
        assert!(LeaseFile::open(dir.path()).is_err());
        let said = LeaseFile::open(&dir.path().join("absent/leases")).err().unwrap().to_string();
        assert!(said.contains("hint: "), "{said}");
    }
}
