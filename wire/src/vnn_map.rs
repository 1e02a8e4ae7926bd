//! The VNN map: the active nodes over which record locations are hashed.

use crate::{Generation, Pnn};
use alloc::vec::Vec;

/// Generation and LMASTERs. `lmasters` is ascending and never empty on a running node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VnnMap {
    pub generation: Generation,
    pub lmasters: Vec<Pnn>,
}

impl VnnMap {
    /// The node that knows where a record is (database semantics §1.1). `key_hash` is the Jenkins
    /// hash of the key's bytes.
    #[must_use]
    pub fn lmaster(&self, key_hash: u32) -> Option<Pnn> {
        let count = u32::try_from(self.lmasters.len()).ok().filter(|count| *count > 0)?;
        self.lmasters.get((key_hash % count) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_hash_selects_a_slot_not_a_node_number() {
        let map = VnnMap { generation: Generation::first_of(1), lmasters: vec![Pnn(0), Pnn(2)] };
        assert_eq!(map.lmaster(5), Some(Pnn(2)));
        assert_eq!(map.lmaster(4), Some(Pnn(0)));
    }

    #[test]
    fn an_empty_map_knows_nobody() {
        assert_eq!(VnnMap::default().lmaster(1), None);
    }
}
