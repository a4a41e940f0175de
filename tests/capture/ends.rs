//! Captures that end otherwise than they were told to: what they say, and what their files are worth.

use super::{A, B, Lab, RUN, read};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};
use support::frame::{BROADCAST, numbered};
use support::{PATIENCE, Peer, eventually, needs, require, zbridge};
use zbridge::internals::capture::Blocks;

/// A client that reads slowly has the statistics all the same, and they count what it got too late.
#[test]
fn a_capture_that_is_read_slowly_ends_with_its_statistics() {
    const FRAMES: u32 = 20_000;
    let mut lab = Lab::start(&[]);
    lab.talk();
    let mut client = UnixStream::connect(lab.dir.path("zbridge/default.sock")).unwrap();
    client.write_all(b"{\"id\":1,\"command\":\"capture\"}\n").unwrap();
    lab.zbridge.wait_for("captured by", PATIENCE);
    for number in 0..FRAMES {
        lab.a.send(&numbered(B.mac, A.mac, number, 1000));
        lab.b.expect(&numbered(B.mac, A.mac, number, 1000));
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut reader = BufReader::with_capacity(4096, client);
    for what in ["the greeting", "the answer"] {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "{what}");
    }
    let (mut bytes, mut room, begin) = (reader.buffer().to_vec(), vec![0; 4096], Instant::now());
    let mut client = reader.into_inner();
    loop {
        // Longer than the bridge sends frames to such a client.
        if begin.elapsed() < Duration::from_millis(3200) {
            std::thread::sleep(Duration::from_millis(5));
        }
        match client.read(&mut room).unwrap() {
            0 => break,
            count => bytes.extend_from_slice(&room[..count]),
        }
    }
    let (mut blocks, mut missed, frames) = (Blocks::default(), None, read(&bytes).1 as u64);
    blocks.push(&bytes);
    while let Some(block) = blocks.next_block().unwrap() {
        missed = missed.into_iter().chain(block.statistics().map(|(_, counted)| counted.missed)).reduce(u64::max);
    }
    assert!(!blocks.has_begun(), "it ends with a whole block");
    assert_eq!(missed.expect("statistics") + frames, u64::from(FRAMES), "{frames} frames");
}

#[test]
fn a_capture_to_a_fifo_ends_with_its_reader() {
    let mut lab = Lab::start(&[]);
    let fifo = lab.dir.text("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let capture = lab.capture(&["-w", "DIR/fifo"]);
    let mut reader = std::fs::File::open(&fifo).unwrap();
    lab.talk();
    let mut got = Vec::new();
    eventually("frames are read", || {
        let mut room = [0; 4096];
        let count = reader.read(&mut room).unwrap();
        got.extend_from_slice(&room[..count]);
        (read(&got).1 >= 3).then_some(())
    });
    drop(reader);
    for number in 0..100 {
        lab.a.send(&numbered(BROADCAST, A.mac, number, 60));
    }
    let end = capture.wait();
    assert_eq!(end.code(), 0, "{}", end.stderr);
    assert!(end.stderr.contains(&format!(" captured to {fifo}, 0 filtered out, ")), "{}", end.stderr);
    assert!(end.stderr.trim_end().ends_with("its reader has left"), "{}", end.stderr);
}

#[test]
fn a_full_disk_leaves_a_whole_file_and_a_word_on_it() {
    require!(needs::root());
    for (round, more) in [&[][..], &["--rotate", "20K,9"]].into_iter().enumerate() {
        let mut lab = Lab::start(&[]);
        lab.talk();
        std::fs::create_dir(lab.dir.path("small")).unwrap();
        std::fs::create_dir(lab.dir.path("kept")).unwrap();
        let script = "cd \"$1\" && mount -t tmpfs -o size=64k,mode=1777 small small || exit 99
            program=$0; shift; \"$program\" capture -w small/x.pcapng \"$@\"; status=$?; cp small/* kept; exit $status";
        let root = lab.dir.root().display().to_string();
        let script = ["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_zbridge"), &root];
        let capture = support::Launch::new("unshare").args(script).args(more).env(RUN, lab.dir.root()).spawn();
        lab.zbridge.wait_for("captured by", PATIENCE);
        for number in 0..200 {
            lab.a.send(&numbered(B.mac, A.mac, number, 1000));
            lab.b.expect(&numbered(B.mac, A.mac, number, 1000));
        }
        let end = capture.wait();
        let files: Vec<Vec<u8>> = std::fs::read_dir(lab.dir.path("kept"))
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        let mut frames = 0;
        for bytes in &files {
            let mut blocks = Blocks::default();
            blocks.push(bytes);
            while let Some(block) = blocks.next_block().unwrap() {
                frames += usize::from(block.packet().is_some());
            }
            assert!(!blocks.has_begun(), "it ends with a whole block");
        }
        assert!(frames > 20 && files.len() > round, "{} files, {}", files.len(), end.stderr);
        let place = if round == 0 { "it" } else { "them" };
        let said = format!("No space left on device; what is in {place} is whole: {frames} frames\n");
        assert!(end.code() == 1 && end.stderr.contains(&said), "{}, and not {said}", end.stderr);
        assert!(end.stderr.contains("\n  hint: make room there, or capture less: --snap 96"), "{}", end.stderr);
    }
}

#[test]
fn whatever_cannot_be_written_has_one_status_and_a_hint() {
    let lab = Lab::start(&[]);
    let socket = lab.dir.text("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for (path, hint) in [
        (lab.dir.text("none/x"), "its folder is not there: mkdir -p "),
        (lab.dir.text("a/x"), "name a file in a folder that you may write"),
        ("/".to_owned(), "this is a folder; name a file in it"),
        (socket, "this is a socket"),
        ("/dev/full".to_owned(), "make room there"),
    ] {
        let end = zbridge!("capture", "-w", &path).env(RUN, lab.dir.root()).run();
        assert_eq!(end.code(), 1, "{}", end.stderr);
        assert!(end.stderr.contains(&format!("error: {path}: ")), "{}", end.stderr);
        assert!(end.stderr.contains(&format!("\n  hint: {hint}")), "{}", end.stderr);
    }
}

/// What is wrong comes first, and of the filter no more than the place.
#[test]
fn a_long_filter_is_not_repeated() {
    let deep = format!("{}udp{}", "(".repeat(400), ")".repeat(400));
    let wrong = format!("{} and udpp", vec!["udp"; 300].join(" and "));
    for (filter, says, hint) in [
        (deep, "error: filter: parentheses stand too deep in each other, more than 64: at \"", "leave out those that"),
        (wrong, "error: filter: ", "zbridge help capture"),
        ("x".repeat(4000), "error: filter: ", "known are"),
        (
            "x".repeat(5000),
            "error: a filter of more than 4096 bytes: this one has 5000\n",
            "capture with a shorter one",
        ),
    ] {
        let end = zbridge!("capture", "-f", &filter).run();
        assert_eq!(end.code(), 2, "{}", end.stderr);
        assert!(end.stderr.starts_with(says) && end.stderr.contains(hint), "{}", end.stderr);
        assert!(end.stderr.lines().all(|line| line.chars().count() < 160), "{}", end.stderr);
    }
}
