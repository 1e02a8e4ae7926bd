//! Looking for room on the free list (tdb §4.4).
//!
//! The list has no order, and a search often passes hundreds of its elements, each with a look at
//! its left neighbour. So it runs through a `View` as long as nothing is to be merged.

use crate::database::Tdb;
use crate::error::TdbError;
use crate::free_list::left_by_tailer;
use crate::free_trail::FreeTrail;
use crate::header::FREE_LIST_HEAD;
use crate::loop_guard::LoopGuard;
use crate::record::{MAGIC_FREE, RecordHeader, TAILER_SIZE};
use crate::view::{NotPlain, View};

/// Best element of the free list so far, and the address of the link to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Best {
    pub(crate) offset: u32,
    pub(crate) link: u32,
    pub(crate) rec_len: u32,
}

/// Where a search stands.
#[derive(Clone, Copy, Debug)]
struct Search {
    want: u32,
    best: Option<Best>,
    /// A merge has made something large enough.
    merged_enough: bool,
    /// The longer the search, the worse a fit is good enough.
    tolerance: f32,
    /// Address of the link to the present element.
    link: u32,
    /// The present element, 0 at the end of the list.
    offset: u32,
    guard: LoopGuard,
    /// The best one is good enough.
    settled: bool,
}

impl Tdb {
    /// Walks the free list for the best fit, merging what it meets. The second value tells that a
    /// merge has made something large enough.
    pub(crate) fn search_free_list(&mut self, want: u32) -> Result<(Option<Best>, bool), TdbError> {
        let mut trail = std::mem::take(&mut self.free_trail);
        if let Ok(view) = self.view() {
            trail.begin(&view);
        }
        let found = self.search_along(want, &mut trail);
        self.free_trail = trail;
        found
    }

    fn search_along(
        &mut self,
        want: u32,
        trail: &mut FreeTrail,
    ) -> Result<(Option<Best>, bool), TdbError> {
        let mut search = Search::new(want, self.read_u32(FREE_LIST_HEAD)?);
        while !search.has_ended() {
            if let Ok(ahead) = self.skim(search, trail) {
                search = ahead;
                if search.has_ended() {
                    break;
                }
            }
            self.look_at_one(&mut search)?;
        }
        Ok((search.best, search.merged_enough))
    }

    /// Passes elements that stay as they are, up to the first one that does not.
    fn skim(&self, mut search: Search, trail: &mut FreeTrail) -> Result<Search, NotPlain> {
        let view = self.view()?;
        let data_start = self.data_start();
        while !search.has_ended() && search.offset >= data_start {
            let Ok(record) = view.record(search.offset) else { break };
            view.prefetch_record(record.next.saturating_sub(TAILER_SIZE));
            let Ok(left) = may_be_left(&view, search.offset, data_start) else { break };
            trail.pass(&view, search.offset, left.unwrap_or(search.offset));
            if record.magic != MAGIC_FREE
                || !view.has_record_at(record.next)
                || left.is_some_and(|left| {
                    view.record(left).map_or(true, |left| left.magic == MAGIC_FREE)
                })
            {
                break;
            }
            let mut ahead = search;
            ahead.consider(&record);
            if !ahead.settled && ahead.guard.comes_back(ahead.offset) {
                break;
            }
            search = ahead;
        }
        view.conclude(search)
    }

    fn look_at_one(&mut self, search: &mut Search) -> Result<(), TdbError> {
        let record = self.read_free_record(search.offset)?;
        if let Some((left, neighbour)) = self.merge_left(search.link, search.offset, &record)? {
            if let Some(best) = search.best.as_mut().filter(|best| best.offset == left) {
                best.rec_len = neighbour.rec_len;
            }
            search.merged_enough |= neighbour.rec_len > search.want;
            search.offset = record.next;
        } else {
            search.consider(&record);
        }
        if search.settled {
            return Ok(());
        }
        search.guard.follow(self, search.offset)
    }
}

impl Search {
    fn new(want: u32, first: u32) -> Self {
        Self {
            want,
            best: None,
            merged_enough: false,
            tolerance: 1.0,
            link: FREE_LIST_HEAD,
            offset: first,
            guard: LoopGuard::new(first),
            settled: false,
        }
    }

    fn has_ended(&self) -> bool {
        self.settled || self.offset == 0
    }

    /// Judges the present element, which stays on the list, and goes on to the next one.
    #[inline]
    fn consider(&mut self, record: &RecordHeader) {
        let Self { offset, link, .. } = *self;
        if record.rec_len >= self.want && self.best.is_none_or(|best| record.rec_len < best.rec_len)
        {
            self.best = Some(Best { offset, link, rec_len: record.rec_len });
        }
        if self.best.is_some_and(|best| fits(best.rec_len, self.want, self.tolerance)) {
            self.settled = true;
            return;
        }
        self.tolerance = widened(self.tolerance);
        self.link = offset;
        self.offset = record.next;
    }
}

/// Where the element's left neighbour begins, by the word in front of the element.
#[inline]
fn may_be_left(view: &View<'_>, offset: u32, data_start: u32) -> Result<Option<u32>, NotPlain> {
    let tailer_at = offset - TAILER_SIZE;
    if tailer_at <= data_start {
        return Ok(None);
    }
    Ok(left_by_tailer(offset, view.word(tailer_at)?, data_start))
}

#[expect(clippy::cast_precision_loss, reason = "libtdb compares as 32-bit floats; so do we")]
fn fits(rec_len: u32, want: u32, tolerance: f32) -> bool {
    (rec_len as f32) < want as f32 * tolerance
}

#[expect(clippy::cast_possible_truncation, reason = "the product is rounded to 32 bits, as in C")]
fn widened(tolerance: f32) -> f32 {
    (f64::from(tolerance) * 1.05) as f32
}

#[cfg(test)]
mod tests {
    use crate::{OpenOptions, StoreMode, Tdb, TdbFlags};
    use std::path::Path;

    #[test]
    fn a_circular_free_list_is_reported_and_not_walked_for_ever() {
        let options =
            OpenOptions { flags: TdbFlags::INTERNAL, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("circle"), &options).unwrap();
        for key in 0..20_u8 {
            tdb.store(&[key], &[&[0; 100]], StoreMode::Insert).unwrap();
        }
        for key in (0..20_u8).step_by(2) {
            tdb.delete(&[key]).unwrap();
        }
        let first = tdb.read_u32(super::FREE_LIST_HEAD).unwrap();
        let second = tdb.read_u32(first).unwrap();
        tdb.write_u32(second, first).unwrap();
        let outcome = tdb.store(b"large", &[&[0; 8000]], StoreMode::Insert);
        assert_eq!(outcome.unwrap_err().code(), 1);
    }
}
