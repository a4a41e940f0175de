//! The answers about programs that a bridge's process runs: how they are, and what they have written.

use serde::{Deserialize, Serialize};

/// The answer to `instances`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct InstancesInfo {
    /// The programs that this process runs beside the bridge, in the order of their file.
    pub instances: Vec<InstanceInfo>,
}

/// A program of a bench, or the one of `zbridge run`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct InstanceInfo {
    /// Its name.
    pub name: String,
    /// One of [`INSTANCE_STATES`](super::INSTANCE_STATES).
    pub state: String,
    /// Its process, while it runs, where that can be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// For how many seconds it has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// Whether it runs and is ready.
    #[serde(default)]
    pub ready: bool,
    /// How it ended the last time: `status 1`, `signal 9 (SIGKILL)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u64,
    /// Its ports, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The file that has its output; `None`: a terminal has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The last lines that it wrote, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// The answer to `logs`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct LogInfo {
    /// The number of the first of the lines: a program's first line of all is 1. Older ones are not kept for ever.
    pub first: u64,
    /// The number of the last line before its present run, or its last one.
    #[serde(default)]
    pub run: u64,
    /// The lines, without colours, and cut where they are very long.
    pub lines: Vec<String>,
}
