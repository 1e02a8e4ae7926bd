//! Facts for the log, in the field's words.

use crate::cluster::{FenceReason, Pnns};
use alloc::vec::Vec;
use bateria_wire::{DbId, Generation, Pnn};
use core::fmt;

/// Something that an administrator may want to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    NodeConnected {
        node: Pnn,
    },
    NodeDead {
        node: Pnn,
        how: Death,
    },
    /// The control connection broke and came back; the node lives.
    LinkReset {
        node: Pnn,
    },
    LanesReset {
        node: Pnn,
    },
    SettingsDiffer {
        node: Pnn,
    },
    RecoveryRequested {
        reason: &'static str,
    },
    FrameRefused {
        node: Pnn,
        rule: &'static str,
    },
    Candidate {
        term: u32,
    },
    Leader {
        node: Pnn,
        term: u32,
    },
    LeaderLost {
        node: Pnn,
    },
    TermsExhausted,
    LockContended,
    LockTimedOut,
    LockError,
    LockLost,
    /// The leader starts to form a generation.
    Forming {
        generation: Generation,
        members: Vec<Pnn>,
        cause: Cause,
    },
    Abandoned {
        generation: Generation,
        cause: Cause,
    },
    /// A leader waits until nodes that it cannot reach have surely stopped.
    WaitingFor {
        nodes: Vec<Pnn>,
        wait_ms: u64,
    },
    Committed {
        generation: Generation,
        members: Vec<Pnn>,
        took_ms: u64,
    },
    DatabaseKindsDiffer {
        id: DbId,
    },
    DatabasesLeftOut {
        count: usize,
    },
    Fenced {
        reason: FenceReason,
    },
    Rejoining,
}

/// How a node was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Refused,
    Silent { silent_ms: u64 },
    Left,
    Restarted,
}

/// Why a generation is made, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    NewLeader,
    Joined {
        node: Pnn,
    },
    Removed {
        node: Pnn,
    },
    /// The set of LMASTERs changed.
    Capabilities,
    LostFrames {
        node: Pnn,
    },
    Requested {
        node: Pnn,
    },
    Disagrees {
        node: Pnn,
    },
    PrepareTimedOut {
        node: Pnn,
    },
    RebuildTimedOut {
        node: Pnn,
    },
    RebuildFailed {
        node: Pnn,
    },
    CommitTimedOut {
        node: Pnn,
    },
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeConnected { node } => write!(f, "node {node} is connected"),
            Self::NodeDead { node, how } => write!(f, "node {node} is dead: {how}"),
            Self::LinkReset { node } => {
                write!(f, "connection to node {node} was reset, the node lives")
            }
            Self::LanesReset { node } => write!(f, "record connections to node {node} were reset"),
            Self::SettingsDiffer { node } => write!(
                f,
                "node {node} has another cluster lock or quorum setting: not in our cluster"
            ),
            Self::RecoveryRequested { reason } => write!(f, "recovery requested: {reason}"),
            Self::FrameRefused { node, rule } => {
                write!(f, "frame of node {node} refused: {rule}")
            }
            Self::Candidate { term } => write!(f, "standing for leader in term {term}"),
            Self::Leader { node, term } => write!(f, "leader={node} term={term}"),
            Self::LeaderLost { node } => write!(f, "leader {node} is lost"),
            Self::TermsExhausted => {
                f.write_str("no terms are left: remove the vote file on all nodes while stopped")
            }
            Self::LockContended => f.write_str("unable to take cluster lock - contention"),
            Self::LockTimedOut => f.write_str("unable to take cluster lock - timeout"),
            Self::LockError => f.write_str("unable to take cluster lock - error"),
            Self::LockLost => f.write_str("cluster lock is lost"),
            Self::Forming { generation, members, cause } => {
                write!(f, "forming generation {generation}: members {}: {cause}", Pnns(members))
            }
            Self::Abandoned { generation, cause } => {
                write!(f, "generation {generation} abandoned: {cause}")
            }
            Self::WaitingFor { nodes, wait_ms } => {
                write!(
                    f,
                    "waiting at most {wait_ms} ms until nodes {} have surely stopped",
                    Pnns(nodes)
                )
            }
            Self::Committed { generation, members, took_ms } => write!(
                f,
                "generation {generation} committed: members {} in {took_ms} ms",
                Pnns(members)
            ),
            Self::DatabaseKindsDiffer { id } => {
                write!(f, "database {id} is of different kinds on different nodes")
            }
            Self::DatabasesLeftOut { count } => {
                write!(f, "{count} databases exceed the limit and are not recovered")
            }
            Self::Fenced { reason } => write!(f, "fenced: {reason}"),
            Self::Rejoining => f.write_str("rejoining without volatile data"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Silent { silent_ms } => write!(f, "silent for {silent_ms} ms"),
            Self::Left => f.write_str("it has shut down"),
            Self::Restarted => f.write_str("it has restarted"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewLeader => f.write_str("new leader"),
            Self::Joined { node } => write!(f, "node {node} joins"),
            Self::Removed { node } => write!(f, "node {node} is no longer active"),
            Self::Capabilities => f.write_str("capabilities changed"),
            Self::LostFrames { node } => write!(f, "frames to or from node {node} were lost"),
            Self::Requested { node } => write!(f, "requested by node {node}"),
            Self::Disagrees { node } => write!(f, "node {node} disagrees"),
            Self::PrepareTimedOut { node } => write!(f, "node {node} did not prepare in time"),
            Self::RebuildTimedOut { node } => write!(f, "node {node} did not rebuild in time"),
            Self::RebuildFailed { node } => write!(f, "node {node} failed to rebuild"),
            Self::CommitTimedOut { node } => write!(f, "node {node} did not commit in time"),
        }
    }
}

impl fmt::Display for FenceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseExpired { silent_us } => {
                write!(f, "no contact with a quorum for {} ms", silent_us / 1000)
            }
            Self::Stalled { stalled_us } => {
                write!(f, "this daemon stood still for {} ms", stalled_us / 1000)
            }
            Self::LockLost => f.write_str("the cluster lock was lost"),
            Self::Excluded { committed } => {
                write!(f, "the others committed generation {committed} without this node")
            }
            Self::Outdated { generation } => {
                write!(f, "other nodes hold newer data, found by generation {generation}")
            }
            Self::Inactive => f.write_str("the node was made inactive"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn facts_read_as_administrators_speak() {
        let dead = Fact::NodeDead { node: Pnn(2), how: Death::Refused };
        assert_eq!(dead.to_string(), "node 2 is dead: connection refused");
        let leader = Fact::Leader { node: Pnn(0), term: 3 };
        assert_eq!(leader.to_string(), "leader=0 term=3");
        let committed = Fact::Committed {
            generation: Generation(12289),
            members: vec![Pnn(0), Pnn(1), Pnn(2)],
            took_ms: 23,
        };
        let text = "generation 12289 committed: members 0 1 2 in 23 ms";
        assert_eq!(committed.to_string(), text);
    }
}
