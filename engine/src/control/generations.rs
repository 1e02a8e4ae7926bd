//! A change of generation, as the daemon's threads carry it out.

use crate::control::Control;
use crate::mail::ShardMail;
use bateria_core::cluster::{FenceReason, Input, Prospect, RebuildOrder};
use bateria_wire::control::DatabaseEntry;
use bateria_wire::{DbKind, Generation, Srvid};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// Which shards have done their part of what is going on.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) has_started: bool,
    preparing: Option<Prospect>,
    quiesced: BTreeSet<u32>,
    /// A rebuild that waits for databases to be attached.
    waiting: Option<RebuildOrder>,
    rebuilding: Option<Generation>,
    rebuilt: BTreeSet<u32>,
    settled: BTreeSet<u32>,
    fencing: Option<BTreeSet<u32>>,
    pub(crate) committed: Option<Generation>,
}

impl Control {
    pub(crate) fn quiesce(&mut self, prospect: Prospect) {
        let (generation, members) = (prospect.generation, prospect.members.clone());
        self.progress.preparing = Some(prospect);
        self.progress.quiesced.clear();
        self.progress.waiting = None;
        self.progress.rebuilding = None;
        self.progress.committed = None;
        self.tell_shards(|| ShardMail::Quiesce { generation, members: members.clone() });
    }

    pub(crate) fn shard_quiesced(&mut self, shard: u32, generation: Generation) {
        let current = self
            .progress
            .preparing
            .as_ref()
            .is_some_and(|prospect| prospect.generation == generation);
        if !current {
            return;
        }
        self.progress.quiesced.insert(shard);
        if self.progress.quiesced.len() == self.shards.len() {
            let databases = self.shared.databases.all();
            let entries = databases.iter().map(|info| DatabaseEntry {
                id: info.id.0,
                flags: info.map_flags(),
                name: info.name.clone().into_bytes(),
            });
            let databases = entries.collect();
            self.tell_cluster(Input::Quiesced { generation, databases });
        }
    }

    pub(crate) fn rebuild(&mut self, order: RebuildOrder) {
        let wanted = order.databases.clone();
        self.progress.waiting = Some(order);
        for entry in wanted {
            let kind = DbKind::from_flags(entry.flags);
            self.attach_for_generation(&String::from_utf8_lossy(&entry.name), kind);
        }
        self.rebuild_if_attached();
    }

    /// Begins the rebuild that waits, when every database of the members is here.
    pub(crate) fn rebuild_if_attached(&mut self) {
        let attached = |order: &RebuildOrder| {
            let names = order.databases.iter().map(|entry| String::from_utf8_lossy(&entry.name));
            names.into_iter().all(|name| self.is_attached(&name))
        };
        if !self.progress.waiting.as_ref().is_some_and(attached) {
            return;
        }
        let Some(order) = self.progress.waiting.take() else { return };
        let prospect = &order.prospect;
        self.progress.rebuilding = Some(prospect.generation);
        self.progress.rebuilt.clear();
        self.progress.settled.clear();
        let map = prospect.vnn_map();
        let (members, contributors) = (prospect.members.clone(), order.contributors.clone());
        let wipe = order.wipe_own;
        self.tell_shards(|| ShardMail::Rebuild {
            map: map.clone(),
            members: members.clone(),
            contributors: contributors.clone(),
            wipe,
        });
    }

    /// A database cannot be attached: a generation that has it goes on without this node, instead
    /// of waiting for it. The leader asks again later.
    pub(crate) fn fail_rebuild_without(&mut self, name: &str) {
        let missing = |order: &RebuildOrder| {
            order.databases.iter().any(|entry| String::from_utf8_lossy(&entry.name) == name)
        };
        if let Some(order) = self.progress.waiting.take_if(|order| missing(order)) {
            let generation = order.prospect.generation;
            self.tell_cluster(Input::RebuildFailed { generation });
        }
    }

    pub(crate) fn shard_rebuilt(&mut self, shard: u32, generation: Generation) {
        if self.progress.rebuilding == Some(generation) {
            self.progress.rebuilt.insert(shard);
            self.end_rebuild(generation);
        }
    }

    pub(crate) fn shard_settled(&mut self, shard: u32, generation: Generation) {
        if self.progress.rebuilding == Some(generation) {
            self.progress.settled.insert(shard);
            self.end_rebuild(generation);
        }
    }

    fn end_rebuild(&mut self, generation: Generation) {
        let all = self.shards.len();
        if self.progress.rebuilt.len() == all && self.progress.settled.len() == all {
            self.progress.rebuilding = None;
            self.tell_cluster(Input::Rebuilt { generation });
        }
    }

    pub(crate) fn committed(&mut self, prospect: Prospect) {
        let generation = prospect.generation;
        self.progress.committed = Some(generation);
        self.shared.set_fenced(false);
        self.shared.statistics.recoveries_count.fetch_add(1, Ordering::Relaxed);
        self.tell_shards(|| ShardMail::Committed { generation });
        self.doors.open_for_clients(&mut self.ring);
        self.begin_deferred_attaches();
        self.deliver(Srvid::RECONFIGURE, &[]);
    }

    /// This node is out: its clients are disconnected before anything else happens.
    pub(crate) fn fence(&mut self, reason: FenceReason) {
        tracing::error!("leaving the cluster: {reason:?}; disconnecting all clients");
        self.progress.preparing = None;
        self.progress.waiting = None;
        self.progress.rebuilding = None;
        self.progress.committed = None;
        self.progress.fencing = Some(BTreeSet::new());
        self.shared.set_fenced(true);
        self.doors.close_for_clients(&mut self.ring);
        self.tell_shards(|| ShardMail::Fence);
    }

    pub(crate) fn shard_fenced(&mut self, shard: u32) {
        let Some(fenced) = &mut self.progress.fencing else { return };
        fenced.insert(shard);
        if fenced.len() == self.shards.len() {
            self.progress.fencing = None;
            self.tell_cluster(Input::Fenced);
            self.shared.set_incarnation(self.cluster.incarnation());
            if !self.has_left {
                // The clients of the past are gone. New ones may ask how things are, and wait for
                // their databases.
                self.doors.open_for_clients(&mut self.ring);
                self.reconnect_as_new();
            }
        }
    }
}
