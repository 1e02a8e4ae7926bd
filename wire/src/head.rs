//! What a frame says. Heads hold integers only; keys and bodies travel in the frame's bulk.
//!
//! A head's layout is part of `frame::VERSION`: `rkyv` knows no evolution, so any change here is a
//! new version.

use crate::control::ControlHead;
use rkyv::{Archive, Serialize};

/// The head of every frame.
#[derive(Archive, Serialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum Head {
    /// First frame of a connection, from the side that connected.
    Hello(Hello),
    /// Its answer; nothing else is sent before it arrived.
    HelloAck(HelloAck),
    /// One record: bulk = key, then body.
    Record(RecordHead),
    /// Where records are, told to their new LMASTER after a change of members.
    Report(ReportHead),
    /// Persistent and replicated databases.
    Persistent(PersistentHead),
    /// A walk over a volatile database of all nodes.
    Traverse(TraverseHead),
    /// A client's message, control or tunnel packet for another node: bulk = its data.
    Relay(RelayHead),
    /// Between control threads.
    Control(ControlHead),
}

/// Who opens this connection and what it will carry.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Hello {
    pub pnn: u32,
    /// PNN that the sender believes to reach.
    pub target: u32,
    /// Differs for each start of a daemon and after each fencing.
    pub incarnation: u64,
    /// Shard whose frames this connection carries, or `LANE_CONTROL`.
    pub lane: u32,
    /// Shards of the sender.
    pub lanes_count: u32,
    pub version_min: u16,
    pub version_max: u16,
    /// Checksum of the nodes list, so that clusters that differ about their nodes never mix.
    pub nodes_crc32c: u32,
}

/// The connection is accepted.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct HelloAck {
    pub pnn: u32,
    pub incarnation: u64,
    pub version: u16,
}

/// The lane of the control threads.
pub const LANE_CONTROL: u32 = u32::MAX;

/// One record of one database.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct RecordHead {
    pub db: u32,
    pub key_len: u32,
    pub op: RecordOp,
}

#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum RecordOp {
    /// To the LMASTER: clients of the sender wait for this record. `only_read` lets the LMASTER
    /// answer `Absent` instead of creating a record nobody will write.
    Want {
        only_read: bool,
    },
    /// From the LMASTER to the last node in the record's queue: hand it to `to` when you have had it.
    Recall {
        to: u32,
    },
    /// From the LMASTER: no copy exists anywhere, the record is yours to create.
    Grant,
    /// From the LMASTER: no copy exists anywhere, and only readers asked.
    Absent,
    /// From the owner to the next owner: bulk holds the body.
    Record {
        rsn: u64,
        flags: u32,
    },
    /// From the LMASTER after a change of members: your copy is the newest, own it with an RSN
    /// above `rsn`.
    Adopt {
        rsn: u64,
    },
    /// From the owner of a tombstone to the LMASTER: may every copy be deleted? `shared` says that
    /// other nodes may hold a copy.
    Purge {
        rsn: u64,
        shared: bool,
    },
    /// From the LMASTER to every other node: overwrite your copy with this tombstone.
    Bury {
        rsn: u64,
    },
    Buried {
        rsn: u64,
        done: bool,
    },
    /// From the LMASTER to every other node: all copies are tombstones now, delete yours.
    Forget {
        rsn: u64,
    },
    Forgotten {
        rsn: u64,
        done: bool,
    },
    /// From the LMASTER to the owner: yours is the only copy left, delete it.
    PurgeLast {
        rsn: u64,
    },
    /// From the LMASTER to the owner: not now.
    PurgeRefused,
    /// From the owner: deleted, or revived meanwhile.
    PurgeEnded {
        deleted: bool,
    },
}

/// Locations of records for their new LMASTER.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ReportHead {
    pub db: u32,
    pub op: ReportOp,
}

#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum ReportOp {
    /// Bulk: entries as in `report::Entries`.
    Entries,
    /// The sender's shard has reported all its chains but those in the bulk (u32 each), which
    /// clients hold at the moment. `lanes_count` such frames make a node complete.
    End { lane: u32, lanes_count: u32, chains_count: u32 },
    /// One of those chains is reported now.
    ChainDone { chain: u32 },
}

/// Databases of which every node holds a full copy.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct PersistentHead {
    pub db: u32,
    pub op: PersistentOp,
}

#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum PersistentOp {
    /// Apply the marshall buffer in the bulk in one transaction. `transaction` is the sender's
    /// name for it.
    Update { transaction: u64 },
    /// It is on disk (status 0), or nothing was changed.
    Updated { transaction: u64, status: i32 },
    /// To the coordinator after a change of members: what the sender's copy holds. `updated_in` is
    /// the generation of the last transaction applied to it.
    Digest { sequence_number: u64, digest: u64, updated_in: u32 },
    /// Instead of a digest: the sender has no copy that can be read.
    NoCopy,
    /// From the coordinator: send your copy to the nodes whose PNNs are in the bulk (u32 each).
    Distribute,
    /// A part of the copy, a marshall buffer in the bulk; `last` makes all of them take effect.
    Fill { part: u32, last: bool, updated_in: u32 },
    /// The part is kept; the next one may come. The coordinator gets it too, as a sign of life.
    FillNext { part: u32 },
    /// To sender and coordinator: the copy took effect (status 0), or it cannot be written here.
    Filled { status: i32 },
    /// From the coordinator: all copies are equal, or, if not `whole`, those that can be written.
    Settled { whole: bool },
}

/// One walk over the records of all nodes.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct TraverseHead {
    pub db: u32,
    /// Chosen by the origin, unique on it.
    pub walk: u64,
    pub op: TraverseOp,
}

/// A node's shards (lanes) walk their own chains, each at its own speed: every lane sends its
/// records, has its own credit, and ends.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum TraverseOp {
    /// To all lanes of a node: walk, and send up to `window` frames before the first credit.
    Start { with_empty: bool, window: u32 },
    /// Bulk: `rec_data` one behind the other, their reqid zero.
    Records { lane: u32 },
    /// To one lane: the origin has passed on one `Records` frame.
    Credit { lane: u32 },
    /// The lane is through (status 0), or cannot go on. `lanes_count` lanes make a node complete.
    End { lane: u32, lanes_count: u32, status: i32 },
    /// To all lanes of a node: nobody needs the rest.
    Stop,
}

/// Packets of clients that cross to another node.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum RelayHead {
    Message {
        srvid: u64,
    },
    Control {
        id: u64,
        opcode: u32,
        srvid: u64,
        flags: u32,
    },
    ControlReply {
        id: u64,
        status: i32,
        error_len: u32,
    },
    Tunnel {
        id: u64,
        flags: u32,
    },
    /// A database was attached; attach it too and answer. Bulk: its name without NUL.
    Attach {
        id: u64,
        kind_flags: u8,
    },
    Attached {
        id: u64,
        status: i32,
    },
    /// The TDB sequence number of a database changed on the sender's node.
    SequenceChanged {
        db: u32,
    },
}

impl ArchivedRecordOp {
    /// The operation as plain numbers; a handful of loads, no allocation.
    #[must_use]
    pub fn native(&self) -> RecordOp {
        match self {
            Self::Want { only_read } => RecordOp::Want { only_read: *only_read },
            Self::Recall { to } => RecordOp::Recall { to: to.to_native() },
            Self::Grant => RecordOp::Grant,
            Self::Absent => RecordOp::Absent,
            Self::Record { rsn, flags } => {
                RecordOp::Record { rsn: rsn.to_native(), flags: flags.to_native() }
            }
            Self::Adopt { rsn } => RecordOp::Adopt { rsn: rsn.to_native() },
            Self::Purge { rsn, shared } => {
                RecordOp::Purge { rsn: rsn.to_native(), shared: *shared }
            }
            Self::Bury { rsn } => RecordOp::Bury { rsn: rsn.to_native() },
            Self::Buried { rsn, done } => RecordOp::Buried { rsn: rsn.to_native(), done: *done },
            Self::Forget { rsn } => RecordOp::Forget { rsn: rsn.to_native() },
            Self::Forgotten { rsn, done } => {
                RecordOp::Forgotten { rsn: rsn.to_native(), done: *done }
            }
            Self::PurgeLast { rsn } => RecordOp::PurgeLast { rsn: rsn.to_native() },
            Self::PurgeRefused => RecordOp::PurgeRefused,
            Self::PurgeEnded { deleted } => RecordOp::PurgeEnded { deleted: *deleted },
        }
    }
}

impl ArchivedReportOp {
    #[must_use]
    pub fn native(&self) -> ReportOp {
        match self {
            Self::Entries => ReportOp::Entries,
            Self::End { lane, lanes_count, chains_count } => ReportOp::End {
                lane: lane.to_native(),
                lanes_count: lanes_count.to_native(),
                chains_count: chains_count.to_native(),
            },
            Self::ChainDone { chain } => ReportOp::ChainDone { chain: chain.to_native() },
        }
    }
}

impl ArchivedPersistentOp {
    #[must_use]
    pub fn native(&self) -> PersistentOp {
        match self {
            Self::Update { transaction } => {
                PersistentOp::Update { transaction: transaction.to_native() }
            }
            Self::Updated { transaction, status } => PersistentOp::Updated {
                transaction: transaction.to_native(),
                status: status.to_native(),
            },
            Self::Digest { sequence_number, digest, updated_in } => PersistentOp::Digest {
                sequence_number: sequence_number.to_native(),
                digest: digest.to_native(),
                updated_in: updated_in.to_native(),
            },
            Self::NoCopy => PersistentOp::NoCopy,
            Self::Distribute => PersistentOp::Distribute,
            Self::Fill { part, last, updated_in } => PersistentOp::Fill {
                part: part.to_native(),
                last: *last,
                updated_in: updated_in.to_native(),
            },
            Self::FillNext { part } => PersistentOp::FillNext { part: part.to_native() },
            Self::Filled { status } => PersistentOp::Filled { status: status.to_native() },
            Self::Settled { whole } => PersistentOp::Settled { whole: *whole },
        }
    }
}

impl ArchivedTraverseOp {
    #[must_use]
    pub fn native(&self) -> TraverseOp {
        match self {
            Self::Start { with_empty, window } => {
                TraverseOp::Start { with_empty: *with_empty, window: window.to_native() }
            }
            Self::Records { lane } => TraverseOp::Records { lane: lane.to_native() },
            Self::Credit { lane } => TraverseOp::Credit { lane: lane.to_native() },
            Self::End { lane, lanes_count, status } => TraverseOp::End {
                lane: lane.to_native(),
                lanes_count: lanes_count.to_native(),
                status: status.to_native(),
            },
            Self::Stop => TraverseOp::Stop,
        }
    }
}
