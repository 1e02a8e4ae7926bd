//! Points in time as the machine's driver counts them.

/// Microseconds on a clock that never goes back and keeps counting while the machine sleeps
/// (`CLOCK_BOOTTIME`): a suspended node must notice how long it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub u64);

impl Micros {
    /// Later than anything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    #[must_use]
    pub fn after(self, duration_us: u64) -> Self {
        Self(self.0.saturating_add(duration_us))
    }

    /// Microseconds from `earlier` to `self`, 0 when it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stays_never() {
        assert_eq!(Micros::NEVER.after(1), Micros::NEVER);
        assert_eq!(Micros(3).since(Micros(5)), 0);
    }
}
