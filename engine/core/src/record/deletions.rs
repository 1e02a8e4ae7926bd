//! Tombstones of this node that may be deleted for good.
//!
//! Clients delete by storing an empty body; the record is gone for them at once. Removing what is
//! left costs messages, and many records are created anew soon after: so it waits a while.

use crate::record::{Key, OwnedKey};
use alloc::collections::VecDeque;

/// Tombstones in the order in which they fall due.
#[derive(Default)]
pub(crate) struct Deletions {
    queue: VecDeque<Due>,
    /// Something did not fit: a scan of the file finds it.
    overflowed: bool,
}

pub(crate) struct Due {
    pub(crate) at_us: u64,
    pub(crate) key: OwnedKey,
}

/// Above this the newest are left to the scan.
const QUEUE_COUNT_MAX: usize = 200_000;

impl Deletions {
    pub(crate) fn schedule(&mut self, at_us: u64, key: Key<'_>) {
        if self.queue.len() >= QUEUE_COUNT_MAX {
            self.overflowed = true;
            return;
        }
        self.queue.push_back(Due { at_us, key: key.to_owned() });
    }

    /// The next tombstone that is due. The delay may change at run time, so an entry can stand
    /// behind a later one; it is late then, which harms nobody.
    pub(crate) fn pop_due(&mut self, now_us: u64) -> Option<OwnedKey> {
        self.queue.pop_front_if(|due| due.at_us <= now_us).map(|due| due.key)
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.queue.front().map(|due| due.at_us)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a scan is needed; asked once per overflow.
    pub(crate) fn take_overflow(&mut self) -> bool {
        core::mem::take(&mut self.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_asks_for_a_scan_instead_of_growing() {
        let mut deletions = Deletions::default();
        (0..=QUEUE_COUNT_MAX).for_each(|_| deletions.schedule(5, Key { hash: 0, bytes: b"k" }));
        assert_eq!(deletions.len(), QUEUE_COUNT_MAX);
        assert!(deletions.take_overflow() && !deletions.take_overflow());
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut deletions = Deletions::default();
        deletions.schedule(5, Key { hash: 0, bytes: b"k" });
        assert!(deletions.pop_due(4).is_none());
        assert!(deletions.pop_due(5).is_some());
    }
}
