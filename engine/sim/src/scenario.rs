//! What a run is about; all of it follows from the seed.

use crate::random::Random;
use bateria_core::cluster::{Quorum, Timing};
use std::fmt;

#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub nodes_count: u32,
    pub quorum: Quorum,
    pub timing: Timing,
    /// Each node has one or more.
    pub shards_count_max: u32,
    pub clients_per_node: u32,
    pub keys_count: u32,
    pub jobs: Jobs,
    /// How long tombstones stay.
    pub deletion_delay_us: u64,
    pub drift_ppm_max: u64,
    /// How long the lock of a dead holder stays taken.
    pub lock_expiry_us: u64,
    /// How long faults go on.
    pub faults_us: u64,
    /// Mean time between faults.
    pub fault_every_us: u64,
}

/// What clients do, in percent; the rest are writes.
#[derive(Clone, Copy, Debug)]
pub struct Jobs {
    pub reads: u64,
    pub deletes: u64,
}

const MS: u64 = 1_000;

impl Scenario {
    /// A cluster of `nodes_count` without faults and with good clocks.
    #[must_use]
    pub fn calm(seed: u64, nodes_count: u32, quorum: Quorum) -> Self {
        Self {
            seed,
            nodes_count,
            quorum,
            timing: Timing::default(),
            shards_count_max: 1,
            clients_per_node: 0,
            keys_count: 4,
            jobs: Jobs { reads: 10, deletes: 10 },
            deletion_delay_us: 100 * MS,
            drift_ppm_max: 100,
            lock_expiry_us: 0,
            faults_us: 0,
            fault_every_us: 1_000 * MS,
        }
    }

    /// Anything that a seed may mean; `faults_us` of virtual time with faults.
    #[must_use]
    pub fn from_seed(seed: u64, faults_us: u64) -> Self {
        let mut random = Random::new(seed ^ 0xba7e_71a0);
        let quorum =
            *random.pick(&[Quorum::Majority, Quorum::Majority, Quorum::Lock, Quorum::None]);
        let nodes_count = *random.pick(&[1, 2, 3, 3, 3, 4, 5, 5, 7]);
        Self {
            shards_count_max: *random.pick(&[1, 2, 3, 4]),
            clients_per_node: *random.pick(&[0, 1, 2, 4]),
            keys_count: *random.pick(&[1, 3, 8]),
            jobs: Jobs {
                reads: *random.pick(&[0, 10, 50]),
                deletes: *random.pick(&[0, 10, 10, 40]),
            },
            deletion_delay_us: *random.pick(&[5 * MS, 100 * MS, 1_000 * MS]),
            drift_ppm_max: *random.pick(&[0, 100, 20_000]),
            lock_expiry_us: *random.pick(&[0, 0, 2_000 * MS, 9_000 * MS]),
            faults_us,
            fault_every_us: *random.pick(&[30 * MS, 150 * MS, 700 * MS, 3_000 * MS]),
            ..Self::calm(seed, nodes_count, quorum)
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} nodes, up to {} shards and {} clients on each, {:?}, quorum {:?}, a fault every {} ms for {} ms",
            self.nodes_count,
            self.shards_count_max,
            self.clients_per_node,
            self.jobs,
            self.quorum,
            self.fault_every_us / MS,
            self.faults_us / MS
        )
    }
}
