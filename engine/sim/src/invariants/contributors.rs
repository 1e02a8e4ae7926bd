//! "Any node not part of the latest generation when a recovery starts contributes nothing"
//! (database semantics §5.7); "pull only from the nodes with the newest committed generation"
//! (§5.9, W8); "no data from an excluded node enters a volatile database" (§10.7 Q6).

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::{Effect, RebuildOrder};
use bateria_wire::{Generation, Pnn};
use std::collections::BTreeMap;

/// What each node held when it prepared for a generation; it cannot change until the rebuild.
pub(super) struct Contributors {
    spares_nodes_in_force: bool,
    prepared: BTreeMap<(Generation, Pnn), Held>,
    chosen: BTreeMap<Generation, Vec<Pnn>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    committed: Option<Generation>,
    rebuilt: Option<Generation>,
}

impl Invariant for Contributors {
    fn rule(&self) -> &'static str {
        "only nodes with the newest data that were in force contribute, and those in force do"
    }

    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            match effect {
                Effect::Quiesce(prospect) => {
                    let node = truth.node(step.pnn);
                    let committed = node.active.as_ref().map(|active| active.generation);
                    let held = Held { committed, rebuilt: node.rebuilt };
                    self.prepared.insert((prospect.generation, step.pnn), held);
                }
                Effect::Rebuild(order) => self.judge(order)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Contributors {
    /// Without quorum a node in force may have to give way to those who went on without it.
    pub(super) fn new(spares_nodes_in_force: bool) -> Self {
        Self { spares_nodes_in_force, prepared: BTreeMap::new(), chosen: BTreeMap::new() }
    }

    fn judge(&mut self, order: &RebuildOrder) -> Result<(), String> {
        let generation = order.prospect.generation;
        let chosen = self.chosen.entry(generation).or_insert_with(|| order.contributors.clone());
        if *chosen != order.contributors {
            return Err(format!("generation {generation} has two lists of contributors"));
        }
        let held = |pnn: &Pnn| self.prepared.get(&(generation, *pnn)).copied();
        let members = &order.prospect.members;
        let newest = members.iter().filter_map(|pnn| held(pnn)?.committed).max();
        for pnn in members {
            let Some(held) = held(pnn) else {
                return Err(format!("member {pnn} of {generation} did not prepare"));
            };
            let contributes = order.contributors.contains(pnn);
            let complete = newest.is_some() && held.rebuilt >= newest;
            let in_force = newest.is_some() && held.committed == newest;
            let needed = in_force && self.spares_nodes_in_force;
            if contributes && !complete || needed && !contributes {
                return Err(format!(
                    "member {pnn} of {generation} contributes: {contributes}, but it has {held:?} \
                     and the newest in force was {newest:?}"
                ));
            }
        }
        Ok(())
    }
}
