//! The threads of a server: one that reads heads, and one for each request that is being answered.

use super::request::Head;
use super::{ANSWER_TIME, ANSWERING, Body, HEAD_BYTES, HEAD_TIME, READING, Request, Response, STALL};
use crate::error::{Error, Result};
use crate::port::accept::{Accepted, Starvation};
use crate::port::listener::Listener;
use crate::rights::{self, Role};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Answers a request. It is called on several threads at once, and may take its time.
pub type Handler = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// The pause before accepting again, when the system had no descriptors.
const STARVED_RETRY: Duration = Duration::from_millis(100);

/// A server. It ends when this is dropped; answers that are under way end by themselves.
pub struct Server {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// The state of the thread that reads.
struct Reading {
    listener: Listener,
    stop: Arc<OwnedFd>,
    handler: Handler,
    role: &'static Role,
    clients: Vec<Client>,
    answering: Arc<AtomicUsize>,
    starvation: Starvation,
}

/// A client whose head has not come whole.
struct Client {
    socket: OwnedFd,
    head: Vec<u8>,
    since: Instant,
}

impl Server {
    /// Serves the clients of `listener` on threads of `role`.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn start(listener: Listener, role: &'static Role, handler: Handler) -> Result<Self> {
        let cannot = |error: io::Error| Error::system("cannot wait for clients of HTTP", &error);
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| cannot(errno.into()))?);
        let (clients, answering) = (Vec::new(), Arc::default());
        let starvation = Starvation::default();
        let reading = Reading { listener, stop: stop.clone(), handler, role, clients, answering, starvation };
        let thread = rights::spawn("zb-http", role, move || reading.run()).map_err(cannot)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if write(&self.stop, &1_u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the server of HTTP has ended abnormally");
        }
    }
}

impl Reading {
    fn run(mut self) {
        loop {
            let mut fds = vec![
                PollFd::new(&*self.stop, PollFlags::IN),
                PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            ];
            fds.extend(self.clients.iter().map(|client| PollFd::new(&client.socket, PollFlags::IN)));
            if poll(&mut fds, self.patience().and_then(|time| Timespec::try_from(time).ok()).as_ref()).is_err() {
                continue;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            if ready.first() == Some(&true) {
                return;
            }
            // From behind, so that those before one that goes keep their places.
            for index in (0..self.clients.len()).rev() {
                if ready.get(index + 2) == Some(&true) {
                    self.read(index);
                }
            }
            self.clients.retain(|client| client.since.elapsed() < HEAD_TIME);
            if ready.get(1) == Some(&true) || self.starvation.lasts() {
                self.accept();
            }
        }
    }

    /// Until the first head has taken too long.
    fn patience(&self) -> Option<Duration> {
        let first = self.clients.iter().map(|client| HEAD_TIME.saturating_sub(client.since.elapsed())).min();
        // A moment more, so that it is over then.
        let first = first.map(|time| time + Duration::from_millis(5));
        [first, self.starvation.lasts().then_some(STARVED_RETRY)].into_iter().flatten().min()
    }

    fn accept(&mut self) {
        for _ in 0..READING {
            match self.starvation.judge("HTTP", self.listener.accept_socket()) {
                Accepted::Client((socket, _)) => {
                    if self.clients.len() >= READING {
                        self.clients.remove(0);
                    }
                    self.clients.push(Client { socket, head: Vec::new(), since: Instant::now() });
                    // Most have sent it already.
                    self.read(self.clients.len().saturating_sub(1));
                }
                Accepted::Gone => {}
                Accepted::Nobody | Accepted::Starved => return,
            }
        }
    }

    /// Reads of a client, and has it answered when it has asked.
    fn read(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        let mut room = [0; HEAD_BYTES];
        let free = HEAD_BYTES.saturating_sub(client.head.len()).max(1).min(room.len());
        let count = match read(&client.socket, room.get_mut(..free).unwrap_or_default()) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(0) | Err(_) => {
                self.clients.remove(index);
                return;
            }
            Ok(count) => count,
        };
        client.head.extend_from_slice(room.get(..count).unwrap_or_default());
        let asked = match Request::parse(&client.head) {
            Head::Part => return,
            Head::Whole(request) => Ok(request),
            Head::Bad(response) => Err(response),
        };
        let socket = self.clients.remove(index).socket;
        match asked {
            Ok(request) => self.answer(socket, request),
            Err(refusal) => at_once(&socket, refusal),
        }
    }

    /// Has a thread answer.
    fn answer(&self, socket: OwnedFd, request: Request) {
        if self.answering.fetch_add(1, Ordering::Relaxed) >= ANSWERING {
            self.answering.fetch_sub(1, Ordering::Relaxed);
            return at_once(&socket, Response::refusal(503, "too many requests are being answered"));
        }
        let (handler, one) = (self.handler.clone(), One(self.answering.clone()));
        let work = move || {
            let _one = one;
            let response = handler(&request);
            let with_body = request.method != "HEAD";
            respond(&mut Outlet { socket, until: Some(Instant::now() + ANSWER_TIME) }, response, with_body);
        };
        if let Err(error) = rights::spawn("zb-answer", self.role, work) {
            log::warn!("HTTP: cannot start a thread: {error}");
        }
    }
}

/// One request that is being answered.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sends as much of a refusal as the socket takes.
fn at_once(socket: &OwnedFd, refusal: Response) {
    let mut bytes = refusal.head();
    if let Body::Whole(body) = &refusal.body {
        bytes.extend_from_slice(body);
    }
    let _ = send(socket, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    let _ = shutdown(socket, Shutdown::Write);
}

/// A client that has gone is nobody's failure.
fn respond(outlet: &mut Outlet, response: Response, with_body: bool) {
    if outlet.put(&response.head()).is_err() || !with_body {
        return;
    }
    match response.body {
        Body::Whole(body) => drop(outlet.put(&body)),
        Body::Stream(write) => {
            outlet.until = None;
            write(outlet);
        }
    }
    let _ = shutdown(&outlet.socket, Shutdown::Write);
}

/// The way to a client.
pub struct Outlet {
    socket: OwnedFd,
    /// When it has taken too long.
    until: Option<Instant>,
}

impl Outlet {
    /// Sends bytes.
    ///
    /// # Errors
    /// The client has gone, or takes nothing for [`STALL`].
    pub fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut stalled = Instant::now();
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    stalled = Instant::now();
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let late = self.until.is_some_and(|until| until <= Instant::now());
                    if late || stalled.elapsed() >= STALL {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let moment = Timespec::try_from(STALL).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
                    let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], Some(&moment));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits until `other` has something to read, for `time` at most. False when the client has gone.
    pub fn wait_for(&self, other: impl AsFd, time: Duration) -> bool {
        let moment = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP), PollFd::new(&other, PollFlags::IN)];
        let _ = poll(&mut fds, Some(&moment));
        !fds.iter().take(1).any(|fd| fd.revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::HostPort;
    use crate::port::inet::TcpListener;
    use crate::rights::role::{BASE, SOCKETS};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    static ROLE: Role = Role::new("test of http", &[BASE, SOCKETS]);

    fn server(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> (Server, SocketAddr) {
        let listener = TcpListener::bind(&HostPort { host: "127.0.0.1".into(), port: 0 }).unwrap();
        let addr = listener.addr();
        (Server::start(Listener::Tcp(listener), &ROLE, Arc::new(handler)).unwrap(), addr)
    }

    fn asked(addr: SocketAddr, text: &str) -> String {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        let mut told = String::new();
        let _ = socket.read_to_string(&mut told);
        told
    }

    const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn it_answers_beside_a_hundred_that_say_nothing() {
        let (server, addr) = server(|request| Response::new(200, "text/plain", request.path.clone()));
        let silent: Vec<TcpStream> = (0..100)
            .map(|number| {
                let mut socket = TcpStream::connect(addr).unwrap();
                let _ = socket.write_all(&GET.as_bytes()[..number % GET.len()]);
                socket
            })
            .collect();
        for _ in 0..20 {
            let told = asked(addr, GET);
            assert!(told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\n/x"), "{told}");
        }
        assert!(asked(addr, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n").ends_with("Content-Length: 2\r\n\r\n"));
        assert!(asked(addr, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        drop(silent);
        drop(server);
        assert!(TcpStream::connect(addr).is_err(), "nobody listens there any more");
    }

    #[test]
    fn answers_are_bounded_and_a_stream_ends_with_its_client() {
        let handler = |_: &Request| Response {
            body: Body::Stream(Box::new(|outlet| {
                let never = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
                while outlet.put(b"line\n").is_ok() && outlet.wait_for(&never, Duration::from_millis(20)) {}
            })),
            ..Response::new(200, "text/plain", "")
        };
        let (_server, addr) = server(handler);
        let mut open = Vec::new();
        for _ in 0..ANSWERING {
            let mut socket = TcpStream::connect(addr).unwrap();
            socket.write_all(GET.as_bytes()).unwrap();
            let mut some = [0; 20];
            socket.read_exact(&mut some).unwrap();
            open.push(socket);
        }
        assert!(asked(addr, GET).starts_with("HTTP/1.1 503 "));
        open.clear();
        let begun = Instant::now();
        loop {
            let mut socket = TcpStream::connect(addr).unwrap();
            socket.write_all(GET.as_bytes()).unwrap();
            let mut some = [0; 12];
            let _ = socket.read_exact(&mut some);
            if some.ends_with(b"200") {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "their threads have ended");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
