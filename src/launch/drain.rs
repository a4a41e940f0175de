//! Waits for the acknowledgement of TCP data that a program has sent last.
//!
//! On a machine of its own the kernel goes on sending when the program has ended. Here the sockets end with the network
//! namespace, and that with its last process. So the init stays for a moment, until all data in flight is acknowledged,
//! or no more acknowledgements come.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long it stays at most, and how long while nothing is acknowledged: less than the grace period of a program.
const MOST: Duration = Duration::from_millis(4000);
const STALLED: Duration = Duration::from_millis(2000);
/// Pauses between two checks, the first and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// States of a connection in /proc/net/tcp (the kernel's include/net/tcp_states.h) in which nothing was sent yet.
const SYN_SENT: u8 = 2;
const SYN_RECEIVED: u8 = 3;
const LISTEN: u8 = 10;

/// Waits until all data sent from this network namespace is acknowledged, but not for ever; and not once `caller` is
/// readable: it wants an end, or has ended.
pub fn wait(caller: &impl AsFd) {
    let begun = Instant::now();
    let (mut left, mut since, mut pause) = (unacknowledged(), begun, FIRST_PAUSE);
    while left > 0 && begun.elapsed() < MOST && since.elapsed() < STALLED {
        let timeout = Timespec::try_from(pause).ok();
        let silent = matches!(poll(&mut [PollFd::new(caller, PollFlags::IN)], timeout.as_ref()), Ok(0));
        if !silent {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        let now = unacknowledged();
        if std::mem::replace(&mut left, now) != now {
            since = Instant::now();
        }
    }
}

/// Bytes in the send queues of this network namespace's connections: unsent or unacknowledged.
fn unacknowledged() -> u64 {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    tables.into_iter().map(|path| of_table(&fs::read_to_string(path).unwrap_or_default())).sum()
}

/// The same for a table:
fn of_table(table: &str) -> u64 {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(3);
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        let sent = u64::from_str_radix(words.next()?.split_once(':')?.0, 16).ok()?;
        (!matches!(state, SYN_SENT | SYN_RECEIVED | LISTEN)).then_some(sent)
    };
    table.lines().skip(1).filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000007:00000003 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0F02000A:8000 0202000A:0050 04 0000A001:00000000 01:00000014 00000000     0        0 0 2 0 20 4 30 10 -1
   2: 0F02000A:8001 0202000A:0050 02 00000001:00000000 01:00000014 00000000     0        0 3 2 0 20 4 30 10 -1
   3: 0F02000A:8002 0202000A:0050 09 00000001:00000000 01:00000014 00000000     0        0 0 2 0 20 4 30 10 -1
   4: 0F02000A:8003 0202000A:0050 06 00000000:00000000 03:00000F00 00000000     0        0 0 3 0
a line of something else
";

    #[test]
    fn what_is_on_its_way_is_counted() {
        assert_eq!(of_table(TABLE), 0xa002);
        assert_eq!(of_table(""), 0);
    }

    #[test]
    fn a_table_of_the_kernel_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
        sender.set_nonblocking(true).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let mut sent = 0;
        while let Ok(count) = sender.write(&[7; 65_536]) {
            sent += count;
        }
        drop(sender);
        assert!(unacknowledged() > 0);
        // A caller that has something to say is not kept waiting.
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"end").unwrap();
        wait(&ours);
        let mut all = Vec::new();
        receiver.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), sent);
    }
}
