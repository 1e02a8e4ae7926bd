//! The databases that are attached on this node.

use bateria_tdb::TdbFlags;
use bateria_wire::{DbId, DbKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What does not change about a database while it is attached, and its switches.
pub(crate) struct DatabaseInfo {
    pub(crate) id: DbId,
    pub(crate) name: String,
    pub(crate) kind: DbKind,
    pub(crate) path: PathBuf,
    /// As clients must open the file, but for the sequence number's flag.
    pub(crate) open_flags: TdbFlags,
    pub(crate) chains_count: u32,
    /// Clients asked for change counts (ENABLE_SEQNUM).
    pub(crate) counts_changes: AtomicBool,
    pub(crate) readonly: AtomicBool,
    pub(crate) sticky: AtomicBool,
    /// The file is damaged.
    pub(crate) failed: AtomicBool,
}

/// Attached databases, the most recent first.
#[derive(Default)]
pub(crate) struct DatabaseTable {
    databases: RwLock<Vec<Arc<DatabaseInfo>>>,
}

impl DatabaseInfo {
    /// DB_OPEN_FLAGS: exactly what clients pass to open.
    pub(crate) fn client_open_flags(&self) -> TdbFlags {
        let counted = self.counts_changes.load(Ordering::Acquire);
        self.open_flags | if counted { TdbFlags::SEQNUM } else { TdbFlags::empty() }
    }

    /// Flags in GET_DBMAP.
    pub(crate) fn map_flags(&self) -> u8 {
        let readonly = if self.readonly.load(Ordering::Acquire) { 0x2 } else { 0 };
        let sticky = if self.sticky.load(Ordering::Acquire) { 0x4 } else { 0 };
        self.kind.flag() | readonly | sticky
    }
}

impl DatabaseTable {
    pub(crate) fn get(&self, id: DbId) -> Option<Arc<DatabaseInfo>> {
        self.read(|databases| databases.iter().find(|database| database.id == id).cloned())
    }

    pub(crate) fn all(&self) -> Vec<Arc<DatabaseInfo>> {
        self.read(<[_]>::to_vec)
    }

    pub(crate) fn add(&self, database: Arc<DatabaseInfo>) {
        let mut databases = self.databases.write().unwrap_or_else(PoisonError::into_inner);
        assert!(databases.iter().all(|known| known.id != database.id), "attached once");
        databases.insert(0, database);
    }

    fn read<T>(&self, look: impl FnOnce(&[Arc<DatabaseInfo>]) -> T) -> T {
        look(&self.databases.read().unwrap_or_else(PoisonError::into_inner))
    }
}
