//! Waiting for a chain without blocking the thread.
//!
//! A shard tries; if the chain is busy it learns here what to wait for, goes on with other work,
//! and tries again when it is told.
//!
//! **Mutexes** (after glibc's own protocol): the word of a held mutex is the owner's TID, and
//! bit 31 says that somebody sleeps on it. Whoever unlocks wakes one sleeper if, and only if, the
//! bit is set; the kernel does the same for an owner that died. So a wake-up is the only trace of
//! all the other sleepers, and whoever consumes it owes them one. The debt is paid by
//!
//! 1. taking the mutex and setting the bit again (a plain lock forgets the sleepers);
//! 2. finding it taken by somebody else and setting the bit in that owner's word, before sleeping
//!    again;
//! 3. waking the next sleeper, when giving up or turning to another mutex.
//!
//! Waking the next one instead of 2 would let two sleepers wake each other for as long as the
//! owner works. A process that dies with a debt takes the wake-up with it; whoever opens the file
//! next makes up for it (`wake_strays`).
//!
//! **fcntl locks**: a thread of a pool blocks on the handle's own descriptor
//! (`block_on_fcntl`), and the handle enters the result with `adopt_chain_lock`.

use crate::database::{Chain, Shared, Tdb};
use crate::error::TdbError;
use crate::lock_table::{List, LockTable};
use crate::mutex_area::{Mutex, State};
use crate::range_lock::{Attempt, LockKind, Wait};
use std::fs::File;
use std::sync::Arc;

/// What to wait for.
#[derive(Debug)]
pub enum ChainWait {
    /// Sleep while the word has this value (a shared futex, not a private one), then call
    /// `try_lock_chain_after_wait`; also when the sleep fails with `EAGAIN`.
    Futex { word: FutexWord, expected: u32 },
    /// Let a thread call `block_on_fcntl(file.as_fd(), byte)` (or `block_on_fcntl_unless`, which
    /// can be told to give up), then call `adopt_chain_lock`.
    Fcntl { file: Arc<File>, byte: u32 },
    /// The chain has become free meanwhile: try again.
    Free,
}

/// A word that the kernel watches: the first one of a robust mutex in the file.
///
/// ```text
/// bits   0-29  thread that holds the mutex, 0 = nobody
/// bit      30  that thread has died with it
/// bit      31  somebody sleeps here; whoever unlocks wakes one of them
/// ```
///
/// It stays mapped as long as this value lives, so it belongs to
/// the operation until that has completed.
#[derive(Debug, Clone)]
pub struct FutexWord {
    shared: Arc<Shared>,
    mutex: Mutex,
}

impl FutexWord {
    #[must_use]
    pub fn as_ptr(&self) -> *const u32 {
        self.mutexes().word(self.mutex).as_ptr()
    }

    #[must_use]
    pub fn load(&self) -> u32 {
        self.mutexes().word(self.mutex).load(std::sync::atomic::Ordering::SeqCst)
    }

    fn mutexes(&self) -> &crate::mutex_area::MutexArea {
        self.shared.mutexes.as_ref().expect("only files with mutexes have words to wait on")
    }
}

impl Tdb {
    /// Says how to wait for a chain that `try_lock_chain` found busy.
    ///
    /// Each `Futex` is followed up by exactly one `try_lock_chain_after_wait` or `abandon_wait`,
    /// each `Fcntl` by one `adopt_chain_lock`. Who gives a chain up for good after `Busy` or `Free`
    /// calls `abandon_wait` too. One wait per chain and handle.
    ///
    /// # Errors
    ///
    /// `Invalid` when there is no such chain.
    pub fn wait_for_chain(&mut self, chain: Chain) -> Result<ChainWait, TdbError> {
        self.check_chain(chain)?;
        if self.lockless() || self.locks.all.is_some() {
            return Ok(ChainWait::Free);
        }
        let list = List::Chain(chain);
        let shared = self.shared.clone();
        let Some(mutexes) = &shared.mutexes else {
            let file = self.file.clone().expect("a database that locks has a file");
            return Ok(ChainWait::Fcntl { file, byte: list.byte() });
        };
        let own = list.mutex();
        if let Some(expected) = mutexes.announce_waiter(own) {
            if self.locks.debts.remove(&chain) == Some(Mutex::AllRecords) {
                mutexes.wake_one(Mutex::AllRecords);
            }
            return Ok(self.wait_on(chain, own, expected));
        }
        // The chain itself is free: if anything keeps us out it is who holds everything.
        if self.locks.holds_any_chain() || mutexes.state() == State::Free {
            return Ok(ChainWait::Free);
        }
        let Some(expected) = mutexes.announce_waiter(Mutex::AllRecords) else {
            return Ok(ChainWait::Free);
        };
        if self.locks.debts.remove(&chain) == Some(own) {
            mutexes.wake_one(own);
        }
        Ok(self.wait_on(chain, Mutex::AllRecords, expected))
    }

    /// As `try_lock_chain`, after a wait on a word has ended. `Busy` means: `wait_for_chain` again.
    ///
    /// # Errors
    ///
    /// As `try_lock_chain`.
    pub fn try_lock_chain_after_wait(&mut self, chain: Chain) -> Result<Attempt, TdbError> {
        if let Some(mutex) = self.locks.waits.remove(&chain) {
            self.locks.debts.insert(chain, mutex);
        }
        let outcome = self.try_lock_chain(chain);
        match outcome {
            // The debt waits until it is known whom it can be paid to.
            Ok(Attempt::Busy) => {}
            Ok(Attempt::Locked) | Err(_) => self.settle(chain),
        }
        outcome
    }

    /// Ends a wait without trying: a wake-up that it may have consumed goes to the next sleeper.
    /// Called after the kernel has let go of the word.
    pub fn abandon_wait(&mut self, chain: Chain) {
        if let Some(mutex) = self.locks.waits.remove(&chain) {
            self.locks.debts.insert(chain, mutex);
        }
        self.settle(chain);
    }

    /// Enters the lock that a thread got with `block_on_fcntl` for this handle. If nobody wants it
    /// any more, `unlock_chain` gives it back.
    ///
    /// `Busy` means that it got lost again (this handle has locked and unlocked the chain itself
    /// meanwhile, and the descriptor has only one lock per byte): wait again.
    ///
    /// # Errors
    ///
    /// As `try_lock_chain`; nothing is locked then.
    pub fn adopt_chain_lock(&mut self, chain: Chain) -> Result<Attempt, TdbError> {
        self.check_chain(chain)?;
        // The descriptor has the lock, so this request cannot meet a conflict unless it was lost.
        self.lock_list(List::Chain(chain), LockKind::Write, Wait::Try)
    }

    /// Lets everybody who sleeps on a mutex of the file look at it again.
    ///
    /// For who has seen a process killed that used the file: it may have been woken in place of
    /// others, who then sleep until the mutex is contended again (P49). A new handle does this by
    /// itself. One system call for each chain.
    pub fn wake_strays(&self) {
        if let Some(mutexes) = &self.shared.mutexes {
            mutexes.wake_strays();
        }
    }

    /// Pays what this handle owes to the other sleepers of a chain.
    #[inline]
    pub(crate) fn settle(&mut self, chain: Chain) {
        if !self.locks.debts.is_empty() {
            self.pay(chain);
        }
    }

    fn pay(&mut self, chain: Chain) {
        if let (Some(mutex), Some(mutexes)) = (self.locks.debts.remove(&chain), self.mutexes()) {
            mutexes.pass_on_waiters(mutex);
        }
    }

    pub(crate) fn abandon_every_wait(&mut self) {
        let Some(mutexes) = &self.shared.mutexes else { return };
        let LockTable { waits, debts, .. } = &mut self.locks;
        for (_, mutex) in waits.drain().chain(debts.drain()) {
            mutexes.wake_one(mutex);
        }
    }

    fn wait_on(&mut self, chain: Chain, mutex: Mutex, expected: u32) -> ChainWait {
        // Setting the bit in the owner's word has paid for this mutex.
        self.locks.debts.remove(&chain);
        self.locks.waits.insert(chain, mutex);
        ChainWait::Futex { word: FutexWord { shared: self.shared.clone(), mutex }, expected }
    }
}
