//! Where the headers of a TCP or UDP frame are: Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension
//! headers, transport. The headers themselves are etherparse's slices; this finds their offsets, which is what a
//! rewriter needs.
//!
//! What cannot be cut or summed as one datagram is refused: fragments, headers that sign what they cover (AH), jumbograms.

use super::checksum::{Sum, pseudo_v4, pseudo_v6};
use super::view::{Ethernet, VLAN_TAG, is_tpid};
use etherparse::{
    EtherType, IpNumber, Ipv4HeaderSlice, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice, TcpHeaderSlice,
    UdpHeaderSlice, ether_type, ip_number,
};

/// A frame that cannot be segmented or summed as asked. It is a drop, to be counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFrame {
    /// A header or the datagram its length field promises goes beyond the end of the frame, or contradicts itself.
    #[error("headers are cut short or contradict the frame's length")]
    Length,
    /// Not TCP or UDP over IPv4 or IPv6, or below headers that are not understood.
    #[error("not TCP or UDP over IP")]
    Unsupported,
    /// A fragment of a datagram.
    #[error("a fragment")]
    Fragment,
    /// The offload asks for something these headers are not.
    #[error("the offload does not fit the frame's headers")]
    Mismatch,
    /// More bytes of headers than a segment's template holds.
    #[error("headers too long to be segmented")]
    Headers,
    /// The segment size would make absurdly many segments of this frame.
    #[error("too many segments")]
    Segments,
    /// The checksum to be completed is not inside the frame.
    #[error("checksum field outside the frame")]
    Checksum,
}

/// The network header of a frame.
#[derive(Clone, Debug)]
pub enum Network<'a> {
    /// IPv4 with its options.
    V4(Ipv4HeaderSlice<'a>),
    /// IPv6.
    V6 {
        /// The fixed header.
        header: Ipv6HeaderSlice<'a>,
        /// There is a routing header that has not reached its end: the pseudo header's destination is not the one in
        /// the fixed header.
        en_route: bool,
    },
}

/// The transport header of a frame.
#[derive(Clone, Debug)]
pub enum Transport<'a> {
    /// TCP with its options.
    Tcp(TcpHeaderSlice<'a>),
    /// UDP.
    Udp(UdpHeaderSlice<'a>),
}

/// The headers of a frame and where they are. All offsets count from the first byte of the frame, and
/// `network < transport < payload <= end <=` the frame's length.
#[derive(Clone, Debug)]
pub struct Layers<'a> {
    /// The network header.
    pub network: Network<'a>,
    /// Where it begins.
    pub network_at: usize,
    /// The transport header.
    pub transport: Transport<'a>,
    /// Where it begins.
    pub transport_at: usize,
    /// Where the payload begins.
    pub payload_at: usize,
    /// The end of the datagram; padding follows.
    pub end: usize,
}

impl<'a> Layers<'a> {
    /// Finds the headers of `frame`.
    ///
    /// # Errors
    /// [`BadFrame::Length`], [`BadFrame::Unsupported`] or [`BadFrame::Fragment`].
    pub fn parse(frame: &'a [u8]) -> Result<Self, BadFrame> {
        let (ether_type, network_at) = network_at(frame)?;
        Self::parse_at(frame, ether_type, network_at)
    }

    /// Finds the headers from the network header of this type at `network_at` on, whatever lies before it.
    ///
    /// # Errors
    /// As [`Layers::parse`].
    pub(super) fn parse_at(frame: &'a [u8], ether_type: EtherType, network_at: usize) -> Result<Self, BadFrame> {
        let packet = frame.get(network_at..).unwrap_or_default();
        let (network, protocol, header_len, end) = network_header(ether_type, packet)?;
        let datagram = packet.get(header_len..end).ok_or(BadFrame::Length)?;
        let (transport, transport_len) = match protocol {
            ip_number::TCP => {
                let header = TcpHeaderSlice::from_slice(datagram).map_err(|_| BadFrame::Length)?;
                let len = header.slice().len();
                (Transport::Tcp(header), len)
            }
            ip_number::UDP => {
                let header = UdpHeaderSlice::from_slice(datagram).map_err(|_| BadFrame::Length)?;
                let len = header.slice().len();
                (Transport::Udp(header), len)
            }
            _ => return Err(BadFrame::Unsupported),
        };
        let transport_at = network_at + header_len;
        let payload_at = transport_at + transport_len;
        Ok(Self { network, network_at, transport, transport_at, payload_at, end: network_at + end })
    }

    /// The sum of the pseudo header for `length` bytes of transport header and payload; `None` where the final
    /// destination is not in the fixed header.
    pub fn pseudo(&self, length: u32) -> Option<Sum> {
        let protocol = match self.transport {
            Transport::Tcp(_) => ip_number::TCP,
            Transport::Udp(_) => ip_number::UDP,
        };
        match &self.network {
            Network::V4(header) => Some(pseudo_v4(header.source(), header.destination(), protocol.0, length)),
            Network::V6 { header, en_route: false } => {
                Some(pseudo_v6(header.source(), header.destination(), protocol.0, length))
            }
            Network::V6 { en_route: true, .. } => None,
        }
    }

    /// Bytes of transport header and payload.
    pub const fn transport_len(&self) -> usize {
        self.end - self.transport_at
    }

    /// Where the checksum field of the transport header is, counted from that header.
    pub const fn checksum_offset(&self) -> usize {
        match self.transport {
            Transport::Tcp(_) => 16,
            Transport::Udp(_) => 6,
        }
    }
}

/// The type behind at most two VLAN tags, and the offset of its payload.
pub(super) fn network_at(frame: &[u8]) -> Result<(EtherType, usize), BadFrame> {
    let view = Ethernet::new(frame).map_err(|_| BadFrame::Length)?;
    let (outer, at) = (view.ether_type(), view.payload_offset());
    if view.tag().is_none() || !is_tpid(outer) {
        return Ok((outer, at));
    }
    match view.payload().first_chunk() {
        Some(&[_, _, t0, t1]) => Ok((EtherType(u16::from_be_bytes([t0, t1])), at + VLAN_TAG)),
        None => Err(BadFrame::Length),
    }
}

/// The header at the start of `packet`, the protocol behind it, the header's length and the datagram's end.
pub(super) type Parsed<'a> = (Network<'a>, IpNumber, usize, usize);

/// The network header of this type at the start of `packet`.
pub(super) fn network_header(ether_type: EtherType, packet: &[u8]) -> Result<Parsed<'_>, BadFrame> {
    match ether_type {
        ether_type::IPV4 => ipv4(packet),
        ether_type::IPV6 => ipv6(packet),
        _ => Err(BadFrame::Unsupported),
    }
}

fn ipv4(packet: &[u8]) -> Result<Parsed<'_>, BadFrame> {
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| BadFrame::Length)?;
    if header.is_fragmenting_payload() {
        return Err(BadFrame::Fragment);
    }
    let (protocol, len, end) = (header.protocol(), header.slice().len(), usize::from(header.total_len()));
    Ok((Network::V4(header), protocol, len, end))
}

/// Whether a packet is whole, or which fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// It has no fragment header.
    Whole,
    /// The one that a datagram begins with, or all of it behind a fragment header.
    First,
    /// Another one.
    Later,
}

/// The payload behind the extension headers of an IPv6 packet, read as far as it goes, fragments too.
#[derive(Clone, Copy, Debug)]
pub struct BehindV6<'a> {
    /// The hop limit.
    pub hop_limit: u8,
    /// The protocol of the payload.
    pub protocol: IpNumber,
    /// What follows the headers. Of a later fragment it says nothing.
    pub payload: &'a [u8],
    /// Whether it is all of a datagram.
    pub part: Part,
    /// The headers do not end in it, or contradict themselves.
    pub is_cut: bool,
}

impl<'a> BehindV6<'a> {
    /// Reads a packet; `None` without a whole fixed header.
    pub fn read(packet: &'a [u8]) -> Option<Self> {
        let header = Ipv6HeaderSlice::from_slice(packet).ok()?;
        let behind = packet.get(header.slice().len()..)?;
        let behind = behind.get(..usize::from(header.payload_length())).unwrap_or(behind);
        let (extensions, protocol, payload, error) = Ipv6ExtensionsSlice::from_slice_lax(header.next_header(), behind);
        let fragment = extensions.into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment),
            _ => None,
        });
        let part = match fragment {
            None => Part::Whole,
            Some(fragment) if fragment.fragment_offset().value() == 0 => Part::First,
            Some(_) => Part::Later,
        };
        Some(Self { hop_limit: header.hop_limit(), protocol, payload, part, is_cut: error.is_some() })
    }
}

fn ipv6(packet: &[u8]) -> Result<Parsed<'_>, BadFrame> {
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| BadFrame::Length)?;
    let fixed = header.slice().len();
    let end = fixed + usize::from(header.payload_length());
    let behind = packet.get(fixed..end).ok_or(BadFrame::Length)?;
    let (extensions, protocol, _) =
        Ipv6ExtensionsSlice::from_slice(header.next_header(), behind).map_err(|_| BadFrame::Length)?;
    let len = fixed + extensions.slice().len();
    let mut en_route = false;
    for extension in extensions {
        match extension {
            Ipv6ExtensionSlice::HopByHop(_) | Ipv6ExtensionSlice::DestinationOptions(_) => {}
            // Byte 3 is "segments left" (RFC 8200, 4.4), the second of the payload behind next header and length.
            Ipv6ExtensionSlice::Routing(route) => en_route |= route.payload().get(1) != Some(&0),
            Ipv6ExtensionSlice::Fragment(_) => return Err(BadFrame::Fragment),
            Ipv6ExtensionSlice::Authentication(_) => return Err(BadFrame::Unsupported),
        }
    }
    Ok((Network::V6 { header, en_route }, protocol, len, end))
}
