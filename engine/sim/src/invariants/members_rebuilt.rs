//! "Each of them has the complete result, and nobody could modify anything before" (database
//! semantics §5.9): a generation is in force only after all its members were rebuilt.

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;
use bateria_wire::{Generation, Pnn};
use std::collections::BTreeMap;

/// Highest generation that any life of a node ever rebuilt.
#[derive(Default)]
pub(super) struct MembersRebuilt {
    rebuilt: BTreeMap<Pnn, Generation>,
}

impl Invariant for MembersRebuilt {
    fn rule(&self) -> &'static str {
        "a generation comes into force after all its members rebuilt it"
    }

    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        for (pnn, node) in &truth.nodes {
            if let Some(rebuilt) = node.rebuilt {
                self.rebuilt.insert(*pnn, rebuilt);
            }
        }
        for effect in step.effects {
            let Effect::Commit(prospect) = effect else { continue };
            for member in &prospect.members {
                let rebuilt = self.rebuilt.get(member);
                if rebuilt.is_none_or(|rebuilt| *rebuilt < prospect.generation) {
                    return Err(format!(
                        "node {} commits {}, member {member} has rebuilt {rebuilt:?}",
                        step.pnn, prospect.generation
                    ));
                }
            }
        }
        Ok(())
    }
}
