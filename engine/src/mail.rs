//! What the daemon's threads say to each other.

use crate::database_table::DatabaseInfo;
use crate::registry::SessionId;
use crate::shard::moves::Mover;
use bateria_core::persistent::{JobId, Outcome};
use bateria_core::record::{Caller, Function, OwnedKey};
use bateria_core::traverse::Slice;
use bateria_smbshim::control::ControlReply;
use bateria_tdb::Tdb;
use bateria_wire::head::{RecordOp, ReportOp};
use bateria_wire::{DbId, Generation, Pnn, VnnMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// To a shard.
pub(crate) enum ShardMail {
    /// A client has connected.
    Client {
        fd: OwnedFd,
        pid: i32,
    },
    /// A peer's shard has connected; it sends, we receive.
    LaneIn {
        fd: OwnedFd,
        peer: Pnn,
        incarnation: u64,
    },
    /// A peer can be reached, or cannot any more.
    PeerUp {
        peer: Pnn,
        incarnation: u64,
    },
    PeerDown {
        peer: Pnn,
    },
    /// Queries about processes of these nodes may be answered "does not exist".
    Harmless {
        peers: Vec<Pnn>,
    },

    /// A database is attached; the handle is this shard's own, `jobs_handle` that of the jobs of
    /// a persistent database which this shard serves.
    Attached {
        info: Arc<DatabaseInfo>,
        handle: Box<Tdb>,
        jobs_handle: Option<Box<Tdb>>,
    },

    /// A call of another shard's client, for a record of this shard.
    Call {
        db: DbId,
        caller: Caller,
        function: Function,
        key: OwnedKey,
    },
    /// Its end.
    CallDone {
        caller: Caller,
        result: CallResult,
    },
    /// A session of another shard has ended.
    SessionGone {
        session: SessionId,
    },
    ScheduleDeletion {
        db: DbId,
        key: OwnedKey,
    },
    /// A frame that reached another shard.
    Record {
        from: Pnn,
        generation: Generation,
        db: DbId,
        key: OwnedKey,
        op: RecordOp,
        body: Box<[u8]>,
    },
    Report {
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: ReportOp,
        bulk: Arc<[u8]>,
    },
    Persistent {
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: bateria_wire::head::PersistentOp,
        bulk: Box<[u8]>,
    },
    /// A client's transaction.
    Commit {
        db: DbId,
        caller: Caller,
        buffer: Box<[u8]>,
    },
    /// Its end.
    CommitDone {
        caller: Caller,
        status: i32,
        error_text: String,
    },
    /// A worker thread has finished a job on a persistent database.
    JobDone {
        db: DbId,
        job: JobId,
        outcome: Outcome,
    },

    /// A whole packet for a session of this shard.
    Deliver {
        session: SessionId,
        packet: Arc<[u8]>,
    },
    /// A session of another shard comes to stay.
    Move(Box<Mover>),
    /// It has come; answered with `Passed` to its old home.
    Moved {
        former: SessionId,
    },
    /// Nothing more comes from one thread to the session's old home.
    Passed {
        former: SessionId,
    },
    /// The answer to a control that was not answered at once.
    Answer {
        origin: Origin,
        reply: ControlReply,
    },
    /// A worker thread holds the chain's lock for this shard's handle.
    ChainGranted {
        db: DbId,
        chain: u32,
    },
    /// A worker thread has walked a slice of this shard's chains.
    Walked {
        visit: u64,
        batch: WalkBatch,
    },
    /// A frame of a walk that reached another shard.
    Traverse {
        from: Pnn,
        db: DbId,
        walk: u64,
        op: bateria_wire::head::TraverseOp,
        bulk: Box<[u8]>,
    },
    /// A copy that another node pushes to this one (`PushRecord`).
    StoreCopy {
        origin: Origin,
        payload: Box<[u8]>,
    },
    /// The sequence number of a database changed on another node.
    SequenceChanged {
        db: DbId,
    },

    /// Frames of older generations end; answered with `ControlMail::Quiesced`.
    Quiesce {
        generation: Generation,
        members: Vec<Pnn>,
    },
    Rebuild {
        map: VnnMap,
        members: Vec<Pnn>,
        contributors: Vec<Pnn>,
        wipe: bool,
    },
    Committed {
        generation: Generation,
    },
    /// Disconnect all clients; answered with `ControlMail::Fenced`.
    Fence,
    /// Tunables have changed.
    TunablesChanged,
    /// The daemon ends.
    Stop,
}

/// To the control thread.
pub(crate) enum ControlMail {
    /// A client or a peer wants a database.
    Attach {
        origin: Origin,
        name: String,
        kind: bateria_wire::DbKind,
    },
    /// The worker has opened the files.
    Opened {
        name: String,
        outcome: Result<Box<OpenedDatabase>, String>,
    },
    /// `ctdb recover` and everything else that needs a new generation.
    RequestRecovery {
        reason: String,
    },
    SetCapability {
        origin: Origin,
        bit: u32,
        enabled: bool,
    },
    SetFlags {
        origin: Origin,
        set: bateria_wire::NodeFlags,
        clear: bateria_wire::NodeFlags,
    },
    Shutdown,
    /// A lane to a peer broke while it was in use.
    LaneLost {
        peer: Pnn,
    },
    /// A shard's answers.
    Quiesced {
        shard: u32,
        generation: Generation,
    },
    Rebuilt {
        shard: u32,
        generation: Generation,
    },
    Settled {
        shard: u32,
        generation: Generation,
    },
    Fenced {
        shard: u32,
    },
    /// A session has moved to another shard.
    Moved {
        former: SessionId,
    },
    Lock(crate::cluster_lock::Attempt, crate::cluster_lock::LockEvent),
    VotePersisted {
        term: u32,
        voted_for: Pnn,
    },
    /// This node's copy of a persistent database is broken.
    CopyFailed {
        db: DbId,
    },
}

/// How a call ended.
pub(crate) enum CallResult {
    /// Data of the reply.
    Data(Vec<u8>),
    /// An error packet.
    Refused,
}

/// Who asked for a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client: its session and the ticket of the request.
    Session { session: SessionId, ticket: u64 },
    /// A client of another node, reached through `shard`'s lanes.
    Peer { peer: Pnn, id: u64, shard: u32 },
    /// A push of this shard's client to several nodes.
    Push { id: u64, shard: u32 },
    /// Nobody waits.
    Nobody,
}

/// A database's files, opened once and once more for each shard.
pub(crate) struct OpenedDatabase {
    pub(crate) info: Arc<DatabaseInfo>,
    pub(crate) handles: Vec<Tdb>,
    pub(crate) jobs_handle: Option<Tdb>,
}

/// What a slice of a walk found.
pub(crate) struct WalkBatch {
    /// `rec_data` one behind the other.
    pub(crate) records: Vec<u8>,
    pub(crate) slice: Slice,
}
