//! Names that the resolver of a segment was told by hand, and zones of which every name has the same addresses.
//!
//! A name comes before all others: a lease's, and those of the host's resolvers. Of several that fit, the whole name
//! counts first, then the zone with the most labels (RFC 4592, section 3.3.1).

use super::name;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names of one segment, and addresses of one name.
const NAMES: usize = 4096;
const ADDRS: usize = 16;

/// Why a name is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It is none.
    #[error("no name of letters, digits and hyphens, with dots between: board1, board1.lab, or *.lab for a zone")]
    NoName,
    /// There is no more room for names.
    #[error("there are {NAMES} names already")]
    Full,
    /// It has no address, or too many.
    #[error("1 to {ADDRS} addresses belong to a name")]
    Addrs,
}

/// See the module.
#[derive(Default)]
pub struct GivenNames {
    /// By name in lower case; that of a zone begins with `*.`.
    by_name: BTreeMap<String, Vec<IpAddr>>,
}

impl GivenNames {
    /// The name as it is kept: whole, in lower case, without the root's dot.
    ///
    /// # Errors
    /// It is none.
    pub fn whole(text: &str, domain: &str) -> Result<String, Unfit> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let host = text.strip_prefix("*.").unwrap_or(&text);
        let whole = if text.contains('.') { text.clone() } else { format!("{text}.{domain}") };
        if name::is_domain(host) && whole.len() <= name::NAME_MAX { Ok(whole) } else { Err(Unfit::NoName) }
    }

    /// The addresses that a whole name has, by itself and not by its zone.
    pub fn get(&self, whole: &str) -> Option<&[IpAddr]> {
        self.by_name.get(whole).map(Vec::as_slice)
    }

    /// Adds a whole name.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, whole: &str, addrs: &[IpAddr]) -> Result<(), Unfit> {
        if addrs.is_empty() || addrs.len() > ADDRS {
            return Err(Unfit::Addrs);
        }
        if self.by_name.len() >= NAMES {
            return Err(Unfit::Full);
        }
        self.by_name.insert(whole.to_owned(), addrs.to_vec());
        Ok(())
    }

    /// Removes a whole name. `false`: there was none.
    pub fn remove(&mut self, whole: &str) -> bool {
        self.by_name.remove(whole).is_some()
    }

    /// The addresses of a name that is asked for, and the name or zone that they are from.
    pub fn find(&self, asked: &str) -> Option<(&str, &[IpAddr])> {
        if let Some((name, addrs)) = self.by_name.get_key_value(asked) {
            return Some((name, addrs));
        }
        let mut rest = asked;
        while let Some((_, zone)) = rest.split_once('.') {
            if let Some((name, addrs)) = self.by_name.get_key_value(&format!("*.{zone}")) {
                return Some((name.get(2..)?, addrs));
            }
            rest = zone;
        }
        None
    }

    /// The first name that has an address.
    pub fn name_of(&self, addr: IpAddr) -> Option<&str> {
        let mut hosts = self.by_name.iter().filter(|(name, _)| !name.starts_with('*'));
        hosts.find(|(_, addrs)| addrs.contains(&addr)).map(|(name, _)| name.as_str())
    }

    /// All of them, with their addresses.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        self.by_name.iter().map(|(name, addrs)| (name.as_str(), addrs.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_whole() {
        for (text, wanted) in [
            ("board1", Ok("board1.lab")),
            ("Board1.LAB.", Ok("board1.lab")),
            ("*.example", Ok("*.example")),
            ("a.b.example", Ok("a.b.example")),
            ("", Err(Unfit::NoName)),
            ("*", Err(Unfit::NoName)),
            ("a.*.example", Err(Unfit::NoName)),
            ("a_b", Err(Unfit::NoName)),
        ] {
            assert_eq!(GivenNames::whole(text, "lab"), wanted.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn the_nearest_name_counts() {
        let mut names = GivenNames::default();
        names.add("*.example", &[addr("192.0.2.1")]).unwrap();
        names.add("*.far.example", &[addr("192.0.2.2")]).unwrap();
        names.add("a.example", &[addr("192.0.2.3"), addr("2001:db8::3")]).unwrap();
        let first = |asked: &str| names.find(asked).map(|(zone, addrs)| format!("{zone} {}", addrs[0]));
        assert_eq!(first("a.example").as_deref(), Some("a.example 192.0.2.3"));
        assert_eq!(first("b.example").as_deref(), Some("example 192.0.2.1"));
        assert_eq!(first("x.y.far.example").as_deref(), Some("far.example 192.0.2.2"));
        assert_eq!(first("example"), None, "a zone is no name of its own");
        assert_eq!(first("b.test"), None);
        assert_eq!(names.name_of(addr("2001:db8::3")), Some("a.example"));
        assert_eq!(names.name_of(addr("192.0.2.1")), None, "a zone names nobody");
        assert!(names.remove("a.example") && !names.remove("a.example"));
        assert_eq!(names.add("x.lab", &[]), Err(Unfit::Addrs));
    }
}
