//! What a node and a database can be, as the clients' protocol encodes it.

use bitflags::bitflags;

bitflags! {
    /// State of a node (client protocol §1.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct NodeFlags: u32 {
        const DISCONNECTED = 0x01;
        const UNHEALTHY = 0x02;
        const PERMANENTLY_DISABLED = 0x04;
        const BANNED = 0x08;
        const DELETED = 0x10;
        const STOPPED = 0x20;
        /// Not part of the cluster's databases.
        const INACTIVE = 0x39;
    }
}

impl NodeFlags {
    #[must_use]
    pub fn is_active(self) -> bool {
        !self.intersects(Self::INACTIVE)
    }
}

/// How a database keeps its records (database semantics §0.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DbKind {
    /// One writable copy of each record, which migrates.
    Volatile,
    /// A full copy on every node, on disk before a commit is acknowledged.
    Persistent,
    /// Like persistent, but emptied at the daemon's start and never synced.
    Replicated,
}

impl DbKind {
    /// The kind's bit in the flags of GET_DBMAP.
    #[must_use]
    pub fn flag(self) -> u8 {
        match self {
            Self::Volatile => 0,
            Self::Persistent => 0x1,
            Self::Replicated => 0x8,
        }
    }

    /// The kind that flags of GET_DBMAP describe.
    #[must_use]
    pub fn from_flags(flags: u8) -> Self {
        if flags & 0x1 != 0 {
            Self::Persistent
        } else if flags & 0x8 != 0 {
            Self::Replicated
        } else {
            Self::Volatile
        }
    }
}
