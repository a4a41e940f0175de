//! Keep-alive probes: how a TCP connection of the machine detects that its other end has vanished.
//!
//! A connection ends with a FIN or a RST, but not when a machine loses its power or its cable. So an idle connection is
//! probed, and the kernel gives it up when no answer comes (tcp(7)). Probes are not sent while data waits for its
//! acknowledgement; the timeout of that is TCP_USER_TIMEOUT (RFC 5482).

use socket2::{Domain, SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;

/// A connection is probed after so long without a byte, and so long after the last probe, unless there is patience for
/// more probes than the system sends.
const PROBE: Duration = Duration::from_secs(5);
/// The largest number of unanswered probes that end a connection (MAX_TCP_KEEPCNT of the kernel is 127).
const MOST_PROBES: u32 = 120;

/// Has `socket` probed when it is idle, if it is one of TCP, and given up when its other end was not heard of for
/// `patience`, from 1 s to a day. With `must_read` a peer that acknowledges nothing, or that keeps its window shut, is
/// given up, too: after half of it, since the last byte may be sent just before the probes would have ended the
/// connection. Without, it may leave unread what was sent for as long as it answers.
///
/// # Errors
/// The system does not take the options.
pub(super) fn watch(socket: SockRef, must_read: bool, patience: Duration) -> io::Result<()> {
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    let every = PROBE.min(patience / 3).max(patience / MOST_PROBES).max(Duration::from_secs(1));
    let probes = (patience.as_secs() / every.as_secs()).saturating_sub(1).clamp(1, u64::from(MOST_PROBES));
    let keep_alive = TcpKeepalive::new().with_time(every).with_interval(every);
    socket.set_tcp_keepalive(&keep_alive.with_retries(probes as u32))?;
    if must_read { socket.set_tcp_user_timeout(Some(patience / 2)) } else { Ok(()) }
}

/// Has the kernel probe now, if it has heard nothing for a second, and then every second of silence.
///
/// # Errors
/// The system does not take the option.
pub(super) fn probe(socket: SockRef) -> io::Result<()> {
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(1)))
}
