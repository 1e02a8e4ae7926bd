//! Giving space back (tdb §4.6) and counting what is free (tdb §4.10).

use crate::database::Tdb;
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::lock_table::List;
use crate::loop_guard::LoopGuard;
use crate::range_lock::LockKind;
use crate::record::{Kind, MAGIC_FREE, MAGIC_PAD, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};

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
    /// on its left. The free list is locked.
    pub(crate) fn free(&mut self, offset: u32, record: RecordHeader) -> Result<(), TdbError> {
        self.write_tailer(offset, &record)?;
        if self.merge_left(offset, &record)?.is_some() {
            return Ok(());
        }
        let freed =
            RecordHeader { magic: MAGIC_FREE, next: self.read_u32(FREE_LIST_HEAD)?, ..record };
        self.write_record(offset, &freed)?;
        self.write_u32(FREE_LIST_HEAD, offset)
    }

    /// Lets a free left neighbour absorb the record; returns the neighbour as it is then.
    pub(crate) fn merge_left(
        &mut self,
        offset: u32,
        record: &RecordHeader,
    ) -> Result<Option<(u32, RecordHeader)>, TdbError> {
        let Some((left, mut neighbour)) = self.left_neighbour(offset)? else { return Ok(None) };
        let rule = "merged free record is too long";
        neighbour.rec_len = record
            .total()
            .and_then(|total| neighbour.rec_len.checked_add(total))
            .ok_or_else(|| self.corrupt(left, rule))?;
        self.write_record(left, &neighbour)?;
        self.write_tailer(left, &neighbour)?;
        Ok(Some((left, neighbour)))
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

    fn left_neighbour(&mut self, offset: u32) -> Result<Option<(u32, RecordHeader)>, TdbError> {
        let data_start = self.data_start();
        let Some(tailer_at) = offset.checked_sub(TAILER_SIZE) else { return Ok(None) };
        if tailer_at <= data_start {
            return Ok(None);
        }
        let tailer = self.read_u32(tailer_at)?;
        if tailer == 0 || tailer == MAGIC_PAD || tailer > offset || offset - tailer < data_start {
            return Ok(None);
        }
        let left = offset - tailer;
        let neighbour = self.read_record(left)?;
        Ok((neighbour.kind() == Kind::Free).then_some((left, neighbour)))
    }

    fn count_free(&mut self) -> Result<u32, TdbError> {
        let mut count = 0_u32;
        let mut link = FREE_LIST_HEAD;
        let mut offset = self.read_u32(link)?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_free_record(offset)?;
            if !self.read_only && self.merge_left(offset, &record)?.is_some() {
                self.write_u32(link, record.next)?;
            } else {
                count += 1;
                link = offset;
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::{OpenOptions, StoreMode, Tdb, TdbFlags};
    use std::path::Path;

    #[test]
    fn counting_merges_all_neighbours() {
        let options =
            OpenOptions { flags: TdbFlags::INTERNAL, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("free"), &options).unwrap();
        tdb.store(b"guard", &[b"x"], StoreMode::Insert).unwrap();
        for key in 0..6_u8 {
            tdb.store(&[key], &[&[0; 40]], StoreMode::Insert).unwrap();
        }
        tdb.store(b"end", &[b"x"], StoreMode::Insert).unwrap();
        // From high addresses to low ones, so that nothing merges when it is freed.
        for key in 0..6_u8 {
            tdb.delete(&[key]).unwrap();
        }
        assert_eq!(tdb.check().unwrap().free_count, 7);
        assert_eq!(tdb.free_list_size().unwrap(), 2);
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.free_count == 2, "{report:?}");
    }
}
