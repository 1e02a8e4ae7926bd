//! Walks of this shard's clients, and this shard's part in walks of anybody's.

use crate::blocking::BlockingPool;
use crate::clock;
use crate::mail::{Origin, ShardMail, WalkBatch};
use crate::registry::SessionId;
use crate::shard::Shard;
use crate::shard::chain_waits::tell;
use crate::shard::io::Io;
use crate::shard::store::Store;
use crate::walk::{ChainWalk, Filter};
use bateria_core::record::Caller;
use bateria_core::traverse::{
    self, Client, Shortfall, Slice, VisitEffects, VisitId, VisitInput, Visits, WalkEffects,
    WalkInput,
};
use bateria_ring::mailbox::MailboxSender;
use bateria_smbshim::control::ControlReply;
use bateria_smbshim::fields::Layout;
use bateria_smbshim::header::Header;
use bateria_smbshim::packet::{Packet, Padding, ReqMessage};
use bateria_smbshim::rec_data::RecData;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::Head;
use bateria_wire::{DbId, DbKind, Pnn, Srvid};

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Both sides.
pub(crate) struct Walks {
    origin: traverse::Walks,
    visits: Visits,
    /// Files that visits are reading.
    open: BTreeMap<VisitId, OpenVisit>,
    /// Frames from this node to itself.
    own_frames: VecDeque<(Head, Vec<u8>)>,
    /// Sessions whose queue was full when a walk asked.
    full: Vec<SessionId>,
    pool: Arc<BlockingPool>,
    mailbox: MailboxSender<ShardMail>,
}

struct OpenVisit {
    walk: Arc<Mutex<ChainWalk>>,
    stop: Arc<AtomicBool>,
}

/// Above this a walk's client has to read before more is fetched for it.
const QUEUE_BYTES_MAX: usize = 1 << 20;

impl Walks {
    /// Whether records are on their way to the session.
    pub(crate) fn serve(&self, session: SessionId) -> bool {
        self.origin.serve(session.0)
    }

    pub(crate) fn new(
        me: Pnn,
        lane: u32,
        lanes_count: u32,
        start: u32,
        pool: Arc<BlockingPool>,
        mailbox: MailboxSender<ShardMail>,
    ) -> Self {
        Self {
            origin: traverse::Walks::new(me, lane, start, traverse::Settings::default()),
            visits: Visits::new(lane, lanes_count),
            open: BTreeMap::new(),
            own_frames: VecDeque::new(),
            full: Vec::new(),
            pool,
            mailbox,
        }
    }

    pub(crate) fn set_timeout_ms(&mut self, traverse_timeout_ms: u64) {
        self.origin.set_settings(traverse::Settings { traverse_timeout_ms });
    }

    /// Answers a control from a worker thread, where waiting is allowed. False when there is none.
    pub(crate) fn answer_by_worker(
        &self,
        origin: Origin,
        find: impl FnOnce() -> ControlReply + Send + 'static,
    ) -> bool {
        let mailbox = self.mailbox.clone();
        let job = move || tell(&mailbox, ShardMail::Answer { origin, reply: find() });
        self.pool.submit(Box::new(job)).is_ok()
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        if !self.full.is_empty() {
            // A queue drains without telling; it is looked at every few milliseconds.
            return Some(clock::now_us() + 5_000);
        }
        self.origin.deadline_ms().map(|at_ms| at_ms * 1000)
    }
}

impl Shard {
    /// An event for a walk of this shard's clients that no peer has caused.
    pub(crate) fn step_walks(&mut self, input: WalkInput<'_>) {
        self.try_step_walks(input).expect("only frames break the protocol");
    }

    pub(crate) fn try_step_walks(&mut self, input: WalkInput<'_>) -> Result<(), FrameFault> {
        let now_ms = clock::now_us() / 1000;
        let Walks { origin, own_frames, full, .. } = &mut self.walks;
        let mut effects = OriginEffects { io: &mut self.io, own_frames, full };
        origin.step(now_ms, input, &mut effects)?;
        self.deliver_own_frames()
    }

    pub(crate) fn step_visits(&mut self, input: VisitInput<'_>) -> Result<(), FrameFault> {
        let Walks { visits, open, own_frames, pool, mailbox, .. } = &mut self.walks;
        let mut effects = TargetEffects {
            io: &mut self.io,
            store: &mut self.store,
            open,
            own_frames,
            pool,
            mailbox,
        };
        visits.step(input, &mut effects)?;
        self.deliver_own_frames()
    }

    /// A worker has walked a slice.
    pub(crate) fn visit_went_on(&mut self, visit: u64, batch: &WalkBatch) {
        let (records, slice) = (&*batch.records, batch.slice);
        let visit = VisitId(visit);
        self.step_visits(VisitInput::Walked { visit, records, slice })
            .expect("a slice is no frame");
        if slice != Slice::More {
            self.walks.open.remove(&visit);
        }
    }

    pub(crate) fn walk_further(&mut self, now_us: u64) {
        let mut full = std::mem::take(&mut self.walks.full);
        full.dedup();
        for session in full {
            let stream = self.io.client(session).map(|client| client.stream);
            match stream {
                Some(stream) if self.io.ring.queued_bytes(stream) > QUEUE_BYTES_MAX / 2 => {
                    self.walks.full.push(session);
                }
                Some(_) => self.step_walks(WalkInput::QueueDrained { session: session.0 }),
                None => {}
            }
        }
        if self.walks.origin.deadline_ms().is_some_and(|at_ms| at_ms * 1000 <= now_us) {
            self.step_walks(WalkInput::Tick);
        }
    }

    fn deliver_own_frames(&mut self) -> Result<(), FrameFault> {
        while let Some((head, bulk)) = self.walks.own_frames.pop_front() {
            let Head::Traverse(head) = head else { unreachable!("walks send their own frames") };
            let me = self.io.shared.me;
            self.route_traverse(me, DbId(head.db), head.walk, head.op, &bulk)?;
        }
        Ok(())
    }
}

struct OriginEffects<'a> {
    io: &'a mut Io,
    own_frames: &'a mut VecDeque<(Head, Vec<u8>)>,
    full: &'a mut Vec<SessionId>,
}

impl OriginEffects<'_> {
    fn message(&mut self, client: &Client, data: &[u8]) {
        let header = Header::to_client(self.io.generation, self.io.shared.me, 0);
        let srvid = Srvid(client.srvid);
        let mut packet = Vec::with_capacity(data.len() + 64);
        Packet::Message(ReqMessage { header, srvid, data }).encode(Padding::Aligned, &mut packet);
        self.io.deliver_here(SessionId(client.caller.session), &packet);
    }
}

impl WalkEffects for OriginEffects<'_> {
    fn reply(&mut self, caller: Caller, status: i32) {
        let session = SessionId(caller.session);
        let origin = Origin::Session { session, ticket: caller.request };
        self.io.answer(origin, &ControlReply::value(status));
    }

    fn send(&mut self, to: Pnn, head: &Head) {
        if to == self.io.shared.me {
            self.own_frames.push_back((head.clone(), Vec::new()));
        } else {
            self.io.send_frame(to, head, &[]);
        }
    }

    fn record(&mut self, client: &Client, rec_data: &[u8]) {
        self.message(client, rec_data);
    }

    fn end(&mut self, client: &Client) {
        let mut data = Vec::new();
        RecData::end_mark(client.reqid).encode(&mut data);
        self.message(client, &data);
    }

    fn has_room(&mut self, client: &Client) -> bool {
        let session = SessionId(client.caller.session);
        let Some(stream) = self.io.client(session).map(|client| client.stream) else { return true };
        let has_room = self.io.ring.queued_bytes(stream) <= QUEUE_BYTES_MAX;
        if !has_room {
            self.full.push(session);
        }
        has_room
    }

    fn incomplete(&mut self, db: DbId, node: Pnn, shortfall: Shortfall) {
        tracing::warn!("a walk over database {db} lacks the records of node {node}: {shortfall}");
    }
}

struct TargetEffects<'a> {
    io: &'a mut Io,
    store: &'a mut Store,
    open: &'a mut BTreeMap<VisitId, OpenVisit>,
    own_frames: &'a mut VecDeque<(Head, Vec<u8>)>,
    pool: &'a BlockingPool,
    mailbox: &'a MailboxSender<ShardMail>,
}

impl VisitEffects for TargetEffects<'_> {
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]) {
        if to == self.io.shared.me {
            self.own_frames.push_back((head.clone(), bulk.to_vec()));
        } else {
            self.io.send_frame(to, head, &[bulk]);
        }
    }

    fn open(&mut self, visit: VisitId, db: DbId, with_empty: bool) -> bool {
        let shared = &self.io.shared;
        let healthy = shared.databases.get(db).filter(|info| !info.failed.load(Ordering::Acquire));
        let (Some(info), Some(handle)) = (healthy, self.store.handle_mut(db)) else { return false };
        let tdb = match handle.sibling() {
            Ok(tdb) => tdb,
            Err(error) => {
                tracing::error!("database {}: cannot be walked: {error}", info.name);
                return false;
            }
        };
        let filter = match info.kind {
            DbKind::Volatile => Filter::Owned { by: shared.me, with_empty },
            DbKind::Persistent | DbKind::Replicated => Filter::Everything,
        };
        let walk = ChainWalk::new(tdb, filter, self.io.index, shared.shards_count);
        let walk = Arc::new(Mutex::new(walk));
        let stop = Arc::new(AtomicBool::new(false));
        self.open.insert(visit, OpenVisit { walk, stop });
        true
    }

    fn walk(&mut self, visit: VisitId) {
        let Some(open) = self.open.get(&visit) else { return };
        let (walk, stop) = (open.walk.clone(), open.stop.clone());
        let mailbox = self.mailbox.clone();
        let job = move || {
            let mut walk = walk.lock().unwrap_or_else(PoisonError::into_inner);
            let (records, slice) = walk.slice(&stop);
            let batch = WalkBatch { records, slice };
            tell(&mailbox, ShardMail::Walked { visit: visit.0, batch });
        };
        if self.pool.submit(Box::new(job)).is_err() {
            // The origin gives a silent lane up; nothing here may wait.
            tracing::warn!("no worker thread is left for a walk");
        }
    }

    fn close(&mut self, visit: VisitId) {
        if let Some(open) = self.open.remove(&visit) {
            open.stop.store(true, Ordering::Relaxed);
        }
    }
}
