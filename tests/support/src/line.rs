//! The other end of a serial line: SLIP or 802.15.4 `uart_pipe`, on a socket, a terminal or two FIFOs.
//!
//! Both framings are written down here once more, byte by byte, so that a mistake in zbridge's cannot hide.

use crate::eventually;
use crate::peer::{Peer, Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How frames are told apart on a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// RFC 1055: C0 ends a frame; inside it is DB DC, and DB is DB DD.
    Slip,
    /// Zephyr's `uart_pipe`: F0, length, frame.
    UartPipe,
}

impl Framing {
    /// The frame as it goes on the line.
    pub fn encode(self, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::UartPipe => [&[0xf0, u8::try_from(frame.len()).expect("a short frame")], frame].concat(),
            Self::Slip => {
                let mut line = vec![0xc0];
                for octet in frame {
                    match octet {
                        0xc0 => line.extend([0xdb, 0xdc]),
                        0xdb => line.extend([0xdb, 0xdd]),
                        other => line.push(*other),
                    }
                }
                line.push(0xc0);
                line
            }
        }
    }

    /// Takes a whole frame off the front of what came.
    fn take(self, came: &mut Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::UartPipe => {
                let (&[start, length], rest) = came.split_first_chunk::<2>()?;
                assert_eq!(start, 0xf0, "a frame begins with F0");
                let frame = rest.get(..length.into())?.to_vec();
                came.drain(..2 + frame.len());
                Some(frame)
            }
            Self::Slip => {
                let start = came.iter().position(|octet| *octet != 0xc0)?;
                let length = came[start..].iter().position(|octet| *octet == 0xc0)?;
                let mut frame = Vec::new();
                let mut octets = came[start..start + length].iter();
                while let Some(octet) = octets.next() {
                    frame.push(match octet {
                        0xdb => match octets.next() {
                            Some(0xdc) => 0xc0,
                            Some(0xdd) => 0xdb,
                            other => panic!("DB is followed by DC or DD, not {other:02x?}"),
                        },
                        other => *other,
                    });
                }
                came.drain(..=start + length);
                Some(frame)
            }
        }
    }
}

/// A device on a serial line.
#[derive(Debug)]
pub struct LinePeer {
    framing: Framing,
    input: File,
    output: File,
    came: Vec<u8>,
}

const NONBLOCK: i32 = 0o4000;

impl LinePeer {
    /// On two descriptors that do not block.
    fn new(framing: Framing, input: OwnedFd, output: OwnedFd) -> Self {
        Self { framing, input: input.into(), output: output.into(), came: Vec::new() }
    }

    /// On a connected UNIX socket.
    pub fn on(framing: Framing, socket: UnixStream) -> Self {
        socket.set_nonblocking(true).expect("an option of the socket");
        let other = socket.try_clone().expect("a descriptor");
        Self::new(framing, socket.into(), other.into())
    }

    /// Connects to the UNIX socket at `path`, as soon as somebody listens there.
    pub fn unix(framing: Framing, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        Self::on(framing, eventually(&format!("connecting to {}", path.display()), || UnixStream::connect(path).ok()))
    }

    /// Connects to `address`, as soon as somebody listens there.
    pub fn tcp(framing: Framing, address: SocketAddr) -> Self {
        Self::on_tcp(framing, eventually(&format!("connecting to {address}"), || TcpStream::connect(address).ok()))
    }

    /// On a TCP connection.
    pub fn on_tcp(framing: Framing, stream: TcpStream) -> Self {
        stream.set_nonblocking(true).expect("an option of the socket");
        let other = stream.try_clone().expect("a descriptor");
        Self::new(framing, stream.into(), other.into())
    }

    /// On an open file that does not block.
    pub fn on_file(framing: Framing, file: File) -> Self {
        let other = file.try_clone().expect("a descriptor");
        Self::on_files(framing, file, other)
    }

    /// On a file to read from and one to write to. One that blocks, blocks the test.
    pub fn on_files(framing: Framing, input: File, output: File) -> Self {
        Self { framing, input, output, came: Vec::new() }
    }

    /// Opens a terminal or another device.
    pub fn device(framing: Framing, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(NONBLOCK);
        let file = eventually(&format!("opening {}", path.display()), || options.open(path).ok());
        let other = file.try_clone().expect("a descriptor");
        Self::new(framing, file.into(), other.into())
    }

    /// Opens the FIFOs `path.in` and `path.out` as QEMU's `-serial pipe:` does: both to read and to write, the first to
    /// be read.
    pub fn fifos(framing: Framing, path: impl std::fmt::Display) -> Self {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(NONBLOCK);
        let [input, output] = ["in", "out"].map(|end| {
            let path = format!("{path}.{end}");
            eventually(&format!("opening {path}"), || options.open(&path).ok())
        });
        Self::new(framing, input.into(), output.into())
    }

    /// Sends octets as they are: noise, half a frame.
    ///
    /// # Panics
    /// If the line does not take them for a while.
    pub fn send_raw(&mut self, octets: &[u8]) {
        self.write(octets).unwrap_or_else(|error| panic!("sending {} octets: {error}", octets.len()));
    }

    fn write(&mut self, mut octets: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !octets.is_empty() {
            match self.output.write(octets) {
                Ok(sent) => octets = &octets[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    wait(&self.output, PollFlags::OUT, Duration::from_millis(100));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn wait(file: &File, flags: PollFlags, time: Duration) {
    let time = Timespec::try_from(time).expect("a short time");
    // Whatever it says, the caller looks for itself.
    let _ = poll(&mut [PollFd::new(file, flags)], Some(&time));
}

impl Peer for LinePeer {
    fn try_send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.write(&self.framing.encode(frame))
    }

    fn receive(&mut self, timeout: Duration) -> Received {
        let deadline = Instant::now() + timeout;
        let mut room = vec![0; 65_536];
        loop {
            if let Some(frame) = self.framing.take(&mut self.came) {
                return Received::Frame(frame);
            }
            match self.input.read(&mut room) {
                Ok(0) => return Received::Closed,
                Ok(len) => self.came.extend(&room[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Received::Nothing;
                    }
                    wait(&self.input, PollFlags::IN, left);
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Received::Closed,
                Err(error) => panic!("receiving: {error}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framings_are_the_standards() {
        assert_eq!(Framing::Slip.encode(&[1, 0xc0, 0xdb]), [0xc0, 1, 0xdb, 0xdc, 0xdb, 0xdd, 0xc0]);
        assert_eq!(Framing::UartPipe.encode(&[7, 8]), [0xf0, 2, 7, 8]);
        for framing in [Framing::Slip, Framing::UartPipe] {
            let frames = [vec![0xc0, 0xdb, 0xf0], vec![0; 127]];
            let mut came = frames.iter().flat_map(|frame| framing.encode(frame)).collect();
            for frame in frames {
                assert_eq!(framing.take(&mut came), Some(frame));
            }
            assert_eq!(framing.take(&mut came), None);
        }
    }
}
