//! Writing records (tdb §4.7).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::find::Found;
use crate::range_lock::LockKind;
use crate::record::{MAGIC_LIVE, RecordHeader, TAILER_SIZE};

/// What `store` does about a record that exists, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Create or overwrite.
    Replace,
    /// Only create.
    Insert,
    /// Only overwrite.
    Modify,
}

impl Tdb {
    /// Stores the concatenation of `parts` under `key`; false if `mode` forbids it because of what
    /// is (or is not) there.
    ///
    /// Takes the chain lock if it is not held (which may block).
    ///
    /// # Errors
    ///
    /// Those of `lock_chain`; `OutOfSpace`; `Corrupt`; `ReadOnly`.
    pub fn store(
        &mut self,
        key: &[u8],
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<bool, TdbError> {
        self.check_writable()?;
        let hash = self.hash(key);
        let chain = Chain(hash % self.hash_size);
        self.anticipate(chain);
        self.with_chain(chain, LockKind::Write, |tdb| tdb.store_locked(key, hash, parts, mode))
    }

    /// Stores the old data of `key` (none if there is no record) followed by `addition`.
    ///
    /// # Errors
    ///
    /// As `store`.
    pub fn append(&mut self, key: &[u8], addition: &[u8]) -> Result<(), TdbError> {
        self.check_writable()?;
        let hash = self.hash(key);
        let chain = Chain(hash % self.hash_size);
        self.anticipate(chain);
        self.with_chain(chain, LockKind::Write, |tdb| {
            let mut old = std::mem::take(&mut tdb.scratch);
            old.clear();
            let outcome = tdb.append_locked(key, hash, addition, &mut old);
            tdb.scratch = old;
            outcome
        })
    }

    fn append_locked(
        &mut self,
        key: &[u8],
        hash: u32,
        addition: &[u8],
        old: &mut Vec<u8>,
    ) -> Result<(), TdbError> {
        if let Some(found) = self.find(key, hash)? {
            let offset = self.data_at(found.offset, &found.record)?;
            self.read_into(offset, found.record.data_len, old)?;
        }
        self.store_locked(key, hash, &[old, addition], StoreMode::Replace).map(|_| ())
    }

    fn store_locked(
        &mut self,
        key: &[u8],
        hash: u32,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<bool, TdbError> {
        let data_len = self.total_size(parts)?;
        let key_len = self.total_size(&[key])?;
        let size = key_len.checked_add(data_len).ok_or_else(|| self.too_long())?;
        match (self.find(key, hash)?, mode) {
            (Some(_), StoreMode::Insert) | (None, StoreMode::Modify) => return Ok(false),
            (Some(found), _) => {
                if self.overwrite(found, parts, data_len)? {
                    self.count_change()?;
                    return Ok(true);
                }
                self.delete_found(found, Chain(hash % self.hash_size))?;
            }
            (None, _) => {}
        }
        self.insert(key, hash, parts, key_len, data_len, size)?;
        self.count_change()?;
        Ok(true)
    }

    /// Writes into the existing record if it is long enough (P20: the tailer is part of it).
    fn overwrite(
        &mut self,
        found: Found,
        parts: &[&[u8]],
        data_len: u32,
    ) -> Result<bool, TdbError> {
        let Found { offset, mut record } = found;
        let data_offset = self.data_at(offset, &record)?;
        if record.data_len == data_len && self.parts_equal(data_offset, parts)? {
            return Ok(true);
        }
        let need = u64::from(record.key_len) + u64::from(data_len) + u64::from(TAILER_SIZE);
        if need > u64::from(record.rec_len) {
            return Ok(false);
        }
        self.write_parts(data_offset, parts)?;
        if record.data_len != data_len {
            record.data_len = data_len;
            self.write_record(offset, &record)?;
        }
        Ok(true)
    }

    /// Makes a new record and links it, in this order: a process that dies in between leaves a
    /// record that nobody finds, not a chain that leads astray.
    fn insert(
        &mut self,
        key: &[u8],
        hash: u32,
        parts: &[&[u8]],
        key_len: u32,
        data_len: u32,
        size: u32,
    ) -> Result<(), TdbError> {
        let room = self.allocate(hash, size)?;
        let head = Chain(hash % self.hash_size).head();
        let record = RecordHeader {
            next: self.read_u32(head)?,
            rec_len: room.record.rec_len,
            key_len,
            data_len,
            full_hash: hash,
            magic: MAGIC_LIVE,
        };
        // The room was checked against the file when it was taken from the free list. The header comes
        // behind what it speaks of: a record that nobody links to is whole, or none.
        self.write_at(Self::key_at(room.offset), key)?;
        let data_offset = self.data_at(room.offset, &record)?;
        self.write_parts(data_offset, parts)?;
        self.write_record(room.offset, &record)?;
        self.write_u32(head, room.offset)
    }

    fn parts_equal(&mut self, offset: u32, parts: &[&[u8]]) -> Result<bool, TdbError> {
        let mut at = offset;
        for part in parts {
            if !part.is_empty() && !self.equals_at(at, part)? {
                return Ok(false);
            }
            at = self.advance(at, part)?;
        }
        Ok(true)
    }

    fn write_parts(&mut self, offset: u32, parts: &[&[u8]]) -> Result<(), TdbError> {
        let mut at = offset;
        for part in parts {
            if !part.is_empty() {
                self.write_at(at, part)?;
            }
            at = self.advance(at, part)?;
        }
        Ok(())
    }

    fn advance(&self, at: u32, part: &[u8]) -> Result<u32, TdbError> {
        u32::try_from(part.len())
            .ok()
            .and_then(|size| at.checked_add(size))
            .ok_or_else(|| self.too_long())
    }

    fn total_size(&self, parts: &[&[u8]]) -> Result<u32, TdbError> {
        let total: u64 = parts.iter().map(|part| part.len() as u64).sum();
        u32::try_from(total).map_err(|_| self.too_long())
    }

    fn too_long(&self) -> TdbError {
        TdbError::OutOfSpace { path: self.path.clone(), rule: "record is longer than 4 GiB" }
    }
}
