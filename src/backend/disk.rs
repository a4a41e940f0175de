//! A disk's blocks in a file, on a thread of its own.
//!
//! The file is locked while it is in use, exclusively if it is written and shared with other readers otherwise. With
//! `cow` writes go to an unlinked file in the folder for temporary files, at the same offsets as in the image, and a
//! bitmap says which blocks are there.

use super::full::Full;
use super::{Tell, Told};
use crate::error::{Class, Error, Result};
use crate::rights::deed;
use crate::rights::role::{BASE, BLOCKS};
use crate::rights::{self, Role};
use crate::usb::class::storage::{BLOCK, Job, JobError, Work};
use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::JoinHandle;

/// Sandbox: it reads and writes open descriptors only.
static ROLE: Role = Role::new("disk", &[BASE, BLOCKS]);

/// How an image is used.
#[derive(Clone, Copy, Default)]
pub(super) struct Use {
    /// It is never written.
    pub read_only: bool,
    /// Copy on write: the image stays as it is.
    pub cow: bool,
    /// Raw blocks, even if they look like another format.
    pub raw: bool,
}

/// Image formats that are not raw: offset of the magic number, the number, the name, and a converter to raw.
/// (QEMU's docs/interop, the file formats' own specifications, file(1)'s magic.)
const FORMATS: [(usize, &[u8], &str, &str); 19] = [
    (0, b"QFI\xfb", "qcow2", CONVERT),
    (0, b"QED\0", "qed", CONVERT),
    (0, b"KDMV", "vmdk", CONVERT),
    (0, b"COWD", "vmdk", CONVERT),
    (0, b"# Disk DescriptorFile", "vmdk", CONVERT),
    (0x40, b"\x7f\x10\xda\xbe", "vdi", CONVERT),
    (0, b"vhdxfile", "vhdx", CONVERT),
    (0, b"conectix", "vhd", CONVERT),
    (0, b"WithoutFreeSpace", "parallels", CONVERT),
    (0, b"WithouFreSpacExt", "parallels", CONVERT),
    (0, b"\x1f\x8b", "gzip", UNPACK),
    (0, b"\xfd7zXZ\0", "xz", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd", UNPACK),
    (0, b"BZh", "bzip2", UNPACK),
    (0, b"\x04\x22\x4d\x18", "lz4", UNPACK),
    (0, b"LZIP", "lzip", UNPACK),
    (0, b"PK\x03\x04", "zip", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", UNPACK),
    (0, b"\x3a\xff\x26\xed", "Android sparse image", "simg2img makes blocks of it, as"),
];
const CONVERT: &str = "make blocks of it:";
const UNPACK: &str = "unpack it first; where that is no raw image either,";

/// The thread of a disk, which ends when this is dropped.
pub(super) struct Disk {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens the image and gives its length in blocks. `tell` takes the results.
    pub fn open(image: &Path, how: Use, tell: Tell) -> Result<(Self, u64)> {
        let (mut medium, blocks) = Medium::open(image, how)?;
        // With `cow` the writes are elsewhere than the image.
        let what = if how.cow { "what is written to a disk".to_owned() } else { image.display().to_string() };
        let mut full = Full::new(what, "its host is told of an error");
        // Bounded by its use: the device has one job under way at most.
        let (jobs, queue): (_, Receiver<Job>) = unbounded();
        let work = move || {
            for job in queue {
                let writes = matches!(job.work, Work::Write(..));
                let done = medium.perform(job.work);
                if writes {
                    full.note(&done);
                }
                let result = done.map_err(|error| failure(&error));
                if !tell(Told::Job((job.id, result))) {
                    return;
                }
            }
        };
        let thread = rights::spawn("zb-disk", &ROLE, work);
        let thread = thread.map_err(|error| Error::system("cannot start a thread", &error))?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread) }, blocks))
    }

    /// Queues a job. The device has one under way at most.
    pub fn send(&self, job: Job) {
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            log::error!("the thread of a disk has ended");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of a disk ended abnormally");
        }
    }
}

fn failure(error: &io::Error) -> JobError {
    log::debug!("disk: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => JobError::Full,
        _ => JobError::Medium,
    }
}

/// Copy-on-write overlay of an image.
struct Overlay {
    file: File,
    /// One bit for each block that is here; a key is 64 blocks.
    written: HashMap<u64, u64, foldhash::fast::RandomState>,
}

impl Overlay {
    fn has(&self, block: u64) -> bool {
        self.written.get(&(block / 64)).is_some_and(|bits| bits >> (block % 64) & 1 != 0)
    }

    /// Splits `blocks` into runs that are in the overlay, or in the image (`false`): each run is one read.
    fn runs(&self, blocks: Range<u64>) -> impl Iterator<Item = (Range<u64>, bool)> {
        let mut start = blocks.start;
        std::iter::from_fn(move || {
            let written = (start < blocks.end).then(|| self.has(start))?;
            let end = (start..blocks.end).find(|block| self.has(*block) != written).unwrap_or(blocks.end);
            Some((std::mem::replace(&mut start, end)..end, written))
        })
    }

    fn mark(&mut self, block: u64) {
        *self.written.entry(block / 64).or_default() |= 1 << (block % 64);
    }
}

/// The image, and its overlay.
struct Medium {
    file: File,
    overlay: Option<Overlay>,
}

impl Medium {
    fn open(image: &Path, Use { read_only, cow, raw }: Use) -> Result<(Self, u64)> {
        let name = image.display();
        let cannot = |error: &io::Error| Error::system(format_args!("cannot open the image {name}"), error);
        let writes = !read_only && !cow;
        // Opening a pipe would block.
        let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
        let mut file = deed::file(image, access | OFlags::NONBLOCK).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::NotFound {
                format!("truncate -s 64M {name} makes an empty one")
            } else {
                "with ro or cow it only has to be readable".to_owned()
            };
            cannot(&error).hint(hint)
        })?;
        if !raw {
            check_format(&file, image)?;
        }
        let lock =
            if writes { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
        rustix::fs::flock(&file, lock).map_err(|errno| {
            Error::new(Class::Runtime, format!("the image {name} is in use"))
                .because(errno)
                .hint("only one disk may write an image; with cow several can share one")
        })?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| cannot(&error))?;
        let blocks = length / u64::from(BLOCK);
        if blocks == 0 {
            return Err(Error::usage(format!("the image {name} is shorter than a block of {BLOCK} bytes"))
                .hint(format!("truncate -s 64M {name} makes it longer")));
        }
        let rest = length % u64::from(BLOCK);
        if rest != 0 {
            log::warn!(
                "the image {name} ends {rest} bytes behind its last block of {BLOCK}: the disk does not have them"
            );
        }
        let overlay = if cow { Some(Overlay { file: unnamed()?, written: HashMap::default() }) } else { None };
        Ok((Self { file, overlay }, blocks))
    }

    fn perform(&mut self, work: Work) -> io::Result<Vec<u8>> {
        match work {
            Work::Read(offset, length) => self.read(offset, length),
            Work::Write(offset, bytes) => self.write(offset, &bytes).map(|()| Vec::new()),
            Work::Flush if self.overlay.is_none() => self.file.sync_data().map(|()| Vec::new()),
            Work::Flush => Ok(Vec::new()),
        }
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let Some(overlay) = &self.overlay else {
            self.file.read_exact_at(&mut bytes, offset)?;
            return Ok(bytes);
        };
        let first = offset / u64::from(BLOCK);
        let mut rest = bytes.as_mut_slice();
        for (run, written) in overlay.runs(first..first + (length / BLOCK as usize) as u64) {
            let at = run.start * u64::from(BLOCK);
            let (part, behind) = rest.split_at_mut((run.end - run.start) as usize * BLOCK as usize);
            let file = if written { &overlay.file } else { &self.file };
            file.read_exact_at(part, at)?;
            rest = behind;
        }
        Ok(bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(overlay) = &mut self.overlay else { return self.file.write_all_at(bytes, offset) };
        overlay.file.write_all_at(bytes, offset)?;
        let first = offset / u64::from(BLOCK);
        (first..first + bytes.len() as u64 / u64::from(BLOCK)).for_each(|block| overlay.mark(block));
        Ok(())
    }
}

/// Refuses an image in another format than raw: a host would find nothing on it, format it, and so destroy it.
fn check_format(file: &File, image: &Path) -> Result<()> {
    let begins = |at: usize, magic: &[u8]| {
        let mut bytes = vec![0; magic.len()];
        file.read_exact_at(&mut bytes, at as u64).is_ok() && bytes == magic
    };
    let Some((_, _, format, hint)) = FORMATS.iter().find(|(at, magic, ..)| begins(*at, magic)) else { return Ok(()) };
    let name = image.display();
    Err(Error::usage(format!("the image {name} is in the format {format}, and not the blocks of a disk"))
        .hint(format!("{hint} qemu-img convert -O raw {name} {name}.raw; the key raw takes the file as it is")))
}

/// A file without a name, which is gone when it is closed.
fn unnamed() -> Result<File> {
    let folder = std::env::temp_dir();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open(&folder, flags, Mode::RUSR | Mode::WUSR);
    let cannot = |errno: rustix::io::Errno| {
        Error::system(format_args!("cannot make a temporary file in {}", folder.display()), &errno.into())
            .hint("set TMPDIR to a folder that holds what will be written to the disk")
    };
    made.map(File::from).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(blocks: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..blocks).flat_map(|block| [block as u8; 512]).collect();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_copy_on_write_disk_keeps_its_image() {
        let file = image(200);
        let before = std::fs::read(file.path()).unwrap();
        let (mut medium, blocks) = Medium::open(file.path(), Use { cow: true, ..Use::default() }).unwrap();
        assert_eq!(blocks, 200);
        medium.perform(Work::Write(63 * 512, vec![0xee; 1024])).unwrap();
        let read = medium.perform(Work::Read(62 * 512, 4 * 512)).unwrap();
        let firsts: Vec<u8> = read.chunks(512).map(|block| block[0]).collect();
        assert_eq!(firsts, [62, 0xee, 0xee, 65]);
        assert_eq!(std::fs::read(file.path()).unwrap(), before);
    }

    #[test]
    fn a_read_is_cut_only_where_what_was_written_begins_or_ends() {
        let mut overlay = Overlay { file: tempfile::tempfile().unwrap(), written: HashMap::default() };
        (60..70).chain([3, 127, 128]).for_each(|block| overlay.mark(block));
        let runs = |blocks| overlay.runs(blocks).collect::<Vec<_>>();
        assert_eq!(runs(4..60), [(4..60, false)]);
        assert_eq!(runs(61..69), [(61..69, true)]);
        let expected =
            [(3..4, true), (4..60, false), (60..70, true), (70..127, false), (127..129, true), (129..130, false)];
        assert_eq!(runs(3..130), expected);
        assert_eq!(runs(5..5), []);
    }

    #[test]
    fn an_image_of_another_format_is_refused_unless_it_is_to_be_raw() {
        let file = image(8);
        for (at, magic, format, _) in FORMATS {
            let mut bytes = vec![0; 4096];
            bytes[at..at + magic.len()].copy_from_slice(magic);
            std::fs::write(file.path(), &bytes).unwrap();
            for cow in [false, true] {
                let Err(error) = Medium::open(file.path(), Use { cow, ..Use::default() }) else { panic!("{format}") };
                assert!(error.what().contains(&format!("in the format {format},")), "{error}");
                assert!(error.advice().unwrap_or_default().contains("qemu-img convert -O raw"), "{error}");
            }
            assert!(
                Medium::open(file.path(), Use { raw: true, ..Use::default() }).is_ok_and(|(_, blocks)| blocks == 8)
            );
            assert_eq!(std::fs::read(file.path()).unwrap(), bytes);
        }
        // A partition table is none of them.
        let mut bytes = vec![0; 4096];
        bytes[..3].copy_from_slice(&[0xeb, 0x63, 0x90]);
        std::fs::write(file.path(), bytes).unwrap();
        assert!(Medium::open(file.path(), Use::default()).is_ok());
    }

    #[test]
    fn a_pipe_is_no_image_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(Medium::open(&path, Use { read_only: true, ..Use::default() }).is_err());
    }

    #[test]
    fn a_written_disk_writes_its_image_alone() {
        let file = image(8);
        let (mut medium, _) = Medium::open(file.path(), Use::default()).unwrap();
        medium.perform(Work::Write(512, vec![0xaa; 512])).unwrap();
        medium.perform(Work::Flush).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap()[512], 0xaa);
        for cow in [false, true] {
            let Err(error) = Medium::open(file.path(), Use { cow, ..Use::default() }) else { panic!("opened twice") };
            assert!(error.what().contains("is in use"), "{error}");
        }
    }

    #[test]
    fn a_shrunk_image_and_a_full_one_are_errors() {
        let file = image(8);
        let read_only = Use { read_only: true, ..Use::default() };
        let (mut medium, _) = Medium::open(file.path(), read_only).unwrap();
        file.as_file().set_len(1024).unwrap();
        let error = medium.perform(Work::Read(512, 1024)).unwrap_err();
        assert_eq!(failure(&error), JobError::Medium);
        let mut full = Medium { file: File::options().write(true).open("/dev/full").unwrap(), overlay: None };
        assert_eq!(failure(&full.perform(Work::Write(0, vec![0; 512])).unwrap_err()), JobError::Full);
        assert!(Medium::open(Path::new("/dev/null"), read_only).is_err_and(|error| error.what().contains("shorter")));
    }
}
