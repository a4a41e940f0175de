//! What a line would do with the next frame: what is sure of it, and what is left to chance.

use super::{Impairment, Loss, Share};

/// What is known of the next frame of a line. Nothing was drawn for it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Prospect {
    /// Its number.
    pub number: u64,
    /// What it would suffer; `None`: the settings are about other frames (`only`, `match`).
    pub settings: Option<Impairment>,
    /// It is one of every so many that are lost (`nth`).
    pub is_nth: bool,
    /// Frames that are held at present.
    pub held: usize,
    /// Another one may not be held.
    pub is_full: bool,
}

/// What is sure of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sure {
    /// It is lost.
    Lost,
    /// It would find as many held as may be, if it is not lost.
    Full,
    /// It is held, if it is not lost.
    Held,
    /// It goes on at once, if it is not lost.
    Passes,
}

impl Prospect {
    /// What is sure of it.
    pub fn sure(&self) -> Sure {
        match &self.settings {
            None => Sure::Passes,
            Some(settings) => match settings.loss {
                _ if self.is_nth => Sure::Lost,
                Loss::Random(chance) if chance.share == Share::ALL => Sure::Lost,
                _ if !settings.holds() => Sure::Passes,
                _ if self.is_full => Sure::Full,
                _ => Sure::Held,
            },
        }
    }

    /// Whether chance has no part in it: it is neither lost nor doubled, and overtakes nobody, unless that is sure.
    pub fn is_certain(&self) -> bool {
        let Some(settings) = &self.settings else { return true };
        self.sure() == Sure::Lost
            || settings.loss.is_none() && settings.duplicate.share.is_none() && settings.reorder.share.is_none()
    }
}
