//! Who has something open that is wanted here, as a person knows it: `pid 42 (qemu-system-x86)`.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

pub use crate::error::SOMEBODY as UNKNOWN;

/// The process with the number `pid`.
pub fn process(pid: &str) -> String {
    match read_to_string(format!("/proc/{pid}/comm")) {
        Ok(comm) => format!("pid {pid} ({})", comm.trim_end()),
        Err(_) => format!("pid {pid}"),
    }
}

/// The first process that has a descriptor for which `is_it` holds. It is asked with the descriptor's path,
/// `/proc/PID/fd/N`, which is a link to what is open; see proc(5).
pub fn of_descriptor(is_it: impl Fn(&Path) -> bool) -> String {
    let has = |process: &std::fs::DirEntry| {
        // Others, as `self`, are links to these.
        if process.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            return false;
        }
        let descriptors = read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| is_it(&fd.path()))
    };
    let mut processes = read_dir("/proc").into_iter().flatten().flatten();
    processes.find(has).map_or_else(|| UNKNOWN.into(), |found| process(&found.file_name().to_string_lossy()))
}
