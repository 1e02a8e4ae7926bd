//! The jobs of one database, strictly one after the other.

use crate::persistent::JobId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bateria_wire::{Generation, Pnn};

/// What runs on the node's copy, and what waits for its end.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    running: Option<Running>,
    updates: VecDeque<WaitingUpdate>,
    updates_size_bytes: usize,
    digest_is_wanted: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) job: JobId,
    /// Of the cluster when the job began.
    pub(super) generation: Generation,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Update { origin: Pnn, transaction: u64 },
    Digest,
    Read,
    Stage,
    Install,
}

#[derive(Debug)]
pub(super) struct WaitingUpdate {
    pub(super) origin: Pnn,
    pub(super) transaction: u64,
    pub(super) buffer: Vec<u8>,
}

/// What may begin now.
#[derive(Debug)]
pub(super) enum Next {
    Digest,
    Update(WaitingUpdate),
}

/// Clients commit one after the other, so more than a few waiting updates mean that somebody does
/// not keep to that; the next one is refused.
const UPDATES_COUNT_MAX: usize = 8;
/// A single update may be larger: as large as a frame.
const UPDATES_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Jobs {
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.updates.is_empty() && !self.digest_is_wanted
    }

    pub(super) fn begin(&mut self, running: Running) {
        assert!(self.running.is_none(), "a database has one job at a time");
        self.running = Some(running);
    }

    /// Takes the job that has ended, unless it is one of a former attachment.
    pub(super) fn end(&mut self, job: JobId) -> Option<Running> {
        self.running.take_if(|running| running.job == job)
    }

    /// Puts an update behind the others; false when there are too many.
    #[must_use]
    pub(super) fn enqueue(&mut self, origin: Pnn, transaction: u64, buffer: &[u8]) -> bool {
        let size_bytes = self.updates_size_bytes + buffer.len();
        let is_too_large = size_bytes > UPDATES_SIZE_BYTES_MAX && !self.updates.is_empty();
        if self.updates.len() >= UPDATES_COUNT_MAX || is_too_large {
            return false;
        }
        self.updates_size_bytes = size_bytes;
        self.updates.push_back(WaitingUpdate { origin, transaction, buffer: buffer.to_vec() });
        true
    }

    /// An update that has not begun when a generation ends never begins.
    pub(super) fn drop_waiting(&mut self) {
        self.updates.clear();
        self.updates_size_bytes = 0;
        self.digest_is_wanted = false;
    }

    pub(super) fn want_digest(&mut self) {
        self.digest_is_wanted = true;
    }

    /// The job to begin if none runs.
    pub(super) fn next(&mut self) -> Option<Next> {
        if self.running.is_some() {
            return None;
        }
        if core::mem::take(&mut self.digest_is_wanted) {
            return Some(Next::Digest);
        }
        let update = self.updates.pop_front()?;
        self.updates_size_bytes -= update.buffer.len();
        Some(Next::Update(update))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_a_large_update_alone_does_not_fill_it() {
        let mut jobs = Jobs::default();
        let large = alloc::vec![0; UPDATES_SIZE_BYTES_MAX + 1];
        assert!(jobs.enqueue(Pnn(0), 1, &large));
        assert!(!jobs.enqueue(Pnn(0), 2, b"x"));
        assert!(matches!(jobs.next(), Some(Next::Update(update)) if update.transaction == 1));
        (0..8).for_each(|transaction| assert!(jobs.enqueue(Pnn(0), transaction, b"x")));
        assert!(!jobs.enqueue(Pnn(0), 9, b"x"));
        jobs.drop_waiting();
        assert!(jobs.is_idle());
    }

    #[test]
    fn nothing_begins_while_a_job_runs() {
        let mut jobs = Jobs::default();
        let generation = Generation::first_of(1);
        jobs.begin(Running { job: JobId(1), generation, purpose: Purpose::Digest });
        assert!(jobs.enqueue(Pnn(0), 1, b"x"));
        assert!(jobs.next().is_none());
        assert!(jobs.end(JobId(2)).is_none());
        assert!(jobs.end(JobId(1)).is_some());
        assert!(jobs.next().is_some());
    }
}
