//! A machine room's view of a node: clock, disk, power, and the process that runs on it.

use crate::clock::Clock;
use crate::events::Event;
use crate::records::Work;
use bateria_core::cluster::{Capabilities, Cluster, Micros, Vote};
use bateria_wire::{NodeFlags, Pnn};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
pub struct Host {
    pub pnn: Pnn,
    pub clock: Clock,
    /// Without power, nothing answers, not even with a refusal.
    pub powered: bool,
    /// The vote on disk.
    pub vote: Option<Vote>,
    /// Writes reach the disk one after the other.
    pub disk_idle_at: Micros,
    /// So do mails to each shard.
    pub shards_idle_at: BTreeMap<u32, Micros>,
    pub process: Option<Process>,
    pub lives: u64,
    /// Its CPUs.
    pub shards_count: u32,
    /// What the administrator has set; a restart forgets flags, not capabilities.
    pub flags: NodeFlags,
    pub capabilities: Capabilities,
}

/// One run of the daemon.
#[derive(Debug)]
pub struct Process {
    pub machine: Cluster,
    pub life: u64,
    /// SIGSTOP: sockets and timers fill, nothing is read.
    pub stopped: bool,
    /// What happened to it meanwhile, in order.
    pub parked: VecDeque<Event>,
    pub work: Work,
    /// The latest alarm; earlier ones are void.
    pub alarm_serial: u64,
}

impl Host {
    #[must_use]
    pub fn new(pnn: Pnn, clock: Clock, shards_count: u32) -> Self {
        Self {
            pnn,
            clock,
            powered: true,
            vote: None,
            disk_idle_at: Micros(0),
            shards_idle_at: BTreeMap::new(),
            process: None,
            lives: 0,
            shards_count,
            flags: NodeFlags::UNHEALTHY,
            capabilities: Capabilities::default(),
        }
    }

    #[must_use]
    pub fn life(&self) -> Option<u64> {
        self.process.as_ref().map(|process| process.life)
    }

    /// The machine, if its process runs.
    #[must_use]
    pub fn machine(&self) -> Option<&Cluster> {
        self.process.as_ref().map(|process| &process.machine)
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.stopped)
    }
}
