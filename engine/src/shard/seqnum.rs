//! Change counts of databases that clients cache by (client protocol §6.6): a change on one node
//! changes the count on all.

use crate::clock;
use crate::mail::ShardMail;
use crate::shard::Shard;
use bateria_smbshim::structures::tunable::Tunable;
use bateria_wire::DbId;
use bateria_wire::head::{Head, RelayHead};
use rustc_hash::FxHashMap;
use std::sync::atomic::Ordering;

/// The counts as last seen; kept by the first shard alone.
pub(crate) struct SequenceNumbers {
    seen: FxHashMap<DbId, u32>,
    next_us: Option<u64>,
}

/// The shard that compares.
const COMPARING_SHARD: usize = 0;

impl SequenceNumbers {
    pub(crate) fn new(shard: u32) -> Self {
        let compares = shard as usize == COMPARING_SHARD;
        Self { seen: FxHashMap::default(), next_us: compares.then(clock::now_us) }
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.next_us
    }
}

impl Shard {
    /// Tells the other nodes which counts have changed since the last look.
    pub(crate) fn compare_sequence_numbers(&mut self, now_us: u64) {
        if self.sequence_numbers.next_us.is_none_or(|at_us| at_us > now_us) {
            return;
        }
        let shared = self.io.shared.clone();
        let interval_ms =
            shared.with_tunables(|tunables| tunables.get(Tunable::SeqnumInterval)).max(10);
        self.sequence_numbers.next_us = Some(now_us + u64::from(interval_ms) * 1000);
        let counted = shared.databases.all().into_iter();
        let counted = counted.filter(|info| info.counts_changes.load(Ordering::Acquire));
        for info in counted {
            let Some(handle) = self.store.handle_mut(info.id) else { continue };
            let number = handle.sequence_number();
            let before = self.sequence_numbers.seen.insert(info.id, number);
            if before.is_some_and(|before| before != number) {
                let head = Head::Relay(RelayHead::SequenceChanged { db: info.id.0 });
                let view = shared.view();
                let active = view.nodes.iter().filter(|node| node.flags.is_active());
                for node in active.filter(|node| node.pnn != shared.me) {
                    self.io.send_frame(node.pnn, &head, &[]);
                }
            }
        }
    }

    /// Another node's count has changed: ours changes once, and that is no news to others.
    pub(crate) fn sequence_changed(&mut self, db: DbId) {
        if !self.io.is_own(COMPARING_SHARD) {
            self.io.tell_shard(COMPARING_SHARD, ShardMail::SequenceChanged { db });
            return;
        }
        let counted = self.io.shared.databases.get(db);
        if counted.is_none_or(|info| !info.counts_changes.load(Ordering::Acquire)) {
            return;
        }
        let Some(handle) = self.store.handle_mut(db) else { return };
        if let Err(error) = handle.bump_sequence_number() {
            tracing::error!("database {db}: cannot change its sequence number: {error}");
            return;
        }
        // What changed here since the last look is still told.
        let seen = self.sequence_numbers.seen.entry(db);
        seen.and_modify(|number| *number = number.wrapping_add(1));
    }
}
