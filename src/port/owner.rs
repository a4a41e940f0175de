//! Who has something open that is wanted here, as a person knows it: `pid 42 (qemu-system-x86)`.

use crate::visible::visible_bytes;
use std::fs::{read, read_dir};
use std::path::Path;

pub use crate::error::SOMEBODY as UNKNOWN;

/// The process with the number `pid`. Its name is its own to choose, and any bytes (PR_SET_NAME, prctl(2)).
pub fn process(pid: &str) -> String {
    process_in(Path::new("/proc"), pid)
}

/// The same as the files below `proc` say it.
pub fn process_in(proc: &Path, pid: &str) -> String {
    match read(proc.join(pid).join("comm")) {
        Ok(comm) => format!("pid {pid} ({})", visible_bytes(comm.strip_suffix(b"\n").unwrap_or(&comm))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_moves_no_cursor() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("7")).unwrap();
        std::fs::write(proc.path().join("7/comm"), b"\x1b[2J\xff a\n\n").unwrap();
        assert_eq!(process_in(proc.path(), "7"), r"pid 7 (\x1b[2J\xff a\x0a)");
        assert_eq!(process_in(proc.path(), "8"), "pid 8");
    }
}
