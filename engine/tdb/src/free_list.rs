//! Giving space back (tdb §4.6) and counting what is free (tdb §4.10).

use crate::database::Tdb;
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::lock_table::List;
use crate::loop_guard::LoopGuard;
use crate::range_lock::LockKind;
use crate::record::{
    Kind, MAGIC_AT, MAGIC_FREE, MAGIC_LIVE, MAGIC_PAD, RECORD_HEADER_SIZE, RecordHeader,
    TAILER_SIZE,
};

/// What ends where a record begins.
#[derive(Clone, Copy, Debug)]
enum Left {
    Free(u32, RecordHeader),
    /// A free record that contains this one already: somebody was killed while it merged them.
    Absorbed(u32),
}

impl Tdb {
    /// Merges neighbouring free records and returns how many elements the free list has.
    ///
    /// libtdb modifies the list under a shared lock here; this takes the exclusive one. After a
    /// merge libtdb skips an element (and counts beyond the end of the list); this does not, so
    /// the files differ afterwards.
    ///
    /// # Errors
    ///
    /// `Lock`, or `Corrupt` when the list is damaged.
    pub fn free_list_size(&mut self) -> Result<u32, TdbError> {
        let kind = if self.read_only { LockKind::Read } else { LockKind::Write };
        self.lock_list_now(List::Free, kind)?;
        let outcome = self.count_free();
        self.unlock_list(List::Free);
        outcome
    }

    /// Puts the region of `record` at `offset` on the free list, or adds it to a free neighbour
    /// on its left. The free list is locked, and nothing links to the region.
    pub(crate) fn free(&mut self, offset: u32, record: RecordHeader) -> Result<(), TdbError> {
        self.write_tailer(offset, &record)?;
        if let Some(Left::Free(left, neighbour)) = self.left_neighbour(offset, &record)? {
            return self.absorb(left, neighbour, &record).map(|_| ());
        }
        // It becomes free only when it is on the list: a free record that is not would swallow what
        // is freed on its right. On the list a live one is put right by the next walk (tdb §4.1).
        let freed =
            RecordHeader { magic: MAGIC_LIVE, next: self.read_u32(FREE_LIST_HEAD)?, ..record };
        self.write_record(offset, &freed)?;
        self.write_u32(FREE_LIST_HEAD, offset)?;
        self.write_u32(offset + MAGIC_AT, MAGIC_FREE)
    }

    /// Lets a free left neighbour absorb an element of the list, to which `link` links; returns the
    /// neighbour as it is then.
    ///
    /// The element leaves the list first, as if it were allocated: a process that is killed then
    /// leaves a record that nobody finds. (libtdb does it last. Killed in between, it leaves an
    /// element inside its neighbour, which the next walk adds once more, and everything behind
    /// is handed out twice.)
    pub(crate) fn merge_left(
        &mut self,
        link: u32,
        offset: u32,
        record: &RecordHeader,
    ) -> Result<Option<(u32, RecordHeader)>, TdbError> {
        match self.left_neighbour(offset, record)? {
            None => Ok(None),
            Some(Left::Free(left, _)) => {
                self.ensure(offset, u64::from(record.rec_len) + u64::from(RECORD_HEADER_SIZE))?;
                self.mark_element(offset, MAGIC_LIVE)?;
                self.write_u32(link, record.next)?;
                // Read again: the neighbour may be the one that had the link.
                let neighbour = self.read_record(left)?;
                let neighbour = self.absorb(left, neighbour, record)?;
                self.mark_element(offset, MAGIC_FREE)?;
                Ok(Some((left, neighbour)))
            }
            Some(Left::Absorbed(left)) => {
                self.write_u32(link, record.next)?;
                let neighbour = self.read_record(left)?;
                self.write_tailer(left, &neighbour)?;
                Ok(Some((left, neighbour)))
            }
        }
    }

    /// A commit happens as a whole, and must not grow by what only matters to who is killed.
    fn mark_element(&mut self, offset: u32, magic: u32) -> Result<(), TdbError> {
        if self.transaction.is_some() { Ok(()) } else { self.write_u32(offset + MAGIC_AT, magic) }
    }

    fn absorb(
        &mut self,
        left: u32,
        mut neighbour: RecordHeader,
        record: &RecordHeader,
    ) -> Result<RecordHeader, TdbError> {
        let rule = "merged free record is too long";
        neighbour.rec_len = record
            .total()
            .and_then(|total| neighbour.rec_len.checked_add(total))
            .ok_or_else(|| self.corrupt(left, rule))?;
        self.write_record(left, &neighbour)?;
        self.write_tailer(left, &neighbour)?;
        Ok(neighbour)
    }

    /// An element of the free list. A live magic there is the trace of a crash during a delete
    /// (tdb §4.1) and is mended.
    pub(crate) fn read_free_record(&mut self, offset: u32) -> Result<RecordHeader, TdbError> {
        if offset < self.data_start() {
            return Err(self.corrupt(offset, "the free list links into the header"));
        }
        let mut record = self.read_record(offset)?;
        match record.kind() {
            Kind::Free => {}
            Kind::Live => {
                record.magic = MAGIC_FREE;
                if !self.read_only {
                    self.write_record(offset, &record)?;
                }
            }
            _ => return Err(self.corrupt(offset, "the free list holds what is not free")),
        }
        if record.next != 0 {
            self.ensure(record.next, u64::from(RECORD_HEADER_SIZE))?;
        }
        Ok(record)
    }

    /// The free record that ends where `record` begins. Whoever is killed while it splits or merges
    /// leaves lengths that do not fit together; such a neighbour is left alone.
    fn left_neighbour(
        &mut self,
        offset: u32,
        record: &RecordHeader,
    ) -> Result<Option<Left>, TdbError> {
        let data_start = self.data_start();
        let Some(tailer_at) = offset.checked_sub(TAILER_SIZE) else { return Ok(None) };
        if tailer_at <= data_start {
            return Ok(None);
        }
        let tailer = self.read_u32(tailer_at)?;
        let Some(left) = left_by_tailer(offset, tailer, data_start) else { return Ok(None) };
        let neighbour = self.read_record(left)?;
        if neighbour.kind() != Kind::Free {
            return Ok(None);
        }
        if neighbour.total() == Some(tailer) {
            return Ok(Some(Left::Free(left, neighbour)));
        }
        let end = record.total().and_then(|total| offset.checked_add(total));
        let neighbour_end = neighbour.total().and_then(|total| left.checked_add(total));
        let absorbed = end.is_some() && end <= neighbour_end;
        Ok(absorbed.then_some(Left::Absorbed(left)))
    }

    fn count_free(&mut self) -> Result<u32, TdbError> {
        let mut count = 0_u32;
        let mut link = FREE_LIST_HEAD;
        let mut offset = self.read_u32(link)?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_free_record(offset)?;
            if self.read_only || self.merge_left(link, offset, &record)?.is_none() {
                count += 1;
                link = offset;
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(count)
    }
}

/// Where the left neighbour of `offset` begins, by the word in front of it, if that can be a tailer.
#[inline]
pub(crate) fn left_by_tailer(offset: u32, tailer: u32, data_start: u32) -> Option<u32> {
    let plain = tailer != 0 && tailer != MAGIC_PAD;
    offset.checked_sub(tailer).filter(|left| plain && *left >= data_start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, StoreMode, TdbFlags};
    use std::path::Path;

    /// Records in a row, freed from high addresses to low ones, so that nothing merges.
    fn row_of_free_records() -> Tdb {
        let options =
            OpenOptions { flags: TdbFlags::INTERNAL, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("free"), &options).unwrap();
        tdb.store(b"guard", &[b"x"], StoreMode::Insert).unwrap();
        for key in 0..6_u8 {
            tdb.store(&[key], &[&[key; 40]], StoreMode::Insert).unwrap();
        }
        tdb.store(b"end", &[b"x"], StoreMode::Insert).unwrap();
        for key in 0..6_u8 {
            tdb.delete(&[key]).unwrap();
        }
        tdb
    }

    #[test]
    fn a_merge_that_somebody_did_not_live_to_finish_is_finished() {
        let mut tdb = row_of_free_records();
        // As libtdb does it: the neighbour has grown, its element is still on the list.
        let offset = tdb.read_u32(FREE_LIST_HEAD).unwrap();
        let element = tdb.read_record(offset).unwrap();
        let right = offset + element.total().unwrap();
        let mut grown = element;
        grown.rec_len += tdb.read_record(right).unwrap().total().unwrap();
        tdb.write_record(offset, &grown).unwrap();
        tdb.write_tailer(offset, &grown).unwrap();
        tdb.store(b"large", &[&[1; 3000]], StoreMode::Insert).unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    #[test]
    fn lengths_that_do_not_fit_together_are_not_merged() {
        let mut tdb = row_of_free_records();
        // A split that stopped when the header was written.
        let offset = tdb.read_u32(FREE_LIST_HEAD).unwrap();
        let mut split = tdb.read_record(offset).unwrap();
        split.rec_len -= 28;
        tdb.write_record(offset, &split).unwrap();
        tdb.store(b"large", &[&[1; 3000]], StoreMode::Insert).unwrap();
        assert_eq!(tdb.read_record(offset).unwrap().rec_len, split.rec_len);
        let mut value = Vec::new();
        assert!(tdb.fetch(b"large", &mut value).unwrap() && value == [1; 3000]);
    }

    #[test]
    fn counting_merges_all_neighbours() {
        let mut tdb = row_of_free_records();
        assert_eq!(tdb.check().unwrap().free_count, 7);
        assert_eq!(tdb.free_list_size().unwrap(), 2);
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.free_count == 2, "{report:?}");
    }
}
