//! Who leads when there is a cluster lock: its holder (cluster management §2.8).

use crate::cluster::{Cluster, Effect, Fact, FenceReason, LockEvent, Micros, Quorum};

#[derive(Debug)]
pub(super) struct LockRace {
    state: State,
    retry_at: Micros,
    pause_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Taking,
    /// Held, the terms of the others not yet known.
    Taken {
        at: Micros,
    },
    /// The term is on its way to the disk.
    Opening {
        at: Micros,
    },
    Leading,
}

/// As long as for a vote.
const WRITE_US_MAX: u64 = 5_000_000;

impl LockRace {
    pub(super) fn new(pause_us: u64) -> Self {
        Self { state: State::Idle, retry_at: Micros(0), pause_us }
    }

    pub(super) fn is_held(&self) -> bool {
        !matches!(self.state, State::Idle | State::Taking)
    }
}

impl Cluster {
    pub(super) fn advance_lock(&mut self) {
        if self.config.quorum != Quorum::Lock {
            return;
        }
        match self.lock.state {
            State::Idle => self.maybe_take_lock(),
            State::Taken { .. } | State::Opening { .. } if !self.may_lead() => self.release_lock(),
            State::Taken { at } => self.choose_term(at),
            State::Opening { at } => self.give_up_writing(at),
            State::Taking | State::Leading => {}
        }
    }

    pub(super) fn lock_event(&mut self, event: LockEvent) {
        match (event, self.lock.state) {
            (LockEvent::Taken, State::Taking) => {
                self.lock.state = State::Taken { at: self.now };
                self.lock.pause_us = self.config.timing.lock_retry_min_us;
            }
            // Nobody asked: give it back.
            (LockEvent::Taken, State::Idle) => self.out.push(Effect::ReleaseLock),
            (LockEvent::Lost, State::Taking) => self.retry_lock(),
            (LockEvent::Lost, State::Taken { .. } | State::Opening { .. } | State::Leading) => {
                self.log(Fact::LockLost);
                // Another node may hold it by now.
                self.retry_lock();
                self.withdraw(FenceReason::LockLost);
            }
            (LockEvent::Contended, State::Taking) => self.lock_refused(Fact::LockContended),
            (LockEvent::TimedOut, State::Taking) => self.lock_refused(Fact::LockTimedOut),
            (LockEvent::Error, State::Taking) => self.lock_refused(Fact::LockError),
            // Late answers to a question that nobody asks any more.
            _ => {}
        }
    }

    /// The term is on disk.
    pub(super) fn lead_by_lock(&mut self) {
        if matches!(self.lock.state, State::Opening { .. }) {
            self.lock.state = State::Leading;
            self.become_leader();
        }
    }

    /// The holder heard of a higher term, or has used up the numbers of its own.
    pub(super) fn renew_lock_term(&mut self) {
        self.lead = None;
        self.election.leader = None;
        self.lock.state = State::Taken { at: self.now };
    }

    pub(super) fn release_lock(&mut self) {
        if self.lock.state == State::Leading {
            // Until now this node granted its own lease; it goes on from here like any member's.
            self.leader_granted_sent = Some(self.now);
        }
        if core::mem::replace(&mut self.lock.state, State::Idle) != State::Idle {
            self.out.push(Effect::ReleaseLock);
            self.retry_lock();
        }
    }

    fn maybe_take_lock(&mut self) {
        if !self.may_lead() || self.living_leader().is_some() {
            self.lock.pause_us = self.config.timing.lock_retry_min_us;
            return;
        }
        if self.lock.retry_at > self.now {
            self.alarm = self.alarm.min(self.lock.retry_at);
            return;
        }
        self.lock.state = State::Taking;
        self.out.push(Effect::TakeLock);
    }

    /// A leader knows the highest term of everyone it reaches before it makes a generation.
    fn choose_term(&mut self, taken_at: Micros) {
        let heard_all = self.peers.values().all(|peer| !peer.linked || peer.beat.is_some());
        let patience_until = taken_at.after(self.config.timing.heartbeat_interval_us);
        if !heard_all && patience_until > self.now {
            self.alarm = self.alarm.min(patience_until);
            return;
        }
        let Some(term) = self.next_term() else {
            self.log(Fact::TermsExhausted);
            return self.release_lock();
        };
        self.lock.state = State::Opening { at: self.now };
        self.open_term(term, self.config.pnn);
    }

    /// A node that cannot write its term down leaves the lock to others.
    fn give_up_writing(&mut self, since: Micros) {
        let until = since.after(WRITE_US_MAX);
        if until > self.now {
            self.alarm = self.alarm.min(until);
        } else {
            self.release_lock();
        }
    }

    fn lock_refused(&mut self, fact: Fact) {
        self.log(fact);
        self.retry_lock();
    }

    /// Each attempt may start a process: pauses double, and differ between nodes.
    fn retry_lock(&mut self) {
        let timing = self.config.timing;
        let pause_us = self.lock.pause_us;
        let wait_us = self.random.between(pause_us / 2, pause_us + 1);
        self.lock.state = State::Idle;
        self.lock.retry_at = self.now.after(wait_us);
        self.lock.pause_us = pause_us.saturating_mul(2).min(timing.lock_retry_max_us);
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Capabilities, Effect, Input, LockEvent, Quorum};
    use bateria_wire::Pnn;

    #[test]
    fn the_holder_leads() {
        let world = World::running(3, Quorum::Lock);
        assert_eq!(world.leader(Pnn(1)), world.lock_holder);
    }

    #[test]
    fn a_killed_holder_is_replaced_at_once_and_nobody_is_fenced() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        let pnn = (0..3).map(Pnn).find(|pnn| *pnn != holder).unwrap();
        world.kill(holder);
        let took_ms = world.ms_until(2_000, |w| w.is_normal(pnn) && w.members(pnn).len() == 2);
        assert!(took_ms < 300, "took {took_ms} ms");
        assert!((0..3).all(|pnn| world.fences_of(Pnn(pnn)) == 0));
    }

    #[test]
    fn a_lock_that_outlives_its_holder_delays_but_fences_nobody() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        let pnn = (0..3).map(Pnn).find(|pnn| *pnn != holder).unwrap();
        world.kill(holder);
        world.lock_holder = Some(holder);
        world.run_ms(9_000);
        world.lock_holder = None;
        world.ms_until(2_000, |w| w.is_normal(pnn) && w.members(pnn).len() == 2);
        assert!((0..3).all(|pnn| world.fences_of(Pnn(pnn)) == 0));
    }

    #[test]
    fn a_leader_that_loses_the_lock_fences_itself_first() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.take().unwrap();
        let before = world.effects.len();
        world.input(holder, Input::Lock(LockEvent::Lost));
        assert!(matches!(world.effects[before].2, Effect::Fence { .. }));
        world.ms_until(3_000, |w| (0..3).all(|pnn| w.members(Pnn(pnn)).len() == 3));
    }

    #[test]
    fn a_holder_that_gives_leadership_up_stays_active() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        let without = Capabilities::default() - Capabilities::LEADER;
        world.input(holder, Input::SetCapabilities(without));
        world.ms_until(2_000, |w| w.lock_holder.is_some_and(|new| new != holder));
        world.ms_until(2_000, |w| (0..3).all(|pnn| w.is_normal(Pnn(pnn))));
        assert!((0..3).all(|pnn| world.fences_of(Pnn(pnn)) == 0));
    }

    #[test]
    fn a_lock_that_nobody_asked_for_is_given_back() {
        let mut world = World::running(3, Quorum::Lock);
        let idle = (0..3).map(Pnn).find(|pnn| Some(*pnn) != world.lock_holder).unwrap();
        let before = world.effects.len();
        world.input(idle, Input::Lock(LockEvent::Taken));
        assert_eq!(world.effects[before].2, Effect::ReleaseLock);
    }
}
