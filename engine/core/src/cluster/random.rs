//! Chance from a seed: elections must not tie for ever, and a run must be replayable.

/// SplitMix64 (Steele, Lea, Flood 2014): every state is good, so any seed is.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `low` up to and without `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low < high, "a range holds something");
        low + self.next() % (high - low)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_make_equal_choices() {
        let (mut left, mut right) = (Random::new(7), Random::new(7));
        for _ in 0..100 {
            let chosen = left.between(20, 120);
            assert!((20..120).contains(&chosen));
            assert_eq!(chosen, right.between(20, 120));
        }
    }
}
