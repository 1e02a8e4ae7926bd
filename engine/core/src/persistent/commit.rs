//! The one commit that a node may have under way on a database.

use crate::record::Caller;
use alloc::vec::Vec;
use bateria_wire::Pnn;

/// A client's TRANS3_COMMIT between its arrival and its answer.
///
/// ```text
///              copies equal                   all members have it
///   Parked ---------------------> Active ---------------------------> answered 0
///     |                             | a member fails, time-out, new generation
///     | too long                    v
///     +--> answered -1            Ended ---- copies equal again ----> answered 2
/// ```
#[derive(Debug)]
pub(super) enum Commit {
    /// Waits for the copies to be equal. Failing it instead would make clients send it again at
    /// once and without end (client protocol §7.6).
    Parked { caller: Caller, buffer: Vec<u8>, deadline_ms: u64 },
    /// Sent to all members; `waiting` have not answered yet.
    Active { caller: Caller, transaction: u64, waiting: Vec<Pnn>, deadline_ms: u64 },
    /// Some members may have it. The client compares sequence numbers when the copies are equal.
    Ended { caller: Caller, deadline_ms: u64 },
}

impl Commit {
    pub(super) fn caller(&self) -> Caller {
        match self {
            Self::Parked { caller, .. }
            | Self::Active { caller, .. }
            | Self::Ended { caller, .. } => *caller,
        }
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        match self {
            Self::Parked { deadline_ms, .. }
            | Self::Active { deadline_ms, .. }
            | Self::Ended { deadline_ms, .. } => *deadline_ms,
        }
    }
}

/// Every member has it on disk.
pub(super) const STATUS_DONE: i32 = 0;
/// Nothing was sent to anybody.
pub(super) const STATUS_REFUSED: i32 = -1;
/// The client is to look which sequence number its node has now.
pub(super) const STATUS_ENDED_BY_RECOVERY: i32 = 2;
pub(super) const TEXT_ENDED_BY_RECOVERY: &str = "trans3 commit ended by recovery";
