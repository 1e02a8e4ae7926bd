//! The cluster's header of a record, without its layout in the file.

use bateria_wire::{Pnn, Rsn};
use bitflags::bitflags;

bitflags! {
    /// Flags in a record's header (database semantics §1.2). Bits that are not ours travel with
    /// the record untouched: newer clients own some of them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RecordFlags: u32 {
        /// Another node may hold a non-empty copy, so deletion needs all nodes.
        const MIGRATED_WITH_DATA = 0x0001_0000;
        const _ = !0;
    }
}

/// Whose the record is, and which version of it this copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub rsn: Rsn,
    pub dmaster: Pnn,
    pub flags: RecordFlags,
}
