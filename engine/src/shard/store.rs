//! This shard's handles of all volatile files, as the record machines want them.

use crate::database_table::DatabaseInfo;
use bateria_core::record::{Key, Lock, RecordFlags, RecordHeader, RecordStore, StoreFault};
use bateria_smbshim::ltdb_header::LtdbHeader;
use bateria_tdb::{Attempt, Chain, StoreMode, Tdb, TdbError, TdbFlags};
use bateria_wire::{DbId, Rsn};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Files by database. All locks are taken and released by the shard's own thread.
pub(crate) struct Store {
    shard: u32,
    shards_count: u32,
    files: FxHashMap<DbId, File>,
    /// Chains that were waited for: the next attempt passes the wake-up on.
    woken: FxHashSet<(DbId, u32)>,
    value: Vec<u8>,
}

struct File {
    info: Arc<DatabaseInfo>,
    handle: Box<Tdb>,
}

impl Store {
    pub(crate) fn new(shard: u32, shards_count: u32) -> Self {
        Self {
            shard,
            shards_count,
            files: FxHashMap::default(),
            woken: FxHashSet::default(),
            value: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, info: Arc<DatabaseInfo>, handle: Box<Tdb>) {
        self.files.insert(info.id, File { info, handle });
    }

    pub(crate) fn handle_mut(&mut self, db: DbId) -> Option<&mut Tdb> {
        self.files.get_mut(&db).map(|file| &mut *file.handle)
    }

    /// The shard that serves a key, or `None` for a database that is not attached.
    pub(crate) fn shard_of(&self, db: DbId, hash: u32) -> Option<usize> {
        let file = self.files.get(&db)?;
        Some((hash % file.info.chains_count % self.shards_count) as usize)
    }

    /// The chain of a key by the file's own hash, which is not Jenkins' in persistent files.
    pub(crate) fn chain_of(&self, db: DbId, key: &[u8]) -> u32 {
        self.files.get(&db).map_or(0, |file| file.handle.chain_of(key).0)
    }

    pub(crate) fn key(bytes: &[u8]) -> Key<'_> {
        Key { hash: bateria_tdb::hash::jenkins(bytes), bytes }
    }

    /// The next attempt at this chain follows a wait on its futex.
    pub(crate) fn was_woken(&mut self, db: DbId, chain: u32) {
        self.woken.insert((db, chain));
    }

    /// If nobody tried the chain after its wait, the wake-up goes to the next sleeper.
    pub(crate) fn end_wake(&mut self, db: DbId, chain: u32) {
        if self.woken.remove(&(db, chain))
            && let Some(file) = self.files.get_mut(&db)
        {
            file.handle.abandon_wait(Chain(chain));
        }
    }

    fn file(&mut self, db: DbId) -> Result<&mut File, StoreFault> {
        self.files.get_mut(&db).ok_or(StoreFault)
    }
}

impl RecordStore for Store {
    fn hash(&self, key: &[u8]) -> u32 {
        bateria_tdb::hash::jenkins(key)
    }

    fn chains_count(&self, db: DbId) -> u32 {
        self.files.get(&db).map_or(1, |file| file.info.chains_count)
    }

    fn serves(&self, _: DbId, chain: u32) -> bool {
        chain % self.shards_count == self.shard
    }

    fn try_lock(&mut self, db: DbId, chain: u32) -> Result<Lock, StoreFault> {
        let woken = self.woken.remove(&(db, chain));
        let file = self.file(db)?;
        let attempt = if woken {
            file.handle.try_lock_chain_after_wait(Chain(chain))
        } else {
            file.handle.try_lock_chain(Chain(chain))
        };
        match attempt {
            Ok(Attempt::Locked) => Ok(Lock::Taken),
            Ok(Attempt::Busy) => Ok(Lock::Busy),
            Err(error) => file.failed("lock a chain", &error),
        }
    }

    fn unlock(&mut self, db: DbId, chain: u32) {
        if let Ok(file) = self.file(db) {
            file.handle.unlock_chain(Chain(chain));
        }
    }

    fn fetch(
        &mut self,
        db: DbId,
        key: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Option<RecordHeader>, StoreFault> {
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        let file = self.file(db)?;
        let found = match file.handle.fetch(key, &mut value) {
            Ok(true) => Ok(LtdbHeader::split(&value).ok().map(|(header, stored)| {
                body.extend_from_slice(stored);
                plain(&header)
            })),
            Ok(false) => Ok(None),
            Err(error) => file.failed("fetch a record", &error),
        };
        self.value = value;
        found
    }

    fn store(
        &mut self,
        db: DbId,
        key: &[u8],
        header: &RecordHeader,
        body: &[u8],
    ) -> Result<(), StoreFault> {
        let file = self.file(db)?;
        file.count_changes_if_asked();
        let header = header_bytes(header);
        match file.handle.store(key, &[&header, body], StoreMode::Replace) {
            Ok(_) => Ok(()),
            Err(error) => file.failed("store a record", &error),
        }
    }

    fn delete(&mut self, db: DbId, key: &[u8]) -> Result<(), StoreFault> {
        let file = self.file(db)?;
        file.count_changes_if_asked();
        match file.handle.delete(key) {
            Ok(_) => Ok(()),
            Err(error) => file.failed("delete a record", &error),
        }
    }

    fn chain_is_empty(&self, db: DbId, chain: u32) -> bool {
        self.files.get(&db).is_none_or(|file| file.handle.chain_is_empty(Chain(chain)))
    }

    fn walk(
        &mut self,
        db: DbId,
        chain: u32,
        visit: &mut dyn FnMut(Key<'_>, RecordHeader, usize),
    ) -> Result<(), StoreFault> {
        let file = self.file(db)?;
        let outcome = file.handle.walk_chain(Chain(chain), &mut |key, value| {
            if let Ok((header, body)) = LtdbHeader::split(value) {
                visit(Self::key(key), plain(&header), body.len());
            }
            ControlFlow::Continue(())
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => file.failed("walk a chain", &error),
        }
    }
}

impl File {
    fn failed<T>(&self, what: &str, error: &TdbError) -> Result<T, StoreFault> {
        tracing::error!("database {}: cannot {what}: {error}", self.info.name);
        self.info.failed.store(true, Ordering::Release);
        Err(StoreFault)
    }

    /// A record that leaves and comes back must change the count that clients cache by (database
    /// semantics §2.8).
    fn count_changes_if_asked(&mut self) {
        let asked = self.info.counts_changes.load(Ordering::Acquire);
        if asked && !self.handle.flags().contains(TdbFlags::SEQNUM) {
            self.handle.enable_seqnum();
        }
    }
}

/// The header as it lies in the file.
pub(crate) fn header_bytes(header: &RecordHeader) -> Vec<u8> {
    use bateria_smbshim::fields::Layout;
    let header = LtdbHeader {
        rsn: header.rsn,
        dmaster: header.dmaster,
        flags: bateria_smbshim::ltdb_header::RecordFlags::from_bits_retain(header.flags.bits()),
        ..LtdbHeader::default()
    };
    let mut bytes = Vec::with_capacity(24);
    header.encode(&mut bytes);
    bytes
}

fn plain(header: &LtdbHeader) -> RecordHeader {
    RecordHeader {
        rsn: Rsn(header.rsn.0),
        dmaster: header.dmaster,
        flags: RecordFlags::from_bits_retain(header.flags.bits()),
    }
}
