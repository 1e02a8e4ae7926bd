//! A node's file in memory, with chain locks that clients and the machine take.

use bateria_core::record::{Key, Lock, RecordHeader, RecordStore, StoreFault};
use bateria_wire::DbId;
use std::collections::BTreeMap;

const CHAINS_COUNT: u32 = 2;
const MACHINE: u64 = 0;

#[derive(Default)]
pub struct MemoryStore {
    records: BTreeMap<Vec<u8>, (RecordHeader, Vec<u8>)>,
    locks: BTreeMap<u32, u64>,
}

/// Keys of these tests are their own hash.
pub fn hash(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

pub fn chain_of(key: u32) -> u32 {
    key % CHAINS_COUNT
}

impl MemoryStore {
    pub fn hold(&mut self, chain: u32, client: u64) {
        assert_eq!(self.locks.insert(chain, client), None, "the chain was free");
    }

    pub fn let_go(&mut self, chain: u32, client: u64) {
        assert_eq!(self.locks.remove(&chain), Some(client));
    }

    pub fn is_free(&self, chain: u32) -> bool {
        !self.locks.contains_key(&chain)
    }

    pub fn get(&self, key: u32) -> Option<(RecordHeader, &[u8])> {
        self.records.get(&key.to_le_bytes()[..]).map(|(header, body)| (*header, &**body))
    }

    pub fn set_body(&mut self, key: u32, body: &[u8]) {
        self.records.get_mut(&key.to_le_bytes()[..]).expect("owned records exist").1 = body.into();
    }

    fn assert_locked(&self, key: &[u8]) {
        assert_eq!(self.locks.get(&chain_of(hash(key))), Some(&MACHINE), "work needs the lock");
    }
}

impl RecordStore for MemoryStore {
    fn hash(&self, key: &[u8]) -> u32 {
        hash(key)
    }

    fn chains_count(&self, _: DbId) -> u32 {
        CHAINS_COUNT
    }

    fn serves(&self, _: DbId, _: u32) -> bool {
        true
    }

    fn try_lock(&mut self, _: DbId, chain: u32) -> Result<Lock, StoreFault> {
        if self.locks.contains_key(&chain) {
            return Ok(Lock::Busy);
        }
        self.locks.insert(chain, MACHINE);
        Ok(Lock::Taken)
    }

    fn unlock(&mut self, _: DbId, chain: u32) {
        assert_eq!(self.locks.remove(&chain), Some(MACHINE));
    }

    fn fetch(
        &mut self,
        _: DbId,
        key: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Option<RecordHeader>, StoreFault> {
        self.assert_locked(key);
        Ok(self.records.get(key).map(|(header, stored)| {
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
        self.assert_locked(key);
        self.records.insert(key.into(), (*header, body.into()));
        Ok(())
    }

    fn delete(&mut self, _: DbId, key: &[u8]) -> Result<(), StoreFault> {
        self.assert_locked(key);
        self.records.remove(key);
        Ok(())
    }

    fn chain_is_empty(&self, _: DbId, chain: u32) -> bool {
        !self.records.keys().any(|key| chain_of(hash(key)) == chain)
    }

    fn walk(
        &mut self,
        _: DbId,
        chain: u32,
        visit: &mut dyn FnMut(Key<'_>, RecordHeader, usize),
    ) -> Result<(), StoreFault> {
        assert_eq!(self.locks.get(&chain), Some(&MACHINE));
        let records = self.records.iter().filter(|(key, _)| chain_of(hash(key)) == chain);
        for (key, (header, body)) in records {
            visit(Key { hash: hash(key), bytes: key }, *header, body.len());
        }
        Ok(())
    }
}
