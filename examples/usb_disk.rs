//! A disk whose blocks are this program's: here a vector. The device makes jobs, its owner does them when it can.
//!
//! The host is played by the library's own USB/IP client, and reads one block by the commands that Linux would send.
//!
//! `cargo run --example usb_disk`

use std::error::Error;
use zbridge::time::Instant;
use zbridge::usb::class::storage::{JobError, Work};
use zbridge::usb::class::{Identity, MassStorage};
use zbridge::usb::{Setup, Urb};
use zbridge::usbip::{Client, ConnectionId, Dialect, Event, Options, Server};

const NOW: Instant = Instant::ZERO;
const BLOCKS: usize = 64;

/// Does the disk's jobs on `medium`.
fn work(server: &mut Server, medium: &mut [u8]) {
    let done = |disk: &mut MassStorage| {
        while let Some(job) = disk.poll_job() {
            let result = match job.work {
                Work::Read(at, length) => {
                    medium.get(at as usize..).and_then(|rest| rest.get(..length)).map(<[u8]>::to_vec)
                }
                Work::Write(at, bytes) => {
                    medium.get_mut(at as usize..).and_then(|rest| rest.get_mut(..bytes.len())).map(|place| {
                        place.copy_from_slice(&bytes);
                        Vec::new()
                    })
                }
                Work::Flush => Some(Vec::new()),
                // What later versions may ask for: a medium that cannot do it says so.
                _ => None,
            };
            disk.handle_job_done(job.id, result.ok_or(JobError::Medium));
        }
    };
    server.with_function(NOW, "1-1", done);
}

fn exchange(server: &mut Server, id: ConnectionId, client: &mut Client) -> Result<Option<Event>, Box<dyn Error>> {
    server.handle_bytes(NOW, id, &client.transmit());
    let reply = server.transmit(NOW, id).to_vec();
    server.transmitted(id, reply.len());
    client.handle_bytes(&reply)?;
    Ok(client.poll_event())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut medium: Vec<u8> = (0..BLOCKS).flat_map(|block| [block as u8; 512]).collect();
    let mut server = Server::new(Options::default());
    server.export("1-1", MassStorage::device(&Identity::default(), BLOCKS as u64, false)?)?;
    let id = server.open(NOW, [127, 0, 0, 1].into())?;
    let mut client = Client::new(Dialect::Linux, 0);
    client.import("1-1");
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::control(0, Setup { request: 9, value: 1, ..Setup::default() }, Vec::new()));
    exchange(&mut server, id, &mut client)?;

    // A command block wrapper (BOT 1.0, 5.1) with READ(10) of block 42: 512 bytes in.
    let mut command = vec![0; 31];
    command[..4].copy_from_slice(b"USBC");
    command[8..12].copy_from_slice(&512_u32.to_le_bytes());
    (command[12], command[14], command[15]) = (0x80, 10, 0x28);
    (command[20], command[23]) = (42, 1);
    client.submit(Urb::output(0, 2, command));
    exchange(&mut server, id, &mut client)?;
    client.submit(Urb::input(0, 1, 512));
    println!("before the job is done: {:?}", exchange(&mut server, id, &mut client)?.is_some());
    work(&mut server, &mut medium);
    if let Some(Event::Done(_, _, urb)) = exchange(&mut server, id, &mut client)? {
        println!("{} bytes of block {}", urb.data.len(), urb.data[0]);
    }
    client.submit(Urb::input(0, 1, 13));
    work(&mut server, &mut medium);
    if let Some(Event::Done(_, _, urb)) = exchange(&mut server, id, &mut client)? {
        println!("status {}", urb.data[12]);
    }
    Ok(())
}
