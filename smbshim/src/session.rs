//! What one connection has registered and started, so that its end can be undone (client protocol
//! §1.5).
//!
//! A process may have several connections; a session is one connection, never one pid. Every table
//! here has a limit, and reaching it is a [`Refusal`] to that client alone: the daemon never stops
//! reading from a client, which may hold a chain lock that others wait for (pitfall 25).

mod in_flight;
mod refusal;
mod registrations;
mod undo;

pub use in_flight::{Pending, PendingKind, Ticket};
pub use refusal::{
    CONNECTIONS_COUNT_MAX, FAULTS_COUNT_MAX, NOTIFIES_COUNT_MAX, NOTIFY_SIZE_BYTES_MAX,
    REGISTRATIONS_COUNT_MAX, REQUESTS_IN_FLIGHT_MAX, Refusal, TRAVERSES_COUNT_MAX,
    TUNNELS_COUNT_MAX,
};
pub use registrations::{Deregistered, Registered};
pub use undo::Undo;

use crate::control::Opcode;
use crate::fault::PacketFault;
use crate::packet::{ReqCall, ReqControl};
use crate::structures::address::Connection;
use crate::structures::notify::Notify;
use crate::structures::traverse::TraverseStart;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use bateria_wire::limits::KEY_SIZE_BYTES_MAX;
use bateria_wire::{DbId, Srvid};
use in_flight::InFlight;
use registrations::Registrations;

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    peer_pid: i32,
    registrations: Registrations,
    notifies: BTreeMap<Srvid, Box<[u8]>>,
    notify_size_bytes: usize,
    tunnels: BTreeSet<u64>,
    connections: BTreeSet<Connection>,
    traverses: BTreeMap<TraverseId, TraverseStart>,
    traverses_started: u32,
    in_flight: InFlight,
    commit: Option<DbId>,
    faults_count: u32,
    uses_files: bool,
}

/// A running traverse of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraverseId(pub u32);

/// What to do about a fault of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on. `log` is true ever more rarely, so that garbage does not fill the log.
    Ignore {
        log: bool,
    },
    Close,
}

impl Session {
    /// A new connection of the process that the kernel names as its peer.
    #[must_use]
    pub fn new(peer_pid: i32) -> Self {
        Self {
            peer_pid,
            registrations: Registrations::default(),
            notifies: BTreeMap::new(),
            notify_size_bytes: 0,
            tunnels: BTreeSet::new(),
            connections: BTreeSet::new(),
            traverses: BTreeMap::new(),
            traverses_started: 0,
            in_flight: InFlight::default(),
            commit: None,
            faults_count: 0,
            uses_files: false,
        }
    }

    /// The client has asked for a database: from now on it may have its file open.
    pub fn note_file_use(&mut self) {
        self.uses_files = true;
    }

    /// Whether the client may work on files of this node. One that may not, such as a tool that
    /// only asks how the cluster is, can stay when the node's files become invalid.
    #[must_use]
    pub fn uses_files(&self) -> bool {
        self.uses_files
    }

    #[must_use]
    pub fn peer_pid(&self) -> i32 {
        self.peer_pid
    }

    /// Adds one registration of a srvid; each one gets its own copy of a message.
    ///
    /// # Errors
    /// Too many.
    pub fn register(&mut self, srvid: Srvid) -> Result<Registered, Refusal> {
        self.registrations.add(srvid)
    }

    /// Removes one registration of a srvid, or answers `None` when there is none (status 2).
    pub fn deregister(&mut self, srvid: Srvid) -> Option<Deregistered> {
        self.registrations.remove(srvid)
    }

    /// The srvids it listens to, each once.
    pub fn srvids(&self) -> impl Iterator<Item = Srvid> {
        self.registrations.srvids()
    }

    /// The tunnel ids it has taken.
    pub fn tunnels(&self) -> impl Iterator<Item = u64> {
        self.tunnels.iter().copied()
    }

    #[must_use]
    pub fn has_registered(&self, srvid: Srvid) -> bool {
        self.registrations.count(srvid) > 0
    }

    /// Copies of a message to `srvid` that the connection gets: one for each registration of it,
    /// and of ALL (client protocol §8.1).
    #[must_use]
    pub fn copies_of(&self, srvid: Srvid) -> u32 {
        match srvid {
            Srvid::ALL => self.registrations.count(Srvid::ALL),
            _ => self.registrations.count(srvid) + self.registrations.count(Srvid::ALL),
        }
    }

    /// Keeps a message that is sent when the connection ends.
    ///
    /// # Errors
    /// The srvid has one already, or too many or too large ones.
    pub fn register_notify(&mut self, notify: Notify<'_>) -> Result<(), Refusal> {
        let size_bytes = self.notify_size_bytes + notify.data.len();
        if self.notifies.contains_key(&notify.srvid) {
            return Err(Refusal::Duplicate);
        }
        if self.notifies.len() >= NOTIFIES_COUNT_MAX || size_bytes > NOTIFY_SIZE_BYTES_MAX {
            return Err(Refusal::Notifies);
        }
        self.notifies.insert(notify.srvid, notify.data.into());
        self.notify_size_bytes = size_bytes;
        Ok(())
    }

    /// Forgets the message for a srvid.
    ///
    /// # Errors
    /// There is none.
    pub fn deregister_notify(&mut self, srvid: Srvid) -> Result<(), Refusal> {
        let data = self.notifies.remove(&srvid).ok_or(Refusal::Unregistered)?;
        self.notify_size_bytes -= data.len();
        Ok(())
    }

    /// Takes a tunnel id. That no other connection of the node has it is the daemon's to check.
    ///
    /// # Errors
    /// Taken already, or too many.
    pub fn register_tunnel(&mut self, tunnel_id: u64) -> Result<(), Refusal> {
        if self.tunnels.len() >= TUNNELS_COUNT_MAX {
            return Err(Refusal::Tunnels);
        }
        self.tunnels.insert(tunnel_id).then_some(()).ok_or(Refusal::Duplicate)
    }

    /// Gives a tunnel id back.
    ///
    /// # Errors
    /// Not taken by this connection.
    pub fn deregister_tunnel(&mut self, tunnel_id: u64) -> Result<(), Refusal> {
        self.tunnels.remove(&tunnel_id).then_some(()).ok_or(Refusal::Unregistered)
    }

    /// Remembers a TCP connection that the client serves (TCP_CLIENT).
    ///
    /// # Errors
    /// Too many.
    pub fn add_connection(&mut self, connection: Connection) -> Result<(), Refusal> {
        if self.connections.len() >= CONNECTIONS_COUNT_MAX {
            return Err(Refusal::Connections);
        }
        self.connections.insert(connection);
        Ok(())
    }

    /// Forgets a TCP connection that ended (TCP_CLIENT_DISCONNECTED) or went to another process
    /// (TCP_CLIENT_PASSED). Answers whether it was known.
    pub fn remove_connection(&mut self, connection: &Connection) -> bool {
        self.connections.remove(connection)
    }

    /// Starts a traverse whose records go to this connection.
    ///
    /// # Errors
    /// Too many run.
    pub fn begin_traverse(&mut self, start: TraverseStart) -> Result<TraverseId, Refusal> {
        if self.traverses.len() >= TRAVERSES_COUNT_MAX {
            return Err(Refusal::Traverses);
        }
        let id = TraverseId(self.traverses_started);
        self.traverses_started = self.traverses_started.wrapping_add(1);
        let replaced = self.traverses.insert(id, start);
        assert!(replaced.is_none(), "a traverse ends before 2^32 others have begun");
        Ok(id)
    }

    /// Where a running traverse's records go.
    #[must_use]
    pub fn traverse(&self, id: TraverseId) -> Option<&TraverseStart> {
        self.traverses.get(&id)
    }

    /// Ends a traverse; `None` when it is not running any more.
    pub fn end_traverse(&mut self, id: TraverseId) -> Option<TraverseStart> {
        self.traverses.remove(&id)
    }

    /// Enters a call that cannot be answered at once.
    ///
    /// # Errors
    /// Too many wait, or its key is too long for any record.
    pub fn begin_call(&mut self, call: &ReqCall<'_>) -> Result<Ticket, Refusal> {
        if call.key.len() > KEY_SIZE_BYTES_MAX as usize {
            return Err(Refusal::KeyTooLong { got_bytes: call.key.len() });
        }
        let (db_id, call_id) = (call.db_id, call.call_id);
        let kind = PendingKind::Call { db_id, call_id };
        self.in_flight.add(Pending { reqid: call.header.reqid, wants_reply: true, kind })
    }

    /// Enters a control that cannot be answered at once.
    ///
    /// # Errors
    /// Too many wait.
    pub fn begin_control(
        &mut self,
        control: &ReqControl<'_>,
        opcode: Opcode,
    ) -> Result<Ticket, Refusal> {
        let (reqid, wants_reply) = (control.header.reqid, control.wants_reply());
        let kind = PendingKind::Control { opcode };
        self.in_flight.add(Pending { reqid, wants_reply, kind })
    }

    /// Enters a TRANS3_COMMIT; one at a time (client protocol §7.6).
    ///
    /// # Errors
    /// One is in flight, or too many requests wait.
    pub fn begin_commit(
        &mut self,
        control: &ReqControl<'_>,
        db_id: DbId,
    ) -> Result<Ticket, Refusal> {
        if self.commit.is_some() {
            return Err(Refusal::CommitInFlight);
        }
        let (reqid, wants_reply) = (control.header.reqid, control.wants_reply());
        let kind = PendingKind::Commit { db_id };
        let ticket = self.in_flight.add(Pending { reqid, wants_reply, kind })?;
        self.commit = Some(db_id);
        Ok(ticket)
    }

    /// Takes a request off the table to answer it; `None` for an answer that comes too late.
    pub fn finish(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.in_flight.remove(ticket)?;
        if let PendingKind::Commit { db_id } = pending.kind {
            assert_eq!(self.commit, Some(db_id), "a commit in flight is known as such");
            self.commit = None;
        }
        Some(pending)
    }

    #[must_use]
    pub fn requests_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Judges a packet that [`crate::Packet::parse`] or the framer refused.
    pub fn on_fault(&mut self, fault: &PacketFault) -> Verdict {
        self.faults_count += 1;
        if fault.closes_connection() || self.faults_count > FAULTS_COUNT_MAX {
            Verdict::Close
        } else {
            Verdict::Ignore { log: self.faults_count.is_power_of_two() }
        }
    }

    /// Ends the session and says what has to be undone.
    #[must_use]
    pub fn on_close(self) -> Undo {
        let undo = Undo {
            srvids: self.registrations.into_counts(),
            notifies: self.notifies.into_iter().collect(),
            tunnels: self.tunnels.into_iter().collect(),
            connections: self.connections.into_iter().collect(),
            traverses: self.traverses.into_iter().collect(),
            requests: self.in_flight.into_pending(),
            commit: self.commit,
        };
        undo.assert_consistent();
        undo
    }
}

#[cfg(test)]
mod tests;
