//! Volatile records in the simulated world: the daemon's record machines over files in memory,
//! used by processes that work as smbd does.
//!
//! ```text
//!   Smbd        locks a chain, reads, changes, unlocks; calls when the record is elsewhere
//!   Files       one node's file: records and chain locks, shared by clients and shards
//!   Shard       a record machine; each serves a part of the chains
//!   History     every version of every record ever written, to judge what may be read
//! ```

mod attaching;
mod files;
mod history;
mod shard;
mod smbd;
mod work;

pub use attaching::{Attaching, Waiter};
pub use files::{CHAINS_COUNT, Files, Holder};
pub use history::{History, Life};
pub use shard::{Answer, Outgoing, Shard};
pub use smbd::{Job, Smbd, State};
pub use work::Work;

use bateria_core::record::Key;
use bateria_wire::DbId;

/// The one database of the simulated world.
pub const DB: DbId = DbId(0x7a19_d84d);

/// Keys of the simulated world are numbers, and their own hash.
#[must_use]
pub fn key_of(bytes: &[u8; 4]) -> Key<'_> {
    Key { hash: u32::from_le_bytes(*bytes), bytes }
}
