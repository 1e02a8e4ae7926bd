//! All volatile databases of one shard: input comes in here, is checked against the generation and
//! given to the database it is about.

use crate::record::database::Database;
use crate::record::early::{Content, EarlyFrame, EarlyFrames};
use crate::record::purge::Step;
use crate::record::tenure::{Arrival, Waiter};
use crate::record::turn::{Deadlines, OwnFrame, Turn};
use crate::record::{Caller, Effects, Function, Key, Reason, RecordFlags, RecordStore, StoreFault};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bateria_wire::head::{RecordOp, ReportOp};
use bateria_wire::report::entries;
use bateria_wire::{DbId, Generation, Pnn, Rsn, VnnMap};

/// The record machine of one shard.
pub struct Records {
    settings: Settings,
    phase: Phase,
    generation: Generation,
    map: VnnMap,
    members: Vec<Pnn>,
    databases: BTreeMap<DbId, Database>,
    deadlines: Deadlines,
    own_frames: VecDeque<OwnFrame>,
    early: EarlyFrames,
    rebuilt_told: bool,
}

/// What does not change while the daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub me: Pnn,
    /// This shard among `lanes_count`.
    pub lane: u32,
    pub lanes_count: u32,
    /// How long a tombstone stays before it is deleted everywhere (tunable VacuumInterval).
    pub deletion_delay_us: u64,
}

/// What happens to the records of a shard.
pub enum Input<'a> {
    /// The files are open.
    Attach {
        db: DbId,
    },
    Detach {
        db: DbId,
    },
    /// A local client's call.
    Call {
        db: DbId,
        caller: Caller,
        function: Function,
        key: Key<'a>,
    },
    /// A session has ended.
    SessionGone {
        session: u64,
    },
    /// A client says that it has stored a tombstone.
    ScheduleDeletion {
        db: DbId,
        key: Key<'a>,
    },
    /// A frame about one record.
    Record {
        from: Pnn,
        generation: Generation,
        db: DbId,
        key: Key<'a>,
        op: RecordOp,
        body: &'a [u8],
    },
    /// A frame of a member's report; every shard gets it and takes what it serves.
    Report {
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: ReportOp,
        bulk: &'a [u8],
    },
    /// A chain that was waited for may be free.
    ChainFree {
        db: DbId,
        chain: u32,
    },
    /// The leader prepares another generation: frames of older ones end here.
    Quiesce {
        generation: Generation,
    },
    /// The new generation begins.
    Rebuild {
        map: VnnMap,
        members: Vec<Pnn>,
        wipe: bool,
    },
    /// The tunable has changed.
    SetDeletionDelay {
        delay_us: u64,
    },
    /// Time has passed, or a moment is free.
    Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No generation, or between two: records stay where they are.
    Closed,
    Open,
}

impl Records {
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            generation: Generation::INVALID,
            map: VnnMap::default(),
            members: Vec::new(),
            databases: BTreeMap::new(),
            deadlines: Deadlines::default(),
            own_frames: VecDeque::new(),
            early: EarlyFrames::default(),
            rebuilt_told: true,
        }
    }

    /// Advances by one event.
    pub fn step<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        input: Input<'_>,
        store: &mut S,
        effects: &mut E,
    ) {
        match input {
            Input::Attach { db } => self.attach(now_us, db, store, effects),
            Input::Detach { db } => self.detach(db, effects),
            Input::Call { db, caller, function, key } => {
                let known = self.with(now_us, db, store, effects, |database, turn| {
                    database.call(turn, Waiter::new(caller, function), key)
                });
                if !known {
                    effects.refuse(caller);
                }
            }
            Input::SessionGone { session } => {
                self.databases.values_mut().for_each(|database| database.forget_caller(session));
            }
            Input::ScheduleDeletion { db, key } => {
                if let Some(database) = self.databases.get_mut(&db) {
                    database.schedule_deletion(now_us, key);
                }
            }
            Input::Record { from, generation, db, key, op, body } => {
                if self.admits(generation, db) {
                    self.with(now_us, db, store, effects, |database, turn| {
                        record_frame(database, turn, from, key, op, body)
                    });
                } else if self.is_early(generation)
                    && !self.early.keep_record(from, db, key, op, body)
                {
                    effects.request_recovery(Reason::EarlyFrames);
                }
            }
            Input::Report { from, generation, db, op, bulk } => {
                if self.admits(generation, db) {
                    self.with(now_us, db, store, effects, |database, turn| {
                        report_frame(database, turn, from, op, bulk);
                        Ok(())
                    });
                } else if self.is_early(generation) && !self.early.keep_report(from, db, op, bulk) {
                    effects.request_recovery(Reason::EarlyFrames);
                }
            }
            Input::ChainFree { db, chain } => {
                self.with(now_us, db, store, effects, |database, turn| {
                    database.chain_free(turn, chain)
                });
            }
            Input::Quiesce { generation } => self.quiesce(now_us, generation),
            Input::Rebuild { map, members, wipe } => {
                self.open(now_us, map, members, wipe, store, effects);
            }
            Input::SetDeletionDelay { delay_us } => {
                self.settings.deletion_delay_us = delay_us;
                let databases = self.databases.values_mut();
                databases.for_each(|database| database.deletion_delay_us = delay_us);
            }
            Input::Tick => self.tick(now_us, store, effects),
        }
        self.deliver_own_frames(now_us, store, effects);
        self.tell_rebuilt(effects);
    }

    /// When `Input::Tick` is due; `Some(0)` asks for a slice of pending work as soon as clients
    /// and peers leave a moment for it.
    #[must_use]
    pub fn next_tick_us(&self) -> Option<u64> {
        let open = self.phase == Phase::Open;
        if open && self.databases.values().any(Database::scans) {
            return Some(0);
        }
        let due = self.databases.values().filter(|_| open).filter_map(|db| db.deletions.next_us());
        due.chain(self.deadlines.next_us()).min()
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Records that this shard locates as LMASTER.
    #[must_use]
    pub fn located_count(&self) -> usize {
        self.databases.values().map(|database| database.directory.len()).sum()
    }

    /// Records about which a frame is awaited or owed.
    #[must_use]
    pub fn unsettled_count(&self) -> usize {
        self.databases.values().map(Database::unsettled_count).sum()
    }

    /// Everything that waits somewhere in this machine.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        let databases = self.databases.values().map(Database::queued_count).sum::<usize>();
        databases + self.deadlines.len() + self.early.len()
    }

    fn admits(&self, generation: Generation, db: DbId) -> bool {
        let open = self.phase == Phase::Open && generation == self.generation;
        open && self.databases.contains_key(&db)
    }

    /// A peer has begun the generation that this node has only prepared, or has a database that is
    /// about to be attached here.
    fn is_early(&self, generation: Generation) -> bool {
        generation == self.generation
    }

    /// A database that a generation begins without is new, and its file empty. Members that have
    /// attached it just before wait for a report all the same.
    fn attach<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        db: DbId,
        store: &mut S,
        effects: &mut E,
    ) {
        if self.databases.contains_key(&db) {
            return;
        }
        let mut database = Database::new(db, self.settings.deletion_delay_us);
        if self.phase == Phase::Open {
            database.report();
        }
        self.databases.insert(db, database);
        self.read_early(now_us, store, effects);
    }

    fn quiesce(&mut self, now_us: u64, generation: Generation) {
        assert!(generation > self.generation || !self.generation.is_valid(), "generations grow");
        self.generation = generation;
        self.phase = Phase::Closed;
        self.own_frames.clear();
        self.early = EarlyFrames::default();
        self.databases.values_mut().for_each(|database| database.quiesce(now_us));
    }

    fn open<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        map: VnnMap,
        members: Vec<Pnn>,
        wipe: bool,
        store: &mut S,
        effects: &mut E,
    ) {
        assert_eq!(map.generation, self.generation, "a generation is prepared before it begins");
        assert!(!map.lmasters.is_empty(), "somebody has to know where records are");
        self.map = map;
        self.members = members;
        self.phase = Phase::Open;
        self.rebuilt_told = false;
        for database in self.databases.values_mut() {
            database.begin_rebuild(&self.members, wipe);
        }
        let ids: Vec<_> = self.databases.keys().copied().collect();
        for db in ids {
            self.with(now_us, db, store, effects, Database::resume);
        }
        self.read_early(now_us, store, effects);
    }

    /// What came too early, and does so no more.
    fn read_early<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        store: &mut S,
        effects: &mut E,
    ) {
        if self.phase == Phase::Closed {
            return;
        }
        for frame in self.early.take(|db| self.databases.contains_key(&db)) {
            let EarlyFrame { from, db, content } = frame;
            self.with(now_us, db, store, effects, |database, turn| match content {
                Content::Record { key, op, body } => {
                    record_frame(database, turn, from, key.borrow(), op, &body)
                }
                Content::Report { op, bulk } => {
                    report_frame(database, turn, from, op, &bulk);
                    Ok(())
                }
            });
        }
    }

    fn tick<S: RecordStore, E: Effects>(&mut self, now_us: u64, store: &mut S, effects: &mut E) {
        while let Some(due) = self.deadlines.pop_due(now_us) {
            self.with(now_us, due.db, store, effects, |database, turn| {
                database.advance(turn, Key { hash: due.hash, bytes: &due.key })
            });
        }
        if self.phase == Phase::Closed {
            return;
        }
        let (lane, lanes_count) = (self.settings.lane, self.settings.lanes_count);
        let ids: Vec<_> = self.databases.keys().copied().collect();
        for db in ids {
            self.with(now_us, db, store, effects, |database, turn| {
                database.scan_slice(turn, lane, lanes_count)?;
                database.locate(turn);
                database.delete_due(turn).map(|_| ())
            });
        }
    }

    fn detach<E: Effects>(&mut self, db: DbId, effects: &mut E) {
        if let Some(database) = self.databases.remove(&db) {
            database.chains.chains().for_each(|chain| effects.stop_waiting(db, chain));
            for (_, tenure) in database.tenures.iter() {
                tenure.waiters.iter().for_each(|waiter| effects.refuse(waiter.caller));
            }
        }
    }

    fn deliver_own_frames<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        store: &mut S,
        effects: &mut E,
    ) {
        while let Some(frame) = self.own_frames.pop_front() {
            let me = self.settings.me;
            self.with(now_us, frame.db, store, effects, |database, turn| {
                record_frame(database, turn, me, frame.key.borrow(), frame.op, &frame.body)
            });
        }
    }

    fn tell_rebuilt<E: Effects>(&mut self, effects: &mut E) {
        let done = self.phase == Phase::Open
            && !self.rebuilt_told
            && !self.databases.values().any(Database::delays_generation);
        if done {
            self.rebuilt_told = true;
            effects.rebuilt(self.generation);
        }
    }

    /// Runs `work` on a database; false when there is none. A file that fails is used no more.
    fn with<S: RecordStore, E: Effects>(
        &mut self,
        now_us: u64,
        db: DbId,
        store: &mut S,
        effects: &mut E,
        work: impl FnOnce(&mut Database, &mut Turn<'_, S, E>) -> Result<(), StoreFault>,
    ) -> bool {
        let Some(database) = self.databases.get_mut(&db) else { return false };
        let mut turn = Turn {
            now_us,
            me: self.settings.me,
            map: &self.map,
            members: &self.members,
            open: self.phase == Phase::Open,
            store,
            effects,
            own_frames: &mut self.own_frames,
            deadlines: &mut self.deadlines,
        };
        if let Err(fault) = work(database, &mut turn) {
            database.fail(effects, fault);
        }
        true
    }
}

/// One frame about one record.
fn record_frame<S: RecordStore, E: Effects>(
    database: &mut Database,
    turn: &mut Turn<'_, S, E>,
    from: Pnn,
    key: Key<'_>,
    op: RecordOp,
    body: &[u8],
) -> Result<(), StoreFault> {
    let chain = key.hash % turn.store.chains_count(database.id);
    if !turn.store.serves(database.id, chain) {
        // Another shard knows about this record: an answer from here would give it a second owner.
        turn.effects.request_recovery(Reason::Misrouted { db: database.id });
        return Ok(());
    }
    match op {
        RecordOp::Want { only_read } => database.want(turn, from, key, only_read),
        RecordOp::Recall { to } => return database.recall(turn, key, Pnn(to)),
        RecordOp::Grant => return database.arrive(turn, key, Arrival::Granted),
        RecordOp::Absent => return database.absent(turn, key),
        RecordOp::Record { rsn, flags } => {
            let flags = RecordFlags::from_bits_retain(flags);
            let arrival = Arrival::Handed { rsn: Rsn(rsn), flags, body: body.into() };
            return database.arrive(turn, key, arrival);
        }
        RecordOp::Adopt { rsn } => {
            return database.arrive(turn, key, Arrival::Adopted { rsn: Rsn(rsn) });
        }
        RecordOp::Purge { rsn, shared } => {
            database.begin_purge(turn, from, key, Rsn(rsn), shared);
        }
        RecordOp::Bury { rsn } => return database.bury(turn, from, key, Rsn(rsn)),
        RecordOp::Buried { rsn, done } => {
            database.purge_acknowledged(turn, from, key, Step::Bury, Rsn(rsn), done);
        }
        RecordOp::Forget { rsn } => return database.forget(turn, from, key, Rsn(rsn)),
        RecordOp::Forgotten { rsn, done } => {
            database.purge_acknowledged(turn, from, key, Step::Forget, Rsn(rsn), done);
        }
        RecordOp::PurgeLast { .. } => return database.purge_last(turn, from, key),
        RecordOp::PurgeRefused => database.purge_refused(turn.now_us, key),
        RecordOp::PurgeEnded { deleted } => database.purge_ended(turn, from, key, deleted),
    }
    Ok(())
}

/// One frame of a member's report.
fn report_frame<S: RecordStore, E: Effects>(
    database: &mut Database,
    turn: &mut Turn<'_, S, E>,
    from: Pnn,
    op: ReportOp,
    bulk: &[u8],
) {
    let Some(rebuild) = &mut database.rebuild else { return };
    match op {
        ReportOp::Entries => {
            for entry in entries(bulk).map_while(Result::ok) {
                let key = Key { hash: turn.store.hash(entry.key), bytes: entry.key };
                let chain = key.hash % turn.store.chains_count(database.id);
                if turn.store.serves(database.id, chain) {
                    rebuild.add(from, key, entry.rsn, entry.flags);
                }
            }
            return;
        }
        ReportOp::End { lane, lanes_count, chains_count } => {
            let missing = bulk.as_chunks::<4>().0.iter().map(|chain| u32::from_le_bytes(*chain));
            rebuild.end(from, lane, lanes_count, chains_count, missing);
        }
        ReportOp::ChainDone { chain } => rebuild.chain_done(from, chain),
    }
    database.locate(turn);
}

impl Database {
    fn scans(&self) -> bool {
        self.scan.as_ref().is_some_and(|scan| !scan.has_ended()) && !self.failed
    }

    fn fail<E: Effects>(&mut self, effects: &mut E, fault: StoreFault) {
        if !self.failed {
            self.failed = true;
            effects.database_failed(self.id, fault);
        }
        for (_, tenure) in self.tenures.iter_mut() {
            tenure.waiters.drain(..).for_each(|waiter| effects.refuse(waiter.caller));
        }
    }
}
