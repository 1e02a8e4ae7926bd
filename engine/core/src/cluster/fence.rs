//! Leaving on one's own: a node that may no longer act removes itself (database semantics Q8).

use crate::cluster::member::Stage;
use crate::cluster::{Cluster, Effect, Fact, FenceReason, Prospect, RunState};
use bateria_wire::Generation;
use bateria_wire::control::{ControlHead, Want};

impl Cluster {
    /// Whether clients of this node may hold volatile data that others count on.
    pub(super) fn has_data(&self) -> bool {
        self.member.committed.generation.is_valid()
    }

    /// Gives everything up: clients, volatile data, leadership. The node stays in the network, and
    /// votes, but is a fresh one once the driver said `Fenced`.
    pub(super) fn fence(&mut self, reason: FenceReason) {
        if self.fencing {
            return;
        }
        self.fencing = true;
        // What the same step asked for before is of a node that had the right to ask.
        self.out.insert(0, Effect::Fence { reason });
        self.log(Fact::Fenced { reason });
        self.step_down();
        // History that was abandoned must not count as the newest one when the node returns.
        self.member.committed = Prospect::none();
        self.member.rebuilt = Generation::INVALID;
        self.member.entered = Generation::INVALID;
        self.member.entered_with.clear();
        self.member.stage = Stage::Outside;
        self.member.want = Want::Nothing;
        self.member.rosters.clear();
        self.member.ended.clear();
        self.leader_granted_sent = None;
        self.peers.values_mut().for_each(|peer| peer.granted_sent = None);
    }

    /// The node becomes inactive or leaves: fences it if there is something to lose.
    pub(super) fn withdraw(&mut self, reason: FenceReason) {
        if self.has_data() || self.member.stage != Stage::Outside {
            self.fence(reason);
        } else {
            self.step_down();
        }
    }

    /// Clients are gone. The new incarnation tells the peers that nothing can happen here any more.
    pub(super) fn fenced(&mut self) {
        if !core::mem::take(&mut self.fencing) {
            return;
        }
        self.incarnation = self.incarnation.wrapping_add(1).max(1);
        if self.run_state == RunState::Shutdown {
            self.leave();
        } else {
            self.log(Fact::Rejoining);
        }
    }

    pub(super) fn shutdown(&mut self) {
        if self.run_state == RunState::Shutdown {
            return;
        }
        self.run_state = RunState::Shutdown;
        self.withdraw(FenceReason::Shutdown);
        if !self.fencing {
            self.leave();
        }
    }

    /// Saves the peers the detection time.
    fn leave(&mut self) {
        let linked = self.peers.iter_mut().filter(|(_, peer)| peer.linked);
        for (pnn, peer) in linked {
            // The peers know the life they saw, and only that one can leave.
            let incarnation = self.announced.as_ref().map_or(self.incarnation, |b| b.incarnation);
            let head = ControlHead::Leaving { incarnation };
            self.out.push(Effect::Send { to: *pnn, head });
            peer.linked = false;
        }
        self.left = true;
        self.out.push(Effect::Left);
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Effect, Input, Micros, Quorum};
    use bateria_wire::{NodeFlags, Pnn};

    fn set(flags: NodeFlags) -> Input {
        Input::SetFlags { set: flags, clear: NodeFlags::empty() }
    }

    fn clear(flags: NodeFlags) -> Input {
        Input::SetFlags { set: NodeFlags::empty(), clear: flags }
    }

    #[test]
    fn a_stopped_node_leaves_the_members_and_comes_back_fresh() {
        for pnn in (0..3).map(Pnn) {
            let mut world = World::running(3, Quorum::Majority);
            let other = Pnn((pnn.0 + 1) % 3);
            world.input(pnn, set(NodeFlags::STOPPED));
            assert!(world.members(pnn).is_empty());
            let took_ms = world.ms_until(1_000, |w| w.members(other).len() == 2);
            assert!(took_ms < 250, "took {took_ms} ms");
            world.run_ms(3_000);
            assert!(!world.is_normal(pnn));
            world.input(pnn, clear(NodeFlags::STOPPED));
            world.ms_until(1_000, |w| w.members(pnn).len() == 3);
            assert_eq!(world.fences_of(pnn), 1);
            assert_eq!(world.fences_of(other), 0);
        }
    }

    #[test]
    fn stopped_nodes_still_count_for_the_majority() {
        let mut world = World::running(3, Quorum::Majority);
        world.input(Pnn(0), set(NodeFlags::STOPPED));
        world.input(Pnn(1), set(NodeFlags::BANNED));
        world.ms_until(2_000, |w| w.members(Pnn(2)) == [Pnn(2)] && w.is_normal(Pnn(2)));
        world.run_ms(5_000);
        assert_eq!(world.fences_of(Pnn(2)), 0);
    }

    #[test]
    fn a_disabled_node_stays_a_member() {
        let mut world = World::running(3, Quorum::Majority);
        let generation = world.generation(Pnn(0));
        world.input(Pnn(1), set(NodeFlags::PERMANENTLY_DISABLED));
        world.run_ms(1_000);
        assert_eq!(world.generation(Pnn(0)), generation);
        assert_eq!(world.node(Pnn(0)).view().nodes[1].flags, NodeFlags::PERMANENTLY_DISABLED);
    }

    #[test]
    fn a_holder_of_the_lock_that_is_fenced_keeps_no_lease() {
        let mut world = World::running(3, Quorum::Lock);
        let holder = world.lock_holder.unwrap();
        world.input(holder, set(NodeFlags::STOPPED));
        assert_eq!(world.node(holder).lease_until(), Micros(0));
    }

    #[test]
    fn a_node_that_shuts_down_costs_its_peers_no_waiting() {
        for pnn in (0..3).map(Pnn) {
            let mut world = World::running(3, Quorum::Majority);
            let other = Pnn((pnn.0 + 1) % 3);
            world.input(pnn, Input::Shutdown);
            let took_ms = world.ms_until(1_000, |w| w.members(other).len() == 2);
            assert!(took_ms < 250, "took {took_ms} ms");
            assert!(world.effects.iter().any(|(_, n, e)| *n == pnn && *e == Effect::Left));
        }
    }
}
