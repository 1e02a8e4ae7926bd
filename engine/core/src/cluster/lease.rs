//! Leases: why two sides of a cluster are never both active.
//!
//! A node with data may act only while a quorum answers its heartbeats with a grant. The grant
//! counts from when the node *sent* the answered heartbeat, so a grant that lies in a buffer while
//! the node stands still is worth nothing when it is read. Whoever grants remembers when it
//! *received* that heartbeat, which is later, and waits the longer `detection_us` from there.
//!
//! ```text
//!   member Z   --- beat sent ------------ lease_us -----------> fenced
//!                       \        grant is read here, counts from "sent"
//!   grantor Y  ------ received ------------ detection_us --------------> horizon
//! ```
//!
//! A node promises its grants to the members of one generation, the highest it prepared for, and
//! says `Prepared` only when the horizon of every node left out has passed. With `Majority` a
//! generation needs the promise of more than half of the nodes, so those left out find less than
//! half to grant them anything, and have fenced themselves before the others commit. That holds
//! whoever leads, and survives the leader: members keep each other alive while they elect.
//!
//! With `Lock`, the holder's grant suffices; a new holder waits until the former one's have ended.
//! While there is no leader, half of the members of the committed generation keep each other
//! active, but for `leaderless_us` at most: a holder that does not have more than half of those
//! members with it waits that long before it goes on.

use crate::cluster::roster::{ROSTERS_COUNT_MAX, Roster};
use crate::cluster::{Cluster, FenceReason, Micros, Quorum};
use alloc::vec::Vec;
use bateria_wire::Pnn;

impl Cluster {
    /// When this node's right to act ends, unless grants arrive.
    pub(super) fn lease_until(&self) -> Micros {
        match self.config.quorum {
            Quorum::None => Micros::NEVER,
            Quorum::Majority => self.granted_by(self.config.voters_count() / 2, |_| true),
            Quorum::Lock if self.lock.is_held() => Micros::NEVER,
            Quorum::Lock => self.lease_under_lock(),
        }
    }

    /// Fences a node whose right to act has ended. Runs before anything else in a step: what
    /// arrived meanwhile may already be answered by others in this node's place.
    pub(super) fn judge_own_right(&mut self, stalled_us: u64) {
        if !self.has_data() {
            return;
        }
        let alone = self.config.voters_count() == 1;
        if stalled_us > self.config.timing.lease_us && !alone {
            self.fence(FenceReason::Stalled { stalled_us });
            return;
        }
        let until = self.lease_until();
        if until <= self.now {
            let lease_us = self.config.timing.lease_us;
            let silent_us = self.now.since(until).saturating_add(lease_us);
            let silent_us = silent_us.min(self.now.since(self.started_at));
            self.fence(FenceReason::LeaseExpired { silent_us });
        }
    }

    /// When the last of the leases that this node granted to nodes outside `members` has ended.
    /// `gone` are lives that the leader knows to have ended.
    pub(super) fn excluded_until(&self, members: &[Pnn], gone: &[(Pnn, u64)]) -> Micros {
        if self.config.quorum == Quorum::None {
            return Micros(0);
        }
        self.peers
            .iter()
            .filter(|(pnn, _)| members.binary_search(pnn).is_err())
            .filter(|(pnn, peer)| !gone.contains(&(**pnn, peer.incarnation)))
            .map(|(_, peer)| peer.horizon)
            .max()
            .unwrap_or(Micros(0))
    }

    /// Whether this node answers the heartbeats of that life of a peer with a grant.
    pub(super) fn grants(&self, pnn: Pnn, incarnation: u64) -> bool {
        self.member.promised_with.contains(&(pnn, incarnation))
    }

    /// When the lease ends that needs `count` grants of peers in `from`.
    fn granted_by(&self, count: usize, from: impl Fn(Pnn) -> bool) -> Micros {
        let Some(last) = count.checked_sub(1) else { return Micros::NEVER };
        let granted = self.peers.iter().filter(|(pnn, _)| from(**pnn));
        let mut sent: Vec<Micros> = granted.filter_map(|(_, peer)| peer.granted_sent).collect();
        sent.sort_unstable_by(|left, right| right.cmp(left));
        sent.get(last).map_or(Micros(0), |sent| sent.after(self.config.timing.lease_us))
    }

    fn lease_under_lock(&self) -> Micros {
        let Some(led) = self.leader_granted_sent else { return Micros(0) };
        let rosters = &self.member.rosters;
        let together = if rosters.len() <= ROSTERS_COUNT_MAX {
            rosters.iter().map(|roster| self.half_of(roster)).min().unwrap_or(Micros(0))
        } else {
            Micros(0)
        };
        let leaderless = led.after(self.config.timing.leaderless_us);
        led.after(self.config.timing.lease_us).max(together.min(leaderless))
    }

    /// How long this node and others are at least half of these members. Lives that have ended are
    /// on nobody's side; the grants of their successors do not count again.
    fn half_of(&self, roster: &Roster) -> Micros {
        let own = (self.config.pnn, self.incarnation);
        let certain = |life: &(Pnn, u64)| *life == own || self.member.ended.contains(life);
        let needed = roster.len().div_ceil(2);
        let needed = needed.saturating_sub(roster.iter().filter(|life| certain(life)).count());
        self.granted_by(needed, |pnn| roster.iter().any(|life| life.0 == pnn && !certain(life)))
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Effect, Micros, Quorum};
    use alloc::vec::Vec;
    use bateria_wire::Pnn;

    fn fenced_at(world: &World, pnn: Pnn) -> Option<Micros> {
        let fences =
            world.effects.iter().filter(|(_, n, e)| *n == pnn && matches!(e, Effect::Fence { .. }));
        fences.map(|(at, ..)| *at).next()
    }

    fn committed_at(world: &World, pnn: Pnn, count: usize) -> Option<Micros> {
        let commits = world.effects.iter().filter(|(_, n, e)| {
            *n == pnn && matches!(e, Effect::Commit(prospect) if prospect.members.len() == count)
        });
        commits.map(|(at, ..)| *at).next_back()
    }

    #[test]
    fn the_small_side_is_fenced_before_the_large_one_goes_on() {
        for alone in 0..3 {
            let mut world = World::running(3, Quorum::Majority);
            let others: Vec<u32> = (0..3).filter(|pnn| *pnn != alone).collect();
            world.cut(&[alone], &others);
            let pair = Pnn(others[0]);
            world.ms_until(2_000, |w| committed_at(w, pair, 2).is_some());
            let fenced = fenced_at(&world, Pnn(alone)).expect("the lone node is fenced");
            assert!(fenced < committed_at(&world, pair, 2).unwrap());
            assert_eq!((world.fences_of(Pnn(others[0])), world.fences_of(Pnn(others[1]))), (0, 0));
        }
    }

    #[test]
    fn a_node_that_stood_still_fences_before_anything_else() {
        let mut world = World::running(3, Quorum::Majority);
        world.stop(Pnn(1));
        world.run_ms(5_000);
        let before = world.effects.len();
        world.resume(Pnn(1));
        let (_, pnn, effect) = &world.effects[before];
        assert!(*pnn == Pnn(1) && matches!(effect, Effect::Fence { .. }), "{effect:?}");
        world.ms_until(1_000, |w| w.members(Pnn(1)).len() == 3);
    }

    #[test]
    fn a_short_pause_costs_nothing() {
        let mut world = World::running(3, Quorum::Majority);
        let generation = world.generation(Pnn(0));
        world.stop(Pnn(1));
        world.run_ms(350);
        world.stop_ends_quietly(Pnn(1));
        world.run_ms(2_000);
        assert_eq!(world.fences_of(Pnn(1)), 0);
        assert_eq!(world.generation(Pnn(0)), generation);
    }

    #[test]
    fn all_partitioned_from_all_are_all_fenced() {
        let mut world = World::running(3, Quorum::Majority);
        world.cut(&[0], &[1, 2]);
        world.cut(&[1], &[2]);
        world.run_ms(1_000);
        assert!((0..3).all(|pnn| world.fences_of(Pnn(pnn)) == 1));
        world.heal();
        world.ms_until(1_000, |w| (0..3).all(|pnn| w.members(Pnn(pnn)).len() == 3));
    }

    #[test]
    fn a_starting_node_without_quorum_is_not_fenced_but_waits() {
        let mut world = World::new(3, Quorum::Majority);
        world.start(Pnn(0));
        world.run_ms(10_000);
        assert_eq!(world.fences_of(Pnn(0)), 0);
        assert!(!world.is_normal(Pnn(0)));
    }

    #[test]
    fn with_a_lock_the_holder_alone_waits_for_those_who_keep_each_other_active() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        let others: Vec<u32> = (0..3).filter(|pnn| Pnn(*pnn) != holder).collect();
        world.cut(&[holder.0], &others);
        world.ms_until(20_000, |w| committed_at(w, holder, 1).is_some());
        let alone_at = committed_at(&world, holder, 1).unwrap();
        for pnn in others {
            assert!(fenced_at(&world, Pnn(pnn)).expect("no lock, no leader") < alone_at);
        }
        assert_eq!(world.fences_of(holder), 0);
    }

    #[test]
    fn with_a_lock_the_holder_and_most_members_go_on_at_once() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        let alone = (0..3).map(Pnn).find(|pnn| *pnn != holder).unwrap();
        let others: Vec<u32> = (0..3).filter(|pnn| Pnn(*pnn) != alone).collect();
        world.cut(&[alone.0], &others);
        let took_ms = world.ms_until(2_000, |w| committed_at(w, holder, 2).is_some());
        assert!(took_ms < 800, "took {took_ms} ms");
        let fenced = fenced_at(&world, alone).expect("neither leader nor half of the members");
        assert!(fenced < committed_at(&world, holder, 2).unwrap());
    }
}
