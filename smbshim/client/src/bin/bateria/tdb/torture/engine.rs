//! One face for both implementations, and ours behind it.

use bateria_tdb::{LockKind, OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use std::ops::ControlFlow;
use std::path::Path;

/// Why an operation was not done.
#[derive(Debug)]
pub(super) enum Trouble {
    /// In a way that its caller tolerates: a deadlock was avoided.
    Refused,
    /// In a way that nobody may see in a sound file.
    Fault(String),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    /// Commits in two steps. (Cancelling after the first is left out: libtdb then leaves a hole that
    /// its own check takes for damage, P21.)
    Prepare,
    Cancel,
}

pub(super) type Tried<T> = Result<T, Trouble>;

/// What can be done in a transaction and out of one.
pub(super) trait Records {
    fn fetch(&mut self, key: &[u8]) -> Tried<Option<Vec<u8>>>;
    fn store(&mut self, key: &[u8], value: &[u8]) -> Tried<()>;
    fn append(&mut self, key: &[u8], addition: &[u8]) -> Tried<()>;
    /// Whether or not it was there.
    fn delete(&mut self, key: &[u8]) -> Tried<()>;
}

pub(super) trait Engine: Records {
    fn lock(&mut self, key: &[u8]) -> Tried<()>;
    fn unlock(&mut self, key: &[u8]) -> Tried<()>;
    fn lock_all(&mut self) -> Tried<()>;
    fn unlock_all(&mut self) -> Tried<()>;
    fn traverse(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Tried<()>;
    /// Ends as `body` says, or cancels if that fails.
    fn transaction(&mut self, body: &mut dyn FnMut(&mut dyn Records) -> Tried<End>) -> Tried<End>;
    /// Becomes fit for work again after something was refused.
    fn start_afresh(&mut self) -> Tried<()>;
}

#[derive(Debug)]
pub(super) struct Ours(Tdb);

impl Ours {
    pub(super) fn open(path: &Path, flags: TdbFlags) -> Tried<Self> {
        let options = OpenOptions { flags, ..OpenOptions::default() };
        Ok(Self(judge("open", Tdb::open(path, &options))?))
    }
}

fn judge<T>(operation: &str, outcome: Result<T, TdbError>) -> Tried<T> {
    outcome.map_err(|error| match error {
        TdbError::Lock { .. } | TdbError::TransactionBusy { .. } => Trouble::Refused,
        other => Trouble::Fault(format!("{operation}: {other}")),
    })
}

impl Records for Tdb {
    fn fetch(&mut self, key: &[u8]) -> Tried<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(judge("fetch", Tdb::fetch(self, key, &mut out))?.then_some(out))
    }

    fn store(&mut self, key: &[u8], value: &[u8]) -> Tried<()> {
        let (left, right) = value.split_at(value.len() / 2);
        judge("store", Tdb::store(self, key, &[left, right], StoreMode::Replace)).map(drop)
    }

    fn append(&mut self, key: &[u8], addition: &[u8]) -> Tried<()> {
        judge("append", Tdb::append(self, key, addition))
    }

    fn delete(&mut self, key: &[u8]) -> Tried<()> {
        judge("delete", Tdb::delete(self, key)).map(drop)
    }
}

impl Records for Ours {
    fn fetch(&mut self, key: &[u8]) -> Tried<Option<Vec<u8>>> {
        Records::fetch(&mut self.0, key)
    }

    fn store(&mut self, key: &[u8], value: &[u8]) -> Tried<()> {
        Records::store(&mut self.0, key, value)
    }

    fn append(&mut self, key: &[u8], addition: &[u8]) -> Tried<()> {
        Records::append(&mut self.0, key, addition)
    }

    fn delete(&mut self, key: &[u8]) -> Tried<()> {
        Records::delete(&mut self.0, key)
    }
}

impl Engine for Ours {
    fn lock(&mut self, key: &[u8]) -> Tried<()> {
        let chain = self.0.chain_of(key);
        judge("lock", self.0.lock_chain(chain))
    }

    fn unlock(&mut self, key: &[u8]) -> Tried<()> {
        let chain = self.0.chain_of(key);
        self.0.unlock_chain(chain);
        match self.0.lost_locks_count() {
            0 => Ok(()),
            count => Err(Trouble::Fault(format!("unlock: {count} locks were gone"))),
        }
    }

    fn lock_all(&mut self) -> Tried<()> {
        judge("lock all", self.0.lock_all(LockKind::Write))
    }

    fn unlock_all(&mut self) -> Tried<()> {
        self.0.unlock_all();
        Ok(())
    }

    fn traverse(&mut self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Tried<()> {
        let seen = self.0.traverse(&mut |key, data| {
            visit(key, data);
            ControlFlow::Continue(())
        });
        judge("traverse", seen).map(drop)
    }

    fn transaction(&mut self, body: &mut dyn FnMut(&mut dyn Records) -> Tried<End>) -> Tried<End> {
        let mut transaction = judge("begin", self.0.begin())?;
        let end = body(&mut *transaction)?;
        if end == End::Prepare {
            judge("prepare", transaction.prepare())?;
        }
        if end != End::Cancel {
            judge("commit", transaction.commit())?;
        }
        Ok(end)
    }

    fn start_afresh(&mut self) -> Tried<()> {
        Ok(())
    }
}
