//! Waiting for chains that clients hold, without blocking the shard.
//!
//! Files with robust mutexes are waited for through the ring, on the mutex's futex word. Files
//! with fcntl locks, and kernels whose rings cannot wait on futexes, need a thread of the pool.

use crate::blocking::BlockingPool;
use crate::clock;
use crate::mail::ShardMail;
use crate::shard::store::Store;
use bateria_ring::mailbox::{MailboxRefused, MailboxSender};
use bateria_ring::{FutexWord, Ring, Token, WaitId};
use bateria_tdb::{Chain, ChainWait};
use bateria_wire::DbId;
use slab::Slab;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

/// All waits of a shard.
pub(crate) struct ChainWaits {
    waits: Slab<Waiting>,
    /// Chains that nothing can be waited on for: they are simply tried again.
    look_again: VecDeque<(u64, DbId, u32)>,
    pool: Arc<BlockingPool>,
    mailbox: MailboxSender<ShardMail>,
}

struct Waiting {
    db: DbId,
    chain: u32,
    since_us: u64,
    /// The word stays mapped until the kernel has let go of it.
    _word: bateria_tdb::FutexWord,
    _wait: Option<WaitId>,
}

/// A wait that has ended.
pub(crate) struct Woken {
    pub(crate) db: DbId,
    pub(crate) chain: u32,
    pub(crate) waited_us: u64,
}

/// What `begin` found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Waiting,
    /// The chain is free: try again.
    Free,
}

/// Pause between two attempts at a chain that cannot be waited for.
const LOOK_AGAIN_US: u64 = 1_000;

impl ChainWaits {
    pub(crate) fn new(pool: Arc<BlockingPool>, mailbox: MailboxSender<ShardMail>) -> Self {
        Self { waits: Slab::new(), look_again: VecDeque::new(), pool, mailbox }
    }

    pub(crate) fn begin(
        &mut self,
        ring: &mut Ring,
        store: &mut Store,
        db: DbId,
        chain: u32,
        token: fn(usize) -> Token,
    ) -> Begun {
        let Some(handle) = store.handle_mut(db) else { return Begun::Waiting };
        match handle.wait_for_chain(Chain(chain)) {
            Ok(ChainWait::Free) => Begun::Free,
            Ok(ChainWait::Futex { word, expected }) => {
                let entry = self.waits.vacant_entry();
                let address = FutexWord::at(word.as_ptr());
                let wait = ring.futex_wait(address, expected, token(entry.key()));
                if wait.is_none() {
                    store.was_woken(db, chain);
                    self.look_again_later(db, chain);
                    return Begun::Waiting;
                }
                let since_us = clock::now_us();
                entry.insert(Waiting { db, chain, since_us, _word: word, _wait: wait });
                Begun::Waiting
            }
            Ok(ChainWait::Fcntl { file, byte }) => {
                let mailbox = self.mailbox.clone();
                let job = move || {
                    if let Err(error) = bateria_tdb::block_on_fcntl(file.as_fd(), byte) {
                        tracing::error!("waiting for byte {byte} of database {db}: {error}");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    tell(&mailbox, ShardMail::ChainGranted { db, chain });
                };
                if self.pool.submit(Box::new(job)).is_err() {
                    tracing::warn!("no thread is left to wait for chain {chain} of database {db}");
                    self.look_again_later(db, chain);
                }
                Begun::Waiting
            }
            Err(error) => {
                tracing::error!("cannot wait for chain {chain} of database {db}: {error}");
                self.look_again_later(db, chain);
                Begun::Waiting
            }
        }
    }

    /// A futex wait has ended.
    pub(crate) fn end(&mut self, place: usize) -> Option<Woken> {
        let waiting = self.waits.try_remove(place)?;
        let waited_us = clock::now_us().saturating_sub(waiting.since_us);
        Some(Woken { db: waiting.db, chain: waiting.chain, waited_us })
    }

    pub(crate) fn count(&self) -> usize {
        self.waits.len()
    }

    /// The next chain to try again without having been told, if its pause is over.
    pub(crate) fn pop_look_again(&mut self, now_us: u64) -> Option<(DbId, u32)> {
        let due = self.look_again.pop_front_if(|(at_us, _, _)| *at_us <= now_us)?;
        Some((due.1, due.2))
    }

    pub(crate) fn next_look_us(&self) -> Option<u64> {
        self.look_again.front().map(|(at_us, _, _)| *at_us)
    }

    fn look_again_later(&mut self, db: DbId, chain: u32) {
        self.look_again.push_back((clock::now_us() + LOOK_AGAIN_US, db, chain));
    }
}

/// From a thread that may wait: the shard empties its mailbox soon.
pub(crate) fn tell(mailbox: &MailboxSender<ShardMail>, mail: ShardMail) {
    let mut mail = mail;
    while let Err(MailboxRefused::Full(back)) = mailbox.try_send(mail) {
        mail = back;
        std::thread::sleep(Duration::from_millis(1));
    }
}
