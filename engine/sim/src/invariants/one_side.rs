//! "Two sides are never both active" (design §5). "The losing side must freeze and invalidate
//! volatile databases within the lease time" (database semantics §10.3).
//!
//! A side is active from the moment when records of lost nodes get new owners: the rebuild.

use crate::invariants::Invariant;
use crate::truth::{NodeTruth, Step, Truth};
use bateria_core::cluster::Prospect;
use bateria_wire::Pnn;

pub(super) struct OneSide;

impl Invariant for OneSide {
    fn rule(&self) -> &'static str {
        "a node outside of the newest generation that moves records serves nobody"
    }

    fn check(&mut self, truth: &Truth, _step: &Step<'_>) -> Result<(), String> {
        let working = || truth.nodes.iter().filter(|(_, node)| node.lives && !node.stopped);
        let sides = working().filter_map(|(pnn, node)| Some((*pnn, newest(node)?)));
        let Some((at, front)) = sides.max_by_key(|(_, prospect)| prospect.generation) else {
            return Ok(());
        };
        for (pnn, node, _) in truth.active() {
            let Some(own) = newest(node) else { continue };
            judge(pnn, own, at, front)?;
        }
        Ok(())
    }
}

/// The generation that a node works in, or brings its data into.
fn newest(node: &NodeTruth) -> Option<&Prospect> {
    node.active.iter().chain(&node.entered).max_by_key(|prospect| prospect.generation)
}

fn judge(pnn: Pnn, own: &Prospect, at: Pnn, front: &Prospect) -> Result<(), String> {
    if own.generation < front.generation && !front.has(pnn) {
        return Err(format!(
            "node {pnn} serves in generation {}, node {at} moves records in {} with members {:?}",
            own.generation, front.generation, front.members
        ));
    }
    if own.generation == front.generation && own != front {
        return Err(format!("generation {} has two faces", front.generation));
    }
    Ok(())
}
