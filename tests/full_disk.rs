//! A disk without room: what zbridge writes there stays readable, it says so once, and it goes on when there is room.

use std::fs;
use std::path::PathBuf;
use support::zbridge;
use support::{Framing, LinePeer, PATIENCE, Peer, Process, Received, StreamPeer, TempDir, eventually, needs, require};
use zbridge::internals::capture::Blocks;

const SERVER: [u8; 4] = [10, 0, 2, 2];

/// zbridge in a mount namespace of its own, in which the folder `small` has 64 KiB.
struct Lab {
    zbridge: Process,
    dir: TempDir,
}

impl Lab {
    /// Starts it, and waits until it has said `until`. In its words `DIR` is the test's folder.
    fn start(dir: TempDir, args: &[&str], until: &str) -> Self {
        fs::create_dir(dir.path("small")).unwrap();
        let script = "mount -t tmpfs -o size=64k,mode=1777 small \"$0\" && exec \"$@\"";
        let small = dir.text("small");
        let args = args.iter().map(|arg| arg.replace("DIR", &dir.root().display().to_string()));
        let zbridge = zbridge!().args(args).apart().under(["unshare", "--mount", "sh", "-c", script, &small]).spawn();
        zbridge.wait_for(until, PATIENCE);
        Self { zbridge, dir }
    }

    /// A file in that folder.
    fn small(&self, name: &str) -> PathBuf {
        let root = format!("/proc/{}/root", self.zbridge.pid());
        PathBuf::from(format!("{root}{}/{name}", self.dir.text("small")))
    }

    /// Takes all the room that there is.
    fn fill(&self) {
        assert!(fs::write(self.small("filler"), vec![0; 1 << 20]).is_err());
    }

    fn make_room(&self) {
        fs::remove_file(self.small("filler")).unwrap();
    }
}

/// A data frame as long as one may be.
fn on_the_air(sequence: u8) -> Vec<u8> {
    let mut frame = vec![0x61, 0x88, sequence, 0xcd, 0xab, 1, 0, 2, 0];
    frame.resize(127, 0xf0);
    frame
}

/// The sequence numbers of the frames in a capture, which ends with a whole one.
fn captured(bytes: &[u8]) -> Vec<u8> {
    let (mut blocks, mut found) = (Blocks::default(), Vec::new());
    blocks.push(bytes);
    while let Some(block) = blocks.next_block().unwrap() {
        // Behind the header of 12 bytes that a TAP has.
        found.extend(block.packet().map(|packet| packet.bytes[14]));
    }
    assert!(!blocks.has_begun(), "it ends with a whole block");
    found
}

#[test]
fn a_capture_ends_with_a_whole_frame_and_goes_on() {
    require!(needs::root());
    let switch = "air,medium=802.15.4,capture=DIR/small/air.pcapng";
    let args = ["--switch", switch, "--port", "wpan:unix:DIR/n0,switch=air"];
    let lab = Lab::start(TempDir::new(), &args, "zbridge status");
    let mut node = LinePeer::unix(Framing::UartPipe, lab.dir.text("n0"));
    let read = || captured(&fs::read(lab.small("air.pcapng")).unwrap());
    node.send(&on_the_air(0));
    eventually("a frame is there", || (read() == [0]).then_some(()));
    lab.fill();
    // The last page of the file has room for some.
    for sequence in 1..100 {
        node.send(&on_the_air(sequence));
    }
    lab.zbridge.wait_for("No space left on device", PATIENCE);
    let kept = read().len() as u8;
    assert!((2..100).contains(&kept), "{kept}");
    assert_eq!(read(), (0..kept).collect::<Vec<_>>());
    lab.make_room();
    eventually("it goes on", || {
        node.send(&on_the_air(200));
        read().contains(&200).then_some(())
    });
    let said = lab.zbridge.wait_for("goes on; ", PATIENCE);
    assert!(said.ends_with(" frames are missing in it"), "{said}");
    assert_eq!(lab.zbridge.stderr().matches("No space left").count(), 1, "it is said once");
}

/// A frame of a DHCP client: `kind` of message, and options.
fn dhcp(client: u8, kind: u8, options: &[u8]) -> Vec<u8> {
    let mac = [2, 0, 0x5e, 0, 0x53, client];
    let mut message = [&[1, 1, 6, 0, 7, 7, 7, client][..], &[0; 20], &mac, &[0; 202]].concat();
    message.extend([99, 130, 83, 99, 53, 1, kind]);
    message.extend(options);
    message.push(255);
    let length = (message.len() + 8) as u16;
    let udp = [&[0, 68, 0, 67][..], &length.to_be_bytes(), &[0, 0]].concat();
    let mut ip =
        [&[0x45, 0][..], &(length + 20).to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0], &[0; 4], &[255; 4]].concat();
    let sum = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    ip[10..12].copy_from_slice(&(!((sum >> 16) + (sum & 0xffff)) as u16).to_be_bytes());
    [&[255; 6][..], &mac, &[8, 0], &ip, &udp, &message].concat()
}

/// Has a lease taken.
fn lease(guest: &mut StreamPeer, client: u8) -> [u8; 4] {
    let mut ask = |kind, options: &[u8]| -> [u8; 4] {
        guest.send(&dhcp(client, kind, options));
        eventually("an answer", || match guest.receive(PATIENCE) {
            Received::Frame(frame) => {
                (frame.get(34..38) == Some(&[0, 67, 0, 68])).then(|| frame[58..62].try_into().unwrap())
            }
            other => panic!("{other:?}"),
        })
    };
    let offered = ask(1, &[]);
    let [a, b, c, d] = offered;
    let [s, t, u, v] = SERVER;
    assert_eq!(ask(3, &[50, 4, a, b, c, d, 54, 4, s, t, u, v]), offered);
    offered
}

#[test]
fn leases_are_kept_as_soon_as_there_is_room() {
    require!(needs::root());
    let args = ["--port", "nat:10.0.2.2/24,leases=DIR/small/leases", "--port", "unix:DIR/guest"];
    let lab = Lab::start(TempDir::new(), &args, "zbridge status");
    let mut guest = StreamPeer::unix(lab.dir.text("guest"));
    let read = || fs::read_to_string(lab.small("leases")).unwrap();
    lease(&mut guest, 1);
    eventually("it is kept", || read().contains(":01 ").then_some(()));
    lab.fill();
    lease(&mut guest, 2);
    lab.zbridge.wait_for("leases are not kept for now", PATIENCE);
    assert!(read().contains(":01 ") && read().ends_with('\n'), "what was there is whole");
    assert!(!lab.small("leases.new").exists(), "and nothing is left of what was begun");
    // Nothing happens meanwhile.
    lab.make_room();
    lab.zbridge.wait_for("leases are kept again", PATIENCE);
    assert!(read().contains(":02 "));
    assert_eq!(lab.zbridge.stderr().matches("leases are not kept").count(), 1, "it is said once");
}

#[test]
fn a_log_goes_on() {
    require!(needs::root());
    let dir = TempDir::new();
    let lines = "i=0; while :; do i=$((i + 1)); echo \"number $i is a line of some length\"; sleep 0.002; done";
    let bench =
        dir.file("bench.toml", format!("[[instance]]\nname = \"inst\"\ncommand = [\"sh\", \"-c\", '{lines}']\n"));
    let lab = Lab::start(dir, &["up", &bench.display().to_string(), "--logs", "DIR/small"], "inst: ready");
    let read = || fs::read_to_string(lab.small("inst.log")).unwrap();
    eventually("it is written", || (read().lines().count() > 2).then_some(()));
    lab.fill();
    lab.zbridge.wait_for("is not complete: No space left on device", PATIENCE);
    let before = read().len();
    lab.make_room();
    lab.zbridge.wait_for("is written again", PATIENCE);
    eventually("it goes on", || (read().len() > before).then_some(()));
    let said = lab.zbridge.stderr();
    assert_eq!((said.matches("is not complete").count(), said.matches("is written again").count()), (1, 1), "{said}");
}
