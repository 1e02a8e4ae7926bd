//! What the end of a connection leaves to be undone (client protocol §1.5).

use super::{Pending, PendingKind, Ticket, TraverseId};
use crate::structures::address::Connection;
use crate::structures::traverse::TraverseStart;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bateria_wire::{DbId, Srvid};

/// The daemon works these off in this order.
#[derive(Debug, PartialEq, Eq)]
pub struct Undo {
    /// To deregister, with how many registrations each had.
    pub srvids: Vec<(Srvid, u32)>,
    /// Messages to send to all CONNECTED nodes, this one included.
    pub notifies: Vec<(Srvid, Box<[u8]>)>,
    /// To deregister.
    pub tunnels: Vec<u64>,
    /// To remove from the tickle lists, on all nodes, unless the address has left this node.
    pub connections: Vec<Connection>,
    /// To stop on all nodes.
    pub traverses: Vec<(TraverseId, TraverseStart)>,
    /// Whose answers find nobody; attaches that wait are dropped.
    pub requests: Vec<(Ticket, Pending)>,
    /// The database of a commit in flight: it must end all or nothing on all nodes.
    pub commit: Option<DbId>,
}

impl Undo {
    pub(super) fn assert_consistent(&self) {
        let mut commits = self.requests.iter().filter_map(|(_, pending)| match pending.kind {
            PendingKind::Commit { db_id } => Some(db_id),
            _ => None,
        });
        assert_eq!(commits.next(), self.commit, "a commit in flight is one of the requests");
        assert_eq!(commits.next(), None, "one commit at a time");
    }
}
