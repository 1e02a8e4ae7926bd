//! "Two sides are never both active" (design §5). "The losing side must freeze and invalidate
//! volatile databases within the lease time" (database semantics §10.3).

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};

pub(super) struct OneSide;

impl Invariant for OneSide {
    fn rule(&self) -> &'static str {
        "a node outside of the newest generation in force serves nobody"
    }

    fn check(&mut self, truth: &Truth, _step: &Step<'_>) -> Result<(), String> {
        let Some((newest_at, _, newest)) = truth.active().max_by_key(|(.., p)| p.generation) else {
            return Ok(());
        };
        for (pnn, _, prospect) in truth.active() {
            if prospect.generation < newest.generation && !newest.has(pnn) {
                return Err(format!(
                    "node {pnn} serves in generation {}, node {newest_at} in {} with members {:?}",
                    prospect.generation, newest.generation, newest.members
                ));
            }
            if prospect.generation == newest.generation && prospect != newest {
                return Err(format!("generation {} has two faces", newest.generation));
            }
        }
        Ok(())
    }
}
