//! How a program has ended.

use std::fmt;

/// How an instance ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With this status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

impl End {
    /// The exit status as a shell gives it: 128 and the signal's number.
    pub fn code(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// Whether it ended well.
    pub fn is_success(self) -> bool {
        self == Self::Status(0)
    }
}

/// `status 1`, `signal 11 (SIGSEGV)`.
impl fmt::Display for End {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(out, "status {status}"),
            Self::Signal(signal) => match signal_hook::low_level::signal_name(*signal) {
                Some(name) => write!(out, "signal {signal} ({name})"),
                None => write!(out, "signal {signal}"),
            },
        }
    }
}
