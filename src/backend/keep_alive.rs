//! How a TCP connection of the machine finds out that its other end has vanished.
//!
//! Whoever ends a connection says so with a FIN or a RST; a machine that has lost its power or its cable says nothing.
//! So an idle connection is probed, and the kernel gives it up when nobody answers (tcp(7)). Probes are not sent while
//! data waits for its acknowledgement; how long that may take is TCP_USER_TIMEOUT (RFC 5482).

use socket2::{Domain, SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;

/// A connection is probed after so long without a byte, and so long after the last probe.
const PROBE: Duration = Duration::from_secs(5);
/// Probes without an answer that end a connection: 30 s after the last byte.
const PROBES: u32 = 5;
/// How long data may wait for its acknowledgement. The last byte may be sent just before the probes would have ended the
/// connection, and then twice this is the longest that a peer can be gone unseen: 30 s.
const UNHEARD: Duration = Duration::from_secs(15);

/// Has `socket` probed when it is idle, if it is one of TCP. With `must_read` a peer that acknowledges nothing, or that
/// keeps its window shut, is given up after [`UNHEARD`]; without, it may leave unread what was sent for as long as it
/// answers.
///
/// # Errors
/// The system does not take the options.
pub(super) fn watch(socket: SockRef, must_read: bool) -> io::Result<()> {
    if socket.domain()? == Domain::UNIX {
        return Ok(());
    }
    let probes = TcpKeepalive::new().with_time(PROBE).with_interval(PROBE).with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    if must_read { socket.set_tcp_user_timeout(Some(UNHEARD)) } else { Ok(()) }
}
