//! All chance of a run, from its seed.

use std::env;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `low` up to and without `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "a range holds something");
        low + self.draw() % (high - low)
    }

    /// True in `percent` of all cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        assert!(!choices.is_empty(), "nothing to pick from");
        let count = u64::try_from(choices.len()).expect("slices fit 64 bits");
        let index = usize::try_from(self.draw() % count).expect("it is below a length");
        &choices[index]
    }
}

/// The seed to run: `BATERIA_SIM_SEED`, to see a failure again, or the given one.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn seed_from_env_or(seed: u64) -> u64 {
    env::var("BATERIA_SIM_SEED")
        .map_or(seed, |text| text.parse().expect("BATERIA_SIM_SEED is a number"))
}
