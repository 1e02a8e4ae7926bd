//! Carries out what the record machine and the machine of persistent databases ask for.

use crate::mail::{CallResult, ControlMail, ShardMail};
use crate::registry::SessionId;
use crate::shard::disk_jobs::DiskJobs;
use crate::shard::io::Io;
use crate::statistics::count;
use bateria_core::persistent::{self, Job, JobId};
use bateria_core::record::{self, Caller, Function, RecordHeader, StoreFault};
use bateria_wire::head::Head;
use bateria_wire::{DbId, Generation, Pnn};
use std::sync::atomic::Ordering;

/// For `Records::step`.
pub(crate) struct RecordEffects<'a>(pub(crate) &'a mut Io);

impl record::Effects for RecordEffects<'_> {
    fn send(&mut self, to: Pnn, head: &Head, key: &[u8], body: &[u8]) {
        self.0.send_frame(to, head, &[key, body]);
    }

    fn reply(&mut self, caller: Caller, function: Function, header: RecordHeader, body: &[u8]) {
        let data = Io::call_data(function, &header, body);
        self.0.reply_call(caller, CallResult::Data(data));
    }

    fn refuse(&mut self, caller: Caller) {
        self.0.reply_call(caller, CallResult::Refused);
    }

    fn wait_for_chain(&mut self, db: DbId, chain: u32) {
        self.0.chains_wanted.push((db, chain));
    }

    fn stop_waiting(&mut self, db: DbId, chain: u32) {
        self.0.chains_wanted.retain(|wanted| *wanted != (db, chain));
    }

    fn rebuilt(&mut self, generation: Generation) {
        let shard = self.0.index;
        self.0.tell_control(ControlMail::Rebuilt { shard, generation });
    }

    fn request_recovery(&mut self, reason: record::Reason) {
        self.0.tell_control(ControlMail::RequestRecovery { reason: reason.to_string() });
    }

    fn database_failed(&mut self, db: DbId, _: StoreFault) {
        tracing::error!("database {db} is not served any more by shard {}", self.0.index);
        if let Some(info) = self.0.shared.databases.get(db) {
            info.failed.store(true, Ordering::Release);
        }
    }

    fn migrated(&mut self, _: DbId, _: &[u8]) {
        count(&self.0.counters().migrations);
    }
}

/// For `Persistent::step`.
pub(crate) struct PersistentEffects<'a> {
    pub(crate) io: &'a mut Io,
    pub(crate) jobs: &'a mut DiskJobs,
}

impl persistent::Effects for PersistentEffects<'_> {
    fn send(&mut self, to: Pnn, head: &Head, bulk: &[u8]) {
        self.io.send_frame(to, head, &[bulk]);
    }

    fn reply(&mut self, caller: Caller, status: i32, error_text: &str) {
        self.io.end_commit(caller, status, error_text.to_owned());
    }

    fn start_job(&mut self, db: DbId, job: JobId, work: Job<'_>) {
        self.jobs.start(db, job, work);
    }

    fn request_recovery(&mut self, reason: persistent::Reason) {
        self.io.tell_control(ControlMail::RequestRecovery { reason: reason.to_string() });
    }

    fn settled(&mut self, generation: Generation) {
        let shard = self.io.index;
        self.io.tell_control(ControlMail::Settled { shard, generation });
    }

    fn copy_failed(&mut self, db: DbId) {
        self.io.tell_control(ControlMail::CopyFailed { db });
    }

    fn copy_recovered(&mut self, db: DbId) {
        if let Some(info) = self.io.shared.databases.get(db) {
            info.failed.store(false, Ordering::Release);
        }
    }
}

impl Io {
    /// Answers a client's transaction, on whatever shard its session is.
    pub(crate) fn end_commit(&mut self, caller: Caller, status: i32, error_text: String) {
        use crate::mail::Origin;
        use bateria_smbshim::control::ControlReply;
        let session = SessionId(caller.session);
        if !self.is_own(session.shard()) {
            let mail = ShardMail::CommitDone { caller, status, error_text };
            self.tell_shard(session.shard(), mail);
            return;
        }
        let reply = match status {
            0 => ControlReply::done(),
            status if error_text.is_empty() => ControlReply::value(status),
            status => ControlReply::failed_because(status, error_text),
        };
        self.answer(Origin::Session { session, ticket: caller.request }, &reply);
    }
}
