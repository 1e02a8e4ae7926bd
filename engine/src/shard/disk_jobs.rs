//! The files of the persistent databases that this shard serves: their jobs run on worker threads,
//! one at a time for each database.

use crate::blocking::BlockingPool;
use crate::database_table::DatabaseInfo;
use crate::disk::{DiskCopy, Task};
use crate::mail::ShardMail;
use crate::shard::chain_waits::tell;
use bateria_core::persistent::{Job, JobFault, JobId, Outcome};
use bateria_ring::mailbox::MailboxSender;
use bateria_tdb::Tdb;
use bateria_wire::{DbId, DbKind};
use rustc_hash::FxHashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Copies by database.
pub(crate) struct DiskJobs {
    copies: FxHashMap<DbId, Arc<Mutex<DiskCopy>>>,
    pool: Arc<BlockingPool>,
    mailbox: MailboxSender<ShardMail>,
    /// Where notes about copies are kept, beside the databases' own directories.
    notes_directory: PathBuf,
}

impl DiskJobs {
    pub(crate) fn new(
        pool: Arc<BlockingPool>,
        mailbox: MailboxSender<ShardMail>,
        notes_directory: PathBuf,
    ) -> Self {
        Self { copies: FxHashMap::default(), pool, mailbox, notes_directory }
    }

    /// `handle` is one that only the jobs use.
    pub(crate) fn attach(&mut self, info: &DatabaseInfo, handle: Tdb) {
        let note = (info.kind == DbKind::Persistent)
            .then(|| self.notes_directory.join(format!("updated.{}", info.id)));
        let copy = DiskCopy::new(info.id, handle, note);
        self.copies.insert(info.id, Arc::new(Mutex::new(copy)));
    }

    pub(crate) fn start(&self, db: DbId, job: JobId, work: Job<'_>) {
        let mailbox = self.mailbox.clone();
        let done = move |outcome| tell(&mailbox, ShardMail::JobDone { db, job, outcome });
        let Some(copy) = self.copies.get(&db).cloned() else {
            self.fail(db, job);
            return;
        };
        let task = Task::from(work);
        let run = move || {
            let outcome = copy.lock().unwrap_or_else(PoisonError::into_inner).run(task);
            done(outcome);
        };
        if self.pool.submit(Box::new(run)).is_err() {
            tracing::error!("database {db}: no worker thread takes its job");
            self.fail(db, job);
        }
    }

    /// The machine is in the middle of a step, so it hears of this by mail like of any other end.
    /// Should the mailbox be full, a thread brings it.
    fn fail(&self, db: DbId, job: JobId) {
        let mailbox = self.mailbox.clone();
        let outcome = Outcome::Failed(JobFault::Failed);
        std::thread::spawn(move || tell(&mailbox, ShardMail::JobDone { db, job, outcome }));
    }
}
