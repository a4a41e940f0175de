//! A client that behaves badly: a process of its own, so that it can be killed and stopped. It connects, sends frames,
//! wrong lengths and halves of frames, reads now and then, leaves in the middle of something, and comes again.

use crate::random::Random;
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use support::Framing;
use support::frame::{BROADCAST, IPV4, Mac, ethernet, ipv4};

/// The client's place, and its seed, in the environment of the process.
pub const PLACE: &str = "ZBRIDGE_CHURN_CLIENT";
pub const SEED: &str = "ZBRIDGE_CHURN_SEED";
/// Stations that frames go to and come from: the test's own two are the first.
const STATIONS: u8 = 16;
const MOMENT: Duration = Duration::from_millis(1);
/// O_NONBLOCK (open(2), Linux on x86 and ARM).
const NONBLOCK: i32 = 0o4000;

/// How frames are put on a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    /// Length and frame.
    Stream,
    /// A frame is a packet.
    Packet,
    Line(Framing),
    /// IP packets in SLIP.
    Ip,
    /// The requests of a USB/IP client.
    Usb,
}

/// Never ends by itself.
pub fn run(place: &str, seed: u64) -> ! {
    let mut random = Random(seed);
    let (kind, place) = place.split_once(' ').expect("KIND PLACE");
    loop {
        let opened = match kind {
            "host" => host(place, &mut random),
            _ => open(kind, place).and_then(|(wire, mut end)| misbehave(wire, &mut end, &mut random)),
        };
        if opened.is_err() {
            std::thread::sleep(5 * MOMENT);
        }
    }
}

fn open(kind: &str, place: &str) -> io::Result<(Wire, (File, File))> {
    let wire = match kind {
        "stream" | "tcp" => Wire::Stream,
        "seq" | "gram" | "udp" => Wire::Packet,
        "slip" | "slip-tcp" | "slip-pty" => Wire::Line(Framing::Slip),
        "ip" => Wire::Ip,
        "usb" => Wire::Usb,
        _ => Wire::Line(Framing::UartPipe),
    };
    if kind == "slip-pty" || kind == "wpan-pipe" {
        let paths = if kind == "wpan-pipe" {
            ["in", "out"].map(|end| format!("{place}.{end}"))
        } else {
            [place, place].map(str::to_owned)
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(NONBLOCK);
        return Ok((wire, (options.open(&paths[0])?, options.open(&paths[1])?)));
    }
    let socket = match kind {
        "tcp" | "slip-tcp" | "usb" => connected(Domain::IPV4, Type::STREAM, &address(place).into())?,
        "udp" => {
            let (near, far) = place.split_once(' ').expect("NEAR FAR");
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.bind(&address(near).into())?;
            socket.connect(&address(far).into())?;
            socket
        }
        "gram" => {
            let own = format!("{place}.peer");
            // one that was killed leaves its name behind
            let _ = std::fs::remove_file(&own);
            let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
            socket.bind(&SockAddr::unix(&own)?)?;
            socket.connect(&SockAddr::unix(place)?)?;
            socket
        }
        "seq" => connected(Domain::UNIX, Type::SEQPACKET, &SockAddr::unix(place)?)?,
        _ => connected(Domain::UNIX, Type::STREAM, &SockAddr::unix(Path::new(place))?)?,
    };
    socket.set_nonblocking(true)?;
    let end = File::from(OwnedFd::from(socket));
    Ok((wire, (end.try_clone()?, end)))
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn connected(domain: Domain, kind: Type, to: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    socket.connect(to)?;
    if domain == Domain::IPV4 {
        // it ends by a reset, whatever is still on its way
        socket.set_linger(Some(Duration::ZERO))?;
    }
    Ok(socket)
}

/// The programs of a host with an interface: datagrams to everybody.
fn host(place: &str, random: &mut Random) -> io::Result<()> {
    let socket = UdpSocket::bind((place, 0))?;
    socket.set_broadcast(true)?;
    loop {
        let to = ["192.0.2.254:7", "192.0.2.255:7", "192.0.2.77:7"][random.below(3)];
        // an interface that is down, or nobody there: it goes on
        let _ = socket.send_to(&vec![random.byte(); random.below(3000)], to);
        std::thread::sleep(MOMENT * random.below(5) as u32);
    }
}

fn misbehave(wire: Wire, (input, output): &mut (File, File), random: &mut Random) -> io::Result<()> {
    let me = 3 + random.byte() % (STATIONS - 3);
    for _ in 0..1 + random.below(200) {
        let packets: Vec<Vec<u8>> = (0..1 + random.below(16)).map(|_| message(wire, me, random)).collect();
        if wire == Wire::Packet {
            packets.iter().try_for_each(|packet| write(output, packet, random))?;
        } else {
            write(output, &packets.concat(), random)?;
        }
        if random.one_in(50) {
            // half of something, and then it is gone
            let last = message(wire, me, random);
            return write(output, &last[..random.below(last.len())], random);
        }
        if random.one_in(2) {
            let mut room = vec![0; 1 + random.below(200_000)];
            match input.read(&mut room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        std::thread::sleep(MOMENT * random.below(30) as u32);
    }
    Ok(())
}

/// Writes all, unless the other side takes nothing for a while: then it may be left in the middle.
fn write(output: &mut File, mut bytes: &[u8], random: &mut Random) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if random.one_in(100) {
                    return Err(error);
                }
                std::thread::sleep(MOMENT);
            }
            // a datagram that nobody takes, or that is too long
            Err(error)
                if [Errno::MSGSIZE, Errno::NOBUFS].contains(&Errno::from_io_error(&error).unwrap_or(Errno::IO)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A frame as it goes on the wire, or something that is none.
fn message(wire: Wire, me: u8, random: &mut Random) -> Vec<u8> {
    let odd = random.one_in(100);
    match wire {
        Wire::Stream if odd => {
            let len = [0, 5, 13, 65_536, 70_000][random.below(5)];
            [&(len as u32).to_be_bytes()[..], &vec![0xee; len]].concat()
        }
        Wire::Stream => {
            let frame = frame(me, random);
            [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
        }
        Wire::Packet if odd => vec![0xee; random.below(14)],
        Wire::Packet => frame(me, random),
        Wire::Line(_) | Wire::Ip if odd => (0..random.below(600)).map(|_| random.byte()).collect(),
        Wire::Line(Framing::Slip) => Framing::Slip.encode(&frame(me, random)),
        Wire::Line(Framing::UartPipe) => {
            let data = vec![random.byte(); 1 + random.below(120)];
            Framing::UartPipe.encode(&[&[0x61, 0x88, 0, 0xcd, 0xab, 0xff, 0xff][..], &data].concat())
        }
        Wire::Ip => {
            let to = [[192, 0, 2, 254], [192, 0, 2, 255], [192, 0, 2, 77]][random.below(3)];
            Framing::Slip.encode(&ipv4(17, [192, 0, 2, 30].into(), to.into(), &vec![me; random.below(1400)]))
        }
        Wire::Usb => {
            let mut request = vec![1, 0x11, 0x80, if random.one_in(2) { 3 } else { 5 }, 0, 0, 0, 0];
            request.extend_from_slice(b"1-1");
            request.resize(40, if odd { 0xee } else { 0 });
            // a control transfer on the default endpoint, as if it were imported by now
            let words = [1, u32::from(random.byte()), 0x1_0001, 1, 0, 0, 18, 0, 0, 0, 0x8006_0001, 0x0000_1200];
            request.extend(words.iter().flat_map(|word: &u32| word.to_be_bytes()));
            request
        }
    }
}

/// A frame between two stations of few.
fn frame(me: u8, random: &mut Random) -> Vec<u8> {
    let station = |number| -> Mac { [2, 0, 0, 0, 0, number] };
    let to = if random.one_in(8) { BROADCAST } else { station(1 + random.byte() % STATIONS) };
    let from = if random.one_in(50) { [2, 0xaa, random.byte(), random.byte(), 0, 1] } else { station(me) };
    let len = if random.one_in(50) { 60_000 } else { [0, 10, 46, 400, 1500, 1500, 1500, 9000][random.below(8)] };
    ethernet(to, from, if random.one_in(4) { IPV4 } else { 0x88b5 }, &vec![me; len])
}
