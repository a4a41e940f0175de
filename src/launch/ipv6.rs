//! IPv6 on the interface of an instance: usable from the first moment on.
//!
//! By default the kernel does duplicate address detection for a second before an address may be used, and waits a
//! moment before it solicits a router (RFC 4862, section 5.4; RFC 4861, section 6.3.7). The MAC of the interface is
//! unique to its instance, so both are skipped here. It asks for a router only while it has one address of its link, so
//! where one is given it makes no second. What the kernel then has is read from /proc/net/if_inet6: `address · index ·
//! bits of the prefix · scope · flags · interface`, in hexadecimal but for the last.

use crate::wire::Cidr;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Settings of interfaces that are made from now on in this network namespace.
const SETTINGS: [(&str, &str); 2] = [("accept_dad", "0"), ("router_solicitation_delay", "0")];
/// The kernel makes no link-local address (IN6_ADDR_GEN_MODE_NONE).
const NO_LINK_LOCAL: (&str, &str) = ("addr_gen_mode", "1");
/// Scopes of addresses (linux/net/ipv6.h): of the link.
const LINK: u8 = 0x20;
/// Flags (linux/if_addr.h): duplicate address detection is in progress; it has failed.
const TENTATIVE: u32 = 0x40;
const FAILED: u32 = 0x08;
/// The number and interval of the checks whether addresses may be used.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Makes `addrs`, and other addresses, of later interfaces usable at once. If this cannot be written they are so after
/// a second.
pub fn prepare(addrs: &[Cidr]) {
    let link_local = |cidr: &Cidr| matches!(cidr.addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    let given = addrs.iter().any(link_local).then_some(NO_LINK_LOCAL);
    for (name, value) in SETTINGS.into_iter().chain(given) {
        let _ = fs::write(Path::new("/proc/sys/net/ipv6/conf/default").join(name), value);
    }
}

/// Disables the kernel's IPv6 on later interfaces, which a program makes for itself. If this cannot be written it sends
/// a few multicasts to the program, and to nobody else.
pub fn silence() {
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

/// Waits until the interface's addresses may be used: the kernel completes that asynchronously, in a moment. Duplicate
/// address detection, if it happens all the same, is not waited for.
pub fn settle(interface: &str) {
    for _ in 0..LOOKS {
        let table = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        if !table.lines().filter_map(|line| entry(line, interface)).any(|(_, flags)| flags & TENTATIVE != 0) {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether the interface is ready: it has a link-local address and another one, or no IPv6.
pub fn is_ready(interface: &str) -> bool {
    fs::read_to_string("/proc/net/if_inet6").map_or(true, |table| is_ready_by(&table, interface))
}

fn is_ready_by(table: &str, interface: &str) -> bool {
    let own = || table.lines().filter_map(|line| entry(line, interface));
    let usable =
        |of_link: bool| own().any(|(scope, flags)| (scope == LINK) == of_link && flags & (TENTATIVE | FAILED) == 0);
    own().next().is_none() || usable(true) && usable(false)
}

/// Scope and flags of an address of `interface`.
fn entry(line: &str, interface: &str) -> Option<(u8, u32)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, _, scope, flags, name] = *words else { return None };
    let found = (u8::from_str_radix(scope, 16).ok()?, u32::from_str_radix(flags, 16).ok()?);
    (name == interface).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";

    /// Lines of eth0 with these scopes and flags.
    fn table(entries: &[(u8, u32)]) -> String {
        let lines =
            entries.iter().map(|(scope, flags)| format!("20010db8{:024x} 02 40 {scope:02x} {flags:02x}     eth0\n", 9));
        std::iter::once(LOOPBACK.to_owned()).chain(lines).collect()
    }

    #[test]
    fn it_is_ready_with_both_addresses_or_without_ipv6() {
        for (entries, ready) in [
            (&[][..], true),
            (&[(0x20, 0x80)], false),
            (&[(0x20, 0xc0), (0, 0)], false),
            (&[(0x20, 0x80), (0, 0x40)], false),
            (&[(0x20, 0x80), (0, 0x08)], false),
            (&[(0x20, 0x80), (0, 0)], true),
            (&[(0, 0), (0x20, 0x40), (0x20, 0x80)], true),
        ] {
            assert_eq!(is_ready_by(&table(entries), "eth0"), ready, "{entries:x?}");
        }
        assert!(is_ready_by(&table(&[(0x20, 0xc0)]), "eth1"), "another's");
    }
}
