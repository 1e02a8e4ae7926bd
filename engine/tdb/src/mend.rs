//! Putting right, in place, what crashes leave behind.

use crate::check::{Advice, CheckReport, Repair};
use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::loop_guard::LoopGuard;
use crate::record::{Kind, MAGIC_AT, MAGIC_FREE, RecordHeader};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

impl Tdb {
    /// Links records again that were torn off their chain, reclaims space that belongs to nothing
    /// (holes, single records that no list links to) and rewrites damaged tailers, in one
    /// transaction. Changes nothing if other faults are there, or would be afterwards, which the
    /// returned report names.
    ///
    /// # Errors
    ///
    /// Those of `begin` and `commit`; nothing has changed then.
    pub fn mend(&mut self) -> Result<CheckReport, TdbError> {
        let mut transaction = self.begin()?;
        let mut report = transaction.check_locked(&mut |_, _| {})?;
        if report.advice() == Some(Advice::Rescue) || report.repairs.is_empty() {
            return Ok(report);
        }
        let mut repairs = report.repairs.clone();
        // Tailers first: they decide whether freed space merges with what lies before it.
        repairs.sort_by_key(|repair| match repair {
            Repair::Tailer(offset, _) | Repair::Magic(offset) => (0, *offset),
            Repair::Free(start, _) | Repair::Link(start, _) => (1, *start),
        });
        let mut linked = Linked::new();
        for repair in repairs {
            match repair {
                Repair::Tailer(offset, record) => transaction.write_tailer(offset, &record)?,
                Repair::Magic(offset) => transaction.write_u32(offset + MAGIC_AT, MAGIC_FREE)?,
                Repair::Free(start, end) => transaction.free_unowned(start, end)?,
                Repair::Link(start, end) => transaction.link_or_free(start, end, &mut linked)?,
            }
        }
        if transaction.check_locked(&mut |_, _| {})?.is_clean() {
            transaction.commit()?;
        } else {
            // Lengths and links that fit each other only by chance.
            let offset = report.faults.first().map_or(0, |fault| fault.offset);
            report.add(offset, "this cannot be put right in place", Advice::Rescue);
        }
        Ok(report)
    }

    /// Links a whole record into its chain, unless another one has its key.
    fn link_or_free(&mut self, offset: u32, end: u32, linked: &mut Linked) -> Result<(), TdbError> {
        let record = self.read_record(offset)?;
        let mut key = Vec::new();
        self.read_into(Self::key_at(offset), record.key_len, &mut key)?;
        let chain = Chain(record.full_hash % self.chains_count());
        let of_chain = match linked.entry(chain.0) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(self.live_records(chain)?),
        };
        let of_hash = of_chain.entry(record.full_hash).or_default();
        for other in &*of_hash {
            let same_size = self.read_record(*other)?.key_len == record.key_len;
            if same_size && self.equals_at(Self::key_at(*other), &key)? {
                return self.free_unowned(offset, end);
            }
        }
        of_hash.push(offset);
        let next = self.read_u32(chain.head())?;
        self.write_record(offset, &RecordHeader { next, ..record })?;
        self.write_u32(chain.head(), offset)
    }

    fn live_records(&mut self, chain: Chain) -> Result<BTreeMap<u32, Vec<u32>>, TdbError> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let mut offset = self.read_u32(chain.head())?;
        let mut guard = LoopGuard::new(offset);
        while offset != 0 {
            let record = self.read_chain_record(offset)?;
            if record.kind() == Kind::Live {
                found.entry(record.full_hash).or_default().push(offset);
            }
            offset = record.next;
            guard.follow(self, offset)?;
        }
        Ok(found)
    }
}

/// Chain by chain the live records that it leads to, by hash: looking each lost one up by walking its
/// chain would take for ever where a long one has lost its head.
type Linked = BTreeMap<u32, BTreeMap<u32, Vec<u32>>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;

    fn filled(file: &crate::scratch::File) -> Tdb {
        let options = OpenOptions { create: true, hash_size: 7, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for index in 0..50_u32 {
            let key = index.to_le_bytes();
            tdb.store(&key, &[&[7; 40]], StoreMode::Insert).unwrap();
        }
        tdb
    }

    #[test]
    fn records_that_are_torn_off_their_chain_are_linked_again() {
        let file = crate::scratch::File::new("mend-unlinked");
        let mut tdb = filled(&file);
        let chain = tdb.chain_of(&3_u32.to_le_bytes());
        tdb.write_u32(chain.head(), 0).unwrap();
        let report = tdb.mend().unwrap();
        assert_eq!(report.advice(), Some(Advice::Mend));
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.live_count == 50, "{report:?}");
        let mut data = Vec::new();
        for index in 0..50_u32 {
            assert!(tdb.fetch(&index.to_le_bytes(), &mut data).unwrap(), "{index}");
            assert_eq!(data, [7; 40], "{index}");
        }
    }

    #[test]
    fn what_is_no_whole_record_or_has_a_key_of_another_one_is_reclaimed() {
        let file = crate::scratch::File::new("mend-leak");
        let mut tdb = filled(&file);
        let key = 3_u32.to_le_bytes();
        let chain = tdb.chain_of(&key);
        // One whose hash is wrong, and one that was stored anew after it got lost.
        let first = tdb.read_u32(chain.head()).unwrap();
        tdb.write_u32(first + 16, 0).unwrap();
        tdb.write_u32(chain.head(), 0).unwrap();
        tdb.store(&key, &[b"newer"], StoreMode::Insert).unwrap();
        assert_eq!(tdb.mend().unwrap().advice(), Some(Advice::Mend));
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.live_count == 49, "{report:?}");
        let mut data = Vec::new();
        assert!(tdb.fetch(&key, &mut data).unwrap());
        assert_eq!(data, b"newer");
    }

    #[test]
    fn a_damaged_tailer_is_rewritten() {
        let file = crate::scratch::File::new("mend-tailer");
        let mut tdb = filled(&file);
        let end = tdb.size_bytes();
        tdb.write_u32(end - 4, 12).unwrap();
        assert_eq!(tdb.check().unwrap().advice(), Some(Advice::Mend));
        tdb.mend().unwrap();
        let report = tdb.check().unwrap();
        assert!(report.is_clean() && report.live_count == 50, "{report:?}");
    }

    #[test]
    fn what_cannot_be_put_right_is_left_alone() {
        let file = crate::scratch::File::new("mend-rescue");
        let mut tdb = filled(&file);
        let chain = tdb.chain_of(&3_u32.to_le_bytes());
        let end = tdb.size_bytes();
        tdb.write_u32(end - 4, 12).unwrap();
        tdb.write_u32(chain.head(), tdb.data_start() + 4).unwrap();
        let before = file.bytes();
        assert_eq!(tdb.mend().unwrap().advice(), Some(Advice::Rescue));
        assert!(file.bytes() == before);
    }
}
