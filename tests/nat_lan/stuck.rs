//! A folder on a server that does not answer: a file system of the kernel's FUSE (fuse(4)) behind which nobody is, but to
//! say that it is there.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use support::{PATIENCE, needs};

/// Requests (linux/fuse.h) that are answered, and the one that is waited for.
const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const INIT: u32 = 26;

/// Whether there can be one.
pub fn fuse() -> needs::Need {
    needs::root()?;
    match Path::new("/dev/fuse").exists() {
        true => Ok(()),
        false => needs::missing("/dev/fuse", "load the module fuse, and give the container the device"),
    }
}

/// See the module.
pub struct Stuck {
    folder: PathBuf,
    asked: Receiver<()>,
}

impl Stuck {
    /// Mounts it at `folder`, which is there and empty.
    pub fn mount(folder: PathBuf) -> Self {
        let mut device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("stuck", &folder, "fuse", flags, CString::new(data).expect("no zero").as_c_str()).expect("a mount");
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            let mut room = vec![0; 1 << 20];
            while let Ok(count) = device.read(&mut room) {
                let word = |at: usize| u32::from_ne_bytes(room[at..at + 4].try_into().expect("four bytes"));
                match word(4) {
                    INIT => answer(&mut device, &room[..count], &init()),
                    GETATTR => answer(&mut device, &room[..count], &directory()),
                    LOOKUP => drop(tell.send(())),
                    _ => {}
                }
            }
        });
        Self { folder, asked }
    }

    /// Waits until somebody waits for a file.
    pub fn wait_for_a_victim(&self) {
        self.asked.recv_timeout(PATIENCE).expect("somebody wants a file");
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // Forced, so that those who wait come back: not even a signal ends their waiting.
        unmount(&self.folder, UnmountFlags::FORCE | UnmountFlags::DETACH).expect("it was mounted");
    }
}

/// `struct fuse_out_header`: length, error, and the number of the request, which is in its third and fourth word.
fn answer(device: &mut File, request: &[u8], body: &[u8]) {
    let length = 16 + u32::try_from(body.len()).expect("short");
    let head = [&length.to_ne_bytes()[..], &[0; 4], &request[8..16]].concat();
    device.write_all(&[head, body.to_vec()].concat()).expect("an answer");
}

/// `struct fuse_init_out` of version 7.31, with nothing that is not needed.
fn init() -> Vec<u8> {
    let mut out = [7_u32, 31, 0, 0].map(u32::to_ne_bytes).concat();
    out.extend([12_u16, 10].map(u16::to_ne_bytes).concat());
    out.extend(4096_u32.to_ne_bytes());
    out.resize(64, 0);
    out
}

/// `struct fuse_attr_out` of a directory that everybody may search, whose inode is 1.
fn directory() -> Vec<u8> {
    let mut out = vec![0; 104];
    out[0..8].copy_from_slice(&3600_u64.to_ne_bytes());
    out[16..24].copy_from_slice(&1_u64.to_ne_bytes());
    out[76..80].copy_from_slice(&0o040_755_u32.to_ne_bytes());
    out[80..84].copy_from_slice(&2_u32.to_ne_bytes());
    out
}
