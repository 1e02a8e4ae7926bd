//! One record of a volatile database, locked and owned (client protocol §9.4, §9.5).

use super::Database;
use crate::connection::Connection;
use crate::fault::ClientFault;
use bateria_smbshim::{LTDB_HEADER_SIZE_BYTES, Layout, LtdbHeader};
use bateria_tdb::{Chain, StoreMode};

/// A record whose chain is locked and whose DMASTER is this node. The lock ends with the value;
/// others that want any record of the chain wait until then.
pub struct RecordLock<'d> {
    database: &'d mut Database,
    chain: Chain,
    header: LtdbHeader,
}

impl Database {
    /// Locks a record's chain and sees to it that the node owns the record, exactly as smbd does:
    /// lock, look, and when the record is elsewhere unlock, ask for it, and begin again, without
    /// end and without delay.
    ///
    /// # Errors
    /// The file is damaged, or the connection is gone.
    pub fn fetch_lock(
        &mut self,
        connection: &mut Connection,
        key: &[u8],
    ) -> Result<RecordLock<'_>, ClientFault> {
        let chain = self.tdb.chain_of(key);
        loop {
            self.tdb.lock_chain(chain)?;
            match self.look_at(key) {
                Ok(Some(header)) if header.is_writable_on(self.pnn) => {
                    self.key.clear();
                    self.key.extend_from_slice(key);
                    return Ok(RecordLock { database: self, chain, header });
                }
                Ok(_) => self.tdb.unlock_chain(chain),
                Err(fault) => {
                    self.tdb.unlock_chain(chain);
                    return Err(fault);
                }
            }
            self.migrations += 1;
            connection.migrate(self.db_id, key)?;
        }
    }

    /// As [`Self::fetch_lock`], but `None` when the record is not here: for trying without asking
    /// the daemon.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn lock_if_owned(&mut self, key: &[u8]) -> Result<Option<RecordLock<'_>>, ClientFault> {
        let chain = self.tdb.chain_of(key);
        self.tdb.lock_chain(chain)?;
        match self.look_at(key) {
            Ok(Some(header)) if header.is_writable_on(self.pnn) => {
                self.key.clear();
                self.key.extend_from_slice(key);
                Ok(Some(RecordLock { database: self, chain, header }))
            }
            outcome => {
                self.tdb.unlock_chain(chain);
                outcome.map(|_| None)
            }
        }
    }

    /// Reads a record's stored bytes into `stored` and answers its header, or `None` when it is
    /// missing or shorter than a header.
    pub(super) fn look_at(&mut self, key: &[u8]) -> Result<Option<LtdbHeader>, ClientFault> {
        let is_there = self.tdb.fetch(key, &mut self.stored)?;
        let header = LtdbHeader::split(&self.stored).ok().map(|(header, _)| header);
        Ok(header.filter(|_| is_there))
    }
}

impl RecordLock<'_> {
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.database.key
    }

    #[must_use]
    pub fn header(&self) -> &LtdbHeader {
        &self.header
    }

    /// The record's value; empty when it does not exist.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.database.stored[LTDB_HEADER_SIZE_BYTES..]
    }

    /// Stores a value behind the header as it was found. The daemon is not told.
    ///
    /// # Errors
    /// The file is full or damaged.
    pub fn store(&mut self, value: &[u8]) -> Result<(), ClientFault> {
        self.store_as(self.header, value)
    }

    /// Stores a value behind another header, as Samba 4.25 does around a durable store (Samba 4.25
    /// §3.3).
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_as(&mut self, header: LtdbHeader, value: &[u8]) -> Result<(), ClientFault> {
        let head = header.to_bytes();
        let Database { tdb, key, stored, .. } = &mut *self.database;
        tdb.store(key, &[&head, value], StoreMode::Replace)?;
        stored.clear();
        stored.extend_from_slice(&head);
        stored.extend_from_slice(value);
        self.header = header;
        Ok(())
    }

    /// Deletes the record: leaves its header, and tells the daemon while the chain is still locked.
    ///
    /// # Errors
    /// As [`Self::store`]; the connection is gone.
    pub fn delete(&mut self, connection: &mut Connection) -> Result<(), ClientFault> {
        self.store(&[])?;
        connection.schedule_for_deletion(self.database.db_id, self.header, &self.database.key)
    }
}

impl Drop for RecordLock<'_> {
    fn drop(&mut self) {
        self.database.tdb.unlock_chain(self.chain);
    }
}
