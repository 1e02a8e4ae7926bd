//! Rewriting a database whose free space is in pieces (tdb §8.8).

use crate::database::Tdb;
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::header::FREE_LIST_HEAD;
use crate::open::OpenOptions;
use crate::record::RECORD_HEADER_SIZE;
use crate::store::StoreMode;
use std::ops::ControlFlow;
use std::path::Path;

impl Tdb {
    /// Stores every record anew, in one transaction, so that the free space is in one piece.
    ///
    /// # Errors
    ///
    /// Those of `begin` and `commit`; nothing has changed then.
    pub fn repack(&mut self) -> Result<(), TdbError> {
        self.repack_with_progress(&mut |_| {})
    }

    /// As `repack`; `progress` learns how many records were copied: each is copied twice.
    ///
    /// # Errors
    ///
    /// As `repack`.
    pub fn repack_with_progress(&mut self, progress: &mut dyn FnMut(u64)) -> Result<(), TdbError> {
        let options = OpenOptions {
            flags: TdbFlags::INTERNAL,
            hash_size: self.chains_count(),
            ..OpenOptions::default()
        };
        let mut copy = Self::open(Path::new("repack"), &options)?;
        let mut transaction = self.begin()?;
        let mut count = 0;
        let mut copied = || {
            count += 1;
            progress(count);
        };
        copy_records(&mut transaction, &mut copy, &mut copied)?;
        transaction.wipe()?;
        copy_records(&mut copy, &mut transaction, &mut copied)?;
        transaction.commit()
    }

    /// True if the free space is more than twice its largest piece.
    pub(crate) fn repack_is_worthwhile(&mut self) -> bool {
        let (mut total, mut largest, mut count) = (0_u64, 0_u64, 0_u32);
        let Ok(mut offset) = self.read_u32(FREE_LIST_HEAD) else { return false };
        while offset != 0 {
            let Ok(record) = self.read_record(offset) else { return false };
            total += u64::from(record.rec_len);
            largest = largest.max(u64::from(record.rec_len));
            count += 1;
            if count > self.size_bytes() / RECORD_HEADER_SIZE {
                return false;
            }
            offset = record.next;
        }
        total > 2 * largest
    }
}

fn copy_records(
    source: &mut Tdb,
    target: &mut Tdb,
    copied: &mut dyn FnMut(),
) -> Result<(), TdbError> {
    let mut stored = Ok(());
    source.traverse(&mut |key, data| match target.store(key, &[data], StoreMode::Insert) {
        Ok(_) => {
            copied();
            ControlFlow::Continue(())
        }
        Err(error) => {
            stored = Err(error);
            ControlFlow::Break(())
        }
    })?;
    stored
}
