//! Databases and their records.
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::structures::database::{DbMap, ScheduledDeletion};
use bateria_smbshim::structures::push::PushRecord;
use bateria_smbshim::structures::traverse::{TraverseStart, TraverseStartExt};
use bateria_smbshim::{Attach, ControlRequest, LtdbHeader, Marshall, ReplyData};
use bateria_wire::{DbId, DbKind, Pnn};

impl Connection {
    /// Attaches a database, making it if need be. Delayed, not refused, while the cluster recovers.
    pub fn attach(&mut self, kind: DbKind, name: &str) -> Result<DbId, ClientFault> {
        let attach = Attach { kind, name, for_recovery: false };
        self.data(Pnn::CURRENT, &ControlRequest::Attach(attach), pick!(DbId))
    }

    pub fn detach(&mut self, db_id: DbId) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::Detach(db_id))
    }

    pub fn get_db_map(&mut self, target: Pnn) -> Result<DbMap, ClientFault> {
        self.data(target, &ControlRequest::GetDbMap, pick!(DbMap))
    }

    pub fn get_db_name(&mut self, target: Pnn, db_id: DbId) -> Result<String, ClientFault> {
        self.data(target, &ControlRequest::GetDbName(db_id), pick!(Text))
    }

    /// Path of the node's file.
    pub fn get_db_path(&mut self, target: Pnn, db_id: DbId) -> Result<String, ClientFault> {
        self.data(target, &ControlRequest::GetDbPath(db_id), pick!(Text))
    }

    /// TDB flags with which the file is to be opened.
    pub fn db_open_flags(&mut self, target: Pnn, db_id: DbId) -> Result<u32, ClientFault> {
        self.data(target, &ControlRequest::DbOpenFlags(db_id), pick!(Number))
    }

    pub fn enable_seqnum(&mut self, db_id: DbId) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::EnableSeqnum(db_id))
    }

    pub fn set_db_readonly(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetDbReadonly(db_id))
    }

    pub fn set_db_sticky(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::SetDbSticky(db_id))
    }

    /// Sequence number of a persistent or replicated database.
    pub fn get_db_seqnum(&mut self, target: Pnn, db_id: DbId) -> Result<u64, ClientFault> {
        self.data(target, &ControlRequest::GetDbSeqnum(db_id), pick!(SequenceNumber))
    }

    /// Why the database is unhealthy, or `None` when it is not.
    pub fn get_db_health(
        &mut self,
        target: Pnn,
        db_id: DbId,
    ) -> Result<Option<String>, ClientFault> {
        self.data(target, &ControlRequest::DbGetHealth(db_id), |data| match data {
            ReplyData::Empty => Some(None),
            ReplyData::Text(reason) => Some(Some(reason)),
            _ => None,
        })
    }

    pub fn vacuum(&mut self, target: Pnn, db_id: DbId, full: bool) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbVacuum { db_id, full })
    }

    /// Says that a record was deleted, as smbd does: nobody answers.
    pub fn schedule_for_deletion(
        &mut self,
        db_id: DbId,
        header: LtdbHeader,
        key: &[u8],
    ) -> Result<(), ClientFault> {
        let deletion = ScheduledDeletion { db_id, header, key };
        self.control_without_reply(Pnn::CURRENT, &ControlRequest::ScheduleForDeletion(deletion))
    }

    /// Sends the records of one transaction; answers when every active node has them on disk.
    pub fn trans3_commit(&mut self, records: Marshall<'_>) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::Trans3Commit(records))
    }

    /// Sends one record to all other active nodes (Samba 4.25 §2.3).
    pub fn push_record(&mut self, target: Pnn, push: PushRecord<'_>) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::PushRecord(push))
    }

    /// Starts a traverse; the records come as messages to its srvid.
    pub fn traverse_start(&mut self, start: TraverseStart) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::TraverseStart(start))
    }

    /// As [`Self::traverse_start`], on request with records that have no value.
    pub fn traverse_start_ext(&mut self, start: TraverseStartExt) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::TraverseStartExt(start))
    }
}
