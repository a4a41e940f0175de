//! Configuration of an endpoint: its addresses and its limits.

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::time::Duration;
use crate::wire::{Cidr, Mac};

/// Smallest MTU: what IPv6 demands of every link (RFC 8200, section 5).
pub const MIN_MTU: u16 = 1280;
/// The MTU of an Ethernet without jumbo frames.
pub const DEFAULT_MTU: u16 = 1500;
/// Most addresses of one endpoint, its own link-local address not counted.
pub const MAX_ADDRS: usize = 64;
/// Largest window of a connection, in bytes. TCP itself ends at 1 GiB (RFC 7323, section 2.3).
pub const MAX_WINDOW: usize = 64 << 20;

/// Addresses and limits of an endpoint.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Its MAC address: unicast, not zero.
    pub mac: Mac,
    /// Its addresses and the networks they are in, up to [`MAX_ADDRS`]. An IPv6 link-local address is made from the
    /// MAC (RFC 4291, appendix A) and need not be given.
    pub addrs: Vec<Cidr>,
    /// Default routers, at most one of each family, each in one of the networks (or an IPv6 link-local address).
    pub gateways: Vec<IpAddr>,
    /// Whether it sets the router flag of its advertisements (RFC 4861, section 4.4): without it a host drops a default
    /// route through it.
    pub router: bool,
    /// Largest IP packet, in bytes: [`MIN_MTU`] to 65,535.
    pub mtu: u16,
    /// Seed of sequence numbers, ephemeral ports and hash keys. The same seed and the same input give the same output;
    /// a running endpoint takes it from the system's random source.
    pub seed: u64,
    /// Its limits.
    pub limits: Limits,
}

impl EndpointConfig {
    /// An endpoint with no gateway, MTU 1500, seed 0 and the default limits.
    pub fn new(mac: Mac, addrs: Vec<Cidr>) -> Self {
        Self { mac, addrs, gateways: Vec::new(), router: false, mtu: DEFAULT_MTU, seed: 0, limits: Limits::default() }
    }
}

/// Limits and timeouts of an endpoint.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// TCP connections at once. The next one is refused with a RST.
    pub connections: usize,
    /// TCP connections at once from one address. The next one is refused with a RST.
    pub per_source: usize,
    /// Receive and send buffer of a connection, in bytes each: its window. The memory is reserved when the connection
    /// is made; the system backs only the pages that data has been through.
    pub window: usize,
    /// Neighbours (ARP and ND) remembered.
    pub neighbours: usize,
    /// A quiet connection is probed this often.
    pub keep_alive: Duration,
    /// A peer that has not answered for this long is dead.
    pub dead_after: Duration,
    /// A connection has this long for its handshake when the peer opens it.
    pub handshake: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_source: 128,
            window: 1 << 20,
            neighbours: 1024,
            keep_alive: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
        }
    }
}

impl EndpointConfig {
    /// Refuses a configuration that cannot work, or that smoltcp does not bear.
    pub(super) fn check(&self) -> Result<()> {
        if self.mac.is_group() || self.mac == Mac::default() {
            return Err(Error::usage(format!("mac={}: an endpoint needs a unicast MAC address", self.mac)));
        }
        if self.mtu < MIN_MTU {
            return Err(Error::usage(format!("mtu={}: too small for IPv6", self.mtu))
                .hint(format!("{MIN_MTU} is the least, {DEFAULT_MTU} usual, 9000 possible")));
        }
        if self.addrs.len() > MAX_ADDRS {
            return Err(Error::usage(format!("{} addresses: at most {MAX_ADDRS}", self.addrs.len())));
        }
        for cidr in &self.addrs {
            check_addr(cidr)?;
        }
        for (at, gateway) in self.gateways.iter().enumerate() {
            self.check_gateway(*gateway, &self.gateways[..at])?;
        }
        self.limits.check()
    }

    fn check_gateway(&self, gateway: IpAddr, before: &[IpAddr]) -> Result<()> {
        let link_local = matches!(gateway, IpAddr::V6(addr) if addr.is_unicast_link_local());
        if !link_local && !self.addrs.iter().any(|cidr| cidr.contains(gateway)) {
            return Err(Error::usage(format!("gateway={gateway}: not in a network of this endpoint")));
        }
        if before.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            return Err(Error::usage(format!("gateway={gateway}: there is one of that family already")));
        }
        Ok(())
    }
}

impl Limits {
    fn check(&self) -> Result<()> {
        let positive = self.connections.min(self.per_source).min(self.neighbours) > 0;
        if !positive || !(4096..=MAX_WINDOW).contains(&self.window) {
            return Err(Error::usage("limits: counts from 1, window from 4 KiB to 64 MiB"));
        }
        if self.keep_alive.is_zero() || self.dead_after <= self.keep_alive || self.handshake.is_zero() {
            return Err(Error::usage("limits: keep-alive above zero and shorter than the time to a dead peer"));
        }
        Ok(())
    }
}

fn check_addr(cidr: &Cidr) -> Result<()> {
    let unfit = match cidr.addr {
        IpAddr::V4(addr) => {
            let broadcast = cidr.prefix < 31 && u32::from(addr) & mask4(cidr.prefix) == mask4(cidr.prefix);
            addr.is_multicast() || addr.is_broadcast() || broadcast
        }
        IpAddr::V6(addr) => addr.is_multicast(),
    };
    let too_long = cidr.prefix > if cidr.addr.is_ipv4() { 32 } else { 128 };
    if unfit || too_long || cidr.addr.is_unspecified() || cidr.addr.is_loopback() {
        return Err(Error::usage(format!("addr={cidr}: not an address for a host")));
    }
    Ok(())
}

/// The host bits of an IPv4 prefix.
pub(super) fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(addrs: &[&str]) -> EndpointConfig {
        EndpointConfig::new(Mac([2, 0, 0x5e, 0, 0x53, 1]), addrs.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn unfit_addresses_are_refused() {
        assert_eq!(config(&["192.0.2.1/24", "2001:db8::1/64", "192.0.2.4/31", "198.51.100.1/32"]).check(), Ok(()));
        for bad in ["0.0.0.0/0", "127.0.0.1/8", "224.0.0.1/4", "192.0.2.255/24", "ff02::1/128", "::1/128", "::/64"] {
            assert!(config(&[bad]).check().is_err(), "{bad}");
        }
        let group = EndpointConfig { mac: Mac::BROADCAST, ..config(&[]) };
        assert!(group.check().is_err());
        assert!(EndpointConfig { mtu: 1279, ..config(&[]) }.check().is_err());
        assert!(EndpointConfig { mtu: 9000, ..config(&[]) }.check().is_ok());
    }

    #[test]
    fn gateways_are_on_link_and_one_a_family() {
        let with = |gateways: &[&str]| {
            let gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
            EndpointConfig { gateways, ..config(&["192.0.2.1/24", "2001:db8::1/64"]) }.check()
        };
        assert_eq!(with(&["192.0.2.254", "fe80::1"]), Ok(()));
        assert!(with(&["198.51.100.1"]).is_err());
        assert!(with(&["192.0.2.254", "192.0.2.253"]).is_err());
    }

    #[test]
    fn limits_are_checked() {
        let with = |limits| EndpointConfig { limits, ..config(&[]) }.check().is_ok();
        assert!(with(Limits::default()));
        assert!(!with(Limits { window: 0, ..Limits::default() }));
        assert!(!with(Limits { window: MAX_WINDOW + 1, ..Limits::default() }));
        assert!(!with(Limits { keep_alive: Duration::from_secs(30), ..Limits::default() }));
    }
}
