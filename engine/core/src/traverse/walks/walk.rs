//! One walk at its origin: which lanes of which nodes have sent what.

use super::{Client, WalkEffects};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::{Head, TraverseHead, TraverseOp};
use bateria_wire::{DbId, Pnn};

#[derive(Debug)]
pub(super) struct Walk {
    pub(super) client: Client,
    pub(super) db: DbId,
    pub(super) last_progress_ms: u64,
    window: u32,
    targets: BTreeMap<Pnn, Target>,
    /// Lanes that get a credit when the client's queue has room.
    owed: Vec<(Pnn, u32)>,
}

/// Whether a sound frame still matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Used,
    /// Of a node that is no longer waited for.
    Ignored,
}

/// A node that is expected to end. Its lanes become known as they speak.
#[derive(Debug, Default)]
struct Target {
    lanes: BTreeMap<u32, Lane>,
    lanes_count: Option<u32>,
}

#[derive(Debug)]
struct Lane {
    /// `Records` frames that it may still send.
    credit: u32,
    has_ended: bool,
}

/// Shards of a node: more than any machine has CPUs.
const LANES_COUNT_MAX: u32 = 4096;

impl Walk {
    pub(super) fn new(client: Client, db: DbId, targets: &[Pnn], window: u32, now_ms: u64) -> Self {
        let targets = targets.iter().map(|target| (*target, Target::default())).collect();
        Self { client, db, last_progress_ms: now_ms, window, targets, owed: Vec::new() }
    }

    /// A lane has used one credit.
    pub(super) fn records(&mut self, from: Pnn, lane: u32) -> Result<Accepted, FrameFault> {
        let Some(found) = self.lane(from, lane)? else { return Ok(Accepted::Ignored) };
        if found.has_ended {
            return Err(FrameFault::Meaning { rule: "an end is the last word of a lane" });
        }
        let rule = "records are sent on credit";
        found.credit = found.credit.checked_sub(1).ok_or(FrameFault::Meaning { rule })?;
        self.owed.push((from, lane));
        Ok(Accepted::Used)
    }

    pub(super) fn lane_ended(
        &mut self,
        from: Pnn,
        lane: u32,
        lanes_count: u32,
    ) -> Result<Accepted, FrameFault> {
        if lane >= lanes_count || lanes_count > LANES_COUNT_MAX {
            return Err(FrameFault::Meaning { rule: "lanes count from 0" });
        }
        let known = self.targets.get(&from).and_then(|target| target.lanes_count);
        if known.is_some_and(|known| known != lanes_count) {
            return Err(FrameFault::Meaning { rule: "a node's lanes agree about their number" });
        }
        let Some(found) = self.lane(from, lane)? else { return Ok(Accepted::Ignored) };
        if core::mem::replace(&mut found.has_ended, true) {
            return Err(FrameFault::Meaning { rule: "a lane ends once" });
        }
        self.targets.entry(from).and_modify(|target| target.lanes_count = Some(lanes_count));
        // A credit to it would find nobody.
        self.owed.retain(|owed| *owed != (from, lane));
        Ok(Accepted::Used)
    }

    /// Lets the lanes go on whose records the client's queue has taken.
    pub(super) fn give_credit(&mut self, id: u64, effects: &mut dyn WalkEffects) {
        if self.owed.is_empty() || !effects.has_room(&self.client) {
            return;
        }
        for (node, lane) in core::mem::take(&mut self.owed) {
            let Some(found) = self.targets.get_mut(&node).and_then(|t| t.lanes.get_mut(&lane))
            else {
                continue;
            };
            found.credit += 1;
            let op = TraverseOp::Credit { lane };
            effects.send(node, &Head::Traverse(TraverseHead { db: self.db.0, walk: id, op }));
        }
    }

    /// Whether the client's full queue is what holds the walk up.
    pub(super) fn waits_for_client(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Stops waiting for nodes and gives those that had not ended.
    pub(super) fn leave_out(&mut self, is_gone: &dyn Fn(Pnn) -> bool) -> Vec<Pnn> {
        let gone: Vec<Pnn> = self.targets.keys().copied().filter(|node| is_gone(*node)).collect();
        let is_unfinished = |node: &Pnn| !self.targets[node].is_complete();
        let unfinished = gone.iter().copied().filter(is_unfinished).collect();
        self.targets.retain(|node, _| !is_gone(*node));
        self.owed.retain(|(node, _)| !is_gone(*node));
        unfinished
    }

    pub(super) fn is_complete(&self) -> bool {
        self.targets.values().all(Target::is_complete)
    }

    pub(super) fn unfinished(&self) -> impl Iterator<Item = Pnn> {
        self.targets.iter().filter(|(_, target)| !target.is_complete()).map(|(node, _)| *node)
    }

    /// Ends the visits that still go on.
    pub(super) fn stop(&self, id: u64, effects: &mut dyn WalkEffects) {
        let head = Head::Traverse(TraverseHead { db: self.db.0, walk: id, op: TraverseOp::Stop });
        self.unfinished().for_each(|node| effects.send(node, &head));
    }

    fn lane(&mut self, node: Pnn, lane: u32) -> Result<Option<&mut Lane>, FrameFault> {
        if lane >= LANES_COUNT_MAX {
            return Err(FrameFault::Meaning { rule: "no node has that many lanes" });
        }
        let window = self.window;
        let fresh = || Lane { credit: window, has_ended: false };
        let target = self.targets.get_mut(&node);
        Ok(target.map(|target| target.lanes.entry(lane).or_insert_with(fresh)))
    }
}

impl Target {
    fn is_complete(&self) -> bool {
        let ended = self.lanes.values().filter(|lane| lane.has_ended).count();
        self.lanes_count.is_some_and(|lanes_count| ended == lanes_count as usize)
    }
}
