//! "Every leader and every configuration has a number that only grows" (design §5).

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;

pub(super) struct GenerationsGrow {
    /// Without quorum a restarted node may lead itself with an old number until it meets the rest.
    pub(super) everywhere: bool,
}

impl Invariant for GenerationsGrow {
    fn rule(&self) -> &'static str {
        "a generation that comes into force is newer than those in force, or one of them"
    }

    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        let committed = step.effects.iter().find_map(|effect| match effect {
            Effect::Commit(prospect) => Some(prospect),
            _ => None,
        });
        let Some(prospect) = committed else { return Ok(()) };
        let own = &truth.node(step.pnn).committed;
        if !own.is_sorted_by(|older, newer| older < newer) {
            return Err(format!("node {} committed {own:?}", step.pnn));
        }
        let together =
            truth.active().filter(|(_, _, other)| self.everywhere && other.has(step.pnn));
        for (pnn, _, other) in together {
            if other.generation > prospect.generation {
                return Err(format!(
                    "node {} commits {} while node {pnn} is at {} with it",
                    step.pnn, prospect.generation, other.generation
                ));
            }
        }
        Ok(())
    }
}
