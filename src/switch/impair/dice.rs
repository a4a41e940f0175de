//! Chance that can be repeated: every draw is made of a seed, the stream's name, and the number of the frame.
//!
//! Theory of operation. A [`Dice`] is one stream of a port's direction: that of its losses, of its delays. A draw does not
//! depend on earlier ones, nor on how many there were: the fate of frame N is the same whether a setting came before frame
//! 10 or before frame 20. Only a correlation looks back, at the draw before it; it is netem's (`get_crandom` of
//! net/sched/sch_netem.c).

/// A share of all frames, in 2^32 parts less one: 0 is none, [`Share::ALL`] is all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Share(u32);

impl Share {
    /// All frames.
    pub const ALL: Self = Self(u32::MAX);

    /// A share from 0.0 to 1.0; beyond that it is the nearer end.
    pub fn of(part: f64) -> Self {
        Self((part * f64::from(u32::MAX)).round() as u32)
    }

    /// None of the frames.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// As [`Share::of`] takes it.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(u32::MAX)
    }

    /// What is left of all.
    #[must_use]
    pub const fn rest(self) -> Self {
        Self(u32::MAX - self.0)
    }

    /// Whether a draw falls into it.
    pub const fn holds(self, draw: u32) -> bool {
        self.0 != 0 && draw <= self.0
    }
}

/// A share of the frames, drawn with a correlation to the frame before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Chance {
    /// The share.
    pub share: Share,
    /// How much of a draw is that before it.
    pub correlation: Share,
}

impl Chance {
    /// Without correlation.
    pub const fn of(share: Share) -> Self {
        Self { share, correlation: Share(0) }
    }
}

/// One stream of draws. See the head of the file.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    last: u32,
}

impl Dice {
    /// The stream called `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let seed = name.bytes().fold(mix(seed), |state, byte| mix(state ^ u64::from(byte)));
        Self { seed, last: 0 }
    }

    /// The draw for frame `number`: 0 to 2^32 - 1, evenly spread.
    pub fn draw(&self, number: u64) -> u32 {
        (mix(self.seed ^ mix(number)) >> 32) as u32
    }

    /// The same, of which a part is the draw before.
    pub fn correlated(&mut self, number: u64, correlation: Share) -> u32 {
        let fresh = self.draw(number);
        if correlation.is_none() {
            return fresh;
        }
        let rho = u64::from(correlation.0) + 1;
        let drawn = (u64::from(fresh) * ((1 << 32) - rho)).wrapping_add(u64::from(self.last) * rho) >> 32;
        self.last = drawn as u32;
        self.last
    }

    /// Whether frame `number` is among those of `chance`.
    pub fn hits(&mut self, number: u64, chance: Chance) -> bool {
        !chance.share.is_none() && chance.share.holds(self.correlated(number, chance.correlation))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): spreads every bit of `word` over all of them.
pub fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: u64 = 1_000_000;

    #[test]
    fn draws_depend_on_seed_name_and_number_alone() {
        let draws = |seed, name| (0..4).map(|number| Dice::new(seed, name).draw(number)).collect::<Vec<_>>();
        assert_eq!(draws(1, "a.tx.loss"), draws(1, "a.tx.loss"));
        assert_ne!(draws(1, "a.tx.loss"), draws(1, "a.rx.loss"));
        assert_ne!(draws(1, "a.tx.loss"), draws(2, "a.tx.loss"));
        let mut late = Dice::new(7, "a");
        late.correlated(3, Share::default());
        assert_eq!(late.draw(9), Dice::new(7, "a").draw(9));
    }

    #[test]
    fn a_share_is_met_within_three_deviations() {
        for part in [0.0, 0.001, 0.01, 0.3, 0.999, 1.0] {
            let (mut dice, chance) = (Dice::new(42, "share"), Chance::of(Share::of(part)));
            let hits = (0..FRAMES).filter(|&number| dice.hits(number, chance)).count() as f64;
            let deviation = (FRAMES as f64 * part * (1.0 - part)).sqrt();
            assert!((hits - FRAMES as f64 * part).abs() <= 3.0 * deviation, "{part}: {hits}");
        }
    }

    #[test]
    fn neighbours_are_as_alike_as_the_correlation_says() {
        for rho in [0.0, 0.25, 0.9] {
            let mut dice = Dice::new(3, "rho");
            let draws: Vec<f64> =
                (0..FRAMES).map(|number| f64::from(dice.correlated(number, Share::of(rho)))).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>();
            let shared = draws.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>();
            // The estimate of an autocorrelation deviates by less than 1/sqrt(n).
            assert!((shared / variance - rho).abs() < 3.0 / (FRAMES as f64).sqrt(), "{rho}: {}", shared / variance);
        }
    }

    #[test]
    fn shares_have_ends() {
        assert_eq!((Share::of(2.0), Share::of(-1.0), Share::of(f64::NAN)), (Share::ALL, Share(0), Share(0)));
        assert!(Share::ALL.holds(u32::MAX) && !Share(0).holds(0));
        assert_eq!(Share::of(0.25).rest(), Share::of(0.75));
        let mut always = Dice::new(1, "x");
        assert!((0..1000).all(|number| always.hits(number, Chance { share: Share::ALL, correlation: Share::ALL })));
    }
}
