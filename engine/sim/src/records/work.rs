//! What a process of the daemon holds of records: shards, the file, its clients, and how far the
//! shards are with a change of generation.

use crate::random::Random;
use crate::records::{Files, Job, Shard, Smbd};
use bateria_core::cluster::{Prospect, RebuildOrder};
use bateria_wire::{Generation, Pnn};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub struct Work {
    pub files: Files,
    pub shards: Vec<Shard>,
    pub clients: BTreeMap<u64, Smbd>,
    pub preparing: Option<Prospect>,
    pub quiesced: BTreeSet<u32>,
    pub rebuilding: Option<RebuildOrder>,
    pub rebuilt: BTreeSet<u32>,
}

impl Work {
    #[must_use]
    pub fn new(me: Pnn, lanes_count: u32) -> Self {
        let mut files = Files::default();
        let shards =
            (0..lanes_count).map(|lane| Shard::new(me, lane, lanes_count, &mut files)).collect();
        Self {
            files,
            shards,
            clients: BTreeMap::new(),
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

    /// What a client does next: mostly writes, on few records.
    #[must_use]
    pub fn next_job(random: &mut Random, keys_count: u32) -> (Job, u32) {
        let job = match random.between(0, 20) {
            0 | 1 => Job::Delete,
            2 | 3 => Job::Read,
            _ => Job::Write,
        };
        let hot = random.chance(50);
        let key = if hot { 0 } else { random.between(0, u64::from(keys_count)) };
        (job, u32::try_from(key).expect("keys are few"))
    }
}
