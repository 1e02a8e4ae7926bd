//! What the record machines ask of their driver.

use crate::record::{RecordHeader, StoreFault};
use bateria_wire::head::Head;
use bateria_wire::{DbId, Generation, Pnn};

/// The world outside a machine. Calls take effect after the step, in their order; keys and bodies
/// are borrowed so that a driver encodes them straight into its send buffer.
pub trait Effects {
    /// Sends a frame of the current generation to another node.
    fn send(&mut self, to: Pnn, head: &Head, key: &[u8], body: &[u8]);

    /// Answers a client's call.
    fn reply(&mut self, caller: Caller, function: Function, header: RecordHeader, body: &[u8]);

    /// Answers a client's call that cannot be served.
    fn refuse(&mut self, caller: Caller);

    /// Asks to be told (`Input::ChainFree`) when the chain's lock may be free. Asked once per
    /// chain until the answer.
    fn wait_for_chain(&mut self, db: DbId, chain: u32);

    /// Nobody needs that answer any more.
    fn stop_waiting(&mut self, db: DbId, chain: u32);

    /// All databases of this shard are reported and located in this generation.
    fn rebuilt(&mut self, generation: Generation);

    /// The cluster needs a new generation.
    fn request_recovery(&mut self, reason: Reason);

    /// The database's file failed; its clients get errors from now on.
    fn database_failed(&mut self, db: DbId, fault: StoreFault);

    /// A record moved to this node, for the statistics.
    fn migrated(&mut self, db: DbId, key: &[u8]);
}

/// A call to answer: the driver's names of a session and of a request in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub session: u64,
    pub request: u64,
}

/// What a call does with the record (client protocol §1.4). Every call migrates the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// 0xFF000001, and every unknown function: nothing is returned.
    Null,
    /// 0xFF000002: the body.
    Fetch,
    /// 0xFF000003: header and body.
    FetchWithHeader,
}

impl Function {
    #[must_use]
    pub fn from_call_id(call_id: u32) -> Self {
        match call_id {
            0xFF00_0002 => Self::Fetch,
            0xFF00_0003 => Self::FetchWithHeader,
            _ => Self::Null,
        }
    }

    /// Whether a record that exists nowhere need not be created to answer.
    #[must_use]
    pub fn only_reads(self) -> bool {
        self != Self::Null
    }
}

/// Why a machine asks for a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("node {node} wants a record of database {db} that it should own")]
    OwnerLostRecord { db: DbId, node: Pnn },
    #[error("database {db}: told to hand over a record that is not here")]
    NotOwner { db: DbId },
    #[error("too many frames for a generation or a database that is not here yet")]
    EarlyFrames,
    #[error("database {db}: a frame reached a shard that does not serve its record")]
    Misrouted { db: DbId },
}
