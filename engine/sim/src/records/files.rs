//! A node's file of the database, in memory.

use crate::records::DB;
use bateria_core::record::{Key, Lock, RecordHeader, RecordStore, StoreFault};
use bateria_wire::DbId;
use std::collections::{BTreeMap, BTreeSet};

/// Hash chains of every node's file.
pub const CHAINS_COUNT: u32 = 5;

/// Records and chain locks of one node.
#[derive(Debug, Default)]
pub struct Files {
    records: BTreeMap<Vec<u8>, (RecordHeader, Vec<u8>)>,
    locks: BTreeMap<u32, Holder>,
    /// Keys of records that shards have stored since somebody asked.
    stored: BTreeSet<u32>,
    /// A copy that was replaced by an older one.
    regressed: Option<(u32, RecordHeader, RecordHeader)>,
}

/// Who holds a chain's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Shard(u32),
    Client(u64),
}

/// The files as one shard uses them.
pub(super) struct ShardFiles<'a> {
    pub(super) files: &'a mut Files,
    pub(super) lane: u32,
    pub(super) lanes_count: u32,
}

impl Files {
    #[must_use]
    pub fn chain_of(key: u32) -> u32 {
        key % CHAINS_COUNT
    }

    #[must_use]
    pub fn is_free(&self, chain: u32) -> bool {
        !self.locks.contains_key(&chain)
    }

    /// Takes a free chain's lock.
    pub fn lock(&mut self, chain: u32, holder: Holder) {
        assert_eq!(self.locks.insert(chain, holder), None, "the chain is free");
    }

    pub fn unlock(&mut self, chain: u32, holder: Holder) {
        assert_eq!(self.locks.remove(&chain), Some(holder), "only a holder lets go");
    }

    /// What a dead process held is free (robust mutexes, database semantics §10.4).
    pub fn client_died(&mut self, client: u64) -> Vec<u32> {
        let dead = |holder: &Holder| *holder == Holder::Client(client);
        let chains: Vec<u32> =
            self.locks.iter().filter(|(_, h)| dead(h)).map(|(chain, _)| *chain).collect();
        self.locks.retain(|_, holder| !dead(holder));
        chains
    }

    #[must_use]
    pub fn get(&self, key: u32) -> Option<(RecordHeader, &[u8])> {
        let record = self.records.get(&key.to_le_bytes()[..]);
        record.map(|(header, body)| (*header, &**body))
    }

    /// A client changes a body and leaves the header as it is (database semantics §2.1).
    pub fn set_body(&mut self, key: u32, body: &[u8]) {
        let record = self.records.get_mut(&key.to_le_bytes()[..]);
        record.expect("an owned record is in the file").1 = body.into();
    }

    /// I6: a node's RSN of a record never decreases (database semantics §1.5).
    ///
    /// # Errors
    /// The copy that replaced a newer one.
    pub fn rsns_grow(&self) -> Result<(), String> {
        match self.regressed {
            Some((key, have, got)) => Err(format!("key {key}: {got:?} replaced {have:?}")),
            None => Ok(()),
        }
    }

    /// Keys of records that shards have stored since the last time.
    pub fn take_stored(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.stored)
    }

    fn assert_locked(&self, key: &[u8], lane: u32) {
        let holder = self.locks.get(&Self::chain_of(number(key)));
        assert_eq!(holder, Some(&Holder::Shard(lane)), "work on a record needs its chain's lock");
    }
}

impl RecordStore for ShardFiles<'_> {
    fn hash(&self, key: &[u8]) -> u32 {
        number(key)
    }

    fn chains_count(&self, db: DbId) -> u32 {
        assert_eq!(db, DB);
        CHAINS_COUNT
    }

    fn serves(&self, _: DbId, chain: u32) -> bool {
        chain % self.lanes_count == self.lane
    }

    fn try_lock(&mut self, db: DbId, chain: u32) -> Result<Lock, StoreFault> {
        assert!(self.serves(db, chain), "a shard keeps to its chains");
        if !self.files.is_free(chain) {
            return Ok(Lock::Busy);
        }
        self.files.lock(chain, Holder::Shard(self.lane));
        Ok(Lock::Taken)
    }

    fn unlock(&mut self, _: DbId, chain: u32) {
        self.files.unlock(chain, Holder::Shard(self.lane));
    }

    fn fetch(
        &mut self,
        _: DbId,
        key: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Option<RecordHeader>, StoreFault> {
        self.files.assert_locked(key, self.lane);
        Ok(self.files.records.get(key).map(|(header, stored)| {
            body.extend_from_slice(stored);
            *header
        }))
    }

    fn store(
        &mut self,
        _: DbId,
        key: &[u8],
        header: &RecordHeader,
        body: &[u8],
    ) -> Result<(), StoreFault> {
        self.files.assert_locked(key, self.lane);
        self.files.stored.insert(number(key));
        if let Some((have, _)) = self.files.records.get(key)
            && have.rsn > header.rsn
        {
            self.files.regressed = Some((number(key), *have, *header));
        }
        self.files.records.insert(key.into(), (*header, body.into()));
        Ok(())
    }

    fn delete(&mut self, _: DbId, key: &[u8]) -> Result<(), StoreFault> {
        self.files.assert_locked(key, self.lane);
        self.files.records.remove(key);
        Ok(())
    }

    fn chain_is_empty(&self, _: DbId, chain: u32) -> bool {
        !self.files.records.keys().any(|key| Files::chain_of(number(key)) == chain)
    }

    fn walk(
        &mut self,
        _: DbId,
        chain: u32,
        visit: &mut dyn FnMut(Key<'_>, RecordHeader, usize),
    ) -> Result<(), StoreFault> {
        assert_eq!(self.files.locks.get(&chain), Some(&Holder::Shard(self.lane)));
        let in_chain = |key: &&Vec<u8>| Files::chain_of(number(key)) == chain;
        for (key, (header, body)) in self.files.records.iter().filter(|(key, _)| in_chain(key)) {
            visit(Key { hash: number(key), bytes: key }, *header, body.len());
        }
        Ok(())
    }
}

fn number(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
