//! What people write: port and switch specifications, the configuration file.
//!
//! Whatever parses must be written as a text that parses to the same again, and no error may hand a control character
//! of its input on to a terminal.

use zbridge::config::{Config, PortSpec, SwitchSpec};
use zbridge::error::Error;
use zbridge::internals::capture::{Filter, Seen};

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
