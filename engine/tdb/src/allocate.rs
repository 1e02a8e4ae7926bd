//! Finding room for a record, and growing the file (tdb §4.3 to §4.5, §4.7.1).
//!
//! Any fit would be correct; this one is libtdb's, so that equal operations make equal files.

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::free_search::Best;
use crate::header::FREE_LIST_HEAD;
use crate::lock_table::List;
use crate::loop_guard::LoopGuard;
use crate::mutex_area::page_size;
use crate::range_lock::{Attempt, LockKind, Wait};
use crate::record::{Kind, MAGIC_FREE, MAGIC_LIVE, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};

/// Room for a new record, not linked yet; `rec_len` and `magic` are valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) offset: u32,
    pub(crate) record: RecordHeader,
}

impl Tdb {
    /// Room for `size` bytes of key and data; the key's chain is locked.
    pub(crate) fn allocate(&mut self, hash: u32, size: u32) -> Result<Room, TdbError> {
        if self.max_dead > 0
            && let Some(room) = self.allocate_without_waiting(hash, size)?
        {
            return Ok(room);
        }
        self.lock_list_now(List::Free, LockKind::Write)?;
        let room = self.allocate_locked(hash, size);
        self.unlock_list(List::Free);
        room
    }

    /// Room of exactly the free list's making; the free list is locked.
    pub(crate) fn allocate_from_free_list(&mut self, size: u32) -> Result<Room, TdbError> {
        let want = request_size(size).ok_or_else(|| self.too_large())?;
        let mut expanded = false;
        loop {
            let (best, merged_enough) = self.search_free_list(want)?;
            if let Some(best) = best {
                return self.take(best, want);
            }
            if merged_enough {
                // Each merge shortens the list, so this comes to an end.
                continue;
            }
            if expanded && self.adopt_last()? {
                continue;
            }
            if expanded {
                // The new space has merged with something that only looks free. Growing again would
                // fill the disk.
                let rule = "space that was just freed is not on the free list";
                return Err(self.corrupt(FREE_LIST_HEAD, rule));
            }
            let grow = want.checked_add(RECORD_HEADER_SIZE).ok_or_else(|| self.too_large())?;
            self.expand(grow)?;
            expanded = true;
        }
    }

    /// Grows the file by at least `want` bytes and frees them (tdb §4.5).
    pub(crate) fn expand(&mut self, want: u32) -> Result<(), TdbError> {
        self.lock_list_now(List::Free, LockKind::Write)?;
        let outcome = self.expand_locked(want);
        self.unlock_list(List::Free);
        outcome
    }

    fn expand_locked(&mut self, want: u32) -> Result<(), TdbError> {
        self.refresh_size()?;
        self.reclaim_tail()?;
        let offset = self.size_bytes();
        if !offset.is_multiple_of(4) {
            // A record behind it would be refused by everybody's check.
            return Err(self.corrupt(offset, "the file does not end at a multiple of 4"));
        }
        let add = growth(offset, want, page_size()).ok_or_else(|| self.too_large())?;
        self.grow(add)?;
        // Another process cannot have grown the file meanwhile: growing needs the free list.
        let record = RecordHeader {
            next: 0,
            rec_len: add - RECORD_HEADER_SIZE,
            key_len: 0,
            data_len: 0,
            full_hash: 0,
            magic: MAGIC_FREE,
        };
        self.free(offset, record)
    }

    /// Reuses a dead record of any chain that is not busy, or the free list if it is not
    /// (tdb §4.7.1). A second chain is only ever tried (P13).
    fn allocate_without_waiting(&mut self, hash: u32, size: u32) -> Result<Option<Room>, TdbError> {
        for index in 0..self.hash_size {
            let chain = Chain(hash.wrapping_add(index) % self.hash_size);
            if self.try_list(List::Chain(chain))? {
                let reused = self.take_dead(chain, size);
                self.unlock_list(List::Chain(chain));
                if let Some(room) = reused? {
                    return Ok(Some(room));
                }
            }
            if self.try_list(List::Free)? {
                let room = self.allocate_locked(hash, size);
                self.unlock_list(List::Free);
                return room.map(Some);
            }
        }
        Ok(None)
    }

    fn try_list(&mut self, list: List) -> Result<bool, TdbError> {
        Ok(self.lock_list(list, LockKind::Write, Wait::Try)? == Attempt::Locked)
    }

    fn allocate_locked(&mut self, hash: u32, size: u32) -> Result<Room, TdbError> {
        self.trim(Chain(hash % self.hash_size), 0)?;
        self.allocate_from_free_list(size)
    }

    /// Unlinks the smallest dead record of a chain that fits. One that a traverse stands on is
    /// left alone, which libtdb does not care about.
    fn take_dead(&mut self, chain: Chain, size: u32) -> Result<Option<Room>, TdbError> {
        let Some(want) = size.checked_add(TAILER_SIZE) else { return Ok(None) };
        let mut link = chain.head();
        let mut offset = self.read_u32(link)?;
        let mut guard = LoopGuard::new(offset);
        let mut best: Option<(u32, u32, RecordHeader)> = None;
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            if record.kind() == Kind::Dead
                && record.rec_len >= want
                && best.is_none_or(|(_, _, best)| record.rec_len < best.rec_len)
                && self.record_is_unused(offset)?
            {
                best = Some((offset, link, record));
            }
            link = offset;
            offset = record.next;
            guard.follow(self, offset)?;
        }
        let Some((offset, link, mut record)) = best else { return Ok(None) };
        self.write_u32(link, record.next)?;
        record.magic = MAGIC_LIVE;
        Ok(Some(Room { offset, record }))
    }

    /// Uses a free record whole, or carves the new one from its upper end. A process that is killed
    /// meanwhile leaves a free record, or one that nobody finds, but no space without a record.
    fn take(&mut self, best: Best, want: u32) -> Result<Room, TdbError> {
        let mut record = self.read_free_record(best.offset)?;
        // A damaged tailer can have let a merge run past the end; everything below stays inside.
        self.ensure(best.offset, u64::from(record.rec_len) + u64::from(RECORD_HEADER_SIZE))?;
        if record.rec_len < want {
            return Err(self.corrupt(best.offset, "free record shrank while it was locked"));
        }
        if record.rec_len - want < SPLIT_SIZE_MIN {
            record.magic = MAGIC_LIVE;
            self.write_record(best.offset, &record)?;
            self.write_u32(best.link, record.next)?;
            return Ok(Room { offset: best.offset, record });
        }
        record.rec_len -= want + RECORD_HEADER_SIZE;
        let carved = RecordHeader {
            next: 0,
            rec_len: want,
            key_len: 0,
            data_len: 0,
            full_hash: 0,
            magic: MAGIC_LIVE,
        };
        let offset = best.offset + RECORD_HEADER_SIZE + record.rec_len;
        self.write_record(offset, &carved)?;
        self.write_tailer(offset, &carved)?;
        self.write_tailer(best.offset, &record)?;
        // From here on there are two.
        self.write_record(best.offset, &record)?;
        Ok(Room { offset, record: carved })
    }

    fn too_large(&self) -> TdbError {
        TdbError::OutOfSpace { path: self.path.clone(), rule: "a TDB file ends at 4 GiB" }
    }
}

/// A quarter more than needed, so that a record can grow in place, and the tailer (tdb §4.3).
pub(crate) fn request_size(size: u32) -> Option<u32> {
    let inflated = u64::from(size) + u64::from(size) / 4 + u64::from(TAILER_SIZE);
    u32::try_from(inflated.next_multiple_of(4)).ok()
}

/// By how much a file of `size` bytes grows when `want` are wanted (tdb §4.5 step 2); `None` when
/// it cannot.
pub(crate) fn growth(size: u32, want: u32, page: u64) -> Option<u32> {
    let (size, want) = (u64::from(size), u64::from(want));
    let many = if want > 100 * 1024 { 2 } else { 100 };
    let top = size + want * many;
    let grown = if size > 100 * 1024 * 1024 { size + size / 10 } else { size + size / 4 };
    // Beyond the limit one final jump remains. libtdb ends at 4 GiB - 1, which makes a record
    // length that its own check refuses.
    let new = top.max(grown).next_multiple_of(page);
    let new = if new > SIZE_BYTES_MAX { SIZE_BYTES_MAX } else { new };
    let add = new.checked_sub(size).filter(|add| *add >= want)?;
    u32::try_from(add).ok()
}

/// What remains of a split must hold a header and something worth having (tdb §4.4 step 4).
const SPLIT_SIZE_MIN: u32 = 36;
const SIZE_BYTES_MAX: u64 = 0xFFFF_F000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_published_sizes() {
        assert_eq!([0, 2, 8, 103].map(request_size), [4, 8, 16, 132].map(Some));
        assert_eq!(request_size(u32::MAX), None);
    }

    #[test]
    fn growth_has_the_published_sizes() {
        let table = [
            (696, 40, 7496),
            (8192, 40, 4096),
            (8192, 1000, 102_400),
            (8192, 102_400, 10_240_000),
            (8192, 102_401, 208_896),
            (1_048_576, 64, 262_144),
            (104_857_600, 64, 26_214_400),
            (104_861_696, 64, 10_489_856),
        ];
        for (size, want, add) in table {
            assert_eq!(growth(size, want, 4096), Some(add), "{size} + {want}");
        }
    }

    #[test]
    fn growth_ends_below_four_gibibytes() {
        assert_eq!(growth(0xFFFF_0000, 64, 4096), Some(0xF000));
        assert_eq!(growth(0xFFFF_F000, 64, 4096), None);
    }
}
