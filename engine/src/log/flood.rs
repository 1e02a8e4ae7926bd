//! A limit for lines that repeat: what a broken or hostile neighbour causes is told some times, then counted.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;

/// What each place in the code has logged lately. There are as many entries as such places.
#[derive(Debug, Default)]
pub(super) struct Flood {
    windows: Mutex<HashMap<Identifier, Window>>,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Log it, and say that so many before it were left out.
    Log {
        omitted_count: u64,
    },
    /// Log it, and say that it is the last one for now.
    LogAsLast,
    Omit,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines_count: u32,
    omitted_count: u64,
}

/// Lines of one place that are logged in [`WINDOW`].
const LINES_COUNT_MAX: u32 = 100;
pub(super) const WINDOW: Duration = Duration::from_secs(10);

impl Flood {
    /// Judges one more line of a place.
    pub(super) fn judge(&self, place: Identifier, now: Instant) -> Verdict {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window { began: now, lines_count: 0, omitted_count: 0 };
        let window = windows.entry(place).or_insert(fresh);
        let mut omitted_count = 0;
        if now.saturating_duration_since(window.began) >= WINDOW {
            omitted_count = window.omitted_count;
            *window = Window { began: now, lines_count: 0, omitted_count: 0 };
        }
        window.lines_count = window.lines_count.saturating_add(1);
        match window.lines_count.cmp(&LINES_COUNT_MAX) {
            Ordering::Less => Verdict::Log { omitted_count },
            Ordering::Equal => Verdict::LogAsLast,
            Ordering::Greater => {
                window.omitted_count += 1;
                Verdict::Omit
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::{Callsite, Identifier};
    use tracing::{Metadata, subscriber::Interest};

    struct Place(u8);

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("only its identity counts")
        }
    }

    static ONE: Place = Place(1);
    static OTHER: Place = Place(2);

    #[test]
    fn a_place_that_repeats_is_cut_and_counted_and_others_go_on() {
        assert_ne!(ONE.0, OTHER.0);
        let (flood, start) = (Flood::default(), Instant::now());
        for _ in 1..LINES_COUNT_MAX {
            assert_eq!(flood.judge(Identifier(&ONE), start), Verdict::Log { omitted_count: 0 });
        }
        assert_eq!(flood.judge(Identifier(&ONE), start), Verdict::LogAsLast);
        for _ in 0..7 {
            assert_eq!(flood.judge(Identifier(&ONE), start), Verdict::Omit);
        }
        assert_eq!(flood.judge(Identifier(&OTHER), start), Verdict::Log { omitted_count: 0 });

        let later = start + WINDOW;
        assert_eq!(flood.judge(Identifier(&ONE), later), Verdict::Log { omitted_count: 7 });
        assert_eq!(flood.judge(Identifier(&ONE), later), Verdict::Log { omitted_count: 0 });
    }
}
