//! Deleting records, and reclaiming those that a traverse kept (tdb §4.8).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::find::Found;
use crate::lock_table::List;
use crate::loop_guard::LoopGuard;
use crate::range_lock::{LockKind, Range};
use crate::record::{Kind, MAGIC_DEAD};

impl Tdb {
    /// Deletes a record; false if there is none.
    ///
    /// # Errors
    ///
    /// Those of `lock_chain`; `Corrupt`; `ReadOnly`.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, TdbError> {
        self.check_writable()?;
        let hash = self.hash(key);
        let chain = Chain(hash % self.hash_size);
        self.anticipate(chain);
        self.with_chain(chain, LockKind::Write, |tdb| {
            let Some(found) = tdb.find(key, hash)? else { return Ok(false) };
            tdb.delete_found(found, chain)?;
            Ok(true)
        })
    }

    /// Marks the record dead, then reclaims what the chain has too much of.
    pub(crate) fn delete_found(&mut self, found: Found, chain: Chain) -> Result<(), TdbError> {
        let Found { offset, mut record } = found;
        record.magic = MAGIC_DEAD;
        self.write_record(offset, &record)?;
        self.count_change()?;
        self.trim(chain, self.max_dead)
    }

    /// Frees the dead records of a chain beyond the first `keep`, except those that somebody's
    /// traverse stands on. The chain is locked; the free list is locked when it is needed.
    pub(crate) fn trim(&mut self, chain: Chain, keep: u32) -> Result<(), TdbError> {
        let mut free_list_locked = false;
        let outcome = self.trim_with(chain, keep, &mut free_list_locked);
        if free_list_locked {
            self.unlock_list(List::Free);
        }
        outcome
    }

    /// True if no traverse, of this or another process, stands on the record (tdb §6.3).
    pub(crate) fn record_is_unused(&mut self, offset: u32) -> Result<bool, TdbError> {
        if self.lockless() {
            return Ok(true);
        }
        if let Some(all) = &self.locks.all {
            return Ok(all.kind == LockKind::Write || all.upgradable);
        }
        // The chain lock keeps new traversers away, so a moment's look tells enough.
        self.is_unlocked(Range::byte(offset))
    }

    fn trim_with(
        &mut self,
        chain: Chain,
        keep: u32,
        free_list_locked: &mut bool,
    ) -> Result<(), TdbError> {
        let mut kept = 0;
        let mut link = chain.head();
        let mut offset = self.read_u32(link)?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            let next = record.next;
            let mut removed = false;
            if record.kind() == Kind::Dead {
                kept += 1;
                if kept > keep {
                    if !*free_list_locked {
                        self.lock_list_now(List::Free, LockKind::Write)?;
                        *free_list_locked = true;
                    }
                    if self.record_is_unused(offset)? {
                        self.write_u32(link, next)?;
                        self.free(offset, record)?;
                        removed = true;
                    }
                }
            }
            if !removed {
                link = offset;
            }
            offset = next;
            guard.follow(self, offset)?;
        }
        Ok(())
    }
}
