//! F1: "before node A lets a query about node B fail as 'disconnected', B's clients must be unable
//! to modify any shared state" (database semantics §9.4).

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;

pub(super) struct Harmless;

impl Invariant for Harmless {
    fn rule(&self) -> &'static str {
        "a node is called harmless only when the life of it that was known has lost its clients"
    }

    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Harmless { nodes } = effect else { continue };
            for pnn in nodes {
                let served = truth.active().find(|(active, ..)| active == pnn);
                let Some((_, node, prospect)) = served else { continue };
                if step.knew.get(pnn) == Some(&node.incarnation) {
                    return Err(format!(
                        "node {} calls node {pnn} harmless, which serves in generation {}",
                        step.pnn, prospect.generation
                    ));
                }
            }
        }
        Ok(())
    }
}
