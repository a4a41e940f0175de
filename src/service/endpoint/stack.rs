//! The TCP below: one smoltcp interface, and one socket set for each connection.
//!
//! smoltcp looks at every socket of a set for every packet and on every poll. So each connection is a set of its own,
//! found by its addresses and ports before smoltcp sees the packet, and all of them share one interface: the cost of a
//! packet does not grow with the number of connections. The interface speaks bare IP (Ethernet, ARP and ND are ours)
//! and takes any destination address, as only packets to ours reach it.
//!
//! smoltcp takes the MSS from the interface. So connections with a smaller path MTU than the link's send by another
//! interface, of that MTU.

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::HardwareAddress;

use super::config::{EndpointConfig, Limits};
use super::scratch::Scratch;
use crate::service::path_mtu::LEAST_V4;
use crate::time::{Duration, Instant};

/// Path MTUs that have an interface each. Further ones share an interface of the next step below.
const INTERFACES: usize = 8;
/// Plateau MTUs (RFC 1191, 7.1; RFC 8200, 5).
const STEPS: [u16; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1280, 1006, 508, LEAST_V4];

/// The TCP of one connection: a socket set with one socket.
pub(super) struct Connection {
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// Its path MTU, if that is less than the link's.
    way: Option<u16>,
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
        Self { set, handle, way: None }
    }

    /// Sets its path MTU.
    pub fn narrow(&mut self, mtu: u16) {
        let mtu = mtu.max(LEAST_V4);
        self.way = Some(self.way.map_or(mtu, |way| way.min(mtu)));
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
    /// Interfaces for smaller path MTUs, each with its MTU.
    narrow: Vec<(u16, Interface)>,
    seed: u64,
    mtu: usize,
    nobody: SocketSet<'static>,
}

impl Stack {
    /// A stack for a checked configuration.
    pub fn new(config: &EndpointConfig) -> Self {
        let (seed, mtu, nobody) = (config.seed, config.mtu.into(), SocketSet::new(Vec::new()));
        Self { iface: interface(config.mtu, seed), narrow: Vec::new(), seed, mtu, nobody }
    }

    /// The interface for a path MTU, and its own MTU.
    fn narrow(&mut self, mtu: u16) -> (u16, &mut Interface) {
        let find = |all: &[(u16, Interface)], mtu| all.iter().position(|(of, _)| *of == mtu);
        let full = self.narrow.len() >= INTERFACES && find(&self.narrow, mtu).is_none();
        let mtu = if full { STEPS.into_iter().find(|step| *step <= mtu).unwrap_or(LEAST_V4) } else { mtu };
        let at = find(&self.narrow, mtu).unwrap_or_else(|| {
            self.narrow.push((mtu, interface(mtu, self.seed)));
            self.narrow.len() - 1
        });
        (mtu, &mut self.narrow[at].1)
    }

    /// Gives `connection` an IP packet with a TCP segment for it. An immediate answer is in `tx` afterwards.
    pub fn feed(&mut self, now: Instant, connection: &mut Connection, packet: &[u8], tx: &mut Scratch) {
        let mut device = Wire { mtu: self.mtu, rx: Some(packet), tx };
        self.iface.poll_ingress_single(smol(now), &mut device, &mut connection.set);
    }

    /// Refuses a TCP segment of no connection: a RST is in `tx` afterwards, unless it is one itself.
    pub fn refuse(&mut self, now: Instant, packet: &[u8], tx: &mut Scratch) {
        let mut device = Wire { mtu: self.mtu, rx: Some(packet), tx };
        self.iface.poll_ingress_single(smol(now), &mut device, &mut self.nobody);
    }

    /// Writes the next segment of `connection` into `tx`. `false`: there is none now.
    pub fn egress(&mut self, now: Instant, connection: &mut Connection, tx: &mut Scratch) -> bool {
        tx.clear();
        let link = self.mtu;
        let (mtu, iface) = match connection.way.filter(|way| usize::from(*way) < link) {
            Some(way) => {
                let (mtu, iface) = self.narrow(way);
                (mtu.into(), iface)
            }
            None => (link, &mut self.iface),
        };
        let mut device = Wire { mtu, rx: None, tx };
        let sent = iface.poll_egress(smol(now), &mut device, &mut connection.set);
        sent == PollResult::SocketStateChanged && !tx.is_empty()
    }

    /// When `connection` wants [`Self::egress`] next, after that had nothing. Never now: a socket that says so while it
    /// has nothing to send is polled a millisecond later, and cannot keep the endpoint spinning.
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

fn interface(mtu: u16, seed: u64) -> Interface {
    let mut smol = Config::new(HardwareAddress::Ip);
    smol.random_seed = seed;
    let mut device = Wire { mtu: mtu.into(), rx: None, tx: &mut Scratch::new(mtu) };
    let mut iface = Interface::new(smol, &mut device, SmolInstant::ZERO);
    iface.set_any_ip(true);
    iface
}

/// Our clock counts nanoseconds, smoltcp's microseconds.
fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The device of smoltcp's interface: at most one packet in, one packet out.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer with path MTUs of all lengths makes those of others no smaller than the next step.
    #[test]
    fn many_ways_make_none_much_shorter() {
        let addrs = vec!["192.0.2.1/24".parse().unwrap()];
        let mut stack = Stack::new(&EndpointConfig::new(crate::wire::Mac([2, 0, 0, 0, 0, 1]), addrs));
        (296..1280).for_each(|mtu| assert!(stack.narrow(mtu).0 * 2 > mtu, "{mtu}"));
        let others = [300, 1300, 1450, 1492].map(|mtu| stack.narrow(mtu).0);
        assert_eq!(others, [300, 1280, 1280, 1492]);
        assert!(stack.narrow.len() <= INTERFACES + STEPS.len());
    }
}
