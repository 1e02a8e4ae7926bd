//! What the machine of persistent databases asks of its driver.

use crate::persistent::Contents;
use crate::record::Caller;
use alloc::vec::Vec;
use bateria_wire::head::Head;
use bateria_wire::{DbId, Generation, Pnn};

/// The world outside the machine. Calls take effect after the step, in their order; bytes are
/// borrowed so that a driver encodes them straight into its send buffer.
pub trait Effects {
    /// Sends a frame of the current generation to another node.
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]);

    /// Answers a client's commit. An empty text means none.
    fn reply(&mut self, caller: Caller, status: i32, error_text: &str);

    /// Does `work` on the node's copy, elsewhere; its end comes back as `Input::JobDone` with `job`.
    /// A database has one job at a time.
    fn start_job(&mut self, db: DbId, job: JobId, work: Job<'_>);

    /// The cluster needs a new generation.
    fn request_recovery(&mut self, reason: Reason);

    /// All copies of all databases of this machine are equal in this generation, up to the nodes
    /// that said `copy_failed`.
    fn settled(&mut self, generation: Generation);

    /// The node's copy could not be read or written. Commits fail as long as the node takes part,
    /// so it should say so and leave.
    fn copy_failed(&mut self, db: DbId);

    /// After `copy_failed`: the copy has been read or replaced as a whole, and is as good as any.
    fn copy_recovered(&mut self, db: DbId) {
        let _ = db;
    }
}

/// Names a job until its end. A later job never has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Work on the node's copy of one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job<'a> {
    /// Store the records of a marshall buffer in one transaction and sync it, if the database is
    /// persistent. A record whose RSN is not above the stored one refuses the whole buffer, unless
    /// the bodies are equal (database semantics §4.3). Before it, put `generation` on disk as the
    /// copy's `Contents::updated_in`.
    Apply { generation: Generation, buffer: &'a [u8] },
    /// Drop tombstones and parts of an unfinished `Stage`, then say what the copy holds.
    Digest,
    /// Read records as a marshall buffer of about `PART_SIZE_BYTES`, from `from` on. The copy does
    /// not change between the first and the last part.
    Read { from: Cursor },
    /// Keep a part of another node's copy, outside of the database. `first` drops earlier ones.
    Stage { part: &'a [u8], first: bool },
    /// Replace the database's records by the staged ones in one transaction, then note `updated_in`.
    Install { updated_in: Generation },
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `Apply`, `Stage` and `Install` are done.
    Done,
    /// End of `Digest`.
    Digested(Contents),
    /// End of `Read`: the part, and where the next one begins, if there is one.
    Part {
        records: Vec<u8>,
        next: Option<Cursor>,
    },
    Failed(JobFault),
}

/// Why a job changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobFault {
    /// The buffer contradicts the copy or itself.
    #[error("the transaction contradicts the copy")]
    Refused,
    /// The file failed; the driver has logged what happened where.
    #[error("the file of the database failed")]
    Failed,
}

/// A place between two records of an unchanging copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cursor {
    pub chain: u32,
    /// Records of the chain that lie before.
    pub records_count: u32,
}

/// Aim for the size of a part; one record alone may exceed it.
pub const PART_SIZE_BYTES: usize = 1024 * 1024;

/// Why the machine asks for a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("node {node} did not apply a transaction of database {db}")]
    UpdateFailed { db: DbId, node: Pnn },
    #[error("a client left during its commit to database {db}")]
    ClientLeft { db: DbId },
    #[error("node {node} has not applied a transaction of database {db} in time")]
    UpdateTimedOut { db: DbId, node: Pnn },
    #[error("a commit to database {db} still waits for its recovery")]
    RecoveryOverdue { db: DbId },
    #[error("node {node} cannot read its copy of database {db} to the end")]
    SourceFailed { db: DbId, node: Pnn },
    #[error("the copies of database {db} are not equal in time: node {node} is silent")]
    SettleTimedOut { db: DbId, node: Pnn },
}
