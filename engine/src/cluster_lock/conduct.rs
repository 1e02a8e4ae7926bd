//! What the thread "lock" does next: pure, so that every way to misbehave can be tried.

use super::{Attempt, LockEvent, LockTiming, Report};
use std::time::Instant;

/// The lock's story on this node.
///
/// ```text
///   Idle --start--> Taking --"taken"--> Held
///    ^                 |                  |
///    |                 | refused, late,   | released, ended,
///    |                 v released         v stalled
///    +---"gone"---- Stopping <------------+      (SIGTERM, later SIGKILL)
/// ```
#[derive(Debug)]
pub(super) struct Conduct {
    timing: LockTiming,
    state: State,
    wanted: Option<Attempt>,
    /// The last attempt that has had an answer; it is never started again.
    answered: Option<Attempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Taking { attempt: Attempt, until: Instant },
    Held { attempt: Attempt, alive_until: Option<Instant> },
    Stopping { attempt: Attempt, kill_at: Option<Instant> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The newest wish; also the occasion to look at the time.
    Wanted(Option<Attempt>),
    Report(Attempt, Report),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Start(Attempt),
    Stop,
    Kill,
    Tell(Attempt, LockEvent),
}

impl Conduct {
    pub(super) fn new(timing: LockTiming) -> Self {
        Self { timing, state: State::Idle, wanted: None, answered: None }
    }

    pub(super) fn step(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Wanted(wanted) => {
                self.wanted = wanted;
                self.keep_time(now, effects);
                self.follow(now, effects);
            }
            Input::Report(attempt, report) if self.attempt() == Some(attempt) => {
                self.heed(now, attempt, report, effects);
            }
            // Of a holder that was given up.
            Input::Report(..) => {}
        }
    }

    /// When to look at the time again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle => None,
            State::Taking { until, .. } => Some(until),
            State::Held { alive_until, .. } => alive_until,
            State::Stopping { kill_at, .. } => kill_at,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    fn attempt(&self) -> Option<Attempt> {
        match self.state {
            State::Idle => None,
            State::Taking { attempt, .. }
            | State::Held { attempt, .. }
            | State::Stopping { attempt, .. } => Some(attempt),
        }
    }

    fn follow(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let unanswered = self.wanted.filter(|attempt| self.answered != Some(*attempt));
        match (self.state, unanswered) {
            (State::Idle, Some(attempt)) => {
                self.state = State::Taking { attempt, until: now + self.timing.take_limit };
                effects.push(Effect::Start(attempt));
            }
            (State::Taking { attempt, .. } | State::Held { attempt, .. }, _)
                if self.wanted != Some(attempt) =>
            {
                self.stop(now, attempt, effects);
            }
            // The last holder hangs, even killed: nobody knows whether it still has the lock.
            (State::Stopping { kill_at: None, .. }, Some(attempt)) => {
                let text = "the last attempt has not ended yet, its file system may hang";
                self.tell(attempt, LockEvent::Error(text.into()), effects);
            }
            _ => {}
        }
    }

    fn heed(&mut self, now: Instant, attempt: Attempt, report: Report, effects: &mut Vec<Effect>) {
        if report == Report::Gone {
            self.state = State::Idle;
            return;
        }
        match self.state {
            State::Taking { .. } => {
                let refusal = match report {
                    Report::Taken => {
                        let alive_until = self.alive_until(now);
                        self.state = State::Held { attempt, alive_until };
                        return self.tell(attempt, LockEvent::Taken, effects);
                    }
                    Report::Contended => LockEvent::Contended,
                    Report::TimedOut => LockEvent::TimedOut,
                    Report::Failed(text) | Report::Ended(text) => LockEvent::Error(text),
                    Report::Alive | Report::Gone => return,
                };
                self.tell(attempt, refusal, effects);
                self.stop(now, attempt, effects);
            }
            State::Held { .. } => match report {
                Report::Alive => {
                    self.state = State::Held { attempt, alive_until: self.alive_until(now) };
                }
                Report::Ended(text) | Report::Failed(text) => {
                    self.tell(attempt, LockEvent::Lost(text), effects);
                    self.stop(now, attempt, effects);
                }
                Report::Taken | Report::Contended | Report::TimedOut | Report::Gone => {}
            },
            State::Idle | State::Stopping { .. } => {}
        }
    }

    fn keep_time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            State::Idle => {}
            State::Taking { attempt, .. } => {
                self.tell(attempt, LockEvent::TimedOut, effects);
                self.stop(now, attempt, effects);
            }
            State::Held { attempt, .. } => {
                let text = "the lock file cannot be checked, its file system hangs";
                self.tell(attempt, LockEvent::Lost(text.into()), effects);
                self.stop(now, attempt, effects);
            }
            State::Stopping { attempt, .. } => {
                self.state = State::Stopping { attempt, kill_at: None };
                effects.push(Effect::Kill);
            }
        }
    }

    fn stop(&mut self, now: Instant, attempt: Attempt, effects: &mut Vec<Effect>) {
        let kill_at = Some(now + self.timing.release_limit);
        self.state = State::Stopping { attempt, kill_at };
        effects.push(Effect::Stop);
    }

    fn tell(&mut self, attempt: Attempt, event: LockEvent, effects: &mut Vec<Effect>) {
        self.answered = Some(attempt);
        effects.push(Effect::Tell(attempt, event));
    }

    fn alive_until(&self, now: Instant) -> Option<Instant> {
        self.timing.stall_limit.map(|limit| now + self.timing.recheck_interval + limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: Attempt = Attempt(1);
    const B: Attempt = Attempt(2);

    /// A conduct, its clock, and what it did last.
    struct Trial {
        conduct: Conduct,
        now: Instant,
    }

    impl Trial {
        fn new() -> Self {
            let stall_limit = Some(Duration::from_secs(30));
            let timing = LockTiming { stall_limit, ..LockTiming::default() };
            Self { conduct: Conduct::new(timing), now: Instant::now() }
        }

        /// A trial whose attempt `A` holds the lock.
        fn holding() -> Self {
            let mut trial = Self::new();
            trial.want(Some(A));
            assert_eq!(trial.report(A, Report::Taken), [Effect::Tell(A, LockEvent::Taken)]);
            trial
        }

        fn want(&mut self, wanted: Option<Attempt>) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.conduct.step(self.now, Input::Wanted(wanted), &mut effects);
            effects
        }

        fn report(&mut self, attempt: Attempt, report: Report) -> Vec<Effect> {
            let mut effects = Vec::new();
            self.conduct.step(self.now, Input::Report(attempt, report), &mut effects);
            effects
        }

        fn after(&mut self, seconds: u64, wanted: Option<Attempt>) -> Vec<Effect> {
            self.now += Duration::from_secs(seconds);
            self.want(wanted)
        }
    }

    #[test]
    fn a_lock_is_taken_held_and_given_back() {
        let mut trial = Trial::new();
        assert_eq!(trial.want(Some(A)), [Effect::Start(A)]);
        assert_eq!(trial.report(A, Report::Taken), [Effect::Tell(A, LockEvent::Taken)]);
        assert_eq!(trial.want(Some(A)), []);
        assert_eq!(trial.want(None), [Effect::Stop]);
        assert_eq!(trial.report(A, Report::Gone), []);
        assert!(trial.conduct.is_idle());
    }

    #[test]
    fn every_refusal_is_told_and_ends_the_holder() {
        let cases = [
            (Report::Contended, LockEvent::Contended),
            (Report::TimedOut, LockEvent::TimedOut),
            (Report::Failed("f".into()), LockEvent::Error("f".into())),
            (Report::Ended("e".into()), LockEvent::Error("e".into())),
        ];
        for (report, event) in cases {
            let mut trial = Trial::new();
            trial.want(Some(A));
            assert_eq!(trial.report(A, report), [Effect::Tell(A, event), Effect::Stop]);
            trial.report(A, Report::Gone);
            assert_eq!(trial.want(Some(A)), [], "an attempt has one answer");
            assert_eq!(trial.want(Some(B)), [Effect::Start(B)]);
        }
    }

    #[test]
    fn an_attempt_without_an_answer_is_given_up() {
        let mut trial = Trial::new();
        trial.want(Some(A));
        assert_eq!(trial.after(119, Some(A)), []);
        let gave_up = [Effect::Tell(A, LockEvent::TimedOut), Effect::Stop];
        assert_eq!(trial.after(1, Some(A)), gave_up);
        // The answer comes late: whoever got the lock meanwhile gives it back and stays silent.
        assert_eq!(trial.report(A, Report::Taken), []);
    }

    #[test]
    fn a_release_during_the_attempt_is_silent() {
        let mut trial = Trial::new();
        trial.want(Some(A));
        assert_eq!(trial.want(None), [Effect::Stop]);
        assert_eq!(trial.report(A, Report::Taken), []);
        assert_eq!(trial.report(A, Report::Ended("e".into())), []);
        assert_eq!(trial.report(A, Report::Gone), []);
    }

    #[test]
    fn a_new_attempt_waits_for_the_end_of_the_last_one() {
        let mut trial = Trial::holding();
        assert_eq!(trial.want(Some(B)), [Effect::Stop]);
        assert_eq!(trial.want(Some(B)), []);
        assert_eq!(trial.report(A, Report::Gone), []);
        assert_eq!(trial.want(Some(B)), [Effect::Start(B)]);
    }

    #[test]
    fn a_lost_lock_is_told_once() {
        let mut trial = Trial::holding();
        let lost = [Effect::Tell(A, LockEvent::Lost("e".into())), Effect::Stop];
        assert_eq!(trial.report(A, Report::Ended("e".into())), lost);
        assert_eq!(trial.report(A, Report::Ended("again".into())), []);
        assert_eq!(trial.report(A, Report::Gone), []);
        assert_eq!(trial.want(Some(A)), []);
    }

    #[test]
    fn a_lock_that_cannot_be_checked_is_lost() {
        let mut trial = Trial::holding();
        assert_eq!(trial.after(34, Some(A)), []);
        trial.report(A, Report::Alive);
        assert_eq!(trial.after(34, Some(A)), []);
        let effects = trial.after(1, Some(A));
        assert!(matches!(effects[..], [Effect::Tell(A, LockEvent::Lost(_)), Effect::Stop]));
    }

    #[test]
    fn a_holder_that_does_not_end_is_killed_and_nothing_starts_beside_it() {
        let mut trial = Trial::holding();
        trial.want(None);
        assert_eq!(trial.after(4, Some(B)), []);
        let effects = trial.after(1, Some(B));
        assert!(matches!(effects[..], [Effect::Kill, Effect::Tell(B, LockEvent::Error(_))]));
        assert_eq!(trial.after(100, Some(B)), []);
        trial.report(A, Report::Gone);
        assert_eq!(trial.want(Some(Attempt(3))), [Effect::Start(Attempt(3))]);
    }

    #[test]
    fn reports_of_another_attempt_count_for_nothing() {
        let mut trial = Trial::holding();
        assert_eq!(trial.report(B, Report::Ended("e".into())), []);
        assert_eq!(trial.report(B, Report::Gone), []);
        assert!(!trial.conduct.is_idle());
    }
}
