//! What is really the case on each node, kept from what its machine was told and asked for. The
//! invariants judge by this, not by what nodes believe of each other.

use bateria_core::cluster::{Effect, Input, Prospect};
use bateria_wire::{Generation, Pnn};
use std::collections::BTreeMap;

/// All nodes, seen from outside.
#[derive(Debug, Default)]
pub struct Truth {
    pub nodes: BTreeMap<Pnn, NodeTruth>,
}

#[derive(Clone, Debug, Default)]
pub struct NodeTruth {
    /// The process exists.
    pub lives: bool,
    /// SIGSTOP. Its clients run on; only power fencing could stop those (database semantics
    /// §10.2), so a stopped daemon counts as inactive here and has to fence when it resumes.
    pub stopped: bool,
    pub incarnation: u64,
    /// The generation in force, while clients may work.
    pub active: Option<Prospect>,
    /// The generation whose records move, from `Rebuild` on.
    pub entered: Option<Prospect>,
    /// Asked to disconnect its clients, not done yet.
    pub fencing: bool,
    /// The rebuild that runs, unless another generation was prepared meanwhile.
    pub rebuilding: Option<Generation>,
    /// Highest generation whose data are complete here.
    pub rebuilt: Option<Generation>,
    /// Generations that were committed in this life.
    pub committed: Vec<Generation>,
}

/// One step of one node, for the invariants.
#[derive(Debug)]
pub struct Step<'a> {
    pub pnn: Pnn,
    pub effects: &'a [Effect],
    /// The incarnation of each peer that the node knew before the step.
    pub knew: &'a BTreeMap<Pnn, u64>,
}

impl Truth {
    #[must_use]
    pub fn node(&self, pnn: Pnn) -> &NodeTruth {
        &self.nodes[&pnn]
    }

    /// Nodes whose daemon works and serves clients.
    pub fn active(&self) -> impl Iterator<Item = (Pnn, &NodeTruth, &Prospect)> {
        self.nodes.iter().filter_map(|(pnn, node)| {
            let serves = node.lives && !node.stopped && !node.fencing;
            node.active.as_ref().filter(|_| serves).map(|prospect| (*pnn, node, prospect))
        })
    }

    pub fn started(&mut self, pnn: Pnn, incarnation: u64) {
        let node = NodeTruth { lives: true, incarnation, ..NodeTruth::default() };
        self.nodes.insert(pnn, node);
    }

    pub fn ended(&mut self, pnn: Pnn) {
        self.nodes.insert(pnn, NodeTruth::default());
    }

    pub fn stopped(&mut self, pnn: Pnn, stopped: bool) {
        self.nodes.entry(pnn).or_default().stopped = stopped;
    }

    /// A driver's report, before the machine hears it.
    pub fn told(&mut self, pnn: Pnn, input: &Input) {
        let node = self.nodes.entry(pnn).or_default();
        match input {
            Input::Rebuilt { generation } if node.rebuilding == Some(*generation) => {
                node.rebuilt = node.rebuilding.take();
            }
            Input::Fenced if node.fencing => {
                node.fencing = false;
                node.active = None;
            }
            _ => {}
        }
    }

    /// What a machine asked for takes effect.
    pub fn asked(&mut self, pnn: Pnn, effect: &Effect) {
        let node = self.nodes.entry(pnn).or_default();
        match effect {
            Effect::Commit(prospect) => {
                node.active = Some(prospect.clone());
                node.committed.push(prospect.generation);
            }
            Effect::Fence { .. } => {
                node.fencing = true;
                node.rebuilt = None;
                node.rebuilding = None;
                node.entered = None;
            }
            Effect::Quiesce(_) => node.rebuilding = None,
            Effect::Rebuild(order) => {
                node.rebuilding = Some(order.prospect.generation);
                node.entered = Some(order.prospect.clone());
                node.rebuilt = node.rebuilt.filter(|_| !order.wipe_own);
            }
            _ => {}
        }
    }
}
