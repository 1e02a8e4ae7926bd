//! The few times that the ring itself must not miss: connects, closings, listener pauses.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::operation::{Kind, Tag};
use crate::slots::SlotKey;

/// Due times, earliest first. The shard's own timers live in the shard.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    due: BTreeSet<(Instant, u8, SlotKey)>,
}

/// Handle of one deadline, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    at: Instant,
    tag: Tag,
}

impl Deadlines {
    /// Registers that the thing behind `tag` wants to hear at `at`.
    pub(crate) fn insert(&mut self, at: Instant, tag: Tag) -> Deadline {
        self.due.insert((at, tag.kind as u8, tag.slot));
        Deadline { at, tag }
    }

    /// Takes a deadline back; does nothing when it has fired.
    pub(crate) fn remove(&mut self, deadline: Deadline) {
        self.due.remove(&(deadline.at, deadline.tag.kind as u8, deadline.tag.slot));
    }

    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.due.first().map(|&(at, ..)| at)
    }

    /// Takes out one deadline that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Tag> {
        let &(at, kind, slot) = self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(Tag::new(Kind::from_byte(kind).expect("only kinds are inserted"), slot))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tag(index: u32) -> Tag {
        Tag::new(Kind::Connect, SlotKey { index, generation: 0 })
    }

    #[test]
    fn deadlines_fire_in_order_and_not_early() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.insert(start + Duration::from_secs(2), tag(2));
        deadlines.insert(start + Duration::from_secs(1), tag(1));

        assert_eq!(deadlines.earliest(), Some(start + Duration::from_secs(1)));
        assert_eq!(deadlines.pop_due(start), None);
        assert_eq!(deadlines.pop_due(start + Duration::from_secs(3)), Some(tag(1)));
        assert_eq!(deadlines.pop_due(start + Duration::from_secs(3)), Some(tag(2)));
        assert_eq!(deadlines.pop_due(start + Duration::from_secs(3)), None);
    }

    #[test]
    fn a_deadline_taken_back_does_not_fire() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        let deadline = deadlines.insert(start, tag(1));
        deadlines.insert(start, tag(2));
        deadlines.remove(deadline);
        assert_eq!(deadlines.pop_due(start), Some(tag(2)));
        assert_eq!(deadlines.pop_due(start), None);
    }
}
