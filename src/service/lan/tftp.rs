//! The TFTP server of a segment (RFC 1350): files of one folder, for boards that boot from the net, and uploads, if
//! these are allowed.
//!
//! # Theory of operation
//! A transfer has a port of its own, as the RFC wants it, which [`Tftp::has_port`] knows. The caller opens and reads
//! the file asynchronously, a window of blocks at a time ([`Output::Open`], [`Output::Read`]), with a timeout; the
//! window is sent, and kept until it is acknowledged. An ACK of anything but a block of the window changes nothing (so
//! no ACK is answered twice), except that the first duplicate in a window of several blocks has the window sent again:
//! a block was lost. An unacknowledged window is retransmitted, less and less often, until the client counts as gone.
//!
//! Options: block and file size, timeout, window (RFC 2347 to 2349, 7440). Files are written by `upload`, block by block.
//!
//! A client is known by its address and port. A request that is repeated from there before any ACK is a retransmission;
//! any other begins anew, as of a board that was reset.

pub(crate) mod packet;
#[cfg(test)]
mod tests;
mod transfer;
pub(crate) mod upload;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use self::packet::{Fault, Options, Packet, Request};
use self::transfer::{State, Transfer};
use self::upload::Upload;
use super::Datagram;
use super::random::Random;
use crate::service::shares::is_within;
use crate::service::station::Station;
use crate::time::{Duration, Instant};

/// The server's port.
pub const PORT: u16 = 69;

/// Transfers at once, of which each port of the switch has its share, and one host's.
const TRANSFERS: usize = 64;
const TRANSFERS_OF_ONE: usize = 16;
/// Retransmissions before the client counts as gone.
const TRIES: u32 = 6;
/// Retransmission timeout, unless the client sets one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a file may take to be opened, or a window to be read.
const FILE_PATIENCE: Duration = Duration::from_secs(30);
/// Transfers take these ports, the last of the dynamic ones (RFC 6335, section 6), and nobody else at the server's address
/// does: a guest's datagram to one is the transfer's.
pub const PORTS: RangeInclusive<u16> = 0xf000..=0xffff;
/// Bytes of IPv6, UDP and TFTP headers in front of a block.
const OVERHEAD: u16 = 52;

/// Something for the caller to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A datagram for a host of the segment.
    Send(Datagram),
    /// Open a file below the folder, for reading. [`Tftp::handle_opened`] takes the result.
    Open {
        /// Its name; never used twice.
        file: u64,
        /// A relative path without `..`; symbolic links are up to the caller.
        path: String,
    },
    /// Read from a file. [`Tftp::handle_data`] takes the bytes.
    Read {
        /// The file.
        file: u64,
        /// From this byte on.
        offset: u64,
        /// So many bytes.
        len: usize,
    },
    /// Make a file below the folder, under a temporary name. [`Tftp::handle_opened`] takes the result.
    Create {
        /// Its name; never used twice.
        file: u64,
        /// As above: its final name.
        path: String,
    },
    /// Write to a file. [`Tftp::handle_written`] takes the result.
    Write {
        /// The file.
        file: u64,
        /// From this byte on.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file is complete: rename it. [`Tftp::handle_kept`] takes the result.
    Keep(u64),
    /// Close a file; one that was made and not kept is removed.
    Close(u64),
}

/// The client of a transfer. Other stations cannot interfere, from whatever address.
#[derive(Clone, Copy, Debug)]
struct Client {
    whom: Station,
    addr: SocketAddr,
}

impl Client {
    /// Whether it is the same one, perhaps behind another port of the switch.
    fn is(&self, other: &Self) -> bool {
        (self.addr, self.whom.mac) == (other.addr, other.whom.mac)
    }

    /// Whether both are of one host.
    fn shares_host(&self, other: &Self) -> bool {
        (self.addr.ip(), self.whom.mac) == (other.addr.ip(), other.whom.mac)
    }

    /// A datagram to it from an address of the server.
    fn datagram(&self, src: SocketAddr, payload: Vec<u8>) -> Output {
        Output::Send(Datagram { src, dst: self.addr, mac: Some(self.whom.mac), payload })
    }
}

/// See the module.
pub struct Tftp {
    /// Bytes of the longest block.
    most: u16,
    random: Random,
    files: u64,
    transfers: BTreeMap<u64, Transfer>,
    /// Whether files may be written.
    writes: bool,
    uploads: BTreeMap<u64, Upload>,
    outputs: VecDeque<Output>,
}

impl Tftp {
    /// A server on a segment of this MTU. `writes`: whether files may be written; `seed`: a number that nobody can guess.
    pub fn new(mtu: u16, writes: bool, seed: u64) -> Self {
        let most = mtu.saturating_sub(OVERHEAD).max(8);
        let random = Random::new(seed, "tftp");
        Self {
            most,
            random,
            files: 0,
            transfers: BTreeMap::new(),
            writes,
            uploads: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Whether datagrams to this port of the server's are a transfer's.
    pub fn has_port(&self, port: u16) -> bool {
        let read = || self.transfers.values().any(|transfer| transfer.local.port() == port);
        PORTS.contains(&port) && (read() || self.uploads.values().any(|upload| upload.local.port() == port))
    }

    /// Takes a datagram that `whom` sent to port 69 or a transfer's.
    pub fn handle(&mut self, now: Instant, whom: Station, (from, to): (SocketAddr, SocketAddr), bytes: &[u8]) {
        let (client, packet) = (Client { whom, addr: from }, Packet::read(bytes));
        if to.port() == PORT {
            return match packet {
                Some(Packet::Read(request)) => self.begin(now, (client, to), &request, false),
                Some(Packet::Write(request)) if self.writes => self.begin(now, (client, to), &request, true),
                Some(Packet::Write(_)) => self.refuse(client, to, Fault::Forbidden, "read only"),
                _ => {}
            };
        }
        let upload = self.uploads.iter().find(|(_, upload)| upload.local == to && upload.client.is(&client));
        if let Some((&file, _)) = upload {
            return self.handle_upload(now, file, packet.as_ref());
        }
        let found = self.transfers.iter().find(|(_, transfer)| transfer.local == to);
        match (found.map(|(file, transfer)| (*file, transfer.client.is(&client))), packet) {
            (Some((file, true)), Some(Packet::Ack(block))) => self.acknowledge(now, file, block),
            (Some((file, true)), Some(Packet::Error)) => self.end(file),
            (Some((file, true)), _) => self.fail(file, Fault::Illegal, "not an acknowledgement"),
            // an error is never answered, lest two ends do so for ever
            (_, Some(Packet::Error) | None) => {}
            _ => self.refuse(client, to, Fault::Unknown, "no such transfer"),
        }
    }

    fn handle_upload(&mut self, now: Instant, file: u64, packet: Option<&Packet<'_>>) {
        let Some(upload) = self.uploads.get_mut(&file) else { return };
        match packet {
            Some(Packet::Data(block, bytes)) => match upload.take(now, file, *block, bytes) {
                Ok(output) => self.outputs.extend(output),
                Err((fault, why)) => self.fail(file, fault, why),
            },
            Some(Packet::Error) => self.end(file),
            _ => self.fail(file, Fault::Illegal, "not a block"),
        }
    }

    fn refuse(&mut self, client: Client, src: SocketAddr, fault: Fault, text: &str) {
        let payload = packet::error(fault, text);
        self.outputs.push_back(client.datagram(src, payload));
    }

    /// Whether this request is a retransmission of one under way.
    fn is_repeated(&self, client: &Client, asked: &[u8], write: bool) -> bool {
        let read = |it: &Transfer| it.client.is(client) && it.next == 1 && it.asked == asked;
        let written = |it: &Upload| it.client.is(client) && it.blocks == 0 && it.asked == asked;
        if write { self.uploads.values().any(written) } else { self.transfers.values().any(read) }
    }

    /// Whether a client may have one transfer more. If it, or its port of the switch, has as many as allowed, the
    /// oldest without any ACK is evicted: a board that is reset again and again leaves such ones behind.
    fn makes_room(&mut self, client: &Client) -> bool {
        let clients = || self.transfers.values().map(|it| it.client).chain(self.uploads.values().map(|it| it.client));
        let of_one = clients().filter(|other| other.shares_host(client)).count();
        let is_near = |other: &Client| other.whom.port() == client.whom.port();
        let of_port = clients().filter(is_near).count();
        let within = self.transfers() < TRANSFERS && is_within(of_port, self.transfers(), TRANSFERS);
        let many = of_one >= TRANSFERS_OF_ONE;
        if within && !many {
            return true;
        }
        let goes =
            |it: &Transfer| it.next == 1 && if many { it.client.shares_host(client) } else { is_near(&it.client) };
        let oldest = self.transfers.iter().find(|(_, it)| goes(it)).map(|(file, _)| *file);
        oldest.into_iter().for_each(|file| self.end(file));
        oldest.is_some()
    }

    fn begin(&mut self, now: Instant, (client, to): (Client, SocketAddr), request: &Request<'_>, write: bool) {
        if self.is_repeated(&client, request.whole, write) {
            // a retransmitted request; the answer has its own timer
            return;
        }
        let reads = self.transfers.iter().filter(|(_, it)| it.client.is(&client)).map(|(file, _)| *file);
        let writes = self.uploads.iter().filter(|(_, it)| it.client.is(&client)).map(|(file, _)| *file);
        reads.chain(writes).collect::<Vec<u64>>().into_iter().for_each(|file| self.end(file));
        if !request.octet {
            return self.refuse(client, to, Fault::Illegal, "only octet mode");
        }
        let Some(path) = packet::path(request.file) else {
            return self.refuse(client, to, Fault::NoFile, "no such file");
        };
        if request.size.is_some_and(|size| write && size > upload::LONGEST) {
            return self.refuse(client, to, Fault::Full, "too long a file");
        }
        if !self.makes_room(&client) {
            return self.refuse(client, to, Fault::Other, "too many transfers");
        }
        self.files += 1;
        let local = SocketAddr::new(to.ip(), self.free_port());
        let options = request.options.granted(self.most);
        if write {
            // one block at a time: it is written before it is acknowledged
            let options = Options { window: None, ..options };
            let upload = Upload::new(now, (client, local), request.whole, (options, request.size.unwrap_or(0)));
            self.uploads.insert(self.files, upload);
            return self.outputs.push_back(Output::Create { file: self.files, path });
        }
        let transfer = Transfer {
            client,
            local,
            asked: request.whole.to_vec(),
            options,
            state: State::Opening,
            size: 0,
            next: 1,
            window: Vec::new(),
            nudged: false,
            tries: 0,
            until: Some(now + FILE_PATIENCE),
        };
        self.transfers.insert(self.files, transfer);
        self.outputs.push_back(Output::Open { file: self.files, path });
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.random.word() | PORTS.start();
            if !self.has_port(port) {
                return port;
            }
        }
    }

    /// The file was opened and has so many bytes, or could not be.
    pub fn handle_opened(&mut self, now: Instant, file: u64, size: Result<u64, Fault>) {
        if let Some(upload) = self.uploads.get_mut(&file).filter(|it| it.state == upload::State::Creating) {
            return match size {
                Ok(_) => {
                    upload.state = upload::State::Receiving;
                    let answer = upload.acknowledge(now);
                    self.outputs.push_back(answer);
                }
                Err(fault) => self.fail(file, fault, "cannot be written"),
            };
        }
        let Some(transfer) = self.transfers.get_mut(&file).filter(|it| it.state == State::Opening) else { return };
        match size {
            Ok(size) => transfer.size = size,
            Err(fault) => return self.fail(file, fault, "cannot be read"),
        }
        if transfer.options == Options::default() {
            return self.read(now, file);
        }
        transfer.state = State::Offered;
        self.send(now, file);
    }

    /// These bytes were read from `offset` on, or reading failed.
    pub fn handle_data(&mut self, now: Instant, file: u64, offset: u64, bytes: Option<Vec<u8>>) {
        let Some(transfer) = self.transfers.get_mut(&file).filter(|it| it.state == State::Reading) else { return };
        if offset != (transfer.next - 1) * transfer.options.block_len() as u64 {
            return;
        }
        let wanted = transfer.size.saturating_sub(offset).min(transfer.sent() * transfer.options.block_len() as u64);
        match bytes {
            Some(bytes) if bytes.len() as u64 == wanted => transfer.window = bytes,
            _ => return self.fail(file, Fault::Other, "the file has changed"),
        }
        transfer.state = State::Sending;
        transfer.nudged = false;
        self.send(now, file);
    }

    /// Bytes were written, or could not be.
    pub fn handle_written(&mut self, now: Instant, file: u64, done: Result<(), Fault>) {
        match (self.uploads.get_mut(&file), done) {
            (Some(upload), Ok(())) => self.outputs.extend(upload.written(now, file)),
            (Some(_), Err(fault)) => self.fail(file, fault, "cannot be written"),
            (None, _) => {}
        }
    }

    /// A file was renamed, or could not be.
    pub fn handle_kept(&mut self, now: Instant, file: u64, done: Result<(), Fault>) {
        match (self.uploads.get_mut(&file).filter(|it| it.state == upload::State::Naming), done) {
            (Some(upload), Ok(())) => {
                upload.state = upload::State::Done;
                let answer = upload.acknowledge(now);
                self.outputs.push_back(answer);
            }
            (Some(_), Err(fault)) => self.fail(file, fault, "cannot be written"),
            (None, _) => {}
        }
    }

    /// Asks for the bytes of the next window.
    fn read(&mut self, now: Instant, file: u64) {
        let Some(transfer) = self.transfers.get_mut(&file) else { return };
        let block = transfer.options.block_len() as u64;
        let offset = (transfer.next - 1) * block;
        let len = transfer.size.saturating_sub(offset).min(transfer.sent() * block) as usize;
        transfer.state = State::Reading;
        transfer.tries = 0;
        transfer.until = Some(now + FILE_PATIENCE);
        self.outputs.push_back(Output::Read { file, offset, len });
    }

    /// Sends the window, or the options.
    fn send(&mut self, now: Instant, file: u64) {
        let Some(transfer) = self.transfers.get_mut(&file) else { return };
        transfer.wait(now);
        self.outputs.extend(transfer.packets());
    }

    fn acknowledge(&mut self, now: Instant, file: u64, block: u16) {
        let Some(transfer) = self.transfers.get_mut(&file) else { return };
        match transfer.state {
            State::Offered if block == 0 => self.read(now, file),
            State::Sending => {
                let arrived = u64::from(block.wrapping_sub((transfer.next - 1) as u16));
                if arrived == 0 && transfer.options.window_len() > 1 && !transfer.nudged {
                    transfer.nudged = true;
                    return self.send(now, file);
                }
                if !(1..=transfer.sent()).contains(&arrived) {
                    return;
                }
                transfer.next += arrived;
                if transfer.next > transfer.last() { self.end(file) } else { self.read(now, file) }
            }
            _ => {}
        }
    }

    fn fail(&mut self, file: u64, fault: Fault, text: &str) {
        if let Some(transfer) = self.transfers.get(&file) {
            self.outputs.push_back(transfer.datagram(packet::error(fault, text)));
        }
        if let Some(upload) = self.uploads.get(&file) {
            self.outputs.push_back(upload.datagram(packet::error(fault, text)));
        }
        self.end(file);
    }

    fn end(&mut self, file: u64) {
        if self.transfers.remove(&file).is_some() || self.uploads.remove(&file).is_some() {
            self.outputs.push_back(Output::Close(file));
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many things there are to do.
    pub fn queued(&self) -> usize {
        self.outputs.len()
    }

    /// When [`Tftp::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let writing = self.uploads.values().filter_map(|upload| upload.until);
        self.transfers.values().filter_map(|transfer| transfer.until).chain(writing).min()
    }

    /// Retransmits, and gives up clients that are gone and file operations that take too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |transfer: &Transfer| transfer.until.is_some_and(|until| until <= now);
        let late: Vec<u64> = self.transfers.iter().filter(|(_, it)| due(it)).map(|(file, _)| *file).collect();
        for file in late {
            let Some(transfer) = self.transfers.get_mut(&file) else { continue };
            transfer.tries += 1;
            if matches!(transfer.state, State::Opening | State::Reading) {
                self.fail(file, Fault::Other, "the file is not to be had");
            } else if transfer.tries > TRIES {
                self.fail(file, Fault::Other, "no answer");
            } else {
                self.send(now, file);
            }
        }
        let due = |upload: &Upload| upload.until.is_some_and(|until| until <= now);
        let late: Vec<u64> = self.uploads.iter().filter(|(_, it)| due(it)).map(|(file, _)| *file).collect();
        for file in late {
            let Some(upload) = self.uploads.get_mut(&file) else { continue };
            upload.tries += 1;
            match upload.state {
                // the last acknowledgement has arrived
                upload::State::Done => self.end(file),
                _ if upload.is_at_the_disk() => self.fail(file, Fault::Other, "the file is not to be had"),
                _ if upload.tries > TRIES => self.fail(file, Fault::Other, "no answer"),
                _ => {
                    let answer = upload.acknowledge(now);
                    self.outputs.push_back(answer);
                }
            }
        }
    }

    /// Transfers under way, in both directions.
    pub fn transfers(&self) -> usize {
        self.transfers.len() + self.uploads.len()
    }
}
