//! Frames from other nodes' shards: each goes to the shard that its key or database belongs to.

use crate::mail::{Origin, ShardMail};
use crate::shard::Shard;
use crate::shard::store::Store;
use crate::statistics::count;
use bateria_core::persistent;
use bateria_core::record::{Input, Key};
use bateria_core::traverse::{VisitInput, WalkInput, Walks};
use bateria_ring::ReceivedBuffer;
use bateria_smbshim::header::Header;
use bateria_smbshim::packet::{ControlFlags, ReqControl};
use bateria_wire::frame::{self, Frame, FrameFault};
use bateria_wire::head::{
    ArchivedHead, ArchivedRelayHead, PersistentOp, RecordOp, ReportOp, TraverseOp,
};
use bateria_wire::limits::{DATA_SIZE_BYTES_MAX, KEY_SIZE_BYTES_MAX};
use bateria_wire::{DbId, Generation, Pnn, Srvid};
use std::sync::Arc;

/// Record frames about a database that is not attached here yet: its members attach at the same
/// time, and the first is not the last.
#[derive(Default)]
pub(crate) struct Unattached {
    mails: Vec<(DbId, ShardMail)>,
}

/// Beyond this a frame is lost, and its record found again by the next generation.
const UNATTACHED_COUNT_MAX: usize = 64 * 1024;

impl Unattached {
    /// False when there is no room.
    pub(crate) fn keep(&mut self, db: DbId, mail: ShardMail) -> bool {
        let has_room = self.mails.len() < UNATTACHED_COUNT_MAX;
        if has_room {
            self.mails.push((db, mail));
        }
        has_room
    }

    pub(crate) fn take(&mut self, db: DbId) -> Vec<ShardMail> {
        self.mails.extract_if(.., |(of, _)| *of == db).map(|(_, mail)| mail).collect()
    }

    /// Frames of another generation count no more; clients still wait.
    pub(crate) fn forget_frames(&mut self) {
        self.mails.retain(|(_, mail)| matches!(mail, ShardMail::Call { .. }));
    }
}

impl Shard {
    pub(crate) fn lane_received(&mut self, place: usize, buffer: &ReceivedBuffer) {
        let Some((peer, stream, mut received)) = self.io.lanes.take_inward(place) else { return };
        let outcome = received.feed(buffer, frame::frame_length, |bytes| {
            let frame = Frame::parse(bytes)?;
            if frame.source != peer {
                return Err(FrameFault::Meaning { rule: "a lane carries its peer's frames" });
            }
            self.frame(peer, &frame)
        });
        self.io.lanes.put_back(place, received);
        if let Err(fault) = outcome {
            tracing::warn!("closing a lane from node {peer}: {fault}");
            self.io.ring.abort(stream);
        }
    }

    fn frame(&mut self, from: Pnn, frame: &Frame<'_>) -> Result<(), FrameFault> {
        count(&self.io.counters().node_packets_recv);
        let generation = frame.generation;
        match frame.head {
            ArchivedHead::Record(head) => {
                count(&self.io.counters().node_record_frames);
                let key_len = head.key_len.to_native();
                let (key, body) = frame.key_and_body(key_len)?;
                if key_len > KEY_SIZE_BYTES_MAX || body.len() > DATA_SIZE_BYTES_MAX as usize {
                    return Err(FrameFault::Meaning { rule: "records keep their limits" });
                }
                let db = DbId(head.db.to_native());
                self.route_record(from, generation, db, key, head.op.native(), body);
            }
            ArchivedHead::Report(head) => {
                let (db, op) = (DbId(head.db.to_native()), head.op.native());
                self.route_report(from, generation, db, op, frame.bulk);
            }
            ArchivedHead::Persistent(head) => {
                let (db, op) = (DbId(head.db.to_native()), head.op.native());
                let shard = self.persistent_shard(db);
                if self.io.is_own(shard) {
                    return self.persistent_frame(from, generation, db, op, frame.bulk);
                }
                let bulk = frame.bulk.into();
                self.io.tell_shard(shard, ShardMail::Persistent { from, generation, db, op, bulk });
            }
            ArchivedHead::Traverse(head) => {
                let (db, walk) = (DbId(head.db.to_native()), head.walk.to_native());
                return self.route_traverse(from, db, walk, head.op.native(), frame.bulk);
            }
            ArchivedHead::Relay(head) => self.relay_frame(from, head, frame.bulk)?,
            _ => return Err(FrameFault::Meaning { rule: "lanes carry what clients cause" }),
        }
        Ok(())
    }

    pub(crate) fn route_record(
        &mut self,
        from: Pnn,
        generation: Generation,
        db: DbId,
        key: &[u8],
        op: RecordOp,
        body: &[u8],
    ) {
        let key = Store::key(key);
        match self.store.shard_of(db, key.hash) {
            Some(shard) if self.io.is_own(shard) => {
                self.record_frame(from, generation, db, key, op, body);
            }
            shard => {
                let (key, body) = (key.to_owned(), body.into());
                let mail = ShardMail::Record { from, generation, db, key, op, body };
                if let Some(shard) = shard {
                    self.io.tell_shard(shard, mail);
                } else {
                    self.unattached.keep(db, mail);
                }
            }
        }
    }

    pub(crate) fn record_frame(
        &mut self,
        from: Pnn,
        generation: Generation,
        db: DbId,
        key: Key<'_>,
        op: RecordOp,
        body: &[u8],
    ) {
        self.step(Input::Record { from, generation, db, key, op, body });
    }

    /// Every shard takes from a report what it serves.
    fn route_report(
        &mut self,
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: ReportOp,
        bulk: &[u8],
    ) {
        let shared: Arc<[u8]> = bulk.into();
        for shard in 0..self.io.shards.len() {
            if !self.io.is_own(shard) {
                let bulk = shared.clone();
                let mail = ShardMail::Report { from, generation, db, op, bulk };
                self.io.tell_shard(shard, mail);
            }
        }
        self.report_frame(from, generation, db, op, &shared);
    }

    pub(crate) fn report_frame(
        &mut self,
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: ReportOp,
        bulk: &Arc<[u8]>,
    ) {
        if self.store.shard_of(db, 0).is_none() {
            let bulk = bulk.clone();
            self.unattached.keep(db, ShardMail::Report { from, generation, db, op, bulk });
            return;
        }
        self.step(Input::Report { from, generation, db, op, bulk });
    }

    pub(crate) fn persistent_frame(
        &mut self,
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: PersistentOp,
        bulk: &[u8],
    ) -> Result<(), FrameFault> {
        self.step_persistent(persistent::Input::Frame { from, generation, db, op, bulk })
    }

    pub(crate) fn route_traverse(
        &mut self,
        from: Pnn,
        db: DbId,
        walk: u64,
        op: TraverseOp,
        bulk: &[u8],
    ) -> Result<(), FrameFault> {
        let shards_count = self.io.shards.len();
        let targets = match op {
            TraverseOp::Start { .. } | TraverseOp::Stop => 0..shards_count,
            TraverseOp::Credit { lane } => lane as usize..lane as usize + 1,
            TraverseOp::Records { .. } | TraverseOp::End { .. } => {
                let lane = Walks::lane_of(walk) as usize;
                lane..lane + 1
            }
        };
        if targets.end > shards_count {
            return Err(FrameFault::Meaning { rule: "a walk's lane is a shard" });
        }
        for shard in targets {
            if self.io.is_own(shard) {
                self.traverse_frame(from, db, walk, op, bulk)?;
            } else {
                let mail = ShardMail::Traverse { from, db, walk, op, bulk: bulk.into() };
                self.io.tell_shard(shard, mail);
            }
        }
        Ok(())
    }

    pub(crate) fn traverse_frame(
        &mut self,
        from: Pnn,
        db: DbId,
        walk: u64,
        op: TraverseOp,
        bulk: &[u8],
    ) -> Result<(), FrameFault> {
        match op {
            TraverseOp::Records { .. } | TraverseOp::End { .. } => {
                self.try_step_walks(WalkInput::Frame { from, walk, op, bulk })
            }
            TraverseOp::Start { .. } | TraverseOp::Credit { .. } | TraverseOp::Stop => {
                self.step_visits(VisitInput::Frame { from, walk, db, op })
            }
        }
    }

    fn relay_frame(
        &mut self,
        from: Pnn,
        head: &ArchivedRelayHead,
        bulk: &[u8],
    ) -> Result<(), FrameFault> {
        match head {
            ArchivedRelayHead::Message { srvid } => {
                count(&self.io.counters().node_messages);
                let srvid = Srvid(srvid.to_native());
                self.answer_as_recovery_daemon(srvid, bulk);
                self.io.deliver(srvid, bulk);
            }
            ArchivedRelayHead::Tunnel { id, flags } => {
                self.deliver_tunnel(id.to_native(), flags.to_native(), bulk);
            }
            ArchivedRelayHead::Control { id, opcode, srvid, flags } => {
                let shard = self.io.index;
                let id = id.to_native();
                let origin =
                    if id == 0 { Origin::Nobody } else { Origin::Peer { peer: from, id, shard } };
                let control = ReqControl {
                    header: Header::control(self.io.shared.me, 0),
                    opcode: opcode.to_native(),
                    srvid: Srvid(srvid.to_native()),
                    client_id: 0,
                    flags: ControlFlags::from_bits_retain(flags.to_native()),
                    data: bulk,
                };
                self.control_from_peer(origin, &control);
            }
            ArchivedRelayHead::ControlReply { id, status, error_len } => {
                let (id, status) = (id.to_native(), status.to_native());
                self.relay_answered(from, id, status, error_len.to_native(), bulk);
            }
            ArchivedRelayHead::SequenceChanged { db } => {
                self.sequence_changed(DbId(db.to_native()));
            }
            ArchivedRelayHead::Attach { .. } | ArchivedRelayHead::Attached { .. } => {
                return Err(FrameFault::Meaning { rule: "control threads attach databases" });
            }
        }
        Ok(())
    }
}
