//! What can go wrong for a client, and whose fault it is.

use bateria_smbshim::{LayoutFault, Opcode, PacketFault};
use bateria_tdb::TdbError;
use bateria_wire::{DbId, NodeFlags, Pnn};
use std::io;
use std::path::PathBuf;

/// Why an operation failed. Samba exits on the first five; what is left belongs to one request.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// The system refused a call.
    #[error("{call} {}: {source}", path.display())]
    Sys { call: &'static str, path: PathBuf, source: io::Error },
    /// The daemon closed the connection.
    #[error("the daemon closed the connection")]
    Closed,
    /// The daemon sent something that is no packet of the protocol.
    #[error("the daemon broke the protocol: {0}")]
    Packet(#[from] PacketFault),
    /// The daemon answered with another kind of packet than the request calls for.
    #[error("the daemon answered request {reqid} with a packet of the wrong kind")]
    WrongAnswer { reqid: u32 },
    /// Messages came faster than they were taken.
    #[error("{0} messages wait to be read")]
    MessagesUnread(usize),
    #[error("no answer in time")]
    Timeout,
    /// A reply's data does not have its layout.
    #[error("reply to {opcode}: {fault}")]
    Reply { opcode: Opcode, fault: LayoutFault },
    /// The daemon could not do what a control asks for.
    #[error("{opcode} failed with status {status} {text}")]
    Refused { opcode: Opcode, status: i32, text: String },
    /// The daemon could not answer a call (EIO).
    #[error("call failed with status {status} {text}")]
    CallFailed { status: u32, text: String },
    /// The node is not part of the cluster's databases, so Samba would not start here.
    #[error("node {pnn} is inactive: {flags:?}")]
    NodeInactive { pnn: Pnn, flags: NodeFlags },
    /// The shared file is damaged, or the system refused it.
    #[error(transparent)]
    Tdb(#[from] TdbError),
    /// A record is too short to have a header.
    #[error("database {db_id}: a record has no header")]
    NoHeader { db_id: DbId },
    /// A lock of the cluster is held by someone else for too long.
    #[error("lock {name} of g_lock.tdb is taken")]
    LockTaken { name: String },
    /// Reading and writing through a transaction that lost its lock or its place.
    #[error("the commit of database {db_id} failed and left sequence number {sequence_number}")]
    CommitFailed { db_id: DbId, sequence_number: u64 },
}

impl ClientFault {
    /// Keeps the failed call's error number.
    pub(crate) fn sys(
        call: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Sys { call, path, source }
    }

    /// Whether Samba would exit over it (client protocol §9.12): the connection is of no use any
    /// more.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Sys { .. }
                | Self::Closed
                | Self::Packet(_)
                | Self::WrongAnswer { .. }
                | Self::MessagesUnread(_)
        )
    }
}
