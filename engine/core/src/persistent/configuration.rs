//! The cluster as a generation makes it.

use alloc::vec::Vec;
use bateria_wire::{Generation, Pnn};

/// The generation and what is known of it so far.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) own: Pnn,
    pub(super) generation: Generation,
    /// Active nodes in ascending order; empty until the generation is being rebuilt.
    pub(super) members: Vec<Pnn>,
    /// Members whose replicated databases count.
    pub(super) contributors: Vec<Pnn>,
    /// Whether the leader has made the generation the cluster's.
    pub(super) is_committed: bool,
}

impl Configuration {
    pub(super) fn none(own: Pnn) -> Self {
        Self {
            own,
            generation: Generation::INVALID,
            members: Vec::new(),
            contributors: Vec::new(),
            is_committed: false,
        }
    }

    /// The member that compares the copies; none before the members are known.
    pub(super) fn coordinator(&self) -> Option<Pnn> {
        self.members.first().copied()
    }

    pub(super) fn is_rebuilding(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn has_member(&self, node: Pnn) -> bool {
        self.members.binary_search(&node).is_ok()
    }
}
