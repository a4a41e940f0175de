//! Tests of the command line: what each comes to, which error, which exit status.

use std::io::Write;

use super::*;

/// What `words` come to.
fn ask(words: &[&str]) -> Result<Answer> {
    let args =
        read(&std::iter::once(&"zbridge").chain(words).map(OsString::from).collect::<Vec<_>>()).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            Error::usage(error.to_string())
        })?;
    answer(&args)
}

fn text(words: &[&str]) -> String {
    match ask(words) {
        Ok(Answer::Text(text)) => String::from_utf8(text).unwrap(),
        other => panic!("{words:?}: {other:?}"),
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_command_line_overrides_the_file() {
    let file = file("port = [\"tap:zeth0\", \"unix:/tmp/a\"]\n[switch.default]\nageing = \"20s\"\n");
    let path = file.path().to_str().unwrap();
    let words = ["-c", path, "-p", "unix:/tmp/b,name=a", "-p", "tap:y", "-s", "default,fdb-limit=99"];
    let Ok(Answer::Job(Job::Run(config, None))) = ask(&words) else { panic!("no job") };
    let ports: Vec<String> = config.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["tap:zeth0", "unix:/tmp/b,name=a", "tap:y"]);
    let switches: Vec<String> = config.switches.iter().map(ToString::to_string).collect();
    assert_eq!(switches, ["default,fdb-limit=99"]);
}

#[test]
fn commands_are_answered_or_handed_over() {
    assert_eq!(ask(&["demo"]), Ok(Answer::Job(Job::Demo)));
    assert!(text(&["ports"]).contains("unix:PATH"));
    assert!(!text(&["ports", "tap"]).contains("unix:PATH"));
    assert!(text(&["man"]).starts_with(".ie "));
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&["completions", shell]);
        assert!(script.contains("zbridge") && script.contains("ZBRIDGE_COMPLETE"), "{shell}");
    }
    let file = file("port = [\"tap:zeth0\"]\n");
    assert_eq!(text(&["check", file.path().to_str().unwrap()]), "switch default\n  zeth0  tap  zeth0\n");
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let empty = file("");
    let empty = empty.path().to_str().unwrap();
    for (words, want) in [
        (&[][..], "Usage:"),
        (&["-v"], "there is no port to switch between"),
        (&["-c", empty], "there is no port to switch between"),
        (&["check", empty], "there is no port to switch between"),
        (&["-p", "tpa:z"], "the nearest is \"tap\""),
        (&["-p", "tap:z", "-p", "packet:z"], "both want interface z"),
        (&["-s", "a", "-s", "a", "-p", "tap:z"], "switch a is given twice"),
        (&["-p", "tap:z", "demo"], "not for a command"),
        (&["ports", "uinx"], "the nearest is \"unix\""),
        (&["bogus"], "unrecognized subcommand"),
        (&["--prot", "tap:z"], "--port"),
    ] {
        let error = ask(words).unwrap_err();
        assert!(error.what().contains(want), "{words:?}: {error}");
        assert_eq!(error.class(), Class::Usage, "{words:?}");
    }
}

#[test]
fn statuses_are_those_of_the_table() {
    let status = |words: &[&str], outcome: Result<u8>| run(words, |_, _| outcome);
    let same = |code: ExitCode, number: u8| assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(number)));
    same(status(&["zbridge", "demo"], Ok(0)), 0);
    same(status(&["zbridge", "run", "x"], Ok(137)), 137);
    same(status(&["zbridge", "demo"], Err(Error::new(Class::Permission, "no"))), 5);
    same(status(&["zbridge", "-c", "/nonexistent/lab.toml"], Ok(0)), 4);
    same(status(&["zbridge", "--bogus"], Ok(0)), 2);
    same(status(&["zbridge"], Ok(0)), 2);
    same(status(&["zbridge", "--version"], Ok(0)), 0);
}
