//! What the pages say is typed as it stands there, and has to work: every fenced command of the README and of the topics of
//! `zbridge help`, on a machine as [`Ground`] makes it. The pages of the examples are run by `tests/examples.rs`.
//!
//! Theory of operation. Each command has a terminal of its own, and the next is typed when it has come to something: it has
//! ended with status 0, or it runs on and has said what shows that it works ([`SIGNS`]). A new block, and in it a command that
//! starts a bridge, is another case: what was typed for the one before is ended as by Ctrl-C.

mod ground;
mod page;

use ground::Ground;
use page::{blocks, commands};
use support::{PATIENCE, Process, eventually_within, needs, require};

/// Every page with commands, and what runs beside them, as the text says.
const PAGES: &[(&str, &[&str])] = &[
    ("README.md", &[]),
    ("src/cli/topics/bench.md", &[]),
    ("src/cli/topics/bridge.md", &["zbridge --port unix:/tmp/inst1"]),
    ("src/cli/topics/capture.md", &[]),
    ("src/cli/topics/copies.md", &["zbridge --name lab --port unix:/tmp/inst1"]),
    // "a server on this machine's loopback"
    ("src/cli/topics/gateway.md", &["exec python3 -u -m http.server --bind 127.0.0.1 8000"]),
    // "a bridge that has several" switches
    (
        "src/cli/topics/run.md",
        &["zbridge --name lab --port unix:/tmp/left,switch=left --port unix:/tmp/right,switch=right"],
    ),
    ("src/cli/topics/metrics.md", &[]),
    ("src/cli/topics/scenario.md", &[]),
    ("src/cli/topics/impair.md", &[]),
    ("src/cli/topics/usb.md", &[]),
    ("src/cli/topics/view.md", &["zbridge --port unix:/tmp/inst1"]),
];

/// What a command that runs on says when it works: the first row whose word is in the command.
const SIGNS: &[(&str, &str)] = &[
    ("http.server", "Serving HTTP"),
    ("ping ", "bytes from"),
    ("-- bash", "a shell is here"),
    (".exe", ": up, "),
    (".elf", ": up, "),
    (".native", ": up"),
    ("west ", ": up, "),
    ("zbridge up", ": ready after"),
    ("zbridge view", "http://127.0.0.1:"),
    ("zbridge ", "zbridge status"),
];

/// Whether it starts a bridge, and no program on one.
fn is_a_bridge(command: &str) -> bool {
    command.starts_with("zbridge --")
}

/// What has been typed on a page and runs on.
struct Terminals<'a> {
    ground: &'a Ground,
    page: &'a str,
    open: Vec<(String, Process)>,
}

impl Terminals<'_> {
    fn types(&mut self, command: &str) {
        if is_a_bridge(command) {
            self.end();
        }
        let mut process = self.ground.types(command);
        // what stands behind it is for the reader
        let typed = command.split(" # ").next().unwrap_or_default();
        let (_, sign) = SIGNS.iter().find(|(word, _)| typed.contains(word)).unwrap_or(&("", "\n"));
        let what = format!("{}: what {command:?} comes to", self.page);
        let runs = eventually_within(3 * PATIENCE, &what, || {
            let said = process.stdout() + &process.stderr();
            let runs = process.is_running();
            (!runs || said.contains(sign)).then_some(runs)
        });
        if runs {
            self.is_content(command, &process.stderr());
            self.open.push((command.to_owned(), process));
        } else {
            let exit = process.wait();
            assert_eq!(exit.status.code(), Some(0), "{}: {command:?}: {exit:?}", self.page);
            self.is_content(command, &exit.stderr);
        }
    }

    /// Nothing that is on a page is warned of.
    fn is_content(&self, command: &str, stderr: &str) {
        let odd = |line: &&str| ["error", "warning"].iter().any(|label| line.contains(&format!("{label}: ")));
        assert_eq!(stderr.lines().find(odd), None, "{}: {command:?}", self.page);
    }

    fn end(&mut self) {
        for (command, process) in self.open.drain(..).rev() {
            process.sigint();
            let exit = process.wait();
            let is_over = exit.status.code().is_some() || !command.contains("zbridge ");
            assert!(is_over, "{}: {command:?}: {exit:?}", self.page);
        }
    }
}

fn machine() -> needs::Need {
    needs::root()?;
    needs::tun()?;
    needs::netns()?;
    for (program, package) in [
        ("setpriv", "util-linux"),
        ("unshare", "util-linux"),
        ("bash", "bash"),
        ("cc", "gcc"),
        ("ping", "iputils-ping"),
        ("curl", "curl"),
        ("socat", "socat"),
        ("python3", "python3"),
        ("usbip", "usbip"),
    ] {
        needs::tool(program, package)?;
    }
    Ok(())
}

fn text_of(page: &str) -> String {
    std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).expect(page)
}

/// Reads a page from top to bottom, and types what it says.
fn read(page: &str) {
    require!(machine());
    let (_, before) = PAGES.iter().find(|(name, _)| *name == page).expect("a page of the table");
    let ground = Ground::new("docs");
    let mut terminals = Terminals { ground: &ground, page, open: Vec::new() };
    let text = text_of(page);
    let blocks = blocks(&text);
    // A file is on the disk before its commands are typed.
    for block in blocks.iter().filter(|block| block.language == "toml") {
        ground.put("work/bench.toml", &block.text, 0o644);
        terminals.types("zbridge check bench.toml");
    }
    let mut others = Terminals { ground: &ground, page, open: Vec::new() };
    before.iter().for_each(|command| others.types(command));
    for block in &blocks {
        match block.language.as_str() {
            "sh" => {
                terminals.end();
                commands(block).iter().for_each(|command| terminals.types(command));
            }
            "text" => terminals.shows(&block.text),
            _ => {}
        }
    }
    terminals.end();
    others.end();
}

impl Terminals<'_> {
    /// A block of text behind a bridge is what it shows, if it is not a picture: MAC1 stands for whatever address it is.
    fn shows(&self, text: &str) {
        let Some((_, process)) = self.open.last().filter(|_| text.contains("\nto attach\n")) else { return };
        let said: Vec<String> = text.lines().map(without_mac).collect();
        let what = format!("{}: what it shows:\n{text}", self.page);
        let is_shown = || process.stdout().lines().map(without_mac).eq(said.iter().cloned());
        eventually_within(PATIENCE, &what, || is_shown().then_some(()));
    }
}

fn without_mac(line: &str) -> String {
    line.split_once("macaddr=").map_or(line, |(before, _)| before).to_owned()
}

#[test]
fn readme() {
    read("README.md");
}

#[test]
fn bench() {
    read("src/cli/topics/bench.md");
}

#[test]
fn bridge() {
    read("src/cli/topics/bridge.md");
}

#[test]
fn capture() {
    read("src/cli/topics/capture.md");
}

#[test]
fn copies() {
    read("src/cli/topics/copies.md");
}

#[test]
fn gateway() {
    read("src/cli/topics/gateway.md");
}

#[test]
fn impair() {
    read("src/cli/topics/impair.md");
}

#[test]
fn metrics() {
    read("src/cli/topics/metrics.md");
}

#[test]
fn scenario() {
    read("src/cli/topics/scenario.md");
}

#[test]
fn run() {
    read("src/cli/topics/run.md");
}

#[test]
fn usb() {
    read("src/cli/topics/usb.md");
}

#[test]
fn view() {
    read("src/cli/topics/view.md");
}

/// No page with commands is forgotten.
#[test]
fn every_page_is_read() {
    let root = env!("CARGO_MANIFEST_DIR");
    let topics = std::fs::read_dir(format!("{root}/src/cli/topics")).expect("the topics").flatten();
    let topics = topics.map(|entry| format!("src/cli/topics/{}", entry.file_name().to_string_lossy()));
    let pages = topics.filter(|page| page.ends_with(".md")).chain(["README.md".to_owned()]);
    let tests = include_str!("main.rs");
    for page in pages.filter(|page| blocks(&text_of(page)).iter().any(|block| block.language == "sh")) {
        assert!(PAGES.iter().any(|(name, _)| *name == page), "{page} is not in the table");
        assert!(tests.contains(&format!("read(\"{page}\")")), "{page} has no test");
    }
}
