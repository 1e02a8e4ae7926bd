//! What all threads of the daemon look at: rarely written, read at any time.

use crate::command_line::FileOrCommand;
use crate::database_table::DatabaseTable;
use crate::log::Log;
use crate::registry::Registry;
use crate::shard::intake::Intake;
use crate::statistics::Statistics;
use bateria_core::cluster::View;
use bateria_smbshim::structures::tunable::Tunables;
use bateria_wire::{NodeFlags, Pnn};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// One per daemon. Its locks are held for a copy of a pointer.
pub(crate) struct Shared {
    pub(crate) me: Pnn,
    /// Addresses of the nodes list; `None` for a deleted node.
    pub(crate) addresses: Vec<Option<SocketAddr>>,
    pub(crate) nodes_crc32c: u32,
    pub(crate) shards_count: u32,
    pub(crate) registry: Registry,
    pub(crate) databases: DatabaseTable,
    pub(crate) statistics: Statistics,
    pub(crate) intake: Intake,
    pub(crate) started: SystemTime,
    /// The configured cluster lock, for GET_RECLOCK_FILE.
    pub(crate) cluster_lock: Option<String>,
    pub(crate) nodes_list: FileOrCommand,
    pub(crate) log: Arc<Log>,
    incarnation: AtomicU64,
    fenced: AtomicBool,
    view: RwLock<Arc<View>>,
    tunables: RwLock<Tunables>,
}

/// What `Shared` is made of at start.
pub(crate) struct Node {
    pub(crate) me: Pnn,
    pub(crate) addresses: Vec<Option<SocketAddr>>,
    pub(crate) shards_count: u32,
    pub(crate) cluster_lock: Option<String>,
    pub(crate) nodes_list: FileOrCommand,
    pub(crate) log: Arc<Log>,
    pub(crate) incarnation: u64,
    pub(crate) tunables: Tunables,
    pub(crate) view: View,
}

impl Shared {
    pub(crate) fn new(node: Node) -> Self {
        let listed = node.addresses.iter().map(|address| format!("{address:?}\n"));
        let nodes_crc32c = crc32c::crc32c(listed.collect::<String>().as_bytes());
        Self {
            me: node.me,
            addresses: node.addresses,
            nodes_crc32c,
            shards_count: node.shards_count,
            registry: Registry::new(),
            databases: DatabaseTable::default(),
            statistics: Statistics::new(node.shards_count),
            intake: Intake::default(),
            started: SystemTime::now(),
            cluster_lock: node.cluster_lock,
            nodes_list: node.nodes_list,
            log: node.log,
            incarnation: AtomicU64::new(node.incarnation),
            fenced: AtomicBool::new(false),
            view: RwLock::new(Arc::new(node.view)),
            tunables: RwLock::new(node.tunables),
        }
    }

    /// Differs for each start of the daemon and after each fencing.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.incarnation.store(incarnation, Ordering::Release);
    }

    /// Whether the volatile files of this node belong to the past. Clients may ask about the
    /// cluster then, but not work on records.
    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    pub(crate) fn set_fenced(&self, fenced: bool) {
        self.fenced.store(fenced, Ordering::Release);
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    pub(crate) fn with_tunables<T>(&self, work: impl FnOnce(&Tunables) -> T) -> T {
        work(&self.tunables.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change_tunables<T>(&self, work: impl FnOnce(&mut Tunables) -> T) -> T {
        work(&mut self.tunables.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// A node's flags as this node sees them; DISCONNECTED for one that does not exist.
    pub(crate) fn flags_of(&self, node: Pnn) -> NodeFlags {
        let view = self.view();
        let known = view.nodes.iter().find(|known| known.pnn == node);
        known.map_or(NodeFlags::DISCONNECTED | NodeFlags::DELETED, |known| known.flags)
    }
}
