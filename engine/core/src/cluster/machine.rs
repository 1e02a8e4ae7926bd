//! The machine: one event in, effects out.

use crate::cluster::election::Election;
use crate::cluster::lead::Lead;
use crate::cluster::lock_race::LockRace;
use crate::cluster::member::{Membership, Stage};
use crate::cluster::peer::Peer;
use crate::cluster::random::Random;
use crate::cluster::{
    Capabilities, Config, Effect, Fact, FenceReason, Input, Micros, NodeView, RecoveryMode,
    RunState, View,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bateria_wire::control::{ControlHead, Heartbeat, Want};
use bateria_wire::{NodeFlags, Pnn};

/// One node's part in its cluster. See the module's page for its files.
#[derive(Debug)]
pub struct Cluster {
    pub(super) config: Config,
    pub(super) now: Micros,
    pub(super) started_at: Micros,
    /// When the next `Input::Tick` is due.
    pub(super) alarm: Micros,
    pub(super) random: Random,
    pub(super) incarnation: u64,
    pub(super) flags: NodeFlags,
    pub(super) capabilities: Capabilities,
    pub(super) run_state: RunState,
    /// `Effect::Fence` was asked for and is not done yet.
    pub(super) fencing: bool,
    pub(super) left: bool,
    pub(super) peers: BTreeMap<Pnn, Peer>,
    pub(super) election: Election,
    pub(super) lock: LockRace,
    pub(super) member: Membership,
    pub(super) lead: Option<Lead>,
    /// Own send time of the latest heartbeat whose echo was a leader's grant.
    pub(super) leader_granted_sent: Option<Micros>,
    pub(super) announced: Option<Heartbeat>,
    pub(super) recovery_started_at: Option<Micros>,
    pub(super) recovery_finished_at: Option<Micros>,
    pub(super) recoveries_count: u64,
    pub(super) out: Vec<Effect>,
    /// Frames of this node to itself.
    loopback: VecDeque<ControlHead>,
    view: View,
}

impl Cluster {
    /// A node that knows nothing of the others yet.
    ///
    /// # Panics
    /// When `Config::check` finds a fault.
    #[must_use]
    pub fn new(config: Config, now: Micros) -> Self {
        if let Err(fault) = config.check() {
            panic!("the settings were checked before: {fault}");
        }
        // The former life of this process may have granted leases until just now.
        let horizon = now.after(config.timing.detection_us);
        let others = config.nodes.iter().filter(|node| node.pnn != config.pnn);
        let peers = others.map(|node| (node.pnn, Peer::unknown(node.deleted, horizon))).collect();
        let mut cluster = Self {
            now,
            started_at: now,
            alarm: now,
            random: Random::new(config.seed),
            incarnation: config.incarnation,
            flags: config.flags,
            capabilities: config.capabilities,
            run_state: RunState::Init,
            fencing: false,
            left: false,
            peers,
            election: Election::new(config.vote),
            lock: LockRace::new(config.timing.lock_retry_min_us),
            member: Membership::new(),
            lead: None,
            leader_granted_sent: None,
            announced: None,
            recovery_started_at: None,
            recovery_finished_at: None,
            recoveries_count: 0,
            out: Vec::new(),
            loopback: VecDeque::new(),
            view: View::of_nobody(config.pnn),
            config,
        };
        cluster.view = cluster.look();
        cluster
    }

    /// Advances the machine by one event and appends what the driver has to do, in order.
    pub fn step(&mut self, now: Micros, input: Input, effects: &mut Vec<Effect>) {
        if self.left {
            return;
        }
        let stalled_us = now.since(self.now);
        self.now = self.now.max(now);
        self.alarm = Micros::NEVER;
        self.judge_own_right(stalled_us);
        self.take(input);
        self.advance();
        if !self.left {
            self.announce();
            self.set_alarm();
        }
        let view = self.look();
        if view != self.view {
            self.view = view;
            self.out.push(Effect::ViewChanged);
        }
        effects.append(&mut self.out);
    }

    /// When `Input::Tick` is due if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Micros {
        self.alarm
    }

    /// What the rest of the daemon sees; `Effect::ViewChanged` tells when it differs.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The number that this node's connections have to announce.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this node can be a member of a generation.
    pub(super) fn is_ready(&self) -> bool {
        let in_service = (RunState::FirstRecovery..RunState::Shutdown).contains(&self.run_state);
        in_service && !self.fencing && self.flags.is_active()
    }

    /// Other nodes that frames reach.
    pub(super) fn contacts_count(&self) -> usize {
        self.peers.values().filter(|peer| peer.in_contact().is_some()).count()
    }

    pub(super) fn send(&mut self, to: Pnn, head: ControlHead) {
        if to == self.config.pnn {
            self.loopback.push_back(head);
        } else if self.peers.get(&to).is_some_and(|peer| peer.linked) {
            self.out.push(Effect::Send { to, head });
        }
    }

    pub(super) fn log(&mut self, fact: Fact) {
        self.out.push(Effect::Log(fact));
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::LinkUp { peer, incarnation } => self.link_up(peer, incarnation),
            Input::LinkDown { peer, how } => self.link_down(peer, how),
            Input::LanesReset { peer } => {
                self.log(Fact::LanesReset { node: peer });
                self.want_repair(peer);
            }
            Input::Frame { from, head } => self.frame(from, head),
            Input::VotePersisted { term, voted_for } => self.vote_persisted(term, voted_for),
            Input::Lock(event) => self.lock_event(event),
            Input::Quiesced { generation, databases } => self.quiesced(generation, databases),
            Input::Rebuilt { generation } => self.rebuilt(generation),
            Input::RebuildFailed { generation } => self.rebuild_failed(generation),
            Input::Fenced => self.fenced(),
            Input::Started(state) => self.started(state),
            Input::RecoveryRequested { reason } => {
                self.log(Fact::RecoveryRequested { reason });
                self.want(Want::Recovery);
            }
            Input::SetFlags { set, clear } => self.set_flags(set, clear),
            Input::SetCapabilities(capabilities) => self.capabilities = capabilities,
            Input::Shutdown => self.shutdown(),
        }
    }

    fn frame(&mut self, from: Pnn, head: ControlHead) {
        let Some(peer) = self.peers.get_mut(&from).filter(|peer| peer.linked) else { return };
        assert!(peer.is_here(), "a link to a silent peer is dropped");
        peer.heard_at = self.now;
        if let Some(rule) = self.broken_rule(&head) {
            self.log(Fact::FrameRefused { node: from, rule });
            self.out.push(Effect::DropLink { peer: from });
            self.link_down(from, crate::cluster::LinkLoss::Reset);
            return;
        }
        let foreign = self.peers.get(&from).is_some_and(|peer| peer.foreign);
        let sociable = matches!(head, ControlHead::Heartbeat(_) | ControlHead::Leaving { .. });
        if !foreign || sociable {
            self.dispatch(from, head);
        }
    }

    fn dispatch(&mut self, from: Pnn, head: ControlHead) {
        match head {
            ControlHead::Heartbeat(beat) => self.heartbeat(from, beat),
            ControlHead::Echo(echo) => self.echo(from, echo),
            ControlHead::VoteRequest(request) => self.vote_request(from, request),
            ControlHead::VoteAnswer(answer) => self.vote_answer(from, answer),
            ControlHead::Prepare(prepare) => self.prepare(from, prepare),
            ControlHead::Prepared(prepared) => self.prepared(from, prepared),
            ControlHead::Rebuild(rebuild) if self.leads(from) => self.rebuild(rebuild),
            ControlHead::Commit { generation } if self.leads(from) => {
                self.commit(bateria_wire::Generation(generation));
            }
            ControlHead::Rebuild(_) | ControlHead::Commit { .. } => {}
            ControlHead::Rebuilt { generation } => self.member_rebuilt(from, generation),
            ControlHead::RebuildFailed { generation } => self.member_failed(from, generation),
            ControlHead::Leaving { incarnation } => self.leaving(from, incarnation),
        }
    }

    /// Whether `from` made the generation that this node prepared for last.
    fn leads(&self, from: Pnn) -> bool {
        self.election.leader == Some(from)
    }

    /// What a sound head says that cannot be: a node that is not in the nodes file, a generation
    /// without its leader.
    fn broken_rule(&self, head: &ControlHead) -> Option<&'static str> {
        let known = |pnn: u32| pnn == self.config.pnn.0 || self.peers.contains_key(&Pnn(pnn));
        match head {
            ControlHead::Heartbeat(beat) if !beat.reaches.iter().all(|pnn| known(*pnn)) => {
                Some("it reaches a node that is not in the nodes list")
            }
            ControlHead::Prepare(prepare) if !prepare.members.iter().all(|m| known(m.pnn)) => {
                Some("a member is not in the nodes list")
            }
            ControlHead::Prepare(prepare) if prepare.lmasters.is_empty() => {
                Some("a generation has at least one LMASTER")
            }
            ControlHead::Prepare(prepare)
                if !prepare
                    .lmasters
                    .iter()
                    .all(|l| prepare.members.iter().any(|m| m.pnn == *l)) =>
            {
                Some("LMASTERs are members")
            }
            _ => None,
        }
    }

    /// Lets everything happen that waits for nothing more.
    fn advance(&mut self) {
        self.notice_silence();
        loop {
            self.advance_promise();
            self.advance_commit();
            self.advance_election();
            self.advance_lock();
            self.advance_lead();
            let Some(head) = self.loopback.pop_front() else { break };
            self.dispatch(self.config.pnn, head);
        }
    }

    fn set_alarm(&mut self) {
        if self.has_data() || self.member.stage == Stage::Committing {
            self.alarm = self.alarm.min(self.lease_until());
        }
        // A node must be able to tell a quiet time from one in which it stood still.
        let heartbeat = self.now.after(self.config.timing.heartbeat_interval_us);
        self.alarm = self.alarm.min(heartbeat).max(Micros(self.now.0 + 1));
    }

    fn started(&mut self, state: RunState) {
        assert!(state <= RunState::FirstRecovery, "later states follow from generations");
        self.run_state = self.run_state.max(state);
    }

    fn set_flags(&mut self, set: NodeFlags, clear: NodeFlags) {
        // These two are observations of others and of the nodes file.
        let own = NodeFlags::all() - NodeFlags::DISCONNECTED - NodeFlags::DELETED;
        self.flags = (self.flags - (clear & own)) | (set & own);
        if !self.flags.is_active() {
            self.withdraw(FenceReason::Inactive);
        }
    }

    fn look(&self) -> View {
        let mut nodes: Vec<NodeView> =
            self.peers.iter().map(|(pnn, peer)| peer.view(*pnn)).collect();
        let own = nodes.partition_point(|node| node.pnn < self.config.pnn);
        nodes.insert(own, self.own_view());
        let in_force = self.has_data() && self.member.stage == Stage::Committed;
        View {
            pnn: self.config.pnn,
            leader: self.election.leader,
            term: self.election.term,
            nodes,
            vnn_map: self.member.committed.vnn_map(),
            members: self.member.committed.members.clone(),
            recovery_mode: if in_force { RecoveryMode::Normal } else { RecoveryMode::Active },
            run_state: self.run_state,
            last_recovery_started: self.recovery_started_at,
            last_recovery_finished: self.recovery_finished_at,
            recoveries_count: self.recoveries_count,
        }
    }

    fn own_view(&self) -> NodeView {
        NodeView {
            pnn: self.config.pnn,
            flags: self.flags,
            connected: true,
            incarnation: self.incarnation,
            capabilities: self.capabilities,
            run_state: self.run_state,
        }
    }
}

impl View {
    fn of_nobody(pnn: Pnn) -> Self {
        Self {
            pnn,
            leader: None,
            term: 0,
            nodes: Vec::new(),
            vnn_map: bateria_wire::VnnMap::default(),
            members: Vec::new(),
            recovery_mode: RecoveryMode::Active,
            run_state: RunState::Init,
            last_recovery_started: None,
            last_recovery_finished: None,
            recoveries_count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cluster::world::World;
    use crate::cluster::{Quorum, RunState};
    use bateria_wire::{NodeFlags, Pnn};

    #[test]
    fn three_nodes_are_a_cluster_well_within_a_second() {
        for quorum in [Quorum::Majority, Quorum::Lock, Quorum::None] {
            let mut world = World::new(3, quorum);
            (0..3).for_each(|pnn| world.start(Pnn(pnn)));
            let normal = |world: &World| (0..3).all(|pnn| world.members(Pnn(pnn)).len() == 3);
            let took_ms = world.ms_until(1_000, normal);
            assert!(took_ms < 300, "{quorum:?} took {took_ms} ms");
            world.run_ms(2);
            let view = world.node(Pnn(1)).view();
            assert_eq!(view.run_state, RunState::Running);
            assert_eq!(view.vnn_map.lmasters, [Pnn(0), Pnn(1), Pnn(2)]);
            assert!(view.nodes.iter().all(|node| node.flags == NodeFlags::empty()));
        }
    }

    #[test]
    fn a_single_node_works_at_once() {
        for quorum in [Quorum::Majority, Quorum::Lock, Quorum::None] {
            let mut world = World::new(1, quorum);
            world.start(Pnn(0));
            let took_ms = world.ms_until(1_000, |world| world.is_normal(Pnn(0)));
            assert!(took_ms < 20, "{quorum:?} took {took_ms} ms");
        }
    }

    #[test]
    fn a_quiet_cluster_stays_as_it_is() {
        let mut world = World::running(3, Quorum::Majority);
        let (generation, facts) = (world.generation(Pnn(0)), world.facts.len());
        world.run_ms(60_000);
        assert_eq!(world.generation(Pnn(0)), generation);
        assert_eq!(world.facts.len(), facts);
    }
}
