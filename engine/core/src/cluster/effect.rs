//! What the machine asks of its driver.

use crate::cluster::{Fact, Prospect};
use alloc::vec::Vec;
use bateria_wire::control::{ControlHead, DatabaseEntry};
use bateria_wire::{Generation, Pnn, VnnMap};

/// One thing to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To the peer's control connection; dropped when there is none.
    Send {
        to: Pnn,
        head: ControlHead,
    },
    /// Close the control connection (half open, or the peer broke the protocol) and connect again.
    DropLink {
        peer: Pnn,
    },
    TakeLock,
    ReleaseLock,
    /// Write to disk, sync, then `Input::VotePersisted`; one after the other, in order.
    PersistVote {
        term: u32,
        voted_for: Pnn,
    },
    /// Close admission of record frames of generations older than this one on all shards, then
    /// `Input::Quiesced`. Frames of this generation wait for its `Commit`, and are dropped when
    /// another `Quiesce` or a `Fence` comes first. Clients keep using records that are here.
    Quiesce(Prospect),
    /// Bring the databases in order for this generation, then `Input::Rebuilt`.
    Rebuild(RebuildOrder),
    /// The generation is in force: serve.
    Commit(Prospect),
    /// Before anything else: disconnect all clients, mark volatile data invalid, drop what runs;
    /// then `Input::Fenced`.
    Fence {
        reason: FenceReason,
    },
    /// These nodes' processes have ended or were disconnected from their daemon: queries about
    /// them may be answered "does not exist" (database semantics §9.4 F1). Not before.
    Harmless {
        nodes: Vec<Pnn>,
    },
    /// `Cluster::view` differs from what it was.
    ViewChanged,
    Log(Fact),
    /// After `Input::Shutdown`: the peers are told, the lock is released, the process may end once
    /// these frames are sent.
    Left,
}

/// What a node has to rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildOrder {
    pub prospect: Prospect,
    /// Members whose volatile data count, ascending. Empty: all start with nothing.
    pub contributors: Vec<Pnn>,
    /// This node is no contributor: its volatile records are erased first.
    pub wipe_own: bool,
    /// Databases of all members; the missing ones are to be attached.
    pub databases: Vec<DatabaseEntry>,
}

impl Prospect {
    /// The VNN map as clients and record machines know it.
    #[must_use]
    pub fn vnn_map(&self) -> VnnMap {
        VnnMap { generation: self.generation, lmasters: self.lmasters.clone() }
    }

    /// What belongs to no cluster.
    pub(super) fn none() -> Self {
        Self { generation: Generation::INVALID, members: Vec::new(), lmasters: Vec::new() }
    }
}

/// Why a node removes itself (database semantics Q8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceReason {
    /// No contact with a quorum for the lease.
    LeaseExpired {
        silent_us: u64,
    },
    /// This process stood still for longer than the lease.
    Stalled {
        stalled_us: u64,
    },
    LockLost,
    /// The others committed a generation without this node.
    Excluded {
        committed: Generation,
    },
    /// The leader found newer data on other nodes.
    Outdated {
        generation: Generation,
    },
    /// STOPPED or BANNED.
    Inactive,
    Shutdown,
}
