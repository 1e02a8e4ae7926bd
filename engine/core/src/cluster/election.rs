//! Who leads when there is no cluster lock: terms and votes, after Raft (Ongaro, Ousterhout 2014)
//! with the probing round of his thesis (§9.6).
//!
//! A node that hears of no leader asks the others whether they would vote for it; that changes
//! nothing, so a node that comes back from a partition does not disturb. With a majority of
//! answers it opens a term, writes its own vote to disk, and asks for votes. A node votes once in
//! a term, not while it hears of a living leader, and not for a node whose data are older than
//! its own, lest a fresh node leads while nodes with data wait.

use crate::cluster::peer::Presence;
use crate::cluster::{Cluster, Effect, Fact, Micros, Quorum, Vote};
use alloc::collections::BTreeSet;
use bateria_wire::control::{ControlHead, Heartbeat, VoteAnswer, VoteRequest};
use bateria_wire::{Generation, Pnn};

#[derive(Debug)]
pub(super) struct Election {
    pub(super) term: u32,
    pub(super) voted_for: Option<Pnn>,
    pub(super) leader: Option<Pnn>,
    /// Highest term heard of from anyone.
    pub(super) seen_term: u32,
    role: Role,
    /// When to stand next.
    timer: Option<Micros>,
    /// The candidate whose vote is on its way to the disk.
    owed: Option<Pnn>,
    /// The vote that is being written, since when, and whether another one waits.
    writing: Option<(Vote, Micros)>,
    unwritten: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    Follower,
    Probing {
        term: u32,
        granted: BTreeSet<Pnn>,
    },
    /// The own vote is on its way to the disk.
    Opening,
    Standing {
        granted: BTreeSet<Pnn>,
    },
}

/// A write that takes longer has failed, or its disk is worth no vote.
const WRITE_US_MAX: u64 = 5_000_000;

impl Election {
    pub(super) fn new(vote: Option<Vote>) -> Self {
        let (term, voted_for) = vote.map_or((0, None), |vote| (vote.term, Some(vote.voted_for)));
        Self {
            term,
            voted_for,
            leader: None,
            seen_term: term,
            role: Role::Follower,
            timer: None,
            owed: None,
            writing: None,
            unwritten: false,
        }
    }
}

impl Cluster {
    /// The leader that this node follows, while it has not been silent for the detection time.
    pub(super) fn living_leader(&self) -> Option<Pnn> {
        let leader = self.election.leader?;
        let lives = leader == self.config.pnn && self.lead.is_some()
            || self.peers.get(&leader).is_some_and(|peer| peer.is_here() && !peer.foreign);
        lives.then_some(leader)
    }

    pub(super) fn advance_election(&mut self) {
        if self.config.quorum == Quorum::Lock {
            return;
        }
        let idle = self.living_leader().is_some() || !self.may_lead() || !self.could_win();
        if idle {
            self.election.timer = None;
            self.election.role = Role::Follower;
            return;
        }
        let Some(timer) = self.election.timer else {
            self.arm_election(1);
            return self.advance_election_timer();
        };
        if timer <= self.now {
            self.probe();
        }
        self.advance_election_timer();
    }

    /// A leader whose term is lower than one it heard of opens a higher one.
    pub(super) fn renew_term(&mut self) {
        self.step_down();
        self.probe();
    }

    pub(super) fn vote_request(&mut self, from: Pnn, request: VoteRequest) {
        let VoteRequest { probe, term, committed } = request;
        self.election.seen_term = self.election.seen_term.max(term - u32::from(probe).min(term));
        let granted = self.would_vote(from, term, Generation(committed));
        if !granted || probe {
            let seen_term = self.election.seen_term;
            let answer = VoteAnswer { probe, term, granted, seen_term };
            self.send(from, ControlHead::VoteAnswer(answer));
            return;
        }
        self.open_term(term, from);
        self.election.owed = Some(from);
        self.arm_election(2);
    }

    pub(super) fn vote_answer(&mut self, from: Pnn, answer: VoteAnswer) {
        self.election.seen_term = self.election.seen_term.max(answer.seen_term);
        if !answer.granted {
            return;
        }
        let current_term = self.election.term;
        match &mut self.election.role {
            Role::Probing { term, granted } if answer.probe && answer.term == *term => {
                granted.insert(from);
            }
            Role::Standing { granted } if !answer.probe && answer.term == current_term => {
                granted.insert(from);
            }
            _ => {}
        }
        self.count_votes();
    }

    pub(super) fn vote_persisted(&mut self, term: u32, voted_for: Pnn) {
        if self.election.writing.is_some_and(|(vote, _)| vote == Vote { term, voted_for }) {
            self.election.writing = None;
            if core::mem::take(&mut self.election.unwritten) {
                self.write_vote();
            }
        }
        if term != self.election.term || self.election.voted_for != Some(voted_for) {
            return;
        }
        if let Some(candidate) = self.election.owed.take() {
            let seen_term = self.election.seen_term;
            let answer = VoteAnswer { probe: false, term, granted: true, seen_term };
            self.send(candidate, ControlHead::VoteAnswer(answer));
        } else if self.election.role == Role::Opening {
            self.election.role = Role::Standing { granted: BTreeSet::from([self.config.pnn]) };
            self.arm_election(2);
            self.ask_for_votes(false, term);
            self.count_votes();
        } else if self.config.quorum == Quorum::Lock {
            self.lead_by_lock();
        }
    }

    /// Writes down a vote; nothing that depends on it is sent before it is on disk.
    pub(super) fn open_term(&mut self, term: u32, voted_for: Pnn) {
        let same = term == self.election.term && self.election.voted_for == Some(voted_for);
        assert!(same || term > self.election.term, "one vote in each term");
        self.election.term = term;
        self.election.seen_term = self.election.seen_term.max(term);
        self.election.voted_for = Some(voted_for);
        self.election.leader = None;
        self.election.owed = None;
        self.election.role = Role::Follower;
        self.write_vote();
    }

    /// Writes one vote at a time, so that an older one never replaces a newer one on disk.
    fn write_vote(&mut self) {
        let Some(voted_for) = self.election.voted_for else { return };
        let writing = self.election.writing;
        if writing.is_some_and(|(_, since)| since.after(WRITE_US_MAX) > self.now) {
            self.election.unwritten = true;
            return;
        }
        let vote = Vote { term: self.election.term, voted_for };
        self.election.writing = Some((vote, self.now));
        self.out.push(Effect::PersistVote { term: vote.term, voted_for });
    }

    /// The term after all known ones. Where no majority makes it unique, each node has its own
    /// terms: those that leave its place in the nodes list as remainder. So a term never has two
    /// leaders, and a generation's number says who made it.
    pub(super) fn next_term(&self) -> Option<u32> {
        let after = self.election.seen_term.max(self.election.term).checked_add(1)?;
        let term = if self.config.quorum == Quorum::Majority {
            after
        } else {
            let count = u32::try_from(self.peers.len() + 1).expect("nodes keep their limit");
            let place = self.peers.keys().filter(|pnn| **pnn < self.config.pnn).count();
            let place = u32::try_from(place).expect("nodes keep their limit");
            after + (count + place - after % count) % count
        };
        (term <= Generation::TERM_MAX).then_some(term)
    }

    /// Learns of a leader, or that there is none any more, from a peer's heartbeat.
    pub(super) fn heard_of_leader(&mut self, from: Pnn, beat: &Heartbeat) {
        self.election.seen_term = self.election.seen_term.max(beat.term);
        if beat.leader == from.0 {
            // The holder of the lock takes a higher term instead of following.
            if beat.term >= self.election.term && !self.lock.is_held() {
                self.follow(from, beat.term);
            }
        } else if self.election.leader == Some(from) {
            self.lose_leader(from);
        }
    }

    pub(super) fn follow(&mut self, leader: Pnn, term: u32) {
        if self.election.leader == Some(leader) && self.election.term == term {
            return;
        }
        if self.lead.is_some() && leader != self.config.pnn {
            self.step_down();
        }
        if term > self.election.term {
            self.election.term = term;
            self.election.voted_for = None;
            self.election.owed = None;
        }
        self.election.seen_term = self.election.seen_term.max(term);
        self.election.leader = Some(leader);
        self.election.role = Role::Follower;
        self.election.timer = None;
        self.log(Fact::Leader { node: leader, term });
    }

    pub(super) fn leader_may_be_lost(&mut self, pnn: Pnn) {
        if self.election.leader == Some(pnn) {
            self.lose_leader(pnn);
        }
    }

    fn lose_leader(&mut self, leader: Pnn) {
        self.election.leader = None;
        self.log(Fact::LeaderLost { node: leader });
    }

    fn would_vote(&self, candidate: Pnn, term: u32, committed: Generation) -> bool {
        let own = &self.election;
        let free = term > own.term || term == own.term && own.voted_for == Some(candidate);
        let led = self.living_leader().is_some_and(|leader| leader != candidate);
        // A node that cannot lead itself must not insist on its newer data: nobody could be elected.
        let up_to_date = committed >= self.member.committed.generation || !self.may_lead();
        let foreign = self.peers.get(&candidate).is_none_or(|peer| peer.foreign);
        free && !led && up_to_date && !foreign && self.config.quorum != Quorum::Lock
    }

    fn probe(&mut self) {
        let Some(term) = self.next_term() else {
            self.log(Fact::TermsExhausted);
            self.arm_election(100);
            return;
        };
        self.arm_election(2);
        self.election.role = Role::Probing { term, granted: BTreeSet::from([self.config.pnn]) };
        self.ask_for_votes(true, term);
        self.count_votes();
    }

    fn ask_for_votes(&mut self, probe: bool, term: u32) {
        let committed = self.member.committed.generation.0;
        let request = VoteRequest { probe, term, committed };
        for (pnn, peer) in &self.peers {
            if peer.in_contact().is_some() {
                let head = ControlHead::VoteRequest(request);
                self.out.push(Effect::Send { to: *pnn, head });
            }
        }
    }

    fn count_votes(&mut self) {
        let needed = self.votes_needed();
        match &self.election.role {
            Role::Probing { term, granted } if granted.len() >= needed => {
                let term = *term;
                self.log(Fact::Candidate { term });
                self.open_term(term, self.config.pnn);
                self.election.role = Role::Opening;
                // The vote has to reach the disk before anything else is tried; one that does not
                // within this time never will.
                self.election.timer = Some(self.now.after(WRITE_US_MAX));
            }
            Role::Standing { granted } if granted.len() >= needed => self.become_leader(),
            _ => {}
        }
    }

    fn votes_needed(&self) -> usize {
        let voters = match self.config.quorum {
            Quorum::None => self.contacts_count() + 1,
            Quorum::Majority | Quorum::Lock => self.config.voters_count(),
        };
        voters / 2 + 1
    }

    fn could_win(&mut self) -> bool {
        if self.config.quorum == Quorum::None {
            let grace_until = self.started_at.after(self.config.timing.start_grace_us);
            let met_all = self.peers.values().all(|peer| peer.presence != Presence::Unknown);
            if !met_all && grace_until > self.now {
                self.alarm = self.alarm.min(grace_until);
                return false;
            }
        }
        self.contacts_count() + 1 >= self.votes_needed()
    }

    fn arm_election(&mut self, patience: u64) {
        let timing = self.config.timing;
        let wait_us = if self.config.voters_count() == 1 && patience == 1 {
            0
        } else {
            self.random.between(timing.election_min_us, timing.election_max_us) * patience
        };
        self.election.timer = Some(self.now.after(wait_us));
    }

    fn advance_election_timer(&mut self) {
        if let Some(timer) = self.election.timer {
            self.alarm = self.alarm.min(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Effect, Quorum};
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use bateria_wire::Pnn;

    fn others_of(leader: Pnn) -> Vec<Pnn> {
        (0..3).map(Pnn).filter(|pnn| *pnn != leader).collect()
    }

    #[test]
    fn a_killed_leader_is_replaced_at_once_and_nobody_is_fenced() {
        let mut world = World::running(3, Quorum::Majority);
        let leader = world.leader(Pnn(0)).unwrap();
        let others = others_of(leader);
        world.kill(leader);
        let took_ms = world.ms_until(1_000, |w| others.iter().all(|p| w.members(*p) == others));
        assert!(took_ms < 200, "took {took_ms} ms");
        assert!(others.iter().all(|pnn| world.fences_of(*pnn) == 0));
    }

    #[test]
    fn a_hung_leader_is_replaced_in_well_under_a_second() {
        let mut world = World::running(3, Quorum::Majority);
        let leader = world.leader(Pnn(0)).unwrap();
        let others = others_of(leader);
        world.stop(leader);
        let took_ms = world.ms_until(2_000, |w| others.iter().all(|p| w.members(*p) == others));
        assert!((600..900).contains(&took_ms), "took {took_ms} ms");
        assert!(others.iter().all(|pnn| world.fences_of(*pnn) == 0));
    }

    #[test]
    fn a_node_that_comes_back_does_not_disturb_the_leader() {
        let mut world = World::running(3, Quorum::Majority);
        let leader = world.leader(Pnn(0)).unwrap();
        let (stays, leaves) = (others_of(leader)[0], others_of(leader)[1]);
        let term = world.node(stays).view().term;
        world.cut(&[leaves.0], &[leader.0, stays.0]);
        world.run_ms(10_000);
        world.heal();
        world.ms_until(1_000, |w| w.members(stays).len() == 3);
        assert_eq!(world.leader(stays), Some(leader));
        assert_eq!(world.node(stays).view().term, term);
    }

    #[test]
    fn a_minority_elects_nobody() {
        let mut world = World::new(5, Quorum::Majority);
        world.start(Pnn(0));
        world.start(Pnn(1));
        world.run_ms(10_000);
        assert_eq!((world.leader(Pnn(0)), world.leader(Pnn(1))), (None, None));
        assert!(world.effects.iter().all(|(_, _, e)| !matches!(e, Effect::PersistVote { .. })));
    }

    #[test]
    fn without_quorum_both_halves_go_on_and_heal_into_one() {
        let mut world = World::running(4, Quorum::None);
        world.cut(&[0, 1], &[2, 3]);
        world.ms_until(2_000, |w| w.members(Pnn(0)).len() == 2 && w.members(Pnn(3)).len() == 2);
        assert!(world.is_normal(Pnn(0)) && world.is_normal(Pnn(3)));
        let fences = |w: &World| (0..4).map(|pnn| w.fences_of(Pnn(pnn))).collect::<Vec<_>>();
        assert_eq!(fences(&world), [0; 4]);
        world.heal();
        world.ms_until(3_000, |w| (0..4).all(|pnn| w.members(Pnn(pnn)).len() == 4));
        // The data of exactly one half survive, as a whole.
        let fences = fences(&world);
        assert!(fences == [1, 1, 0, 0] || fences == [0, 0, 1, 1], "{fences:?}");
    }

    #[test]
    fn nobody_votes_twice_in_a_term_even_across_restarts() {
        let mut world = World::new(5, Quorum::Majority);
        (0..5).for_each(|pnn| world.start(Pnn(pnn)));
        for round in 0..40 {
            world.run_ms(37 + round * 13 % 100);
            let pnn = Pnn(u32::try_from(round % 5).unwrap());
            world.kill(pnn);
            world.start(pnn);
        }
        let mut votes = BTreeMap::new();
        for (_, pnn, effect) in &world.effects {
            if let Effect::PersistVote { term, voted_for } = effect {
                let former = votes.insert((*pnn, *term), *voted_for);
                assert!(former.is_none_or(|former| former == *voted_for));
            }
        }
        assert!(!votes.is_empty());
    }
}
