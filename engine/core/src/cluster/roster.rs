//! Who should be a member of the next generation, as the leader sees it.

use crate::cluster::peer::{Peer, Presence};
use crate::cluster::{Capabilities, Cluster, Micros, Quorum};
use alloc::vec::Vec;
use bateria_wire::{Generation, Pnn};

/// Nodes with the incarnations that were chosen, by ascending PNN.
pub(super) type Roster = Vec<(Pnn, u64)>;

/// Rosters that may be in force at a time. Beyond it, nobody relies on counting their members.
pub(super) const ROSTERS_COUNT_MAX: usize = 64;

impl Cluster {
    /// The ready nodes of which each hears each: records travel between any two directly, so a
    /// pair without a link cannot be in one generation (database semantics §10.3).
    pub(super) fn roster(&self) -> Roster {
        let mut roster: Roster = self
            .peers
            .iter()
            .filter(|(pnn, peer)| peer.is_ready() || self.is_interrupted_member(**pnn))
            .filter(|(pnn, peer)| !self.is_left_out(**pnn, peer.incarnation))
            .map(|(pnn, peer)| (*pnn, peer.incarnation))
            .collect();
        while let Some(index) = self.worst_connected(&roster) {
            roster.remove(index);
        }
        let own = roster.partition_point(|(pnn, _)| *pnn < self.config.pnn);
        roster.insert(own, (self.config.pnn, self.incarnation));
        roster
    }

    /// Those over which record locations are hashed; the leader alone when no node may be LMASTER.
    pub(super) fn lmasters_of(&self, roster: &Roster) -> Vec<Pnn> {
        let capable = |pnn: Pnn| {
            let peer = self.peers.get(&pnn);
            let capabilities = peer.map_or(self.capabilities, Peer::capabilities);
            capabilities.contains(Capabilities::LMASTER)
        };
        let lmasters: Vec<Pnn> =
            roster.iter().map(|(pnn, _)| *pnn).filter(|pnn| capable(*pnn)).collect();
        if lmasters.is_empty() { Vec::from([self.config.pnn]) } else { lmasters }
    }

    /// Whether some of `roster` has a broken link that may be mended at any moment.
    pub(super) fn waits_for_link(&self, roster: &Roster) -> bool {
        roster.iter().any(|(pnn, _)| self.peers.get(pnn).is_some_and(|peer| !peer.linked))
    }

    /// With a cluster lock: the nodes left out that may still be active (see `lease`), and until
    /// when. `since` is when this node got the lock.
    pub(super) fn active_outside(&self, roster: &Roster, since: Micros) -> (Vec<Pnn>, Micros) {
        if self.config.quorum != Quorum::Lock {
            return (Vec::new(), Micros(0));
        }
        let outside = |pnn: Pnn| roster.iter().all(|(member, _)| *member != pnn);
        let dangerous: Vec<(&Pnn, &Peer)> = self
            .peers
            .iter()
            .filter(|(pnn, peer)| outside(**pnn) && !self.is_harmless(peer, since))
            .collect();
        let Some(heard_at) = dangerous.iter().map(|(_, peer)| peer.heard_at).max() else {
            return (Vec::new(), Micros(0));
        };
        let until = if self.has_most_of_all(roster) {
            // The former leader's grants ended when the lock came here; our own and those of the
            // members are waited for by whoever gave them.
            since.after(self.config.timing.detection_us)
        } else {
            // The time without a leader counts from the last grant of one: the former before the
            // lock came here, or us. Clocks may run apart by a tenth.
            let leaderless_us = self.config.timing.leaderless_us;
            heard_at.max(since).after(leaderless_us + leaderless_us / 10)
        };
        let nodes = dangerous.into_iter().map(|(pnn, _)| *pnn).filter(|_| until > self.now);
        (nodes.collect(), until)
    }

    /// Whether more than half of the members of each generation that may be in force come along:
    /// when they stop granting, those outside are less than half.
    fn has_most_of_all(&self, roster: &Roster) -> bool {
        let has_most_of = |members: &Roster| {
            let with_us = members.iter().filter(|member| roster.contains(member)).count();
            with_us * 2 > members.len()
        };
        let rosters = &self.member.rosters;
        !rosters.is_empty() && rosters.len() <= ROSTERS_COUNT_MAX && rosters.iter().all(has_most_of)
    }

    /// Whether a node outside holds nothing, known for sure since this node leads: what was known
    /// before may be old, and the former leader may have taken the node in since then.
    fn is_harmless(&self, peer: &Peer, since: Micros) -> bool {
        let follows_empty = peer.in_contact().is_some_and(|beat| {
            beat.leader == self.config.pnn.0
                && beat.term == self.election.term
                && !Generation(beat.committed).is_valid()
        });
        let ended = peer.presence == Presence::Gone && peer.ended_at >= since;
        follows_empty || ended || peer.presence == Presence::Deleted
    }

    /// A member that stays one while its link is being mended.
    fn is_interrupted_member(&self, pnn: Pnn) -> bool {
        let peer = &self.peers[&pnn];
        let interrupted = peer.is_here() && !peer.linked && !peer.foreign;
        interrupted && self.attempt_members().contains(&(pnn, peer.incarnation))
    }

    /// Whom to leave out next, if some pair of `roster` does not hear each other: the node with
    /// most such pairs; among equals one that is no member now, then the highest PNN.
    fn worst_connected(&self, roster: &Roster) -> Option<usize> {
        let hears = |from: Pnn, to: Pnn| {
            let beat = self.peers.get(&from).and_then(|peer| peer.beat.as_ref());
            beat.is_some_and(|(_, beat)| beat.reaches.binary_search(&to.0).is_ok())
        };
        let strangers = |pnn: Pnn| {
            let others = roster.iter().map(|(other, _)| *other).filter(|other| *other != pnn);
            others.filter(|other| !hears(pnn, *other) || !hears(*other, pnn)).count()
        };
        (0..roster.len())
            .map(|index| (strangers(roster[index].0), index))
            .filter(|(count, _)| *count > 0)
            .max_by_key(|(count, index)| {
                (*count, !self.attempt_members().contains(&roster[*index]), *index)
            })
            .map(|(_, index)| index)
    }

    fn is_left_out(&self, pnn: Pnn, incarnation: u64) -> bool {
        let left_out = self.lead.as_ref().and_then(|lead| lead.left_out.get(&pnn));
        left_out.is_some_and(|(life, until)| *life == incarnation && *until > self.now)
    }

    fn attempt_members(&self) -> &[(Pnn, u64)] {
        let attempt = self.lead.as_ref().and_then(|lead| lead.attempt.as_ref());
        attempt.map_or(&[], |attempt| &attempt.members)
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Capabilities, Input, Quorum};
    use bateria_wire::Pnn;

    #[test]
    fn of_a_pair_without_link_one_is_left_out_and_comes_back() {
        let mut world = World::running(3, Quorum::Majority);
        let leader = world.leader(Pnn(0)).unwrap();
        let pair: alloc::vec::Vec<Pnn> = (0..3).map(Pnn).filter(|pnn| *pnn != leader).collect();
        world.cut(&[pair[0].0], &[pair[1].0]);
        world.ms_until(3_000, |w| w.members(leader) == [leader.min(pair[0]), leader.max(pair[0])]);
        assert_eq!((world.fences_of(pair[0]), world.fences_of(pair[1])), (0, 1));
        let generation = world.generation(leader);
        world.run_ms(5_000);
        assert_eq!(world.generation(leader), generation);
        world.heal();
        world.ms_until(1_000, |w| w.members(pair[1]).len() == 3);
    }

    #[test]
    fn the_map_holds_the_nodes_that_may_be_lmaster() {
        let mut world = World::running(3, Quorum::Majority);
        let without = Capabilities::default() - Capabilities::LMASTER;
        world.input(Pnn(1), Input::SetCapabilities(without));
        let lmasters = |w: &World, pnn| w.node(Pnn(pnn)).view().vnn_map.lmasters.clone();
        world.ms_until(1_000, |w| lmasters(w, 2) == [Pnn(0), Pnn(2)]);
        assert_eq!(world.members(Pnn(2)).len(), 3);
        world.input(Pnn(0), Input::SetCapabilities(without));
        world.input(Pnn(2), Input::SetCapabilities(without));
        world.ms_until(1_000, |w| lmasters(w, 1) == [w.leader(Pnn(0)).unwrap()]);
    }

    #[test]
    fn nodes_with_other_settings_stay_apart() {
        let mut world = World::new(3, Quorum::Majority);
        world.start(Pnn(0));
        world.start(Pnn(1));
        world.start_with(Pnn(2), |config| config.settings_crc32c = 2);
        world.run_ms(3_000);
        assert_eq!(world.members(Pnn(0)), [Pnn(0), Pnn(1)]);
        assert!(world.members(Pnn(2)).is_empty());
    }
}
