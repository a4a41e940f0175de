//! Serves the bridge's figures as OpenMetrics (`--metrics`).
//!
//! Theory of operation. The socket is bound before any port is opened, so that a taken one is the caller's to hear. Then a
//! small server ([`crate::http`]) with threads of its own answers; a switch is asked as `zbridge status` asks it, and
//! answers between two breaths. Several that ask within [`FRESH`] get one text.

use super::answer::Answerer;
use super::board::Board;
use crate::config::{Access, MetricsAt};
use crate::control::openmetrics;
use crate::engine::command::Handle;
use crate::error::{Error, Result};
use crate::http::{Handler, Request, Response, Server};
use crate::port::inet::TcpListener;
use crate::port::listener::Listener;
use crate::port::unix::UnixListener;
use crate::rights::Role;
use crate::rights::role::{BASE, READ, REMOVE, SOCKETS};
use crate::time::Clock;
use parking_lot::Mutex;
use rustix::net::SocketType;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// It reads requests, asks the switches, writes answers, and removes its socket at the end.
static ROLE: Role = Role::new("metrics", &[BASE, SOCKETS, READ, REMOVE]);

/// How old a text may be that is given out again.
const FRESH: Duration = Duration::from_millis(100);

/// Serves figures until it is dropped.
pub type MetricsServer = Server;

/// A place that is bound.
pub struct Metrics {
    listener: Listener,
    /// Where it is, for a person.
    at: String,
    /// It is of loopback, where a request may come from any page of a browser.
    loopback: bool,
}

impl Metrics {
    /// Binds the place.
    ///
    /// # Errors
    /// It is taken, or cannot be.
    pub fn bind(at: &MetricsAt) -> Result<Self> {
        let refused = |error: Error| error.at("--metrics");
        let (listener, shown) = match at {
            MetricsAt::Tcp(addr) => {
                let listener = TcpListener::bind(addr).map_err(refused)?;
                let shown = format!("http://{}/metrics", listener.addr());
                (Listener::Tcp(listener), shown)
            }
            MetricsAt::Unix(path) => {
                // The user's alone, as the control socket is.
                let access = Access { mode: Some(0o600), ..Access::default() };
                let listener = UnixListener::bind(path, SocketType::STREAM, &access).map_err(refused)?;
                (Listener::Unix(listener), format!("{at}, path /metrics"))
            }
        };
        let loopback = matches!(at, MetricsAt::Tcp(_)) && !at.is_open();
        Ok(Self { listener, at: shown, loopback })
    }

    /// Serves the figures of a bridge of this name until what it gives is dropped.
    ///
    /// # Errors
    /// The system has no descriptors or threads left.
    pub fn serve(self, name: &str, handles: Vec<Handle>, board: Arc<Board>) -> Result<MetricsServer> {
        let answerer = Answerer {
            name: name.to_owned(),
            handles,
            since: SystemTime::now(),
            rates: Mutex::default(),
            opening: Arc::default(),
            board,
            reloader: None,
        };
        let clock = Clock::start();
        let last = Mutex::new((None::<Instant>, Arc::new(String::new())));
        let loopback = self.loopback;
        let handler: Handler = Arc::new(move |request| match request.path.as_str() {
            _ if loopback && !is_of_this_machine(request) => Response::refusal(403, "this server has another name"),
            "/metrics" => {
                let mut last = last.lock();
                if last.0.is_none_or(|at| at.elapsed() >= FRESH) {
                    *last = (Some(Instant::now()), Arc::new(answerer.metrics(clock.now())));
                }
                Response::new(200, openmetrics::CONTENT_TYPE, last.1.as_bytes())
            }
            "/" => Response::new(200, "text/plain; charset=utf-8", "zbridge: the figures are at /metrics\n"),
            _ => Response::refusal(404, "the figures are at /metrics"),
        });
        let server = Server::start(self.listener, &ROLE, handler)?;
        log::info!("metrics: {}", self.at);
        Ok(server)
    }
}

/// Whether the `Host` is an address or `localhost`, and no name that a stranger may have made to mean this machine.
fn is_of_this_machine(request: &Request) -> bool {
    let host = request.field("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok()
}
