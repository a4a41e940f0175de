//! Parsers of single values: `text → typed value`, or the accepted form as the error (`a number from 68 to 65535`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::{Cidr, Mac, Rule};

/// The longest name of a port or switch, in bytes.
pub const NAME_BYTES: usize = 64;

/// The longest name of an interface: IFNAMSIZ less its NUL (`linux/if.h`).
pub const IFNAME_BYTES: usize = 15;

/// The longest path of a UNIX socket: `sun_path` less its NUL (unix(7)).
pub const SUN_PATH_BYTES: usize = 107;

/// `text`, or the accepted form.
pub type Parsed<T> = Result<T, String>;

/// A decimal number within `range`.
pub fn number<T>(text: &str, range: RangeInclusive<T>) -> Parsed<T>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && range.contains(number))
        .ok_or_else(|| format!("a number from {} to {}", range.start(), range.end()))
}

/// A number of bytes within `range`: plain, or with K, M or G for 1024, 1024² or 1024³.
pub fn size(text: &str, range: RangeInclusive<usize>) -> Parsed<usize> {
    let unit = |letter| match letter {
        'K' => Some(10),
        'M' => Some(20),
        'G' => Some(30),
        _ => None,
    };
    let (digits, shift) = match text.chars().last().and_then(unit) {
        Some(shift) => (&text[..text.len() - 1], shift),
        None => (text, 0),
    };
    let bytes = number(digits, 0..=u64::MAX).ok().and_then(|number: u64| number.checked_mul(1 << shift));
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| range.contains(bytes))
        .ok_or_else(|| format!("bytes from {} to {}, as 64M", sized(*range.start()), sized(*range.end())))
}

/// A number of bytes as [`size`] takes it, in the largest unit that it is a multiple of.
pub fn sized(bytes: usize) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let fits = |&(shift, _): &(u32, &str)| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match units.into_iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Whether `char` may stand in a name. `#` is kept for the ports of a listener's clients (`inst1#1`).
fn named(char: char) -> bool {
    char.is_ascii_alphanumeric() || "._-@+".contains(char)
}

/// The name of a port or a switch.
pub fn name(text: &str) -> Parsed<String> {
    let good = (1..=NAME_BYTES).contains(&text.len()) && text.chars().all(named);
    good.then(|| text.to_owned())
        .ok_or_else(|| format!("1 to {NAME_BYTES} letters, digits or any of '.', '_', '-', '@', '+'"))
}

/// Whether `port` is the one that is called `wanted`, or a client of that listener.
pub fn is_port(port: &str, wanted: &str) -> bool {
    port.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// A name made of any text: what a name may not hold becomes `-`. An empty text gives an empty name.
pub fn name_from(text: &str) -> String {
    text.chars().map(|char| if named(char) { char } else { '-' }).take(NAME_BYTES).collect()
}

/// `NAME-2`, not longer than a name may be: the next name when `NAME` is taken.
pub fn numbered(name: &str, number: usize) -> String {
    let end = format!("-{number}");
    let room = NAME_BYTES.saturating_sub(end.len());
    name.chars().take(room).chain(end.chars()).collect()
}

/// The name of a network interface, as `dev_valid_name` of the kernel's net/core/dev.c takes it, less `%`, which a
/// TAP's name would have expanded.
pub fn ifname(text: &str) -> Parsed<String> {
    let good = (1..=IFNAME_BYTES).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.chars().any(|char| char.is_whitespace() || char.is_control() || "/:%".contains(char));
    good.then(|| text.to_owned())
        .ok_or_else(|| format!("an interface name: 1 to {IFNAME_BYTES} bytes without '/', ':', '%' or blanks"))
}

/// The path of a UNIX socket.
pub fn sun_path(text: &str) -> Parsed<PathBuf> {
    let good = (1..=SUN_PATH_BYTES).contains(&text.len()) && !text.contains('\0') && !text.ends_with('/');
    good.then(|| PathBuf::from(text)).ok_or_else(|| {
        let length = text.len();
        format!("the path of a socket: 1 to {SUN_PATH_BYTES} bytes (it has {length}), not ending in '/'")
    })
}

/// The path of a file.
pub fn path(text: &str) -> Parsed<PathBuf> {
    let good = !text.is_empty() && !text.contains('\0') && !text.ends_with('/');
    good.then(|| PathBuf::from(text)).ok_or_else(|| "a path, not ending in '/'".to_owned())
}

/// The permission bits of a socket, in octal: `0600`, `660`, `0o600`.
pub fn mode(text: &str) -> Parsed<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| octal && *mode <= 0o777)
        .ok_or_else(|| "octal permission bits from 0 to 0777, as 0600".to_owned())
}

/// A MAC address that one station can have: no group address, not all zero.
pub fn station(text: &str) -> Parsed<Mac> {
    text.parse()
        .ok()
        .filter(|mac: &Mac| !mac.is_group() && mac.as_u64() != 0)
        .ok_or_else(|| "one station's MAC address, as 02:00:5e:00:53:01 (the first octet even)".to_owned())
}

/// A port's translation rule: `mac`, `mac=OLD:NEW` or `ip=OLD:NEW`, two different addresses of one host each.
pub fn rewrite(text: &str) -> Parsed<Rule> {
    let form =
        || "mac, mac=OLD:NEW or ip=OLD:NEW, as ip=192.0.2.1:192.0.2.11 or ip=[2001:db8::1]:[2001:db8::11]".to_owned();
    let rule = match text.split_once('=') {
        None if text == "mac" => Rule::Mac,
        Some(("mac", pair)) => {
            let middle = pair.match_indices(':').nth(5).map(|(at, _)| at).ok_or_else(form)?;
            let (old, new) = (pair.get(..middle), pair.get(middle + 1..));
            let of = |text: Option<&str>| station(text.unwrap_or_default()).map_err(|_| form());
            Rule::MacPair(of(old)?, of(new)?)
        }
        Some(("ip", pair)) if pair.starts_with('[') => {
            let inner = pair.strip_prefix('[').and_then(|pair| pair.strip_suffix(']'));
            let (old, new) = inner.and_then(|pair| pair.split_once("]:[")).ok_or_else(form)?;
            Rule::Ip6(host_v6(old).ok_or_else(form)?, host_v6(new).ok_or_else(form)?)
        }
        Some(("ip", pair)) => {
            let (old, new) = pair.split_once(':').ok_or_else(form)?;
            Rule::Ip(host_v4(old).ok_or_else(form)?, host_v4(new).ok_or_else(form)?)
        }
        _ => return Err(form()),
    };
    let same = match rule {
        Rule::Mac => false,
        Rule::MacPair(old, new) => old == new,
        Rule::Ip(old, new) => old == new,
        Rule::Ip6(old, new) => old == new,
    };
    if same { Err(form()) } else { Ok(rule) }
}

/// An IPv4 address that one host can have.
fn host_v4(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok().filter(|ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast())
}

/// An IPv6 address that one host can have.
fn host_v6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().filter(|ip: &Ipv6Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback())
}

/// An address with a prefix length.
pub fn cidr(text: &str) -> Parsed<Cidr> {
    text.parse().map_err(|_| "an address with a prefix length, as 192.0.2.2/24 or 2001:db8::2/64".to_owned())
}

/// A whole number of milliseconds, seconds, minutes or hours: `100ms`, `300s`, `5m`, `2h`. A bare number is seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at_checked(unit)?;
    let count: u64 = count.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "" | "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// A signal by its name or number: `TERM`, `SIGTERM`, `15`.
pub fn signal(text: &str) -> Parsed<i32> {
    let form = || "a signal by its name or number, as KILL, TERM or 10".to_owned();
    let known = 1..=31;
    if let Ok(number) = text.parse() {
        return Some(number).filter(|number| known.contains(number)).ok_or_else(form);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = |number: &i32| {
        let name = signal_hook::low_level::signal_name(*number);
        name.and_then(|name| name.strip_prefix("SIG")).is_some_and(|name| name == bare)
    };
    known.clone().find(named).ok_or_else(form)
}

/// A time as [`duration`] reads it, in seconds where it is whole ones; what is below a millisecond is lost.
pub fn span(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

/// A host and a port: `HOST:PORT`, an IPv6 address in brackets: `[::1]:5000`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPort {
    /// A host name or an address (IPv6 without brackets), not yet resolved.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// The address, where the host is one and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether nothing but this machine can be meant: `localhost`, 127.0.0.0/8 or `::1`.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(IpAddr::V6(_)) => write!(out, "[{}]:{}", self.host, self.port),
            _ => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// `HOST:PORT`, with the port in `ports`.
pub fn host_port(text: &str, ports: RangeInclusive<u16>) -> Parsed<HostPort> {
    let form = || format!("HOST:PORT with a port from {} to {}, an IPv6 host in brackets", ports.start(), ports.end());
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port = number(port, ports.clone()).map_err(|_| form())?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().map_err(|_| form())?.to_string(),
        None => hostname(host).ok_or_else(form)?,
    };
    Ok(HostPort { host, port })
}

/// A host name or an IPv4 address: 1 to 253 of the characters of RFC 1123, 2.1, and `_`.
fn hostname(text: &str) -> Option<String> {
    let good = (1..=253).contains(&text.len())
        && text.starts_with(|char: char| char.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || ".-_".contains(char));
    good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_in_range() {
        assert_eq!(number("68", 68..=65_535), Ok(68));
        for bad in ["", "67", "65536", "+99", "1e3", " 99", "99999999999999999999"] {
            assert_eq!(number(bad, 68..=65_535), Err("a number from 68 to 65535".to_owned()), "{bad}");
        }
    }

    #[test]
    fn names_keep_to_their_letters() {
        assert!(name("inst-1.a_b@c+d").is_ok());
        assert!(name(&"n".repeat(NAME_BYTES)).is_ok());
        for bad in ["", "a b", "a#2", "a/b", "é", &"n".repeat(NAME_BYTES + 1)] {
            assert!(name(bad).is_err(), "{bad}");
            let made = name_from(bad);
            assert!(made.is_empty() || name(&made).is_ok(), "{made}");
        }
    }

    #[test]
    fn interface_names_are_the_kernels() {
        assert!(ifname("zeth0.100").is_ok());
        assert!(ifname(&"i".repeat(15)).is_ok());
        for bad in ["", ".", "..", "a/b", "a b", "tap%d", "a:0", &"i".repeat(16)] {
            assert!(ifname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_fit_sun_path() {
        assert!(sun_path(&"p".repeat(107)).is_ok());
        for bad in ["", "/tmp/", "a\0b", &"p".repeat(108)] {
            assert!(sun_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for good in ["0600", "600", "0o600"] {
            assert_eq!(mode(good), Ok(0o600), "{good}");
        }
        for bad in ["", "0o", "8", "01000", "-1", "+600", "rw"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stations_are_no_groups() {
        assert!(station("02:00:5e:00:53:3b").is_ok());
        for bad in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00"] {
            assert!(station(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn translations_are_pairs() {
        for good in ["mac", "mac=02:00:5e:00:53:3b:02:00:00:00:00:01", "ip=192.0.2.1:192.0.2.11"] {
            assert_eq!(rewrite(good).map(|rule| rule.to_string()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "mac=",
            "MAC",
            "ip",
            "ip=192.0.2.1",
            "ip=192.0.2.1:192.0.2.1",
            "ip=192.0.2.1:224.0.0.1",
            "ip=0.0.0.0:192.0.2.1",
            "mac=02:00:5e:00:53:3b",
            "mac=02:00:5e:00:53:3b:02:00:5e:00:53:3b",
            "mac=02:00:5e:00:53:3b:01:00:5e:00:00:01",
            "mac=é:é:é:é:é:é:é",
        ] {
            let error = rewrite(bad).unwrap_err();
            assert!(error.starts_with("mac, mac=OLD:NEW or ip=OLD:NEW"), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let any = |text| size(text, 1..=usize::MAX);
        assert_eq!(["64M", "65536K", "67108864"].map(any), [Ok(64 << 20), Ok(64 << 20), Ok(64 << 20)]);
        assert_eq!([64 << 20, 1 << 30, 1536, 1000, 0].map(sized), ["64M", "1G", "1536", "1000", "0"]);
        for bad in ["", "M", "1 M", "-1", "1.5M", "1m", "1T", "18446744073709551615K", "é"] {
            assert!(any(bad).is_err(), "{bad}");
        }
        assert_eq!(size("2K", 1..=1024), Err("bytes from 1 to 1K, as 64M".into()));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(duration("300s"), duration("5m"));
        assert_eq!(duration("300"), duration("300s"));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        for bad in ["", "s", "5 s", "1.5s", "5S", "-1s", "99999999999999999999s", "18446744073709551615h", "5é"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        for good in ["127.0.0.1:5000", "[::1]:5000", "localhost:1", "bench-1.example:65535"] {
            let parsed = host_port(good, 1..=65_535).unwrap();
            assert_eq!(parsed.to_string(), good);
        }
        for bad in ["", ":1", "host", "host:", "host:0", "host:65536", "::1:5000", "[::1]", "[x]:1", "a b:1", "-h:1"] {
            assert!(host_port(bad, 1..=65_535).is_err(), "{bad}");
        }
        let local = |text| host_port(text, 0..=65_535).unwrap().is_loopback();
        assert!(local("127.9.9.9:0") && local("[::1]:1") && local("LocalHost:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("127.0.0.1.example:1"));
    }
}
