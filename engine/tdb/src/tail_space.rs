//! Space at the end of the file that belongs to no record.
//!
//! A process that dies after it has grown the file, or after its commit was rolled back, leaves
//! such space. libtdb puts the next records behind it, and its own check then finds "corruption"
//! (P21). So the space is taken into use before anything is put behind it.

use crate::check_links::Reachable;
use crate::database::Tdb;
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::record::{Kind, MAGIC_FREE, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};

impl Tdb {
    /// Frees what lies unowned at the end of the file. The free list is locked.
    pub(crate) fn reclaim_tail(&mut self) -> Result<(), TdbError> {
        if self.tail_is_owned()? {
            return Ok(());
        }
        match self.find_unowned_tail()? {
            Some(start) => self.free_unowned(start, self.size_bytes()),
            None => Ok(()),
        }
    }

    /// Puts the last record on the free list if it looks free, fits its tailer, and was not met there
    /// (by the caller): a libtdb that was killed has left it so, and it swallows all new space. The
    /// free list is locked.
    pub(crate) fn adopt_last(&mut self) -> Result<bool, TdbError> {
        let end = self.size_bytes();
        let total = self.read_u32(end - TAILER_SIZE)?;
        let start = end.checked_sub(total).filter(|start| *start >= self.data_start());
        let Some(start) = start.filter(|_| total >= RECORD_HEADER_SIZE + TAILER_SIZE) else {
            return Ok(false);
        };
        let mut record = self.read_record(start)?;
        if record.kind() != Kind::Free
            || record.total() != Some(total)
            || Reachable::of(self).contains(start)
        {
            return Ok(false);
        }
        record.next = self.read_u32(FREE_LIST_HEAD)?;
        self.write_record(start, &record)?;
        self.write_u32(FREE_LIST_HEAD, start)?;
        Ok(true)
    }

    /// Makes a free record of space that nothing refers to; too little of it stays as it is.
    pub(crate) fn free_unowned(&mut self, start: u32, end: u32) -> Result<(), TdbError> {
        let rec_len = end.checked_sub(start).and_then(|size| size.checked_sub(RECORD_HEADER_SIZE));
        let Some(rec_len) = rec_len.filter(|rec_len| *rec_len >= TAILER_SIZE) else {
            return Ok(());
        };
        let record = RecordHeader {
            next: 0,
            rec_len,
            key_len: 0,
            data_len: 0,
            full_hash: 0,
            magic: MAGIC_FREE,
        };
        self.free(start, record)
    }

    /// True if the records from the first one on end exactly at `offset`. A damaged image could
    /// claim any offset, and freeing the middle of a record would destroy it.
    pub(crate) fn is_record_boundary(&mut self, offset: u32) -> Result<bool, TdbError> {
        let mut at = self.data_start();
        while at < offset {
            let record = self.read_record(at)?;
            if matches!(record.kind(), Kind::Unknown | Kind::Pad) {
                return Ok(false);
            }
            match record.total().and_then(|total| at.checked_add(total)) {
                Some(next) => at = next,
                None => return Ok(false),
            }
        }
        Ok(at == offset)
    }

    /// Looks at the last record only; this is the rule, and costs nothing.
    fn tail_is_owned(&mut self) -> Result<bool, TdbError> {
        let end = self.size_bytes();
        if end < self.data_start() + RECORD_HEADER_SIZE + TAILER_SIZE {
            return Ok(true);
        }
        let tailer = self.read_u32(end - TAILER_SIZE)?;
        if let Some(start) = end.checked_sub(tailer).filter(|start| *start >= self.data_start())
            && tailer >= RECORD_HEADER_SIZE + TAILER_SIZE
        {
            let record = self.read_record(start)?;
            if matches!(record.kind(), Kind::Live | Kind::Dead | Kind::Free)
                && record.total() == Some(tailer)
            {
                return Ok(true);
            }
        }
        let Ok(Some((start, record))) = self.recovery_area() else { return Ok(false) };
        Ok(record.total().and_then(|total| start.checked_add(total)) == Some(end))
    }

    /// Walks all records; only after a crash. Whoever has allocated a record and not linked it yet
    /// has its chain locked.
    fn find_unowned_tail(&mut self) -> Result<Option<u32>, TdbError> {
        let reachable = Reachable::of(self);
        let end = self.size_bytes();
        let recovery_start = self.recovery_area()?.map_or(0, |(start, _)| start);
        let mut at = self.data_start();
        let mut met_count = 0;
        while at < end && end - at >= RECORD_HEADER_SIZE {
            let record = self.read_record(at)?;
            let owned = match record.kind() {
                Kind::Live | Kind::Dead | Kind::Free => true,
                Kind::RecoveryIdle | Kind::RecoveryArmed | Kind::Pad => at == recovery_start,
                Kind::Unknown => return Ok(None),
            };
            if !owned {
                // All that is linked was met: so this walk was not led astray.
                let behind_all =
                    reachable.complete && reachable.len() == met_count && recovery_start < at;
                let unowned = behind_all && !self.others_hold_chains()?;
                return Ok(unowned.then_some(at));
            }
            met_count += usize::from(reachable.contains(at));
            match record.total().and_then(|total| at.checked_add(total)) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// True if no list reaches a record, and the header no recovery area, in this part of the file.
    pub(crate) fn is_unreachable(&mut self, start: u32, end: u32) -> Result<bool, TdbError> {
        let reachable = Reachable::of(self);
        let recovery_start = self.recovery_area()?.map_or(0, |(start, _)| start);
        Ok(reachable.complete
            && !reachable.contains(start)
            && reachable.next(start).is_none_or(|next| next >= end)
            && !(start..end).contains(&recovery_start))
    }
}

#[cfg(test)]
mod tests {
    use crate::header::FREE_LIST_HEAD;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;
    use crate::{Tdb, TdbFlags};
    use std::path::Path;

    #[test]
    fn space_that_somebody_has_taken_meanwhile_is_not_freed_again() {
        let options = OpenOptions { flags: TdbFlags::INTERNAL, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("taken"), &options).unwrap();
        tdb.store(b"a", &[b"data"], StoreMode::Insert).unwrap();
        let start = tdb.size_bytes();
        tdb.area.grow(8192).unwrap();
        let end = tdb.size_bytes();
        tdb.store(b"b", &[&vec![1; 7000]], StoreMode::Insert).unwrap();
        tdb.reclaim(start, end).unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.live_count == 2, "{report:?}");
    }

    #[test]
    fn a_free_record_that_nobody_knows_does_not_swallow_the_new_space() {
        let options = OpenOptions { flags: TdbFlags::INTERNAL, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("swallow"), &options).unwrap();
        tdb.store(b"a", &[b"data"], StoreMode::Insert).unwrap();
        tdb.delete(b"a").unwrap();
        // A process has died between making the last record free and linking it.
        tdb.write_u32(FREE_LIST_HEAD, 0).unwrap();
        tdb.store(b"b", &[&vec![1; 50_000]], StoreMode::Insert).unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean(), "{report:?}");
    }

    #[test]
    fn growing_takes_what_a_crash_has_left_into_use() {
        let options = OpenOptions { flags: TdbFlags::INTERNAL, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("tail"), &options).unwrap();
        tdb.store(b"a", &[b"data"], StoreMode::Insert).unwrap();
        // A process has grown the file and died.
        tdb.area.grow(8192).unwrap();
        assert_eq!(tdb.check().unwrap().unowned_bytes, 8192);
        tdb.store(b"b", &[&vec![1; 50_000]], StoreMode::Insert).unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.unowned_bytes == 0, "{report:?}");
    }
}
