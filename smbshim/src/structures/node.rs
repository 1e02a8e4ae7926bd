//! Nodes of the cluster (client protocol §4.2).

use crate::fields::{Fields, Layout, LayoutFault, decode_items, put_len, structure};
use alloc::vec::Vec;
use bateria_wire::{Generation, NodeFlags, Pnn, VnnMap};
use core::net::SocketAddr;

structure! {
    /// One node. In a node map entry i has PNN i, so deleted nodes stay (pitfall 18); the own
    /// entry never has DISCONNECTED.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Node [36 bytes] {
        0 => pnn: Pnn,
        4 => flags: NodeFlags,
        /// Its port is the cluster's, by default `CLUSTER_PORT`.
        8 => address: SocketAddr,
    }
}

/// Answer to GET_NODEMAP and GET_NODES_FILE.
pub type NodeMap = Vec<Node>;

impl Node {
    /// The entry that the original keeps in the node map for a node whose line in the nodes file
    /// is commented out. In the answer to GET_NODES_FILE only DELETED is set.
    #[must_use]
    pub fn deleted(pnn: Pnn) -> Self {
        let flags = NodeFlags::DELETED | NodeFlags::DISCONNECTED;
        Self { pnn, flags, address: SocketAddr::from(([0, 0, 0, 0], CLUSTER_PORT)) }
    }
}

/// Port of a node's address unless it is configured otherwise.
pub const CLUSTER_PORT: u16 = 4379;

structure! {
    /// Payload of MODIFY_FLAGS and of messages to PUSH_NODE_FLAGS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FlagChange [12 bytes] {
        0 => pnn: Pnn,
        4 => new_flags: NodeFlags,
        8 => old_flags: NodeFlags,
    }
}

structure! {
    /// Payload of SET_BAN_STATE and answer to GET_BAN_STATE.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BanState [8 bytes] {
        0 => pnn: Pnn,
        /// 0 lifts the ban.
        4 => duration_s: u32,
    }
}

structure! {
    /// Time since the epoch.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
    pub struct Timeval [16 bytes] {
        0 => seconds: i64,
        8 => microseconds: i64,
    }
}

structure! {
    /// Answer to UPTIME. `daemon_started` stays the same for one incarnation of the daemon: Samba
    /// 4.25 compares it with what it stored (Samba 4.25 §1.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Uptime [64 bytes] {
        0 => now: Timeval,
        16 => daemon_started: Timeval,
        32 => recovery_started: Timeval,
        48 => recovery_finished: Timeval,
    }
}

/// Generation and LMASTERs.
///
/// ```text
/// offset  size  field
///      0     4  generation
///      4     4  count
///      8    4n  lmasters    PNNs, ascending
/// ```
impl Layout<'_> for VnnMap {
    fn encode(&self, out: &mut Vec<u8>) {
        self.generation.encode(out);
        put_len(out, self.lmasters.len());
        for pnn in &self.lmasters {
            pnn.encode(out);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let (generation, count): (Generation, u32) = (fields.read()?, fields.read()?);
        Ok(Self { generation, lmasters: decode_items(fields, count)? })
    }
}

/// Whether the cluster may be used (client protocol §1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RecoveryMode {
    Normal = 0,
    Active = 1,
}

/// How far a daemon has come (client protocol §1.4).
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

impl RecoveryMode {
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Normal),
            1 => Some(Self::Active),
            _ => None,
        }
    }
}

impl RunState {
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        use RunState::{FirstRecovery, Init, Running, Setup, Shutdown, Startup, Unknown};
        [Unknown, Init, Setup, FirstRecovery, Startup, Running, Shutdown]
            .get(number as usize)
            .copied()
    }
}

bitflags::bitflags! {
    /// Answer to GET_CAPABILITIES (client protocol §1.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// May be leader.
        const RECMASTER = 0x1;
        const LMASTER = 0x2;
        const PARALLEL_RECOVERY = 0x1_0000;
        const FRAGMENTED_CONTROLS = 0x2_0000;
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_default_to_what_the_original_has() {
        assert_eq!(Capabilities::default().bits(), 0x0003_0003);
    }

    #[test]
    fn a_deleted_node_looks_as_in_the_original() {
        let bytes = Node::deleted(Pnn(3)).to_bytes();
        assert_eq!(bytes[..16], [3, 0, 0, 0, 0x11, 0, 0, 0, 2, 0, 0x11, 0x1B, 0, 0, 0, 0]);
        assert_eq!(bytes[16..], [0; 20]);
    }

    #[test]
    fn run_states_are_numbered_in_order() {
        for number in 0..7 {
            assert_eq!(RunState::from_number(number).unwrap() as u32, number);
        }
        assert_eq!(RunState::from_number(7), None);
    }

    #[test]
    fn a_vnn_map_survives_the_way() {
        let map = VnnMap { generation: Generation(7), lmasters: alloc::vec![Pnn(0), Pnn(2)] };
        assert_eq!(VnnMap::from_bytes(&map.to_bytes()), Ok(map));
    }
}
