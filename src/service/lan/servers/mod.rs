//! The servers of a segment behind its gateway: performs the outputs of [`Segment`].
//!
//! # Theory of operation
//! The gateway hands its [`Servers`] each datagram to one of its addresses, to multicast or broadcast. Those for a
//! server go to the segment, whose outputs are performed when the gateway asks for answers: queries leave by sockets of
//! the host (`asks`), files are read asynchronously, and streams to the resolver are connections of the gateway's
//! endpoint (`streams`). An answer goes to the station that its question came from, without ARP, so nobody else gets
//! it. DHCP and ARP pass the `Gate` first.

mod asks;
mod gate;
mod streams;

use super::segment::{Output, Segment};
use super::tftp::packet::Fault;
use super::{Datagram, dhcp4, dns, tftp};
use crate::config;
use crate::error::Result;
use crate::service::change::{Change, Changed};
use crate::service::detail::Details;
use crate::service::endpoint::{Endpoint, Event as StreamEvent};
use crate::service::lease::Lease;
use crate::service::outside::{Event, FileAnswer, Outside};
use crate::service::questions::{Answer, Question, Servers};
use crate::service::station::Station;
use crate::time::{Instant, earliest};
use crate::wire::Mac;
use asks::Asks;
use gate::Gate;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use streams::Streams;

/// See the module.
pub struct LanServers {
    segment: Segment,
    gate: Gate,
    asks: Asks,
    streams: Streams,
}

impl LanServers {
    /// The servers of a gateway on a segment of this MTU. `seed` is a number that nobody can guess.
    pub fn new(nat: &config::Nat, mtu: u16, seed: u64) -> Self {
        Self {
            segment: Segment::new(nat, mtu, seed),
            gate: Gate::new(nat),
            asks: Asks::default(),
            streams: Streams::default(),
        }
    }

    /// Enters leases from before a restart.
    pub fn restore(&mut self, now: Instant, leases: &[Lease]) {
        self.segment.restore(now, leases);
    }

    /// Before a query: reads the host's list of resolvers.
    fn look_up(&mut self, host: &mut dyn Outside) {
        if let Some(dns) = self.segment.dns() {
            dns.set_resolvers(host.resolvers());
        }
    }

    fn file(output: tftp::Output, host: &mut dyn Outside) {
        match output {
            tftp::Output::Open { file, path } => host.open_file(file, &path),
            tftp::Output::Read { file, offset, len } => host.read_file(file, offset, len),
            tftp::Output::Create { file, path } => host.create_file(file, &path),
            tftp::Output::Write { file, offset, bytes } => host.write_file(file, offset, bytes),
            tftp::Output::Keep(file) => host.keep_file(file),
            tftp::Output::Close(file) => host.close_file(file),
            tftp::Output::Send(_) => {}
        }
    }
}

/// The TFTP error for a failed file operation.
fn fault(error: std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::NotFound => Fault::NoFile,
        ErrorKind::PermissionDenied => Fault::Forbidden,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Fault::Full,
        _ => Fault::Other,
    }
}

impl Servers for LanServers {
    fn handle_datagram(&mut self, now: Instant, question: Question<'_>, host: &mut dyn Outside) -> bool {
        let Question { from, src, dst, payload } = question;
        if !self.segment.hears(dst) {
            return false;
        }
        if dst.port() == dns::PORT {
            self.look_up(host);
        }
        if dst.port() != dhcp4::SERVER_PORT || self.gate.admits(now, from, payload) {
            self.segment.handle(now, from, (src, dst), payload);
        }
        true
    }

    fn handle_solicitation(&mut self, now: Instant, from: (Ipv6Addr, Mac), hop_limit: u8, message: &[u8]) {
        self.segment.handle_icmp6(now, from, hop_limit, message);
    }

    fn hear(&mut self, now: Instant, whom: Station, addr: Ipv4Addr) -> bool {
        self.gate.hears(now, whom, addr) && self.segment.hear(now, whom.mac, addr)
    }

    fn hear_six(&mut self, mac: Mac, addr: Ipv6Addr) {
        self.segment.hear_six(mac, addr);
    }

    fn change(&mut self, now: Instant, change: &Change) -> Result<Changed> {
        let changed = self.segment.change(now, change)?;
        if let (Change::Pin(host), Changed::Done) = (change, &changed) {
            self.gate.pin(host.mac);
        }
        Ok(changed)
    }

    fn details(&self, now: Instant, details: &mut Details) {
        self.segment.details(now, details);
    }

    fn handle_event(&mut self, now: Instant, event: Event, host: &mut dyn Outside) -> bool {
        self.asks.handle_event(now, event.socket, &mut self.segment, host)
    }

    fn handle_files(&mut self, now: Instant, host: &mut dyn Outside) -> bool {
        let mut any = false;
        while let Some(answer) = host.poll_file() {
            any = true;
            match answer {
                FileAnswer::Opened { file, size } => self.segment.handle_opened(now, file, size.map_err(fault)),
                FileAnswer::Written { file, done } => self.segment.handle_written(now, file, done.map_err(fault)),
                FileAnswer::Kept { file, done } => self.segment.handle_kept(now, file, done.map_err(fault)),
                FileAnswer::Read { file, offset, bytes } => {
                    self.segment.handle_data(now, file, offset, bytes.ok());
                }
            }
        }
        any
    }

    fn poll_transmit(&mut self, now: Instant, host: &mut dyn Outside) -> Option<Answer> {
        loop {
            match self.segment.poll_output(now)? {
                Output::Datagram(Datagram { src, dst, mac, payload }) => {
                    return Some(Answer::Udp { src, dst, mac, payload });
                }
                Output::Ask(addr) => return Some(Answer::Ask(addr)),
                Output::Advertisement(it) => {
                    return Some(Answer::Discovery { src: it.src, dst: it.dst, mac: it.mac, message: it.message });
                }
                Output::Stream(stream, answer) => self.streams.queue(stream, answer),
                Output::Dns(output) => self.asks.perform(now, output, &mut self.segment, host),
                Output::File(output) => Self::file(output, host),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.segment.poll_timeout(), self.streams.poll_timeout())
    }

    fn handle_timeout(&mut self, now: Instant, _: &mut dyn Outside) {
        self.segment.handle_timeout(now);
    }

    fn stream_port(&self) -> Option<u16> {
        self.segment.serves_names().then_some(dns::PORT)
    }

    fn hears_stream(&self, dst: SocketAddr) -> bool {
        self.segment.hears_streams(dst)
    }

    fn handle_stream(&mut self, now: Instant, event: StreamEvent, endpoint: &mut Endpoint, host: &mut dyn Outside) {
        self.look_up(host);
        self.streams.handle(now, event, &mut self.segment, endpoint);
    }

    fn work_streams(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.streams.work(now, &mut self.segment, endpoint);
    }

    fn leases(&self, now: Instant) -> Vec<Lease> {
        self.segment.leases(now).collect()
    }

    fn leases_version(&self) -> u64 {
        self.segment.leases_version()
    }

    fn dropped(&self) -> u64 {
        self.segment.dropped() + self.gate.dropped
    }

    fn malformed(&self) -> u64 {
        self.segment.malformed()
    }
}
