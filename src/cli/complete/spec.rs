//! What completes the specification of a port: its kind, its target, its keys and their values, from the tables of which
//! its parser is made.

use crate::config::{COMMON, Choices, KINDS, KeyRow, KindRow, TRANSPORTS};
use clap_complete::CompletionCandidate;
use clap_complete::engine::{PathCompleter, ValueCompleter};
use std::ffi::OsStr;

/// How `current`, the beginning of a specification, may go on: the whole of it, each time.
pub fn specs(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(text) = current.to_str() else { return Vec::new() };
    let Some((kind, rest)) = text.split_once(':') else {
        let kinds = KINDS.iter().map(|row| (format!("{}:", row.word), row.summary));
        return starting(text, kinds);
    };
    let Some(row) = KINDS.iter().find(|row| row.word == kind) else { return Vec::new() };
    let found = match rest.rsplit_once(',') {
        None => return led(&format!("{kind}:"), target(row, rest)),
        Some((_, key)) => key_or_value(row, key),
    };
    let before = text.len().saturating_sub(rest.rsplit_once(',').map_or(0, |(_, key)| key.len()));
    led(text.get(..before).unwrap_or_default(), found)
}

/// The completions of a target.
fn target(row: &KindRow, text: &str) -> Vec<CompletionCandidate> {
    match row.target {
        "TRANSPORT" => match text.split_once(':') {
            None => starting(text, TRANSPORTS.iter().map(|row| (format!("{}:", row.word), row.summary))),
            Some((transport, rest)) => {
                let address = TRANSPORTS.iter().find(|row| row.word == transport).map_or("", |row| row.address);
                led(&format!("{transport}:"), value(address, rest))
            }
        },
        other => value(other, text),
    }
}

/// A key of a port, or the value of one.
fn key_or_value(row: &KindRow, text: &str) -> Vec<CompletionCandidate> {
    let Some((word, given)) = text.split_once('=') else {
        return starting(text, row.keys.iter().chain(COMMON).map(key));
    };
    let found = match row.choices.filter(|choices| choices.key == word) {
        Some(choices) => choice(choices, given),
        None => row.key(word).and_then(|row| row.value).map_or_else(Vec::new, |form| value(form, given)),
    };
    led(&format!("{word}="), found)
}

/// A value that is a specification itself: `cdc-acm+pty=/tmp/ttyA`.
fn choice(choices: &Choices, text: &str) -> Vec<CompletionCandidate> {
    let Some((before, last)) = text.rsplit_once('+') else {
        return starting(text, choices.rows.iter().map(|row| (row.word.to_owned(), row.summary)));
    };
    let word = before.split('+').next().unwrap_or_default();
    let own = choices.rows.iter().find(|row| row.word == word).map_or(&[][..], |row| row.keys);
    let keys = || own.iter().chain(choices.common);
    let found = match last.split_once('=') {
        None => starting(last, keys().map(key)),
        Some((word, given)) => {
            let form = keys().find(|row| row.word == word).and_then(|row| row.value);
            led(&format!("{word}="), form.map_or_else(Vec::new, |form| value(form, given)))
        }
    };
    led(&format!("{before}+"), found)
}

/// A key as it is begun: with what stands behind it, if something does.
fn key(row: &KeyRow) -> (String, &'static str) {
    (if row.value.is_some() { format!("{}=", row.word) } else { row.word.to_owned() }, row.summary)
}

/// A value of this form: a path, an interface, one of several words.
fn value(form: &str, text: &str) -> Vec<CompletionCandidate> {
    let path = || PathCompleter::any().complete(OsStr::new(text));
    match form {
        "PATH" | "FILE" | "DEVICE[@BAUD]" | "COMMAND" => path(),
        "FOLDER" => PathCompleter::dir().complete(OsStr::new(text)),
        "NAME" | "IFNAME" => starting(text, interfaces().into_iter().map(|name| (name, "interface"))),
        words if words.contains('|') => {
            let plain = |word: &&str| word.chars().any(|char| char.is_ascii_lowercase());
            starting(text, words.split('|').filter(plain).map(|word| (word.to_owned(), "")))
        }
        _ => Vec::new(),
    }
}

/// The interfaces of this machine.
fn interfaces() -> Vec<String> {
    let found = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = found.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name != "lo").collect()
}

/// Those that begin with `text`.
fn starting<'a>(text: &str, words: impl Iterator<Item = (String, &'a str)>) -> Vec<CompletionCandidate> {
    let found = words.filter(|(word, _)| word.starts_with(text));
    found
        .map(|(word, summary)| {
            let help = (!summary.is_empty()).then(|| summary.to_owned().into());
            CompletionCandidate::new(word).help(help)
        })
        .collect()
}

/// The same with `lead` before each.
fn led(lead: &str, found: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    found.into_iter().map(|candidate| candidate.add_prefix(lead)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(text: &str) -> Vec<String> {
        let mut words: Vec<String> =
            specs(OsStr::new(text)).iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect();
        words.sort();
        words
    }

    #[test]
    fn a_specification_is_completed_from_its_tables() {
        assert_eq!(offered("us"), ["usbip:"]);
        assert!(offered("").contains(&"tap:".to_owned()));
        assert_eq!(offered("usbip:192.0.2.1/24,dev"), ["usbip:192.0.2.1/24,device="]);
        let devices = offered("usbip:192.0.2.1/24,device=hid-");
        assert_eq!(devices, ["hid-keyboard", "hid-mouse"].map(|word| format!("usbip:192.0.2.1/24,device={word}")));
        let lead = "usbip:192.0.2.1/24,device=cdc-acm,device=mass-storage";
        assert_eq!(offered(&format!("{lead}+ima")), [format!("{lead}+image=")]);
        assert_eq!(offered(&format!("{lead}+image=x+speed=s")), [format!("{lead}+image=x+speed=super")]);
        assert_eq!(offered("tap:z,learn=o"), ["tap:z,learn=off", "tap:z,learn=on"]);
        assert_eq!(offered("unix:/a,opt"), ["unix:/a,optional"]);
        assert_eq!(offered("slip:p"), ["slip:pipe:", "slip:pty:"]);
        for none in ["nosuch:", "usbip:192.0.2.1/24,device=hid-mouse+x=", "tcp:127.0.0.1:5", "tap:z,nosuch="] {
            assert_eq!(offered(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn paths_are_those_that_there_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("inst1"), "").unwrap();
        std::fs::create_dir(dir.path().join("inst2")).unwrap();
        let root = dir.path().display();
        for lead in ["unix:", "slip:unix:", "unixgram:/tmp/a,peer=", "usbip:192.0.2.1/24,device=mass-storage+image="] {
            let found = [format!("{lead}{root}/inst1"), format!("{lead}{root}/inst2/")];
            assert_eq!(offered(&format!("{lead}{root}/in")), found);
        }
    }
}
