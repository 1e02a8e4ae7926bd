//! Where the last search of the free list went.
//!
//! A linked list tells where its next element lies only when the present one has come from memory,
//! so a long walk waits for memory at every step. But the next search goes nearly the same way, and
//! so its elements, and their left neighbours, can be fetched some steps ahead. Nothing is ever
//! decided by what is remembered here: a wrong guess costs a fetch.

use crate::record::{RECORD_HEADER_SIZE, TAILER_SIZE};
use crate::view::View;

/// The elements that a search has passed, by their position on the list.
#[derive(Debug, Default)]
pub(crate) struct FreeTrail {
    steps: Vec<Step>,
    /// Position of the present search.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    offset: u32,
    /// What may be its left neighbour; the element itself if there is none.
    left: u32,
}

impl FreeTrail {
    /// Begins a search.
    pub(crate) fn begin(&mut self, view: &View<'_>) {
        self.at = 0;
        for step in self.steps.iter().take(STEPS_AHEAD) {
            step.fetch(view);
        }
    }

    /// Notes an element as passed. One more or less on the list than last time shifts the others
    /// by a position, which only changes how far ahead they are fetched.
    #[inline]
    pub(crate) fn pass(&mut self, view: &View<'_>, offset: u32, left: u32) {
        if let Some(step) = self.steps.get(self.at + STEPS_AHEAD) {
            step.fetch(view);
        }
        let step = Step { offset, left };
        if let Some(noted) = self.steps.get_mut(self.at) {
            *noted = step;
        } else if self.steps.len() < STEPS_COUNT_MAX {
            self.steps.push(step);
        }
        self.at += 1;
    }
}

impl Step {
    #[inline]
    fn fetch(self, view: &View<'_>) {
        view.prefetch(self.offset.wrapping_sub(TAILER_SIZE));
        view.prefetch(self.offset.wrapping_add(RECORD_HEADER_SIZE - 1));
        view.prefetch(self.left);
        view.prefetch(self.left.wrapping_add(RECORD_HEADER_SIZE - 1));
    }
}

/// As many as a core can have under way: each is up to four lines.
const STEPS_AHEAD: usize = 8;
/// 32 KiB per handle, and only if its free list was ever that long.
const STEPS_COUNT_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, StoreMode, Tdb};

    #[test]
    fn a_search_remembers_its_way_and_no_more_than_so_much() {
        let file = crate::scratch::File::new("trail");
        let options = OpenOptions { create: true, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        let records = u32::try_from(3 * STEPS_COUNT_MAX).unwrap();
        for key in 0..records {
            tdb.store(&key.to_le_bytes(), &[&[0; 40]], StoreMode::Insert).unwrap();
        }
        for key in (0..records).step_by(2) {
            tdb.delete(&key.to_le_bytes()).unwrap();
        }
        tdb.store(b"large", &[&[0; 9000]], StoreMode::Insert).unwrap();
        assert_eq!(tdb.free_trail.steps.len(), STEPS_COUNT_MAX);
        let first = tdb.read_u32(crate::header::FREE_LIST_HEAD).unwrap();
        assert_eq!(tdb.free_trail.steps[0].offset, first);
        assert!(tdb.check().unwrap().is_clean());
    }
}
