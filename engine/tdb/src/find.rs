//! Looking a key up (tdb §4.2), and the reading operations.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::loop_guard::LoopGuard;
use crate::range_lock::LockKind;
use crate::record::{Kind, RecordHeader};
use crate::view::NotPlain;
use std::sync::atomic::{Ordering, fence};

/// Where a live record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) offset: u32,
    pub(crate) record: RecordHeader,
}

/// The data of a record, still in the file. Other processes can write there, so bytes are copied
/// out before they are judged.
#[derive(Debug)]
pub struct RecordData<'a> {
    tdb: &'a mut Tdb,
    offset: u32,
    size: u32,
}

impl RecordData<'_> {
    #[must_use]
    pub fn size_bytes(&self) -> u32 {
        self.size
    }

    /// Copies `target.len()` bytes from `at` on.
    ///
    /// # Errors
    ///
    /// `Invalid` when the data ends before; `Corrupt` when the file is truncated meanwhile.
    pub fn read(&mut self, at: u32, target: &mut [u8]) -> Result<(), TdbError> {
        if u64::from(at) + target.len() as u64 > u64::from(self.size) {
            return Err(self.tdb.invalid("the record's data ends before"));
        }
        self.tdb.read_at(self.offset + at, target)
    }
}

impl Tdb {
    /// Replaces the content of `out` by the record's data; false if there is no such record.
    ///
    /// Takes the shared lock of the chain if it is not held (which may block).
    ///
    /// # Errors
    ///
    /// Those of `lock_chain`; `Corrupt` when the chain is damaged.
    pub fn fetch(&mut self, key: &[u8], out: &mut Vec<u8>) -> Result<bool, TdbError> {
        out.clear();
        self.with_key(key, |tdb, found| {
            let Some(found) = found else { return Ok(false) };
            let offset = tdb.data_at(found.offset, &found.record)?;
            tdb.read_into(offset, found.record.data_len, out)?;
            Ok(true)
        })
    }

    /// True if there is such a record.
    ///
    /// # Errors
    ///
    /// As `fetch`.
    pub fn exists(&mut self, key: &[u8]) -> Result<bool, TdbError> {
        self.with_key(key, |_, found| Ok(found.is_some()))
    }

    /// Shows the data to `look` where it lies, without copying it first; `None` if there is no such
    /// record. The chain stays locked meanwhile.
    ///
    /// # Errors
    ///
    /// As `fetch`.
    pub fn parse<T>(
        &mut self,
        key: &[u8],
        look: impl FnOnce(&mut RecordData<'_>) -> T,
    ) -> Result<Option<T>, TdbError> {
        self.with_key(key, |tdb, found| {
            let Some(found) = found else { return Ok(None) };
            let offset = tdb.data_at(found.offset, &found.record)?;
            tdb.ensure(offset, u64::from(found.record.data_len))?;
            Ok(Some(look(&mut RecordData { tdb, offset, size: found.record.data_len })))
        })
    }

    /// Copies up to `head.len()` first bytes of the data into `head` and returns the length of
    /// all of it; `None` if there is no such record. For those who only need a header.
    ///
    /// # Errors
    ///
    /// As `fetch`.
    pub fn fetch_head(&mut self, key: &[u8], head: &mut [u8]) -> Result<Option<u32>, TdbError> {
        self.with_key(key, |tdb, found| {
            let Some(found) = found else { return Ok(None) };
            let offset = tdb.data_at(found.offset, &found.record)?;
            let size = head.len().min(found.record.data_len as usize);
            tdb.read_at(offset, &mut head[..size])?;
            Ok(Some(found.record.data_len))
        })
    }

    /// True if the chain is empty, seen without a lock, as a traverse does (tdb §9 step 1): what
    /// others add meanwhile may be missed.
    #[must_use]
    pub fn chain_is_empty(&self, chain: Chain) -> bool {
        if self.check_chain(chain).is_err() {
            return true;
        }
        let offset = chain.head();
        let mut bytes = [0; 4];
        let head = match &self.transaction {
            None => self.area.read_word(offset),
            Some(transaction) => {
                transaction.read(&self.area, offset, &mut bytes).map(|()| u32::from_ne_bytes(bytes))
            }
        };
        // A head that cannot be read is reported by whoever walks the chain.
        matches!(head, Ok(0))
    }

    /// The first chain from `from` on that is not empty, seen as by `chain_is_empty`. Most chains of
    /// a large table may be empty, so there is nothing in this loop but the reads.
    pub(crate) fn first_filled(&self, from: u32) -> Option<Chain> {
        let count = self.hash_size.checked_sub(from).filter(|count| *count > 0)?;
        let heads = self.area.words(Chain(from).head(), count);
        let Some(heads) = heads.filter(|_| self.transaction.is_none()) else {
            return (from..self.hash_size).map(Chain).find(|chain| !self.chain_is_empty(*chain));
        };
        let filled = heads.iter().position(|head| head.load(Ordering::Relaxed) != 0);
        fence(Ordering::Acquire);
        if self.area.is_truncated() {
            // Whoever walks the chain reports it.
            return Some(Chain(from));
        }
        filled.map(|index| Chain(from + u32::try_from(index).expect("below the number of chains")))
    }

    pub(crate) fn with_key<T>(
        &mut self,
        key: &[u8],
        action: impl FnOnce(&mut Self, Option<Found>) -> Result<T, TdbError>,
    ) -> Result<T, TdbError> {
        let hash = self.hash(key);
        let chain = Chain(hash % self.hash_size);
        self.anticipate(chain);
        self.with_chain(chain, LockKind::Read, |tdb| {
            let found = tdb.find(key, hash)?;
            action(tdb, found)
        })
    }

    /// Runs `action` with the chain locked: by whoever holds it already, or by taking it now.
    pub(crate) fn with_chain<T>(
        &mut self,
        chain: Chain,
        kind: LockKind,
        action: impl FnOnce(&mut Self) -> Result<T, TdbError>,
    ) -> Result<T, TdbError> {
        self.lock_chain_as(chain, kind)?;
        let outcome = action(self);
        self.unlock_chain(chain);
        outcome
    }

    /// The live record of a key; its chain is locked.
    pub(crate) fn find(&mut self, key: &[u8], hash: u32) -> Result<Option<Found>, TdbError> {
        if let Ok(found) = self.find_in_view(key, hash) {
            return Ok(found);
        }
        let mut offset = self.read_u32(Chain(hash % self.hash_size).head())?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            if record.kind() == Kind::Live
                && record.full_hash == hash
                && record.key_len as usize == key.len()
                && self.equals_at(Self::key_at(offset), key)?
            {
                return Ok(Some(Found { offset, record }));
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(None)
    }
    /// The same walk with nothing in between, if all it meets is plain.
    #[inline]
    fn find_in_view(&self, key: &[u8], hash: u32) -> Result<Option<Found>, NotPlain> {
        let view = self.view()?;
        let data_start = self.data_start();
        let mut offset = view.word(Chain(hash % self.hash_size).head())?;
        for _ in 0..STEPS_IN_VIEW_MAX {
            if offset == 0 {
                return view.conclude(None);
            }
            let record = view.record(offset)?;
            view.prefetch_record(record.next);
            let kind = record.kind();
            let used = record.key_len.checked_add(record.data_len);
            let plain = offset >= data_start
                && matches!(kind, Kind::Live | Kind::Dead)
                && used.is_some_and(|used| used <= record.rec_len)
                && view.has_whole(offset, &record)
                && view.has_record_at(record.next);
            if !plain {
                return Err(NotPlain);
            }
            if kind == Kind::Live
                && record.full_hash == hash
                && record.key_len as usize == key.len()
                && view.equals(Self::key_at(offset), key)?
            {
                return view.conclude(Some(Found { offset, record }));
            }
            offset = record.next;
        }
        Err(NotPlain)
    }
}

/// A longer chain is left to the walk that notices circles.
const STEPS_IN_VIEW_MAX: u32 = 10_000;
