//! Names of things that live in a ring.

use crate::slots::SlotKey;

/// Chosen by the caller and given back with every event: an index into the caller's own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Token(pub u64);

macro_rules! slot_ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        ///
        /// It names this one for good: after the end it names nothing, never a successor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) SlotKey);
    )+};
}

slot_ids! {
    /// A connection that the ring reads and writes.
    StreamId,
    /// A socket that the ring accepts connections from.
    ListenerId,
    /// A connection attempt.
    ConnectId,
    /// A wait for a futex.
    WaitId,
    /// A descriptor whose readiness the ring reports.
    WatchId,
    /// A receive of an exact count of bytes.
    ReceiveId,
}
