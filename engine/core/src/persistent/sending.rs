//! The source of a distribution: reads its copy once and sends it to all that need it.

use crate::persistent::Cursor;
use alloc::vec::Vec;
use bateria_wire::Pnn;

/// A copy on its way. A part is sent when every target has kept the one before, so that one part
/// is all that waits anywhere, and the slowest target sets the pace.
#[derive(Debug)]
pub(super) struct Sending {
    /// Targets, and whether each has asked for the next part.
    targets: Vec<(Pnn, bool)>,
    parts_count: u32,
    /// Where the next part begins; `None` behind the last one.
    next: Option<Cursor>,
}

impl Sending {
    pub(super) fn new(targets: Vec<Pnn>) -> Self {
        let targets = targets.into_iter().map(|target| (target, true)).collect();
        Self { targets, parts_count: 0, next: Some(Cursor::default()) }
    }

    /// Where to read on, if everybody is ready for it.
    pub(super) fn next_read(&self) -> Option<Cursor> {
        let all_ready = !self.targets.is_empty() && self.targets.iter().all(|(_, ready)| *ready);
        self.next.filter(|_| all_ready)
    }

    /// A part has been read; gives its number. It goes to all `targets`.
    pub(super) fn part_read(&mut self, next: Option<Cursor>) -> u32 {
        self.next = next;
        self.targets.iter_mut().for_each(|(_, ready)| *ready = false);
        self.parts_count += 1;
        self.parts_count - 1
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Pnn> {
        self.targets.iter().map(|(target, _)| *target)
    }

    /// A target has kept a part.
    pub(super) fn kept(&mut self, from: Pnn, part: u32) {
        let is_newest = part.checked_add(1) == Some(self.parts_count);
        let target = self.targets.iter_mut().find(|(target, _)| *target == from);
        if let Some((_, ready)) = target.filter(|_| is_newest) {
            *ready = true;
        }
    }

    /// A target needs nothing more: it has everything, or cannot write it.
    pub(super) fn leaves(&mut self, from: Pnn) {
        self.targets.retain(|(target, _)| *target != from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const SECOND: Cursor = Cursor { chain: 9, records_count: 0 };

    #[test]
    fn the_next_part_waits_for_every_target() {
        let mut sending = Sending::new(vec![Pnn(1), Pnn(2)]);
        assert_eq!(sending.next_read(), Some(Cursor::default()));
        assert_eq!(sending.part_read(Some(SECOND)), 0);
        sending.kept(Pnn(1), 0);
        assert_eq!(sending.next_read(), None);
        sending.kept(Pnn(2), 7);
        assert_eq!(sending.next_read(), None, "an answer to a part that was never sent");
        sending.kept(Pnn(2), 0);
        assert_eq!(sending.next_read(), Some(SECOND));
        assert_eq!(sending.part_read(None), 1);
        assert_eq!(sending.next_read(), None);
    }

    #[test]
    fn a_target_that_leaves_is_not_waited_for() {
        let mut sending = Sending::new(vec![Pnn(1), Pnn(2)]);
        sending.part_read(Some(SECOND));
        sending.kept(Pnn(1), 0);
        sending.leaves(Pnn(2));
        assert_eq!(sending.next_read(), Some(SECOND));
        sending.leaves(Pnn(1));
        assert_eq!(sending.next_read(), None);
    }
}
