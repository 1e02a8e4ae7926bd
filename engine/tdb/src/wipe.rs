//! Removing every record at once (tdb §4.10).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::header::FREE_LIST_HEAD;
use crate::range_lock::LockKind;
use crate::record::{Kind, MAGIC_FREE, RECORD_HEADER_SIZE, RecordHeader};

impl Tdb {
    /// Empties the database; a recovery area stays where it is (P23).
    ///
    /// # Errors
    ///
    /// Those of `lock_all`; `ReadOnly`.
    pub fn wipe(&mut self) -> Result<(), TdbError> {
        self.check_writable()?;
        if self.transaction.is_some() {
            return self.wipe_locked();
        }
        self.lock_all(LockKind::Write)?;
        let outcome = self.wipe_locked();
        self.unlock_all();
        outcome
    }

    pub(crate) fn wipe_locked(&mut self) -> Result<(), TdbError> {
        self.refresh_size()?;
        let (start, end) = (self.data_start(), self.size_bytes());
        let kept = self.recovery_area()?.filter(|(_, record)| {
            matches!(record.kind(), Kind::RecoveryIdle | Kind::RecoveryArmed)
        });
        for chain in 0..self.hash_size {
            self.write_u32(Chain(chain).head(), 0)?;
        }
        self.write_u32(FREE_LIST_HEAD, 0)?;
        match kept {
            None => self.free_region(start, end)?,
            Some((offset, record)) => {
                let behind = record
                    .total()
                    .and_then(|total| offset.checked_add(total))
                    .filter(|behind| *behind <= end)
                    .ok_or_else(|| self.corrupt(offset, "recovery area ends outside the file"))?;
                self.free_region(start, offset)?;
                self.free_region(behind, end)?;
            }
        }
        if self.flags.contains(TdbFlags::SEQNUM) { self.bump_plainly() } else { Ok(()) }
    }

    fn free_region(&mut self, start: u32, end: u32) -> Result<(), TdbError> {
        let Some(rec_len) =
            end.checked_sub(start).and_then(|size| size.checked_sub(RECORD_HEADER_SIZE))
        else {
            return Ok(());
        };
        if rec_len == 0 {
            return Ok(());
        }
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
}
