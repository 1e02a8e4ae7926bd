//! Walking a whole database (client protocol §9.7).

use super::Database;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::sequence_number::SEQUENCE_NUMBER_KEY;
use bateria_smbshim::structures::traverse::{Switch, TraverseStart, TraverseStartExt};
use bateria_smbshim::{Layout, LayoutFault, LtdbHeader, Opcode, RecData};
use bateria_wire::DbKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// A record that a traverse shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub header: LtdbHeader,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

impl Database {
    /// Shows every record of the cluster to `visit`, as Samba does: a persistent database is read
    /// from the node's file, anything else through a connection of its own to the daemon at
    /// `socket`. Returns how many were shown. Records that move meanwhile may be shown twice or
    /// not at all.
    ///
    /// # Errors
    /// The file is damaged, or the daemon refuses or goes away.
    pub fn traverse(
        &mut self,
        socket: &Path,
        visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ClientFault> {
        match self.kind {
            DbKind::Volatile => self.traverse_cluster(socket, None, visit),
            DbKind::Persistent | DbKind::Replicated => self.traverse_file(visit),
        }
    }

    /// Shows the records of the node's file, without deleted ones and the sequence number.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn traverse_file(
        &mut self,
        visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ClientFault> {
        let mut count = 0;
        self.tdb.traverse(&mut |key, stored| {
            let Ok((header, value)) = LtdbHeader::split(stored) else {
                return ControlFlow::Continue(());
            };
            if value.is_empty() || key == SEQUENCE_NUMBER_KEY {
                return ControlFlow::Continue(());
            }
            count += 1;
            visit(&Record { header, key, value })
        })?;
        Ok(count)
    }

    /// Shows the records that the cluster's daemons send. With `timeout` the wait for each record
    /// is limited.
    ///
    /// # Errors
    /// As [`Self::traverse`]; [`ClientFault::Timeout`].
    pub fn traverse_cluster(
        &mut self,
        socket: &Path,
        timeout: Option<Duration>,
        visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ClientFault> {
        let (mut connection, srvid) = Connection::connect_as_samba(socket, self.release)?;
        let start = TraverseStart { db_id: self.db_id, reqid: TRAVERSE_REQID, srvid };
        connection.traverse_start(start)?;
        follow(&mut connection, Opcode::TraverseStart, timeout, visit)
    }

    /// As [`Self::traverse_cluster`], with records that have no value, as the stock tool does on
    /// request.
    ///
    /// # Errors
    /// As [`Self::traverse_cluster`].
    pub fn traverse_cluster_with_empty(
        &mut self,
        socket: &Path,
        timeout: Option<Duration>,
        visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<u64, ClientFault> {
        let (mut connection, srvid) = Connection::connect_as_samba(socket, self.release)?;
        let start = TraverseStart { db_id: self.db_id, reqid: TRAVERSE_REQID, srvid };
        connection.traverse_start_ext(TraverseStartExt { start, with_empty: Switch(true) })?;
        follow(&mut connection, Opcode::TraverseStartExt, timeout, visit)
    }
}

/// Reads records until the end mark. As Samba, it checks neither srvid nor order; nothing else may
/// arrive on this connection.
fn follow(
    connection: &mut Connection,
    opcode: Opcode,
    timeout: Option<Duration>,
    visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
) -> Result<u64, ClientFault> {
    let mut count = 0;
    loop {
        let step = connection.read_message(timeout, |message| {
            let record = RecData::from_bytes(message.data)?;
            if record.is_end_mark() {
                return Ok(ControlFlow::Break(()));
            }
            count += 1;
            let (header, value) = record.split()?;
            Ok(visit(&Record { header, key: record.key, value }))
        })?;
        match step.map_err(|fault: LayoutFault| ClientFault::Reply { opcode, fault })? {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(()) => return Ok(count),
        }
    }
}

/// Each traverse has its own connection, so the number need not differ.
const TRAVERSE_REQID: u32 = 1;
