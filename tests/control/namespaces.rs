//! Bridges and clients of different namespaces, and what peers call themselves.

use super::Lab;
use std::os::unix::fs::PermissionsExt;
use support::{Launch, PATIENCE, StreamPeer, eventually, needs, require};

/// A process of another PID namespace has no number here. Its user decides, and who asks from inside of an instance is the
/// same.
#[test]
fn a_bridge_is_asked_from_inside_of_an_instance() {
    require!(needs::root(), needs::tun(), needs::tool("setpriv", "util-linux"));
    for nobody in [false, true] {
        let lab = Lab::new();
        let me = |launch: Launch| if nobody { launch.as_nobody_with_tun(&lab.dir) } else { launch };
        let bridge = me(lab.launch(&["--name", "lab", "-p", &lab.spec("a")])).ready();
        // where the ordinary user's copy is, if that is who asks
        let program = if nobody { lab.dir.text("program") } else { env!("CARGO_BIN_EXE_zbridge").to_owned() };
        let script = format!("{program} status lab && {program} ls && {program} port add {},name=b", lab.spec("b"));
        let inside = lab.launch(&["run", "--join", "lab", "--name", "inst", "--", "sh", "-ec", &script]);
        let exit = me(inside).run();
        assert!(exit.code() == 0 && exit.stdout.contains("\na     unix    listening"), "{nobody}: {exit:?}");
        assert!(
            exit.stdout.contains("\nlab  pid ") && exit.stdout.contains("\nb\nto attach\n  b  QEMU:  "),
            "{nobody}: {exit:?}"
        );
        drop(bridge);
    }
}

#[test]
fn a_bridge_in_a_container_is_asked_from_outside() {
    require!(needs::root(), needs::tool("unshare", "util-linux"));
    let lab = Lab::new();
    let contained = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let zbridge = lab.launch(&["--name", "inner", "-p", &lab.spec("a")]).under(contained).ready();
    assert!(lab.told(&["status", "inner"]).contains("\na "));
    assert_eq!(lab.told(&["ls"]), "inner  pid 1  1 switch  1 port\n", "its own number");
    let _peer = StreamPeer::unix(lab.dir.path("a"));
    zbridge.wait_for("a#1: connected, a process of user 0 in another PID namespace", PATIENCE);
    lab.told(&["wait", "port=a", "up"]);
    // It has another user by now, and ends with its parent all the same (PR_SET_PDEATHSIG).
    drop(zbridge);
    eventually("the bridge to end with its parent", || lab.told(&["ls"]).is_empty().then_some(()));
}

/// In a user namespace everybody else has the number of nobody, which the bridge's own user may have there.
#[test]
fn a_stranger_with_the_same_number_is_refused() {
    require!(needs::root(), needs::tool("setpriv", "util-linux"), needs::tool("unshare", "util-linux"));
    require!(needs::tool("curl", "curl"));
    let lab = Lab::new();
    // the copy that others can reach
    let _ = lab.launch(&["--version"]).as_nobody(&lab.dir).run();
    let as_user = |uid: &str| {
        ["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into(), "--".into()]
    };
    let program = || Launch::new(lab.dir.path("program")).env("XDG_RUNTIME_DIR", lab.dir.root());
    let bridge = program().args(["--name", "lab", "-p", &lab.spec("a")]);
    let bridge = bridge.under(as_user("65532")).under(["unshare", "--user", "--map-user=65534"]).ready();
    let own = || program().args(["status", "lab"]).under(as_user("65532")).run();
    assert!(own().stdout.contains("\na "), "{:?}", own());
    let open = |path: std::path::PathBuf, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(lab.dir.path("zbridge"), 0o755);
    open(lab.socket("lab"), 0o666);
    let socket = lab.socket("lab").display().to_string();
    let other = Launch::new("curl").args(["-s", "--http0.9", "-m", "20", "--unix-socket", &socket, "http://lab/"]);
    // Whether it hears why depends on whether it has spoken by then.
    let _ = other.under(as_user("65533")).run();
    bridge.wait_for("(curl) is refused: user 65534 may not command this bridge", PATIENCE);
    drop(bridge);
}

/// A process chooses its own name, and may put into it what moves the cursor, or a line's end.
#[test]
fn names_of_peers_do_nothing_to_a_terminal() {
    let lab = Lab::new();
    let zbridge = lab.with_ports(&["a"]);
    // that of this process, which any of its threads may change
    std::fs::write("/proc/self/comm", b"\x1b[2J\n\x9b\xc2\x9b7").unwrap();
    let _peer = lab.join("a");
    let shown = r"(\x1b[2J\x0a\x9b\x9b7)";
    zbridge.wait_for(&format!("a#1: connected, pid {} {shown}", std::process::id()), PATIENCE);
    for words in [&["status"][..], &["status", "--json"], &["ls"], &["ls", "--json"], &["fdb", "--json"]] {
        let told = lab.told(words);
        assert!(!told.chars().any(|char| char.is_control() && char != '\n'), "{words:?}: {told:?}");
    }
    let lines = lab.told(&["status"]).lines().filter(|line| line.ends_with(shown)).count();
    assert_eq!(lines, 1);
    let exit = zbridge.stderr();
    assert!(!exit.contains('\x1b'), "{exit:?}");
}
