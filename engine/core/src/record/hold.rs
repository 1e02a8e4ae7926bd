//! How long a record that has just arrived stays before it may leave again.
//!
//! A client that waited for it needs a moment to wake up and take the chain's lock. A record that
//! leaves earlier was moved for nothing; one that stays longer keeps others waiting. The right time
//! is that of a wake-up on this machine, so it is learned: a tenure that ended before its client
//! got at the record makes it longer, one whose client was through makes it shorter.

/// Learned stay, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    stay_us: u64,
}

const STAY_US_MIN: u64 = 20;
const STAY_US_MAX: u64 = 2_000;
const STAY_US_START: u64 = 100;
/// Clients that were answered together take turns; beyond this many the record moves on.
const TURNS_COUNT_MAX: u64 = 4;

impl Hold {
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { stay_us: STAY_US_START }
    }

    /// The stay for a record for which `waiters_count` local clients were answered.
    #[must_use]
    pub(crate) fn stay_us(self, waiters_count: usize) -> u64 {
        self.stay_us * (waiters_count as u64).min(TURNS_COUNT_MAX)
    }

    /// The record was unused when its stay ended.
    pub(crate) fn was_too_short(&mut self) {
        self.stay_us = (self.stay_us + self.stay_us / 2).min(STAY_US_MAX);
    }

    /// The client was through before the stay ended.
    pub(crate) fn was_long_enough(&mut self) {
        self.stay_us = (self.stay_us - self.stay_us / 16).max(STAY_US_MIN);
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stay_follows_the_clients_within_its_bounds() {
        let mut hold = Hold::new();
        (0..100).for_each(|_| hold.was_too_short());
        assert_eq!(hold.stay_us(1), STAY_US_MAX);
        (0..1000).for_each(|_| hold.was_long_enough());
        assert!((STAY_US_MIN..=STAY_US_MIN + 16).contains(&hold.stay_us(1)));
    }

    #[test]
    fn several_clients_get_several_turns_but_not_endlessly() {
        let hold = Hold::new();
        assert_eq!(hold.stay_us(3), 3 * STAY_US_START);
        assert_eq!(hold.stay_us(1000), TURNS_COUNT_MAX * STAY_US_START);
    }
}
