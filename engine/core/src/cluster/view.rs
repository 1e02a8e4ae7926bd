//! What the rest of the daemon, and through it every client, sees of the cluster.

use crate::cluster::{Capabilities, Micros};
use alloc::vec::Vec;
use bateria_wire::{NodeFlags, Pnn, VnnMap};

/// The cluster as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub pnn: Pnn,
    pub leader: Option<Pnn>,
    pub term: u32,
    /// All configured nodes, DELETED ones too, by ascending PNN.
    pub nodes: Vec<NodeView>,
    /// Of the committed generation; generation INVALID and no LMASTERs when this node is in none.
    pub vnn_map: VnnMap,
    /// Members of the committed generation, ascending.
    pub members: Vec<Pnn>,
    pub recovery_mode: RecoveryMode,
    pub run_state: RunState,
    /// When the generation that is in force, or on its way, was first heard of.
    pub last_recovery_started: Option<Micros>,
    pub last_recovery_finished: Option<Micros>,
    /// Generations that this node took part in until they were committed.
    pub recoveries_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub pnn: Pnn,
    /// The node's own flags; DISCONNECTED is this node's observation.
    pub flags: NodeFlags,
    pub connected: bool,
    /// 0 while unknown.
    pub incarnation: u64,
    pub capabilities: Capabilities,
    pub run_state: RunState,
}

/// As GET_RECMODE encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecoveryMode {
    Normal = 0,
    Active = 1,
}

/// As GET_RUNSTATE encodes it (cluster management §2.4); only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum RunState {
    Unknown = 0,
    Init = 1,
    Setup = 2,
    FirstRecovery = 3,
    Startup = 4,
    Running = 5,
    Shutdown = 6,
}

impl RunState {
    /// The state that a peer announces; what newer nodes may add is unknown here.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Init,
            2 => Self::Setup,
            3 => Self::FirstRecovery,
            4 => Self::Startup,
            5 => Self::Running,
            6 => Self::Shutdown,
            _ => Self::Unknown,
        }
    }
}
