//! One database on one node: its commit, its jobs and its part in making all copies equal.

mod settling;

use crate::persistent::commit::{
    Commit, STATUS_DONE, STATUS_ENDED_BY_RECOVERY, STATUS_REFUSED, TEXT_ENDED_BY_RECOVERY,
};
use crate::persistent::configuration::Configuration;
use crate::persistent::coordinator::Coordinator;
use crate::persistent::jobs::{Jobs, Next, Purpose, Running};
use crate::persistent::receiving::Receiving;
use crate::persistent::sending::Sending;
use crate::persistent::{Contents, Effects, Job, JobFault, JobId, Outcome, Reason, Settings};
use crate::record::Caller;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::{Head, PersistentHead, PersistentOp};
use bateria_wire::{DbId, DbKind, Pnn};

#[derive(Debug)]
pub(super) struct Database {
    id: DbId,
    kind: DbKind,
    state: State,
    commit: Option<Commit>,
    jobs: Jobs,
    /// The driver was told that the copy failed.
    is_broken: bool,
    /// What the own copy held when this generation began.
    contents: Option<Contents>,
    coordinator: Coordinator,
    /// When the coordinator loses patience with a member.
    coordinator_deadline_ms: Option<u64>,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
}

/// Whether the copies of all members are known to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not yet in this generation.
    Settling,
    Settled {
        whole: bool,
    },
    /// Not any more: a commit went wrong, and a new generation is asked for.
    Spoiled,
}

/// What a step has at hand.
pub(super) struct Step<'a> {
    pub(super) now_ms: u64,
    pub(super) configuration: &'a Configuration,
    pub(super) settings: &'a Settings,
    /// Source of names for jobs and transactions.
    pub(super) last_number: &'a mut u64,
    pub(super) effects: &'a mut dyn Effects,
}

impl Database {
    pub(super) fn new(id: DbId, kind: DbKind) -> Self {
        Self {
            id,
            kind,
            state: State::Settling,
            commit: None,
            jobs: Jobs::default(),
            is_broken: false,
            contents: None,
            coordinator: Coordinator::default(),
            coordinator_deadline_ms: None,
            sending: None,
            receiving: None,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let commit = self.commit.as_ref().map(Commit::deadline_ms);
        commit.into_iter().chain(self.coordinator_deadline_ms).min()
    }

    /// Takes a client's commit.
    pub(super) fn commit(&mut self, caller: Caller, buffer: &[u8], step: &mut Step<'_>) {
        if self.commit.is_some() {
            // Clients take turns by a lock of their own. Whoever does not is told at once
            // (database semantics §4.3, scenario 35).
            step.effects.reply(caller, STATUS_REFUSED, "");
        } else if self.is_open(step) {
            self.send_update(caller, buffer, step);
        } else {
            let buffer = buffer.to_vec();
            self.commit = Some(Commit::Parked { caller, buffer, deadline_ms: step.deadline_ms() });
        }
    }

    /// A client's session has ended.
    pub(super) fn caller_gone(&mut self, session: u64, step: &mut Step<'_>) {
        let of_session = |commit: &mut Commit| commit.caller().session == session;
        let Some(commit) = self.commit.take_if(of_session) else { return };
        if matches!(commit, Commit::Active { .. }) {
            // Its lock is free now, so the next client may commit before this update is through
            // (database semantics §4.3.4).
            self.spoil(Reason::ClientLeft { db: self.id }, step);
        }
    }

    /// The database leaves this node.
    pub(super) fn detach(mut self, step: &mut Step<'_>) {
        if let Some(commit) = self.commit.take() {
            step.effects.reply(commit.caller(), STATUS_REFUSED, "");
        }
    }

    /// Whether the session waits for an answer.
    pub(super) fn serves(&self, session: u64) -> bool {
        self.commit.as_ref().is_some_and(|commit| commit.caller().session == session)
    }

    /// The current generation has ended.
    pub(super) fn quiesce(&mut self, step: &Step<'_>) {
        self.jobs.drop_waiting();
        self.state = State::Settling;
        self.contents = None;
        self.coordinator = Coordinator::default();
        self.coordinator_deadline_ms = None;
        self.sending = None;
        self.receiving = None;
        if let Some(Commit::Active { caller, .. } | Commit::Ended { caller, .. }) = self.commit {
            self.commit = Some(Commit::Ended { caller, deadline_ms: step.deadline_ms() });
        }
    }

    /// The members of the generation are known.
    pub(super) fn rebuild(&mut self, step: &mut Step<'_>) {
        if step.configuration.coordinator() == Some(step.configuration.own) {
            self.coordinator_deadline_ms = Some(step.deadline_ms());
        }
        self.jobs.want_digest();
        self.start_next_job(step);
    }

    /// Answers or begins what has waited for equal copies in a committed generation.
    pub(super) fn release(&mut self, step: &mut Step<'_>) {
        if !step.configuration.is_committed || !matches!(self.state, State::Settled { .. }) {
            return;
        }
        match self.commit.take() {
            Some(Commit::Ended { caller, .. }) => {
                step.effects.reply(caller, STATUS_ENDED_BY_RECOVERY, TEXT_ENDED_BY_RECOVERY);
            }
            Some(Commit::Parked { caller, buffer, .. }) if self.is_open(step) => {
                self.send_update(caller, &buffer, step);
            }
            other => self.commit = other,
        }
    }

    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        self.coordinator_tick(step);
        let is_due = |commit: &mut Commit| commit.deadline_ms() <= step.now_ms;
        match self.commit.take_if(is_due) {
            None => {}
            Some(Commit::Parked { caller, .. }) => {
                step.effects.reply(caller, STATUS_REFUSED, "");
            }
            Some(Commit::Active { caller, waiting, .. }) => {
                self.commit = Some(Commit::Ended { caller, deadline_ms: step.deadline_ms() });
                let node = waiting.first().copied().unwrap_or(step.configuration.own);
                self.spoil(Reason::UpdateTimedOut { db: self.id, node }, step);
            }
            Some(Commit::Ended { caller, .. }) => {
                self.commit = Some(Commit::Ended { caller, deadline_ms: step.deadline_ms() });
                step.effects.request_recovery(Reason::RecoveryOverdue { db: self.id });
            }
        }
    }

    /// A frame of the current generation, from another member or from this node to itself.
    ///
    /// # Errors
    /// The sender broke the protocol.
    pub(super) fn frame(
        &mut self,
        from: Pnn,
        op: PersistentOp,
        bulk: &[u8],
        step: &mut Step<'_>,
    ) -> Result<(), FrameFault> {
        match op {
            PersistentOp::Update { transaction } => self.update(from, transaction, bulk, step),
            PersistentOp::Updated { transaction, status } => {
                self.updated(from, transaction, status, step);
            }
            settling => self.settling_frame(from, settling, bulk, step)?,
        }
        Ok(())
    }

    pub(super) fn job_done(&mut self, job: JobId, outcome: Outcome, step: &mut Step<'_>) {
        let Some(running) = self.jobs.end(job) else { return };
        self.judge_copy(running.purpose, &outcome, step);
        // What an older generation began counts for nobody any more.
        if running.generation == step.configuration.generation {
            if let Purpose::Update { origin, transaction } = running.purpose {
                let done = outcome == Outcome::Done;
                self.answer_update(origin, transaction, done, step);
            } else {
                self.settling_job_done(running.purpose, outcome, step);
            }
        }
        self.start_next_job(step);
        self.read_on(step);
    }

    fn judge_copy(&mut self, purpose: Purpose, outcome: &Outcome, step: &mut Step<'_>) {
        let is_sound = match (purpose, outcome) {
            (_, Outcome::Failed(JobFault::Failed)) => {
                self.is_broken = true;
                step.effects.copy_failed(self.id);
                false
            }
            (Purpose::Digest, Outcome::Digested(_)) | (Purpose::Install, Outcome::Done) => true,
            _ => false,
        };
        if is_sound && core::mem::take(&mut self.is_broken) {
            step.effects.copy_recovered(self.id);
        }
    }

    /// Whether a commit may be sent to the members now. In a generation that is not committed the
    /// members might be a minority whose copies are replaced later.
    fn is_open(&self, step: &Step<'_>) -> bool {
        step.configuration.is_committed && self.state == State::Settled { whole: true }
    }

    fn send_update(&mut self, caller: Caller, buffer: &[u8], step: &mut Step<'_>) {
        let transaction = step.next_number();
        let waiting = step.configuration.members.clone();
        let deadline_ms = step.deadline_ms();
        self.commit = Some(Commit::Active { caller, transaction, waiting, deadline_ms });
        for member in &step.configuration.members {
            self.deliver(*member, PersistentOp::Update { transaction }, buffer, step);
        }
    }

    fn update(&mut self, origin: Pnn, transaction: u64, buffer: &[u8], step: &mut Step<'_>) {
        // The origin has heard that all copies are equal, which this node may hear later on
        // another link; that it is a frame of the current generation is all that counts.
        if self.jobs.is_idle() {
            let generation = step.configuration.generation;
            let purpose = Purpose::Update { origin, transaction };
            self.start_job(purpose, Job::Apply { generation, buffer }, step);
        } else if !self.jobs.enqueue(origin, transaction, buffer) {
            self.answer_update(origin, transaction, false, step);
        }
    }

    fn answer_update(&mut self, origin: Pnn, transaction: u64, done: bool, step: &mut Step<'_>) {
        let status = if done { STATUS_DONE } else { STATUS_REFUSED };
        self.deliver(origin, PersistentOp::Updated { transaction, status }, &[], step);
    }

    fn updated(&mut self, from: Pnn, answered: u64, status: i32, step: &mut Step<'_>) {
        let Some(Commit::Active { caller, transaction, waiting, .. }) = &mut self.commit else {
            return;
        };
        if *transaction != answered {
            return;
        }
        let caller = *caller;
        waiting.retain(|member| *member != from);
        if status != STATUS_DONE {
            self.commit = Some(Commit::Ended { caller, deadline_ms: step.deadline_ms() });
            self.spoil(Reason::UpdateFailed { db: self.id, node: from }, step);
        } else if waiting.is_empty() {
            self.commit = None;
            step.effects.reply(caller, STATUS_DONE, "");
        }
    }

    fn spoil(&mut self, reason: Reason, step: &mut Step<'_>) {
        self.state = State::Spoiled;
        step.effects.request_recovery(reason);
    }

    /// Sends to another node, or acts at once for the own one.
    fn deliver(&mut self, to: Pnn, op: PersistentOp, bulk: &[u8], step: &mut Step<'_>) {
        if to == step.configuration.own {
            self.frame(to, op, bulk, step).expect("this node keeps its own protocol");
        } else {
            let head = Head::Persistent(PersistentHead { db: self.id.0, op });
            step.effects.send(to, &head, bulk);
        }
    }

    fn start_next_job(&mut self, step: &mut Step<'_>) {
        match self.jobs.next() {
            Some(Next::Digest) => self.start_job(Purpose::Digest, Job::Digest, step),
            Some(Next::Update(update)) => {
                let purpose =
                    Purpose::Update { origin: update.origin, transaction: update.transaction };
                let generation = step.configuration.generation;
                self.start_job(purpose, Job::Apply { generation, buffer: &update.buffer }, step);
            }
            None => {}
        }
    }

    fn start_job(&mut self, purpose: Purpose, work: Job<'_>, step: &mut Step<'_>) {
        let job = JobId(step.next_number());
        let generation = step.configuration.generation;
        self.jobs.begin(Running { job, generation, purpose });
        step.effects.start_job(self.id, job, work);
    }
}

impl Step<'_> {
    /// When patience with what begins now ends.
    pub(super) fn deadline_ms(&self) -> u64 {
        self.now_ms.saturating_add(self.settings.control_timeout_ms)
    }

    fn next_number(&mut self) -> u64 {
        *self.last_number += 1;
        *self.last_number
    }
}
