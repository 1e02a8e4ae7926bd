//! Deleting tombstones for good: the owner's side, and that of the nodes with older copies.
//!
//! Busy chains are never waited for here: somebody uses them, and a tombstone can wait.

use crate::record::database::Database;
use crate::record::scan::{Purpose, Scan};
use crate::record::tenure::Tenure;
use crate::record::turn::Turn;
use crate::record::{Effects, Key, Lock, RecordFlags, RecordHeader, RecordStore, StoreFault};
use alloc::vec::Vec;
use bateria_wire::head::RecordOp;
use bateria_wire::{Pnn, Rsn};

/// Tombstones begun with in one step.
const BATCH_COUNT_MAX: usize = 64;

impl Database {
    /// A client has deleted a record. Its word is only a hint: everything is looked at again.
    pub(crate) fn schedule_deletion(&mut self, now_us: u64, key: Key<'_>) {
        self.deletions.schedule(now_us + self.deletion_delay_us, key);
    }

    /// Begins with tombstones that are due. Returns whether more are.
    pub(crate) fn delete_due<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
    ) -> Result<bool, StoreFault> {
        if !turn.open || self.failed || self.rebuild.is_some() {
            return Ok(false);
        }
        self.end_idle_stays(turn.now_us);
        if self.scan.is_none() && self.deletions.take_overflow() {
            self.scan = Some(Scan::new(Purpose::Sweep));
        }
        for _ in 0..BATCH_COUNT_MAX {
            let Some(key) = self.deletions.pop_due(turn.now_us) else { return Ok(false) };
            self.delete_one(turn, key.borrow())?;
        }
        Ok(true)
    }

    /// Overwrites an older copy with a tombstone that wins over it.
    pub(crate) fn bury<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
        rsn: Rsn,
    ) -> Result<(), StoreFault> {
        let done = self.change_copy(turn, key, |store, db, header| {
            let buried = RecordHeader { rsn, ..header };
            let older = header.rsn < rsn;
            if older { store.store(db, key.bytes, &buried, &[]).map(|()| true) } else { Ok(false) }
        })?;
        turn.send(from, self.id, key, RecordOp::Buried { rsn: rsn.0, done }, &[]);
        Ok(())
    }

    /// Deletes the tombstone that `bury` left.
    pub(crate) fn forget<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
        rsn: Rsn,
    ) -> Result<(), StoreFault> {
        let done = self.change_copy(turn, key, |store, db, header| {
            if header.rsn == rsn { store.delete(db, key.bytes).map(|()| true) } else { Ok(false) }
        })?;
        turn.send(from, self.id, key, RecordOp::Forgotten { rsn: rsn.0, done }, &[]);
        Ok(())
    }

    /// No other copy is left: deletes the owner's, if it still is a tombstone.
    pub(crate) fn purge_last<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        from: Pnn,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        let asked = self.end_asking(key);
        let mut deleted = false;
        if let Some(asked) = asked {
            let chain = key.hash % turn.store.chains_count(self.id);
            if turn.store.try_lock(self.id, chain)? == Lock::Taken {
                let outcome = self.delete_own(turn, key, asked);
                turn.store.unlock(self.id, chain);
                deleted = outcome?;
            }
            if !deleted {
                self.schedule_deletion(turn.now_us, key);
            }
        }
        turn.send(from, self.id, key, RecordOp::PurgeEnded { deleted }, &[]);
        Ok(())
    }

    /// Somebody wants the record, or a copy could not be reached: later.
    pub(crate) fn purge_refused(&mut self, now_us: u64, key: Key<'_>) {
        if self.end_asking(key).is_some() {
            self.schedule_deletion(now_us, key);
        }
    }

    fn delete_one<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
    ) -> Result<(), StoreFault> {
        if self.tenures.get(key).is_some() {
            // In use at the moment; a tombstone that stays one is scheduled again.
            self.schedule_deletion(turn.now_us, key);
            return Ok(());
        }
        let chain = key.hash % turn.store.chains_count(self.id);
        if turn.store.try_lock(self.id, chain)? == Lock::Busy {
            self.schedule_deletion(turn.now_us, key);
            return Ok(());
        }
        let mut body = Vec::new();
        let outcome = turn.store.fetch(self.id, key.bytes, &mut body).and_then(|header| {
            let own = header.filter(|header| header.dmaster == turn.me && body.is_empty());
            let Some(header) = own else { return Ok(None) };
            let shared = header.flags.contains(RecordFlags::MIGRATED_WITH_DATA);
            // Others get a tombstone one below: above every version that was ever handed over,
            // and still not the owner's.
            let rsn = if shared { header.rsn.next().next() } else { header.rsn };
            if shared {
                turn.store.store(self.id, key.bytes, &RecordHeader { rsn, ..header }, &[])?;
            }
            Ok(Some((rsn, shared)))
        });
        turn.store.unlock(self.id, chain);
        if let Some((rsn, shared)) = outcome? {
            self.tenures.get_or_insert_with(key, Tenure::default).purge = Some(rsn);
            let buried = if shared { rsn.0 - 1 } else { rsn.0 };
            let lmaster = turn.lmaster(key);
            turn.send(lmaster, self.id, key, RecordOp::Purge { rsn: buried, shared }, &[]);
        }
        Ok(())
    }

    fn delete_own<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        asked: Rsn,
    ) -> Result<bool, StoreFault> {
        let mut body = Vec::new();
        let header = turn.store.fetch(self.id, key.bytes, &mut body)?;
        let unchanged = header
            .is_some_and(|header| header.dmaster == turn.me && header.rsn == asked)
            && body.is_empty();
        if unchanged {
            turn.store.delete(self.id, key.bytes)?;
        }
        Ok(unchanged)
    }

    /// Changes a copy that is not the owner's. True when that is done or there is none.
    fn change_copy<S: RecordStore, E: Effects>(
        &mut self,
        turn: &mut Turn<'_, S, E>,
        key: Key<'_>,
        change: impl FnOnce(&mut S, bateria_wire::DbId, RecordHeader) -> Result<bool, StoreFault>,
    ) -> Result<bool, StoreFault> {
        let comes = |tenure: &Tenure| tenure.arrival.is_some();
        if self.failed || self.tenures.get(key).is_some_and(comes) {
            return Ok(false);
        }
        let chain = key.hash % turn.store.chains_count(self.id);
        if turn.store.try_lock(self.id, chain)? == Lock::Busy {
            return Ok(false);
        }
        let mut body = Vec::new();
        let outcome = match turn.store.fetch(self.id, key.bytes, &mut body) {
            Ok(None) => turn.store.delete(self.id, key.bytes).map(|()| true),
            Ok(Some(header)) if header.dmaster == turn.me => Ok(false),
            Ok(Some(header)) => change(turn.store, self.id, header),
            Err(fault) => Err(fault),
        };
        turn.store.unlock(self.id, chain);
        outcome
    }

    /// Forgets that the LMASTER was asked; what was asked about.
    fn end_asking(&mut self, key: Key<'_>) -> Option<Rsn> {
        let tenure = self.tenures.get_mut(key)?;
        let asked = tenure.purge.take();
        if tenure.is_over() {
            self.tenures.remove(key);
        }
        asked
    }
}
