//! `zbridge view`: the picture of a running bridge, live, in a browser of this machine.
//!
//! Theory of operation. This process is a client of the bridge like any other, and needs no right in it. One thread looks
//! at the bridge once a second ([`watcher`]); a small server ([`crate::http`]) gives out
//! the page and the last look. The page asks for the picture as SVG in the width that it has, and changes in what it shows
//! only what is other than before. The frames of a port come as lines from a capture of that port alone, which ends when
//! the page closes its connection ([`frames`]).
//!
//! Who may look ([`door`]): it listens on loopback only; an address that nobody can guess has to be known; and a page of
//! another origin gets nothing, whatever name it has given to this machine's address.

mod door;
mod frames;
mod watcher;

use super::args::Which;
use super::graph::svg;
use super::{ask, screen, stop};
use crate::config::value;
use crate::error::{Class, Error, Result};
use crate::http::{Handler, Request, Response, Server};
use crate::port::inet::TcpListener;
use crate::port::listener::Listener;
use crate::rights::Role;
use crate::rights::role::{BASE, NETWORK, READ, SOCKETS, THREADS};
use door::Door;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use watcher::Watcher;

/// It reads requests, asks the bridge, and writes answers.
static ROLE: Role = Role::new("view", &[BASE, SOCKETS, NETWORK, READ, THREADS]);

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// What `zbridge view` shows, and where.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
pub struct ViewArgs {
    /// Which bridge.
    #[command(flatten)]
    bridge: Which,

    /// Where the page is: an address of loopback, and a port (0: any that is free)
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,

    /// Only print the address
    #[arg(long)]
    no_open: bool,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let addr: SocketAddr = text.parse().map_err(|_| "expected ADDR:PORT, as 127.0.0.1:8080 or [::1]:0".to_owned())?;
    if !addr.ip().is_loopback() {
        return Err(
            "it is for this machine only; from another one: ssh -L 8080:127.0.0.1:8080 HOST, and --listen 127.0.0.1:8080"
                .to_owned(),
        );
    }
    Ok(addr)
}

/// Shows the page until a signal ends it.
///
/// # Errors
/// No bridge runs; the address is taken.
pub fn run(args: &ViewArgs) -> Result<()> {
    let stop = stop::one_wish()?;
    let client = ask::connect(args.bridge.name().as_deref())?;
    let name = client.greeting().name.clone();
    // By a path, if that was given: another user's bridge has the same name perhaps.
    let reach = args.bridge.name().unwrap_or_else(|| name.clone());
    let addr = value::HostPort { host: args.listen.ip().to_string(), port: args.listen.port() };
    let listener = TcpListener::bind(&addr)?;
    let door = Door::new(listener.addr())?;
    let address = door.address();
    let watcher = Arc::new(Watcher::start(client, reach.clone(), name.clone())?);
    let page = Arc::new(Page::new(&name));
    let handler: Handler = Arc::new(move |request| match door.admits(request) {
        Ok(path) => shielded(answer(path, request, &watcher, &page, &reach)),
        Err(refusal) => shielded(refusal),
    });
    let server = Server::start(Listener::Tcp(listener), &ROLE, handler)?;
    super::print(format!("{address}\n"))?;
    screen::say("the page is open for whoever has this address, on this machine; Ctrl-C closes it\n");
    if !args.no_open {
        open(&address);
    }
    // It ends when a signal has come, or nobody can send one.
    let _ = stop.recv();
    drop(server);
    Ok(())
}

/// Opens the address in the user's browser, where there is a display to open it on.
fn open(address: &str) {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return;
    }
    let started =
        Command::new("xdg-open").arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    match started {
        // It ends by itself, and nobody asks how.
        Ok(_) => {}
        Err(error) => log::debug!("xdg-open: {error}"),
    }
}

/// The page before its nonce and the name in it.
struct Page {
    text: String,
    name: String,
}

impl Page {
    /// The page, whose style and script are in it.
    fn new(name: &str) -> Self {
        let style = [svg::STYLE, STYLE].concat();
        let text = PAGE.replace("{{style}}", &style).replace("{{script}}", SCRIPT);
        Self { text, name: svg::escaped(name) }
    }

    /// The page with a nonce of its own, by which nothing runs in it but its own script.
    fn fresh(&self) -> Result<Response> {
        let nonce = door::secret()?;
        // The name last: nothing is looked for in it.
        let text = self.text.replace("{{nonce}}", &nonce).replace("{{name}}", &self.name);
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Ok(Response::new(200, "text/html; charset=utf-8", text).field("Content-Security-Policy", policy))
    }
}

/// What every answer has: nobody keeps it, frames it, takes it for what it is not, or learns where it came from.
fn shielded(response: Response) -> Response {
    response
        .field("Cache-Control", "no-store")
        .field("X-Content-Type-Options", "nosniff")
        .field("Referrer-Policy", "no-referrer")
        .field("Cross-Origin-Resource-Policy", "same-origin")
        .field("Cross-Origin-Opener-Policy", "same-origin")
        .field("X-Frame-Options", "DENY")
}

fn answer(path: &str, request: &Request, watcher: &Watcher, page: &Page, reach: &str) -> Response {
    let failed = |error: &Error| Response::refusal(503, error.what());
    match path {
        "" => page.fresh().unwrap_or_else(|error| failed(&error)),
        "picture" => {
            let width = request.asked("width").and_then(|text| text.parse().ok()).unwrap_or(980);
            Response::new(200, "application/json", watcher.shown(width))
        }
        "frames" => {
            let port = request.asked("port").unwrap_or_default();
            frames::of(reach, &port).unwrap_or_else(|error| refused(&error))
        }
        "favicon.ico" => Response::new(200, "image/svg+xml", ICON),
        _ => Response::refusal(404, "there is no such page"),
    }
}

/// The answer where the bridge has refused.
fn refused(error: &Error) -> Response {
    let code = match error.class() {
        Class::NoObject => 404,
        Class::Usage => 400,
        _ => 503,
    };
    Response::refusal(
        code,
        &format!("{}{}", error.what(), error.advice().map(|hint| format!(" ({hint})")).unwrap_or_default()),
    )
}

/// What a browser has beside the title.
const ICON: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect x='6' y='1' width='4' height='14' \
                    rx='1.5' fill='#0969da'/><path d='M1 4h5M1 11h5M10 7.5h5' stroke='#0a7d5c' stroke-width='2'/></svg>";
