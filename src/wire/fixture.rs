//! Frames for the tests of this room: built, measured and summed by etherparse alone, so that a test compares two
//! independent makers of the same bytes.

use super::{Checksum, Gso, Offload};
use etherparse::{Ipv4Header, Ipv4Options, Ipv6Header, SlicedPacket, TcpHeader, TransportSlice, UdpHeader, ip_number};
use proptest::prelude::*;

/// One network header, extension headers behind it.
#[derive(Clone, Debug)]
pub enum Ip {
    V4(Ipv4Header),
    V6(Ipv6Header, Vec<u8>),
}

/// One transport header.
#[derive(Clone, Debug)]
pub enum Transport {
    Tcp(TcpHeader),
    Udp(UdpHeader),
}

/// The headers of a frame: all that is needed to make one out of a payload.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Addresses, tags and the last type.
    pub link: Vec<u8>,
    pub ip: Ip,
    pub transport: Transport,
}

/// The 16-bit words of `bytes`, added one by one.
pub fn naive_sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

impl Flow {
    /// The plain frame that carries `payload`: right lengths, right checksums.
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut flow = self.clone();
        flow.complete(payload);
        let mut frame = flow.link.clone();
        match &flow.ip {
            Ip::V4(header) => header.write_raw(&mut frame).unwrap(),
            Ip::V6(header, extensions) => {
                header.write(&mut frame).unwrap();
                frame.extend_from_slice(extensions);
            }
        }
        match &flow.transport {
            Transport::Tcp(header) => header.write(&mut frame).unwrap(),
            Transport::Udp(header) => header.write(&mut frame).unwrap(),
        }
        frame.extend_from_slice(payload);
        frame
    }

    fn complete(&mut self, payload: &[u8]) {
        let length = self.transport_header_len() + payload.len();
        if let Transport::Udp(header) = &mut self.transport {
            header.length = length as u16;
        }
        match &mut self.ip {
            Ip::V4(header) => {
                header.set_payload_len(length).unwrap();
                header.header_checksum = header.calc_header_checksum();
            }
            Ip::V6(header, extensions) => header.set_payload_length(extensions.len() + length).unwrap(),
        }
        let (ip, transport) = (&self.ip, &mut self.transport);
        match (ip, transport) {
            (Ip::V4(ip), Transport::Tcp(tcp)) => tcp.checksum = tcp.calc_checksum_ipv4(ip, payload).unwrap(),
            (Ip::V6(ip, _), Transport::Tcp(tcp)) => tcp.checksum = tcp.calc_checksum_ipv6(ip, payload).unwrap(),
            (Ip::V4(ip), Transport::Udp(udp)) => udp.checksum = udp.calc_checksum_ipv4(ip, payload).unwrap(),
            (Ip::V6(ip, _), Transport::Udp(udp)) => udp.checksum = udp.calc_checksum_ipv6(ip, payload).unwrap(),
        }
    }

    /// The frame that carries `payload` as a sender leaves it to an offload: the checksum field holds the sum of the
    /// pseudo header. With `gso_size` it is a super-frame.
    pub fn offloaded(&self, payload: &[u8], gso_size: Option<u16>) -> (Vec<u8>, Offload) {
        let mut frame = self.frame(payload);
        let (start, offset) = (self.transport_at(), self.checksum_offset());
        let length = (self.transport_header_len() + payload.len()) as u32;
        let seed = match (&self.ip, self.protocol()) {
            (Ip::V4(ip), protocol) => {
                naive_sum(&[&ip.source[..], &ip.destination, &[0, protocol], &(length as u16).to_be_bytes()].concat())
            }
            (Ip::V6(ip, _), protocol) => {
                naive_sum(&[&ip.source[..], &ip.destination, &length.to_be_bytes(), &[0, 0, 0, protocol]].concat())
            }
        };
        frame[start + offset..][..2].copy_from_slice(&seed.to_be_bytes());
        let gso = match (gso_size, &self.ip, &self.transport) {
            (None, ..) => Gso::None,
            (_, Ip::V4(_), Transport::Tcp(tcp)) => Gso::Tcp4 { ecn: tcp.cwr },
            (_, Ip::V6(..), Transport::Tcp(tcp)) => Gso::Tcp6 { ecn: tcp.cwr },
            (_, _, Transport::Udp(_)) => Gso::Udp,
        };
        let checksum = Checksum::Partial { start: start as u16, offset: offset as u16 };
        let header_len = (start + self.transport_header_len()) as u16;
        (frame, Offload { gso, gso_size: gso_size.unwrap_or(0), header_len, checksum })
    }

    /// What the super-frame of `payload` is to be cut into, made one by one.
    pub fn segments(&self, payload: &[u8], gso_size: usize) -> Vec<Vec<u8>> {
        let chunks: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(gso_size).collect() };
        let count = chunks.len();
        let segment = |(index, chunk): (usize, &[u8])| {
            let mut flow = self.clone();
            if let Ip::V4(ip) = &mut flow.ip {
                ip.identification = ip.identification.wrapping_add(index as u16);
            }
            if let Transport::Tcp(tcp) = &mut flow.transport {
                tcp.sequence_number = tcp.sequence_number.wrapping_add((index * gso_size) as u32);
                tcp.fin &= index + 1 == count;
                tcp.psh &= index + 1 == count;
                tcp.cwr &= index == 0;
            }
            flow.frame(chunk)
        };
        chunks.into_iter().enumerate().map(segment).collect()
    }

    /// Where the transport header begins.
    pub fn transport_at(&self) -> usize {
        self.link.len()
            + match &self.ip {
                Ip::V4(header) => header.header_len(),
                Ip::V6(_, extensions) => 40 + extensions.len(),
            }
    }

    /// Where the transport's checksum is, in bytes behind [`Flow::transport_at`].
    pub fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp(_) => 16,
            Transport::Udp(_) => 6,
        }
    }

    fn transport_header_len(&self) -> usize {
        match &self.transport {
            Transport::Tcp(header) => header.header_len(),
            Transport::Udp(_) => 8,
        }
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => ip_number::TCP.0,
            Transport::Udp(_) => ip_number::UDP.0,
        }
    }
}

/// Asks etherparse whether every length and checksum of `frame` is right.
pub fn assert_valid(frame: &[u8]) {
    use etherparse::NetSlice;
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (found, wanted) = match (packet.net.unwrap(), packet.transport.unwrap()) {
        (NetSlice::Ipv4(ip), transport) => {
            let (ip, sources) = (ip.header(), (ip.header().source(), ip.header().destination()));
            assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum(), "IPv4 header checksum");
            match transport {
                TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv4(sources.0, sources.1).unwrap()),
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    (udp.checksum(), header.calc_checksum_ipv4_raw(sources.0, sources.1, udp.payload()).unwrap())
                }
                other => panic!("{other:?}"),
            }
        }
        (NetSlice::Ipv6(ip), transport) => {
            let sources = (ip.header().source(), ip.header().destination());
            match transport {
                TransportSlice::Tcp(tcp) => (tcp.checksum(), tcp.calc_checksum_ipv6(sources.0, sources.1).unwrap()),
                TransportSlice::Udp(udp) => {
                    let header = udp.to_header();
                    (udp.checksum(), header.calc_checksum_ipv6_raw(sources.0, sources.1, udp.payload()).unwrap())
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(found, wanted, "transport checksum");
}

/// Extension headers as bytes, the first one's number and how they end: any of hop-by-hop, destination options and a
/// finished routing header.
fn extensions(hop: bool, options: bool, route: bool, protocol: u8) -> (u8, Vec<u8>) {
    let mut numbers: Vec<u8> = Vec::new();
    numbers.extend(hop.then_some(ip_number::IPV6_HOP_BY_HOP.0));
    numbers.extend(options.then_some(ip_number::IPV6_DEST_OPTIONS.0));
    numbers.extend(route.then_some(ip_number::IPV6_ROUTE.0));
    let next = numbers.iter().skip(1).copied().chain([protocol]);
    let bytes = numbers.iter().zip(next).flat_map(|(number, next)| match number {
        // 16 bytes: PadN of 12.
        0 | 60 => vec![next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // 8 bytes, no segments left.
        _ => vec![next, 0, 0, 0, 0, 0, 0, 0],
    });
    (numbers.first().copied().unwrap_or(protocol), bytes.collect())
}

prop_compose! {
    fn tcp()(ports: [u16; 2], sequence: u32, ack: u32, flags in 0u8..64, window: u16, urgent: u16,
             options in prop::collection::vec(any::<u8>(), 0..=40)) -> Transport {
        let mut header = TcpHeader::new(ports[0], ports[1], sequence, window);
        header.acknowledgment_number = ack;
        header.urgent_pointer = urgent;
        [header.ack, header.psh, header.fin, header.cwr, header.ece, header.ns] =
            std::array::from_fn(|bit| flags >> bit & 1 == 1);
        header.set_options_raw(&options).unwrap();
        Transport::Tcp(header)
    }
}

fn transport() -> impl Strategy<Value = Transport> {
    let udp = any::<[u16; 2]>().prop_map(|[source_port, destination_port]| {
        Transport::Udp(UdpHeader { source_port, destination_port, length: 0, checksum: 0 })
    });
    prop_oneof![tcp(), udp]
}

fn network(protocol: u8) -> impl Strategy<Value = Ip> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u16>(), 0usize..=10, any::<bool>()).prop_map(
        move |(source, destination, identification, options, dont_fragment)| {
            let mut header = Ipv4Header::new(0, 64, ip_number::TCP, source, destination).unwrap();
            header.protocol = protocol.into();
            (header.identification, header.dont_fragment) = (identification, dont_fragment);
            header.options = Ipv4Options::try_from(&[1u8; 40][..options * 4]).unwrap();
            Ip::V4(header)
        },
    );
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[bool; 3]>(), any::<u8>()).prop_map(
        move |(source, destination, [hop, options, route], traffic_class)| {
            let (first, extensions) = extensions(hop, options, route, protocol);
            let next_header = first.into();
            let header =
                Ipv6Header { source, destination, next_header, traffic_class, hop_limit: 64, ..Default::default() };
            Ip::V6(header, extensions)
        },
    );
    prop_oneof![v4, v6]
}

/// Any headers that can be segmented.
pub fn flow() -> impl Strategy<Value = Flow> {
    let tags = prop_oneof![
        Just(vec![]),
        any::<u16>().prop_map(|tci| vec![(0x8100u16, tci)]),
        any::<[u16; 2]>().prop_map(|[outer, inner]| vec![(0x88a8, outer), (0x8100, inner)]),
    ];
    (tags, any::<[u8; 12]>(), transport())
        .prop_flat_map(|(tags, addresses, transport)| {
            let protocol = match transport {
                Transport::Tcp(_) => 6,
                Transport::Udp(_) => 17,
            };
            (Just(tags), Just(addresses), network(protocol), Just(transport))
        })
        .prop_map(|(tags, addresses, ip, transport)| {
            let mut link = addresses.to_vec();
            for (tpid, tci) in tags {
                link.extend_from_slice(&tpid.to_be_bytes());
                link.extend_from_slice(&tci.to_be_bytes());
            }
            let ether_type: u16 = if matches!(ip, Ip::V4(_)) { 0x0800 } else { 0x86dd };
            link.extend_from_slice(&ether_type.to_be_bytes());
            Flow { link, ip, transport }
        })
}

/// A TCP flow over IPv4 without options, for tests of one case.
pub fn tcp4(sequence: u32) -> Flow {
    let mut tcp = TcpHeader::new(5001, 40_000, sequence, 512);
    (tcp.ack, tcp.acknowledgment_number) = (true, 7);
    let ip = Ipv4Header::new(0, 64, ip_number::TCP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
    let link = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0].to_vec();
    Flow { link, ip: Ip::V4(ip), transport: Transport::Tcp(tcp) }
}
