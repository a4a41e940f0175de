//! What people write: port and switch specifications, the configuration file, filters and frames in words.
//!
//! Whatever parses must be written as a text that parses to the same again, and no error may hand a control character
//! of its input on to a terminal.

use std::net::IpAddr;
use zbridge::config::{Config, PortSpec, SwitchSpec};
use zbridge::error::Error;
use zbridge::internals::capture::{Book, Filter, LONGEST, LinkType, Seen, Spoken, describe};
use zbridge::internals::scenario::{Condition, Look, compile, timeline};
use zbridge::wire::Mac;

/// `TYPE:TARGET[,key[=value]]…`.
pub fn port_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match PortSpec::parse(text) {
        Ok(port) => check_port(&port),
        Err(error) => check_error(&error),
    }
}

/// `NAME[,key[=value]]…`.
pub fn switch_spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match SwitchSpec::parse(text) {
        Ok(switch) => assert_eq!(SwitchSpec::parse(&switch.canonical()).as_ref(), Ok(&switch)),
        Err(error) => check_error(&error),
    }
}

/// A configuration file, and the same file laid over itself.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text, "lab.toml") {
        Ok(config) => config,
        Err(error) => return check_error(&error),
    };
    config.ports.iter().for_each(check_port);
    let mut twice = config.clone();
    twice.overlay(config.clone());
    assert_eq!(twice, config);
    if config.check().is_ok() {
        let switches = config.switches_in_use();
        let joined: usize = switches.iter().map(|switch| config.ports_of(&switch.name).count()).sum();
        assert_eq!(joined, config.ports.len(), "every port joins one switch");
        assert_eq!(config.summary().matches('\n').count(), switches.len() + joined);
    }
}

/// The words of a filter, and behind a zero byte a frame to ask them of.
pub fn filter(data: &[u8]) {
    let (words, bytes) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(words) else { return };
    match Filter::parse(text) {
        Ok(Some(filter)) => {
            let len = bytes.len() as u32;
            let seen = Seen { port: "inst1#1", incoming: true, reason: None, bytes, len, ethernet: true };
            std::hint::black_box((filter.takes(&seen), filter.takes(&Seen { ethernet: false, ..seen })));
        }
        Ok(None) => {
            assert!(text.trim().trim_matches('\\').trim().is_empty() || !text.chars().any(char::is_alphanumeric))
        }
        Err(error) => check_error(&error),
    }
}

/// A condition of a scenario, and a file of scenarios: what parses can be asked and drawn.
pub fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Condition::parse(text) {
        Ok(condition) => {
            let look = Look::default();
            std::hint::black_box((condition.holds(&look), condition.seen(&look), condition.names()));
        }
        Err(error) => check_error(&error),
    }
    let Ok(config) = Config::parse(text, "lab.toml") else { return };
    let no_verb = |_: &[String]| Ok(Vec::new());
    match compile(&config.scenarios, &no_verb, None) {
        Ok(scenarios) => {
            let drawn = timeline(&scenarios);
            let steps = drawn.lines().filter(|line| !line.starts_with("scenario  "));
            steps.for_each(|line| assert!(line.chars().count() <= 80, "{line}"));
        }
        Err(errors) => errors.iter().for_each(check_error),
    }
}

/// A bridge that knows some addresses and not others.
struct Bridge {
    knows: bool,
}

impl Book for Bridge {
    fn station(&self, addr: IpAddr) -> Option<Mac> {
        self.knows.then_some(Mac([2, 0, 0, 0, 0, addr.is_ipv4().into()]))
    }

    fn sender(&self) -> Option<Mac> {
        self.knows.then_some(Mac([2, 0, 0, 0, 0, 9]))
    }

    fn address(&self, _: Mac, ipv4: bool) -> Option<IpAddr> {
        let known: IpAddr = if ipv4 { [192, 0, 2, 9].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into() };
        self.knows.then_some(known)
    }
}

/// The words of a frame: what comes of them is one, whose length is bounded.
pub fn trace_words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Spoken::parse(text) {
        Ok(Spoken::Bytes(bytes)) => assert!((1..=LONGEST).contains(&bytes.len())),
        Ok(Spoken::Draft(draft)) => {
            for knows in [false, true] {
                match draft.build(&Bridge { knows }) {
                    Ok(built) => {
                        let len = built.bytes.len();
                        assert!((14..=LONGEST).contains(&len), "{len} bytes of {text:?}");
                        let from = draft.from.unwrap_or(Mac([0; 6]));
                        assert!(draft.from.is_none() || built.bytes.get(6..12) == Some(&from.0[..]), "{text:?}");
                        let mut line = String::new();
                        describe(LinkType::ETHERNET, &built.bytes, len as u32, &mut line);
                        assert!(!line.is_empty(), "{text:?}");
                    }
                    Err(error) => check_error(&error),
                }
            }
        }
        Err(error) => check_error(&error),
    }
}

fn check_port(port: &PortSpec) {
    let canonical = port.canonical();
    assert_eq!(PortSpec::parse(&canonical).as_ref(), Ok(port), "{canonical:?}");
    assert!(port.canonical().len() >= port.settings().len());
    std::hint::black_box(port.attach_hint());
}

fn check_error(error: &Error) {
    let control = error.to_string().chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(control, None, "{error:?}");
}
