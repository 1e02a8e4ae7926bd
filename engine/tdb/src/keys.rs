//! Going from key to key (tdb §9, firstkey and nextkey), without a lock in between.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Where a handle stands: the keys that are left of a chain which was copied while it was locked.
#[derive(Debug, Default)]
pub(crate) struct Position {
    chain: u32,
    last: Vec<u8>,
    rest: VecDeque<Vec<u8>>,
}

impl Tdb {
    /// The first key, in the order of a traverse; `None` if the database is empty.
    ///
    /// # Errors
    ///
    /// As `walk_chain`.
    pub fn first_key(&mut self) -> Result<Option<Vec<u8>>, TdbError> {
        self.position = Position::default();
        self.copy_keys(Chain(0))?;
        self.step()
    }

    /// The key that follows `key`; `None` at the end. After the key that came last from this
    /// handle it goes on even if that record has been deleted; any other key must exist.
    ///
    /// # Errors
    ///
    /// `NotFound`; as `walk_chain`.
    pub fn next_key(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, TdbError> {
        if self.position.last != key || self.position.chain >= self.hash_size {
            let chain = self.chain_of(key);
            self.copy_keys(chain)?;
            let Some(index) = self.position.rest.iter().position(|other| other == key) else {
                return Err(TdbError::NotFound);
            };
            self.position.rest.drain(..=index);
        }
        self.step()
    }

    fn step(&mut self) -> Result<Option<Vec<u8>>, TdbError> {
        loop {
            while let Some(key) = self.position.rest.pop_front() {
                // Others may have deleted it since the chain was copied.
                if self.exists(&key)? {
                    self.position.last.clone_from(&key);
                    return Ok(Some(key));
                }
            }
            let Some(next) = self.first_filled(self.position.chain.saturating_add(1)) else {
                self.position.chain = self.hash_size;
                return Ok(None);
            };
            self.copy_keys(next)?;
        }
    }

    fn copy_keys(&mut self, chain: Chain) -> Result<(), TdbError> {
        let mut keys = VecDeque::new();
        self.walk_chain(chain, &mut |key, _| {
            keys.push_back(key.to_vec());
            ControlFlow::Continue(())
        })?;
        self.position.chain = chain.0;
        self.position.rest = keys;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OpenOptions, StoreMode, TdbFlags};
    use std::path::Path;

    #[test]
    fn every_key_comes_once_also_while_they_are_deleted() {
        let options =
            OpenOptions { flags: TdbFlags::INTERNAL, hash_size: 3, ..OpenOptions::default() };
        let mut tdb = Tdb::open(Path::new("keys"), &options).unwrap();
        assert_eq!(tdb.first_key().unwrap(), None);
        for key in 0..20_u8 {
            tdb.store(&[key], &[b"data"], StoreMode::Insert).unwrap();
        }
        let mut seen = Vec::new();
        let mut at = tdb.first_key().unwrap();
        while let Some(key) = at {
            tdb.delete(&key).unwrap();
            at = tdb.next_key(&key).unwrap();
            seen.push(key[0]);
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..20));
        assert!(matches!(tdb.next_key(b"unknown"), Err(TdbError::NotFound)));
    }
}
