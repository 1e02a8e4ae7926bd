//! The leader's decisions: when to make a generation, and when to give one up.

use crate::cluster::attempt::{Attempt, Phase};
use crate::cluster::roster::Roster;
use crate::cluster::{Cause, Cluster, Fact, Micros, Quorum};
use alloc::collections::BTreeMap;
use bateria_wire::control::Want;
use bateria_wire::{Generation, Pnn};

/// What a leader keeps while it leads.
#[derive(Debug)]
pub(super) struct Lead {
    since: Micros,
    /// The generation on its way or in force.
    pub(super) attempt: Option<Attempt>,
    pub(super) generation: Option<Generation>,
    /// Members that did not answer in time: which life may not come back before when.
    pub(super) left_out: BTreeMap<Pnn, (u64, Micros)>,
    /// Nodes that were sent the present `Prepare` on their present link.
    pub(super) told: BTreeMap<Pnn, Generation>,
    /// Why the next generation is due, and since when.
    pub(super) due: Option<(Cause, Micros)>,
    /// The latest cause that made or ended a generation, and how often in a row.
    streak: (Option<Cause>, u32),
    streak_at: Micros,
    /// Logged once for each wait.
    waiting: bool,
}

impl Lead {
    fn new(since: Micros) -> Self {
        Self {
            since,
            attempt: None,
            generation: None,
            left_out: BTreeMap::new(),
            told: BTreeMap::new(),
            due: None,
            streak: (None, 0),
            streak_at: Micros(0),
            waiting: false,
        }
    }
}

impl Cluster {
    /// Whether this node can stand for leader, or stay it.
    pub(super) fn may_lead(&self) -> bool {
        self.is_ready() && self.capabilities.contains(crate::cluster::Capabilities::LEADER)
    }

    pub(super) fn become_leader(&mut self) {
        self.follow(self.config.pnn, self.election.term);
        self.lead = Some(Lead::new(self.now));
    }

    /// Ends leadership and gives the lock back, if there is any of them.
    pub(super) fn step_down(&mut self) {
        if self.lead.take().is_some() {
            self.election.leader = None;
        }
        self.release_lock();
    }

    pub(super) fn advance_lead(&mut self) {
        if self.lead.is_none() {
            return;
        }
        if !self.may_lead() {
            // Leadership ends together with activity (database semantics W21).
            return self.step_down();
        }
        if self.election.seen_term > self.election.term {
            return self.leave_term();
        }
        let running = self.attempt().is_some_and(|attempt| attempt.phase != Phase::InForce);
        if running {
            match self.attempt_trouble() {
                Some(cause) => self.abandon(cause),
                None => return self.advance_attempt(),
            }
        }
        self.tell_witnesses();
        match self.cause_for_next() {
            Some(cause) => self.form_when_due(cause),
            None => self.lead_mut().due = None,
        }
    }

    pub(super) fn lead_mut(&mut self) -> &mut Lead {
        self.lead.as_mut().expect("only a leader decides")
    }

    pub(super) fn attempt(&self) -> Option<&Attempt> {
        self.lead.as_ref().and_then(|lead| lead.attempt.as_ref())
    }

    /// Gives up the generation on its way. That is harmless: see `member`.
    pub(super) fn abandon(&mut self, cause: Cause) {
        let Some(attempt) = self.lead_mut().attempt.take() else { return };
        self.log(Fact::Abandoned { generation: attempt.generation, cause });
        let (now, count) = (self.now, self.count_streak(cause));
        let backoff_max_us = self.config.timing.backoff_max_us;
        let lead = self.lead_mut();
        // A member that does not answer is left out at once, one whose rebuild fails after three
        // tries: leaving it out costs its clients.
        let (node, tries) = match cause {
            Cause::PrepareTimedOut { node }
            | Cause::RebuildTimedOut { node }
            | Cause::CommitTimedOut { node } => (node, 1),
            Cause::RebuildFailed { node } => (node, 3),
            _ => (Pnn::UNKNOWN, u32::MAX),
        };
        if count >= tries {
            let member = attempt.members.iter().find(|(member, _)| *member == node);
            let until = now.after(backoff_max_us);
            lead.left_out.extend(member.map(|(pnn, incarnation)| (*pnn, (*incarnation, until))));
        }
        lead.due = Some((cause, now));
    }

    /// Opens a new term: someone knows a higher one, or this one has no numbers left.
    fn leave_term(&mut self) {
        if self.config.quorum == Quorum::Lock {
            self.renew_lock_term();
        } else {
            self.renew_term();
        }
    }

    fn cause_for_next(&self) -> Option<Cause> {
        let lead = self.lead.as_ref()?;
        let Some(attempt) = &lead.attempt else {
            return Some(lead.due.map_or(Cause::NewLeader, |(cause, _)| cause));
        };
        let roster = self.roster();
        let missing = |from: &Roster, of: &Roster| {
            let lost = from.iter().find(|(pnn, _)| of.iter().all(|(other, _)| other != pnn));
            lost.map(|(pnn, _)| *pnn)
        };
        if let Some(node) = missing(&attempt.members, &roster) {
            return Some(Cause::Removed { node });
        }
        if let Some((node, _)) = roster.iter().find(|node| !attempt.members.contains(node)) {
            return Some(Cause::Joined { node: *node });
        }
        if self.lmasters_of(&roster) != attempt.lmasters {
            return Some(Cause::Capabilities);
        }
        let committed = attempt.generation;
        roster.iter().find_map(|(node, _)| self.complaint(*node, committed))
    }

    /// What a member of the generation in force wants from its leader.
    fn complaint(&self, node: Pnn, generation: Generation) -> Option<Cause> {
        let (want, promised, committed) = if node == self.config.pnn {
            let member = &self.member;
            (member.want, member.promised.generation, member.committed.generation)
        } else {
            let (_, beat) = self.peers.get(&node)?.beat.as_ref()?;
            (beat.want, Generation(beat.promised), Generation(beat.committed))
        };
        if promised != generation || committed != generation {
            return Some(Cause::Disagrees { node });
        }
        match want {
            Want::Nothing => None,
            Want::Recovery => Some(Cause::Requested { node }),
            Want::Repair => Some(Cause::LostFrames { node }),
        }
    }

    /// Starts a generation as soon as nothing speaks for waiting.
    fn form_when_due(&mut self, cause: Cause) {
        let now = self.now;
        let roster = self.roster();
        let due = self.lead_mut().due.get_or_insert((cause, now)).1;
        let mut not_before = due.after(self.patience_us(cause, &roster));
        not_before = not_before.max(self.backoff_until(cause));
        let since = self.lead_mut().since;
        let (outside, until) = self.active_outside(&roster, since);
        if !outside.is_empty() && !core::mem::replace(&mut self.lead_mut().waiting, true) {
            let wait_ms = until.since(now) / 1000;
            self.log(Fact::WaitingFor { nodes: outside, wait_ms });
        }
        not_before = not_before.max(until);
        if not_before > now {
            self.alarm = self.alarm.min(not_before);
            return;
        }
        // Links that are being mended and promises that are missing announce themselves.
        let promises = self.contacts_count() + 1;
        let enough =
            self.config.quorum != Quorum::Majority || promises > self.config.voters_count() / 2;
        if !enough || self.waits_for_link(&roster) {
            return;
        }
        self.lead_mut().waiting = false;
        self.count_streak(cause);
        self.form(cause, roster);
    }

    /// How long to wait for more of the same: nodes start together, and a node that fences itself
    /// soon says that it is done.
    fn patience_us(&self, cause: Cause, roster: &Roster) -> u64 {
        match cause {
            Cause::NewLeader | Cause::Joined { .. } => {
                let in_roster = |pnn: Pnn| roster.iter().any(|(member, _)| *member == pnn);
                let settled = self
                    .peers
                    .iter()
                    .all(|(pnn, peer)| in_roster(*pnn) || peer.is_out_of_service());
                if settled { 0 } else { self.config.timing.settle_us }
            }
            Cause::Removed { node } => {
                let fencing = self.peers.get(&node).is_some_and(|peer| {
                    let beat = peer.in_contact();
                    beat.is_some_and(|beat| !beat.ready && Generation(beat.promised).is_valid())
                        && self.attempt().is_some_and(|attempt| {
                            attempt.members.contains(&(node, peer.incarnation))
                        })
                });
                if fencing { self.config.timing.detection_us } else { 0 }
            }
            _ => 0,
        }
    }

    /// Repeats of one cause pause for longer each time; any other cause starts at once (W4).
    fn backoff_until(&mut self, cause: Cause) -> Micros {
        let timing = self.config.timing;
        let lead = self.lead_mut();
        let (last, count) = lead.streak;
        if last != Some(cause) || count < 2 {
            return Micros(0);
        }
        let doublings = (count - 2).min(20);
        let pause_us = (timing.backoff_min_us << doublings).min(timing.backoff_max_us);
        lead.streak_at.after(pause_us)
    }

    fn count_streak(&mut self, cause: Cause) -> u32 {
        let (now, timing) = (self.now, self.config.timing);
        let lead = self.lead_mut();
        let recent = lead.streak_at.after(timing.backoff_max_us * 2) > now;
        let count = if lead.streak.0 == Some(cause) && recent { lead.streak.1 + 1 } else { 1 };
        lead.streak = (Some(cause), count);
        lead.streak_at = now;
        count
    }

    pub(super) fn next_generation(&mut self) -> Option<Generation> {
        match self.lead_mut().generation {
            None => Some(Generation::first_of(self.election.term)),
            Some(last) => last.next(),
        }
    }

    pub(super) fn exhaust_term(&mut self) {
        self.leave_term();
    }
}
