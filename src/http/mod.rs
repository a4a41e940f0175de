//! A small HTTP/1.1 server for a few clients of this machine: the page of `zbridge view`, and `--metrics`.
//!
//! Theory of operation. One thread waits for clients and reads the heads of their requests, none of them waited for: so
//! whoever sends a byte a minute holds nobody up, and when there are too many, the one that has been silent for the longest
//! time is let go ([`server`]). A whole head goes to a thread of its own, of which there are [`ANSWERING`] at most; it asks
//! the handler and writes. A connection carries one request. What is not needed is not there: no bodies, no TLS, no
//! compression. Heads are taken apart by `httparse`.
//!
//! Why it is no library's: whoever is on this machine reaches it, so its clients, their heads and the time that each may take
//! have to be bounded. tiny_http, the small server that is best kept, bounds none of the three: it makes threads as clients
//! come, and waits for each head and each reader for as long as that takes. hyper and what stands on it are asynchronous, and
//! would bring a runtime into a program that has none.

mod request;
mod server;

pub use request::Request;
pub use server::{Handler, Outlet, Server};

use std::time::Duration;

/// The longest head of a request.
const HEAD_BYTES: usize = 8 * 1024;
/// Its fields, at most.
const FIELDS: usize = 48;
/// Clients whose heads are being read.
const READING: usize = 64;
/// Requests that are being answered.
const ANSWERING: usize = 16;
/// How long a head may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(5);
/// How long the whole of an answer may take that is not a stream.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// An answer.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The type of its body.
    pub kind: &'static str,
    /// More fields of its head.
    pub fields: Vec<(&'static str, String)>,
    /// What it says.
    pub body: Body,
}

/// What an answer says.
pub enum Body {
    /// This.
    Whole(Vec<u8>),
    /// What this writes until it returns, or the client has gone.
    Stream(Box<dyn FnOnce(&mut Outlet) + Send>),
}

impl Response {
    /// An answer of one piece.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, kind, fields: Vec::new(), body: Body::Whole(body.into()) }
    }

    /// A refusal, in a line of text.
    pub fn refusal(status: u16, why: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{why}\n"))
    }

    /// The same with another field in its head, whose value has no line's end.
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value: String = value.into();
        debug_assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{name}: {value:?}");
        self.fields.push((name, value));
        self
    }

    /// Its head as it is sent.
    fn head(&self) -> Vec<u8> {
        let Self { status, kind, .. } = self;
        let mut head =
            format!("HTTP/1.1 {status} {}\r\nContent-Type: {kind}\r\nConnection: close\r\n", phrase(*status));
        if let Body::Whole(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// What a status means (RFC 9110, 15).
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
