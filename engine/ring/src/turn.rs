//! One turn: submit, wait, take in.

use std::mem;
use std::time::{Duration, Instant};

use crate::config::Wait;
use crate::error::RingError;
use crate::event::Event;
use crate::kernel_queues::{Completion, Patience};
use crate::operation::{Kind, Tag};
use crate::ring::Ring;

impl Ring {
    /// Submits everything that collected and takes in what has completed, waiting as `wait` says
    /// when there is nothing. It may come back early and without an event.
    ///
    /// # Errors
    /// [`RingError::System`] when the kernel refuses the ring as such; the ring is of no further
    /// use.
    pub fn turn(&mut self, wait: Wait) -> Result<(), RingError> {
        self.fire_deadlines();
        self.feed_the_starved();
        // While some sends are neither heard of nor settled, what collected behind them waits:
        // that is soon over, and until then is no time to sleep.
        let wait = if self.prompt_sends.is_empty() { wait } else { Wait::No };
        self.start_sends();
        loop {
            let came_to_wait = self.enter(wait)?;
            self.take_completions()?;
            if self.doorbell.bell().take() {
                self.events.push_back(Event::Knocked);
            }
            // Completions without news for the caller (a send is done) are no reason to come back.
            let goes_on = came_to_wait
                && self.events.is_empty()
                && self.unsent.is_empty()
                && self.starved.is_empty()
                && self.deadlines.earliest().is_none()
                && matches!(wait, Wait::Forever | Wait::Until(_))
                && wait.until().is_none_or(|until| Instant::now() < until);
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Makes at most one system call, plus one before going to sleep after polling. `true` when
    /// the caller may be kept waiting further.
    fn enter(&mut self, wait: Wait) -> Result<bool, RingError> {
        let is_idle = self.events.is_empty()
            && !self.queues.has_completions()
            && !self.queues.has_deferred_work()
            && !self.doorbell.bell().is_rung();
        if wait == Wait::No || !is_idle {
            if self.queues.has_submissions() || self.queues.has_deferred_work() {
                self.queues.enter(Patience::None)?;
            }
            return Ok(false);
        }
        let Wait::Poll { for_at_most, .. } = wait else { return self.sleep(wait) };
        let start = Instant::now();
        let allowance = self.poll_budget.allowance(for_at_most, start);
        if allowance.is_zero() || !self.poll_awake(start, allowance)? {
            self.sleep(wait)?;
        }
        self.poll_budget.learn(start.elapsed(), for_at_most);
        Ok(false)
    }

    /// Submits and sleeps until a completion, a ring, or the time to come back. `false` when
    /// somebody rang in the last moment.
    fn sleep(&mut self, wait: Wait) -> Result<bool, RingError> {
        let come_back = [wait.until(), self.deadlines.earliest()].into_iter().flatten().min();
        let patience = come_back.map_or(Patience::Unbounded, |at| {
            Patience::Bounded(at.saturating_duration_since(Instant::now()))
        });
        if !self.doorbell.bell().doze() {
            self.queues.enter(Patience::None)?;
            return Ok(false);
        }
        let result = self.queues.enter(patience);
        self.doorbell.bell().wake();
        result.map(|()| true)
    }

    /// Looks for completions without sleeping. `true` when there is something.
    fn poll_awake(&mut self, start: Instant, allowance: Duration) -> Result<bool, RingError> {
        if self.queues.has_submissions() {
            self.queues.enter(Patience::None)?;
        }
        let mut last = Instant::now();
        loop {
            if self.queues.has_deferred_work() {
                self.queues.enter(Patience::None)?;
            }
            if self.queues.has_completions() || self.doorbell.bell().is_rung() {
                return Ok(true);
            }
            (0..POLL_PAUSES).for_each(|_| std::hint::spin_loop());
            let now = Instant::now();
            if now - start >= allowance || self.poll_budget.is_crowded(now - last, now) {
                return Ok(false);
            }
            last = now;
        }
    }

    fn take_completions(&mut self) -> Result<(), RingError> {
        // A caller that does not take its events gets no more of them.
        let room = self.config.completions_per_turn_max.saturating_sub(self.events.len());
        if let Some(count) = self.queues.completions_of_everything() {
            self.prompt_sends.submitted(count);
        }
        let mut completions = mem::take(&mut self.completions);
        self.queues.reap(&mut completions, room);
        self.prompt_sends.handled(completions.len());
        for completion in completions.drain(..) {
            self.dispatch(completion)?;
        }
        self.completions = completions;
        while let Some(send) = self.prompt_sends.pop_settled() {
            self.settle_send(send);
        }
        Ok(())
    }

    fn dispatch(&mut self, completion: Completion) -> Result<(), RingError> {
        let Tag { kind, slot } = completion.tag;
        match kind {
            Kind::Accept => self.complete_accept(slot, completion),
            Kind::Receive => self.complete_receive(slot, completion),
            Kind::Send => self.complete_send(slot, completion),
            Kind::Connect => self.complete_connect(slot, completion),
            Kind::FutexWait => self.complete_futex_wait(slot, completion),
            Kind::Watch => self.complete_watch(slot, completion),
            Kind::ExactReceive => self.complete_exact_receive(slot, completion),
            Kind::Bell => self
                .complete_bell(completion)
                .map_err(|error| RingError::system("polling the doorbell", error))?,
            Kind::Knock => self.complete_knock(slot, completion),
            // A message's meaning is in the bell; a cancel's is in what it cancelled.
            Kind::Knocked | Kind::Cancel => {}
        }
        Ok(())
    }

    fn fire_deadlines(&mut self) {
        if self.deadlines.earliest().is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(Tag { kind, slot }) = self.deadlines.pop_due(now) {
            match kind {
                Kind::Accept => self.resume_accept(slot),
                Kind::Send => self.give_up_flush(slot),
                Kind::Connect => self.time_out_connect(slot),
                Kind::ExactReceive => self.time_out_exact_receive(slot),
                other => unreachable!("{other:?} has no deadline"),
            }
        }
    }
}

/// Pauses between two looks while polling: about 100 ns, so that the queue's cache line is not
/// taken from the kernel all the time.
const POLL_PAUSES: usize = 4;
