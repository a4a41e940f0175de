//! Devices of another USB/IP server: exported again, and in parts for a server that has small buffers.

use super::client::{Attached, import_request};
use super::{PATIENCE, is_closed, pattern, serve, serve_at};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use support::{TempDir, eventually, needs, require, zbridge};
use zbridge::usbip::{Command, Decoder};

#[test]
fn a_device_of_another_server_is_exported_again() {
    require!(needs::tool("usbip", "usbip"));
    let dir = TempDir::new();
    let far = serve(&dir, "device=hid-mouse,device=cdc-acm");
    let keys = format!("device=loopback,import={}/1-2", far.addr);
    let near = serve(&dir, &keys);
    let list = near.list();
    assert!(list.contains("1-1: ") && list.contains("(0525:a4a0)"), "{list}");
    assert!(list.contains("1-2: ") && list.contains("(2fe3:0001)") && list.contains("Communications"), "{list}");
    let mut port = near.attach("1-2");
    port.echo(&pattern(300_000));
    let mut second = near.connect();
    second.write_all(&import_request("1-2")).unwrap();
    let mut reply = Vec::new();
    second.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, [1, 0x11, 0, 3, 0, 0, 0, 2], "busy");
    assert!(!far.list().contains("1-2: "), "it is in use there");
    drop(port);
    near.attach("1-2").echo(&pattern(1000));
    // A device that is in use there cannot be had here.
    let direct = far.attach("1-2");
    assert!(Attached::import(near.connect(), "1-2").is_none());
    drop(direct);
    // The other server goes away: first under an attached device, then for whoever asks.
    let port = near.attach("1-2");
    drop(far);
    assert!(is_closed(&port.stream, PATIENCE));
    assert!(Attached::import(near.connect(), "1-2").is_none());
    let list = near.list();
    assert!(list.contains("1-1: ") && !list.contains("1-2: "), "{list}");
    near.finish();
}

#[test]
fn an_import_waits_for_its_server() {
    let (near_dir, far_dir) = (TempDir::new(), TempDir::new());
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let near = serve(&near_dir, &format!("import={addr}/1-1,name=board"));
    let import = format!("board: import={addr}/1-1");
    let status = || zbridge!("status").env("XDG_RUNTIME_DIR", near_dir.root()).run().stdout;
    let wait = |state: &str| {
        let waited = zbridge!("wait", "port=board", state, "--timeout", "60s").env("XDG_RUNTIME_DIR", near_dir.root());
        assert_eq!(waited.run().code(), 0, "{}", status());
    };
    near.process.wait_for(&format!("{import}: its server does not answer: Connection refused"), PATIENCE);
    wait("waiting");
    assert!(status().contains(&format!("1-1 {addr}/1-1 (its server does not answer")), "{}", status());
    assert!(!near.process.stdout().contains("usbip attach"), "{}", near.process.stdout());
    assert!(Attached::import(near.connect(), "1-1").is_none());

    let far = serve_at(&far_dir, "device=cdc-acm", &addr);
    near.process.wait_for(&format!("{import} is there; to attach: sudo usbip attach -r 192.0.2.1 -b 1-1"), PATIENCE);
    wait("up");
    near.attach("1-1").echo(&pattern(1000));
    // It goes under an attached device, and comes again.
    let port = near.attach("1-1");
    drop(far);
    near.process.wait_for(&format!("{import}: its server has closed the connection; trying again"), PATIENCE);
    wait("waiting");
    drop(port);
    // One without the device is not enough.
    let far = serve_at(&far_dir, "device=loopback+busid=2-1", &addr);
    let none = format!("{addr}/1-1 (its server has no device 1-1");
    eventually("the server is asked", || status().contains(&none).then_some(()));
    drop(far);
    let far = serve_at(&far_dir, "device=cdc-acm", &addr);
    near.process.wait_for_nth(&format!("{import} is there"), 2, PATIENCE);
    near.attach("1-1").echo(&pattern(1000));
    far.finish();
    near.finish();
}

/// Connections to this port of the loopback that are being made: state SYN_SENT is 02 (proc(5), /proc/net/tcp). The table
/// may show one of them twice when it changes meanwhile.
fn under_way(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let words = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let made = words.filter(|words| words.get(2) == Some(&remote.as_str()) && words.get(3) == Some(&"02"));
    made.map(|words| words[1].to_owned()).collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn a_server_that_says_nothing_is_asked_by_one_connection_at_a_time() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let addr = silent.local_addr().unwrap().as_socket().unwrap();
    // Its queue is full: whoever comes now is not answered.
    let filling = TcpStream::connect(addr).unwrap();
    let dir = TempDir::new();
    let near = serve(&dir, &format!("import={addr}/1-1"));
    near.process.wait_for(&format!("import={addr}/1-1: its server does not answer within 3s"), PATIENCE);
    let seen = (0..80).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        under_way(addr.port())
    });
    assert_eq!(seen.max(), Some(1), "it is asked again and again, by one at a time");
    drop(filling);
    near.finish();
}

/// A server in front of another that has room for so many bytes of a URB, as a device of Zephyr's has: at a longer one
/// it breaks.
fn small(server: SocketAddr, room: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(server).unwrap();
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            // Either way ends with the other, which is how the test ends them.
            std::thread::spawn(move || _ = std::io::copy(&mut from_server, &mut to_client));
            std::thread::spawn(move || {
                _ = narrow(&client, &server, room);
                _ = client.shutdown(std::net::Shutdown::Both);
                _ = server.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    addr
}

/// Passes a request and commands on, up to one that is too long.
fn narrow(mut client: &TcpStream, mut server: &TcpStream, room: u32) -> std::io::Result<()> {
    let mut head = [0; 8];
    client.read_exact(&mut head)?;
    server.write_all(&head)?;
    if head[3] == 5 {
        return std::io::copy(&mut client, &mut server).map(|_| ());
    }
    let mut busid = [0; 32];
    client.read_exact(&mut busid)?;
    server.write_all(&busid)?;
    let (mut decoder, mut buffer) = (Decoder::default(), [0; 65_536]);
    loop {
        let count = client.read(&mut buffer)?;
        let mut bytes = &buffer[..count];
        while let Some(command) = decoder.decode(&mut bytes, |_| None, Vec::new).map_err(std::io::Error::other)? {
            if matches!(command, Command::Submit(command, _) if command.length > room) {
                return Ok(());
            }
        }
        server.write_all(&buffer[..count])?;
        if count == 0 {
            return Ok(());
        }
    }
}

#[test]
fn a_server_with_small_buffers_gets_small_transfers() {
    let dir = TempDir::new();
    let far = serve(&dir, "device=cdc-acm,device=cdc-acm+speed=full");
    let addr = small(far.addr, 2048);
    let near = serve(&dir, &format!("import={addr}/1-1+split=2048,import={addr}/1-2+split=100"));
    // Writes of 10 KiB, several of them and of the reads in flight: more than the device holds, so that some wait.
    for busid in ["1-1", "1-2"] {
        near.attach(busid).echo(&pattern(300_000));
    }
    near.finish();
    let near = serve(&dir, &format!("import={addr}/1-1"));
    let mut port = near.attach("1-1");
    port.echo(&pattern(2000));
    port.stream.write_all(&super::submit(99, 0x0001_0002, 0, 1, 4096)).unwrap();
    port.stream.write_all(&[0; 4096]).unwrap();
    assert!(is_closed(&port.stream, PATIENCE), "without parts it breaks");
    near.finish();
}
