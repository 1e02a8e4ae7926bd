//! What the record machines need of a node's files.
//!
//! Reading or writing a record under a lock that we hold is a memory access, so it is a call;
//! waiting for a lock is an effect (`Effects::wait_for_chain`).

use crate::record::{Key, RecordHeader};
use alloc::vec::Vec;
use bateria_wire::DbId;

/// The files of the shard that runs the machine. All of its locks belong to that shard.
pub trait RecordStore {
    /// The Jenkins hash of a key, which selects LMASTER, chain and shard.
    fn hash(&self, key: &[u8]) -> u32;

    /// Hash chains of the node's file of this database.
    fn chains_count(&self, db: DbId) -> u32;

    /// Whether this shard serves the chain.
    fn serves(&self, db: DbId, chain: u32) -> bool;

    /// Takes the chain's lock if nobody has it; never waits.
    ///
    /// # Errors
    /// The file is damaged or cannot be locked at all.
    fn try_lock(&mut self, db: DbId, chain: u32) -> Result<Lock, StoreFault>;

    fn unlock(&mut self, db: DbId, chain: u32);

    /// Reads a record of a locked chain; its value is appended to `body` without the header.
    /// `None` when there is none, or one too short for a header.
    ///
    /// # Errors
    /// The chain is damaged.
    fn fetch(
        &mut self,
        db: DbId,
        key: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Option<RecordHeader>, StoreFault>;

    /// Writes a record of a locked chain.
    ///
    /// # Errors
    /// The chain is damaged, or no space is left.
    fn store(
        &mut self,
        db: DbId,
        key: &[u8],
        header: &RecordHeader,
        body: &[u8],
    ) -> Result<(), StoreFault>;

    /// Removes a record of a locked chain; one that is absent is fine.
    ///
    /// # Errors
    /// The chain is damaged.
    fn delete(&mut self, db: DbId, key: &[u8]) -> Result<(), StoreFault>;

    /// Whether the chain has no record at all, seen without a lock.
    fn chain_is_empty(&self, db: DbId, chain: u32) -> bool;

    /// Visits key, header and size of the body of each record of a locked chain. A value too short
    /// for a header is passed over.
    ///
    /// # Errors
    /// The chain is damaged.
    fn walk(
        &mut self,
        db: DbId,
        chain: u32,
        visit: &mut dyn FnMut(Key<'_>, RecordHeader, usize),
    ) -> Result<(), StoreFault>;
}

/// Outcome of `try_lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Taken,
    Busy,
}

/// One database's file failed. The driver has logged what happened where; the machine stops using
/// the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the file of the database failed")]
pub struct StoreFault;
