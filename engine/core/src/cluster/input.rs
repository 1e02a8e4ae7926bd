//! What can happen to the machine.

use crate::cluster::{Capabilities, RunState};
use alloc::vec::Vec;
use bateria_wire::control::{ControlHead, DatabaseEntry};
use bateria_wire::{Generation, NodeFlags, Pnn};

/// One event, told by the driver.
#[derive(Clone, Debug)]
pub enum Input {
    /// `Cluster::wake_at` is reached.
    Tick,
    /// The control connection to a peer works; both sides know each other's incarnation.
    LinkUp {
        peer: Pnn,
        incarnation: u64,
    },
    /// It does not any more, or an attempt to connect failed. The driver tries again soon, at most
    /// 100 ms later when it was refused: a refusal counts only for what happened before it.
    LinkDown {
        peer: Pnn,
        how: LinkLoss,
    },
    /// Connections for record frames were lost between two living nodes: a record may be in none
    /// of the files (database semantics W24).
    LanesReset {
        peer: Pnn,
    },
    Frame {
        from: Pnn,
        head: ControlHead,
    },
    /// `Effect::PersistVote` is on disk.
    VotePersisted {
        term: u32,
        voted_for: Pnn,
    },
    /// What the cluster lock answers, or that it is lost.
    Lock(LockEvent),
    /// No frame of an older generation has an effect on this node any more. Comes with all
    /// attached databases.
    Quiesced {
        generation: Generation,
        databases: Vec<DatabaseEntry>,
    },
    /// This node's part of the rebuild is finished.
    Rebuilt {
        generation: Generation,
    },
    /// It cannot be finished, for instance because a disk is full.
    RebuildFailed {
        generation: Generation,
    },
    /// Clients are disconnected and volatile data are marked invalid, after `Effect::Fence`.
    Fenced,
    /// The daemon got one step further; at `FirstRecovery` it is ready to be a member.
    Started(RunState),
    /// `ctdb recover`, a failed commit, a record frame that contradicts the local file.
    RecoveryRequested {
        reason: &'static str,
    },
    /// Own flags: stop, continue, ban, disable, health.
    SetFlags {
        set: NodeFlags,
        clear: NodeFlags,
    },
    SetCapabilities(Capabilities),
    /// Leave in order; ends with `Effect::Left`.
    Shutdown,
}

/// Why a control connection is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// Nobody listens there: the daemon is gone, its clients with it.
    Refused,
    /// The connection ended. The daemon may live: the driver connects again at once.
    Reset,
    /// No answer.
    TimedOut,
}

/// The cluster lock's voice (cluster management §2.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockEvent {
    Taken,
    Contended,
    TimedOut,
    Error,
    Lost,
}
