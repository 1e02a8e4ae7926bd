//! Identifiers: a type for each number of the field, so that none is taken for another.

use core::fmt;

/// Physical node number: the node's place in the nodes file, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pnn(pub u32);

/// Record sequence number; in recovery the copy with the highest one wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rsn(pub u64);

/// Database id: the Jenkins hash of the database's name including its NUL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DbId(pub u32);

/// Address of a message listener on a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Srvid(pub u64);

/// Number of a cluster configuration. It only grows: the leader's term in the high bits, a counter
/// in the low ones. Frames of another generation are refused.
///
/// ```text
/// bit 31..12  term      of the leader that made it
/// bit 11..0   counter   of that leader's configurations, from 1
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Pnn {
    /// "None", "not known": an unassigned address, no leader.
    pub const UNKNOWN: Self = Self(0xFFFF_FFFF);
    /// The node that the request reaches.
    pub const CURRENT: Self = Self(0xF000_0001);
    /// Every node that is not DELETED.
    pub const BROADCAST_ALL: Self = Self(0xF000_0002);
    /// Every node without an INACTIVE flag.
    pub const BROADCAST_ACTIVE: Self = Self(0xF000_0003);
    /// Every node neither DELETED nor DISCONNECTED, the sender included.
    pub const BROADCAST_CONNECTED: Self = Self(0xF000_0004);

    /// Whether this is a node's own number rather than one of the special ones.
    #[must_use]
    pub fn is_node(self) -> bool {
        self.0 < crate::limits::NODES_COUNT_MAX
    }

    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Generation {
    /// "No configuration yet" in the clients' protocol.
    pub const INVALID: Self = Self(1);
    pub const COUNTER_BITS: u32 = 12;
    pub const TERM_MAX: u32 = u32::MAX >> Self::COUNTER_BITS;
    const COUNTER_MAX: u32 = (1 << Self::COUNTER_BITS) - 1;

    /// The first configuration of a term; terms count from 1, so none equals `INVALID`.
    #[must_use]
    pub fn first_of(term: u32) -> Self {
        assert!((1..=Self::TERM_MAX).contains(&term), "terms count from 1 and fit 20 bits");
        Self(term << Self::COUNTER_BITS | 1)
    }

    #[must_use]
    pub fn term(self) -> u32 {
        self.0 >> Self::COUNTER_BITS
    }

    /// The next configuration of the same term, or `None` when the term's numbers are used up and
    /// its leader needs a new term.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        (self.0 & Self::COUNTER_MAX < Self::COUNTER_MAX).then_some(Self(self.0 + 1))
    }

    #[must_use]
    pub fn is_valid(self) -> bool {
        self != Self::INVALID && self.0 != 0
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::INVALID
    }
}

impl Srvid {
    /// Registering it means "give me every message"; it is no target.
    pub const ALL: Self = Self(u64::MAX);
    pub const RECONFIGURE: Self = Self(0xF200_0000_0000_0000);
    pub const RELEASE_IP: Self = Self(0xF300_0000_0000_0000);
    pub const TAKE_IP: Self = Self(0xF301_0000_0000_0000);
    pub const IPREALLOCATED: Self = Self(0xF302_0000_0000_0000);
    /// The leader's PNN once a second; the stock tool learns the leader from it alone.
    pub const LEADER: Self = Self(0xF101_0000_0000_0000);
    pub const MEM_DUMP: Self = Self(0xF800_0000_0000_0000);
    pub const TAKEOVER_RUN: Self = Self(0xFB00_0000_0000_0000);
    pub const DISABLE_TAKEOVER_RUNS: Self = Self(0xFB03_0000_0000_0000);
    pub const DISABLE_RECOVERIES: Self = Self(0xFB04_0000_0000_0000);
}

impl Rsn {
    /// Grows by one; 2^64 changes do not happen, and wrapping would resurrect old records.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a record changes fewer than 2^64 times"))
    }
}

macro_rules! shown_as {
    ($type:ty, $format:literal) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

shown_as!(Pnn, "{}");
shown_as!(Rsn, "{}");
shown_as!(DbId, "0x{:08x}");
shown_as!(Srvid, "0x{:x}");
shown_as!(Generation, "{}");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_grow_within_a_term_and_across_terms() {
        let first = Generation::first_of(3);
        let second = first.next().unwrap();
        assert!(first < second && second < Generation::first_of(4));
        assert_eq!(second.term(), 3);
    }

    #[test]
    fn a_term_ends_when_its_numbers_are_used_up() {
        let last = Generation(Generation::first_of(1).0 | 0xFFF);
        assert_eq!(last.next(), None);
    }

    #[test]
    fn no_generation_is_the_invalid_one() {
        assert!(Generation::first_of(1).is_valid());
        assert!(!Generation::default().is_valid());
    }
}
