//! The answer to `trace`: what a bridge would do with a frame, step by step.

use serde::{Deserialize, Serialize};

/// The answer to `trace`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct TraceInfo {
    /// The switch.
    pub switch: String,
    /// It is a radio medium.
    #[serde(default)]
    pub radio: bool,
    /// The port that the frame would come in by: of a listener, its first client.
    pub port: String,
    /// The frame as the switch would have it, in hexadecimal.
    pub hex: String,
    /// `dropped`, `unicast`, `flood` or `radio`.
    pub outcome: String,
    /// Why it would be dropped, if it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The decision, in order.
    pub steps: Vec<TraceStep>,
    /// The copies that would be made.
    #[serde(default)]
    pub copies: Vec<TraceCopy>,
    /// Ports that get none of what is for all, and why.
    #[serde(default)]
    pub left_out: Vec<TraceStep>,
}

/// A step of a decision.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct TraceStep {
    /// What is decided: `in`, `tag`, `source`, `destination` …; of `left_out`, the port.
    pub step: String,
    /// What comes of it, in words.
    pub text: String,
}

impl TraceStep {
    /// A step and its words.
    pub fn new(step: impl Into<String>, text: impl Into<String>) -> Self {
        Self { step: step.into(), text: text.into() }
    }
}

/// A copy for one port.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[non_exhaustive]
pub struct TraceCopy {
    /// The port.
    pub port: String,
    /// Frames that it is made of: one, unless it is a super-frame that has to be cut.
    pub frames: u64,
    /// Those that would be handed to the port's descriptor at once.
    pub sent: u64,
    /// Those that would wait in its queue.
    pub waiting: u64,
    /// Those that its impairments would hold, unless they are lost by chance.
    #[serde(default)]
    pub held: u64,
    /// Those that would be dropped.
    pub dropped: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In words.
    pub text: String,
    /// What is behind the port does with it, as far as the bridge knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}
