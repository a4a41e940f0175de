//! The gateway in memory: a guest's packets to a host whose sockets take everything, through as many flows as a round has
//! frames.

use crate::{FRAMES, NOW, ROUNDS, Round, mac};
use etherparse::PacketBuilder;
use std::hint::black_box;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use zbridge::config::{PortKind, PortSpec};
use zbridge::frame::{Batch, MAX_FRAME, Outgoing, PREFIX};
use zbridge::internals::service::Nat;
use zbridge::service::{Arrived, Datagrams, Event, Ingress, Outside, Refused, Service, SocketId};
use zbridge::wire::{Checksum, Offload};

/// Bytes that a packet carries.
const PAYLOAD: usize = 1000;
const GATEWAY: [u8; 6] = [2, 0x6e, 10, 0, 2, 2];

/// A host whose sockets take everything and answer each datagram with one of the same length.
#[derive(Default)]
struct Beyond {
    next: u64,
    answers: Vec<(SocketId, SocketAddr)>,
}

impl Beyond {
    fn socket(&mut self) -> Result<SocketId> {
        self.next += 1;
        Ok(SocketId(self.next))
    }
}

impl Outside for Beyond {
    fn connect(&mut self, _: SocketAddr) -> Result<SocketId> {
        self.socket()
    }
    fn connected(&mut self, _: SocketId) -> Result<()> {
        Ok(())
    }
    fn open(&mut self, _: Datagrams, _: bool) -> Result<SocketId> {
        self.socket()
    }
    fn accept(&mut self, _: SocketId) -> Result<(SocketId, SocketAddr)> {
        Err(ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, _: SocketId, bytes: &[u8]) -> Result<usize> {
        Ok(black_box(bytes).len())
    }
    fn recv(&mut self, _: SocketId, _: &mut [u8]) -> Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
    fn send_to(&mut self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> Result<()> {
        black_box(bytes);
        self.answers.push((socket, to));
        Ok(())
    }
    fn recv_from(&mut self, socket: SocketId, _: &mut [u8]) -> Result<(usize, SocketAddr)> {
        let (_, from) = self.answers.pop_if(|(asked, _)| *asked == socket).ok_or(ErrorKind::WouldBlock)?;
        Ok((PAYLOAD, from))
    }
    fn refused(&mut self, _: SocketId) -> Option<Refused> {
        None
    }
    fn shutdown(&mut self, _: SocketId) {}
    fn close(&mut self, _: SocketId, _: bool) {}
}

/// The gateway, its host, and what it sends.
struct Lab {
    nat: Nat,
    host: Beyond,
    out: Batch,
}

impl Lab {
    fn new() -> Self {
        let spec = PortSpec::parse("nat:10.0.2.2/24").expect("a port");
        let PortKind::Nat(config) = &spec.kind else { panic!("a gateway") };
        let nat = Nat::new(&spec, config, 7).expect("a gateway");
        let mut lab = Self { nat, host: Beyond::default(), out: Batch::new(2 * FRAMES * 1500 + PREFIX + MAX_FRAME) };
        // it says where it is
        lab.said();
        lab
    }

    fn hear(&mut self, frame: &[u8]) {
        let offload = Offload { checksum: Checksum::Valid, ..Offload::NONE };
        let arrived = Arrived { ingress: Ingress::ONLY, frame: black_box(frame), offload };
        self.nat.handle_frame(NOW, arrived, &mut self.host);
    }

    fn tell(&mut self, socket: SocketId, readable: bool, writable: bool) {
        self.nat.handle_event(NOW, Event { socket, readable, writable, refused: false }, &mut self.host);
    }

    /// The frames that it sends now.
    fn said(&mut self) -> Outgoing<'_> {
        self.out.clear();
        self.nat.poll_transmit(NOW, &mut self.host, &mut self.out);
        Outgoing::rest_of(black_box(&self.out), 0)
    }
}

fn packet() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(mac(0, 0), GATEWAY).ipv4([10, 0, 2, 15], [198, 51, 100, 7], 64)
}

/// A segment of a stream to each of the flows, which the host takes, and its acknowledgement.
pub fn tcp() -> Round {
    let mut lab = Lab::new();
    let segment = |flow: usize, seq: u32| packet().tcp(5000 + flow as u16, 80, seq, 0xffff);
    let write = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]| {
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).expect("memory");
        frame
    };
    let mut acks = Vec::new();
    for flow in 0..FRAMES {
        lab.hear(&write(segment(flow, 0).syn(), &[]));
        lab.tell(SocketId(flow as u64 + 1), false, true);
        let answer = lab.said().frames().map(|(_, frame)| frame[38..42].try_into().expect("four bytes")).next();
        acks.push(u32::from_be_bytes(answer.expect("an answer")).wrapping_add(1));
        lab.hear(&write(segment(flow, 1).ack(acks[flow]), &[]));
    }
    let rounds: Vec<Vec<Vec<u8>>> = (0..2 * ROUNDS)
        .map(|round| {
            let seq = 1 + (round * PAYLOAD) as u32;
            (0..FRAMES).map(|flow| write(segment(flow, seq).ack(acks[flow]), &[7; PAYLOAD])).collect()
        })
        .collect();
    Box::new(move |round| {
        rounds[round].iter().for_each(|frame| lab.hear(frame));
        assert_eq!(lab.said().len(), FRAMES, "every segment is acknowledged");
    })
}

/// A datagram from each of the ports, and its answer.
pub fn udp() -> Round {
    let mut lab = Lab::new();
    let frames: Vec<Vec<u8>> = (0..FRAMES)
        .map(|flow| {
            let mut frame = Vec::new();
            packet().udp(5000 + flow as u16, 7).write(&mut frame, &[7; PAYLOAD]).expect("memory");
            frame
        })
        .collect();
    Box::new(move |_| {
        frames.iter().for_each(|frame| lab.hear(frame));
        // the last is the first that finds its answer
        (1..=FRAMES as u64).rev().for_each(|socket| lab.tell(SocketId(socket), true, false));
        assert_eq!(lab.said().len(), FRAMES, "every datagram is answered");
    })
}
