//! Transactions: all of it or nothing, also when the machine dies (tdb §8).

pub(crate) use crate::transaction_blocks::TransactionState;

use crate::area::SyncRange;
use crate::database::Tdb;
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::range_lock::{Attempt, LockKind, OPEN, TRANSACTION, Wait};
use std::ops::{Deref, DerefMut};

/// A running transaction; all operations of the handle are part of it. Dropped without `commit`,
/// it never happened.
#[derive(Debug)]
pub struct Transaction<'a> {
    tdb: &'a mut Tdb,
    ended: bool,
}

impl Tdb {
    /// Starts a transaction, or a nested one; blocks while another process has one.
    ///
    /// # Errors
    ///
    /// `Nesting` when this handle forbids nesting, `Lock` when it holds other locks, `ReadOnly`.
    pub fn begin(&mut self) -> Result<Transaction<'_>, TdbError> {
        self.start_transaction(Wait::Block)
    }

    /// As `begin`, but fails with `TransactionBusy` when another process has one.
    ///
    /// # Errors
    ///
    /// As `begin`.
    pub fn try_begin(&mut self) -> Result<Transaction<'_>, TdbError> {
        self.start_transaction(Wait::Try)
    }

    fn start_transaction(&mut self, wait: Wait) -> Result<Transaction<'_>, TdbError> {
        if self.read_only || self.flags.contains(TdbFlags::INTERNAL) {
            return Err(self.invalid("no transactions on this handle"));
        }
        if let Some(state) = &mut self.transaction {
            if self.flags.contains(TdbFlags::DISALLOW_NESTING) {
                return Err(TdbError::Nesting { path: self.path.clone() });
            }
            state.nesting += 1;
            return Ok(Transaction { tdb: self, ended: false });
        }
        if self.locks.holds_data() {
            return Err(self.lock_error(TRANSACTION.start, "other locks held", libc::EDEADLK));
        }
        if self.fcntl(TRANSACTION, LockKind::Write, wait)? == Attempt::Busy {
            return Err(TdbError::TransactionBusy { path: self.path.clone() });
        }
        let started = self.lock_all_as(LockKind::Read, Wait::Block, true);
        let started = started.and_then(|_| self.area.reload());
        if let Err(error) = started {
            self.release_transaction_locks(false);
            return Err(error);
        }
        self.transaction =
            Some(Box::new(TransactionState::new(self.path.clone(), self.area.size())));
        Ok(Transaction { tdb: self, ended: false })
    }

    /// Ends the transaction (or one level of it) without effect (tdb §8.5).
    pub(crate) fn cancel_transaction(&mut self) {
        let state = self.transaction.as_mut().expect("only a running transaction is cancelled");
        if state.nesting > 0 {
            state.nesting -= 1;
            state.failed = true;
            return;
        }
        let state = self.transaction.take().expect("tested above");
        if let Some(recovery_start) = state.armed {
            // If the disk refuses even this, the image stays armed and whoever locks next rolls
            // back to the same bytes.
            let _ = self.disarm(recovery_start);
            let _ = self.reclaim_behind(state.end_before, recovery_start);
        }
        self.release_transaction_locks(state.open_locked);
    }

    /// Everything up to the point of no return (tdb §8.4); a failure cancels.
    pub(crate) fn prepare_transaction(&mut self) -> Result<(), TdbError> {
        let state = self.transaction.as_mut().expect("only a running transaction is prepared");
        if state.failed {
            return Err(self.spoilt());
        }
        if state.prepared {
            return Err(self.invalid("transaction is prepared already"));
        }
        if state.nesting > 0 || state.is_empty() {
            return Ok(());
        }
        self.upgrade_all()?;
        let _ = self.fcntl(OPEN, LockKind::Write, Wait::Block)?;
        self.state().open_locked = true;
        let recovery_start = self.write_rollback_image()?;
        self.state().armed = Some(recovery_start);
        self.arm(recovery_start)?;
        let size = self.state().size();
        if size > self.area.size() {
            let add = size - self.area.size();
            self.area.grow(add)?;
        }
        self.state().prepared = true;
        Ok(())
    }

    /// Makes the changes real (tdb §8.5); a failure leaves the transaction for `cancel`.
    fn commit_transaction(&mut self) -> Result<(), TdbError> {
        let state = self.state();
        if state.failed {
            return Err(self.spoilt());
        }
        if state.nesting > 0 {
            state.nesting -= 1;
            return Ok(());
        }
        if state.is_empty() {
            self.cancel_transaction();
            return Ok(());
        }
        if !state.prepared {
            self.prepare_transaction()?;
        }
        let state = self.transaction.take().expect("prepared above");
        let recovery_start = state.armed.expect("a prepared transaction is armed");
        let written = self.write_changes(&state);
        let repack = written.is_ok() && state.expanded && self.repack_is_worthwhile();
        let written = written.and_then(|()| {
            let range = SyncRange { offset: 0, size: self.area.size() };
            self.sync(range)
        });
        if let Err(error) = written {
            let _ = self.roll_back();
            self.transaction = Some(state);
            return Err(error);
        }
        self.area.touch();
        // The new state is complete. If disarming fails, the next one to lock rolls it back, and
        // the caller learns that nothing was committed.
        let disarmed = self.disarm(recovery_start);
        self.release_transaction_locks(state.open_locked);
        disarmed?;
        if repack {
            let _ = self.repack();
        }
        Ok(())
    }

    fn write_changes(&mut self, state: &TransactionState) -> Result<(), TdbError> {
        state.changed().try_for_each(|(offset, bytes)| self.area.write(offset, bytes))
    }

    /// In the order of libtdb: the whole database, then TRANSACTION, then OPEN.
    fn release_transaction_locks(&mut self, open_locked: bool) {
        if let Some(all) = self.locks.all.take()
            && !all.marked
        {
            self.release_all();
        }
        self.release_range(TRANSACTION);
        if open_locked {
            self.release_range(OPEN);
        }
    }

    pub(crate) fn state(&mut self) -> &mut TransactionState {
        self.transaction.as_mut().expect("called inside a transaction")
    }

    pub(crate) fn sync(&mut self, range: SyncRange) -> Result<(), TdbError> {
        if self.flags.contains(TdbFlags::NOSYNC) { Ok(()) } else { self.area.sync(range) }
    }

    fn spoilt(&self) -> TdbError {
        TdbError::Sys { path: self.path.clone(), call: "transaction", errno: libc::EIO }
    }
}

impl Transaction<'_> {
    /// Everything up to the point of no return, for commits that span several databases: after
    /// this only `commit` or dropping is left, and a crash rolls back.
    ///
    /// # Errors
    ///
    /// `OutOfSpace`, `Sys`; the transaction is then cancelled.
    pub fn prepare(&mut self) -> Result<(), TdbError> {
        if self.ended {
            return Err(self.tdb.invalid("transaction has ended"));
        }
        let prepared = self.tdb.prepare_transaction();
        if prepared.is_err() {
            self.ended = true;
            self.tdb.cancel_transaction();
        }
        prepared
    }

    /// Makes the changes real and durable (unless NOSYNC). The end of a nested transaction leaves
    /// the decision to the outer one.
    ///
    /// # Errors
    ///
    /// `OutOfSpace`, `Sys`, or an error of an operation in between; nothing has changed then.
    pub fn commit(mut self) -> Result<(), TdbError> {
        if self.ended {
            return Err(self.tdb.invalid("transaction has ended"));
        }
        self.ended = true;
        let committed = self.tdb.commit_transaction();
        if committed.is_err() && self.tdb.transaction.is_some() {
            self.tdb.cancel_transaction();
        }
        committed
    }

    /// The same as dropping it.
    pub fn cancel(self) {}
}

impl Deref for Transaction<'_> {
    type Target = Tdb;

    fn deref(&self) -> &Tdb {
        self.tdb
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Tdb {
        self.tdb
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended && self.tdb.transaction.is_some() {
            self.tdb.cancel_transaction();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, OpenOptions, StoreMode};

    fn opened(file: &crate::scratch::File, flags: TdbFlags) -> Tdb {
        let options = OpenOptions {
            flags: flags | TdbFlags::NOSYNC,
            hash_size: 7,
            create: true,
            ..OpenOptions::default()
        };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        tdb.store(b"key", &[b"old"], StoreMode::Insert).unwrap();
        tdb
    }

    fn value(tdb: &mut Tdb) -> Vec<u8> {
        let mut out = Vec::new();
        tdb.fetch(b"key", &mut out).unwrap();
        out
    }

    #[test]
    fn others_see_the_old_state_until_the_commit() {
        for flags in [TdbFlags::empty(), TdbFlags::MUTEX_LOCKING] {
            let file = crate::scratch::File::new("transaction");
            let mut tdb = opened(&file, flags);
            let mut reader = tdb.sibling().unwrap();
            let mut transaction = tdb.begin().unwrap();
            transaction.store(b"key", &[b"new"], StoreMode::Replace).unwrap();
            assert_eq!(value(&mut transaction), b"new");
            // Mutexes belong to threads, and a reader of this thread is another reader.
            std::thread::scope(|scope| {
                let reading = scope.spawn(|| {
                    assert_eq!(value(&mut reader), b"old");
                    let busy = reader.try_begin().map(Transaction::cancel);
                    assert!(matches!(busy, Err(TdbError::TransactionBusy { .. })));
                    let chain = reader.chain_of(b"key");
                    assert_eq!(reader.try_lock_chain(chain).unwrap(), Attempt::Busy);
                });
                reading.join().unwrap();
            });
            transaction.commit().unwrap();
            assert_eq!(value(&mut reader), b"new");
        }
    }

    #[test]
    fn a_transaction_that_is_dropped_never_happened() {
        let file = crate::scratch::File::new("dropped");
        let mut tdb = opened(&file, TdbFlags::empty());
        let before = file.bytes();
        let mut transaction = tdb.begin().unwrap();
        transaction.store(b"key", &[&[1; 10_000]], StoreMode::Replace).unwrap();
        drop(transaction);
        assert!(file.bytes() == before);
        assert_eq!(value(&mut tdb), b"old");
        assert_eq!(tdb.try_lock_chain(Chain(0)).unwrap(), Attempt::Locked, "nothing is held");
    }

    #[test]
    fn the_outermost_commit_decides_and_a_cancelled_part_spoils_it() {
        let file = crate::scratch::File::new("nested");
        let mut tdb = opened(&file, TdbFlags::empty());
        let mut outer = tdb.begin().unwrap();
        let mut inner = outer.begin().unwrap();
        inner.store(b"key", &[b"inner"], StoreMode::Replace).unwrap();
        inner.commit().unwrap();
        outer.commit().unwrap();
        assert_eq!(value(&mut tdb), b"inner");

        let mut outer = tdb.begin().unwrap();
        outer.store(b"key", &[b"outer"], StoreMode::Replace).unwrap();
        outer.begin().unwrap().cancel();
        assert!(outer.commit().is_err());
        assert_eq!(value(&mut tdb), b"inner");
    }

    #[test]
    fn nesting_is_refused_where_it_is_not_allowed() {
        let file = crate::scratch::File::new("not-nested");
        let mut tdb = opened(&file, TdbFlags::DISALLOW_NESTING);
        let mut outer = tdb.begin().unwrap();
        assert!(matches!(outer.begin(), Err(TdbError::Nesting { .. })));
        outer.store(b"key", &[b"outer"], StoreMode::Replace).unwrap();
        outer.commit().unwrap();
        assert_eq!(value(&mut tdb), b"outer");
    }

    #[test]
    fn a_transaction_starts_with_empty_hands() {
        let file = crate::scratch::File::new("hands");
        let mut tdb = opened(&file, TdbFlags::empty());
        tdb.lock_chain(Chain(1)).unwrap();
        assert!(matches!(tdb.begin(), Err(TdbError::Lock { .. })));
        tdb.unlock_chain(Chain(1));
        tdb.lock_all(LockKind::Read).unwrap();
        assert!(matches!(tdb.begin(), Err(TdbError::Lock { .. })));
        tdb.unlock_all();
        assert!(tdb.begin().is_ok());
    }

    #[test]
    fn a_prepared_transaction_is_committed_or_dropped_but_not_changed() {
        let file = crate::scratch::File::new("prepared");
        let mut tdb = opened(&file, TdbFlags::empty());
        for spoil in [false, true] {
            let mut transaction = tdb.begin().unwrap();
            let new: &[u8] = if spoil { b"spoilt" } else { b"new" };
            transaction.store(b"key", &[new], StoreMode::Replace).unwrap();
            transaction.store(b"large", &[&[spoil.into(); 9000]], StoreMode::Replace).unwrap();
            transaction.prepare().unwrap();
            if spoil {
                let late = transaction.store(b"key", &[b"late"], StoreMode::Replace);
                assert!(matches!(late, Err(TdbError::Invalid { .. })));
            }
            assert_eq!(transaction.commit().is_err(), spoil);
            assert_eq!(value(&mut tdb), b"new");
        }
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.unowned_bytes == 0, "{report:?}");
    }

    #[test]
    fn a_transaction_that_changes_nothing_writes_nothing() {
        let file = crate::scratch::File::new("nothing");
        let mut tdb = opened(&file, TdbFlags::empty());
        let before = file.bytes();
        tdb.begin().unwrap().commit().unwrap();
        assert!(file.bytes() == before);
    }
}
