//! Transactions on persistent and replicated databases (client protocol §9.11).

use super::{ClusterLock, Database};
use crate::connection::{Connection, Release};
use crate::fault::ClientFault;
use bateria_smbshim::sequence_number::{SEQUENCE_NUMBER_KEY, sequence_number};
use bateria_smbshim::{LTDB_HEADER_SIZE_BYTES, LtdbHeader, MarshallBuilder};
use bateria_wire::DbKind;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Changes that reach all nodes together or not at all. Dropping it forgets them, but only
/// [`Transaction::commit`] and [`Transaction::cancel`] give the lock back at once.
pub struct Transaction<'d> {
    database: &'d mut Database,
    lock: Option<(ClusterLock, &'d mut Database)>,
    buffer: MarshallBuilder,
    newest: BTreeMap<Vec<u8>, (LtdbHeader, Vec<u8>)>,
}

/// Who else writes the database.
pub enum Writers<'d> {
    /// Nobody; the caller knows.
    OnlyThis,
    /// Others that lock as the stock tool does: wait for `patience` for the lock in `g_lock`.
    Locked { g_lock: &'d mut Database, patience: Duration },
}

impl Database {
    /// Begins a transaction.
    ///
    /// # Errors
    /// The lock is taken, or the connection is gone.
    ///
    /// # Panics
    /// The database is volatile.
    pub fn begin<'d>(
        &'d mut self,
        connection: &mut Connection,
        writers: Writers<'d>,
    ) -> Result<Transaction<'d>, ClientFault> {
        assert!(self.kind != DbKind::Volatile, "volatile databases have no transactions");
        let lock = match writers {
            Writers::OnlyThis => None,
            Writers::Locked { g_lock, patience } => {
                let name = ClusterLock::name_for(self.db_id);
                Some((ClusterLock::take(connection, g_lock, &name, patience)?, g_lock))
            }
        };
        let buffer = MarshallBuilder::new(self.db_id);
        Ok(Transaction { database: self, lock, buffer, newest: BTreeMap::new() })
    }

    /// The sequence number in the node's file.
    ///
    /// # Errors
    /// The file or its record is damaged.
    pub fn sequence_number(&mut self) -> Result<u64, ClientFault> {
        let db_id = self.db_id;
        match self.look_at(SEQUENCE_NUMBER_KEY)? {
            None => Ok(0),
            Some(_) => sequence_number(&self.stored).map_err(|_| ClientFault::NoHeader { db_id }),
        }
    }
}

impl Transaction<'_> {
    /// A record's value as the transaction sees it, or `None` when it does not exist.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn fetch(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, ClientFault> {
        let (_, value) = self.current(key)?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// Writes a record; the same value as before is not sent.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn store(&mut self, key: &[u8], value: &[u8]) -> Result<(), ClientFault> {
        let (header, old) = self.current(key)?;
        if old != value {
            self.push(key, header, value);
        }
        Ok(())
    }

    /// Deletes a record if it exists.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), ClientFault> {
        self.store(key, &[])
    }

    /// Sends the changes and waits until every active node has them. Without changes nothing is
    /// sent. Returns the database's sequence number.
    ///
    /// # Errors
    /// [`ClientFault::CommitFailed`] when the commit failed and somebody else committed meanwhile;
    /// the connection is gone.
    pub fn commit(mut self, connection: &mut Connection) -> Result<u64, ClientFault> {
        let before = self.database.sequence_number()?;
        let outcome = if self.buffer.is_empty() {
            Ok(before)
        } else {
            let (header, _) = self.current(SEQUENCE_NUMBER_KEY)?;
            self.push(SEQUENCE_NUMBER_KEY, header, &(before + 1).to_ne_bytes());
            self.send(connection, before)
        };
        self.unlock(connection)?;
        outcome
    }

    /// Forgets the changes and gives the lock back.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn cancel(mut self, connection: &mut Connection) -> Result<(), ClientFault> {
        self.unlock(connection)
    }

    /// Sends until it is known what became of it. A failed commit whose sequence number is
    /// unchanged did not happen and is sent again: at once by old Samba, ever later by 4.25.
    fn send(&mut self, connection: &mut Connection, before: u64) -> Result<u64, ClientFault> {
        let mut pause = RETRY_PAUSE_FIRST;
        loop {
            match connection.trans3_commit(self.buffer.view()) {
                Ok(()) => return Ok(before + 1),
                Err(ClientFault::Refused { .. }) => {}
                Err(fault) => return Err(fault),
            }
            match self.database.sequence_number()? {
                now if now == before => {}
                now if now == before + 1 => return Ok(now),
                now => {
                    let db_id = self.database.db_id;
                    return Err(ClientFault::CommitFailed { db_id, sequence_number: now });
                }
            }
            if self.database.release >= Release::Samba425 {
                thread::sleep(pause);
                pause = RETRY_PAUSE_LAST.min(pause * 2);
            }
        }
    }

    /// The newest header and value: those written here, else those in the file.
    fn current(&mut self, key: &[u8]) -> Result<(LtdbHeader, Vec<u8>), ClientFault> {
        if let Some(newest) = self.newest.get(key) {
            return Ok(newest.clone());
        }
        Ok(match self.database.look_at(key)? {
            Some(header) => (header, self.database.stored[LTDB_HEADER_SIZE_BYTES..].to_vec()),
            None => (LtdbHeader::default(), Vec::new()),
        })
    }

    fn push(&mut self, key: &[u8], old: LtdbHeader, value: &[u8]) {
        let header = LtdbHeader::new(old.rsn.next(), self.database.pnn);
        self.buffer.push(key, &header, value);
        self.newest.insert(key.to_vec(), (header, value.to_vec()));
    }

    fn unlock(&mut self, connection: &mut Connection) -> Result<(), ClientFault> {
        match self.lock.take() {
            Some((lock, g_lock)) => lock.release(connection, g_lock),
            None => Ok(()),
        }
    }
}

const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(10);
const RETRY_PAUSE_LAST: Duration = Duration::from_millis(1280);
