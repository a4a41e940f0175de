//! Which frames are lost: at random, in bursts as two states have them (Gilbert 1960, Elliott 1963), or as four states
//! have them (Salsano, Ludovici and Ordine 2009).
//!
//! The models and their words are netem's (`loss_gilb_ell` and `loss_4state` of net/sched/sch_netem.c).

use super::dice::{Chance, Dice, Share};

/// A model of losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Each frame by itself, or with a correlation to the one before.
    Random(Chance),
    /// A good and a bad state.
    GilbertElliott {
        /// From good to bad.
        p: Share,
        /// From bad to good.
        r: Share,
        /// Lost in the bad state: 1 - h.
        bad: Share,
        /// Lost in the good state: 1 - k.
        good: Share,
    },
    /// Gaps and bursts, with a state for a loss in each.
    FourStates {
        /// From received in a gap to lost in a burst.
        p13: Share,
        /// From lost in a burst to received in a gap.
        p31: Share,
        /// From lost to received in a burst.
        p32: Share,
        /// From received to lost in a burst.
        p23: Share,
        /// From received in a gap to lost in a gap.
        p14: Share,
    },
}

impl Default for Loss {
    fn default() -> Self {
        Self::Random(Chance::default())
    }
}

impl Loss {
    /// Whether nothing is ever lost.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Random(chance) if chance.share.is_none())
    }
}

/// Where a model of several states is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    /// Received in a gap; the good state.
    #[default]
    Gap,
    /// Received in a burst.
    Burst,
    /// Lost in a burst; the bad state.
    LostInBurst,
    /// Lost in a gap.
    LostInGap,
}

/// The losses of one direction: their draws, and the state they are in.
#[derive(Clone, Debug)]
pub struct Losses {
    moves: Dice,
    losses: Dice,
    state: State,
}

impl Losses {
    /// The losses of a seed and a stream's name.
    pub fn new(seed: u64, name: &str) -> Self {
        Self {
            moves: Dice::new(seed, &format!("{name}.state")),
            losses: Dice::new(seed, &format!("{name}.loss")),
            state: State::Gap,
        }
    }

    /// Whether frame `number` is lost.
    pub fn take(&mut self, number: u64, loss: &Loss) -> bool {
        match *loss {
            Loss::Random(chance) => self.losses.hits(number, chance),
            Loss::GilbertElliott { p, r, bad, good } => {
                let (moves, lost) = (self.moves.draw(number), self.losses.draw(number));
                let (leaves, loses, next) = match self.state {
                    State::LostInBurst => (r, bad, State::Gap),
                    _ => (p, good, State::LostInBurst),
                };
                if leaves.holds(moves) {
                    self.state = next;
                }
                loses.holds(lost)
            }
            Loss::FourStates { p13, p31, p32, p23, p14 } => {
                let drawn = self.moves.draw(number);
                // Two ways to leave share one draw: the first has its part from below, the second above it.
                let second = |first: Share, second: Share| !first.holds(drawn) && sum(first, second).holds(drawn);
                self.state = match self.state {
                    State::Gap if p14.holds(drawn) => State::LostInGap,
                    State::Gap if second(p14, p13) => State::LostInBurst,
                    State::Burst if p23.holds(drawn) => State::LostInBurst,
                    State::LostInBurst if p32.holds(drawn) => State::Burst,
                    State::LostInBurst if second(p32, p31) => State::Gap,
                    State::LostInGap => State::Gap,
                    stays => stays,
                };
                matches!(self.state, State::LostInBurst | State::LostInGap)
            }
        }
    }
}

fn sum(a: Share, b: Share) -> Share {
    Share::of(a.part() + b.part())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 1_000_000;

    /// Which of many frames are lost.
    fn lost(loss: &Loss) -> Vec<bool> {
        let mut losses = Losses::new(5, "a.tx");
        (0..FRAMES).map(|number| losses.take(number, loss)).collect()
    }

    fn share(lost: &[bool]) -> f64 {
        lost.iter().filter(|&&lost| lost).count() as f64 / lost.len() as f64
    }

    /// Mean length of runs of losses.
    fn burst(lost: &[bool]) -> f64 {
        let runs = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        lost.iter().filter(|&&lost| lost).count() as f64 / runs as f64
    }

    /// The model's chain is in the bad state for p/(p+r) of the time; a sample of it deviates as independent ones of which
    /// (2-p-r)/(p+r) are alike.
    fn two_states(p: f64, r: f64, bad: f64, good: f64) {
        let of = Share::of;
        let lost = lost(&Loss::GilbertElliott { p: of(p), r: of(r), bad: of(bad), good: of(good) });
        let in_bad = p / (p + r);
        let wanted = in_bad * bad + (1.0 - in_bad) * good;
        let alike = (2.0 - p - r) / (p + r);
        let deviation = (wanted * (1.0 - wanted) / FRAMES as f64 * alike.max(1.0)).sqrt();
        assert!((share(&lost) - wanted).abs() < 4.0 * deviation, "{p} {r}: {} is not {wanted}", share(&lost));
    }

    #[test]
    fn two_states_lose_what_their_closed_form_says() {
        two_states(0.01, 0.1, 1.0, 0.0);
        two_states(0.05, 0.2, 0.7, 0.01);
        two_states(0.3, 0.7, 1.0, 0.0);
    }

    #[test]
    fn a_burst_of_two_states_lasts_as_long_as_the_bad_state() {
        let of = Share::of;
        let lost = lost(&Loss::GilbertElliott { p: of(0.01), r: of(0.2), bad: Share::ALL, good: of(0.0) });
        // Runs are geometric with the mean 1/r, of which there are p·r/(p+r) a frame.
        let runs = FRAMES as f64 * 0.01 * 0.2 / 0.21;
        assert!((burst(&lost) - 5.0).abs() < 4.0 * (0.8_f64.sqrt() / 0.2) / runs.sqrt(), "{}", burst(&lost));
    }

    #[test]
    fn four_states_lose_alone_in_gaps_and_together_in_bursts() {
        let of = Share::of;
        let none = of(0.0);
        let alone = lost(&Loss::FourStates { p13: none, p31: Share::ALL, p32: none, p23: Share::ALL, p14: of(0.02) });
        assert!(alone.windows(2).all(|pair| !(pair[0] && pair[1])), "a loss in a gap is followed by none");
        assert!((share(&alone) - 0.02 / 1.02).abs() < 0.001, "{}", share(&alone));
        let bursts = lost(&Loss::FourStates { p13: of(0.01), p31: of(0.2), p32: none, p23: Share::ALL, p14: none });
        assert!((share(&bursts) - 0.01 / 0.21).abs() < 0.003, "{}", share(&bursts));
        assert!((burst(&bursts) - 5.0).abs() < 0.3, "{}", burst(&bursts));
    }

    #[test]
    fn nothing_is_lost_of_nothing_and_all_of_all() {
        assert!(Loss::default().is_none() && lost(&Loss::default()).iter().all(|&lost| !lost));
        assert!(lost(&Loss::Random(Chance::of(Share::ALL))).iter().all(|&lost| lost));
    }
}
