//! The resolvers of the host, as resolv.conf(5) lists them; read again when the file has changed.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Their file.
const FILE: &str = "/etc/resolv.conf";
/// The port of a resolver.
const PORT: u16 = 53;
/// The most that are asked (resolv.conf(5), MAXNS).
const MOST: usize = 3;

/// See the module.
pub(super) struct Resolvers {
    file: PathBuf,
    read: Option<SystemTime>,
    list: Vec<SocketAddr>,
}

impl Default for Resolvers {
    fn default() -> Self {
        Self::of(Path::new(FILE))
    }
}

impl Resolvers {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), read: None, list: Vec::new() }
    }

    /// The resolvers as they are now.
    pub fn list(&mut self) -> Vec<SocketAddr> {
        let changed = fs::metadata(&self.file).and_then(|meta| meta.modified()).ok();
        if changed.is_none() || changed != self.read {
            self.read = changed;
            self.list = parse(&fs::read_to_string(&self.file).unwrap_or_default());
        }
        self.list.clone()
    }
}

/// Reads `nameserver ADDR` lines. Without any, the host itself is asked.
fn parse(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::split_ascii_whitespace);
    let addrs = lines.filter_map(|mut words| (words.next() == Some("nameserver")).then(|| words.next()).flatten());
    let mut list: Vec<SocketAddr> = addrs.filter_map(addr).take(MOST).collect();
    if list.is_empty() {
        list.push((IpAddr::from([127, 0, 0, 1]), PORT).into());
    }
    list
}

/// An address; an IPv6 link-local one may have its interface behind a percent sign.
fn addr(text: &str) -> Option<SocketAddr> {
    let Some((addr, interface)) = text.split_once('%') else {
        return Some((text.parse::<IpAddr>().ok()?, PORT).into());
    };
    let addr: Ipv6Addr = addr.parse().ok()?;
    let index = rustix::net::netdevice::name_to_index(
        socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).ok()?,
        interface,
    )
    .ok()?;
    Some(SocketAddrV6::new(addr, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_is_meant() {
        let text = "# nameserver 192.0.2.9\nsearch lab\nnameserver\t192.0.2.1 # first\n nameserver 2001:db8::1\n\
                    nameserver bad\nnameserver fe80::1%lo\nnameserver 192.0.2.4\n";
        let list: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(list, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
        assert_eq!(parse("search lab\n")[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        let mut resolvers = Resolvers::of(&file);
        assert_eq!(resolvers.list()[0].to_string(), "127.0.0.1:53");
        fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(resolvers.list()[0].to_string(), "192.0.2.1:53");
        fs::write(&file, "nameserver 192.0.2.2\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(resolvers.list()[0].to_string(), "192.0.2.2:53");
    }
}
