//! "Everything written by a surviving node is kept" (database semantics §1.6, Theorem L): volatile
//! data that clients use are never erased under them; their node is fenced first.

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;

pub(super) struct ClientsKeepData;

impl Invariant for ClientsKeepData {
    fn rule(&self) -> &'static str {
        "a node whose clients work is not wiped"
    }

    fn check(&mut self, truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        let wiped = step
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Rebuild(order) if order.wipe_own));
        let node = truth.node(step.pnn);
        if wiped && (node.active.is_some() || node.fencing) {
            return Err(format!("node {} is in force in {:?}", step.pnn, node.active));
        }
        Ok(())
    }
}
