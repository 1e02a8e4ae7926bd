//! A database as Samba uses it: the shared file for what the node owns, the daemon for the rest
//! (client protocol §9.3 to §9.7, §9.11).

mod cluster_lock;
mod parse_record;
mod record_lock;
mod shared_file;
mod transaction;
mod traverse;

pub use cluster_lock::ClusterLock;
pub use record_lock::RecordLock;
pub use transaction::{Transaction, Writers};
pub use traverse::Record;

use crate::connection::{Connection, Release};
use crate::fault::ClientFault;
use bateria_tdb::Tdb;
use bateria_wire::{DbId, DbKind, Pnn};
use shared_file::SharedFile;
use std::path::Path;

/// An attached database with its file open. Its methods take the connection, which serves several
/// databases.
pub struct Database {
    tdb: Tdb,
    _file: SharedFile,
    db_id: DbId,
    kind: DbKind,
    pnn: Pnn,
    release: Release,
    migrations: u64,
    /// The record that is being looked at, reused from one to the next.
    key: Vec<u8>,
    stored: Vec<u8>,
}

/// What Samba asks for besides the database itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// ENABLE_SEQNUM, as for brlock, locking, leases and registry.
    pub seqnum: bool,
    /// SET_DB_READONLY, as for netlogon_creds_cli.
    pub read_only_copies: bool,
    /// Which Samba's way of reading to use.
    pub release: Release,
}

impl Default for AttachOptions {
    fn default() -> Self {
        Self { seqnum: false, read_only_copies: false, release: Release::Samba417 }
    }
}

impl Database {
    /// Attaches a database and opens its file, in Samba's order.
    ///
    /// # Errors
    /// The daemon refuses, or the file cannot be opened with the flags it answers.
    pub fn attach(
        connection: &mut Connection,
        name: &str,
        kind: DbKind,
        options: AttachOptions,
    ) -> Result<Self, ClientFault> {
        let db_id = connection.attach(kind, name)?;
        if options.seqnum {
            connection.enable_seqnum(db_id)?;
        }
        let path = connection.get_db_path(Pnn::CURRENT, db_id)?;
        let flags = connection.db_open_flags(Pnn::CURRENT, db_id)?;
        if options.read_only_copies && kind == DbKind::Volatile {
            connection.set_db_readonly(Pnn::CURRENT, db_id)?;
        }
        let (tdb, file) = SharedFile::open(Path::new(&path), flags)?;
        let (pnn, release) = (connection.pnn(), options.release);
        let (key, stored) = (Vec::new(), Vec::new());
        Ok(Self { tdb, _file: file, db_id, kind, pnn, release, migrations: 0, key, stored })
    }

    #[must_use]
    pub fn db_id(&self) -> DbId {
        self.db_id
    }

    #[must_use]
    pub fn kind(&self) -> DbKind {
        self.kind
    }

    /// Path of the node's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.tdb.path()
    }

    /// The file itself, for what Samba does not do.
    pub fn tdb(&mut self) -> &mut Tdb {
        &mut self.tdb
    }

    /// How often a record had to be asked for.
    #[must_use]
    pub fn migrations(&self) -> u64 {
        self.migrations
    }
}
