//! What caller and instance say to each other: JSON in packets of a UNIX SOCK_SEQPACKET socket, descriptors beside it
//! (SCM_RIGHTS). Both are the same program, so there is one version of it; each believes the other.

use super::{Host, LinkKind, Network};
use crate::error::{Class, Error, Result, STATUSES};
use crate::wire::{Cidr, Mac};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Interfaces that a program can get.
pub const MOST_LINKS: usize = 32;

/// Descriptors beside one packet: those of the links, and the netlink socket.
const MOST_FDS: usize = MOST_LINKS + 1;

/// The longest packet.
const PACKET: usize = 64 * 1024;

/// What the caller says. The program and its arguments are the process's own; the environment too.
#[derive(Serialize, Deserialize, Debug)]
pub enum Order {
    /// The first: make this and start.
    Start(Plan),
    /// Send the program this signal.
    Signal(i32),
}

/// The network to make.
#[derive(Serialize, Deserialize, Debug)]
pub struct Plan {
    /// TAPs for the program to open.
    pub taps: Vec<String>,
    /// An interface for its own sockets.
    pub host: Option<PlannedHost>,
    /// Whether it stays in the caller's network namespace.
    pub shared: bool,
    /// Whether it gets a PID namespace.
    pub pids: bool,
}

/// [`Host`] as it is sent.
#[derive(Serialize, Deserialize, Debug)]
pub struct PlannedHost {
    addrs: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    dns: Vec<IpAddr>,
    mtu: Option<u32>,
    mac: Option<[u8; 6]>,
    dhcp: Option<String>,
}

impl Plan {
    /// What to make of `network`.
    pub fn new(network: &Network, pids: bool) -> Self {
        let taps = if let Network::Taps(names) = network { names.clone() } else { Vec::new() };
        let host = if let Network::Host(host) = network { Some(host) } else { None };
        let host = host.map(|host| PlannedHost {
            addrs: host.addrs.iter().map(|cidr| (cidr.addr, cidr.prefix)).collect(),
            gateways: host.gateways.clone(),
            dns: host.dns.clone(),
            mtu: host.mtu,
            mac: host.mac.map(|mac| mac.0),
            dhcp: host.dhcp.clone(),
        });
        Self { taps, host, shared: *network == Network::Shared, pids }
    }
}

impl From<PlannedHost> for Host {
    fn from(host: PlannedHost) -> Self {
        let addrs = host.addrs.into_iter().map(|(addr, prefix)| Cidr { addr, prefix }).collect();
        let mac = host.mac.map(Mac);
        Self { addrs, gateways: host.gateways, dns: host.dns, mtu: host.mtu, mac, dhcp: host.dhcp }
    }
}

/// What stage and init say.
#[derive(Serialize, Deserialize, Debug)]
pub enum Report {
    /// The network is made. Beside it: a descriptor for each of these, and a netlink socket.
    Ready(Vec<(String, LinkKind)>),
    /// It asks the network for an address: the interfaces must be ports by now.
    Asking,
    /// What it goes on without.
    Warning(Fault),
    /// The program runs.
    Running,
    /// Nothing runs, for this reason.
    Failed(Fault),
    /// Nothing runs: /proc cannot be mounted for a PID namespace.
    NoProc,
    /// The program has ended, with this wait status (wait(2)).
    Ended(i32),
}

/// An [`Error`], and the exit status that tells it, as they are sent.
#[derive(Serialize, Deserialize, Debug)]
pub struct Fault {
    class: u8,
    what: String,
    hint: Option<String>,
    /// See [`super::NotStarted`].
    pub status: u8,
}

impl Fault {
    /// To be sent.
    pub fn new(error: &Error, status: u8) -> Self {
        let hint = error.advice().map(ToOwned::to_owned);
        Self { class: error.class().code(), what: error.what().to_owned(), hint, status }
    }

    /// As it was before.
    pub fn error(&self) -> Error {
        let class = STATUSES.iter().find(|row| row.code == self.class).map_or(Class::Runtime, |row| row.class);
        let error = Error::new(class, &self.what);
        match &self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Sends `what`, with `fds` beside it.
///
/// # Errors
/// The other end is gone.
pub fn send(socket: impl AsFd, what: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let failed = |cause: std::io::Error| Error::system("the instance", &cause);
    let bytes = serde_json::to_vec(what).map_err(|error| failed(error.into()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(failed(Errno::MSGSIZE.into()));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL).map_err(|errno| failed(errno.into()))?;
    Ok(())
}

/// Receives what the other end says, and the descriptors beside it; `None` when it is gone. Waits for it, unless the
/// socket does not.
///
/// # Errors
/// EAGAIN, and EPROTO for what is not understood.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>, Errno> {
    let mut room = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let len = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut room)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // Its other end was closed with something unread in it.
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?.bytes,
        }
    };
    if len == 0 {
        return Ok(None);
    }
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    let what = serde_json::from_slice(room.get(..len).unwrap_or_default()).map_err(|_| Errno::PROTO)?;
    Ok(Some((what, fds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn words_and_descriptors_arrive_together() {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (near, far) = pair.unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let links = vec![("zeth".to_owned(), LinkKind::Packet); MOST_LINKS];
        let fds = vec![reader.as_fd(); MOST_FDS];
        send(&near, &Report::Ready(links.clone()), &fds).unwrap();
        let Some((Report::Ready(got), beside)) = receive(&far).unwrap() else { panic!("something else") };
        assert_eq!((got, beside.len()), (links, MOST_FDS));
        drop((beside, reader));
        assert!(rustix::io::write(&writer, b"x").is_err(), "no descriptor is left");

        let hint = Error::new(Class::Permission, "no").hint("yes");
        send(&near, &Report::Failed(Fault::new(&hint, 126)), &[]).unwrap();
        let Some((Report::Failed(fault), _)) = receive(&far).unwrap() else { panic!("something else") };
        assert_eq!((fault.error(), fault.status), (hint, 126));
        drop(near);
        assert!(receive::<Report>(&far).unwrap().is_none());
        assert!(send(&far, &Order::Signal(15), &[]).is_err());
    }
}
