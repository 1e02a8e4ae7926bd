//! The daemon's clocks, read once per turn of a loop.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// Microseconds since the machine started. Never goes back and counts time asleep, too: a node
/// that was suspended must notice how long it was away.
pub(crate) fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1000).expect("machines start at zero")
}

/// The moment at which `now_us` will say this.
pub(crate) fn instant_at(at_us: u64) -> Instant {
    Instant::now() + Duration::from_micros(at_us.saturating_sub(now_us()))
}

/// The wall clock's time at a moment of `now_us`.
pub(crate) fn wall_time_at(at_us: u64) -> SystemTime {
    let ago_us = now_us().saturating_sub(at_us);
    SystemTime::now() - Duration::from_micros(ago_us)
}
