//! What a process of the daemon holds of records: shards, the file, its clients, and how far the
//! shards are with a change of generation.

use crate::random::Random;
use crate::records::{Attaching, Files, Job, Shard, Smbd};
use crate::scenario::Jobs;
use bateria_core::cluster::{Prospect, RebuildOrder};
use bateria_core::record::Settings;
use bateria_wire::{Generation, Pnn};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub struct Work {
    pub files: Files,
    pub shards: Vec<Shard>,
    pub clients: BTreeMap<u64, Smbd>,
    /// The database is open, and every shard has been told.
    pub attached: bool,
    pub attaching: Option<Attaching>,
    pub preparing: Option<Prospect>,
    pub quiesced: BTreeSet<u32>,
    /// A rebuild that waits for the database to be attached.
    pub waiting: Option<RebuildOrder>,
    pub rebuilding: Option<RebuildOrder>,
    pub rebuilt: BTreeSet<u32>,
}

impl Work {
    #[must_use]
    pub fn new(me: Pnn, lanes_count: u32, deletion_delay_us: u64) -> Self {
        let settings = |lane| Settings { me, lane, lanes_count, deletion_delay_us };
        Self {
            files: Files::default(),
            shards: (0..lanes_count).map(|lane| Shard::new(settings(lane))).collect(),
            clients: BTreeMap::new(),
            attached: false,
            attaching: None,
            waiting: None,
            preparing: None,
            quiesced: BTreeSet::new(),
            rebuilding: None,
            rebuilt: BTreeSet::new(),
        }
    }

    #[must_use]
    pub fn lanes_count(&self) -> u32 {
        u32::try_from(self.shards.len()).expect("shards are few")
    }

    /// The shard that serves a key.
    #[must_use]
    pub fn lane_of(&self, key: u32) -> u32 {
        Files::chain_of(key) % self.lanes_count()
    }

    /// Whether a shard still has to say that it prepared for this generation.
    #[must_use]
    pub fn prepares(&self, generation: Generation) -> bool {
        self.preparing.as_ref().is_some_and(|prospect| prospect.generation == generation)
    }

    /// All clients are gone, with what they held.
    pub fn disconnect_clients(&mut self) -> Vec<u32> {
        let clients = std::mem::take(&mut self.clients);
        clients.keys().flat_map(|client| self.files.client_died(*client)).collect()
    }

    /// What a client does next, half of the time with the same record as everybody.
    #[must_use]
    pub fn next_job(random: &mut Random, jobs: Jobs, keys_count: u32) -> (Job, u32) {
        let dice = random.between(0, 100);
        let job = match dice {
            _ if dice < jobs.reads => Job::Read,
            _ if dice < jobs.reads + jobs.deletes => Job::Delete,
            _ => Job::Write,
        };
        let hot = random.chance(50);
        let key = if hot { 0 } else { random.between(0, u64::from(keys_count)) };
        (job, u32::try_from(key).expect("keys are few"))
    }
}
