//! Lists of nodes: ascending, on the wire as plain numbers, in the log as words.

use alloc::vec::Vec;
use bateria_wire::Pnn;
use core::fmt;

/// Shows nodes as `0 1 2`.
pub(super) struct Pnns<'a>(pub(super) &'a [Pnn]);

impl fmt::Display for Pnns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pnn) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{pnn}")?;
        }
        Ok(())
    }
}

pub(super) fn to_wire(nodes: &[Pnn]) -> Vec<u32> {
    nodes.iter().map(|pnn| pnn.0).collect()
}

pub(super) fn from_wire(nodes: &[u32]) -> Vec<Pnn> {
    nodes.iter().copied().map(Pnn).collect()
}
