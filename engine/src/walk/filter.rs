//! Which records a walk shows.

use bateria_smbshim::ltdb_header::LtdbHeader;
use bateria_wire::{DbKind, Pnn};

/// Database semantics §7.2. What is too short for a header is never shown: a client would give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Of a volatile database: what this node owns, so that nothing is shown twice.
    Owned { by: Pnn, with_empty: bool },
    /// Of a persistent or replicated one: everything, tombstones and the sequence number included;
    /// clients sort that out.
    Everything,
}

impl Filter {
    #[must_use]
    pub fn new(kind: DbKind, own: Pnn, with_empty: bool) -> Self {
        match kind {
            DbKind::Volatile => Self::Owned { by: own, with_empty },
            DbKind::Persistent | DbKind::Replicated => Self::Everything,
        }
    }

    /// Whether a record with this stored value is shown.
    #[must_use]
    pub fn shows(self, stored: &[u8]) -> bool {
        let Ok((header, body)) = LtdbHeader::split(stored) else { return false };
        match self {
            Self::Owned { by, with_empty } => {
                header.dmaster == by && (with_empty || !body.is_empty())
            }
            Self::Everything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bateria_smbshim::fields::Layout;
    use bateria_wire::Rsn;

    fn stored(dmaster: u32, body: &[u8]) -> Vec<u8> {
        [&LtdbHeader::new(Rsn(1), Pnn(dmaster)).to_bytes(), body].concat()
    }

    #[test]
    fn only_the_owner_shows_a_volatile_record() {
        let filter = Filter::new(DbKind::Volatile, Pnn(2), false);
        assert!(filter.shows(&stored(2, b"body")));
        assert!(!filter.shows(&stored(1, b"body")));
        assert!(!filter.shows(&stored(2, b"")));
    }

    /// Scenario 58.
    #[test]
    fn the_owner_shows_its_tombstones_to_those_who_ask() {
        let filter = Filter::new(DbKind::Volatile, Pnn(2), true);
        assert!(filter.shows(&stored(2, b"")) && !filter.shows(&stored(1, b"")));
    }

    #[test]
    fn a_copy_shows_everything_that_has_a_header() {
        let filter = Filter::new(DbKind::Persistent, Pnn(2), false);
        assert!(filter.shows(&stored(7, b"")));
        assert!(!filter.shows(b"short"));
    }
}
