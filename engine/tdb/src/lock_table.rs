//! Which data locks a handle holds; neither fcntl locks nor mutexes can be asked (tdb §6.4).

use crate::database::Chain;
use crate::mutex_area::Mutex;
use crate::range_lock::{FREE_LIST, LockKind, Range};
use std::collections::HashMap;

/// A list of records that has a lock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Free,
    Chain(Chain),
}

#[derive(Debug, Default)]
pub(crate) struct LockTable {
    pub(crate) held: Vec<Held>,
    pub(crate) all: Option<AllHeld>,
    /// Mutexes that somebody waits for on behalf of this handle, by chain.
    pub(crate) waits: HashMap<Chain, Mutex>,
    /// Mutexes for which this handle has consumed a wake-up and not yet passed it on, by chain.
    pub(crate) debts: HashMap<Chain, Mutex>,
    /// Locks that were gone when they should have been released; see `Tdb::lost_locks_count`.
    pub(crate) lost_count: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) list: List,
    pub(crate) kind: LockKind,
    pub(crate) count: u32,
}

/// The lock of the whole database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllHeld {
    pub(crate) kind: LockKind,
    pub(crate) count: u32,
    /// Held by a transaction: shared with readers until the commit, but its own writes are buffered.
    pub(crate) upgradable: bool,
    /// Another handle really holds it on this handle's behalf.
    pub(crate) marked: bool,
}

impl List {
    /// Lock byte, 4 below the head's address.
    pub(crate) fn byte(self) -> u32 {
        match self {
            Self::Free => FREE_LIST,
            Self::Chain(chain) => FREE_LIST + 4 + 4 * chain.0,
        }
    }

    pub(crate) fn range(self) -> Range {
        Range::byte(self.byte())
    }

    pub(crate) fn mutex(self) -> Mutex {
        match self {
            Self::Free => Mutex::FreeList,
            Self::Chain(chain) => Mutex::Chain(chain.0),
        }
    }
}

impl LockTable {
    pub(crate) fn find(&mut self, list: List) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.list == list)
    }

    pub(crate) fn holds(&self, list: List) -> bool {
        self.held.iter().any(|held| held.list == list)
    }

    pub(crate) fn holds_any_chain(&self) -> bool {
        self.held.iter().any(|held| matches!(held.list, List::Chain(_)))
    }

    /// True if some data lock is held, so that a recovery cannot have become necessary since.
    pub(crate) fn holds_data(&self) -> bool {
        !self.held.is_empty() || self.all.is_some()
    }
}

/// The kernel releases at most 2048 mutexes of a thread that dies (P9); a thread may have several
/// handles.
pub(crate) const HELD_COUNT_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_bytes_lie_four_below_the_heads() {
        assert_eq!(List::Free.byte(), 164);
        assert_eq!(List::Chain(Chain(0)).byte(), 168);
        assert_eq!(List::Chain(Chain(29)).byte(), 284);
    }
}
