//! TDB files, shared live with libtdb.
//!
//! A `Tdb` is a hash table in a file that any number of processes map and change at the same
//! time. This crate reads, writes and locks such files as libtdb 1.4 does, byte for byte, and
//! adds what a daemon needs: locks that never block a thread, handles per thread, and errors that
//! name file, offset and rule.
//!
//! # Where the time goes
//!
//! Measured beside libtdb by `bateria-perf tdb`:
//!
//! - Small records in a large file: a chain is a list, and every step waits for memory (two hundred
//!   nanoseconds where nothing is cached). Lock, head and first record are asked for at once; the
//!   rest of the chain comes one after the other, as the format has it.
//! - Files without mutexes: two system calls for the lock of a chain; nothing else counts beside them.
//! - Files with mutexes: two atomic operations of the C library, and the cache line of the mutex.
//! - Large values: the bandwidth of memory. They are copied once, and written past the cache.
//! - Commits: the syncs, on a disk; else passing through the mutexes of all chains, twice.
//!
//! References of the form "tdb §7.3" mean the format description in `docs/tdb-format.md`.

mod all_lock;
mod allocate;
mod area;
mod backup;
mod blocks;
mod chain_lock;
mod chain_wait;
mod check;
mod check_links;
mod database;
mod delete;
mod dump;
mod error;
mod escape;
#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod fake_kill;
mod find;
mod flags;
mod free_list;
mod free_search;
mod free_trail;
pub mod hash;
mod header;
mod header_facts;
mod image;
mod keys;
#[cfg(feature = "libtdb")]
pub mod libtdb;
mod list;
mod lock_table;
mod loop_guard;
mod many_chains;
mod mapping;
mod mend;
mod mutex_area;
mod open;
mod range_lock;
mod record;
mod recovery_area;
mod repack;
mod rescue;
mod restore;
mod salvage;
#[cfg(test)]
mod scratch;
mod sequence;
mod space;
mod store;
mod streaming;
mod summary;
mod tail_space;
mod transaction;
mod transaction_blocks;
mod transfer;
mod traverse;
mod view;
mod wipe;

pub use backup::{BackupOptions, backup};
pub use chain_wait::{ChainWait, FutexWord};
pub use check::{Advice, CheckReport, Fault};
pub use database::{Chain, Tdb};
pub use dump::{Spelling, write_record};
pub use error::TdbError;
pub use escape::{unescape, write_escaped};
pub use find::RecordData;
pub use flags::TdbFlags;
pub use hash::HashKind;
pub use header_facts::HeaderFacts;
pub use list::Listed;
pub use mapping::survive_truncation;
pub use open::OpenOptions;
pub use range_lock::{Attempt, LockKind, block_on_fcntl, block_on_fcntl_unless};
pub use record::{Kind, RecordHeader};
pub use restore::{restore, restore_into};
pub use salvage::salvage;
pub use store::StoreMode;
pub use summary::{Summary, Tally};
pub use transaction::Transaction;
pub use transfer::TransferError;
pub use traverse::{Visit, VisitAndChange};
