//! What a client asks of the programs of a bridge's process, and of hosts on its switches: requests that may take their
//! time.

use super::client::{Client, PATIENCE};
use crate::control::{Command, InstancesInfo, LogInfo};
use crate::error::Result;
use std::time::Duration;

/// How long a program may take to end and to start again: it may ask for an address first.
const DONE: Duration = Duration::from_secs(120);

impl Client {
    /// Has programs of its process started, stopped, restarted or killed, and waits until that is done: `command` is one of
    /// these.
    ///
    /// # Errors
    /// As [`Client::request`]; there is no such program; it cannot be done.
    pub fn order(&mut self, command: Command) -> Result<()> {
        self.request_within(command, DONE)
    }

    /// The programs that its process runs, and their last lines.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn instances(&mut self) -> Result<InstancesInfo> {
        self.request(Command::Instances)
    }

    /// What a program has written, behind its line with the number `after`, as far as that is kept.
    ///
    /// # Errors
    /// As [`Client::request`]; there is no such program.
    pub fn logs(&mut self, instance: &str, after: u64) -> Result<LogInfo> {
        self.request(Command::Logs { instance: instance.to_owned(), after })
    }

    /// Has a host asked from inside the switches: `ping ADDR`, `tcp ADDR:PORT`, `dns NAME at ADDR`.
    ///
    /// # Errors
    /// As [`Client::request`], and class unmet when it does not answer within `timeout`.
    pub fn probe(&mut self, question: &str, timeout: Duration) -> Result<()> {
        let timeout_ms = timeout.as_millis().try_into().unwrap_or(u64::MAX);
        let command = Command::Probe { question: question.to_owned(), switch: None, timeout_ms };
        self.request_within(command, timeout.saturating_add(PATIENCE))
    }
}
