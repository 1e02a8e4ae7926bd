//! "One vote in each term" (Raft §5.2): a voter must not forget, not even by a crash.

use crate::invariants::Invariant;
use crate::truth::{Step, Truth};
use bateria_core::cluster::Effect;
use bateria_wire::Pnn;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct OneVote {
    /// For whom each node let itself be counted, by term.
    given: BTreeMap<(Pnn, u32), Pnn>,
}

impl Invariant for OneVote {
    fn rule(&self) -> &'static str {
        "a node votes once in a term"
    }

    fn check(&mut self, _truth: &Truth, step: &Step<'_>) -> Result<(), String> {
        use bateria_wire::control::ControlHead;
        for effect in step.effects {
            let Effect::Send { to, head: ControlHead::VoteAnswer(answer) } = effect else {
                continue;
            };
            if answer.probe || !answer.granted {
                continue;
            }
            let former = self.given.insert((step.pnn, answer.term), *to);
            if former.is_some_and(|former| former != *to) {
                return Err(format!(
                    "node {} votes for {to} in term {}, before for {former:?}",
                    step.pnn, answer.term
                ));
            }
        }
        Ok(())
    }
}
