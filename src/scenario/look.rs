//! A look at a bridge: what its ports have counted, how its programs are, and what these have said since the last one.

use super::expr::{Asked, Of};
use crate::control::{InstanceInfo, PortInfo, StatusInfo};
use std::fmt;

/// What a figure is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Word(word) => out.write_str(word),
        }
    }
}

/// Lines that a program has written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct News {
    /// The program.
    pub instance: String,
    /// The number of the first of these lines; its first line of all is 1.
    pub first: u64,
    /// The lines.
    pub lines: Vec<String>,
}

/// See the head of the file.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Look {
    /// Its ports.
    pub ports: Vec<PortInfo>,
    /// Its programs.
    pub programs: Vec<InstanceInfo>,
    /// What those have said that were asked for.
    pub news: Vec<News>,
}

impl Look {
    /// A look at what a bridge has answered.
    pub fn new(status: StatusInfo, programs: Vec<InstanceInfo>) -> Self {
        let ports = status.switches.into_iter().flat_map(|switch| switch.ports).collect();
        Self { ports, programs, news: Vec::new() }
    }

    /// A program.
    pub fn program(&self, name: &str) -> Option<&InstanceInfo> {
        self.programs.iter().find(|program| program.name == name)
    }

    fn port(&self, name: &str) -> Option<&PortInfo> {
        self.ports.iter().find(|port| port.name == name)
    }

    /// The value of what is asked; nothing: there is no such port or program.
    pub fn value(&self, asked: &Asked) -> Option<Value> {
        let Asked { figure, name, reason } = asked;
        match figure.of {
            Of::Program => of_program(figure.word, self.program(name)?),
            // A port that is not there has a state all the same, as of `wait`.
            Of::Port if figure.word == "state" => {
                Some(Value::Word(self.port(name).map_or_else(|| "gone".to_owned(), |port| port.state.clone())))
            }
            Of::Port => of_port(figure.word, self.port(name)?, reason.as_deref()),
        }
    }
}

fn of_program(figure: &str, program: &InstanceInfo) -> Option<Value> {
    Some(match figure {
        "program" => Value::Word(program.state.clone()),
        "end" => Value::Word(program.end.clone().unwrap_or_else(|| "none".to_owned())),
        "restarts" => Value::Number(program.restarts),
        "uptime" => Value::Number(program.uptime.unwrap_or(0)),
        _ => return None,
    })
}

fn of_port(figure: &str, port: &PortInfo, reason: Option<&str>) -> Option<Value> {
    Some(Value::Number(match figure {
        "frames" => port.rx_frames.saturating_add(port.tx_frames),
        "rx" => port.rx_frames,
        "tx" => port.tx_frames,
        "rx_bytes" => port.rx_bytes,
        "tx_bytes" => port.tx_bytes,
        "drops" => match reason {
            Some(reason) => port.drops.get(reason).copied().unwrap_or(0),
            None => port.drops.values().fold(0, |sum, drops| sum.saturating_add(*drops)),
        },
        "queued" => port.queued,
        "held" => port.held_in.saturating_add(port.held_out),
        "stations" => port.heard.len() as u64,
        _ => return None,
    }))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::counters::{Counters, DropReason};
    use crate::scenario::expr::FIGURES;

    /// A port inst1 with 3 frames in, 5 out and 7 dropped; sim1, which is ready, and sim2, which was killed.
    pub fn look() -> Look {
        let mut counters = Counters::default();
        counters.received(3, 300);
        counters.sent(5, 500);
        counters.drop(DropReason::NoPeer, 7);
        let port = PortInfo { name: "inst1".into(), state: "up".into(), ..PortInfo::counted(&counters, 2) };
        let program = |name: &str, state: &str| InstanceInfo {
            name: name.to_owned(),
            state: state.to_owned(),
            ..InstanceInfo::default()
        };
        let sim1 = InstanceInfo { restarts: 2, uptime: Some(9), ready: true, ..program("sim1", "ready") };
        let sim2 = InstanceInfo { end: Some("signal 9 (SIGKILL)".into()), ..program("sim2", "stopped") };
        Look { ports: vec![port], programs: vec![sim1, sim2], news: Vec::new() }
    }

    #[test]
    fn every_figure_has_a_value() {
        for figure in &FIGURES {
            let name = if figure.of == Of::Port { "inst1" } else { "sim1" }.to_owned();
            let value = look().value(&Asked { figure, name, reason: None }).unwrap_or_else(|| panic!("{figure:?}"));
            assert_eq!(matches!(value, Value::Number(_)), figure.is_number, "{figure:?}");
        }
    }
}
