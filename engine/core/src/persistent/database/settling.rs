//! Making all copies equal: the three parts a node can have in it, wired to its jobs and frames.

use super::{Database, State, Step};
use crate::persistent::coordinator::Verdict;
use crate::persistent::jobs::Purpose;
use crate::persistent::receiving::Receiving;
use crate::persistent::sending::Sending;
use crate::persistent::{Contents, Cursor, Job, Outcome, Reason};
use alloc::vec::Vec;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::PersistentOp;
use bateria_wire::{Generation, Pnn};

impl Database {
    /// A member's copy has been digested, as far as its coordinator hears.
    pub(in crate::persistent) fn report(
        &mut self,
        from: Pnn,
        contents: Option<Contents>,
        step: &mut Step<'_>,
    ) {
        if self.state != State::Settling {
            return;
        }
        if contents.is_none() && self.coordinator.distributes(from) {
            // Its digest has read the same records, so this one broke just now; it has no copy in
            // the next generation.
            step.effects.request_recovery(Reason::SourceFailed { db: self.id, node: from });
            return;
        }
        self.coordinator.report(from, contents);
        self.coordinate(step);
    }

    pub(super) fn settling_frame(
        &mut self,
        from: Pnn,
        op: PersistentOp,
        bulk: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), FrameFault> {
        match op {
            PersistentOp::Digest { sequence_number, digest, updated_in } => {
                let updated_in = Generation(updated_in);
                self.report(from, Some(Contents { sequence_number, digest, updated_in }), step);
            }
            PersistentOp::NoCopy => self.report(from, None, step),
            PersistentOp::Distribute => {
                only_the_coordinator(from, step)?;
                if self.sending.is_some() {
                    return Err(FrameFault::Meaning { rule: "a copy is distributed once" });
                }
                self.sending = Some(Sending::new(targets(bulk, step)?));
                self.read_on(step);
            }
            PersistentOp::Fill { part, last, updated_in } => {
                let updated_in = Generation(updated_in);
                let arrived = Receiving { source: from, part, is_last: last, updated_in };
                self.keep_part(arrived, bulk, step)?;
            }
            PersistentOp::FillNext { part } => {
                if self.coordinator_deadline_ms.is_some() {
                    self.coordinator_deadline_ms = Some(step.deadline_ms());
                }
                if let Some(sending) = &mut self.sending {
                    sending.kept(from, part);
                    self.read_on(step);
                }
            }
            PersistentOp::Filled { status } => {
                if let Some(sending) = &mut self.sending {
                    sending.leaves(from);
                    self.read_on(step);
                }
                if self.state == State::Settling {
                    self.coordinator.filled(from, status == 0);
                    self.coordinate(step);
                }
            }
            PersistentOp::Settled { whole } => {
                only_the_coordinator(from, step)?;
                if self.state == State::Settling {
                    self.state = State::Settled { whole };
                    self.release(step);
                }
            }
            PersistentOp::Update { .. } | PersistentOp::Updated { .. } => {
                unreachable!("the caller keeps these")
            }
        }
        Ok(())
    }

    pub(super) fn settling_job_done(
        &mut self,
        purpose: Purpose,
        outcome: Outcome,
        step: &mut Step<'_>,
    ) {
        match (purpose, outcome) {
            (Purpose::Digest, Outcome::Digested(contents)) => {
                self.contents = Some(contents);
                let Contents { sequence_number, digest, updated_in } = contents;
                let updated_in = updated_in.0;
                let op = PersistentOp::Digest { sequence_number, digest, updated_in };
                self.tell_coordinator(op, step);
            }
            (Purpose::Read, Outcome::Part { records, next }) => {
                self.send_part(&records, next, step);
            }
            // A copy that cannot be read, now or half-way, is no copy.
            (Purpose::Digest | Purpose::Read, _) => {
                self.sending = None;
                self.tell_coordinator(PersistentOp::NoCopy, step);
            }
            (Purpose::Stage | Purpose::Install, outcome) => {
                self.part_kept(purpose, outcome == Outcome::Done, step);
            }
            (Purpose::Update { .. }, _) => unreachable!("the caller keeps these"),
        }
    }

    pub(super) fn coordinator_tick(&mut self, step: &mut Step<'_>) {
        if self.coordinator_deadline_ms.is_some_and(|deadline_ms| deadline_ms <= step.now_ms) {
            self.coordinator_deadline_ms = Some(step.deadline_ms());
            let configuration = step.configuration;
            let silent = self.coordinator.silent_member(configuration);
            let reason =
                Reason::SettleTimedOut { db: self.id, node: silent.unwrap_or(configuration.own) };
            step.effects.request_recovery(reason);
        }
    }

    /// Acts on what the coordinator of this node knows, if this node is the one.
    fn coordinate(&mut self, step: &mut Step<'_>) {
        let configuration = step.configuration;
        if configuration.coordinator() != Some(configuration.own) {
            return;
        }
        self.coordinator_deadline_ms = Some(step.deadline_ms());
        match self.coordinator.decide(configuration, self.kind) {
            Verdict::Wait => {}
            Verdict::Distribute { source, targets } => {
                let bulk: Vec<u8> = targets.iter().flat_map(|node| node.0.to_le_bytes()).collect();
                self.deliver(source, PersistentOp::Distribute, &bulk, step);
            }
            Verdict::Settled { whole } => {
                self.coordinator_deadline_ms = None;
                for member in &configuration.members {
                    self.deliver(*member, PersistentOp::Settled { whole }, &[], step);
                }
            }
        }
    }

    fn tell_coordinator(&mut self, op: PersistentOp, step: &mut Step<'_>) {
        let coordinator = step.configuration.coordinator();
        self.deliver(coordinator.expect("a digest has members"), op, &[], step);
    }

    /// Reads the next part when everybody is ready for it, this node too.
    pub(super) fn read_on(&mut self, step: &mut Step<'_>) {
        if let Some(from) = self.sending.as_ref().and_then(Sending::next_read)
            && self.jobs.is_idle()
        {
            self.start_job(Purpose::Read, Job::Read { from }, step);
        }
    }

    fn send_part(&mut self, records: &[u8], next: Option<Cursor>, step: &mut Step<'_>) {
        let Some(sending) = &mut self.sending else { return };
        let part = sending.part_read(next);
        let targets: Vec<Pnn> = sending.targets().collect();
        let updated_in = self.contents.map_or(Generation::INVALID, |contents| contents.updated_in);
        let op = PersistentOp::Fill { part, last: next.is_none(), updated_in: updated_in.0 };
        for target in targets {
            self.deliver(target, op, records, step);
        }
    }

    fn keep_part(
        &mut self,
        arrived: Receiving,
        part: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), FrameFault> {
        if !self.jobs.is_idle() || self.state != State::Settling {
            return Err(FrameFault::Meaning { rule: "a part of a copy is sent when asked for" });
        }
        let receiving = Receiving::after(self.receiving.as_ref(), arrived)?;
        self.receiving = Some(receiving);
        let first = receiving.part == 0;
        self.start_job(Purpose::Stage, Job::Stage { part, first }, step);
        Ok(())
    }

    /// A part is staged, or the copy installed; or this node cannot do it.
    fn part_kept(&mut self, purpose: Purpose, done: bool, step: &mut Step<'_>) {
        let Some(Receiving { source, part, is_last, updated_in }) = self.receiving else { return };
        if done && purpose == Purpose::Stage && is_last {
            self.start_job(Purpose::Install, Job::Install { updated_in }, step);
            return;
        }
        let op = if done && purpose == Purpose::Stage {
            PersistentOp::FillNext { part }
        } else {
            self.receiving = None;
            PersistentOp::Filled { status: if done { 0 } else { -1 } }
        };
        self.deliver(source, op, &[], step);
        if step.configuration.coordinator() != Some(source) {
            self.tell_coordinator(op, step);
        }
    }
}

/// Nodes that a `Distribute` frame names.
fn targets(bulk: &[u8], step: &Step<'_>) -> Result<Vec<Pnn>, FrameFault> {
    let (numbers, rest) = bulk.as_chunks::<4>();
    let targets: Vec<Pnn> = numbers.iter().map(|number| Pnn(u32::from_le_bytes(*number))).collect();
    let are_others = targets
        .iter()
        .all(|target| *target != step.configuration.own && step.configuration.has_member(*target));
    let is_sound = rest.is_empty() && are_others && targets.is_sorted_by(|a, b| a < b);
    if is_sound {
        Ok(targets)
    } else {
        Err(FrameFault::Meaning { rule: "a copy is distributed to other members" })
    }
}

fn only_the_coordinator(from: Pnn, step: &Step<'_>) -> Result<(), FrameFault> {
    if step.configuration.coordinator() == Some(from) {
        Ok(())
    } else {
        Err(FrameFault::Meaning { rule: "only the first member coordinates copies" })
    }
}
