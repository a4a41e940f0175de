//! `mode=`, `user=`, `group=`: the access to a socket, pseudo-terminal or FIFOs that a port makes in a folder.
//!
//! A pseudo-terminal is opened by its link, so the keys apply to the terminal itself. Existing files, and files of the
//! other end, keep their permissions.

use super::KeyRow;
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value::{self, Parsed};

/// The permission bits of a socket that is bound and of FIFOs: this user alone.
pub const DEFAULT_MODE: u32 = 0o600;

pub(super) const MODE: KeyRow = KeyRow {
    word: "mode",
    value: Some("OCTAL"),
    repeatable: false,
    live: false,
    summary: "permission bits of what is made: a socket, a terminal, FIFOs (default: 0600)",
};

pub(super) const USER: KeyRow = KeyRow {
    word: "user",
    value: Some("USER"),
    repeatable: false,
    live: false,
    summary: "whose it is, by name or number (root may give away; default: who runs zbridge)",
};

pub(super) const GROUP: KeyRow = KeyRow {
    word: "group",
    value: Some("GROUP"),
    repeatable: false,
    live: false,
    summary: "its group, by name or number: with mode=0660 all of them may use it",
};

/// The access to a file that is made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Access {
    /// Permission bits, if not the usual ones.
    pub mode: Option<u32>,
    /// A user's name or number.
    pub user: Option<String>,
    /// A group's name or number.
    pub group: Option<String>,
}

impl Access {
    /// The permission bits of a socket or FIFO.
    pub fn mode(&self) -> u32 {
        self.mode.unwrap_or(DEFAULT_MODE)
    }

    /// With these permission bits, if they are not the usual ones.
    pub(super) fn set_mode(&mut self, mode: u32) {
        self.mode = Some(mode).filter(|mode| *mode != DEFAULT_MODE);
    }

    pub(super) fn take(keys: &mut Keys) -> Result<Self, Fault> {
        Ok(Self {
            mode: keys.value("mode", value::mode)?.filter(|mode| *mode != DEFAULT_MODE),
            user: keys.value("user", |text| owner(text, "user"))?,
            group: keys.value("group", |text| owner(text, "group"))?,
        })
    }

    /// Refuses the keys where nothing is made: `reason` ends "key "mode" means nothing …".
    pub(super) fn refuse(keys: &mut Keys, reason: &str) -> Result<(), Fault> {
        [MODE, USER, GROUP].iter().try_for_each(|key| keys.refuse(key.word, reason))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.option("mode", self.mode.map(|mode| format!("{mode:04o}")));
        out.option("user", self.user.as_ref());
        out.option("group", self.group.as_ref());
    }
}

/// A name as useradd(8) and groupadd(8) take it, or a number. `whose`: user or group.
pub(super) fn owner(text: &str, whose: &str) -> Parsed<String> {
    let good = (1..=32).contains(&text.len())
        && !text.starts_with('-')
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "._-$".contains(char));
    good.then(|| text.to_owned()).ok_or_else(|| format!("a {whose}'s name or number"))
}
