//! Impairments of ports through the program: words at the start, in a file and by `set`; the same seed, the same fates.

use std::time::{Duration, Instant};
use support::frame::numbered;
use support::{Exit, PATIENCE, Peer, Process, Received, Station, StreamPeer, TempDir, eventually, zbridge};

const RUN: &str = "XDG_RUNTIME_DIR";
const A: Station = Station::new(1);
const B: Station = Station::new(2);

/// A bridge with the listeners `a` and `b`, of which the second has these keys, and a client of each.
struct Lab {
    zbridge: Process,
    a: StreamPeer,
    b: StreamPeer,
    dir: TempDir,
}

impl Lab {
    fn start(switch: &str, keys: &str) -> Self {
        let dir = TempDir::new();
        let port = |name: &str, keys: &str| format!("unix:{}{keys}", dir.text(name));
        let zbridge = zbridge!("--switch", format!("default{switch}"), "-p", port("a", ""), "-p", port("b", keys));
        let zbridge = zbridge.env(RUN, dir.root()).ready();
        let join = |name: &str, nth| {
            let peer = StreamPeer::unix(dir.path(name));
            zbridge.wait_for_nth(": connected", nth, PATIENCE);
            peer
        };
        let (a, b) = (join("a", 1), join("b", 2));
        Self { zbridge, a, b, dir }
    }

    fn ask(&self, words: &[&str]) -> Exit {
        zbridge!().args(words.iter().copied()).env(RUN, self.dir.root()).run()
    }

    /// The JSON of a port.
    fn port(&self, name: &str) -> serde_json::Value {
        let status: serde_json::Value = serde_json::from_str(&self.ask(&["status", "--json"]).stdout).expect("JSON");
        let ports = status["switches"][0]["ports"].as_array().expect("ports").clone();
        ports.into_iter().find(|port| port["name"] == name).expect("the port")
    }

    /// Ends it, and gives what it has said until then.
    fn end(self) -> String {
        drop((self.a, self.b));
        self.zbridge.sigterm();
        let exit = self.zbridge.wait();
        assert_eq!(exit.code(), 0, "{exit:?}");
        exit.stderr
    }

    /// Sends so many frames from a to b, and gives the numbers of those that b got.
    fn passed(&mut self, frames: u32) -> Vec<u32> {
        (0..frames).for_each(|number| self.a.send(&numbered(B.mac, A.mac, number, 60)));
        let mut found = Vec::new();
        while let Received::Frame(frame) = self.b.receive(Duration::from_millis(300)) {
            found.extend((0..frames).find(|&number| frame == numbered(B.mac, A.mac, number, 60)));
        }
        found
    }
}

#[test]
fn a_seed_repeats_every_loss_and_another_does_not() {
    let run = |seed: &str| Lab::start(seed, ",tx.loss=20%").passed(300);
    let first = run(",seed=7");
    assert!((200..280).contains(&first.len()), "{}", first.len());
    assert_eq!(run(",seed=7"), first);
    assert_ne!(run(",seed=8"), first);
    let drawn = Lab::start("", ",tx.loss=20%");
    assert!(drawn.zbridge.stderr().contains("impairments are drawn from seed="), "{}", drawn.zbridge.stderr());
}

#[test]
fn a_delay_is_kept_and_ended_while_it_runs() {
    let mut lab = Lab::start("", ",tx.delay=200ms");
    let frame = numbered(B.mac, A.mac, 1, 60);
    let takes = |lab: &mut Lab| {
        let start = Instant::now();
        lab.a.send(&frame);
        lab.b.expect(&frame);
        start.elapsed()
    };
    assert!(takes(&mut lab) >= Duration::from_millis(200));
    let exit = lab.ask(&["set", "b", "tx.delay=0"]);
    assert_eq!((exit.code(), exit.stdout.as_str(), exit.stderr.as_str()), (0, "", ""));
    assert!((0..20).map(|_| takes(&mut lab)).min().unwrap() < Duration::from_millis(200));
    assert_eq!(lab.port("b#1")["impairments"], serde_json::json!(["tx.delay=0"]));
}

#[test]
fn what_is_held_and_lost_is_counted_and_the_sum_is_right() {
    let mut lab = Lab::start(",seed=3", ",tx.delay=3600s,tx.limit=30,rx.nth=2");
    (0..50).for_each(|number| lab.a.send(&numbered(B.mac, A.mac, number, 60)));
    let b = eventually("all came", || Some(lab.port("b#1")).filter(|b| b["copies"] == 50));
    assert_eq!((&b["held_out"], &b["drops"]["tx-full"], &b["tx_frames"]), (&30.into(), &20.into(), &0.into()));
    (0..10).for_each(|number| lab.b.send(&numbered(A.mac, B.mac, number, 60)));
    let b = eventually("half is lost", || Some(lab.port("b#1")).filter(|b| b["rx_frames"] == 10));
    assert_eq!((&b["drops"]["rx-lost"], &b["forwarded"]), (&5.into(), &5.into()));
    let drops = lab.ask(&["drops", "b#1"]).stdout;
    assert!(drops.contains("50 copies = 0 sent + 0 queued + 30 held + 20 dropped"), "{drops}");
    let status = lab.ask(&["status"]).stdout;
    assert!(status.contains("tx.delay=3600s, tx.limit=30, rx.nth=2, 30 held"), "{status}");
}

#[test]
fn a_listeners_impairments_are_those_of_clients_that_come_later() {
    let mut lab = Lab::start("", "");
    assert_eq!(lab.ask(&["set", "b", "tx.loss=100%"]).code(), 0);
    assert_eq!(lab.passed(5), [0; 0]);
    let mut late = StreamPeer::unix(lab.dir.path("b"));
    lab.zbridge.wait_for_nth(": connected", 3, PATIENCE);
    lab.a.send(&A.arp_request(B.ip));
    late.expect_none(Duration::from_millis(200), |_| true);
    assert_eq!(lab.ask(&["set", "b#2", "tx.loss=0"]).code(), 0);
    lab.a.send(&A.arp_request(B.ip));
    late.expect(&A.arp_request(B.ip));
}

#[test]
fn only_frames_that_match_are_concerned() {
    let mut lab = Lab::start("", ",tx.match=arp,tx.loss=100%");
    lab.a.send(&A.arp_request(B.ip));
    assert_eq!(lab.passed(3), [0, 1, 2]);
    assert_eq!(lab.port("b#1")["drops"]["tx-lost"], 1);
}

#[test]
fn a_file_has_the_same_words_and_wrong_ones_are_told() {
    let dir = TempDir::new();
    let text = format!(
        "[[port]]\nport = \"unix:{}\"\ntx.delay = \"20ms 5ms\"\nrx = {{ loss = \"gemodel 1% 10%\" }}\n",
        dir.text("a")
    );
    let file = dir.file("lab.toml", text);
    let checked = zbridge!("check", &file).run();
    assert!(checked.stdout.contains("tx.delay=20ms 5ms,rx.loss=gemodel 1% 10%"), "{checked:?}");
    for (word, says) in [
        ("tx.los=1%", "there is no impairment \"los\"; the nearest is \"loss\""),
        ("tx.loss=1", "tx.loss=\"1\": expected a percentage from 0% to 100%"),
        ("tx.delay=20", "tx.delay=\"20\": expected a time, as 20ms"),
        ("tx.delay=1ms,tx.delay=2ms", "key \"tx.delay\" is given twice"),
        ("tx.match=prot 5", "the nearest is \"port\""),
        ("tx.match=in a", "in, out and drop are asked of captures only"),
        ("tx.distribution=/nowhere", "/nowhere: No such file"),
    ] {
        let exit = zbridge!("-p", format!("unix:{},{word}", dir.text("b"))).run();
        assert!(exit.code() == 2 && exit.stderr.contains(says), "{word}: {exit:?}");
        assert!(!dir.path("b").exists());
    }
}

/// What comes from a port is held before the switch has seen it, so the sender is learned later.
#[test]
fn what_is_delayed_on_its_way_in_is_heard_when_it_comes() {
    let mut lab = Lab::start("", ",rx.delay=300ms,rx.corrupt=0%");
    let start = Instant::now();
    lab.b.send(&B.arp_request(A.ip));
    eventually("it is held", || {
        (lab.port("b#1")["held_in"] == 1 || start.elapsed() > Duration::from_millis(300)).then_some(())
    });
    lab.a.expect(&B.arp_request(A.ip));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(lab.port("b#1")["rx_frames"], 1);
}

/// The lines about b's frames in a file of fates, without their delays, which a rate makes of the time.
fn fates(text: &str) -> Vec<String> {
    let of_b = text.lines().filter(|line| line.starts_with("b#1 tx"));
    of_b.map(|line| line.split(" delay=").next().unwrap_or_default().to_owned()).collect()
}

/// The numbers of the frames that left by b, in a capture of it.
fn captured(pcap: &[u8]) -> Vec<u32> {
    let sent: Vec<Vec<u8>> = (0..1000).map(|number| numbered(B.mac, A.mac, number, 60)).collect();
    let (mut found, mut rest) = (Vec::new(), pcap);
    // Blocks of pcapng: type, length, and of a packet (6) its interface, time, and lengths, before its bytes.
    let word = |block: &[u8], at: usize| Some(u32::from_le_bytes(block.get(at..at + 4)?.try_into().ok()?));
    while let (Some(kind), Some(len)) = (word(rest, 0), word(rest, 4)) {
        if kind == 6 {
            let kept = word(rest, 20).expect("a length") as usize;
            let bytes = rest.get(28..28 + kept).expect("a frame");
            found.extend(sent.iter().position(|frame| frame == bytes).map(|number| number as u32));
        }
        rest = rest.get(len as usize..).unwrap_or_default();
    }
    found
}

#[test]
fn a_replay_ends_in_the_same_capture() {
    let ground = TempDir::new();
    let run = |name: &str, switch: &str, keys: &str| {
        let capture = ground.path(&format!("{name}.pcapng"));
        let mut lab = Lab::start(switch, &format!("{keys},capture={}", capture.display()));
        let passed = lab.passed(300);
        let same = lab.ask(&["status"]).stdout;
        let json: serde_json::Value = serde_json::from_str(&lab.ask(&["status", "--json"]).stdout).expect("JSON");
        lab.end();
        (passed, captured(&std::fs::read(capture).expect("a capture")), same, json["switches"][0]["replay"].clone())
    };
    let (first, again) = (ground.text("first.fates"), ground.text("again.fates"));
    let words = ",tx.loss=20%,tx.duplicate=10%,tx.corrupt=5%,tx.delay=2ms";
    let (passed, capture, ..) = run("first", &format!(",seed=7,fates={first}"), words);
    assert!((180..320).contains(&passed.len()), "{}", passed.len());
    let (other, ..) = run("other", &format!(",seed=8,fates={}", ground.text("other.fates")), words);
    assert_ne!(other, passed);
    // Without a word of it, and noted again.
    let (replayed, its_capture, status, json) = run("again", &format!(",replay={first},fates={again}"), "");
    assert_eq!((&replayed, &its_capture), (&passed, &capture));
    assert!(status.contains("replay: same as the 300 frames of its file so far"), "{status}");
    assert_eq!((&json["same"], &json["frames"]), (&true.into(), &300.into()));
    let read = |path: &str| std::fs::read_to_string(path).expect("fates");
    assert_eq!(fates(&read(&first)), fates(&read(&again)));
    assert!(read(&first).starts_with("# zbridge fates 1\n# seed 7\n"), "{}", read(&first));
}

#[test]
fn where_the_traffic_is_not_the_same_it_is_said() {
    let dir = TempDir::new();
    let file = dir.text("run.fates");
    let mut lab = Lab::start(&format!(",seed=7,fates={file}"), ",tx.nth=3");
    assert_eq!(lab.passed(10), [0, 1, 3, 4, 6, 7, 9]);
    lab.end();
    let mut text = std::fs::read_to_string(&file).expect("fates");
    text.push_str("ghost tx 1 60 cbf43926 lost\n");
    std::fs::write(&file, text).expect("written");
    let mut lab = Lab::start(&format!(",replay={file}"), "");
    // One frame before the others makes all others of what they were, and there is one more.
    lab.a.send(&A.arp_request(B.ip));
    let passed = lab.passed(10);
    assert_eq!(passed, [0, 2, 3, 5, 6, 8, 9], "by number, and what is behind the file passes");
    let status = lab.ask(&["status"]).stdout;
    assert!(status.contains("replay: differs at frame 1 of b#1 tx"), "{status}");
    assert!(status.contains("b#1 tx: 10 frames are others, 1 more, from 1 on"), "{status}");
    assert!(status.contains("ghost tx: has not come, 1 frames in the file"), "{status}");
    let said = lab.end();
    for says in [
        "replay: frame 1 of b#1 tx is another than the recorded one; the fates go on by number",
        "replay: b#1 tx goes on with frame 11",
        "replay: 10 frames of b#1 tx were others than the recorded ones, from 1 on",
        "replay: 1 frames of b#1 tx came behind the recorded ones, from 11 on",
        "replay: ghost tx has not come, of which the file has 1 frames",
    ] {
        assert_eq!(said.matches(says).count(), 1, "{says}: {said}");
    }
}

#[test]
fn other_ports_traffic_changes_no_fate() {
    let dir = TempDir::new();
    let run = |name: &str, others: bool| {
        let file = dir.text(name);
        let mut lab = Lab::start(&format!(",seed=7,fates={file}"), ",tx.loss=20%,rx.loss=20%");
        if others {
            // What b sends, and what is for nobody.
            (0..100).for_each(|number| lab.b.send(&numbered(A.mac, B.mac, number, 60)));
        }
        let passed = lab.passed(200);
        lab.end();
        (passed, fates(&std::fs::read_to_string(file).expect("fates")))
    };
    assert_eq!(run("quiet", false), run("busy", true));
}

#[test]
fn a_wrong_file_is_told_and_a_full_disk_holds_up_no_frame() {
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("a"));
    let wrong = dir.file("wrong.fates", "# zbridge fates 1\n# seed 7\nb tx 1 60 cbf43926 gone\n");
    let wrong = wrong.display().to_string();
    let fifo = dir.text("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    for (replay, says) in [
        (wrong.as_str(), "line 3: \"gone\" is no fate: expected passed, held, lost or full"),
        ("/nowhere/run.fates", "replay=/nowhere/run.fates: No such file"),
        ("/dev/null", "replay=/dev/null: it is no file"),
        (&fifo, "it is no file"),
        (&dir.text("."), "it is a folder"),
    ] {
        let exit = zbridge!("-p", &port, "--replay", replay).env(RUN, dir.root()).run();
        assert!(exit.code() != 0 && exit.stderr.contains(says), "{replay}: {exit:?}");
        assert_eq!(exit.code(), if replay.starts_with("/nowhere") { 4 } else { 2 }, "{replay}");
    }
    let exit =
        zbridge!("-p", &port, "-p", format!("unix:{},switch=lab", dir.text("b")), "--fates", dir.text("f")).run();
    assert!(exit.code() == 2 && exit.stderr.contains("--switch default,fates=FILE"), "{exit:?}");
    let exit = zbridge!("-p", &port, "--fates", "/nowhere/f").run();
    assert!(exit.code() != 0 && exit.stderr.contains("cannot log fates to /nowhere/f"), "{exit:?}");
    let mut lab = Lab::start(",fates=/dev/full", ",tx.delay=1ms");
    assert_eq!(lab.passed(50), (0..50).collect::<Vec<_>>());
    assert!(lab.end().contains("log of fates to /dev/full"), "it is said");
}

#[test]
fn a_recording_is_never_written_over_while_it_is_replayed() {
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("a"));
    let text = "# zbridge fates 1\n# seed 7\nb tx 1 60 cbf43926 lost\n";
    dir.file("run.fates", text);
    let run = dir.text("run.fates");
    std::fs::hard_link(&run, dir.path("hard")).expect("a link");
    std::os::unix::fs::symlink(&run, dir.path("soft")).expect("a link");
    for written in ["run.fates", "hard", "soft", "./run.fates"].map(|name| dir.text(name)) {
        let exit = zbridge!("-p", &port, "--fates", &written, "--replay", &run).env(RUN, dir.root()).run();
        assert!(exit.code() == 2 && exit.stderr.contains("would write over replay="), "{written}: {exit:?}");
        let captured = format!("{port},capture={written}");
        let exit = zbridge!("-p", captured, "--replay", &run).env(RUN, dir.root()).run();
        assert!(exit.code() == 2 && exit.stderr.contains("capture="), "{written}: {exit:?}");
        assert_eq!(std::fs::read_to_string(&run).expect("fates"), text);
    }
}

#[test]
fn a_signal_ends_the_reading_of_a_long_recording() {
    let dir = TempDir::new();
    let port = format!("unix:{}", dir.text("a"));
    // Lines without a frame are read, too, and there may be any number of them.
    let long = dir.file("long.fates", "# zbridge fates 1\n# seed 7\n");
    let file = std::fs::File::options().append(true).open(&long).expect("a file");
    let mut file = std::io::BufWriter::new(file);
    for _ in 0..250_000 {
        std::io::Write::write_all(&mut file, &[b'\n'; 256]).expect("written");
    }
    drop(file);
    let zbridge = zbridge!("-v", "-p", &port, "--replay", long.display().to_string()).env(RUN, dir.root()).spawn();
    let status = std::path::PathBuf::from(format!("/proc/{}/fd", zbridge.pid()));
    eventually("it reads", || {
        let mut open = std::fs::read_dir(&status).ok()?.flatten();
        open.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == long)).then_some(())
    });
    zbridge.sigterm();
    let exit = zbridge.wait();
    assert!(exit.stderr.contains("long.fates: stopped while it was read"), "{exit:?}");
    assert_eq!(exit.code(), 130, "{exit:?}");
}
