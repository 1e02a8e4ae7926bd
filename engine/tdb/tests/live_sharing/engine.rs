//! One face for both implementations.

use crate::futex;
use bateria_tdb::libtdb::Original;
use bateria_tdb::{Attempt, ChainWait, LockKind, OpenOptions, StoreMode, Tdb, TdbError, TdbFlags};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The operation failed in a way that its caller tolerates (a deadlock was avoided).
#[derive(Debug)]
pub(crate) struct Refused;

pub(crate) trait Engine {
    fn lock(&mut self, key: &[u8]) -> Result<(), Refused>;
    fn unlock(&mut self, key: &[u8]);
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused>;
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused>;
    fn remove(&mut self, key: &[u8]) -> Result<(), Refused>;
    fn traverse(&mut self) -> Result<usize, Refused>;
    fn lock_all(&mut self) -> Result<(), Refused>;
    fn unlock_all(&mut self);
    /// Commits if `body` returns true, else cancels; tells whether it was committed.
    fn transaction(
        &mut self,
        body: &mut dyn FnMut(&mut dyn Engine) -> Result<bool, Refused>,
    ) -> Result<bool, Refused>;
}

/// Ours; `patient` waits as a shard does, without blocking in a lock call.
#[derive(Debug)]
pub(crate) struct Ours {
    tdb: Tdb,
    patient: bool,
}

#[derive(Debug)]
pub(crate) struct Theirs {
    /// `None` only while it is opened again.
    tdb: Option<Original>,
    path: PathBuf,
    flags: u32,
}

impl Ours {
    pub(crate) fn open(path: &Path, flags: u32, patient: bool) -> Self {
        let options =
            OpenOptions { flags: TdbFlags::from_bits_retain(flags), ..OpenOptions::default() };
        Self { tdb: Tdb::open(path, &options).expect("the file opens"), patient }
    }

    /// Damage is never tolerated; what else goes wrong is a refusal only if it is about locks.
    fn judge<T>(outcome: Result<T, TdbError>) -> Result<T, Refused> {
        outcome.map_err(|error| match error {
            TdbError::Lock { .. } | TdbError::TransactionBusy { .. } => Refused,
            other => panic!("{other}"),
        })
    }

    fn lock_patiently(&mut self, key: &[u8]) -> Result<(), TdbError> {
        let chain = self.tdb.chain_of(key);
        let mut attempt = self.tdb.try_lock_chain(chain);
        loop {
            match attempt {
                Ok(Attempt::Locked) => return Ok(()),
                Ok(Attempt::Busy) => {}
                Err(TdbError::RecoveryNeeded { .. }) => {
                    self.tdb.recover()?;
                    attempt = self.tdb.try_lock_chain(chain);
                    continue;
                }
                Err(error) => return Err(error),
            }
            attempt = match self.tdb.wait_for_chain(chain)? {
                ChainWait::Free => self.tdb.try_lock_chain(chain),
                ChainWait::Fcntl { file, byte } => {
                    bateria_tdb::block_on_fcntl(file.as_fd(), byte).expect("the wait ends");
                    self.tdb.adopt_chain_lock(chain)
                }
                ChainWait::Futex { word, expected } => {
                    futex::wait(&word, expected, None);
                    if expected.is_multiple_of(7) {
                        // Now and then a wait is given up, as when its client has gone.
                        self.tdb.abandon_wait(chain);
                        self.tdb.try_lock_chain(chain)
                    } else {
                        self.tdb.try_lock_chain_after_wait(chain)
                    }
                }
            };
        }
    }
}

impl Engine for Ours {
    fn lock(&mut self, key: &[u8]) -> Result<(), Refused> {
        let outcome = if self.patient {
            self.lock_patiently(key)
        } else {
            let chain = self.tdb.chain_of(key);
            self.tdb.lock_chain(chain)
        };
        Self::judge(outcome)
    }

    fn unlock(&mut self, key: &[u8]) {
        let chain = self.tdb.chain_of(key);
        self.tdb.unlock_chain(chain);
        assert_eq!(self.tdb.lost_locks_count(), 0, "every lock was still ours");
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let mut out = Vec::new();
        Ok(Self::judge(self.tdb.fetch(key, &mut out))?.then_some(out))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let (left, right) = value.split_at(value.len() / 2);
        Self::judge(self.tdb.store(key, &[left, right], StoreMode::Replace)).map(|_| ())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        Self::judge(self.tdb.delete(key)).map(|_| ())
    }

    fn traverse(&mut self) -> Result<usize, Refused> {
        let mut count = 0;
        let seen = self.tdb.traverse(&mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        Self::judge(seen)?;
        Ok(count)
    }

    fn lock_all(&mut self) -> Result<(), Refused> {
        Self::judge(self.tdb.lock_all(LockKind::Write))
    }

    fn unlock_all(&mut self) {
        self.tdb.unlock_all();
    }

    fn transaction(
        &mut self,
        body: &mut dyn FnMut(&mut dyn Engine) -> Result<bool, Refused>,
    ) -> Result<bool, Refused> {
        struct Inside<'a, 'b>(&'a mut bateria_tdb::Transaction<'b>);
        impl Engine for Inside<'_, '_> {
            fn lock(&mut self, _: &[u8]) -> Result<(), Refused> {
                Ok(())
            }
            fn unlock(&mut self, _: &[u8]) {}
            fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
                let mut out = Vec::new();
                Ok(Ours::judge(self.0.fetch(key, &mut out))?.then_some(out))
            }
            fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
                Ours::judge(self.0.store(key, &[value], StoreMode::Replace)).map(|_| ())
            }
            fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
                Ours::judge(self.0.delete(key)).map(|_| ())
            }
            fn traverse(&mut self) -> Result<usize, Refused> {
                Ok(0)
            }
            fn lock_all(&mut self) -> Result<(), Refused> {
                Ok(())
            }
            fn unlock_all(&mut self) {}
            fn transaction(
                &mut self,
                _: &mut dyn FnMut(&mut dyn Engine) -> Result<bool, Refused>,
            ) -> Result<bool, Refused> {
                Err(Refused)
            }
        }
        let mut transaction = Self::judge(self.tdb.begin())?;
        if body(&mut Inside(&mut transaction))? {
            Self::judge(transaction.commit())?;
            Ok(true)
        } else {
            Ok(false)
        }
    }
}

impl Theirs {
    pub(crate) fn open(path: &Path, flags: u32) -> Self {
        let mut theirs = Self { tdb: None, path: path.to_owned(), flags };
        theirs.open_again();
        theirs
    }

    /// Closed first: libtdb opens no file twice in one process, and closing drops all locks.
    fn open_again(&mut self) {
        self.tdb = None;
        let opened = Original::open(&self.path, 0, self.flags, libc::O_RDWR);
        self.tdb = Some(opened.expect("the file opens"));
    }

    fn tdb(&mut self) -> &mut Original {
        self.tdb.as_mut().expect("opened by `open`")
    }

    fn judge(&mut self, outcome: i32) -> Result<(), Refused> {
        if outcome == 0 {
            return Ok(());
        }
        match self.tdb().error() {
            // LOCK, NOEXIST (of a delete)
            3 | 8 => Err(Refused),
            code => panic!("libtdb reports {code}"),
        }
    }
}

impl Engine for Theirs {
    fn lock(&mut self, key: &[u8]) -> Result<(), Refused> {
        let outcome = self.tdb().chainlock(key);
        self.judge(outcome)
    }

    fn unlock(&mut self, key: &[u8]) {
        assert_eq!(self.tdb().chainunlock(key), 0, "the lock was still held");
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let value = self.tdb().fetch(key);
        if value.is_none() && self.tdb().error() != 8 {
            return Err(Refused);
        }
        Ok(value)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let outcome = self.tdb().store(key, value, 1);
        self.judge(outcome)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Refused> {
        let outcome = self.tdb().delete(key);
        self.judge(outcome)
    }

    fn traverse(&mut self) -> Result<usize, Refused> {
        if let Ok(count) = usize::try_from(self.tdb().traverse_count()) {
            return Ok(count);
        }
        // It keeps the lock of the record where it failed for as long as the file is open, and who
        // then wants everything waits for ever (P44).
        self.open_again();
        Err(Refused)
    }

    fn lock_all(&mut self) -> Result<(), Refused> {
        let outcome = self.tdb().lockall();
        self.judge(outcome)
    }

    fn unlock_all(&mut self) {
        assert_eq!(self.tdb().unlockall(), 0);
    }

    fn transaction(
        &mut self,
        body: &mut dyn FnMut(&mut dyn Engine) -> Result<bool, Refused>,
    ) -> Result<bool, Refused> {
        let outcome = self.tdb().begin();
        self.judge(outcome)?;
        match body(self) {
            Ok(true) => {
                let outcome = self.tdb().commit();
                self.judge(outcome)?;
                Ok(true)
            }
            Ok(false) => {
                self.tdb().cancel();
                Ok(false)
            }
            Err(refused) => {
                self.tdb().cancel();
                Err(refused)
            }
        }
    }
}
