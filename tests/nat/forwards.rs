//! From the host to a guest: forwards of both families and protocols.

use crate::lab::{GATEWAY, GATEWAY6, GUEST, GUEST6, Lab, bytes, drink, listen, pour, udp};
use std::net::TcpStream;
use support::{PATIENCE, needs, require};

const KEYS: &str = ",forward=tcp:127.0.0.1:2222->10.0.2.15:22,forward=tcp:[::1]:2222->[2001:db8::15]:22,\
                    forward=udp:127.0.0.1:2222->10.0.2.15:22,forward=udp:[::1]:2222->[2001:db8::15]:22";

#[test]
fn connections_lead_to_the_guest() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("forward", KEYS);
    let data = bytes(4 << 20);
    for (host, guest, gateway) in [("127.0.0.1", GUEST, GATEWAY), ("[::1]", "[2001:db8::15]", GATEWAY6)] {
        let inside = listen(&lab.guest, &format!("{guest}:22"));
        let client = lab.host.inside(|| TcpStream::connect(format!("{host}:2222"))).expect("the forward listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (server, from) = inside.accept().expect("a client");
        assert_eq!(from.ip().to_string(), gateway);
        let (up, down) = std::thread::scope(|scope| {
            let up = scope.spawn(|| drink(&server));
            let down = scope.spawn(|| drink(&client));
            scope.spawn(|| pour(&client, &data));
            pour(&server, &data);
            (up.join().expect("read"), down.join().expect("read"))
        });
        assert!(up == data && down == data, "{host}: {} in, {} out", up.len(), down.len());
        // nobody listens there any more
        drop(inside);
        let late = lab.host.inside(|| TcpStream::connect(format!("{host}:2222"))).expect("the forward listens");
        late.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert!(
            std::io::Read::read(&mut &late, &mut [0; 1])
                .is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionReset })
        );
    }
}

#[test]
fn datagrams_lead_to_the_guest_and_back() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("forward-udp", KEYS);
    for (host, guest, gateway) in [("127.0.0.1", GUEST, GATEWAY), ("[::1]", "[2001:db8::15]", GATEWAY6)] {
        let inside = udp(&lab.guest, &format!("{guest}:22"));
        let clients = [udp(&lab.host, &format!("{host}:0")), udp(&lab.host, &format!("{host}:0"))];
        let mut room = [0; 64];
        for (number, client) in clients.iter().enumerate() {
            client.send_to(&[number as u8; 20], format!("{host}:2222")).expect("the forward takes it");
        }
        for _ in &clients {
            let (count, from) = inside.recv_from(&mut room).expect("a datagram");
            assert_eq!((count, from.ip().to_string()), (20, gateway.to_owned()));
            inside.send_to(&room[..1], from).expect("an answer");
        }
        for (number, client) in clients.iter().enumerate() {
            let (count, _) = client.recv_from(&mut room).expect("the answer");
            assert_eq!(room[..count], [number as u8], "each client has its own");
        }
    }
}

#[test]
fn a_client_of_a_guest_that_is_not_there_is_turned_away() {
    require!(needs::netns(), needs::tun());
    let lab = Lab::start("absent", ",forward=tcp:127.0.0.1:2223->10.0.2.99:22");
    let client = lab.host.inside(|| TcpStream::connect("127.0.0.1:2223")).expect("the forward listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let error = std::io::Read::read(&mut &client, &mut [0; 1]).expect_err("nobody is there");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(lab.guest.pings(GUEST6) && lab.guest.pings(GATEWAY));
}
