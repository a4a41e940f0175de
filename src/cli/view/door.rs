//! Who may look at the page.
//!
//! A browser of this machine also runs the scripts of strangers, and every user of the machine reaches its loopback. So a
//! request has to know a secret that is part of the address (other users do not); its `Host` has to be this server's (a
//! name of a stranger's may be made to mean 127.0.0.1: DNS rebinding); and where it says by which page it was made
//! (`Origin`, `Sec-Fetch-Site`), that has to be this one.

use crate::error::{Error, Result};
use crate::http::{Request, Response};
use rustix::rand::{GetRandomFlags, getrandom};
use std::net::SocketAddr;

/// Bytes of a secret.
const SECRET: usize = 16;

/// See the head of the file.
pub struct Door {
    hosts: [String; 2],
    secret: String,
}

/// A secret that nobody guesses, in digits.
///
/// # Errors
/// The system has no random numbers.
pub fn secret() -> Result<String> {
    let mut bytes = [0; SECRET];
    let got = getrandom(&mut bytes, GetRandomFlags::empty());
    match got {
        Ok(SECRET) => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        Ok(_) => Err(Error::new(crate::error::Class::Runtime, "too few random numbers")),
        Err(errno) => Err(Error::system("random numbers", &errno.into())),
    }
}

impl Door {
    /// Of a server that listens at `addr`.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(addr: SocketAddr) -> Result<Self> {
        Ok(Self { hosts: [addr.to_string(), format!("localhost:{}", addr.port())], secret: secret()? })
    }

    /// The address of the page.
    pub fn address(&self) -> String {
        let [host, _] = &self.hosts;
        format!("http://{host}/{}/", self.secret)
    }

    /// The path behind the secret, if the request may be answered.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn admits<'a>(&self, request: &'a Request) -> Result<&'a str, Response> {
        let host = request.field("host").unwrap_or_default();
        if !self.hosts.iter().any(|known| known == host) {
            let [here, local] = &self.hosts;
            let port = here.rsplit_once(':').map_or("", |(_, port)| port);
            let why = format!(
                "this page is at {here} or {local}, and was asked for under another name or port. Through a tunnel the port \
                 is the same at both ends: ssh -L {port}:{here} HOST"
            );
            return Err(Response::refusal(403, &why));
        }
        let origin = request.field("origin");
        let of_site = request.field("sec-fetch-site");
        if origin.is_some_and(|origin| origin.strip_prefix("http://") != Some(host))
            || of_site.is_some_and(|site| !["same-origin", "none"].contains(&site))
        {
            return Err(Response::refusal(403, "a page of another origin has asked"));
        }
        let (secret, path) = request.path.get(1..).and_then(|path| path.split_once('/')).unwrap_or_default();
        if !is_same(secret.as_bytes(), self.secret.as_bytes()) {
            return Err(Response::refusal(403, "the address has a secret in it, which `zbridge view` has printed"));
        }
        Ok(path)
    }
}

/// Compares in a time that tells nothing of where two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |other, (a, b)| other | (a ^ b)) == 0
}
