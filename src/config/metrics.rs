//! `--metrics ADDR:PORT|unix:PATH`: where the bridge tells its figures to programs that watch it.

use super::value::{self, HostPort};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A place for metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum MetricsAt {
    /// A TCP address.
    Tcp(HostPort),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl MetricsAt {
    /// Parses `ADDR:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) => value::path(path).map(Self::Unix),
            None => value::host_port(text, 0..=u16::MAX).map(Self::Tcp).map_err(|form| format!("unix:PATH or {form}")),
        }
    }

    /// Whether others than this machine reach it: any address that is not known to be of loopback.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(addr) => {
                addr.host != "localhost" && !addr.host.parse().is_ok_and(|addr: IpAddr| addr.is_loopback())
            }
        }
    }
}

impl fmt::Display for MetricsAt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_or_paths() {
        for (text, open) in [
            ("127.0.0.1:9469", false),
            ("[::1]:9469", false),
            ("localhost:1", false),
            ("unix:/run/x.sock", false),
            ("0.0.0.0:9469", true),
            ("lab.example:9469", true),
        ] {
            let at = MetricsAt::parse(text).unwrap();
            assert_eq!((at.to_string().as_str(), at.is_open()), (text, open));
        }
        for wrong in ["", "9469", "unix:", "127.0.0.1:70000", "127.0.0.1"] {
            assert!(
                MetricsAt::parse(wrong).unwrap_err().starts_with(if wrong == "unix:" {
                    "a path"
                } else {
                    "unix:PATH or HOST:PORT"
                }),
                "{wrong}"
            );
        }
    }
}
