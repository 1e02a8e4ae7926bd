//! A generation as its leader announces it.

use alloc::vec::Vec;
use bateria_wire::{Generation, Pnn};

/// Number and nodes of a generation, in force or to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prospect {
    pub generation: Generation,
    /// Ascending.
    pub members: Vec<Pnn>,
    /// The members over which record locations are hashed, ascending; never empty in a generation.
    pub lmasters: Vec<Pnn>,
}

impl Prospect {
    #[must_use]
    pub fn has(&self, pnn: Pnn) -> bool {
        self.members.binary_search(&pnn).is_ok()
    }
}
