//! The member's side of a generation: prepare, rebuild, commit.
//!
//! ```text
//!            Prepare            Quiesced          horizons past
//!  Outside ----------> Quiescing -------> Waiting -------------> Prepared
//!     ^                                                             | Rebuild
//!     |  fenced           lease valid           Commit              v
//!     +------ Committed <---------- Committing <------- Rebuilt <- Rebuilding
//! ```
//!
//! `Prepare` of a higher generation starts over from any stage. A generation that was given up is
//! harmless (database semantics §5.9, W8). Records begin to move with `Rebuild`, and only then, when
//! all members prepared: so every node left out has been fenced, and what moved is between members
//! of one roster, whose files say who owns it. The next leader takes data from nodes that
//!
//! - rebuilt the newest generation that any member saw in force: others hold what was deleted
//!   since; and
//! - counted in the newest generation that any member began to rebuild, unless that came into
//!   force: others may own what was adopted by another node there. With a quorum those are fenced;
//!   without, this rule alone keeps them out.

use crate::cluster::roster::Roster;
use crate::cluster::{
    Cluster, Effect, Fact, FenceReason, Prospect, Quorum, RebuildOrder, RunState, pnns,
};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bateria_wire::control::{self, ControlHead, DatabaseEntry, Want};
use bateria_wire::{Generation, NodeFlags, Pnn};

/// What this node promised, holds and needs.
#[derive(Debug)]
pub(super) struct Membership {
    /// Highest generation that this node prepared for, as a member or, when it belongs to none, as
    /// one that grants no leases to others.
    pub(super) promised: Prospect,
    /// Its members with their incarnations.
    pub(super) promised_with: Roster,
    pub(super) stage: Stage,
    /// The generation in force here; INVALID while this node holds nothing that counts.
    pub(super) committed: Prospect,
    /// Members of the committed generation, and of those promised since: other members may have
    /// committed one of them. Empty while nothing is committed.
    pub(super) rosters: Vec<Roster>,
    /// Lives of members that are known to be over.
    pub(super) ended: BTreeSet<(Pnn, u64)>,
    /// Highest generation whose data are complete here.
    pub(super) rebuilt: Generation,
    /// Highest generation whose rebuild began here.
    pub(super) entered: Generation,
    /// Whose data counted in that one.
    pub(super) entered_with: Vec<Pnn>,
    pub(super) want: Want,
    gone: Roster,
    databases: Vec<DatabaseEntry>,
    /// A node that is no member still owes the leader its promise.
    owes_promise: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Outside,
    Quiescing,
    Waiting,
    Prepared,
    Rebuilding,
    Rebuilt,
    Committing,
    Committed,
}

impl Membership {
    pub(super) fn new() -> Self {
        Self {
            promised: Prospect::none(),
            promised_with: Vec::new(),
            stage: Stage::Outside,
            committed: Prospect::none(),
            rosters: Vec::new(),
            ended: BTreeSet::new(),
            rebuilt: Generation::INVALID,
            entered: Generation::INVALID,
            entered_with: Vec::new(),
            want: Want::Nothing,
            gone: Vec::new(),
            databases: Vec::new(),
            owes_promise: false,
        }
    }
}

impl Cluster {
    pub(super) fn prepare(&mut self, from: Pnn, prepare: control::Prepare) {
        let generation = Generation(prepare.generation);
        let stale =
            generation.term() < self.election.term || generation <= self.member.promised.generation;
        if stale {
            // The leader learns our term and promise from the next heartbeat.
            return;
        }
        self.follow(from, generation.term());
        let roster = |members: Vec<control::Member>| -> Roster {
            members.into_iter().map(|m| (Pnn(m.pnn), m.incarnation)).collect()
        };
        let members = roster(prepare.members);
        let prospect = Prospect {
            generation,
            members: members.iter().map(|(pnn, _)| *pnn).collect(),
            lmasters: pnns::from_wire(&prepare.lmasters),
        };
        self.member.gone = roster(prepare.gone);
        self.member.want = Want::Nothing;
        // A former life of this node may be meant; the leader starts over when it hears of this one.
        let takes_part = members.contains(&(self.config.pnn, self.incarnation)) && self.is_ready();
        if self.has_data() && !self.member.rosters.contains(&members) {
            self.member.rosters.push(members.clone());
        }
        self.member.promised_with = members;
        self.member.promised = prospect;
        self.member.owes_promise = !takes_part;
        if takes_part {
            self.member.stage = Stage::Quiescing;
            self.recovery_started_at = Some(self.now);
            self.out.push(Effect::Quiesce(self.member.promised.clone()));
        } else {
            // Data of an older generation stay in use until the lease ends or the others commit:
            // this generation may fail, and the next one include us.
            self.member.stage = Stage::Outside;
        }
    }

    pub(super) fn quiesced(&mut self, generation: Generation, databases: Vec<DatabaseEntry>) {
        if self.member.stage == Stage::Quiescing && self.member.promised.generation == generation {
            self.member.databases = databases;
            self.member.stage = Stage::Waiting;
        }
    }

    /// Answers `Prepare` when no lease that this node granted to others can still run.
    pub(super) fn advance_promise(&mut self) {
        let member = &self.member;
        if member.stage != Stage::Waiting && !member.owes_promise {
            return;
        }
        let until = self.excluded_until(&member.promised.members, &member.gone);
        if until > self.now {
            self.alarm = self.alarm.min(until);
            return;
        }
        let takes_part = member.stage == Stage::Waiting;
        let databases = if takes_part {
            self.member.stage = Stage::Prepared;
            core::mem::take(&mut self.member.databases)
        } else {
            Vec::new()
        };
        self.member.owes_promise = false;
        let head = ControlHead::Prepared(control::Prepared {
            generation: self.member.promised.generation.0,
            // A node that is being fenced has a member's incarnation and prepares nothing.
            incarnation: if takes_part { self.incarnation } else { 0 },
            committed: self.member.committed.generation.0,
            rebuilt: self.member.rebuilt.0,
            entered: self.member.entered.0,
            entered_with: pnns::to_wire(&self.member.entered_with),
            databases,
        });
        self.answer_leader(head);
    }

    pub(super) fn rebuild(&mut self, rebuild: control::Rebuild) {
        let generation = Generation(rebuild.generation);
        if !self.is_at(Stage::Prepared, generation) {
            return;
        }
        let contributors = pnns::from_wire(&rebuild.contributors);
        let wipe_own = contributors.binary_search(&self.config.pnn).is_err();
        if wipe_own && self.has_data() {
            // Clients use what is to be erased. They have to go first, and the leader starts over
            // when it sees the new incarnation.
            self.fence(FenceReason::Outdated { generation });
            return;
        }
        if wipe_own {
            self.member.rebuilt = Generation::INVALID;
        }
        self.member.stage = Stage::Rebuilding;
        self.member.entered = generation;
        self.member.entered_with.clone_from(&contributors);
        self.out.push(Effect::Rebuild(RebuildOrder {
            prospect: self.member.promised.clone(),
            contributors,
            wipe_own,
            databases: rebuild.databases,
        }));
    }

    pub(super) fn rebuilt(&mut self, generation: Generation) {
        if self.is_at(Stage::Rebuilding, generation) {
            self.member.stage = Stage::Rebuilt;
            self.member.rebuilt = generation;
            self.answer_leader(ControlHead::Rebuilt { generation: generation.0 });
        }
    }

    pub(super) fn rebuild_failed(&mut self, generation: Generation) {
        if self.is_at(Stage::Rebuilding, generation) {
            self.answer_leader(ControlHead::RebuildFailed { generation: generation.0 });
        }
    }

    pub(super) fn commit(&mut self, generation: Generation) {
        if self.is_at(Stage::Rebuilt, generation) {
            self.member.stage = Stage::Committing;
        }
    }

    /// Puts the generation in force once this node has a lease: a fresh member may hear `Commit`
    /// before the grants of the others, and a `Commit` that lay in a buffer finds no lease.
    pub(super) fn advance_commit(&mut self) {
        if self.member.stage != Stage::Committing || self.lease_to_commit() <= self.now {
            return;
        }
        self.member.stage = Stage::Committed;
        self.member.committed = self.member.promised.clone();
        self.member.rosters = Vec::from([self.member.promised_with.clone()]);
        self.member.ended.clear();
        self.flags.remove(NodeFlags::UNHEALTHY);
        self.run_state = self.run_state.max(RunState::Running);
        self.recovery_finished_at = Some(self.now);
        self.recoveries_count += 1;
        let committed = self.member.committed.clone();
        let outside = self.peers.keys().copied().filter(|pnn| !committed.has(*pnn)).collect();
        let took_us = self.recovery_started_at.map_or(0, |started| self.now.since(started));
        self.log(Fact::Committed {
            generation: committed.generation,
            members: committed.members.clone(),
            took_ms: took_us / 1000,
        });
        self.out.push(Effect::Commit(committed));
        self.out.push(Effect::Harmless { nodes: outside });
    }

    /// Asks for another generation; the leader reads it in the heartbeats until it answers.
    pub(super) fn want(&mut self, want: Want) {
        if self.member.promised.generation.is_valid() {
            self.member.want = self.member.want.max(want);
        }
    }

    /// Frames of the promised generation may be under way to its members.
    pub(super) fn works_on_promise(&self) -> bool {
        !matches!(self.member.stage, Stage::Outside | Stage::Quiescing)
    }

    fn lease_to_commit(&self) -> crate::cluster::Micros {
        // The members that may keep each other active are those of the generation to come; until
        // then only the leader can vouch.
        if self.config.quorum == Quorum::Lock && !self.lock.is_held() {
            let led = self.leader_granted_sent.unwrap_or_default();
            return led.after(self.config.timing.lease_us);
        }
        self.lease_until()
    }

    fn is_at(&self, stage: Stage, generation: Generation) -> bool {
        self.member.stage == stage && self.member.promised.generation == generation
    }

    fn answer_leader(&mut self, head: ControlHead) {
        if let Some(leader) = self.election.leader {
            self.send(leader, head);
        }
    }
}
