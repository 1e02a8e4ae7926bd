//! The origin's side: the walks of this shard's clients.

mod walk;

use crate::record::Caller;
use crate::traverse::rec_data;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::{Head, TraverseHead, TraverseOp};
use bateria_wire::{DbId, DbKind, Pnn};
use walk::{Accepted, Walk};

/// The walks that clients of this shard have asked for.
///
/// Every walk ends with exactly one end marker, unless its client leaves first: when all lanes of
/// all nodes have ended, or when nothing has come for a while although the client takes what it
/// gets (database semantics §7.4, W17).
#[derive(Debug)]
pub struct Walks {
    own: Pnn,
    settings: Settings,
    members: Vec<Pnn>,
    open: BTreeMap<u64, Walk>,
    /// The record on its way to the client.
    record: Vec<u8>,
    lane: u32,
    last_count: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tunable TraverseTimeout, here a limit of the time without progress.
    pub traverse_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { traverse_timeout_ms: 20_000 }
    }
}

/// Who gets the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The TRAVERSE_START control, answered before the first record.
    pub caller: Caller,
    /// Address of the record messages.
    pub srvid: u64,
    /// The client's own number, to be put into every record.
    pub reqid: u32,
}

/// The world outside.
pub trait WalkEffects {
    /// Answers the TRAVERSE_START control.
    fn reply(&mut self, caller: Caller, status: i32);

    /// Sends a frame: `Start` and `Stop` to all shards of the node, `Credit` to the one it names.
    /// The own node is a node like the others.
    fn send(&mut self, to: Pnn, head: &Head);

    /// Queues one record for the client, as a message to its srvid; `rec_data` has the client's
    /// reqid already.
    fn record(&mut self, client: &Client, rec_data: &[u8]);

    /// Queues the end marker for the client.
    fn end(&mut self, client: &Client);

    /// Whether the client's queue takes more; if not, `WalkInput::QueueDrained` follows when it
    /// does. Asked before every credit.
    fn has_room(&mut self, client: &Client) -> bool;

    /// A node's records are missing from a walk, of which the client is told nothing.
    fn incomplete(&mut self, db: DbId, node: Pnn, shortfall: Shortfall);
}

/// Why a walk lacks a node's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    #[error("it has left the cluster")]
    NodeGone,
    #[error("it does not have the database, or cannot read it")]
    Failed,
    #[error("it has been silent for too long")]
    TimedOut,
}

/// One event.
#[derive(Debug)]
pub enum WalkInput<'a> {
    /// TRAVERSE_START(_EXT) for a database that is attached here and healthy. `lmasters` are those
    /// of the VNN map.
    Start {
        client: Client,
        db: DbId,
        kind: DbKind,
        lmasters: &'a [Pnn],
        with_empty: bool,
    },
    /// `Records` and `End`.
    Frame {
        from: Pnn,
        walk: u64,
        op: TraverseOp,
        bulk: &'a [u8],
    },
    /// The queue of the session's client takes records again.
    QueueDrained {
        session: u64,
    },
    SessionGone {
        session: u64,
    },
    /// The active nodes, after every change. Walks go on without those that have left.
    Members {
        members: &'a [Pnn],
    },
    /// The connection to a node was lost, and with it perhaps frames of its walks.
    NodeGone {
        node: Pnn,
    },
    /// `deadline_ms` may have been reached.
    Tick,
}

/// Walks of one shard; the next one is refused.
const WALKS_COUNT_MAX: usize = 1024;
/// Frames that a lane may send ahead of the client.
const WINDOW_FRAMES: u32 = 2;
/// A walk's number on its origin: the shard in the high 16 bits, a count in the others.
const LANE_SHIFT: u32 = 48;

impl Walks {
    /// `lane` is this shard's, `start` differs for each start of the daemon, so that no answer to
    /// an earlier one is taken for one to a walk of this one.
    #[must_use]
    pub fn new(own: Pnn, lane: u32, start: u32, settings: Settings) -> Self {
        assert!(lane >> (u64::BITS - LANE_SHIFT) == 0, "a lane fits a walk's number");
        let last_count = u64::from(start) << 16;
        Self {
            own,
            settings,
            members: Vec::new(),
            open: BTreeMap::new(),
            record: Vec::new(),
            lane,
            last_count,
        }
    }

    /// The shard whose walk it is: `Records` and `End` frames go there.
    #[must_use]
    pub fn lane_of(walk: u64) -> u32 {
        u32::try_from(walk >> LANE_SHIFT).expect("16 bits are left")
    }

    /// Advances by one event.
    ///
    /// # Errors
    /// The sender of a frame broke the protocol; nothing of the frame was used.
    pub fn step(
        &mut self,
        now_ms: u64,
        input: WalkInput<'_>,
        effects: &mut dyn WalkEffects,
    ) -> Result<(), FrameFault> {
        match input {
            WalkInput::Start { client, db, kind, lmasters, with_empty } => {
                let targets = self.targets(kind, lmasters);
                self.start(now_ms, client, db, &targets, with_empty, effects);
            }
            WalkInput::Frame { from, walk, op, bulk } => {
                return self.frame(now_ms, from, walk, op, bulk, effects);
            }
            WalkInput::QueueDrained { session } => self.drained(now_ms, session, effects),
            WalkInput::SessionGone { session } => {
                for (id, walk) in
                    self.open.extract_if(.., |_, walk| walk.client.caller.session == session)
                {
                    walk.stop(id, effects);
                }
            }
            WalkInput::Members { members } => {
                self.members = members.to_vec();
                self.leave_out(effects, |node| !members.contains(&node));
            }
            WalkInput::NodeGone { node } => self.leave_out(effects, |other| other == node),
            WalkInput::Tick => self.tick(now_ms, effects),
        }
        Ok(())
    }

    /// When `WalkInput::Tick` is due at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.open.values().filter_map(|walk| self.deadline_of(walk)).min()
    }

    /// Whether a walk of this session is running.
    #[must_use]
    pub fn serve(&self, session: u64) -> bool {
        self.open.values().any(|walk| walk.client.caller.session == session)
    }

    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Volatile records are on all active nodes. Of the others every node has a copy, and the own
    /// one is as good as any (database semantics §7.1; Samba 4.25 delta §8).
    fn targets(&self, kind: DbKind, lmasters: &[Pnn]) -> Vec<Pnn> {
        if kind == DbKind::Volatile {
            return self.members.clone();
        }
        let own = self.members.iter().find(|member| **member == self.own);
        let target = own.or(lmasters.first()).or(self.members.first());
        target.copied().into_iter().collect()
    }

    fn start(
        &mut self,
        now_ms: u64,
        client: Client,
        db: DbId,
        targets: &[Pnn],
        with_empty: bool,
        effects: &mut dyn WalkEffects,
    ) {
        if targets.is_empty() || self.open.len() >= WALKS_COUNT_MAX {
            effects.reply(client.caller, -1);
            return;
        }
        self.last_count += 1;
        let count = self.last_count & ((1 << LANE_SHIFT) - 1);
        let walk = u64::from(self.lane) << LANE_SHIFT | count;
        // The client loses records that overtake the answer.
        effects.reply(client.caller, 0);
        self.open.insert(walk, Walk::new(client, db, targets, WINDOW_FRAMES, now_ms));
        let op = TraverseOp::Start { with_empty, window: WINDOW_FRAMES };
        for target in targets {
            effects.send(*target, &Head::Traverse(TraverseHead { db: db.0, walk, op }));
        }
    }

    fn frame(
        &mut self,
        now_ms: u64,
        from: Pnn,
        id: u64,
        op: TraverseOp,
        bulk: &[u8],
        effects: &mut dyn WalkEffects,
    ) -> Result<(), FrameFault> {
        let Some(walk) = self.open.get_mut(&id) else {
            // It ended early; the sender has not heard of it, or it got lost.
            if matches!(op, TraverseOp::Records { .. }) {
                let head = TraverseHead { db: 0, walk: id, op: TraverseOp::Stop };
                effects.send(from, &Head::Traverse(head));
            }
            return Ok(());
        };
        match op {
            TraverseOp::Records { lane } => {
                rec_data::check(bulk)?;
                if walk.records(from, lane)? == Accepted::Ignored {
                    return Ok(());
                }
                walk.last_progress_ms = now_ms;
                for record in rec_data::entries(bulk) {
                    rec_data::address(record, walk.client.reqid, &mut self.record);
                    effects.record(&walk.client, &self.record);
                }
                walk.give_credit(id, effects);
            }
            TraverseOp::End { lane, lanes_count, status } => {
                if walk.lane_ended(from, lane, lanes_count)? == Accepted::Ignored {
                    return Ok(());
                }
                walk.last_progress_ms = now_ms;
                if status != 0 {
                    effects.incomplete(walk.db, from, Shortfall::Failed);
                }
                self.end_if_complete(id, effects);
            }
            TraverseOp::Start { .. } | TraverseOp::Credit { .. } | TraverseOp::Stop => {
                return Err(FrameFault::Meaning { rule: "an origin gets records and ends" });
            }
        }
        Ok(())
    }

    fn drained(&mut self, now_ms: u64, session: u64, effects: &mut dyn WalkEffects) {
        for (id, walk) in &mut self.open {
            if walk.client.caller.session == session && walk.waits_for_client() {
                walk.last_progress_ms = now_ms;
                walk.give_credit(*id, effects);
            }
        }
    }

    fn leave_out(&mut self, effects: &mut dyn WalkEffects, is_gone: impl Fn(Pnn) -> bool) {
        let mut touched = Vec::new();
        for (id, walk) in &mut self.open {
            let gone = walk.leave_out(&is_gone);
            gone.iter().for_each(|node| {
                effects.incomplete(walk.db, *node, Shortfall::NodeGone);
            });
            if !gone.is_empty() {
                touched.push(*id);
            }
        }
        touched.into_iter().for_each(|id| self.end_if_complete(id, effects));
    }

    fn tick(&mut self, now_ms: u64, effects: &mut dyn WalkEffects) {
        let timeout_ms = self.settings.traverse_timeout_ms;
        let is_due = |_: &u64, walk: &mut Walk| {
            !walk.waits_for_client() && walk.last_progress_ms.saturating_add(timeout_ms) <= now_ms
        };
        for (id, walk) in self.open.extract_if(.., is_due) {
            for node in walk.unfinished() {
                effects.incomplete(walk.db, node, Shortfall::TimedOut);
            }
            effects.end(&walk.client);
            walk.stop(id, effects);
        }
    }

    fn end_if_complete(&mut self, id: u64, effects: &mut dyn WalkEffects) {
        if self.open.get(&id).is_some_and(Walk::is_complete) {
            let walk = self.open.remove(&id).expect("just seen");
            effects.end(&walk.client);
        }
    }

    fn deadline_of(&self, walk: &Walk) -> Option<u64> {
        let deadline_ms = walk.last_progress_ms.saturating_add(self.settings.traverse_timeout_ms);
        (!walk.waits_for_client()).then_some(deadline_ms)
    }
}

#[cfg(test)]
mod tests;
