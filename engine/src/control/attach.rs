//! Attaching databases: files are opened by a worker, shards get their handles, and the other
//! members attach before the client hears of it, so that its first call finds the database
//! everywhere.

use crate::clock;
use crate::control::{Control, tell};
use crate::database_table::DatabaseInfo;
use crate::mail::{ControlMail, OpenedDatabase, Origin, ShardMail};
use bateria_core::cluster::Input;
use bateria_smbshim::control::{ControlReply, ReplyData};
use bateria_smbshim::structures::tunable::Tunable;
use bateria_tdb::{Attempt, LockKind, OpenOptions, Tdb, TdbFlags};
use bateria_wire::head::{Head, RelayHead};
use bateria_wire::limits::DB_NAME_SIZE_BYTES_MAX;
use bateria_wire::{DbId, DbKind, Generation, Pnn};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Where databases lie.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    pub(crate) volatile: PathBuf,
    pub(crate) persistent: PathBuf,
    pub(crate) mutexes: bool,
}

/// Attaches that are not finished.
pub(crate) struct Attaches {
    directories: Directories,
    /// By name.
    running: BTreeMap<String, Running>,
    /// Clients that ask while the cluster is not ready.
    deferred: Vec<Deferred>,
    /// Databases of this node's disk that are still being opened at start.
    at_start: usize,
    next_id: u64,
}

struct Running {
    kind: DbKind,
    waiters: Vec<Waiter>,
    /// Peers that attach because a client here asked.
    awaited: Vec<Pnn>,
    id: u64,
    opened: bool,
}

enum Waiter {
    Client(Origin),
    Peer { peer: Pnn, id: u64 },
    Start,
}

struct Deferred {
    origin: Origin,
    name: String,
    kind: DbKind,
    until_us: u64,
}

/// Databases of one node; more are refused.
const DATABASES_COUNT_MAX: usize = 4096;
const DEFERRED_COUNT_MAX: usize = 64 * 1024;
/// How long the records of a file that is still in use may be locked by its users.
const LEFTOVERS_TIME_MAX: Duration = Duration::from_millis(300);

impl Attaches {
    pub(crate) fn new(directories: Directories) -> Self {
        Self {
            directories,
            running: BTreeMap::new(),
            deferred: Vec::new(),
            at_start: 0,
            next_id: 1,
        }
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.deferred.iter().map(|deferred| deferred.until_us).min()
    }
}

impl Control {
    /// Attaches every persistent database that lies on this node's disk.
    pub(crate) fn attach_found(&mut self) {
        let directory = self.attaches.directories.persistent.clone();
        let suffix = format!(".{}", self.shared.me);
        let files = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let mut found = Vec::new();
        for name in names {
            if let Some(database) = name.strip_suffix(&suffix).filter(|name| is_tdb_name(name)) {
                found.push(database.to_owned());
            } else {
                tracing::info!("ignoring {name} among the persistent databases");
            }
        }
        self.attaches.at_start = found.len();
        for name in found {
            self.open(name, DbKind::Persistent, Waiter::Start);
        }
        if self.attaches.at_start == 0 {
            self.files_are_attached();
        }
    }

    /// A client wants a database that is not attached.
    pub(crate) fn attach(&mut self, origin: Origin, name: String, kind: DbKind) {
        if !self.shared.flags_of(self.shared.me).is_active() {
            self.answer(origin, ControlReply::failed());
            return;
        }
        if self.progress.committed.is_none() {
            let timeout_s =
                self.shared.with_tunables(|tunables| tunables.get(Tunable::DeferredAttachTimeout));
            let until_us = clock::now_us() + u64::from(timeout_s) * 1_000_000;
            if self.attaches.deferred.len() < DEFERRED_COUNT_MAX {
                self.attaches.deferred.push(Deferred { origin, name, kind, until_us });
            } else {
                self.answer(origin, ControlReply::failed());
            }
            return;
        }
        if self.is_attached(&name) {
            self.answer_attached(origin, &name, kind);
            return;
        }
        self.open(name, kind, Waiter::Client(origin));
    }

    /// A peer's client has attached a database.
    pub(crate) fn attach_for_peer(&mut self, peer: Pnn, id: u64, name: String, kind: DbKind) {
        if let Some(info) = self.info_of(&name) {
            let status = if info.kind == kind { 0 } else { -1 };
            self.send_attached(peer, id, status);
            return;
        }
        self.open(name, kind, Waiter::Peer { peer, id });
    }

    /// A member of the new generation has this database.
    pub(crate) fn attach_for_generation(&mut self, name: &str, kind: DbKind) {
        if !self.is_attached(name) {
            self.open(name.to_owned(), kind, Waiter::Client(Origin::Nobody));
        }
    }

    pub(crate) fn is_attached(&self, name: &str) -> bool {
        self.info_of(name).is_some()
    }

    pub(crate) fn begin_deferred_attaches(&mut self) {
        for deferred in std::mem::take(&mut self.attaches.deferred) {
            self.attach(deferred.origin, deferred.name, deferred.kind);
        }
    }

    pub(crate) fn expire_attaches(&mut self, now_us: u64) {
        let expired: Vec<_> =
            self.attaches.deferred.extract_if(.., |one| one.until_us <= now_us).collect();
        for deferred in expired {
            self.answer(deferred.origin, ControlReply::failed());
        }
    }

    /// A worker has opened the files, or could not.
    pub(crate) fn opened(&mut self, name: String, outcome: Result<Box<OpenedDatabase>, String>) {
        let Some(mut running) = self.attaches.running.remove(&name) else { return };
        let starts = running.waiters.iter().any(|waiter| matches!(waiter, Waiter::Start));
        match outcome {
            Err(reason) => {
                tracing::error!("cannot attach database {name}: {reason}");
                self.end_attach(&name, running, false);
                self.fail_rebuild_without(&name);
            }
            Ok(opened) => {
                self.hand_out(*opened);
                let asked = running.waiters.iter().any(
                    |waiter| matches!(waiter, Waiter::Client(origin) if *origin != Origin::Nobody),
                );
                running.opened = true;
                if asked {
                    running.awaited = self.ask_peers(&name, running.kind, running.id);
                }
                if running.awaited.is_empty() {
                    self.end_attach(&name, running, true);
                } else {
                    self.attaches.running.insert(name, running);
                }
            }
        }
        if starts {
            self.attaches.at_start -= 1;
            if self.attaches.at_start == 0 {
                self.files_are_attached();
            }
        }
        self.rebuild_if_attached();
    }

    /// A peer has done what we asked, or cannot.
    pub(crate) fn peer_attached(&mut self, peer: Pnn, id: u64, status: i32) {
        if status != 0 {
            tracing::error!("node {peer} cannot attach a database: status {status}");
            // Frames about its records would wait there for good; the next generation is without it.
            self.tell_cluster(Input::RecoveryRequested { reason: "a member lacks a database" });
        }
        self.no_longer_awaited(peer, |running| running.id == id);
    }

    /// A peer is gone and keeps nobody waiting.
    pub(crate) fn peer_left_attaches(&mut self, peer: Pnn) {
        self.no_longer_awaited(peer, |_| true);
    }

    fn no_longer_awaited(&mut self, peer: Pnn, concerns: impl Fn(&Running) -> bool) {
        let mut ended = Vec::new();
        for (name, running) in &mut self.attaches.running {
            if concerns(running) {
                running.awaited.retain(|awaited| *awaited != peer);
                if running.opened && running.awaited.is_empty() {
                    ended.push(name.clone());
                }
            }
        }
        for name in ended {
            if let Some(running) = self.attaches.running.remove(&name) {
                self.end_attach(&name, running, true);
            }
        }
    }

    fn open(&mut self, name: String, kind: DbKind, waiter: Waiter) {
        if let Some(running) = self.attaches.running.get_mut(&name) {
            running.waiters.push(waiter);
            return;
        }
        let id = self.attaches.next_id;
        self.attaches.next_id += 1;
        let waiters = vec![waiter];
        let running = Running { kind, waiters, awaited: Vec::new(), id, opened: false };
        self.attaches.running.insert(name.clone(), running);
        if let Err(reason) = self.may_attach(&name) {
            self.opened(name, Err(reason));
            return;
        }
        let plan = Plan {
            directories: self.attaches.directories.clone(),
            me: self.shared.me,
            handles_count: self.shards.len(),
            hash_size: self
                .shared
                .with_tunables(|tunables| tunables.get(Tunable::DatabaseHashSize)),
            max_dead: self.shared.with_tunables(|tunables| tunables.get(Tunable::DatabaseMaxDead)),
        };
        let mailbox = self.mailbox.clone();
        let opening = name.clone();
        let job = move || {
            let outcome = plan.open(&opening, kind).map(Box::new);
            tell(&mailbox, ControlMail::Opened { name: opening, outcome });
        };
        if self.pool.submit(Box::new(job)).is_err() {
            self.opened(name, Err("no worker thread is left".to_owned()));
        }
    }

    fn may_attach(&self, name: &str) -> Result<(), String> {
        if !is_file_name(name) {
            return Err("its name is no file name".to_owned());
        }
        let databases = self.shared.databases.all();
        if databases.len() >= DATABASES_COUNT_MAX {
            return Err(format!("{DATABASES_COUNT_MAX} databases are attached"));
        }
        let id = id_of(name);
        match databases.iter().find(|info| info.id == id) {
            Some(other) => Err(format!("database {} has the same id {id}", other.name)),
            None => Ok(()),
        }
    }

    fn hand_out(&mut self, opened: OpenedDatabase) {
        let OpenedDatabase { info, handles, mut jobs_handle } = opened;
        let jobs_shard = (info.id.0 % self.shared.shards_count) as usize;
        for (index, handle) in handles.into_iter().enumerate() {
            let jobs_handle = if index == jobs_shard { jobs_handle.take() } else { None };
            let jobs_handle = jobs_handle.map(Box::new);
            let (info, handle) = (info.clone(), Box::new(handle));
            let mail = ShardMail::Attached { info, handle, jobs_handle };
            self.shards[index].send(&mut self.ring, mail);
        }
        tracing::info!(
            "Attached to database '{}' with flags {}",
            info.path.display(),
            info.open_flags.bits()
        );
        self.shared.databases.add(info);
    }

    fn ask_peers(&mut self, name: &str, kind: DbKind, id: u64) -> Vec<Pnn> {
        let view = self.shared.view();
        let me = self.shared.me;
        let connected = view.nodes.iter().filter(|node| node.connected && node.pnn != me);
        let head = Head::Relay(RelayHead::Attach { id, kind_flags: kind.flag() });
        let mut asked = Vec::new();
        for node in connected {
            let lanes = &mut self.links.lanes;
            let bulk: &[&[u8]] = &[name.as_bytes()];
            if lanes.send(&mut self.ring, Generation::INVALID, node.pnn, &head, bulk) {
                asked.push(node.pnn);
            }
        }
        asked
    }

    fn end_attach(&mut self, name: &str, running: Running, done: bool) {
        for waiter in running.waiters {
            match waiter {
                Waiter::Client(origin) if done => self.answer_attached(origin, name, running.kind),
                Waiter::Client(origin) => self.answer(origin, ControlReply::failed()),
                Waiter::Peer { peer, id } => {
                    self.send_attached(peer, id, if done { 0 } else { -1 });
                }
                Waiter::Start => {}
            }
        }
    }

    fn answer_attached(&mut self, origin: Origin, name: &str, kind: DbKind) {
        let fits =
            self.info_of(name).is_some_and(|info| info.kind == kind || kind == DbKind::Volatile);
        let reply = if fits {
            ControlReply::data(ReplyData::DbId(id_of(name)))
        } else {
            ControlReply::failed()
        };
        self.answer(origin, reply);
    }

    fn send_attached(&mut self, peer: Pnn, id: u64, status: i32) {
        let head = Head::Relay(RelayHead::Attached { id, status });
        self.links.lanes.send(&mut self.ring, Generation::INVALID, peer, &head, &[]);
    }

    fn info_of(&self, name: &str) -> Option<Arc<DatabaseInfo>> {
        self.shared.databases.get(id_of(name)).filter(|info| info.name == name)
    }
}

/// What a worker needs to know to open a database's files.
struct Plan {
    directories: Directories,
    me: Pnn,
    handles_count: usize,
    hash_size: u32,
    max_dead: u32,
}

impl Plan {
    fn open(&self, name: &str, kind: DbKind) -> Result<OpenedDatabase, String> {
        let directory = match kind {
            DbKind::Persistent => &self.directories.persistent,
            DbKind::Volatile | DbKind::Replicated => &self.directories.volatile,
        };
        let path = directory.join(format!("{name}.{}", self.me));
        let flags = open_flags(kind, self.directories.mutexes);
        let options = OpenOptions {
            flags,
            hash_size: self.hash_size,
            max_dead: self.max_dead,
            create: true,
            mode: 0o600,
            read_only: false,
        };
        let mut first = Tdb::open(&path, &options).map_err(|error| error.to_string())?;
        if kind != DbKind::Persistent {
            empty_leftovers(&mut first)?;
        }
        let info = Arc::new(DatabaseInfo {
            id: id_of(name),
            name: name.to_owned(),
            kind,
            path,
            open_flags: flags,
            chains_count: first.chains_count(),
            counts_changes: AtomicBool::new(false),
            readonly: AtomicBool::new(false),
            sticky: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        });
        let another = || first.sibling().map_err(|error| error.to_string());
        let jobs_handle = (kind != DbKind::Volatile).then(another).transpose()?;
        let mut handles =
            (1..self.handles_count).map(|_| another()).collect::<Result<Vec<_>, _>>()?;
        handles.push(first);
        Ok(OpenedDatabase { info, handles, jobs_handle })
    }
}

/// A file that somebody else keeps open is not emptied by opening it, though its records belong to
/// a cluster that went on, or ended, without this node. They go under the lock of all records:
/// whoever has the file open finds nothing of his own any more, and hears from his connection that
/// his daemon is gone when he asks for it.
fn empty_leftovers(handle: &mut Tdb) -> Result<(), String> {
    let used =
        (0..handle.chains_count()).any(|chain| !handle.chain_is_empty(bateria_tdb::Chain(chain)));
    if !used {
        return Ok(());
    }
    let until = Instant::now() + LEFTOVERS_TIME_MAX;
    while handle.try_lock_all(LockKind::Write).map_err(|error| error.to_string())? == Attempt::Busy
    {
        if Instant::now() >= until {
            return Err(format!(
                "{}: a process of the past holds a lock in it; end it, the daemon tries again",
                handle.path().display()
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let outcome = handle.wipe().map_err(|error| error.to_string());
    handle.unlock_all();
    tracing::warn!("{} was in use by a process of the past; emptied", handle.path().display());
    outcome
}

/// As clients open the file, too (client protocol §6.5).
fn open_flags(kind: DbKind, mutexes: bool) -> TdbFlags {
    let volatile = TdbFlags::CLEAR_IF_FIRST
        | TdbFlags::NOSYNC
        | TdbFlags::INCOMPATIBLE_HASH
        | TdbFlags::DISALLOW_NESTING;
    match kind {
        DbKind::Persistent => TdbFlags::DISALLOW_NESTING,
        DbKind::Volatile if mutexes => volatile | TdbFlags::MUTEX_LOCKING,
        DbKind::Volatile | DbKind::Replicated => volatile,
    }
}

/// The Jenkins hash of the name with its NUL.
pub(crate) fn id_of(name: &str) -> DbId {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    DbId(bateria_tdb::hash::jenkins(&bytes))
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < DB_NAME_SIZE_BYTES_MAX as usize - 16
        && !name.contains(['/', '\0'])
        && name != "."
        && name != ".."
}

fn is_tdb_name(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tdb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_original() {
        assert_eq!(id_of("locking.tdb"), DbId(0x7a19_d84d));
        assert_eq!(id_of("g_lock.tdb"), DbId(0x4d2a_432b));
    }

    #[test]
    fn names_never_leave_their_directory() {
        assert!(is_file_name("locking.tdb"));
        assert!(!is_file_name("../x.tdb") && !is_file_name("..") && !is_file_name(""));
    }

    #[test]
    fn clients_are_told_the_flags_that_they_know() {
        assert_eq!(open_flags(DbKind::Volatile, true).bits(), 0x1C41);
        assert_eq!(open_flags(DbKind::Replicated, true).bits(), 0x0C41);
        assert_eq!(open_flags(DbKind::Persistent, true).bits(), 0x0400);
    }
}
