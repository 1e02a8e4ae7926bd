//! Locks of single chains and of the free list (tdb §6.3 to §6.5, §7.5).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::lock_table::{HELD_COUNT_MAX, Held, List};
use crate::mutex_area::{Mutex, MutexArea, State};
use crate::range_lock::{self, Attempt, LockKind, Wait};

impl Tdb {
    /// Takes the lock of a chain if that is possible now; never blocks.
    ///
    /// Locks nest: each success needs one `unlock_chain`.
    ///
    /// # Errors
    ///
    /// `RecoveryNeeded` when a committer died; a thread that may block calls `recover`.
    pub fn try_lock_chain(&mut self, chain: Chain) -> Result<Attempt, TdbError> {
        self.check_chain(chain)?;
        self.lock_list(List::Chain(chain), LockKind::Write, Wait::Try)
    }

    /// Takes the lock of a chain, for as long as that takes.
    ///
    /// # Errors
    ///
    /// `Lock` when it can never be had, `Corrupt` when an interrupted commit cannot be undone.
    pub fn lock_chain(&mut self, chain: Chain) -> Result<(), TdbError> {
        self.lock_chain_as(chain, LockKind::Write)
    }

    /// Takes the shared lock of a chain. Files with mutexes know only exclusive ones.
    ///
    /// # Errors
    ///
    /// As `lock_chain`.
    pub fn lock_chain_read(&mut self, chain: Chain) -> Result<(), TdbError> {
        self.lock_chain_as(chain, LockKind::Read)
    }

    /// As `lock_chain_read`, but never blocks.
    ///
    /// # Errors
    ///
    /// As `try_lock_chain`.
    pub fn try_lock_chain_read(&mut self, chain: Chain) -> Result<Attempt, TdbError> {
        self.check_chain(chain)?;
        self.lock_list(List::Chain(chain), LockKind::Read, Wait::Try)
    }

    /// Releases one lock of a chain.
    pub fn unlock_chain(&mut self, chain: Chain) {
        self.unlock_list(List::Chain(chain));
    }

    /// True if this handle holds the lock of the chain itself (not that of the whole database).
    #[must_use]
    pub fn holds_chain(&self, chain: Chain) -> bool {
        self.locks.holds(List::Chain(chain))
    }

    /// How many locks were gone when they should have been released. Only an opener that re-makes
    /// mutexes in use does that (P38); the database should then be checked.
    #[must_use]
    pub fn lost_locks_count(&self) -> u64 {
        self.locks.lost_count
    }

    pub(crate) fn lock_chain_as(&mut self, chain: Chain, kind: LockKind) -> Result<(), TdbError> {
        self.check_chain(chain)?;
        self.lock_list_now(List::Chain(chain), kind)
    }

    pub(crate) fn lock_list_now(&mut self, list: List, kind: LockKind) -> Result<(), TdbError> {
        match self.lock_list(list, kind, Wait::Block)? {
            Attempt::Locked => Ok(()),
            Attempt::Busy => Err(self.lock_error(list.byte(), "busy", libc::EAGAIN)),
        }
    }

    pub(crate) fn lock_list(
        &mut self,
        list: List,
        kind: LockKind,
        wait: Wait,
    ) -> Result<Attempt, TdbError> {
        // As in libtdb, a read-only handle, which takes no locks, "gets" all of them.
        if self.lockless() {
            return Ok(Attempt::Locked);
        }
        if let Some(all) = &self.locks.all {
            if kind == LockKind::Read || all.kind == LockKind::Write || all.upgradable {
                return Ok(Attempt::Locked);
            }
            let rule = "the whole database is held for reading";
            return Err(self.lock_error(list.byte(), rule, libc::EAGAIN));
        }
        if let Some(held) = self.locks.find(list) {
            if kind == LockKind::Write && held.kind == LockKind::Read {
                let rule = "a read lock is not upgraded";
                return Err(self.lock_error(list.byte(), rule, libc::EDEADLK));
            }
            held.count += 1;
            return Ok(Attempt::Locked);
        }
        if self.locks.held.len() >= HELD_COUNT_MAX {
            return Err(self.lock_error(list.byte(), "too many locks held", libc::ENOLCK));
        }
        loop {
            if self.acquire(list, kind, wait)? == Attempt::Busy {
                return Ok(Attempt::Busy);
            }
            // Whoever holds a data lock keeps committers out; only the first one must look (P16).
            if self.locks.holds_data() || !self.needs_recovery() {
                if let List::Chain(chain) = list {
                    self.settle(chain);
                }
                self.locks.held.push(Held { list, kind, count: 1 });
                return Ok(Attempt::Locked);
            }
            self.release(list);
            if wait == Wait::Try {
                return Err(TdbError::RecoveryNeeded { path: self.path.clone() });
            }
            self.recover()?;
        }
    }

    pub(crate) fn unlock_list(&mut self, list: List) {
        if self.lockless() || self.locks.all.is_some() {
            return;
        }
        let index = self.locks.held.iter().position(|held| held.list == list);
        let index = index.expect("only held locks are released");
        self.locks.held[index].count -= 1;
        if self.locks.held[index].count == 0 {
            self.locks.held.swap_remove(index);
            self.release(list);
        }
    }

    /// Releases what a handle still holds when it goes. Mutexes must be free before the area is
    /// unmapped; one that cannot be released keeps the area mapped for good (P7).
    pub(crate) fn release_everything(&mut self) {
        let lost_before = self.locks.lost_count;
        if let Some(all) = &mut self.locks.all {
            all.count = 1;
            self.unlock_all();
        }
        self.abandon_every_wait();
        while let Some(held) = self.locks.held.pop() {
            self.release(held.list);
        }
        if self.locks.lost_count > lost_before && self.shared.mutexes.is_some() {
            std::mem::forget(self.shared.clone());
        }
    }

    pub(crate) fn lock_error(&self, byte: u32, rule: &'static str, errno: i32) -> TdbError {
        TdbError::Lock { path: self.path.clone(), byte, rule, errno }
    }

    pub(crate) fn mutex_error(&self, byte: u32, errno: i32) -> TdbError {
        let rule = match errno {
            libc::EDEADLK => "this thread holds it already",
            libc::ENXIO => "the file was truncated while in use",
            libc::ENOTRECOVERABLE => "its owner died and nobody repaired it",
            _ => "the mutex is damaged",
        };
        self.lock_error(byte, rule, errno)
    }

    fn acquire(&self, list: List, kind: LockKind, wait: Wait) -> Result<Attempt, TdbError> {
        let outcome = match (self.mutexes(), &self.file) {
            (Some(mutexes), _) => {
                acquire_mutex(mutexes, list, kind, wait, self.locks.holds_any_chain())
                    .map_err(|errno| self.mutex_error(list.byte(), errno))
            }
            (None, Some(file)) => range_lock::lock(file, list.range(), kind, wait)
                .map_err(|error| self.fcntl_error(list.byte(), &error)),
            (None, None) => Ok(Attempt::Locked),
        }?;
        Ok(outcome)
    }

    fn release(&mut self, list: List) {
        let released = match (self.mutexes(), &self.file) {
            (Some(mutexes), _) => mutexes.unlock(list.mutex()).is_ok(),
            (None, Some(file)) => range_lock::unlock(file, list.range()).is_ok(),
            (None, None) => true,
        };
        if !released {
            self.locks.lost_count += 1;
        }
    }
}

/// The protocol of tdb §7.5 for one chain or the free list.
fn acquire_mutex(
    mutexes: &MutexArea,
    list: List,
    kind: LockKind,
    wait: Wait,
    holds_another_chain: bool,
) -> Result<Attempt, i32> {
    loop {
        if mutexes.lock(list.mutex(), wait)? == Attempt::Busy {
            return Ok(Attempt::Busy);
        }
        // Who holds a chain already must not wait for a holder of everything, who waits for that
        // chain. The free list is protected by the chain that its user holds.
        if list == List::Free || holds_another_chain {
            return Ok(Attempt::Locked);
        }
        match mutexes.state() {
            State::Free => return Ok(Attempt::Locked),
            State::Locked(LockKind::Read) if kind == LockKind::Read => return Ok(Attempt::Locked),
            State::Locked(_) => {}
        }
        mutexes.unlock(list.mutex())?;
        if mutexes.lock(Mutex::AllRecords, wait)? == Attempt::Busy {
            return Ok(Attempt::Busy);
        }
        // Its holder frees the state before the mutex. If it is not free now, nobody will ever
        // free it: without this line a damaged word would keep everyone circling here.
        mutexes.set_state(State::Free);
        mutexes.unlock(Mutex::AllRecords)?;
    }
}
