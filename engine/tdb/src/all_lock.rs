//! The lock of the whole database (tdb §6.2, §7.5).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::lock_table::{AllHeld, List};
use crate::mutex_area::{Mutex, State};
use crate::range_lock::{self, ALL_RECORDS, Attempt, LockKind, Range, Wait};
use std::io;
use std::time::{Duration, Instant};

impl Tdb {
    /// Locks all chains and all records, for as long as that takes. Locks of one kind nest.
    ///
    /// # Errors
    ///
    /// `Lock` when this handle holds a chain, or everything in the other kind.
    pub fn lock_all(&mut self, kind: LockKind) -> Result<(), TdbError> {
        match self.lock_all_as(kind, Wait::Block, false)? {
            Attempt::Locked => Ok(()),
            Attempt::Busy => Err(self.lock_error(ALL_RECORDS.start, "busy", libc::EAGAIN)),
        }
    }

    /// As `lock_all`, but never blocks.
    ///
    /// # Errors
    ///
    /// As `lock_all`, and `RecoveryNeeded`.
    pub fn try_lock_all(&mut self, kind: LockKind) -> Result<Attempt, TdbError> {
        self.lock_all_as(kind, Wait::Try, false)
    }

    /// Releases one lock of the whole database.
    pub fn unlock_all(&mut self) {
        if self.lockless() {
            return;
        }
        let all = self.locks.all.as_mut().expect("only held locks are released");
        all.count -= 1;
        if all.count == 0 {
            let marked = all.marked;
            self.locks.all = None;
            if !marked {
                self.release_all();
            }
        }
    }

    /// From now on this handle counts as holding everything, because another handle of this
    /// process really does and stands still meanwhile. Ends with `unlock_all`.
    ///
    /// # Errors
    ///
    /// `Lock` when this handle holds something itself.
    pub fn mark_all(&mut self, kind: LockKind) -> Result<(), TdbError> {
        if self.locks.holds_data() {
            return Err(self.lock_error(ALL_RECORDS.start, "other locks held", libc::EDEADLK));
        }
        self.locks.all = Some(AllHeld { kind, count: 1, upgradable: false, marked: true });
        Ok(())
    }

    /// True if this handle holds the whole database.
    #[must_use]
    pub fn holds_all(&self) -> bool {
        self.locks.all.is_some()
    }

    pub(crate) fn lock_all_as(
        &mut self,
        kind: LockKind,
        wait: Wait,
        upgradable: bool,
    ) -> Result<Attempt, TdbError> {
        if self.lockless() {
            return Ok(Attempt::Locked);
        }
        if let Some(all) = &mut self.locks.all {
            if all.kind == kind && !all.upgradable && !upgradable {
                all.count += 1;
                return Ok(Attempt::Locked);
            }
            let rule = "held in another kind";
            return Err(self.lock_error(ALL_RECORDS.start, rule, libc::EDEADLK));
        }
        if !self.locks.held.is_empty() {
            return Err(self.lock_error(ALL_RECORDS.start, "a chain is held", libc::EDEADLK));
        }
        loop {
            if self.acquire_all(kind, wait)? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
            if !self.needs_recovery() {
                self.locks.all = Some(AllHeld { kind, count: 1, upgradable, marked: false });
                return Ok(Attempt::Locked);
            }
            self.release_all();
            if wait == Wait::Try {
                return Err(TdbError::RecoveryNeeded { path: self.path.clone() });
            }
            self.recover()?;
        }
    }

    /// Turns the shared lock of a transaction into an exclusive one (tdb §6.2, §7.5); blocks.
    pub(crate) fn upgrade_all(&mut self) -> Result<(), TdbError> {
        if !self.lockless() {
            if self.mutexes().is_some() {
                self.upgrade_mutexes()?;
            } else {
                self.upgrade_ranges()?;
            }
        }
        if let Some(all) = &mut self.locks.all {
            all.kind = LockKind::Write;
        }
        Ok(())
    }

    pub(crate) fn release_all(&mut self) {
        if let Some(mutexes) = self.mutexes() {
            mutexes.set_state(State::Free);
            let released = mutexes.unlock(Mutex::AllRecords).is_ok();
            self.release_range(self.record_zone());
            if !released {
                self.locks.lost_count += 1;
            }
        } else {
            self.release_range(ALL_RECORDS);
        }
    }

    pub(crate) fn fcntl(
        &self,
        range: Range,
        kind: LockKind,
        wait: Wait,
    ) -> Result<Attempt, TdbError> {
        let Some(file) = self.file.as_ref().filter(|_| !self.lockless()) else {
            return Ok(Attempt::Locked);
        };
        range_lock::lock(file, range, kind, wait)
            .map_err(|error| self.fcntl_error(range.start, &error))
    }

    /// True if nobody else holds a lock of any kind in the range.
    pub(crate) fn is_unlocked(&self, range: Range) -> Result<bool, TdbError> {
        let Some(file) = &self.file else { return Ok(true) };
        range_lock::is_unlocked(file, range).map_err(|error| self.fcntl_error(range.start, &error))
    }

    pub(crate) fn fcntl_error(&self, byte: u32, error: &io::Error) -> TdbError {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.lock_error(byte, "fcntl failed", errno)
    }

    pub(crate) fn release_range(&self, range: Range) {
        if let Some(file) = self.file.as_ref().filter(|_| !self.lockless()) {
            // Unlocking only fails for lack of memory to split a range, and the descriptor's close
            // releases what is left.
            let _ = range_lock::unlock(file, range);
        }
    }

    /// Bytes from the first record on: record locks live there in both modes.
    pub(crate) fn record_zone(&self) -> Range {
        Range::from(168 + 4 * self.hash_size)
    }

    /// The record zone is only ever tried: a traverser keeps the lock of its record while it
    /// waits for a chain that we hold, and nobody would detect that deadlock (P37). So when the
    /// zone is busy, everything is given back for a moment.
    fn acquire_all(&mut self, kind: LockKind, wait: Wait) -> Result<Attempt, TdbError> {
        if self.mutexes().is_some() {
            return self.acquire_mutexes(kind, wait);
        }
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = match self.acquire_gradually(self.chain_range(), kind, wait) {
                Ok(Attempt::Locked) => self.fcntl(self.record_zone(), kind, Wait::Try),
                outcome => outcome,
            };
            if !matches!(outcome, Ok(Attempt::Locked)) {
                self.release_range(ALL_RECORDS);
            }
            if wait == Wait::Try || !matches!(outcome, Ok(Attempt::Busy)) {
                return outcome;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Halves a busy range until what is busy is one chain, so that a stream of short locks
    /// cannot starve the request (P31).
    fn acquire_gradually(
        &self,
        range: Range,
        kind: LockKind,
        wait: Wait,
    ) -> Result<Attempt, TdbError> {
        if self.fcntl(range, kind, Wait::Try)? == Attempt::Locked {
            return Ok(Attempt::Locked);
        }
        if wait == Wait::Try {
            return Ok(Attempt::Busy);
        }
        if range.size <= 4 {
            return self.fcntl(range, kind, Wait::Block);
        }
        let left = Range { start: range.start, size: range.size / 2 };
        let right = Range { start: range.start + left.size, size: range.size - left.size };
        let _ = self.acquire_gradually(left, kind, wait)?;
        self.acquire_gradually(right, kind, wait)
    }

    /// The protocol of tdb §7.5: announce, then wait until every present chain holder is through.
    /// But the zone comes first: whoever is turned away by the announcement, and sleeps on the
    /// mutex of the whole database then, has no record. Otherwise a commit that gets this mutex
    /// before the sleeper does would wait for a record whose holder waits for the commit (P45).
    fn acquire_mutexes(&self, kind: LockKind, wait: Wait) -> Result<Attempt, TdbError> {
        let mutexes = self.mutexes().expect("called for files with mutexes");
        let error = |errno| self.mutex_error(ALL_RECORDS.start, errno);
        let mut patience = if wait == Wait::Try { Duration::ZERO } else { PATIENCE_MIN };
        let mut pause = PAUSE_MIN;
        loop {
            if mutexes.lock(Mutex::AllRecords, wait).map_err(error)? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
            let mut outcome = self.fcntl(self.record_zone(), kind, Wait::Try);
            if let Ok(Attempt::Locked) = outcome {
                mutexes.set_state(State::Locked(kind));
                outcome = self.sweep_chains(patience);
                if let Ok(Attempt::Locked) = outcome {
                    return outcome;
                }
                mutexes.set_state(State::Free);
                self.release_range(self.record_zone());
                patience = (patience * 2).min(PATIENCE_MAX);
            }
            mutexes.unlock(Mutex::AllRecords).map_err(error)?;
            if wait == Wait::Try || outcome.is_err() {
                return outcome;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits until every chain has been free once, for as long as `patience` lasts. No new holders
    /// come meanwhile, but one of the present ones may be waiting for a record in the zone that
    /// we hold, so this must come to an end.
    fn sweep_chains(&self, patience: Duration) -> Result<Attempt, TdbError> {
        let mutexes = self.mutexes().expect("called for files with mutexes");
        let start = Instant::now();
        let mut from = 0;
        while let Some(chain) = mutexes.first_held(from) {
            let list = List::Chain(Chain(chain));
            let error = |errno| self.mutex_error(list.byte(), errno);
            let mut pause = SWEEP_PAUSE_MIN;
            while mutexes.lock(list.mutex(), Wait::Try).map_err(error)? == Attempt::Busy {
                if start.elapsed() >= patience {
                    return Ok(Attempt::Busy);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(SWEEP_PAUSE_MAX);
            }
            mutexes.unlock(list.mutex()).map_err(error)?;
            from = chain + 1;
        }
        Ok(Attempt::Locked)
    }

    /// Chain by chain, so that a stream of readers cannot starve the commit; and back to a shared
    /// lock if somebody stands on a record, who may be waiting for one of these chains (P37).
    fn upgrade_ranges(&self) -> Result<(), TdbError> {
        let mut pause = PAUSE_MIN;
        loop {
            let _ = self.acquire_gradually(self.chain_range(), LockKind::Write, Wait::Block)?;
            if self.fcntl(self.record_zone(), LockKind::Write, Wait::Try)? == Attempt::Locked {
                return Ok(());
            }
            let _ = self.fcntl(ALL_RECORDS, LockKind::Read, Wait::Block)?;
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// True if another handle has a chain locked: it may have a record that is not linked yet.
    pub(crate) fn others_hold_chains(&self) -> Result<bool, TdbError> {
        if self.lockless() || self.locks.all.is_some() {
            return Ok(false);
        }
        let Some(mutexes) = self.mutexes() else {
            return Ok(!self.is_unlocked(self.chain_range())?);
        };
        let mut from = 0;
        while let Some(chain) = mutexes.first_held(from) {
            if !self.locks.holds(List::Chain(Chain(chain))) {
                return Ok(true);
            }
            from = chain + 1;
        }
        Ok(false)
    }

    fn chain_range(&self) -> Range {
        Range { start: ALL_RECORDS.start, size: 4 * self.hash_size }
    }

    /// The zone comes first here too, and whoever holds a chain while it waits for a record is let
    /// through before long (P37).
    fn upgrade_mutexes(&mut self) -> Result<(), TdbError> {
        let zone = self.record_zone();
        let (mut pause, mut patience) = (PAUSE_MIN, PATIENCE_MIN);
        loop {
            if self.fcntl(zone, LockKind::Write, Wait::Try)? == Attempt::Locked {
                let mutexes = self.mutexes().expect("called for files with mutexes");
                mutexes.set_state(State::Locked(LockKind::Write));
                match self.sweep_chains(patience) {
                    Ok(Attempt::Locked) => return Ok(()),
                    outcome => {
                        mutexes.set_state(State::Locked(LockKind::Read));
                        let _ = self.fcntl(zone, LockKind::Read, Wait::Block)?;
                        let _ = outcome?;
                        patience = (patience * 2).min(PATIENCE_MAX);
                    }
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Doubles with each attempt, so that many holders who come and go cannot starve a request (P31).
const PATIENCE_MIN: Duration = Duration::from_millis(5);
const PATIENCE_MAX: Duration = Duration::from_secs(2);
const SWEEP_PAUSE_MIN: Duration = Duration::from_micros(20);
const SWEEP_PAUSE_MAX: Duration = Duration::from_millis(1);
