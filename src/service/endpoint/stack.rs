//! The TCP below: one smoltcp interface, and one socket set for each connection.
//!
//! smoltcp looks at every socket of a set for every packet and on every poll. So each connection is a set of its own,
//! found by its addresses and ports before smoltcp sees the packet, and all of them share one interface: the cost of a
//! packet does not grow with the number of connections. The interface speaks bare IP (Ethernet, ARP and ND are ours)
//! and takes any destination address, for what reaches it has been found to be ours.

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::HardwareAddress;

use super::config::{EndpointConfig, Limits};
use super::scratch::Scratch;
use crate::time::{Duration, Instant};

/// The TCP of one connection: a socket set with one socket.
pub(super) struct Connection {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

impl Connection {
    /// A closed socket: Nagle off, acknowledgements not delayed, keep-alive on, CUBIC, both buffers of `limits.window`.
    /// The buffers are asked for zeroed: the system backs such pages when they are first touched.
    pub fn new(limits: &Limits) -> Self {
        let buffer = || SocketBuffer::new(vec![0; limits.window]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_keep_alive(Some(limits.keep_alive.into()));
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self { set, handle }
    }

    pub fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    pub fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }
}

/// See the module.
pub(super) struct Stack {
    iface: Interface,
    mtu: usize,
    nobody: SocketSet<'static>,
}

impl Stack {
    /// A stack for a checked configuration.
    pub fn new(config: &EndpointConfig) -> Self {
        let mtu = usize::from(config.mtu);
        let mut smol = Config::new(HardwareAddress::Ip);
        smol.random_seed = config.seed;
        let mut device = Wire { mtu, rx: None, tx: &mut Scratch::new(config.mtu) };
        let mut iface = Interface::new(smol, &mut device, SmolInstant::ZERO);
        iface.set_any_ip(true);
        Self { iface, mtu, nobody: SocketSet::new(Vec::new()) }
    }

    /// Gives `connection` an IP packet with a TCP segment for it. An immediate answer is in `tx` afterwards.
    pub fn feed(&mut self, now: Instant, connection: &mut Connection, packet: &[u8], tx: &mut Scratch) {
        let mut device = Wire { mtu: self.mtu, rx: Some(packet), tx };
        self.iface.poll_ingress_single(smol(now), &mut device, &mut connection.set);
    }

    /// Refuses an IP packet with a TCP segment that is nobody's: a RST is in `tx` afterwards, unless it is one itself.
    pub fn refuse(&mut self, now: Instant, packet: &[u8], tx: &mut Scratch) {
        let mut device = Wire { mtu: self.mtu, rx: Some(packet), tx };
        self.iface.poll_ingress_single(smol(now), &mut device, &mut self.nobody);
    }

    /// Writes the next segment of `connection` into `tx`. `false`: there is none now.
    pub fn egress(&mut self, now: Instant, connection: &mut Connection, tx: &mut Scratch) -> bool {
        tx.clear();
        let mut device = Wire { mtu: self.mtu, rx: None, tx };
        let sent = self.iface.poll_egress(smol(now), &mut device, &mut connection.set);
        sent == PollResult::SocketStateChanged && !tx.is_empty()
    }

    /// When `connection` wants [`Self::egress`] next, after that had nothing. Never now: a socket that says so while it
    /// has nothing to send is asked again a millisecond later, and cannot keep the endpoint spinning.
    pub fn deadline(&mut self, now: Instant, connection: &Connection) -> Option<Instant> {
        let at = self.iface.poll_at(smol(now), &connection.set)?;
        let at = Instant::ZERO + Duration::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        Some(at.max(now + Duration::from_millis(1)))
    }

    /// Makes `connection` open a connection. `false`: the addresses do not allow it.
    pub fn connect(
        &mut self,
        connection: &mut Connection,
        local: std::net::SocketAddr,
        remote: std::net::SocketAddr,
    ) -> bool {
        let context = self.iface.context();
        connection.set.get_mut::<Socket>(connection.handle).connect(context, remote, local).is_ok()
    }
}

/// Our clock counts nanoseconds, smoltcp's microseconds.
fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// What smoltcp takes for its device: at most one packet in, one packet out.
struct Wire<'a> {
    mtu: usize,
    rx: Option<&'a [u8]>,
    tx: &'a mut Scratch,
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Slot<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received<'_>, Slot<'_>)> {
        Some((Received(self.rx.take()?), Slot(self.tx)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Slot<'_>> {
        Some(Slot(self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

struct Slot<'a>(&'a mut Scratch);

impl TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        write(self.0.start(len))
    }
}
