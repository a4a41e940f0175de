//! What a program that embeds zbridge relies on, by its public names alone.

use rustix::event::{PollFd, PollFlags, poll};
use std::error::Error as _;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use support::{PATIENCE, TempDir, eventually};
use zbridge::config::PortSpec;
use zbridge::engine::{Bridge, Closed, Link, SendError};
use zbridge::error::{Class, Error};
use zbridge::frame::{Batch, MAX_FRAME, PortId};
use zbridge::service::{Arrived, Outside, Service};
use zbridge::switch::PortConfig;
use zbridge::time::Instant;
use zbridge::wire::Offload;

#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/embed_tokio.rs"]
mod embed_tokio;
#[path = "../examples/toy_port.rs"]
mod toy_port;
#[path = "../examples/toy_service.rs"]
mod toy_service;

/// The examples of a program that embeds the switch end well.
#[test]
fn the_examples_run() {
    embed::main().unwrap();
    embed_tokio::main().unwrap();
    toy_port::main().unwrap();
    toy_service::main().unwrap();
}

/// Why a port cannot be added.
fn refusal(spec: &str) -> Error {
    Bridge::empty().unwrap().add_port(PortSpec::parse(spec).unwrap()).unwrap_err()
}

#[test]
fn an_error_tells_what_the_system_has_refused() {
    let dir = TempDir::new();
    let kind = |error: &Error| error.source().unwrap().downcast_ref::<std::io::Error>().map(std::io::Error::kind);

    let error = refusal(&format!("unix:{}", dir.text("nowhere/inst")));
    assert_eq!((error.class(), kind(&error)), (Class::NoObject, Some(ErrorKind::NotFound)), "{error}");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = refusal(&format!("tcp:{},listen", taken.local_addr().unwrap()));
    assert_eq!((error.raw_os_error(), kind(&error)), (Some(libc::EADDRINUSE), Some(ErrorKind::AddrInUse)), "{error}");

    // Where the text says it in words of its own, the number stands behind it too.
    std::fs::write(dir.path("file"), "").unwrap();
    let error = refusal(&format!("unix:{}", dir.text("file")));
    assert!(error.what().ends_with("it exists and is no socket"), "{error}");
    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    let error = refusal("packet:zb-nowhere");
    assert!([libc::ENODEV, libc::EPERM].map(Some).contains(&error.raw_os_error()), "{error:?}");

    let error = PortSpec::parse("tpa:zeth0").unwrap_err();
    assert_eq!((error.class(), error.raw_os_error(), error.source().is_none()), (Class::Usage, None, true));
}

/// Whose a descriptor of a program is that embeds the switch, its number does not tell.
#[test]
fn no_descriptor_is_taken_by_its_number() {
    let (ours, _theirs) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
    for spec in ["tap:zeth0,fd=N", "slip:fd:N"] {
        let error = refusal(&spec.replace('N', &ours.as_raw_fd().to_string()));
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert!(error.advice().unwrap().contains("a program that embeds zbridge"), "{error}");
    }
}

fn frame(dst: u8, src: u8, text: &str) -> Vec<u8> {
    let dst = if dst == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, dst] };
    [&dst[..], &[2, 0, 0, 0, 0, src], &[0x88, 0xb5], text.as_bytes()].concat()
}

/// Two ports of this program on one switch.
fn two_ports() -> (Bridge, Link, Link) {
    let bridge = Bridge::empty().unwrap();
    let links = ["a", "b"].map(|name| bridge.add_channel("default", name).unwrap());
    let [a, b] = links;
    (bridge, a, b)
}

/// Whether a descriptor is readable within `timeout`.
fn readable(fd: impl AsFd, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut fds, Some(&timeout.try_into().unwrap())).unwrap() == 1
}

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn a_descriptor_tells_that_there_is_a_frame() {
    let (bridge, a, mut b) = two_ports();
    assert!(readable(&b, AT_ONCE), "from the start, until somebody has looked");
    assert_eq!(b.try_recv(), Ok(None));
    assert!(!readable(&b, AT_ONCE));
    for number in 0..1000 {
        // Several may come as one.
        (0..1 + number % 3).for_each(|_| a.send(&frame(0xff, 1, "hello")).unwrap());
        let mut got = 0;
        while got < 1 + number % 3 {
            assert!(readable(&b, PATIENCE));
            while let Some(bytes) = b.try_recv().unwrap() {
                assert_eq!(bytes, frame(0xff, 1, "hello"));
                got += 1;
            }
        }
        assert!(!readable(&b, AT_ONCE), "nothing is there");
    }
    bridge.stop().unwrap();
    assert!(readable(&b, PATIENCE), "the end is told of");
    assert_eq!(b.try_recv(), Err(Closed));
    assert_eq!(a.try_send(&frame(0xff, 1, "x")), Err(SendError::Closed(Closed)));
    assert_eq!(std::io::Error::from(SendError::from(Closed)).kind(), ErrorKind::BrokenPipe);
}

/// The switch is held up, for the other end of its only other port takes nothing.
#[test]
fn a_descriptor_tells_that_there_is_room() {
    let bridge = Bridge::empty().unwrap();
    let handle = bridge.switch("default").unwrap();
    let port = |queue| PortConfig::with(|port| port.queue = queue);
    let (sender, _receiver) = handle.add_channel("a", port(100)).unwrap().split();
    let mut b = handle.add_channel("b", port(100)).unwrap();
    assert_eq!(sender.try_send(&[0; MAX_FRAME + 1]), Err(SendError::TooLong));
    assert_eq!(sender.send(&[0; MAX_FRAME + 1]), Err(SendError::TooLong));
    let (mut sent, mut full) = (0, 0);
    while full < 100 {
        match sender.try_send(&frame(0xff, 1, &format!("{sent}"))) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => {
                full += 1;
                while !readable(&sender, AT_ONCE) {
                    let _ = b.recv(Duration::from_millis(1)).unwrap();
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(sent > 1000, "{sent}");
    bridge.stop().unwrap();
    assert!(readable(&sender, PATIENCE));
    assert_eq!(sender.try_send(&frame(0xff, 1, "x")), Err(SendError::Closed(Closed)));
}

#[test]
fn the_halves_of_a_port_work_in_two_threads_and_go_together() {
    let (bridge, a, b) = two_ports();
    let ((a_send, a_recv), (b_send, mut b_recv)) = (a.split(), b.split());
    let echo = std::thread::spawn(move || {
        let mut got = 0;
        while let Ok(Some(_)) = b_recv.recv(PATIENCE) {
            got += 1;
            if got == 5000 {
                break;
            }
        }
        (got, b_recv)
    });
    (0..5000).for_each(|number| a_send.send(&frame(0xff, 1, &format!("{number}"))).unwrap());
    let (got, b_recv) = echo.join().unwrap();
    assert_eq!(got, 5000);
    drop(a_recv);
    let ports = || bridge.status().unwrap()[0].ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    eventually("the port goes with its first half", || (ports() == ["b"]).then_some(()));
    assert_eq!(a_send.send(b"x"), Err(SendError::Closed(Closed)));
    drop(b_send);
    eventually("and so does the other's", || ports().is_empty().then_some(()));
    assert_eq!(b_recv.recv_batch(Some(PATIENCE)).err(), Some(Closed));
    bridge.stop().unwrap();
}

/// What was sent before the port was dropped arrives.
#[test]
fn last_words_are_heard() {
    let (bridge, mut a, b) = two_ports();
    drop(b);
    for round in 0..100 {
        let b = bridge.add_channel("default", &format!("b{round}")).unwrap();
        b.send(&frame(0xff, 2, "last words")).unwrap();
        drop(b);
        assert_eq!(a.recv(PATIENCE).unwrap(), Some(frame(0xff, 2, "last words")));
    }
    bridge.stop().unwrap();
}

/// Sends each frame back, and breaks at one that says so. Tells when it is dropped.
struct Echo(Vec<Vec<u8>>, Sender<()>);

impl Service for Echo {
    fn handle_frame(&mut self, _: Instant, arrived: Arrived<'_>, _: &mut dyn Outside) {
        assert_ne!(&arrived.frame[14..], b"break");
        self.0.push([&arrived.frame[6..12], &arrived.frame[..6], &arrived.frame[12..]].concat());
    }

    fn handle_timeout(&mut self, _: Instant, _: &mut dyn Outside) {}

    fn poll_transmit(&mut self, _: Instant, _: &mut dyn Outside, out: &mut Batch) -> bool {
        self.0.drain(..).for_each(|frame| assert!(out.push(&frame, PortId(0), Offload::NONE)));
        false
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.1.send(());
    }
}

#[test]
fn a_service_of_the_program_lives_as_long_as_its_port() {
    let (bridge, mut a, b) = two_ports();
    let (dropped, is_dropped) = channel();
    let echo = || Echo(Vec::new(), dropped.clone());
    let error = bridge.add_service("default", "echo", |_| Err::<Echo, _>(Error::usage("not today"))).unwrap_err();
    assert_eq!(error.what(), "not today");
    let error = bridge.add_service("default", "b", |_| Ok(echo())).unwrap_err();
    assert_eq!(error.what(), "there is a port named b already");
    is_dropped.recv_timeout(PATIENCE).unwrap();

    drop(b);
    bridge.add_service("default", "echo", |_| Ok(echo())).unwrap();
    let mut asks = |text: &str| {
        a.send(&frame(2, 1, text)).unwrap();
        a.recv(PATIENCE).unwrap()
    };
    assert_eq!(asks("hello"), Some(frame(1, 2, "hello")));
    bridge.switch("default").unwrap().remove_port("echo").unwrap();
    is_dropped.recv_timeout(PATIENCE).unwrap();

    // Both hear it and break; each is told of, and the switch goes on.
    bridge.add_service("default", "echo", |_| Ok(echo())).unwrap();
    bridge.add_service("default", "other", |_| Ok(echo())).unwrap();
    a.send(&frame(2, 1, "break")).unwrap();
    for _ in 0..2 {
        let ended = bridge.wait_ended(Some(PATIENCE)).unwrap();
        assert!(ended.port.is_some_and(|port| ["echo", "other"].contains(&port.as_str())));
        assert_eq!(ended.why.class(), Class::Fault);
    }
    assert!(bridge.has_a_switch());
    assert_eq!(bridge.stop().unwrap_err().class(), Class::Fault);
}
