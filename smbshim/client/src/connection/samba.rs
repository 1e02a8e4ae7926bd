//! Connecting as Samba does (client protocol §9.2, Samba 4.25 §1.1).

use super::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::ControlRequest;
use bateria_wire::{DbKind, NodeFlags, Pnn, Srvid};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

/// Which Samba to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 4.17 to 4.24.
    Samba417,
    /// 4.25: asks for the daemon's identity, attaches its level database at each connection, and
    /// reads remote records with their headers.
    Samba425,
}

/// Every Samba process listens to it.
pub const SAMBA_PROCESSES: Srvid = Srvid(0xFE00_0000_0000_0002);

impl Connection {
    /// Connects with the requests Samba makes: node number, node map, a random srvid for traverses.
    /// Returns the connection and that srvid.
    ///
    /// # Errors
    /// As [`Self::connect`]; [`ClientFault::NodeInactive`] where Samba would not start.
    pub fn connect_as_samba(path: &Path, release: Release) -> Result<(Self, Srvid), ClientFault> {
        let mut connection = Self::connect(path)?;
        if release >= Release::Samba425 {
            connection.get_pid(Pnn::CURRENT)?;
            connection.uptime(Pnn::CURRENT)?;
        }
        let pnn = connection.pnn;
        let nodes = connection.get_node_map(Pnn::CURRENT)?;
        let own = nodes.iter().find(|node| node.pnn == pnn);
        let flags = own.map_or(NodeFlags::DELETED, |node| node.flags);
        if !flags.is_active() {
            return Err(ClientFault::NodeInactive { pnn, flags });
        }
        if release >= Release::Samba425 {
            let level = connection.attach(DbKind::Persistent, "cluster_level.tdb")?;
            connection.get_db_path(Pnn::CURRENT, level)?;
            connection.db_open_flags(Pnn::CURRENT, level)?;
        }
        let srvid = random_srvid();
        connection.register_srvid(srvid)?;
        Ok((connection, srvid))
    }

    /// Connects as the messaging connection of a Samba process: besides the above it listens to
    /// its pid, to messages for every Samba process, and to a unique id, which is returned.
    ///
    /// # Errors
    /// As [`Self::connect_as_samba`].
    pub fn connect_as_samba_process(
        path: &Path,
        release: Release,
    ) -> Result<(Self, Srvid), ClientFault> {
        let (mut connection, _traverse) = Self::connect_as_samba(path, release)?;
        let unique = random_srvid();
        for srvid in [Srvid(u64::from(std::process::id())), SAMBA_PROCESSES, unique] {
            connection.register_srvid(srvid)?;
        }
        Ok((connection, unique))
    }

    /// Registers a srvid with this connection; each registration gets its own copy of a message.
    ///
    /// # Errors
    /// The daemon refuses, or the connection is gone.
    pub fn register_srvid(&mut self, srvid: Srvid) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::RegisterSrvid(srvid))
    }

    /// Removes one registration of a srvid.
    ///
    /// # Errors
    /// It is not registered (status 2), or the connection is gone.
    pub fn deregister_srvid(&mut self, srvid: Srvid) -> Result<(), ClientFault> {
        self.done(Pnn::CURRENT, &ControlRequest::DeregisterSrvid(srvid))
    }
}

/// A srvid that nobody else has: Samba takes any 64 bits. The standard library's hasher is seeded
/// by the system, which is random enough for an address.
#[must_use]
pub fn random_srvid() -> Srvid {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    Srvid(hasher.finish())
}
