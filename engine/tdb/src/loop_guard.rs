//! Noticing a list that bites its own tail. Without it a damaged link would hang everyone.

use crate::database::Tdb;
use crate::error::TdbError;

/// Keeps one offset of the list in mind and, after twice as many steps each time, a later one
/// instead. Who goes in circles comes by it again, once it lies on the circle and the steps between
/// two changes are more than one round; nothing is read twice for that.
///
/// An element that leaves the list during the walk does no harm: its offset does not come again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopGuard {
    mark: u32,
    steps_count: u32,
    steps_until_next_mark: u32,
}

impl LoopGuard {
    pub(crate) fn new(first: u32) -> Self {
        Self { mark: first, steps_count: 0, steps_until_next_mark: 2 }
    }

    /// Judges the next offset of a list, 0 at its end.
    pub(crate) fn follow(&mut self, tdb: &Tdb, next: u32) -> Result<(), TdbError> {
        if self.comes_back(next) {
            return Err(tdb.corrupt(next, "a list of records is circular"));
        }
        Ok(())
    }

    /// True if the list has been at `next` before.
    #[inline]
    pub(crate) fn comes_back(&mut self, next: u32) -> bool {
        if next == self.mark {
            return next != 0;
        }
        self.steps_count += 1;
        if self.steps_count == self.steps_until_next_mark {
            self.mark = next;
            self.steps_count = 0;
            self.steps_until_next_mark = self.steps_until_next_mark.saturating_mul(2);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps until the guard notices; a list of `straight` elements that leads into a circle.
    fn noticed_after(straight: u32, circle: u32) -> Option<u32> {
        let offset = |step: u32| {
            1 + if step < straight { step } else { straight + (step - straight) % circle }
        };
        let mut guard = LoopGuard::new(offset(0));
        (1..10 * (straight + circle) + 10).find(|step| guard.comes_back(offset(*step)))
    }

    #[test]
    fn every_circle_is_noticed_before_long() {
        for straight in 0..40 {
            for circle in 1..40 {
                let steps = noticed_after(straight, circle).unwrap();
                assert!(steps <= 4 * (straight + circle), "{straight} {circle}: {steps}");
            }
        }
    }

    #[test]
    fn a_list_that_ends_is_no_circle() {
        let mut guard = LoopGuard::new(1);
        assert!((2..5000).all(|offset| !guard.comes_back(offset)));
        assert!(!guard.comes_back(0));
    }
}
