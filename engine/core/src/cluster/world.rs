//! A few nodes in one thread, for the tests beside the concepts: links of a millisecond, drivers
//! that do at once what they are asked. Faults beyond that live in `bateria-sim`.

use crate::cluster::{
    Capabilities, Cluster, Config, Effect, Fact, Input, LinkLoss, LockEvent, Micros, NodeConfig,
    Quorum, RecoveryMode, RunState, Timing, Vote,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bateria_wire::control::ControlHead;
use bateria_wire::{Generation, NodeFlags, Pnn};

pub(super) const MS: u64 = 1_000;

pub(super) struct World {
    pub(super) now: Micros,
    pub(super) quorum: Quorum,
    nodes: BTreeMap<Pnn, Cluster>,
    /// What survives a process.
    votes: BTreeMap<Pnn, Vote>,
    lives: u64,
    count: u32,
    /// Pairs without a network between them.
    cut: BTreeSet<(Pnn, Pnn)>,
    stopped: BTreeSet<Pnn>,
    pub(super) lock_holder: Option<Pnn>,
    queue: BTreeMap<(Micros, u64), Event>,
    sequence: u64,
    /// Facts and effects by node, as they came.
    pub(super) facts: Vec<(Micros, Pnn, Fact)>,
    pub(super) effects: Vec<(Micros, Pnn, Effect)>,
}

enum Event {
    Frame {
        from: (Pnn, u64),
        to: (Pnn, u64),
        head: ControlHead,
    },
    Input {
        to: (Pnn, u64),
        input: Input,
    },
    /// A refused connection is tried again.
    Dial {
        from: (Pnn, u64),
        to: Pnn,
    },
}

impl World {
    /// Nodes 0 to `count - 1`, none of them started.
    pub(super) fn new(count: u32, quorum: Quorum) -> Self {
        Self {
            now: Micros(1_000_000),
            quorum,
            nodes: BTreeMap::new(),
            votes: BTreeMap::new(),
            lives: 1,
            count,
            cut: BTreeSet::new(),
            stopped: BTreeSet::new(),
            lock_holder: None,
            queue: BTreeMap::new(),
            sequence: 0,
            facts: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// All nodes started and in one generation.
    pub(super) fn running(count: u32, quorum: Quorum) -> Self {
        let mut world = Self::new(count, quorum);
        (0..count).for_each(|pnn| world.start(Pnn(pnn)));
        world.run_ms(2_000);
        let members = (0..count).map(Pnn).collect::<Vec<_>>();
        for pnn in &members {
            assert_eq!(world.members(*pnn), members, "node {pnn}");
        }
        world
    }

    pub(super) fn start(&mut self, pnn: Pnn) {
        self.start_with(pnn, |_| ());
    }

    pub(super) fn start_with(&mut self, pnn: Pnn, change: impl FnOnce(&mut Config)) {
        self.lives += 1000;
        let mut config = Config {
            pnn,
            nodes: (0..self.count).map(|p| NodeConfig { pnn: Pnn(p), deleted: false }).collect(),
            quorum: self.quorum,
            settings_crc32c: 1,
            incarnation: self.lives,
            flags: NodeFlags::UNHEALTHY,
            capabilities: Capabilities::default(),
            vote: self.votes.get(&pnn).copied(),
            timing: Timing::default(),
            seed: self.lives,
        };
        change(&mut config);
        self.nodes.insert(pnn, Cluster::new(config, self.now));
        self.input(pnn, Input::Started(RunState::FirstRecovery));
        for peer in (0..self.count).map(Pnn).filter(|peer| *peer != pnn) {
            self.connect(pnn, peer);
        }
    }

    pub(super) fn kill(&mut self, pnn: Pnn) {
        self.nodes.remove(&pnn);
        if self.lock_holder == Some(pnn) {
            self.lock_holder = None;
        }
        for peer in self.others(pnn) {
            if !self.is_cut(pnn, peer) {
                self.input_later(peer, Input::LinkDown { peer: pnn, how: LinkLoss::Reset }, 1);
                self.connect(peer, pnn);
            }
        }
    }

    /// Frames between the sides are lost from now on; nobody is told.
    pub(super) fn cut(&mut self, left: &[u32], right: &[u32]) {
        for l in left {
            for r in right {
                self.cut.insert((Pnn(*l), Pnn(*r)));
                self.cut.insert((Pnn(*r), Pnn(*l)));
            }
        }
    }

    pub(super) fn heal(&mut self) {
        for (left, right) in core::mem::take(&mut self.cut) {
            if left < right {
                self.input(left, Input::LinkDown { peer: right, how: LinkLoss::Reset });
                self.input(right, Input::LinkDown { peer: left, how: LinkLoss::Reset });
                self.connect(left, right);
            }
        }
    }

    /// The link breaks and is there again at once.
    pub(super) fn reset_link(&mut self, left: Pnn, right: Pnn) {
        self.input(left, Input::LinkDown { peer: right, how: LinkLoss::Reset });
        self.input(right, Input::LinkDown { peer: left, how: LinkLoss::Reset });
        self.connect(left, right);
    }

    pub(super) fn stop(&mut self, pnn: Pnn) {
        self.stopped.insert(pnn);
    }

    pub(super) fn resume(&mut self, pnn: Pnn) {
        self.stopped.remove(&pnn);
        self.input(pnn, Input::Tick);
        for peer in self.others(pnn) {
            self.reset_link(pnn, peer);
        }
    }

    /// The node runs again and its links have not noticed.
    pub(super) fn stop_ends_quietly(&mut self, pnn: Pnn) {
        self.stopped.remove(&pnn);
    }

    pub(super) fn node(&self, pnn: Pnn) -> &Cluster {
        &self.nodes[&pnn]
    }

    pub(super) fn members(&self, pnn: Pnn) -> Vec<Pnn> {
        self.nodes[&pnn].view().members.clone()
    }

    pub(super) fn generation(&self, pnn: Pnn) -> Generation {
        self.nodes[&pnn].view().vnn_map.generation
    }

    pub(super) fn leader(&self, pnn: Pnn) -> Option<Pnn> {
        self.nodes[&pnn].view().leader
    }

    pub(super) fn is_normal(&self, pnn: Pnn) -> bool {
        self.nodes[&pnn].view().recovery_mode == RecoveryMode::Normal
    }

    pub(super) fn fences_of(&self, pnn: Pnn) -> usize {
        let fences =
            self.effects.iter().filter(|(_, n, e)| *n == pnn && matches!(e, Effect::Fence { .. }));
        fences.count()
    }

    pub(super) fn input(&mut self, pnn: Pnn, input: Input) {
        if self.stopped.contains(&pnn) && matches!(input, Input::Tick) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&pnn) else { return };
        let life = node.incarnation() / 1000;
        let mut effects = Vec::new();
        node.step(self.now, input, &mut effects);
        for effect in effects {
            self.obey(pnn, life, effect);
        }
    }

    pub(super) fn run_ms(&mut self, duration_ms: u64) {
        let end = self.now.after(duration_ms * MS);
        loop {
            let ticks = self.nodes.iter().filter(|(pnn, _)| !self.stopped.contains(pnn));
            let tick = ticks.map(|(pnn, node)| (node.wake_at(), *pnn)).min();
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            let next = tick.map_or(Micros::NEVER, |t| t.0).min(event.unwrap_or(Micros::NEVER));
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= next) {
                let (_, event) = self.queue.pop_first().unwrap();
                self.happen(event);
            } else {
                self.input(tick.unwrap().1, Input::Tick);
            }
        }
    }

    /// Runs until `reached` holds and says how many milliseconds that took.
    pub(super) fn ms_until(&mut self, limit_ms: u64, reached: impl Fn(&Self) -> bool) -> u64 {
        for waited_ms in 0..limit_ms {
            if reached(self) {
                return waited_ms;
            }
            self.run_ms(1);
        }
        panic!("not reached in {limit_ms} ms; facts: {:#?}", self.facts);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame { from, to, head } => {
                let lives = self.life(from.0) == Some(from.1) && self.life(to.0) == Some(to.1);
                if lives && !self.is_cut(from.0, to.0) && !self.stopped.contains(&to.0) {
                    self.input(to.0, Input::Frame { from: from.0, head });
                }
            }
            Event::Input { to, input } if self.life(to.0) == Some(to.1) => self.input(to.0, input),
            Event::Input { .. } => {}
            Event::Dial { from, to } => {
                if self.life(from.0) == Some(from.1) && !self.nodes.contains_key(&to) {
                    self.connect(from.0, to);
                }
            }
        }
    }

    fn obey(&mut self, pnn: Pnn, life: u64, effect: Effect) {
        self.effects.push((self.now, pnn, effect.clone()));
        match effect {
            Effect::Send { to, head } => {
                if let Some(peer_life) = self.life(to) {
                    let event = Event::Frame { from: (pnn, life), to: (to, peer_life), head };
                    self.at(1, event);
                }
            }
            Effect::DropLink { peer } => {
                self.input_later(pnn, Input::LinkDown { peer, how: LinkLoss::TimedOut }, 1);
            }
            Effect::TakeLock => {
                let free = self.lock_holder.is_none_or(|holder| holder == pnn);
                if free {
                    self.lock_holder = Some(pnn);
                }
                let event = if free { LockEvent::Taken } else { LockEvent::Contended };
                self.input_later(pnn, Input::Lock(event), 2);
            }
            Effect::ReleaseLock => {
                self.lock_holder = self.lock_holder.filter(|holder| *holder != pnn);
            }
            Effect::PersistVote { term, voted_for } => {
                self.votes.insert(pnn, Vote { term, voted_for });
                self.input_later(pnn, Input::VotePersisted { term, voted_for }, 2);
            }
            Effect::Quiesce(prospect) => {
                let generation = prospect.generation;
                let databases = Vec::new();
                self.input_later(pnn, Input::Quiesced { generation, databases }, 1);
            }
            Effect::Rebuild(order) => {
                let generation = order.prospect.generation;
                self.input_later(pnn, Input::Rebuilt { generation }, 3);
            }
            Effect::Fence { .. } => self.input_later(pnn, Input::Fenced, 2),
            Effect::Log(fact) => self.facts.push((self.now, pnn, fact)),
            Effect::Left => self.kill(pnn),
            Effect::Commit(_) | Effect::Harmless { .. } | Effect::ViewChanged => {}
        }
    }

    fn connect(&mut self, left: Pnn, right: Pnn) {
        if self.is_cut(left, right) || !self.nodes.contains_key(&left) {
            return;
        }
        let Some(peer) = self.nodes.get(&right) else {
            let how = LinkLoss::Refused;
            let life = self.life(left).unwrap();
            self.at(50, Event::Dial { from: (left, life), to: right });
            return self.input_later(left, Input::LinkDown { peer: right, how }, 1);
        };
        let up = |peer, incarnation| Input::LinkUp { peer, incarnation };
        let to_left = up(right, peer.incarnation());
        let to_right = up(left, self.nodes[&left].incarnation());
        self.input_later(left, to_left, 1);
        self.input_later(right, to_right, 1);
    }

    fn input_later(&mut self, pnn: Pnn, input: Input, delay_ms: u64) {
        if let Some(life) = self.life(pnn) {
            self.at(delay_ms, Event::Input { to: (pnn, life), input });
        }
    }

    fn at(&mut self, delay_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now.after(delay_ms * MS), self.sequence), event);
    }

    fn life(&self, pnn: Pnn) -> Option<u64> {
        self.nodes.get(&pnn).map(|node| node.incarnation() / 1000)
    }

    fn others(&self, pnn: Pnn) -> Vec<Pnn> {
        self.nodes.keys().copied().filter(|peer| *peer != pnn).collect()
    }

    fn is_cut(&self, left: Pnn, right: Pnn) -> bool {
        self.cut.contains(&(left, right))
    }
}
