//! One handle of one TDB file.

use crate::area::Area;
use crate::error::TdbError;
use crate::flags::TdbFlags;
use crate::free_trail::FreeTrail;
use crate::hash::HashKind;
use crate::keys::Position;
use crate::lock_table::LockTable;
use crate::mutex_area::MutexArea;
use crate::transaction::TransactionState;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A handle of a TDB file. `Send`, not `Sync`: each thread has its own (`Tdb::sibling`), with its
/// own descriptor, locks and mapping.
///
/// ```text
/// file offset
///           0  only in files with mutexes: a copy of the header, the mutexes, padding to a page
/// header_offset
///   +       0  header, 168 bytes: magic, version, number of chains H, recovery area, sequence
///   +     168  head of the free list
///   +     172  heads of the H chains, 4 bytes each
///   + 172+4*H  records without gaps to the end (`RecordHeader`): live and dead ones, free ones, and
///              at most one recovery area for commits
/// ```
///
/// All offsets in the file, in errors and in `RecordHeader` are counted from `header_offset`.
///
/// A robust mutex belongs to the thread that locked it (P5), so a handle stays on one thread while
/// it holds a lock, and that thread outlives the lock.
#[derive(Debug)]
pub struct Tdb {
    pub(crate) path: Arc<Path>,
    /// `None` for a database in memory.
    pub(crate) file: Option<Arc<File>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) area: Area,
    pub(crate) flags: TdbFlags,
    pub(crate) hash: HashKind,
    pub(crate) swapped: bool,
    pub(crate) hash_size: u32,
    pub(crate) max_dead: u32,
    pub(crate) read_only: bool,
    pub(crate) locks: LockTable,
    pub(crate) transaction: Option<Box<TransactionState>>,
    pub(crate) position: Position,
    /// Kept between operations, so that they allocate nothing.
    pub(crate) scratch: Vec<u8>,
    pub(crate) free_trail: FreeTrail,
}

/// What all handles of one file in this process have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The descriptor that holds ACTIVE; it closes with the last handle (P1).
    pub(crate) _anchor: Option<Arc<File>>,
    pub(crate) mutexes: Option<MutexArea>,
}

/// Number of a hash chain, below `Tdb::chains_count`: `hash(key) % chains_count`.
///
/// ```text
/// head       at 172 + 4 * chain      offset of the first record, 0 = empty
/// lock byte  at 168 + 4 * chain      of files without mutexes
/// mutex      at 256 + 40 * chain     of files with mutexes, from the start of the file
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain(pub u32);

impl Chain {
    /// Address of the word that holds the chain's head.
    pub(crate) fn head(self) -> u32 {
        172 + 4 * self.0
    }
}

impl Tdb {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The flags of this handle, with those that open added, as libtdb reports them.
    #[must_use]
    pub fn flags(&self) -> TdbFlags {
        self.flags
    }

    /// From now on this handle counts changes in the sequence number.
    pub fn enable_seqnum(&mut self) {
        self.flags |= TdbFlags::SEQNUM;
    }

    /// How many dead records a chain keeps for reuse; libtdb calls it `max_dead`.
    pub fn set_max_dead(&mut self, max_dead: u32) {
        self.max_dead = max_dead;
    }

    /// The hash of a key, by the function that the file was made with.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u32 {
        self.hash.hash(key)
    }

    #[must_use]
    pub fn hash_kind(&self) -> HashKind {
        self.hash
    }

    #[must_use]
    pub fn chains_count(&self) -> u32 {
        self.hash_size
    }

    #[must_use]
    pub fn chain_of(&self, key: &[u8]) -> Chain {
        Chain(self.hash(key) % self.hash_size)
    }

    /// Logical size in bytes as far as this handle knows.
    #[must_use]
    pub fn size_bytes(&self) -> u32 {
        self.transaction.as_ref().map_or_else(|| self.area.size(), |state| state.size())
    }

    /// Bytes of the mutex area in front of the database proper, 0 if there is none.
    #[must_use]
    pub fn header_offset(&self) -> u64 {
        self.area.header_offset()
    }

    /// True if chains are locked by robust mutexes in the file.
    #[must_use]
    pub fn uses_mutexes(&self) -> bool {
        self.mutexes().is_some()
    }

    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn mutexes(&self) -> Option<&MutexArea> {
        self.shared.mutexes.as_ref()
    }

    /// Handles that take no locks: by flag, read-only, or in memory.
    pub(crate) fn lockless(&self) -> bool {
        self.flags.intersects(TdbFlags::NOLOCK | TdbFlags::INTERNAL)
    }

    /// Offset of the first record.
    pub(crate) fn data_start(&self) -> u32 {
        crate::header::data_start(self.hash_size)
    }

    pub(crate) fn corrupt(&self, offset: u32, rule: &'static str) -> TdbError {
        TdbError::corrupt(&self.path, offset, rule)
    }

    pub(crate) fn invalid(&self, rule: &'static str) -> TdbError {
        TdbError::Invalid { path: self.path.clone(), rule }
    }

    pub(crate) fn check_chain(&self, chain: Chain) -> Result<(), TdbError> {
        if chain.0 < self.hash_size { Ok(()) } else { Err(self.invalid("no such chain")) }
    }

    pub(crate) fn check_writable(&self) -> Result<(), TdbError> {
        if self.read_only { Err(TdbError::ReadOnly { path: self.path.clone() }) } else { Ok(()) }
    }
}

impl Drop for Tdb {
    fn drop(&mut self) {
        if self.transaction.is_some() {
            self.cancel_transaction();
        }
        self.release_everything();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_move_between_threads() {
        fn is_send<T: Send>() {}
        is_send::<Tdb>();
    }
}
