//! The LMASTER's handshake that deletes a record from all nodes.
//!
//! A deleted record leaves a tombstone at its owner and may leave older, non-empty copies
//! elsewhere. Whatever node dies at whatever moment, recovery by highest RSN must not bring one of
//! those back (database semantics §6.6). Hence three steps, each begun when the one before is
//! acknowledged by every other node:
//!
//! 1. `Bury`: every copy becomes a tombstone with an RSN above all older versions;
//! 2. `Forget`: the tombstones of the others are deleted;
//! 3. `PurgeLast`: the owner deletes its own.
//!
//! After any prefix of this the surviving copies hold a tombstone that wins, or nothing at all.
//! A change of members, a busy chain or a revived record ends the handshake; the owner tries again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bateria_wire::{Pnn, Rsn};

/// One record's way out.
pub(crate) struct Purge {
    owner: Pnn,
    rsn: Rsn,
    others: Vec<Pnn>,
    step: Step,
    awaited: Vec<Pnn>,
    held: VecDeque<(Pnn, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Bury,
    Forget,
    Last,
}

/// What an acknowledgement leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Others are still awaited, or the answer belongs to an earlier attempt.
    Wait,
    /// Every other node has done this step: go on with the next.
    Next(Step),
    /// A node could not; the owner may try again later.
    Refused,
}

impl Purge {
    /// `others`: every node but the owner that may hold a copy.
    pub(crate) fn new(owner: Pnn, rsn: Rsn, others: Vec<Pnn>) -> Self {
        let step = if others.is_empty() { Step::Last } else { Step::Bury };
        Self { owner, rsn, awaited: others.clone(), others, step, held: VecDeque::new() }
    }

    pub(crate) fn owner(&self) -> Pnn {
        self.owner
    }

    pub(crate) fn rsn(&self) -> Rsn {
        self.rsn
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    pub(crate) fn others(&self) -> &[Pnn] {
        &self.others
    }

    /// Keeps a node that wants the record until the handshake has ended.
    pub(crate) fn hold(&mut self, from: Pnn, only_read: bool) {
        self.held.push_back((from, only_read));
    }

    pub(crate) fn into_held(self) -> Vec<(Pnn, bool)> {
        self.held.into()
    }

    pub(crate) fn acknowledged(&mut self, from: Pnn, step: Step, rsn: Rsn, done: bool) -> Progress {
        if step != self.step || rsn != self.rsn {
            return Progress::Wait;
        }
        let Some(index) = self.awaited.iter().position(|node| *node == from) else {
            return Progress::Wait;
        };
        if !done {
            return Progress::Refused;
        }
        self.awaited.swap_remove(index);
        if !self.awaited.is_empty() {
            return Progress::Wait;
        }
        match self.step {
            Step::Bury => {
                self.step = Step::Forget;
                self.awaited.clone_from(&self.others);
            }
            Step::Forget => self.step = Step::Last,
            Step::Last => return Progress::Wait,
        }
        Progress::Next(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn purge() -> Purge {
        Purge::new(Pnn(0), Rsn(9), vec![Pnn(1), Pnn(2)])
    }

    #[test]
    fn every_step_waits_for_all_others() {
        let mut purge = purge();
        let mut answer = |from, step| purge.acknowledged(from, step, Rsn(9), true);
        assert_eq!(answer(Pnn(1), Step::Bury), Progress::Wait);
        assert_eq!(answer(Pnn(2), Step::Bury), Progress::Next(Step::Forget));
        assert_eq!(answer(Pnn(2), Step::Forget), Progress::Wait);
        assert_eq!(answer(Pnn(1), Step::Forget), Progress::Next(Step::Last));
    }

    #[test]
    fn one_that_cannot_ends_it() {
        assert_eq!(purge().acknowledged(Pnn(1), Step::Bury, Rsn(9), false), Progress::Refused);
    }

    #[test]
    fn answers_to_an_earlier_attempt_count_for_nothing() {
        let mut purge = purge();
        assert_eq!(purge.acknowledged(Pnn(1), Step::Bury, Rsn(7), false), Progress::Wait);
        assert_eq!(purge.acknowledged(Pnn(1), Step::Forget, Rsn(9), false), Progress::Wait);
        assert_eq!(purge.acknowledged(Pnn(3), Step::Bury, Rsn(9), false), Progress::Wait);
    }

    #[test]
    fn a_record_that_was_never_shared_goes_at_once() {
        assert_eq!(Purge::new(Pnn(0), Rsn(9), vec![]).step(), Step::Last);
    }
}
