//! Putting right, in place, what crashes leave behind.

use crate::check::{Advice, CheckReport, Repair};
use crate::database::Tdb;
use crate::error::TdbError;
use crate::record::{MAGIC_AT, MAGIC_FREE};

impl Tdb {
    /// Reclaims space that belongs to nothing (holes, records that no list links to) and rewrites
    /// damaged tailers, in one transaction. Changes nothing if other faults are there, or would be
    /// afterwards, which the returned report names.
    ///
    /// # Errors
    ///
    /// Those of `begin` and `commit`; nothing has changed then.
    pub fn mend(&mut self) -> Result<CheckReport, TdbError> {
        let mut transaction = self.begin()?;
        let mut report = transaction.check_locked(&mut |_, _| {})?;
        if report.advice() == Some(Advice::Rescue) || report.repairs.is_empty() {
            return Ok(report);
        }
        let mut repairs = report.repairs.clone();
        // Tailers first: they decide whether freed space merges with what lies before it.
        repairs.sort_by_key(|repair| match repair {
            Repair::Tailer(offset, _) | Repair::Magic(offset) => (0, *offset),
            Repair::Free(start, _) => (1, *start),
        });
        for repair in repairs {
            match repair {
                Repair::Tailer(offset, record) => transaction.write_tailer(offset, &record)?,
                Repair::Magic(offset) => transaction.write_u32(offset + MAGIC_AT, MAGIC_FREE)?,
                Repair::Free(start, end) => transaction.free_unowned(start, end)?,
            }
        }
        if transaction.check_locked(&mut |_, _| {})?.is_clean() {
            transaction.commit()?;
        } else {
            // Lengths and links that fit each other only by chance.
            let offset = report.faults.first().map_or(0, |fault| fault.offset);
            report.add(offset, "this cannot be put right in place", Advice::Rescue);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;

    fn filled(file: &crate::scratch::File) -> Tdb {
        let options = OpenOptions { create: true, hash_size: 7, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for index in 0..50_u32 {
            let key = index.to_le_bytes();
            tdb.store(&key, &[&[7; 40]], StoreMode::Insert).unwrap();
        }
        tdb
    }

    #[test]
    fn records_that_nothing_links_to_are_reclaimed() {
        let file = crate::scratch::File::new("mend-leak");
        let mut tdb = filled(&file);
        let chain = tdb.chain_of(&3_u32.to_le_bytes());
        tdb.write_u32(chain.head(), 0).unwrap();
        let report = tdb.mend().unwrap();
        assert_eq!(report.advice(), Some(Advice::Mend));
        let report = tdb.check().unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(report.live_count < 50);
    }

    #[test]
    fn a_damaged_tailer_is_rewritten() {
        let file = crate::scratch::File::new("mend-tailer");
        let mut tdb = filled(&file);
        let end = tdb.size_bytes();
        tdb.write_u32(end - 4, 12).unwrap();
        assert_eq!(tdb.check().unwrap().advice(), Some(Advice::Mend));
        tdb.mend().unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.live_count == 50, "{report:?}");
    }

    #[test]
    fn what_cannot_be_put_right_is_left_alone() {
        let file = crate::scratch::File::new("mend-rescue");
        let mut tdb = filled(&file);
        let chain = tdb.chain_of(&3_u32.to_le_bytes());
        let end = tdb.size_bytes();
        tdb.write_u32(end - 4, 12).unwrap();
        tdb.write_u32(chain.head(), tdb.data_start() + 4).unwrap();
        let before = file.bytes();
        assert_eq!(tdb.mend().unwrap().advice(), Some(Advice::Rescue));
        assert!(file.bytes() == before);
    }
}
