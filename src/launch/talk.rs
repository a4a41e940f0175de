//! The messages between caller and instance, in packets ([`crate::rights::packet`]). Each trusts the other.

use super::{Host, InterfaceKind, Interfaces, Namespace, Spec};
use crate::rights;
use crate::rights::Mode;
use crate::rights::packet::MOST_FDS;
pub use crate::rights::packet::{Fault, receive, send};
use crate::wire::Mac;
use serde::{Deserialize, Serialize};

/// Interfaces that a program can get. Beside them there is the netlink socket.
pub const MOST_LINKS: usize = MOST_FDS - 1;

/// A message of the caller. The program, its arguments and the environment are those of the instance's process.
#[derive(Serialize, Deserialize, Debug)]
pub enum Order {
    /// The first message: make this and start.
    Start(Box<Plan>),
    /// The interfaces are ports now.
    Attached,
    /// Send the program this signal.
    Signal(i32),
}

/// The network to make.
#[derive(Serialize, Deserialize, Debug)]
pub struct Plan {
    /// The program's name, given to DHCP servers.
    pub name: String,
    /// TAPs for the program to open.
    pub taps: Vec<String>,
    /// TUNs for it to open.
    pub tuns: Vec<String>,
    /// An interface for its own sockets.
    pub host: Option<Host>,
    /// Whether it stays in the caller's network namespace.
    pub shared: bool,
    /// Whether it gets a PID namespace.
    pub pids: bool,
    /// Whether the program keeps all rights.
    pub privileged: bool,
    /// See [`Spec::identity`].
    identity: String,
    /// Whether zbridge's own threads give up their rights, and whether what they are refused is only logged.
    confined: Option<bool>,
}

impl Plan {
    /// The network of `spec`.
    pub fn new(spec: &Spec, pids: bool) -> Self {
        let (interfaces, shared) = match &spec.namespace {
            Namespace::Own(interfaces) => (interfaces.clone(), false),
            Namespace::Shared => (Interfaces::default(), true),
        };
        let Interfaces { taps, tuns, host } = interfaces;
        let tuns = tuns.into_iter().map(|(name, _)| name).collect();
        let (name, identity) = (spec.name.clone(), spec.identity.clone());
        let confined = rights::policy().map(|policy| policy.mode == Mode::Log);
        Self { name, taps, tuns, host, shared, pids, privileged: spec.privileged, identity, confined }
    }

    /// The MAC address of an interface: the same at each start, whatever other interfaces the program has then.
    pub fn mac(&self, ifname: &str) -> Mac {
        Mac::made_of(&format!("{}/{ifname}", self.identity))
    }

    /// How zbridge's own threads are confined.
    pub fn sandbox(&self) -> Mode {
        match self.confined {
            None => Mode::Off,
            Some(true) => Mode::Log,
            Some(false) => Mode::On,
        }
    }
}

/// A message of stage or init.
#[derive(Serialize, Deserialize, Debug)]
pub enum Report {
    /// The network is made. With the message come a descriptor for each interface, and a netlink socket.
    Ready(Vec<(String, InterfaceKind)>),
    /// The init waits until the interfaces are ports; then it asks for an address, if need be, and starts the program.
    Waiting,
    /// Something failed, and it goes on without.
    Warning(Fault),
    /// The program runs.
    Running,
    /// It has made another interface; the message carries the descriptor.
    Interface(String, InterfaceKind),
    /// Nothing runs, for this reason.
    Failed(Fault),
    /// Nothing runs: /proc cannot be mounted for a PID namespace.
    NoProc,
    /// The program has ended, with this wait status (wait(2)).
    Ended(i32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Error};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn words_and_descriptors_arrive_together() {
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (near, far) = pair.unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let links = vec![("zeth".to_owned(), InterfaceKind::Packet); MOST_LINKS];
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
        // what it has not read itself does not take along what it has said
        send(&near, &Report::Ended(9), &[]).unwrap();
        send(&far, &Order::Attached, &[]).unwrap();
        drop(near);
        assert!(matches!(receive(&far).unwrap(), Some((Report::Ended(9), _))));
        assert!(receive::<Report>(&far).unwrap().is_none());
        assert!(send(&far, &Order::Signal(15), &[]).is_err());
    }
}
