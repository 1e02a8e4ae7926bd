//! What a node knows about its cluster before it starts.

use alloc::vec::Vec;
use bateria_wire::limits::NODES_COUNT_MAX;
use bateria_wire::{NodeFlags, Pnn};
use bitflags::bitflags;

/// Settings of the machine; all nodes have `nodes` and `quorum` alike.
#[derive(Clone, Debug)]
pub struct Config {
    pub pnn: Pnn,
    /// The nodes file, by ascending PNN.
    pub nodes: Vec<NodeConfig>,
    pub quorum: Quorum,
    /// Checksum of the quorum mode and the cluster lock's setting. Nodes that differ in it never
    /// form a cluster (cluster management §2.5).
    pub settings_crc32c: u32,
    /// Differs for each start of the daemon.
    pub incarnation: u64,
    /// UNHEALTHY plus what `start as stopped` and `start as disabled` ask for.
    pub flags: NodeFlags,
    pub capabilities: Capabilities,
    /// The last `Effect::PersistVote` that reached the disk; `None` on a new node.
    pub vote: Option<Vote>,
    pub timing: Timing,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    pub pnn: Pnn,
    pub deleted: bool,
}

/// What entitles a node to lead, and its followers to stay active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// More than half of the nodes that are not DELETED.
    Majority,
    /// Holding the cluster lock.
    Lock,
    /// Nothing. Both halves of a partitioned cluster go on; has to be asked for.
    None,
}

/// A vote must outlive the voter: given twice in one term, it elects two leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    pub term: u32,
    pub voted_for: Pnn,
}

bitflags! {
    /// Bits of GET_CAPABILITIES (cluster management §2.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        const LEADER = 0x1;
        const LMASTER = 0x2;
        const PARALLEL_RECOVERY = 0x0001_0000;
        const FRAGMENTED_CONTROLS = 0x0002_0000;
        // Bits that newer nodes know travel unharmed.
        const _ = !0;
    }
}

impl Default for Capabilities {
    /// 0x30003, as stock.
    fn default() -> Self {
        Self::LEADER | Self::LMASTER | Self::PARALLEL_RECOVERY | Self::FRAGMENTED_CONTROLS
    }
}

/// Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_interval_us: u64,
    /// A peer silent for so long is DISCONNECTED.
    pub detection_us: u64,
    /// A node that hears from no quorum for so long is fenced. Counted from when the node *sent*
    /// the heartbeat that came back, while its peers count `detection_us` from when they received
    /// it; so the lease has always ended first, unless clocks run apart by more than the ratio.
    pub lease_us: u64,
    /// With a cluster lock: how long at least half of the members stay active without a leader
    /// while the lock is free for none of them. Longer than a dead holder's lock lasts: the
    /// stock fcntl helper looks every 5 s, etcd leases last 9 s, RADOS ones 10 s.
    pub leaderless_us: u64,
    /// Random wait before a candidacy.
    pub election_min_us: u64,
    pub election_max_us: u64,
    /// More nodes may join within this time of the first: one generation serves all.
    pub settle_us: u64,
    /// Without quorum, a node waits so long for its peers before it leads alone.
    pub start_grace_us: u64,
    /// A member that takes longer in this phase is left out of the next generation.
    pub prepare_us: u64,
    /// RecoverTimeout (database semantics, appendix A).
    pub rebuild_us: u64,
    /// Limits of the pause between attempts to take the cluster lock, which doubles.
    pub lock_retry_min_us: u64,
    pub lock_retry_max_us: u64,
    /// Limits of the pause after repeated failures of one cause, which doubles.
    pub backoff_min_us: u64,
    pub backoff_max_us: u64,
}

const MS: u64 = 1_000;

impl Default for Timing {
    fn default() -> Self {
        Self::scaled(100 * MS, 600 * MS, 500 * MS)
    }
}

impl Timing {
    /// Usual times around a chosen heartbeat interval, detection time and lease.
    #[must_use]
    pub fn scaled(heartbeat_interval_us: u64, detection_us: u64, lease_us: u64) -> Self {
        Self {
            heartbeat_interval_us,
            detection_us,
            lease_us,
            leaderless_us: 12_000 * MS,
            election_min_us: 15 * MS,
            election_max_us: 100 * MS,
            settle_us: 30 * MS,
            start_grace_us: 500 * MS,
            prepare_us: 5_000 * MS,
            rebuild_us: 30_000 * MS,
            lock_retry_min_us: 50 * MS,
            lock_retry_max_us: 1_000 * MS,
            backoff_min_us: 50 * MS,
            backoff_max_us: 5_000 * MS,
        }
    }
}

/// The administrator's mistake: the daemon refuses to start and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    #[error("node {0} is not in the nodes list, or deleted there")]
    NotInList(Pnn),
    #[error("{count} nodes exceed the limit of {NODES_COUNT_MAX}")]
    TooManyNodes { count: usize },
    #[error("the nodes list is not in ascending order")]
    Order,
    #[error(
        "the lease ({lease_us} us) must be at most 9/10 of the detection time ({detection_us} us)"
    )]
    LeaseTooLong { lease_us: u64, detection_us: u64 },
    #[error(
        "three heartbeats ({heartbeat_interval_us} us each) must fit into the lease ({lease_us} us)"
    )]
    HeartbeatsTooRare { heartbeat_interval_us: u64, lease_us: u64 },
    #[error("a minimum time exceeds its maximum, or is 0")]
    EmptyRange,
}

impl Config {
    /// Checks what `Cluster::new` relies on.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigFault> {
        if self.nodes.len() > NODES_COUNT_MAX as usize {
            return Err(ConfigFault::TooManyNodes { count: self.nodes.len() });
        }
        if !self.nodes.is_sorted_by(|low, high| low.pnn < high.pnn) {
            return Err(ConfigFault::Order);
        }
        let listed = self.nodes.iter().find(|node| node.pnn == self.pnn);
        if listed.is_none_or(|node| node.deleted) || !self.pnn.is_node() {
            return Err(ConfigFault::NotInList(self.pnn));
        }
        self.timing.check()
    }

    /// Nodes that are not DELETED: those that count for a majority.
    #[must_use]
    pub fn voters_count(&self) -> usize {
        self.nodes.iter().filter(|node| !node.deleted).count()
    }
}

impl Timing {
    fn check(&self) -> Result<(), ConfigFault> {
        let Self { heartbeat_interval_us, detection_us, lease_us, .. } = *self;
        // A tenth is far more than two clocks drift apart, and leaves time to close the clients.
        if lease_us > detection_us - detection_us / 10 {
            return Err(ConfigFault::LeaseTooLong { lease_us, detection_us });
        }
        if heartbeat_interval_us.saturating_mul(3) > lease_us || heartbeat_interval_us == 0 {
            return Err(ConfigFault::HeartbeatsTooRare { heartbeat_interval_us, lease_us });
        }
        let ranges = [
            (self.election_min_us, self.election_max_us),
            (self.lock_retry_min_us, self.lock_retry_max_us),
            (self.backoff_min_us, self.backoff_max_us),
        ];
        let sound = ranges.iter().all(|(min, max)| 0 < *min && min < max);
        if sound { Ok(()) } else { Err(ConfigFault::EmptyRange) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_times_are_sound() {
        assert_eq!(Timing::default().check(), Ok(()));
    }

    #[test]
    fn a_lease_as_long_as_the_detection_time_is_refused() {
        let timing = Timing::scaled(100 * MS, 600 * MS, 600 * MS);
        let fault = ConfigFault::LeaseTooLong { lease_us: 600 * MS, detection_us: 600 * MS };
        assert_eq!(timing.check(), Err(fault));
    }

    #[test]
    fn stock_capabilities_are_the_default() {
        assert_eq!(Capabilities::default().bits(), 0x30003);
    }
}
