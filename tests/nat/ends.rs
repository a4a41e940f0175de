//! How connections end: whole where they can be, and seen to be cut off where they cannot.

use crate::lab::{GATEWAY, GUEST, Lab, bytes, drink, udp};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::{needs, require};

/// All that a stream gives, and what it ends by.
fn to_the_end(mut stream: &TcpStream) -> (usize, Option<ErrorKind>) {
    let (mut count, mut room) = (0, vec![0; 65_536]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => return (count, None),
            Ok(more) => count += more,
            Err(error) => return (count, Some(error.kind())),
        }
    }
}

/// A server that has not read all of a request answers and closes: its kernel sends the answer, and then a reset.
#[test]
fn an_answer_in_front_of_a_reset_arrives() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("early", "");
    let listener = lab.listen("127.0.0.1:0");
    for length in [200, 5000, 30_000] {
        for _ in 0..5 {
            let (mut guest, mut host) = lab.joined(&listener);
            guest.write_all(&bytes(20_000)).expect("a request");
            host.read_exact(&mut [0; 100]).expect("its beginning");
            // the rest is there, unread
            std::thread::sleep(Duration::from_millis(20));
            host.write_all(&bytes(length)).expect("an answer");
            drop(host);
            assert_eq!(to_the_end(&guest), (length, Some(ErrorKind::ConnectionReset)));
        }
    }
}

/// A byte that is urgent is one of the stream.
#[test]
fn an_urgent_byte_stays_in_line() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("urgent", "");
    let listener = lab.listen("127.0.0.1:0");
    let (guest, mut host) = lab.joined(&listener);
    host.write_all(b"xx").expect("bytes");
    SockRef::from(&host).send_out_of_band(b"Y").expect("an urgent one");
    host.write_all(b"zz").expect("bytes");
    drop(host);
    assert_eq!(drink(&guest), b"xxYzz");
}

/// The bridge is told to end in the middle of a stream.
#[test]
fn what_is_cut_off_does_not_seem_whole() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("cut", "");
    let listener = lab.listen("127.0.0.1:0");
    let ((mut guest, host), (mut ended, last)) = (lab.joined(&listener), lab.joined(&listener));
    guest.write_all(&bytes(49_000)).expect("the beginning");
    ended.write_all(b"all of it").expect("the whole");
    ended.shutdown(std::net::Shutdown::Write).expect("its end");
    (&host).read_exact(&mut [0; 49_000]).expect("what was said");
    assert_eq!(drink(&last), b"all of it");
    lab.zbridge.sigterm();
    assert_eq!(to_the_end(&host), (0, Some(ErrorKind::ConnectionReset)));
    assert_eq!(to_the_end(&last), (0, None));
}

/// A client that asks at one of several addresses takes an answer from no other.
#[test]
fn a_datagram_is_answered_from_where_it_was_asked() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("asked", ",forward=udp:0.0.0.0:5300->10.0.2.15:5300,public");
    lab.host.ip("addr add 198.51.100.2/24 dev out");
    let server = udp(&lab.guest, &format!("{GUEST}:5300"));
    for (host, from) in [("127.0.0.2", "127.0.0.1"), ("198.51.100.1", "198.51.100.1"), ("198.51.100.2", "198.51.100.1")]
    {
        let client = udp(&lab.host, &format!("{from}:0"));
        let asked = format!("{host}:5300");
        for _ in 0..2 {
            client.send_to(b"ping", &asked).expect("a question");
            let (_, back) = server.recv_from(&mut [0; 16]).expect("it arrives");
            assert_eq!(back.ip().to_string(), GATEWAY);
            server.send_to(b"pong", back).expect("an answer");
            let (_, answered) = client.recv_from(&mut [0; 16]).expect("it arrives, too");
            assert_eq!(answered.to_string(), asked);
        }
    }
}
