//! Visiting records (tdb §9), one chain at a time.
//!
//! libtdb's traverse keeps a lock on its record while it waits for the next chain, which can
//! deadlock with a lock of the whole database (P37). Here a chain is copied while it is locked
//! and visited afterwards, and no lock is kept from one chain to the next.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::loop_guard::LoopGuard;
use crate::range_lock::LockKind;
use crate::record::Kind;
use std::ops::ControlFlow;

/// Is shown key and data, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;
/// As `Visit`, with the handle.
pub type VisitAndChange<'a> = dyn FnMut(&mut Tdb, &[u8], &[u8]) -> ControlFlow<()> + 'a;

impl Tdb {
    /// Shows every live record of one chain to `visit`, with the chain locked (shared if it is not
    /// held already).
    ///
    /// # Errors
    ///
    /// Those of `lock_chain`; `Corrupt`.
    pub fn walk_chain(&mut self, chain: Chain, visit: &mut Visit<'_>) -> Result<(), TdbError> {
        self.check_chain(chain)?;
        self.with_chain(chain, LockKind::Read, |tdb| {
            let mut bytes = std::mem::take(&mut tdb.scratch);
            let outcome = tdb.walk_locked(chain, &mut bytes, visit);
            tdb.scratch = bytes;
            outcome
        })
    }

    /// Shows every live record to `visit`, which runs without any lock; returns how many it saw.
    /// Records that come or go meanwhile may or may not be shown, each at most once per chain.
    ///
    /// # Errors
    ///
    /// As `walk_chain`; a damaged chain ends the traverse.
    pub fn traverse(&mut self, visit: &mut Visit<'_>) -> Result<u64, TdbError> {
        self.traverse_write(&mut |_, key, data| visit(key, data))
    }

    /// As `traverse`, but `visit` also gets the handle and may store and delete. What it is shown
    /// was true when the chain was locked.
    ///
    /// # Errors
    ///
    /// As `traverse`.
    pub fn traverse_write(&mut self, visit: &mut VisitAndChange<'_>) -> Result<u64, TdbError> {
        let mut seen = 0;
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        // Chain 0 is always really locked, which orders the unlocked looks at the others.
        let mut next = Some(Chain(0));
        while let Some(chain) = next {
            bytes.clear();
            records.clear();
            self.with_chain(chain, LockKind::Read, |tdb| {
                tdb.copy_locked(chain, &mut bytes, &mut records)
            })?;
            let mut rest = &bytes[..];
            for (key_len, data_len) in &records {
                let (key, tail) = rest.split_at(*key_len as usize);
                let (data, tail) = tail.split_at(*data_len as usize);
                rest = tail;
                seen += 1;
                if visit(self, key, data).is_break() {
                    return Ok(seen);
                }
            }
            next = self.first_filled(chain.0 + 1);
        }
        Ok(seen)
    }

    /// Appends keys and data of all live records to `bytes`, and their lengths to `records`.
    fn copy_locked(
        &mut self,
        chain: Chain,
        bytes: &mut Vec<u8>,
        records: &mut Vec<(u32, u32)>,
    ) -> Result<(), TdbError> {
        let mut offset = self.read_u32(chain.head())?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            if record.kind() == Kind::Live {
                self.read_into(Self::key_at(offset), record.key_len + record.data_len, bytes)?;
                records.push((record.key_len, record.data_len));
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(())
    }

    fn walk_locked(
        &mut self,
        chain: Chain,
        bytes: &mut Vec<u8>,
        visit: &mut Visit<'_>,
    ) -> Result<(), TdbError> {
        let mut offset = self.read_u32(chain.head())?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            if record.kind() == Kind::Live {
                bytes.clear();
                // Both lengths were checked against the record's, so their sum does not overflow.
                self.read_into(Self::key_at(offset), record.key_len + record.data_len, bytes)?;
                let (key, data) = bytes.split_at(record.key_len as usize);
                if visit(key, data).is_break() {
                    return Ok(());
                }
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(())
    }
}
