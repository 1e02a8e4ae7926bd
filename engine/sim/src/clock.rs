//! The clock of a host: begins anywhere, runs a little too fast or too slow.

use bateria_core::cluster::Micros;

/// Virtual time is global; every machine sees its own host's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_us: u64,
    /// Microseconds this clock counts in a second of virtual time.
    rate: u64,
}

const SECOND: u128 = 1_000_000;

impl Clock {
    /// `drift_ppm` from -50,000 to 50,000; real clocks stay below 100.
    ///
    /// # Panics
    /// Beyond that.
    #[must_use]
    pub fn new(offset_us: u64, drift_ppm: i64) -> Self {
        let rate = u64::try_from(1_000_000 + drift_ppm).expect("clocks go forward");
        Self { offset_us, rate }
    }

    #[must_use]
    pub fn local(&self, global: Micros) -> Micros {
        let run = u128::from(global.0) * u128::from(self.rate) / SECOND;
        Micros(self.offset_us + u64::try_from(run).expect("runs end before time does"))
    }

    /// The first moment at which this clock shows `local`.
    #[must_use]
    pub fn global(&self, local: Micros) -> Micros {
        let run = u128::from(local.0.saturating_sub(self.offset_us)) * SECOND;
        let rounded_up = run.div_ceil(u128::from(self.rate));
        Micros(u64::try_from(rounded_up).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_when_the_clock_shows_its_time() {
        for drift_ppm in [-50_000, -1, 0, 7, 50_000] {
            let clock = Clock::new(17, drift_ppm);
            for local in [1_000, 999_999, 123_456_789] {
                let global = clock.global(Micros(local));
                assert!(clock.local(global) >= Micros(local));
                assert!(clock.local(Micros(global.0 - 2)) < Micros(local));
            }
        }
    }
}
