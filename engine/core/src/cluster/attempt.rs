//! One generation as its leader brings it into force: three phases, each ended by the answers of
//! all members.
//!
//! Everything the leader does as a member goes through the same frames, sent to itself.

use crate::cluster::peer::Presence;
use crate::cluster::roster::Roster;
use crate::cluster::{Cause, Cluster, Fact, Micros, Quorum, pnns};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bateria_wire::control::{
    self, ControlHead, DATABASES_COUNT_MAX, DatabaseEntry, Prepared, Want,
};
use bateria_wire::{DbId, DbKind, Generation, Pnn};

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) generation: Generation,
    pub(super) members: Roster,
    pub(super) lmasters: Vec<Pnn>,
    pub(super) phase: Phase,
    /// Until when the present phase has to end.
    deadline: Micros,
    prepared: BTreeMap<Pnn, Prepared>,
    /// Nodes outside that promised to grant no leases but to members.
    witnesses: BTreeSet<Pnn>,
    rebuilt: BTreeSet<Pnn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Preparing,
    Rebuilding,
    Committing,
    InForce,
}

impl Cluster {
    pub(super) fn form(&mut self, cause: Cause, members: Roster) {
        let Some(generation) = self.next_generation() else { return self.exhaust_term() };
        let attempt = Attempt {
            generation,
            lmasters: self.lmasters_of(&members),
            members,
            phase: Phase::Preparing,
            deadline: self.now.after(self.config.timing.prepare_us),
            prepared: BTreeMap::new(),
            witnesses: BTreeSet::new(),
            rebuilt: BTreeSet::new(),
        };
        let members: Vec<Pnn> = attempt.members.iter().map(|(pnn, _)| *pnn).collect();
        self.log(Fact::Forming { generation, members: members.clone(), cause });
        let lead = self.lead_mut();
        lead.generation = Some(generation);
        lead.attempt = Some(attempt);
        lead.due = None;
        self.tell_witnesses();
        let head = self.prepare_head().expect("an attempt has just begun");
        self.send(self.config.pnn, head);
    }

    /// Sends `Prepare` to every node that did not get this one yet. Nodes that are no members take
    /// part too: they must not grant leases to nodes that are left out, and they grant the
    /// members' leases.
    pub(super) fn tell_witnesses(&mut self) {
        let Some(generation) = self.attempt().map(|attempt| attempt.generation) else { return };
        let told = &self.lead.as_ref().expect("an attempt has a leader").told;
        let untold: Vec<Pnn> = self
            .peers
            .iter()
            .filter(|(pnn, peer)| peer.in_contact().is_some() && told.get(pnn) != Some(&generation))
            .map(|(pnn, _)| *pnn)
            .collect();
        for pnn in untold {
            self.lead_mut().told.insert(pnn, generation);
            let head = self.prepare_head().expect("the attempt was found above");
            self.send(pnn, head);
        }
    }

    pub(super) fn prepared(&mut self, from: Pnn, answer: Prepared) {
        let incarnation = answer.incarnation;
        let Some(attempt) = self.attempt_of(answer.generation, Phase::Preparing) else { return };
        if attempt.members.contains(&(from, incarnation)) {
            attempt.prepared.insert(from, answer);
        } else if !Generation(answer.committed).is_valid() {
            // A node with data counts on itself until it is fenced, whatever it promises to others.
            attempt.witnesses.insert(from);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            // What it wanted before is what happens now.
            peer.forget_want();
        }
    }

    pub(super) fn member_rebuilt(&mut self, from: Pnn, generation: u32) {
        if let Some(attempt) = self.attempt_of(generation, Phase::Rebuilding) {
            attempt.rebuilt.insert(from);
        }
    }

    pub(super) fn member_failed(&mut self, from: Pnn, generation: u32) {
        if self.attempt_of(generation, Phase::Rebuilding).is_some() {
            self.abandon(Cause::RebuildFailed { node: from });
        }
    }

    /// What makes the generation on its way pointless.
    pub(super) fn attempt_trouble(&self) -> Option<Cause> {
        let attempt = self.attempt()?;
        for (node, incarnation) in &attempt.members {
            let node = *node;
            let (ready, want) = match self.peers.get(&node) {
                None => (self.is_ready(), self.member.want),
                Some(peer) if peer.incarnation != *incarnation || !peer.is_here() => {
                    return Some(Cause::Removed { node });
                }
                // An interrupted link comes back, or the node is noticed to be dead.
                Some(peer) if !peer.linked => continue,
                Some(peer) => (peer.is_ready(), self.want_since(node, attempt.generation)),
            };
            if !ready {
                return Some(Cause::Removed { node });
            }
            if want == Want::Repair {
                return Some(Cause::LostFrames { node });
            }
        }
        if attempt.phase == Phase::Preparing
            && let Some(node) = self.returned_with_data(&attempt.members)
        {
            return Some(Cause::Joined { node });
        }
        if attempt.deadline > self.now {
            return None;
        }
        let late = |answered: &dyn Fn(Pnn) -> bool| {
            let node = attempt.members.iter().map(|(pnn, _)| *pnn).find(|pnn| !answered(*pnn));
            node.unwrap_or(self.config.pnn)
        };
        Some(match attempt.phase {
            Phase::Preparing => {
                let node = late(&|pnn| attempt.prepared.contains_key(&pnn));
                Cause::PrepareTimedOut { node }
            }
            Phase::Rebuilding => {
                let node = late(&|pnn| attempt.rebuilt.contains(&pnn));
                Cause::RebuildTimedOut { node }
            }
            Phase::Committing | Phase::InForce => {
                let node = late(&|pnn| self.has_committed(pnn, attempt.generation));
                Cause::CommitTimedOut { node }
            }
        })
    }

    /// Goes to the next phase when all answers are there.
    pub(super) fn advance_attempt(&mut self) {
        self.tell_witnesses();
        let Some(attempt) = self.attempt() else { return };
        let (generation, deadline) = (attempt.generation, attempt.deadline);
        let mut members = attempt.members.iter().map(|(pnn, _)| *pnn);
        match attempt.phase {
            Phase::Preparing => {
                let promises = attempt.prepared.len() + attempt.witnesses.len();
                let all = attempt.prepared.len() == attempt.members.len();
                let enough = self.config.quorum != Quorum::Majority
                    || promises > self.config.voters_count() / 2;
                if all && enough {
                    return self.start_rebuild();
                }
            }
            Phase::Rebuilding if members.all(|pnn| attempt.rebuilt.contains(&pnn)) => {
                let head = ControlHead::Commit { generation: generation.0 };
                return self.next_phase(Phase::Committing, &head);
            }
            Phase::Committing if members.all(|pnn| self.has_committed(pnn, generation)) => {
                let attempt = self.attempt_mut();
                attempt.phase = Phase::InForce;
                attempt.prepared.clear();
                return;
            }
            Phase::Rebuilding | Phase::Committing | Phase::InForce => {}
        }
        self.alarm = self.alarm.min(deadline);
    }

    /// Whose data count (see `member`): a node that missed a generation contributes nothing
    /// (database semantics §5.7, §5.9).
    fn start_rebuild(&mut self) {
        let attempt = self.attempt_mut();
        let generation = attempt.generation;
        let newest = attempt.prepared.values().map(|answer| Generation(answer.committed)).max();
        let newest = newest.filter(|newest| newest.is_valid());
        let latest = attempt.prepared.values().max_by_key(|answer| answer.entered);
        let given_up =
            latest.filter(|latest| newest.is_some_and(|n| Generation(latest.entered) > n));
        let counts = |pnn: &Pnn, answer: &Prepared| {
            newest.is_some_and(|newest| Generation(answer.rebuilt) >= newest)
                && given_up.is_none_or(|given_up| given_up.entered_with.contains(&pnn.0))
        };
        let answers = attempt.prepared.iter();
        let contributors: Vec<Pnn> =
            answers.filter(|(pnn, answer)| counts(pnn, answer)).map(|(pnn, _)| *pnn).collect();
        let lists: Vec<_> =
            attempt.prepared.values_mut().map(|a| core::mem::take(&mut a.databases)).collect();
        let databases = self.union_of(lists);
        let contributors = pnns::to_wire(&contributors);
        let rebuild = control::Rebuild { generation: generation.0, contributors, databases };
        self.next_phase(Phase::Rebuilding, &ControlHead::Rebuild(rebuild));
    }

    /// All databases that any member has, by id.
    fn union_of(&mut self, lists: Vec<Vec<DatabaseEntry>>) -> Vec<DatabaseEntry> {
        let mut union: BTreeMap<u32, DatabaseEntry> = BTreeMap::new();
        for entry in lists.into_iter().flatten() {
            let kind = DbKind::from_flags(entry.flags);
            let known = union.entry(entry.id).or_insert_with(|| entry.clone());
            if DbKind::from_flags(known.flags) != kind {
                self.out.push(crate::cluster::Effect::Log(Fact::DatabaseKindsDiffer {
                    id: DbId(entry.id),
                }));
            }
            known.flags |= entry.flags;
        }
        let mut databases: Vec<DatabaseEntry> = union.into_values().collect();
        if databases.len() > DATABASES_COUNT_MAX {
            let count = databases.len() - DATABASES_COUNT_MAX;
            self.log(Fact::DatabasesLeftOut { count });
            databases.truncate(DATABASES_COUNT_MAX);
        }
        databases
    }

    fn next_phase(&mut self, phase: Phase, head: &ControlHead) {
        let timing = self.config.timing;
        let limit_us =
            if phase == Phase::Rebuilding { timing.rebuild_us } else { timing.prepare_us };
        let deadline = self.now.after(limit_us);
        let attempt = self.attempt_mut();
        attempt.phase = phase;
        attempt.deadline = deadline;
        let members: Vec<Pnn> = attempt.members.iter().map(|(pnn, _)| *pnn).collect();
        for pnn in members {
            self.send(pnn, head.clone());
        }
        self.alarm = self.alarm.min(deadline);
    }

    fn prepare_head(&self) -> Option<ControlHead> {
        let attempt = self.attempt()?;
        let ended = self.peers.iter().filter(|(_, peer)| peer.presence == Presence::Gone);
        let member = |(pnn, incarnation): &(Pnn, u64)| control::Member {
            pnn: pnn.0,
            incarnation: *incarnation,
        };
        Some(ControlHead::Prepare(control::Prepare {
            generation: attempt.generation.0,
            members: attempt.members.iter().map(member).collect(),
            lmasters: pnns::to_wire(&attempt.lmasters),
            gone: ended.map(|(pnn, peer)| member(&(*pnn, peer.incarnation))).collect(),
        }))
    }

    /// A node that was given up, but is back before it had to fence itself: its clients need not
    /// suffer.
    fn returned_with_data(&self, members: &Roster) -> Option<Pnn> {
        let has_data = |pnn: Pnn| {
            let beat = self.peers.get(&pnn).and_then(|peer| peer.in_contact());
            beat.is_some_and(|beat| Generation(beat.committed).is_valid())
        };
        let roster = self.roster();
        let returned = roster.iter().find(|node| !members.contains(node) && has_data(node.0));
        returned.map(|(pnn, _)| *pnn)
    }

    /// What a member wants beyond the generation that it prepares for already.
    fn want_since(&self, node: Pnn, generation: Generation) -> Want {
        let beat = self.peers.get(&node).and_then(|peer| peer.beat.as_ref());
        let since = beat.filter(|(_, beat)| Generation(beat.promised) == generation);
        since.map_or(Want::Nothing, |(_, beat)| beat.want)
    }

    fn has_committed(&self, pnn: Pnn, generation: Generation) -> bool {
        let beat = self.peers.get(&pnn).map(|peer| peer.beat.as_ref());
        match beat {
            None => self.member.committed.generation == generation,
            Some(beat) => beat.is_some_and(|(_, beat)| beat.committed == generation.0),
        }
    }

    fn attempt_of(&mut self, generation: u32, phase: Phase) -> Option<&mut Attempt> {
        let attempt = self.lead.as_mut()?.attempt.as_mut()?;
        (attempt.generation.0 == generation && attempt.phase == phase).then_some(attempt)
    }

    fn attempt_mut(&mut self) -> &mut Attempt {
        self.lead_mut().attempt.as_mut().expect("a phase belongs to an attempt")
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Effect, Input, Quorum, RebuildOrder};
    use alloc::vec::Vec;
    use bateria_wire::{Generation, Pnn};

    fn last_order(world: &World, pnn: Pnn) -> RebuildOrder {
        let orders = world.effects.iter().rev().filter(|(_, node, _)| *node == pnn);
        let mut orders = orders.filter_map(|(_, _, effect)| match effect {
            Effect::Rebuild(order) => Some(order.clone()),
            _ => None,
        });
        orders.next().unwrap()
    }

    #[test]
    fn the_first_generation_has_no_contributors() {
        let world = World::running(3, Quorum::Majority);
        let first = world.effects.iter().find_map(|(_, _, effect)| match effect {
            Effect::Rebuild(order) => Some(order),
            _ => None,
        });
        assert!(first.unwrap().contributors.is_empty() && first.unwrap().wipe_own);
    }

    #[test]
    fn a_node_that_joins_contributes_nothing() {
        let mut world = World::running(3, Quorum::Majority);
        world.kill(Pnn(2));
        world.ms_until(1_000, |w| w.members(Pnn(0)).len() == 2);
        world.start(Pnn(2));
        world.ms_until(1_000, |w| w.members(Pnn(2)).len() == 3);
        let order = last_order(&world, Pnn(2));
        assert_eq!((order.contributors, order.wipe_own), (Vec::from([Pnn(0), Pnn(1)]), true));
        assert!(!last_order(&world, Pnn(0)).wipe_own);
    }

    #[test]
    fn a_reset_link_makes_a_new_generation_of_the_same_members() {
        let mut world = World::running(3, Quorum::Majority);
        let generation = world.generation(Pnn(0));
        world.reset_link(Pnn(1), Pnn(2));
        world.ms_until(500, |w| (0..3).all(|pnn| w.generation(Pnn(pnn)) > generation));
        assert_eq!(world.members(Pnn(0)).len(), 3);
        assert_eq!(last_order(&world, Pnn(1)).contributors.len(), 3);
        assert!((0..3).all(|pnn| world.fences_of(Pnn(pnn)) == 0));
    }

    #[test]
    fn a_node_that_is_back_before_it_was_missed_gets_a_new_generation_all_the_same() {
        let mut world = World::running(2, Quorum::Lock);
        let generation = world.generation(Pnn(0));
        world.cut(&[0], &[1]);
        world.run_ms(1_000);
        // The holder waits until the other has surely stopped; frames to it were lost.
        assert_eq!(world.generation(Pnn(0)), generation);
        world.heal();
        world.ms_until(500, |w| (0..2).all(|pnn| w.generation(Pnn(pnn)) > generation));
        assert!((0..2).all(|pnn| world.fences_of(Pnn(pnn)) == 0));
    }

    #[test]
    fn two_that_were_fenced_while_cut_off_from_each_other_get_a_new_generation_when_they_meet() {
        let mut world = World::running(5, Quorum::Majority);
        world.kill(Pnn(3));
        world.kill(Pnn(4));
        world.ms_until(2_000, |w| (0..3).all(|pnn| w.members(Pnn(pnn)).len() == 3));
        let leader = world.leader(Pnn(0)).unwrap();
        let [one, other]: [u32; 2] =
            (0..3).filter(|pnn| *pnn != leader.0).collect::<Vec<_>>().try_into().unwrap();
        let generation = world.generation(leader);
        world.cut(&[one], &[other]);
        // The leader joins both again before they miss each other.
        world.ms_until(1_000, |w| w.fences_of(Pnn(one)) == 1 && w.fences_of(Pnn(other)) == 1);
        world.ms_until(50, |w| w.generation(leader) > generation);
        let generation = world.generation(leader);
        world.heal();
        world.ms_until(500, |w| (0..3).all(|pnn| w.generation(Pnn(pnn)) > generation));
    }

    #[test]
    fn without_quorum_a_node_that_others_went_on_without_gives_way_however_often_joining_fails() {
        let mut world = World::running(3, Quorum::None);
        let leader = world.leader(Pnn(0)).unwrap();
        let alone = Pnn((leader.0 + 1) % 3);
        let other = Pnn((leader.0 + 2) % 3);
        world.cut(&[alone.0], &[leader.0, other.0]);
        // The others begin to give its records new owners, and do not finish.
        world.ms_until(2_000, |w| last_order(w, other).prospect.members.len() == 2);
        let generation = last_order(&world, other).prospect.generation;
        world.heal();
        let joins = |w: &World| {
            w.effects.iter().any(|(_, pnn, effect)| match effect {
                Effect::Quiesce(prospect) => *pnn == alone && prospect.generation > generation,
                _ => false,
            })
        };
        world.ms_until(2_000, joins);
        world.reset_link(leader, alone);
        world.ms_until(2_000, |w| (0..3).all(|pnn| w.generation(Pnn(pnn)) > generation));
        assert_eq!((world.members(leader).len(), world.fences_of(alone)), (3, 1));
        assert!(!last_order(&world, leader).contributors.contains(&alone));
    }

    #[test]
    fn requests_during_a_recovery_are_folded_into_one_more() {
        let mut world = World::running(3, Quorum::Majority);
        let generation = world.generation(Pnn(0));
        for pnn in [0, 1, 2, 0] {
            world.input(Pnn(pnn), Input::RecoveryRequested { reason: "test" });
        }
        world.run_ms(3);
        assert!(!world.is_normal(Pnn(0)));
        for pnn in [0, 1, 2, 0] {
            world.input(Pnn(pnn), Input::RecoveryRequested { reason: "test" });
        }
        world.run_ms(2_000);
        assert_eq!(world.generation(Pnn(0)).0, generation.0 + 2);
    }

    #[test]
    fn a_leader_that_dies_in_any_phase_is_followed_by_one_that_finishes() {
        for killed_after_ms in 0..12 {
            let mut world = World::running(3, Quorum::Majority);
            let leader = world.leader(Pnn(0)).unwrap();
            let others: Vec<Pnn> = (0..3).map(Pnn).filter(|pnn| *pnn != leader).collect();
            world.input(others[0], Input::RecoveryRequested { reason: "test" });
            world.run_ms(killed_after_ms);
            world.kill(leader);
            world.ms_until(1_000, |w| others.iter().all(|p| w.members(*p) == others));
            assert_eq!(last_order(&world, others[0]).contributors, others);
            assert!(others.iter().all(|pnn| world.fences_of(*pnn) == 0));
        }
    }

    #[test]
    fn a_member_that_dies_in_any_phase_is_left_behind() {
        for killed_after_ms in 0..12 {
            let mut world = World::running(3, Quorum::Majority);
            let leader = world.leader(Pnn(0)).unwrap();
            let others: Vec<Pnn> = (0..3).map(Pnn).filter(|pnn| *pnn != leader).collect();
            world.input(others[0], Input::RecoveryRequested { reason: "test" });
            world.run_ms(killed_after_ms);
            world.kill(others[0]);
            world.ms_until(1_000, |w| w.members(leader).len() == 2 && w.is_normal(leader));
        }
    }

    #[test]
    fn a_rebuild_that_fails_is_tried_again() {
        let mut world = World::running(3, Quorum::Majority);
        let generation = world.generation(Pnn(0));
        world.input(Pnn(1), Input::RecoveryRequested { reason: "test" });
        let rebuilding = Generation(generation.0 + 1);
        world.ms_until(100, |w| {
            let order =
                |e: &Effect| matches!(e, Effect::Rebuild(o) if o.prospect.generation == rebuilding);
            w.effects.iter().any(|(_, pnn, effect)| *pnn == Pnn(1) && order(effect))
        });
        world.input(Pnn(1), Input::RebuildFailed { generation: rebuilding });
        world.ms_until(1_000, |w| (0..3).all(|pnn| w.generation(Pnn(pnn)).0 == generation.0 + 2));
        assert_eq!(world.fences_of(Pnn(1)), 0);
    }
}
