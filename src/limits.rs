//! Every bound of the datapath, with the reason for its value.

/// Destination, source, type: the least that can be switched. Shorter frames are malformed; from 14 to 59 bytes they
/// are forwarded as they are, because native_sim does not pad.
pub const MIN_FRAME: usize = 14;

/// The longest frame: what a 16-bit length can say, and more than any TAP hands over.
pub const MAX_FRAME: usize = 65_535;

/// What a stream may announce beyond [`MAX_FRAME`] and still be believed: so many bytes are passed over, and counted as
/// one frame that is too long. QEMU sends up to 69,632 bytes (NET_BUFSIZE of its include/net/net.h); text, and the
/// length of a short frame in the other byte order, say a hundred times more.
pub const SKIP_MAX: usize = 1 << 20;

/// Two VLAN tags (IEEE 802.1ad) may stand on top of a port's mtu.
pub const VLAN_ROOM: usize = 8;

/// Room for a length prefix in front of every frame of a batch, so that a stream port can send a run of frames, with
/// their prefixes, as one buffer.
pub const PREFIX: usize = 4;

/// The bytes of one breath. Small enough to stay in a second-level cache, large enough for two stream reads at least.
pub const BATCH_BYTES: usize = 448 * 1024;

/// The most that one port may add to a breath. A larger read gains nothing: what a chunk of 64 frames saves is most
/// of what can be saved.
pub const INHALE_BYTES: usize = 128 * 1024;

/// The same while a port is congested: any of the others may be about to send there too, and is paused only when it
/// has. What a thousand of them bring fits one queue.
pub const INHALE_BYTES_CONGESTED: usize = 8 * 1024;

/// What must be free in a batch before a port may inhale: the longest frame that waited for its end, and one more.
pub const INHALE_ROOM: usize = INHALE_BYTES + 16 * 1024;

/// The most frames that one descriptor read frame by frame (TAP, datagram) may add to a breath. The gain of draining
/// is had by then, and no other port waits longer than about 50 µs.
pub const INHALE_FRAMES: usize = 64;

/// Frames that wait in a port's queue unless `queue=` says otherwise: two breaths of 64-byte frames.
pub const QUEUE_FRAMES: usize = 8192;

/// The same for a serial line: some tenths of a second of an emulated UART. A long queue before a slow line is only delay.
pub const SERIAL_QUEUE_FRAMES: usize = 256;

/// The least of it, before the slowest of lines.
pub const SERIAL_QUEUE_FRAMES_MIN: usize = 16;

/// The most that `queue=` may ask for.
pub const QUEUE_FRAMES_MAX: usize = 1_000_000;

/// Bytes of frames that may wait in one port's queue.
pub const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// What all queues of a switch may cost together unless `queue-limit=` says otherwise. They take twice this at most, when
/// each frame takes just over half a segment.
pub const QUEUE_LIMIT: usize = 64 * 1024 * 1024;

/// The range of `queue-limit=`. A single queue gets half of it, which has to hold the longest frame.
pub const QUEUE_LIMIT_RANGE: std::ops::RangeInclusive<usize> = 256 * 1024..=1024 * 1024 * 1024;

/// What a frame that waits costs beside its bytes: its prefix and its entry in the segment's list.
pub const QUEUE_FRAME_COST: usize = 32;

/// Bytes of one segment of a queue: the longest frame fits.
pub const QUEUE_SEGMENT: usize = PREFIX + MAX_FRAME;

/// Bytes of the first segment of a queue. One for each of [`PORTS_MAX`] ports comes to [`QUEUE_LIMIT`].
pub const QUEUE_FIRST_SEGMENT: usize = 4096;

/// Empty segments that a switch keeps for its next queue, 4 MiB: what a few breaths into busy ports take.
pub const SPARE_SEGMENTS: usize = 64;

/// The same of first segments, 1 MiB.
pub const SPARE_FIRST_SEGMENTS: usize = 256;

/// Memory that growing queues leave to what cannot do without.
pub const QUEUE_RESERVE: usize = 4 * 1024 * 1024;

/// How long the sources of a congested port are paused at a stretch. If it has hardly taken anything by then, it counts
/// as stalled.
pub const PAUSE_MILLIS: u64 = 5;

/// A port that has no room for a frame and takes none of what waits for so long counts as stalled, also where nobody is
/// paused for it: where it is only flooded to. Longer than a full frame takes on a slow serial line.
pub const STALL_MILLIS: u64 = 1000;

/// Addresses that a switch learns unless `fdb-limit` says otherwise.
pub const FDB_LIMIT: usize = 65_536;

/// The most that `fdb-limit` may ask for: 32 MiB of table.
pub const FDB_LIMIT_MAX: usize = 1_048_576;

/// Seconds after which an address that was not seen is forgotten (IEEE 802.1Q-2022, table 8-6).
pub const AGEING_SECS: u64 = 300;

/// The range of ageing times of IEEE 802.1Q-2022, table 8-6, in seconds.
pub const AGEING_SECS_RANGE: std::ops::RangeInclusive<u64> = 10..=1_000_000;

/// Ports of one switch. An FDB entry names its port with 16 bits.
pub const PORTS_MAX: usize = 16_384;

/// Instances of one bench.
pub const INSTANCES_MAX: usize = 10_000;

/// Bytes of a configuration file.
pub const CONFIG_BYTES: usize = 16 << 20;

/// TCP connections through one gateway at once. Each has a descriptor. One guest may have seven eighths of them.
pub const NAT_TCP_FLOWS: usize = 8192;

/// UDP ports and pings of guests, and clients of UDP forwards, through one gateway at once. When there is one more, the
/// one that rests longest goes. One guest may have seven eighths of the ports and pings.
pub const NAT_DATAGRAM_FLOWS: usize = 2048;

/// Bytes that all TCP connections of one gateway hold together, but for 16 KiB that each may: 64 MiB are some sixty stalled
/// ones at full windows.
pub const NAT_MEMORY: usize = 64 << 20;

/// After this silence the other end of a gateway's TCP connection, a guest or a peer of the host, is asked whether it is
/// there. RFC 9293, 3.8.4 (MUST-28), wants two hours at least, and this deviates: a guest is a few links away, where a
/// question costs nothing and no line is dialled for it, and one that was switched off never says so, while its connection
/// keeps a place, a descriptor, and the memory of what was on its way.
pub const NAT_SILENCE: std::time::Duration = std::time::Duration::from_secs(600);

/// It is asked again in these pauses: a board may stand still in a debugger for a while.
pub const NAT_ASKED_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// How often it is asked.
pub const NAT_ASKED: u8 = 10;

/// Bytes of datagrams of guests that wait for their other fragments.
pub const NAT_FRAGMENTS: usize = 1 << 20;

/// After how long without a sign of life a connection's other end is given up, unless the user says otherwise: a USB
/// device of whoever vanished is then free for another.
pub const DEAD_PEER: std::time::Duration = std::time::Duration::from_secs(30);
