//! All persistent and replicated databases of one shard.

use crate::persistent::configuration::Configuration;
use crate::persistent::database::{Database, State, Step};
use crate::persistent::{Contents, Effects, JobId, Outcome};
use crate::record::Caller;
use alloc::collections::BTreeMap;
use bateria_wire::frame::FrameFault;
use bateria_wire::head::PersistentOp;
use bateria_wire::{DbId, DbKind, Generation, Pnn};

/// The machine. A shard runs one for the databases that it serves; their frames are routed by
/// database, so the number of shards need not be the same on all nodes.
#[derive(Debug)]
pub struct Persistent {
    settings: Settings,
    configuration: Configuration,
    databases: BTreeMap<DbId, Database>,
    /// What other nodes told their coordinator about databases that are not attached here yet.
    early: BTreeMap<(DbId, Pnn), Option<Contents>>,
    settled_is_told: bool,
    last_number: u64,
}

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Tunable ControlTimeout: how long a commit may take before a recovery ends it, and how long
    /// it is held while the copies are not equal.
    pub control_timeout_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { control_timeout_ms: 60_000 }
    }
}

/// One event.
#[derive(Debug)]
pub enum Input<'a> {
    /// The database's file is there, or an attempt to open it has failed; then its jobs fail too.
    Attach {
        db: DbId,
        kind: DbKind,
    },
    /// The database is gone from this node.
    Detach {
        db: DbId,
    },
    /// TRANS3_COMMIT of a local client. `buffer` is a sound marshall buffer of this database: what
    /// is not would fail on every node and cost a recovery.
    Commit {
        caller: Caller,
        db: DbId,
        buffer: &'a [u8],
    },
    /// A client's session has ended.
    CallerGone {
        session: u64,
    },
    /// A new generation begins: nothing of an older one starts any more.
    Quiesce {
        generation: Generation,
    },
    /// All members have quiesced. `members` ascend; `contributors` are those that took part in the
    /// last committed generation without interruption.
    Rebuild {
        generation: Generation,
        members: &'a [Pnn],
        contributors: &'a [Pnn],
    },
    /// The generation is the cluster's.
    Committed {
        generation: Generation,
    },
    Frame {
        from: Pnn,
        generation: Generation,
        db: DbId,
        op: PersistentOp,
        bulk: &'a [u8],
    },
    JobDone {
        db: DbId,
        job: JobId,
        outcome: Outcome,
    },
    /// `deadline_ms` may have been reached.
    Tick,
}

/// Reports about databases that are not attached: far more than a cluster has.
const EARLY_COUNT_MAX: usize = 64 * 1024;

impl Persistent {
    #[must_use]
    pub fn new(own: Pnn, settings: Settings) -> Self {
        Self {
            settings,
            configuration: Configuration::none(own),
            databases: BTreeMap::new(),
            early: BTreeMap::new(),
            settled_is_told: false,
            last_number: 0,
        }
    }

    /// Advances by one event; `effects` tells the driver what to do next.
    ///
    /// # Errors
    /// The sender of a frame broke the protocol; nothing was changed.
    pub fn step(
        &mut self,
        now_ms: u64,
        input: Input<'_>,
        effects: &mut dyn Effects,
    ) -> Result<(), FrameFault> {
        let mut result = Ok(());
        match input {
            Input::Attach { db, kind } => self.attach(now_ms, db, kind, effects),
            Input::Detach { db } => self.detach(now_ms, db, effects),
            Input::Commit { caller, db, buffer } => {
                self.commit(now_ms, caller, db, buffer, effects);
            }
            Input::CallerGone { session } => {
                self.each(now_ms, effects, |db, step| db.caller_gone(session, step));
            }
            Input::Quiesce { generation } => {
                // Generations only grow; what is told twice is done once.
                if generation > self.configuration.generation {
                    self.quiesce(now_ms, generation, effects);
                }
            }
            Input::Rebuild { generation, members, contributors } => {
                let is_rebuilding = self.configuration.is_rebuilding();
                if generation == self.configuration.generation && !is_rebuilding {
                    self.rebuild(now_ms, members, contributors, effects);
                }
            }
            Input::Committed { generation } => {
                if generation == self.configuration.generation {
                    self.configuration.is_committed = true;
                    self.each(now_ms, effects, Database::release);
                }
            }
            Input::Frame { from, generation, db, op, bulk } => {
                if generation == self.configuration.generation {
                    result = self.frame(now_ms, from, db, op, bulk, effects);
                }
            }
            Input::JobDone { db, job, outcome } => {
                let (database, mut step) = self.one(now_ms, db, effects);
                if let Some(database) = database {
                    database.job_done(job, outcome, &mut step);
                }
            }
            Input::Tick => self.each(now_ms, effects, Database::tick),
        }
        self.tell_settled(effects);
        result
    }

    /// When `Input::Tick` is due at the latest.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        self.databases.values().filter_map(Database::deadline_ms).min()
    }

    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn attach(&mut self, now_ms: u64, db: DbId, kind: DbKind, effects: &mut dyn Effects) {
        assert!(kind != DbKind::Volatile, "volatile databases have one copy of a record");
        if self.databases.contains_key(&db) {
            return;
        }
        self.databases.insert(db, Database::new(db, kind));
        let early = self.take_early(db);
        let (database, mut step) = self.one(now_ms, db, effects);
        let database = database.expect("just inserted");
        for (node, contents) in early {
            database.report(node, contents, &mut step);
        }
        if step.configuration.is_rebuilding() {
            database.rebuild(&mut step);
        }
    }

    fn detach(&mut self, now_ms: u64, db: DbId, effects: &mut dyn Effects) {
        let removed = self.databases.remove(&db);
        let (_, mut step) = self.one(now_ms, db, effects);
        if let Some(database) = removed {
            database.detach(&mut step);
        }
    }

    fn commit(
        &mut self,
        now_ms: u64,
        caller: Caller,
        db: DbId,
        buffer: &[u8],
        effects: &mut dyn Effects,
    ) {
        let is_busy = self.databases.values().any(|database| database.serves(caller.session));
        let (database, mut step) = self.one(now_ms, db, effects);
        match database {
            Some(database) if !is_busy => database.commit(caller, buffer, &mut step),
            _ => step.effects.reply(caller, super::commit::STATUS_REFUSED, ""),
        }
    }

    fn quiesce(&mut self, now_ms: u64, generation: Generation, effects: &mut dyn Effects) {
        let configuration = Configuration::none(self.configuration.own);
        self.configuration = Configuration { generation, ..configuration };
        self.early.clear();
        self.settled_is_told = false;
        self.each(now_ms, effects, |db, step| db.quiesce(step));
    }

    fn rebuild(
        &mut self,
        now_ms: u64,
        members: &[Pnn],
        contributors: &[Pnn],
        effects: &mut dyn Effects,
    ) {
        assert!(members.is_sorted_by(|a, b| a < b), "members ascend");
        assert!(members.contains(&self.configuration.own), "only members rebuild");
        self.configuration.members = members.to_vec();
        self.configuration.contributors = contributors.to_vec();
        self.each(now_ms, effects, Database::rebuild);
    }

    fn frame(
        &mut self,
        now_ms: u64,
        from: Pnn,
        db: DbId,
        op: PersistentOp,
        bulk: &[u8],
        effects: &mut dyn Effects,
    ) -> Result<(), FrameFault> {
        // Members learn who they are at different times, so reports may come before that.
        let is_report = matches!(op, PersistentOp::Digest { .. } | PersistentOp::NoCopy);
        if from == self.configuration.own || (!is_report && !self.configuration.has_member(from)) {
            return Err(FrameFault::Meaning { rule: "only members exchange copies" });
        }
        let (database, mut step) = self.one(now_ms, db, effects);
        if let Some(database) = database {
            return database.frame(from, op, bulk, &mut step);
        }
        match op {
            PersistentOp::Digest { sequence_number, digest, updated_in } => {
                let updated_in = Generation(updated_in);
                self.keep_early(db, from, Some(Contents { sequence_number, digest, updated_in }));
            }
            PersistentOp::NoCopy => self.keep_early(db, from, None),
            PersistentOp::Update { transaction } => {
                let status = super::commit::STATUS_REFUSED;
                let op = PersistentOp::Updated { transaction, status };
                let head = bateria_wire::head::PersistentHead { db: db.0, op };
                effects.send(from, &bateria_wire::head::Head::Persistent(head), &[]);
            }
            // Answers to a database that was detached meanwhile.
            _ => {}
        }
        Ok(())
    }

    fn keep_early(&mut self, db: DbId, from: Pnn, contents: Option<Contents>) {
        // One that does not fit is missed by the coordinator, who asks for a new generation.
        if self.early.len() < EARLY_COUNT_MAX {
            self.early.insert((db, from), contents);
        }
    }

    fn take_early(&mut self, db: DbId) -> BTreeMap<Pnn, Option<Contents>> {
        let mut early = BTreeMap::new();
        while let Some((&key, _)) = self.early.range((db, Pnn(0))..=(db, Pnn(u32::MAX))).next() {
            let contents = self.early.remove(&key).expect("just seen");
            early.insert(key.1, contents);
        }
        early
    }

    fn tell_settled(&mut self, effects: &mut dyn Effects) {
        let is_settled = self.configuration.is_rebuilding()
            && self.databases.values().all(|database| database.state() != State::Settling);
        if is_settled && !core::mem::replace(&mut self.settled_is_told, true) {
            effects.settled(self.configuration.generation);
        }
    }

    fn each(
        &mut self,
        now_ms: u64,
        effects: &mut dyn Effects,
        mut act: impl FnMut(&mut Database, &mut Step<'_>),
    ) {
        let mut step = Step {
            now_ms,
            configuration: &self.configuration,
            settings: &self.settings,
            last_number: &mut self.last_number,
            effects,
        };
        self.databases.values_mut().for_each(|database| act(database, &mut step));
    }

    fn one<'a>(
        &'a mut self,
        now_ms: u64,
        db: DbId,
        effects: &'a mut dyn Effects,
    ) -> (Option<&'a mut Database>, Step<'a>) {
        let step = Step {
            now_ms,
            configuration: &self.configuration,
            settings: &self.settings,
            last_number: &mut self.last_number,
            effects,
        };
        (self.databases.get_mut(&db), step)
    }
}
