//! The memory limits of the process, and giving free memory back to the system.
//!
//! A process that asks for more than its limit is refused (`RLIMIT_AS`, `RLIMIT_DATA`: getrlimit(2)) or killed (the
//! memory.max of its control group: cgroups(7)). So a bound that is a constant elsewhere is also limited here to a part
//! of that limit.

use super::sys;
use rustix::process::{Resource, getrlimit};
use std::fs::read_to_string;
use std::path::Path;

/// One consumer may have this part of the process's memory: a quarter.
const PART: u64 = 4;

/// Blocks from this size on, those of queues among them, go back to the system as soon as they are freed.
const LARGE: i32 = 64 * 1024;

/// Has the allocator return large blocks to the system at once, for the whole process. To be called at a program's
/// start.
///
/// By default the C library reserves an arena of 64 MiB of addresses for every few threads, and maps a page for each
/// block of a thread without one: under a limit of the address space, all threads share one arena.
pub fn settle() {
    sys::return_blocks_of(LARGE);
    if getrlimit(Resource::As).current.is_some() {
        sys::share_one_arena();
    }
}

/// Watches a number of objects that come and go, and gives free memory back after a peak.
#[derive(Default)]
pub struct Peak(usize);

/// A peak of fewer objects gives nothing back.
const MANY: usize = 256;

impl Peak {
    /// Notes how many there are. When they fall to a quarter of the peak, free memory goes back to the system, which
    /// takes some milliseconds.
    pub fn note(&mut self, there_are: usize) {
        if self.falls_to(there_are) {
            sys::trim_memory();
        }
    }

    fn falls_to(&mut self, there_are: usize) -> bool {
        let over = self.0 >= MANY && there_are <= self.0 / 4;
        self.0 = if over { there_are } else { self.0.max(there_are) };
        over
    }
}

/// `wanted` bytes, or fewer if the limits of the process allow one consumer only so many.
pub fn share(wanted: usize) -> usize {
    let limit = [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current);
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit.chain(of_groups(&groups, Path::new("/sys/fs/cgroup"))).min().unwrap_or(u64::MAX);
    usize::try_from(limit / PART).unwrap_or(usize::MAX).min(wanted)
}

/// The least limit of the control groups that /proc/self/cgroup names, and of those that they are in: memory.max of
/// version 2 (`0::/PATH`), memory.limit_in_bytes of version 1 (`4:memory:/PATH`).
fn of_groups(groups: &str, root: &Path) -> Option<u64> {
    let limit = |line: &str| {
        let mut words = line.splitn(3, ':').skip(1);
        let (controllers, path) = (words.next()?, words.next()?.trim_start_matches('/'));
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            "memory" => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = root.join(path);
        let up = group.ancestors().take_while(|folder| folder.starts_with(&root));
        up.filter_map(|folder| read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok()).min()
    };
    groups.lines().filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("a/memory.max", "1000\n");
        put("a/b/memory.max", "max\n");
        put("c/memory.max", "3000\n");
        put("memory/a/memory.limit_in_bytes", "9223372036854771712\n");
        let limit = |groups: &str| of_groups(groups, root.path());
        assert_eq!(limit("0::/a/b\n"), Some(1000));
        assert_eq!(limit("0::/c\n"), Some(3000));
        assert_eq!(limit("4:memory:/a\n1:name=systemd:/c\n"), Some(9_223_372_036_854_771_712));
        assert_eq!(limit("4:memory:/a\n0::/c\n"), Some(3000));
        assert_eq!([limit("0::/none\n"), limit(""), limit("garbage")], [None; 3]);
    }

    #[test]
    fn memory_goes_back_once_after_each_peak() {
        let mut peak = Peak::default();
        let mut fell = |numbers: &[usize]| numbers.iter().filter(|&&number| peak.falls_to(number)).count();
        assert_eq!(fell(&[0, 10, 200, 0, 100, 0]), 0, "few");
        assert_eq!(fell(&[7000, 6000, 2000, 1750, 1000, 500, 0]), 2);
        assert_eq!(fell(&[0, 0, 10, 0]), 0);
    }

    #[test]
    fn a_share_is_never_more_than_what_is_wanted() {
        assert_eq!(share(1000), 1000);
        assert!(share(usize::MAX) <= usize::MAX / 4 + 1);
    }
}
