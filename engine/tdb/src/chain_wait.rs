//! Waiting for a chain without blocking the thread.
//!
//! A shard tries; if the chain is busy it learns here what to wait for, goes on with other work,
//! and tries again when it is told.
//!
//! **Mutexes** (after glibc's own protocol): the word of a held mutex is the owner's TID, and
//! bit 31 says that somebody sleeps on it. Whoever unlocks wakes one sleeper if, and only if, the
//! bit is set; the kernel does the same for an owner that died. Three rules keep every wake-up
//! alive:
//!
//! 1. before sleeping, the bit is set in the word of the present owner, by compare-and-swap
//!    (`wait_for_chain`);
//! 2. a sleeper that was woken and gets the mutex sets the bit again, because others may still
//!    sleep and a plain lock forgets them (`try_lock_chain_after_wait`); one that does not get it
//!    sleeps again by rule 1;
//! 3. a sleeper that goes away, or that was woken for a mutex which it does not take, wakes the
//!    next one (`abandon_wait`).
//!
//! A process that dies between wake-up and rule 2 takes a wake-up with it; whoever opens the file
//! next makes up for it (`open`).
//!
//! **fcntl locks**: a thread of a pool blocks on the handle's own descriptor
//! (`block_on_fcntl`), and the handle enters the result with `adopt_chain_lock`.

use crate::database::{Chain, Shared, Tdb};
use crate::error::TdbError;
use crate::lock_table::List;
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
    /// Let a thread call `block_on_fcntl(file.as_fd(), byte)`, then call `adopt_chain_lock`; there
    /// is no way to give up before, but the adopted lock can be released at once.
    Fcntl { file: Arc<File>, byte: u32 },
    /// The chain has become free meanwhile: try again.
    Free,
}

/// A word that the kernel watches. It stays mapped as long as this value lives, so it belongs to
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
    /// Says how to wait for a chain that `try_lock_chain` found busy. Each answer but `Free` is
    /// followed up by exactly one call: `try_lock_chain_after_wait` or `abandon_wait` for
    /// `Futex`, `adopt_chain_lock` for `Fcntl`. One wait per chain and handle.
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
        let Some(mutexes) = self.mutexes() else {
            let file = self.file.clone().expect("a database that locks has a file");
            return Ok(ChainWait::Fcntl { file, byte: list.byte() });
        };
        let mutex = list.mutex();
        let (mutex, expected) = match mutexes.announce_waiter(mutex) {
            Some(expected) => (mutex, expected),
            // The chain itself is free: if anything keeps us out it is who holds everything.
            None if self.locks.holds_any_chain() || mutexes.state() == State::Free => {
                return Ok(ChainWait::Free);
            }
            None => match mutexes.announce_waiter(Mutex::AllRecords) {
                Some(expected) => (Mutex::AllRecords, expected),
                None => return Ok(ChainWait::Free),
            },
        };
        self.locks.waits.insert(chain, mutex);
        Ok(ChainWait::Futex { word: FutexWord { shared: self.shared.clone(), mutex }, expected })
    }

    /// As `try_lock_chain`, after a wait on a word has ended; passes on what the wait knew.
    ///
    /// `Busy` means: `wait_for_chain` again.
    ///
    /// # Errors
    ///
    /// As `try_lock_chain`.
    pub fn try_lock_chain_after_wait(&mut self, chain: Chain) -> Result<Attempt, TdbError> {
        let waited = self.locks.waits.remove(&chain);
        let outcome = self.try_lock_chain(chain);
        let (Some(mutex), Some(mutexes)) = (waited, self.mutexes()) else { return outcome };
        if mutex == Mutex::AllRecords {
            // This mutex is not what we want, so the wake-up goes to the next sleeper at once.
            mutexes.wake_one(mutex);
        } else if !matches!(outcome, Ok(Attempt::Busy)) {
            mutexes.pass_on_waiters(mutex);
        }
        outcome
    }

    /// Ends a wait on a word without trying: a wake-up that it may have consumed goes to the next
    /// sleeper. Called after the kernel has let go of the word.
    pub fn abandon_wait(&mut self, chain: Chain) {
        if let (Some(mutex), Some(mutexes)) = (self.locks.waits.remove(&chain), self.mutexes()) {
            mutexes.wake_one(mutex);
        }
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
}
