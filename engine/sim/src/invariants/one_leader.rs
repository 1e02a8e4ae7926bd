//! "At most one leader in a term" (Raft §5.2), so a generation's number says who made it.

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;
use bateria_wire::Pnn;
use bateria_wire::control::ControlHead;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct OneLeader {
    leaders: BTreeMap<u32, Pnn>,
}

impl Invariant for OneLeader {
    fn rule(&self) -> &'static str {
        "a term has one leader"
    }

    fn check(&mut self, _truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        for effect in step.effects {
            let Effect::Send { head: ControlHead::Heartbeat(beat), .. } = effect else { continue };
            if beat.leader != step.pnn.0 {
                continue;
            }
            let leader = self.leaders.entry(beat.term).or_insert(step.pnn);
            if *leader != step.pnn {
                return Err(format!("nodes {leader} and {} lead term {}", step.pnn, beat.term));
            }
        }
        Ok(())
    }
}
