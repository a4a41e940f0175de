//! Tests of the configuration file: both ways to write a port, and errors with their lines.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::error::Class;

const LAB: &str = r#"# A lab with two switches.
port = ["tap:zeth0,addr=192.0.2.2/24", { port = "unix:/tmp/inst1", mode = 0o660 }]

[switch.lab]
fdb-limit = 1_024
ageing = "5m"

[switch.default]
"#;

const TABLES_OF_PORTS: &str = r#"
[[port]]
type = "tap"
target = "zeth0"
addr = ["192.0.2.2/24", "2001:db8::2/64"]
learn = false
persist = true
mtu = 9000
static = "02:00:5e:00:53:01"

[[port]]
port = "unix:/tmp/a,,b,connect"
switch = "lab"
"#;

fn specs(text: &str) -> Vec<String> {
    Config::parse(text, "lab.toml").unwrap().ports.iter().map(PortSpec::canonical).collect()
}

#[test]
fn ports_are_strings_or_tables() {
    assert_eq!(specs(LAB), ["tap:zeth0,addr=192.0.2.2/24", "unix:/tmp/inst1,mode=0660"]);
    assert_eq!(
        specs(TABLES_OF_PORTS),
        [
            "tap:zeth0,addr=192.0.2.2/24,addr=2001:db8::2/64,persist,learn=off,mtu=9000,static=02:00:5e:00:53:01",
            "unix:/tmp/a,,b,connect,switch=lab",
        ]
    );
}

#[test]
fn switches_are_in_the_order_of_the_file() {
    let switches = Config::parse(LAB, "lab.toml").unwrap().switches;
    assert_eq!(switches.iter().map(SwitchSpec::canonical).collect::<Vec<_>>(), ["lab,fdb-limit=1024", "default"]);
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    assert_eq!(Config::parse("", "x"), Ok(Config::default()));
}

/// Each wrong file and its error.
const WRONG: &[(&str, &str)] = &[
    ("\n[[ports]]\n", "lab.toml:2: unknown table \"ports\"; the nearest is \"port\""),
    ("[port]\ntype = \"tap\"\n", "lab.toml:1: port is a list of tables"),
    ("port = 3\n", "lab.toml:1: port is a list of tables"),
    ("port = [\n  \"tap:z\",\n  7,\n]\n", "lab.toml:3: a port is a table or a string, not an integer"),
    ("port = [\n  \"tap:z,upp\",\n]\n", "lab.toml:2: tap has no key \"upp\"; the nearest is \"up\""),
    ("port = [\"tap:z,\"]", "lab.toml:1: a comma that no key follows"),
    ("[[port]]\ntarget = \"z\"\n", "lab.toml:1: a port has either port = \"TYPE:TARGET\" or both type and target"),
    ("[[port]]\nport = \"tap:z\"\ntype = \"tap\"\n", "lab.toml:1: a port has either port = \"TYPE:TARGET\" or both"),
    ("[[port]]\ntype = \"tpa\"\ntarget = \"z\"\n", "lab.toml:2: unknown port kind \"tpa\"; the nearest is \"tap\""),
    ("[[port]]\ntype = \"tap\"\ntarget = 3\n", "lab.toml:3: target is a string"),
    ("[[port]]\ntype = \"tap\"\ntarget = \"a/b\"\n", "lab.toml:1: NAME \"a/b\": expected an interface name"),
    ("[[port]]\nport = \"tap:z\"\n\nmtuu = 9000\n", "lab.toml:4: tap has no key \"mtuu\"; the nearest is \"mtu\""),
    ("[[port]]\nport = \"tap:z,mtu=9\"\n", "lab.toml:2: mtu=\"9\": expected a number from 68 to 65535"),
    ("[[port]]\nport = \"tap:z,mtu=99\"\nmtu = 99\n", "lab.toml:3: key \"mtu\" is given twice"),
    ("[[port]]\nport = \"tap:z\"\nmtu = 1.5\n", "lab.toml:3: mtu takes no float as its value"),
    ("[[port]]\nport = \"tap:z\"\nmtu = [1500, 1500]\n", "lab.toml:3: key \"mtu\" is given twice"),
    ("[[port]]\nport = \"tap:z\"\n[port.addr]\nx = 1\n", "lab.toml:3: addr takes no table as its value"),
    (
        "[[port]]\nport = \"tap:z\"\n[[port]]\nport = \"unix:/tmp/z\"\n",
        "lab.toml:3: unix:/tmp/z and tap:z are both called z",
    ),
    ("switch = 3\n", "lab.toml:1: a switch is a table with a name"),
    ("[switch]\nageing = \"300s\"\n", "lab.toml:2: a switch is a table with a name"),
    ("[switch.a]\n\nageing = \"9s\"\n", "lab.toml:3: ageing=\"9s\": expected a time from 10s to 1000000s"),
    ("[switch.\"a b\"]\n", "lab.toml:1: the name of a switch, \"a b\": expected 1 to 64 letters"),
    ("[switch.a]\nfdb-limt = 99\n", "lab.toml:2: a switch has no key \"fdb-limt\"; the nearest is \"fdb-limit\""),
    ("[[port]]\nport = \"tap:z\nmtu = 3\n", "lab.toml:2: "),
    ("[[port]]\nmtu = 1\nmtu = 2\n", "lab.toml:3: duplicate key"),
];

#[test]
fn errors_lead_with_file_and_line() {
    for (text, expected) in WRONG {
        let error = Config::parse(text, "lab.toml").map(|_| ()).expect_err(text);
        assert!(error.what().starts_with(expected), "{text}\ngives    {}\nexpected {expected}", error.what());
        assert_eq!(error.class(), Class::Usage, "{text}");
        assert!(!error.what().contains('\n'), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Config::load(&folder.path().join("none.toml")).unwrap_err().remove(0);
    assert_eq!(missing.class(), Class::NoObject);
    assert!(missing.what().contains("none.toml"), "{missing}");

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"port = [\"\xff\"]").unwrap();
    assert!(Config::load(file.path()).unwrap_err()[0].what().ends_with("not UTF-8 text"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(\\[|\\]|port|switch|type|=|\"|tap:z|,|\\.|\n| |a|1|\\{|\\}|\\PC){0,40}") {
        if let Err(error) = Config::parse(&text, "x") {
            prop_assert!(error.what().starts_with("x:"), "{}", error);
        }
    }

    /// A specification means the same in a file as on the command line.
    #[test]
    fn a_file_says_what_the_command_line_says(
        target in "[a-z]{1,9}",
        keys in prop::collection::vec("mtu=1[0-9]{3}|queue=[1-9]|isolate|learn=off|mode=06[0-7]0", 0..3),
    ) {
        let spec = format!("unix:/{target}{}", keys.iter().map(|key| format!(",{key}")).collect::<String>());
        let lines = keys.iter().map(|key| match key.split_once('=') {
            Some((word, value)) => format!("{word} = \"{value}\"\n"),
            None => format!("{key} = true\n"),
        });
        let file = format!("[[port]]\ntype = \"unix\"\ntarget = \"/{target}\"\n{}", lines.collect::<String>());
        let from_file = Config::parse(&file, "x").map(|config| config.ports).ok();
        prop_assert_eq!(from_file, PortSpec::parse(&spec).ok().map(|port| vec![port]));
    }
}

#[test]
fn what_is_no_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let error = |path: &Path| Config::load(path).unwrap_err()[0].what().to_owned();
    assert!(error(&fifo).ends_with("fifo: it is no file"));
    assert_eq!(error(Path::new("/dev/zero")), "/dev/zero: it is no file");
    assert!(error(dir.path()).ends_with("it is a folder"));
    let long = dir.path().join("long.toml");
    std::fs::File::create(&long).unwrap().set_len(1 << 40).unwrap();
    assert!(error(&long).ends_with("long.toml: it is longer than 16 MiB"));
}
