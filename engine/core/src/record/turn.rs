//! What one step of the record machines works with.

use crate::record::{Effects, Key, OwnedKey, RecordStore};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bateria_wire::head::{Head, RecordHead, RecordOp, ReportHead, ReportOp};
use bateria_wire::{DbId, Pnn, VnnMap};

/// The world as one step sees it.
pub(crate) struct Turn<'a, S, E> {
    pub(crate) now_us: u64,
    pub(crate) me: Pnn,
    pub(crate) map: &'a VnnMap,
    pub(crate) members: &'a [Pnn],
    /// Frames of the current generation may be sent.
    pub(crate) open: bool,
    pub(crate) store: &'a mut S,
    pub(crate) effects: &'a mut E,
    pub(crate) own_frames: &'a mut VecDeque<OwnFrame>,
    pub(crate) deadlines: &'a mut Deadlines,
}

/// A frame from this node to itself, handled within the same step.
pub(crate) struct OwnFrame {
    pub(crate) db: DbId,
    pub(crate) key: OwnedKey,
    pub(crate) op: RecordOp,
    pub(crate) body: Vec<u8>,
}

/// When to look at a key again, the earliest first.
#[derive(Default)]
pub(crate) struct Deadlines {
    heap: alloc::collections::BinaryHeap<core::cmp::Reverse<Deadline>>,
    /// Makes equal times first come, first served.
    count: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    pub(crate) at_us: u64,
    order: u64,
    pub(crate) db: DbId,
    pub(crate) hash: u32,
    pub(crate) key: alloc::boxed::Box<[u8]>,
}

impl<S: RecordStore, E: Effects> Turn<'_, S, E> {
    /// Sends to a node, which may be this one.
    pub(crate) fn send(&mut self, to: Pnn, db: DbId, key: Key<'_>, op: RecordOp, body: &[u8]) {
        assert!(self.open, "frames wait until the generation is open");
        if to == self.me {
            self.own_frames.push_back(OwnFrame { db, key: key.to_owned(), op, body: body.into() });
            return;
        }
        let key_len = u32::try_from(key.bytes.len()).expect("keys keep their limit");
        let head = Head::Record(RecordHead { db: db.0, key_len, op });
        self.effects.send(to, &head, key.bytes, body);
    }

    /// Sends a part of a report to another node.
    pub(crate) fn send_report(&mut self, to: Pnn, db: DbId, op: ReportOp, bulk: &[u8]) {
        assert_ne!(to, self.me, "own records are located without a frame");
        self.effects.send(to, &Head::Report(ReportHead { db: db.0, op }), bulk, &[]);
    }

    /// Sends a part of a report to every other member.
    pub(crate) fn send_report_to_others(&mut self, db: DbId, op: ReportOp, bulk: &[u8]) {
        let (members, me) = (self.members, self.me);
        for member in members.iter().filter(|member| **member != me) {
            self.send_report(*member, db, op, bulk);
        }
    }

    /// The LMASTER of a key; there is one while the generation is open.
    pub(crate) fn lmaster(&self, key: Key<'_>) -> Pnn {
        self.map.lmaster(key.hash).expect("an open generation has LMASTERs")
    }
}

impl Deadlines {
    pub(crate) fn push(&mut self, at_us: u64, db: DbId, key: Key<'_>) {
        self.count += 1;
        let (hash, key) = (key.hash, key.bytes.into());
        self.heap.push(core::cmp::Reverse(Deadline { at_us, order: self.count, db, hash, key }));
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|deadline| deadline.0.at_us)
    }

    pub(crate) fn pop_due(&mut self, now_us: u64) -> Option<Deadline> {
        (self.next_us()? <= now_us).then(|| self.heap.pop().map(|deadline| deadline.0)).flatten()
    }
}
