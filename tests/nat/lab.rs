//! A guest on a switch whose way out is `nat:`, and the host it leads to: each a network namespace of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use support::{Launch, Namespace, PATIENCE, Process, eventually, zbridge};

/// The guest's addresses; the gateway's end in 2.
pub const GUEST: &str = "10.0.2.15";
pub const GUEST6: &str = "2001:db8::15";
pub const GATEWAY: &str = "10.0.2.2";
pub const GATEWAY6: &str = "2001:db8::2";
/// A third host, which the host has a way to.
pub const FAR: &str = "198.51.100.7";
pub const FAR6: &str = "2001:db8:99::7";

/// See the module.
pub struct Lab {
    // dropped in this order: what uses the namespaces goes before them
    pub zbridge: Process,
    pub guest: Namespace,
    pub host: Namespace,
    pub far: Namespace,
}

impl Lab {
    /// Starts zbridge on the host with `nat:10.0.2.2/24,ipv6=2001:db8::2/64` and `keys`.
    pub fn start(label: &str, keys: &str) -> Self {
        Self::start_with(label, keys, |launch| launch)
    }

    /// The same, started as `change` wants it.
    pub fn start_with(label: &str, keys: &str, change: impl FnOnce(Launch) -> Launch) -> Self {
        let (host, guest, far) = (Namespace::new(label), Namespace::new("guest"), Namespace::new("far"));
        host.veth("out", &far, "in");
        for (namespace, interface, last) in [(&host, "out", 1), (&far, "in", 7)] {
            namespace.ip(&format!("addr add 198.51.100.{last}/24 dev {interface}"));
            namespace.ip(&format!("addr add 2001:db8:99::{last}/64 dev {interface} nodad"));
        }
        host.check("echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range");
        let nat = format!("nat:10.0.2.2/24,ipv6=2001:db8::2/64{keys}");
        let zbridge = change(zbridge!("-p", "tap:zg", "-p", nat)).inside(&host).ready();
        // an interface may be moved while its descriptor stays with the switch
        host.ip(&format!("link set zg netns {}", guest.name()));
        guest.ip(&format!("addr add {GUEST}/24 dev zg"));
        guest.ip(&format!("addr add {GUEST6}/64 dev zg nodad"));
        guest.ip("link set zg up");
        guest.ip(&format!("route add default via {GATEWAY}"));
        // the gateway has advertised itself already, perhaps
        guest.ip(&format!("-6 route replace default via {GATEWAY6}"));
        eventually("the gateway answers", || guest.pings(GATEWAY).then_some(()));
        zbridge.wait_for("its interface is up again", PATIENCE);
        Self { zbridge, guest, host, far }
    }

    /// A listener of the host.
    pub fn listen(&self, addr: &str) -> TcpListener {
        listen(&self.host, addr)
    }

    /// A connection of the guest.
    pub fn connect(&self, addr: &str) -> std::io::Result<TcpStream> {
        let stream = self.guest.inside(|| TcpStream::connect(addr))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A connection of the guest to a listener on the host's loopback, and its other end.
    pub fn joined(&self, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let port = listener.local_addr().expect("an address").port();
        let guest = self.connect(&format!("{GATEWAY}:{port}")).expect("a connection through the gateway");
        let (host, _) = listener.accept().expect("a client");
        host.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        (guest, host)
    }
}

/// A listener in a namespace.
pub fn listen(namespace: &Namespace, addr: &str) -> TcpListener {
    namespace.inside(|| TcpListener::bind(addr)).expect("a listener")
}

/// A UDP socket in a namespace.
pub fn udp(namespace: &Namespace, addr: &str) -> UdpSocket {
    let socket = namespace.inside(|| UdpSocket::bind(addr)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Bytes that are the same for everybody, and nowhere repeat.
pub fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

/// Writes `bytes` and ends this direction.
pub fn pour(mut stream: &TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("all bytes are taken");
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
}

/// Everything to the end.
pub fn drink(mut stream: &TcpStream) -> Vec<u8> {
    let mut found = Vec::new();
    stream.read_to_end(&mut found).expect("an orderly end");
    found
}

/// Nothing comes within a moment.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    socket.recv_from(&mut [0; 16]).is_err()
}
