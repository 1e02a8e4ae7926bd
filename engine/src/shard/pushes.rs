//! Records pushed to all nodes for persistent handles (Samba 4.25 delta §2): the owner's node sends
//! a copy to every other active node, and answers when all of them hold it or a newer one.

use crate::clock;
use crate::mail::{Origin, ShardMail};
use crate::shard::Shard;
use crate::shard::relays::{Begun, Relayed};
use crate::shard::store::Store;
use bateria_core::record::{Lock, RecordFlags, RecordHeader, RecordStore, StoreFault};
use bateria_smbshim::control::{ControlReply, Opcode, text};
use bateria_smbshim::fields::Layout;
use bateria_smbshim::structures::push::PushRecord;
use bateria_wire::{Generation, Pnn, Srvid};
use std::collections::{BTreeMap, VecDeque};

/// Pushes that this shard's clients wait for, and copies that wait for a chain.
#[derive(Default)]
pub(crate) struct Pushes {
    next_id: u64,
    sent: BTreeMap<u64, Sent>,
    waiting: VecDeque<Copy>,
    next_look_us: Option<u64>,
}

struct Sent {
    origin: Origin,
    awaited_count: usize,
    refusal: Option<ControlReply>,
}

struct Copy {
    origin: Origin,
    generation: Generation,
    payload: Box<[u8]>,
    until_us: u64,
}

/// Pause between two attempts at a chain that a client holds.
const LOOK_AGAIN_US: u64 = 1_000;
/// Copies that wait; the next is refused.
const WAITING_COUNT_MAX: usize = 4096;

impl Pushes {
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.next_look_us
    }
}

impl Shard {
    /// PUSH_RECORD: this node's own copy is not touched.
    pub(crate) fn push(&mut self, origin: Origin, push: &PushRecord<'_>) -> Option<ControlReply> {
        let me = self.io.shared.me;
        let targets = self.nodes_of(Pnn::BROADCAST_ACTIVE).into_iter().filter(|node| *node != me);
        let targets: Vec<Pnn> = targets.collect();
        if targets.is_empty() {
            return Some(ControlReply::done());
        }
        let id = self.pushes.next_id;
        self.pushes.next_id += 1;
        let sent = Sent { origin, awaited_count: targets.len(), refusal: None };
        self.pushes.sent.insert(id, sent);
        let payload = push.to_bytes();
        let deadline_us = self.control_deadline_us();
        let shard = self.io.index;
        for node in targets {
            let opcode = Opcode::PushRecordStore as u32;
            let part = Origin::Push { id, shard };
            let relayed = Relayed::new(part, node, opcode, Srvid(0), 0, &payload, deadline_us);
            match self.relays.begin(relayed) {
                Begun::Send(relay) => self.send_relayed(relay),
                Begun::Fail(reply) => self.io.pushes_answered.push((id, reply)),
            }
        }
        None
    }

    /// PUSH_RECORD_STORE.
    pub(crate) fn store_push(
        &mut self,
        origin: Origin,
        push: &PushRecord<'_>,
    ) -> Option<ControlReply> {
        if push.generation != self.io.shared.view().vnn_map.generation {
            return Some(ControlReply::failed());
        }
        if push.header.dmaster == self.io.shared.me {
            return Some(ControlReply::done());
        }
        let key = Store::key(push.key);
        let Some(shard) = self.store.shard_of(push.db_id, key.hash) else {
            return Some(ControlReply::failed());
        };
        let payload = push.to_bytes().into_boxed_slice();
        if self.io.is_own(shard) {
            self.store_copy(origin, payload);
        } else {
            self.io.tell_shard(shard, ShardMail::StoreCopy { origin, payload });
        }
        None
    }

    /// Stores a pushed copy in this shard's chain, or waits for the chain.
    pub(crate) fn store_copy(&mut self, origin: Origin, payload: Box<[u8]>) {
        let until_us = self.control_deadline_us();
        let generation = self.io.generation;
        let copy = Copy { origin, generation, payload, until_us };
        if self.pushes.waiting.len() >= WAITING_COUNT_MAX {
            self.io.answer(origin, &ControlReply::failed());
            return;
        }
        self.try_copy(copy);
    }

    /// Counts the answers of other nodes, and tries chains again.
    pub(crate) fn push_further(&mut self, now_us: u64) {
        for (id, reply) in std::mem::take(&mut self.io.pushes_answered) {
            let Some(sent) = self.pushes.sent.get_mut(&id) else { continue };
            sent.awaited_count -= 1;
            // A node that is gone has no copies to keep.
            let gone = [text::NODE_DISCONNECTED, text::TO_DISCONNECTED_NODE];
            if reply.status() != 0 && !gone.contains(&reply.error_text()) {
                let timed_out = reply.error_text() == text::TIMED_OUT;
                let timeout = || ControlReply::failed_because(-1, text::PUSH_TIMED_OUT);
                sent.refusal.get_or_insert(if timed_out { timeout() } else { reply });
            }
            if sent.awaited_count == 0
                && let Some(sent) = self.pushes.sent.remove(&id)
            {
                let reply = sent.refusal.unwrap_or_else(ControlReply::done);
                self.io.answer(sent.origin, &reply);
            }
        }
        if self.pushes.next_look_us.is_some_and(|at_us| at_us <= now_us) {
            self.pushes.next_look_us = None;
            for copy in std::mem::take(&mut self.pushes.waiting) {
                self.try_copy(copy);
            }
        }
    }

    fn try_copy(&mut self, copy: Copy) {
        let now_us = clock::now_us();
        let expired = copy.until_us <= now_us || copy.generation != self.io.generation;
        let Ok(push) = PushRecord::from_bytes(&copy.payload) else {
            self.io.answer(copy.origin, &ControlReply::failed());
            return;
        };
        if expired {
            self.io.answer(copy.origin, &ControlReply::failed());
            return;
        }
        match copy_into(&mut self.store, &push) {
            Ok(true) => self.io.answer(copy.origin, &ControlReply::done()),
            Err(StoreFault) => self.io.answer(copy.origin, &ControlReply::failed()),
            Ok(false) => {
                self.pushes.waiting.push_back(copy);
                self.pushes.next_look_us = Some(now_us + LOOK_AGAIN_US);
            }
        }
    }
}

/// False when a client holds the chain. A copy that is as new or newer stays, whatever its body:
/// the record may have passed by meanwhile.
fn copy_into(store: &mut Store, push: &PushRecord<'_>) -> Result<bool, StoreFault> {
    let db = push.db_id;
    let chain = Store::key(push.key).hash % store.chains_count(db);
    if store.try_lock(db, chain)? == Lock::Busy {
        return Ok(false);
    }
    let outcome = store.fetch(db, push.key, &mut Vec::new()).and_then(|local| {
        if local.is_some_and(|local| local.rsn >= push.header.rsn) {
            return Ok(());
        }
        let flags = RecordFlags::from_bits_retain(push.header.flags.bits());
        let header = RecordHeader {
            rsn: push.header.rsn,
            dmaster: push.header.dmaster,
            flags: flags | RecordFlags::MIGRATED_WITH_DATA,
        };
        store.store(db, push.key, &header, push.value)
    });
    store.unlock(db, chain);
    outcome.map(|()| true)
}
