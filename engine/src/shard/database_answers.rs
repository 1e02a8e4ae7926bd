//! The answers to controls about databases.

use crate::disk::check_client_buffer;
use crate::mail::{ControlMail, Origin, ShardMail};
use crate::registry::SessionId;
use crate::shard::Shard;
use crate::shard::store::Store;
use bateria_core::record::{Caller, Input};
use bateria_core::traverse::WalkInput;
use bateria_smbshim::control::{Attach, ControlReply, ReplyData};
use bateria_smbshim::sequence_number::{SEQUENCE_NUMBER_KEY, sequence_number};
use bateria_smbshim::structures::database::{Database, DbFlags, DbMap};
use bateria_smbshim::structures::traverse::TraverseStart;
use bateria_smbshim::structures::tunable::Tunable;
use bateria_tdb::{Attempt, Tdb};
use bateria_wire::{DbId, DbKind, Srvid};
use std::sync::atomic::Ordering;

impl Shard {
    pub(crate) fn attach(&mut self, origin: Origin, attach: &Attach<'_>) -> Option<ControlReply> {
        let shared = &self.io.shared;
        let from_client = matches!(origin, Origin::Session { .. });
        let allowed = shared.with_tunables(|tunables| tunables.get(Tunable::AllowClientDbAttach));
        if from_client && allowed == 0 {
            return Some(ControlReply::failed());
        }
        let mut named = attach.name.as_bytes().to_vec();
        named.push(0);
        let id = DbId(bateria_tdb::hash::jenkins(&named));
        if let Some(info) = shared.databases.get(id).filter(|_| !shared.is_fenced()) {
            // Answered at once, in recovery too (Samba 4.25 delta §1.1), but not while the file
            // holds records of the past, which a client would trust.
            let fits = info.name == attach.name
                && (info.kind == attach.kind || attach.kind == DbKind::Volatile);
            let reply =
                if fits { ControlReply::data(ReplyData::DbId(id)) } else { ControlReply::failed() };
            return Some(reply);
        }
        let (name, kind) = (attach.name.to_owned(), attach.kind);
        self.io.tell_control(ControlMail::Attach { origin, name, kind });
        None
    }

    pub(crate) fn db_map(&self) -> DbMap {
        let all = self.io.shared.databases.all();
        let entries = all.iter().map(|info| Database {
            db_id: info.id,
            flags: DbFlags::from_bits_retain(info.map_flags()),
        });
        entries.collect()
    }

    pub(crate) fn db_text(
        &self,
        db: DbId,
        text: impl FnOnce(&crate::database_table::DatabaseInfo) -> String,
    ) -> ControlReply {
        match self.io.shared.databases.get(db) {
            Some(info) => ControlReply::data(ReplyData::Text(text(&info))),
            None => ControlReply::failed(),
        }
    }

    pub(crate) fn switch(
        &self,
        db: DbId,
        switch: impl FnOnce(&crate::database_table::DatabaseInfo),
    ) -> ControlReply {
        match self.io.shared.databases.get(db) {
            Some(info) => {
                switch(&info);
                ControlReply::done()
            }
            None => ControlReply::failed(),
        }
    }

    /// The counter that transactions leave in their database; 0 where there was none yet. While a
    /// transaction is being written, a worker waits for its end.
    pub(crate) fn db_sequence_number(&mut self, origin: Origin, db: DbId) -> Option<ControlReply> {
        let Some(handle) = self.store.handle_mut(db) else { return Some(ControlReply::failed()) };
        let chain = handle.chain_of(SEQUENCE_NUMBER_KEY);
        if matches!(handle.try_lock_chain_read(chain), Ok(Attempt::Locked)) {
            let reply = read_sequence_number(handle);
            handle.unlock_chain(chain);
            return Some(reply);
        }
        let Ok(mut another) = handle.sibling() else { return Some(ControlReply::failed()) };
        let reading = move || read_sequence_number(&mut another);
        if self.walks.answer_by_worker(origin, reading) {
            None
        } else {
            Some(ControlReply::failed())
        }
    }

    pub(crate) fn commit(
        &mut self,
        origin: Origin,
        db: DbId,
        buffer: &[u8],
    ) -> Option<ControlReply> {
        let Origin::Session { session, ticket } = origin else {
            return Some(ControlReply::failed());
        };
        let kind = self.io.shared.databases.get(db).map(|info| info.kind);
        if kind.is_none_or(|kind| kind == DbKind::Volatile) {
            return Some(ControlReply::failed());
        }
        // What no node can apply would cost all of them a recovery.
        if let Err(fault) = check_client_buffer(db, buffer) {
            tracing::warn!("refused a transaction of database {db}: {fault}");
            return Some(ControlReply::failed());
        }
        let caller = Caller { session: session.0, request: ticket };
        let shard = self.persistent_shard(db);
        if self.io.is_own(shard) {
            self.begin_commit(db, caller, buffer);
        } else {
            self.io.tell_shard(shard, ShardMail::Commit { db, caller, buffer: buffer.into() });
        }
        None
    }

    /// The shard that serves a persistent database.
    pub(crate) fn persistent_shard(&self, db: DbId) -> usize {
        (db.0 % self.io.shared.shards_count) as usize
    }

    pub(crate) fn begin_commit(&mut self, db: DbId, caller: Caller, buffer: &[u8]) {
        let input = bateria_core::persistent::Input::Commit { caller, db, buffer };
        self.step_persistent(input).expect("a client is no frame");
    }

    pub(crate) fn schedule_deletion(&mut self, db: DbId, key: &[u8]) -> ControlReply {
        let key = Store::key(key);
        match self.store.shard_of(db, key.hash) {
            None => return ControlReply::failed(),
            Some(shard) if self.io.is_own(shard) => {
                self.step(Input::ScheduleDeletion { db, key });
            }
            Some(shard) => {
                let mail = ShardMail::ScheduleDeletion { db, key: key.to_owned() };
                self.io.tell_shard(shard, mail);
            }
        }
        ControlReply::done()
    }

    pub(crate) fn traverse(
        &mut self,
        origin: Origin,
        start: &TraverseStart,
        with_empty: bool,
    ) -> Option<ControlReply> {
        let Origin::Session { session: SessionId(session), ticket } = origin else {
            return Some(ControlReply::failed());
        };
        let healthy = self
            .io
            .shared
            .databases
            .get(start.db_id)
            .filter(|info| !info.failed.load(Ordering::Acquire));
        let Some(info) = healthy else { return Some(ControlReply::failed()) };
        let caller = Caller { session, request: ticket };
        let Srvid(srvid) = start.srvid;
        let client = bateria_core::traverse::Client { caller, srvid, reqid: start.reqid };
        let view = self.io.shared.view();
        self.step_walks(WalkInput::Start {
            client,
            db: start.db_id,
            kind: info.kind,
            lmasters: &view.vnn_map.lmasters,
            with_empty,
        });
        None
    }
}

fn read_sequence_number(handle: &mut Tdb) -> ControlReply {
    let mut stored = Vec::new();
    match handle.fetch(SEQUENCE_NUMBER_KEY, &mut stored) {
        Ok(found) => {
            let number = if found { sequence_number(&stored).unwrap_or(0) } else { 0 };
            ControlReply::data(ReplyData::SequenceNumber(number))
        }
        Err(error) => {
            tracing::error!("{}: {error}", handle.path().display());
            ControlReply::failed()
        }
    }
}
