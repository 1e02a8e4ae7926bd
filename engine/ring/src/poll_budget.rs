//! How long to look before sleeping, learned from how long the last waits took.

use std::time::{Duration, Instant};

/// Polls longer while the next event tends to come soon, not at all while it does not.
///
/// It works as KVM's halt polling does. A wait that ended within the allowed maximum, though not
/// within the present allowance, would have been worth polling for: the allowance grows. A wait
/// beyond the maximum shows that polling only burns the core: the allowance is taken away. And
/// when other work wants the core (the poll itself was interrupted), polling rests for a while.
#[derive(Debug, Default)]
pub(crate) struct PollBudget {
    allowance: Duration,
    rests_until: Option<Instant>,
}

impl PollBudget {
    /// How long to poll now, at most `max`.
    pub(crate) fn allowance(&mut self, max: Duration, now: Instant) -> Duration {
        if self.rests_until.is_some_and(|until| now < until) {
            return Duration::ZERO;
        }
        self.rests_until = None;
        self.allowance.min(max)
    }

    /// A wait took `waited` in all, polling and sleep together.
    pub(crate) fn learn(&mut self, waited: Duration, max: Duration) {
        if waited > max {
            self.allowance = Duration::ZERO;
        } else if waited > self.allowance {
            self.allowance = (self.allowance * 2).clamp(FIRST_ALLOWANCE, max.max(FIRST_ALLOWANCE));
        }
    }

    /// Two looks at the queue were `gap` apart, which takes nanoseconds unless the core was away.
    /// `true` when polling should end.
    pub(crate) fn is_crowded(&mut self, gap: Duration, now: Instant) -> bool {
        if gap < PREEMPTED {
            return false;
        }
        self.allowance = Duration::ZERO;
        self.rests_until = Some(now + REST);
        true
    }
}

/// Where growing starts: less would not cover a neighbour's answer.
const FIRST_ALLOWANCE: Duration = Duration::from_micros(10);

/// Longer than an interrupt, shorter than another thread's turn on the core.
const PREEMPTED: Duration = Duration::from_micros(200);

/// How long a core that others want is left to them.
const REST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(50);
    const SOON: Duration = Duration::from_micros(30);
    const LATE: Duration = Duration::from_millis(1);

    #[test]
    fn waits_that_end_soon_are_polled_for() {
        let (mut budget, now) = (PollBudget::default(), Instant::now());
        assert_eq!(budget.allowance(MAX, now), Duration::ZERO);
        for _ in 0..10 {
            budget.learn(SOON, MAX);
        }
        let allowance = budget.allowance(MAX, now);
        assert!((SOON..=MAX).contains(&allowance), "{allowance:?}");
    }

    #[test]
    fn one_long_wait_ends_polling() {
        let (mut budget, now) = (PollBudget::default(), Instant::now());
        budget.learn(SOON, MAX);
        budget.learn(LATE, MAX);
        assert_eq!(budget.allowance(MAX, now), Duration::ZERO);
    }

    #[test]
    fn a_core_that_others_want_is_left_to_them() {
        let (mut budget, now) = (PollBudget::default(), Instant::now());
        budget.learn(SOON, MAX);
        assert!(!budget.is_crowded(Duration::from_micros(1), now));
        assert!(budget.is_crowded(LATE, now));
        budget.learn(SOON, MAX);
        assert_eq!(budget.allowance(MAX, now), Duration::ZERO);
        assert!(budget.allowance(MAX, now + REST) > Duration::ZERO);
    }
}
