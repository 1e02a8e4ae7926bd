//! A lock across the cluster, kept in a record of `g_lock.tdb`.
//!
//! The format is that of the stock tool (client protocol §4.8), so this excludes the tool and
//! other users of this library. Samba writes another format into the same database: who works
//! beside a running Samba on a database that Samba writes must not rely on it.

use super::Database;
use crate::connection::{Connection, random_srvid};
use crate::fault::ClientFault;
use bateria_smbshim::structures::identity::{ServerId, ToolLock};
use bateria_smbshim::{Fields, Layout};
use bateria_wire::DbId;
use std::thread;
use std::time::{Duration, Instant};

/// A held lock. It does not end by itself: [`ClusterLock::release`] needs a connection. A lock
/// whose holder has died is taken over.
#[must_use = "a lock that is not released stays until its process ends"]
pub struct ClusterLock {
    name: Vec<u8>,
    own: ToolLock,
}

impl ClusterLock {
    /// Takes the write lock `name` of `g_lock`, asking again every few milliseconds.
    ///
    /// # Errors
    /// [`ClientFault::LockTaken`] when others hold it for longer than `patience`.
    pub fn take(
        connection: &mut Connection,
        g_lock: &mut Database,
        name: &[u8],
        patience: Duration,
    ) -> Result<Self, ClientFault> {
        let holder = ServerId {
            pid: u64::from(std::process::id()),
            task: 0,
            vnn: connection.pnn(),
            unique: random_srvid().0,
        };
        let own = ToolLock { kind: ToolLock::WRITE, holder };
        let deadline = Instant::now() + patience;
        loop {
            if Self::try_take(connection, g_lock, name, own)? {
                return Ok(Self { name: name.to_vec(), own });
            }
            if Instant::now() >= deadline {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(ClientFault::LockTaken { name });
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }

    /// The name of the lock that writers of a persistent database take (client protocol §9.11).
    #[must_use]
    pub fn name_for(db_id: DbId) -> Vec<u8> {
        format!("transaction_db_{db_id}\0").into_bytes()
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// The connection is gone; the lock then ends with the process.
    pub fn release(
        self,
        connection: &mut Connection,
        g_lock: &mut Database,
    ) -> Result<(), ClientFault> {
        let mut record = g_lock.fetch_lock(connection, &self.name)?;
        let mut holders = holders_in(record.value());
        holders.retain(|lock| *lock != self.own);
        if holders.is_empty() {
            record.delete(connection)
        } else {
            record.store(&bytes_of(&holders))
        }
    }

    fn try_take(
        connection: &mut Connection,
        g_lock: &mut Database,
        name: &[u8],
        own: ToolLock,
    ) -> Result<bool, ClientFault> {
        let mut holders = holders_in(g_lock.fetch_lock(connection, name)?.value());
        // Asking for processes may take a way to another node: not under the chain lock.
        let seen = holders.clone();
        let mut alive = Vec::new();
        for lock in holders.drain(..) {
            let pid = i32::try_from(lock.holder.pid).unwrap_or(-1);
            if connection.process_exists(lock.holder.vnn, pid)? {
                alive.push(lock);
            }
        }
        if !alive.is_empty() {
            return Ok(false);
        }
        let mut record = g_lock.fetch_lock(connection, name)?;
        if holders_in(record.value()) != seen {
            return Ok(false);
        }
        record.store(&own.to_bytes())?;
        Ok(true)
    }
}

/// The entries of a lock's record. Bytes that make no whole entry are none.
fn holders_in(value: &[u8]) -> Vec<ToolLock> {
    let mut fields = Fields::new(value);
    std::iter::from_fn(|| fields.read().ok()).collect()
}

fn bytes_of(holders: &[ToolLock]) -> Vec<u8> {
    holders.iter().flat_map(Layout::to_bytes).collect()
}

const RETRY_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_samba_and_tool() {
        let name = ClusterLock::name_for(DbId(0x7132_C184));
        assert_eq!(name, b"transaction_db_0x7132c184\0");
    }

    #[test]
    fn what_is_no_whole_entry_is_none() {
        let lock = ToolLock { kind: 1, holder: ServerId::default() };
        let mut bytes = bytes_of(&[lock, lock]);
        assert_eq!((bytes.len(), holders_in(&bytes)), (64, vec![lock, lock]));
        bytes.pop();
        assert_eq!(holders_in(&bytes), [lock]);
    }
}
