//! Whole databases: freezing, wiping, filling (client protocol §3.4, §10.2 `wipedb`, `restoredb`).
#![expect(clippy::missing_errors_doc, reason = "the parent module says how all of them fail")]

use super::pick;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_smbshim::structures::database::{PushStart, TransactionId};
use bateria_wire::{DbId, Pnn, Srvid};

impl Connection {
    pub fn db_freeze(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbFreeze(db_id))
    }

    pub fn db_thaw(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbThaw(db_id))
    }

    /// `tid` is the generation for which the transaction runs.
    pub fn db_transaction_start(
        &mut self,
        target: Pnn,
        db_id: DbId,
        tid: u32,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbTransactionStart(TransactionId { db_id, tid }))
    }

    pub fn db_transaction_commit(
        &mut self,
        target: Pnn,
        db_id: DbId,
        tid: u32,
    ) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbTransactionCommit(TransactionId { db_id, tid }))
    }

    pub fn db_transaction_cancel(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbTransactionCancel(db_id))
    }

    pub fn wipe_database(&mut self, target: Pnn, db_id: DbId, tid: u32) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::WipeDatabase(TransactionId { db_id, tid }))
    }

    /// Records then go as marshall buffers in messages to `srvid` on the node.
    pub fn db_push_start(
        &mut self,
        target: Pnn,
        db_id: DbId,
        srvid: Srvid,
    ) -> Result<(), ClientFault> {
        let start = PushStart { db_id, lmaster: Pnn(0), srvid };
        self.done(target, &ControlRequest::DbPushStart(start))
    }

    /// Ends a push and answers how many records were stored.
    pub fn db_push_confirm(&mut self, target: Pnn, db_id: DbId) -> Result<u32, ClientFault> {
        self.data(target, &ControlRequest::DbPushConfirm(db_id), pick!(Number))
    }

    pub fn db_set_healthy(&mut self, target: Pnn, db_id: DbId) -> Result<(), ClientFault> {
        self.done(target, &ControlRequest::DbSetHealthy(db_id))
    }
}
