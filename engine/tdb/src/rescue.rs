//! Reading what can be read of a damaged file (tdb §10.7).

use crate::database::{Chain, Tdb};
use crate::error::TdbError;
use crate::header::FREE_LIST_HEAD;
use crate::range_lock::LockKind;
use crate::record::{Kind, MAGIC_AT, MAGIC_LIVE, RECORD_HEADER_SIZE, RecordHeader, TAILER_SIZE};
use crate::traverse::Visit;
use std::collections::BTreeMap;

/// Something that looks like a live record.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    key_len: u32,
    data_len: u32,
    hash: u32,
    /// A chain leads to it.
    linked: bool,
    /// It lies in free space or in a recovery area: the ghost of a deleted record, perhaps.
    in_free_space: bool,
}

/// The first bytes of a key, filled up with zeros.
type Prefix = [u8; 32];

impl Tdb {
    /// Shows every record that can be found to `visit`, however damaged the file: of each key the
    /// linked ones, or else those that do not lie in free space; short keys first, then by their
    /// bytes, as libtdb does. Returns how many.
    ///
    /// # Errors
    ///
    /// Those of `lock_all`; damage is no error here.
    pub fn rescue(&mut self, visit: &mut Visit<'_>) -> Result<u64, TdbError> {
        let lock = self.locks.all.is_none() && !self.lockless();
        if lock {
            self.lock_all(LockKind::Read)?;
        }
        let outcome = self.rescue_locked(visit);
        if lock {
            self.unlock_all();
        }
        outcome
    }

    fn rescue_locked(&mut self, visit: &mut Visit<'_>) -> Result<u64, TdbError> {
        self.refresh_size()?;
        let mut candidates = self.scan()?;
        for chain in (0..self.hash_size).map(Chain) {
            self.mark_linked(chain.head(), &mut candidates);
        }
        self.mark_free(&mut candidates);
        // In libtdb's order: by the length of the key, then by its bytes.
        let mut groups: BTreeMap<(u32, Prefix), Vec<(u32, Candidate)>> = BTreeMap::new();
        for (offset, candidate) in candidates {
            let prefix = self.prefix(offset, &candidate)?;
            groups.entry((candidate.key_len, prefix)).or_default().push((offset, candidate));
        }
        let groups = groups.into_values().flat_map(|group| self.divide(group)).collect::<Vec<_>>();
        let mut count = 0;
        for group in groups {
            for (offset, candidate) in self.chosen(group)? {
                let mut bytes = Vec::new();
                let size = candidate.key_len + candidate.data_len;
                self.read_into(Self::key_at(offset), size, &mut bytes)?;
                let (key, data) = bytes.split_at(candidate.key_len as usize);
                count += 1;
                if visit(key, data).is_break() {
                    return Ok(count);
                }
            }
        }
        Ok(count)
    }

    /// Looks at every aligned offset for a live record.
    fn scan(&mut self) -> Result<BTreeMap<u32, Candidate>, TdbError> {
        let mut found = BTreeMap::new();
        let end = self.size_bytes();
        let mut key = Vec::new();
        let mut offset = self.data_start();
        // Real keys lie side by side. In a hostile file every word may begin one that reaches to the
        // end, and hashing all of them would take for ever.
        let mut long_keys_left = LONG_KEYS_FACTOR * u64::from(end);
        while end.saturating_sub(offset) >= RECORD_HEADER_SIZE + TAILER_SIZE {
            // Most words are none: a whole header is read only where one could be.
            if self.read_u32(offset + MAGIC_AT)? != MAGIC_LIVE {
                offset += 4;
                continue;
            }
            let record = self.read_record(offset)?;
            let key_len = u64::from(record.key_len);
            let affordable = key_len <= SHORT_KEY_SIZE_MAX || key_len <= long_keys_left;
            if affordable && self.is_plausible(offset, &record) {
                if key_len > SHORT_KEY_SIZE_MAX {
                    long_keys_left -= key_len;
                }
                key.clear();
                self.read_into(Self::key_at(offset), record.key_len, &mut key)?;
                if self.hash(&key) == record.full_hash {
                    let candidate = Candidate {
                        key_len: record.key_len,
                        data_len: record.data_len,
                        hash: record.full_hash,
                        linked: false,
                        in_free_space: false,
                    };
                    found.insert(offset, candidate);
                }
            }
            offset += 4;
        }
        Ok(found)
    }

    /// What matters is that key and data are there. Where the record ends and where it leads to may
    /// be what is damaged, and is looked at no closer than libtdb looks.
    fn is_plausible(&self, offset: u32, record: &RecordHeader) -> bool {
        let used = u64::from(record.key_len) + u64::from(record.data_len);
        let end = u64::from(offset) + u64::from(RECORD_HEADER_SIZE) + used;
        record.kind() == Kind::Live
            && record.rec_len.is_multiple_of(4)
            && used <= u64::from(record.rec_len)
            && end <= u64::from(self.size_bytes())
            && (record.next == 0 || self.is_inside(record.next))
    }

    fn is_offset(&self, offset: u32) -> bool {
        offset.is_multiple_of(4) && self.is_inside(offset)
    }

    fn is_inside(&self, offset: u32) -> bool {
        offset >= self.data_start()
            && u64::from(offset) + u64::from(RECORD_HEADER_SIZE) <= u64::from(self.size_bytes())
    }

    /// Follows a chain as far as its links make sense; a record met twice ends it.
    fn mark_linked(&mut self, head: u32, candidates: &mut BTreeMap<u32, Candidate>) {
        let mut steps = self.size_bytes() / RECORD_HEADER_SIZE;
        let Ok(mut offset) = self.read_u32(head) else { return };
        while self.is_offset(offset) && steps > 0 {
            if let Some(candidate) = candidates.get_mut(&offset) {
                if candidate.linked {
                    return;
                }
                candidate.linked = true;
            }
            let Ok(record) = self.read_record(offset) else { return };
            if !matches!(record.kind(), Kind::Live | Kind::Dead) {
                return;
            }
            steps -= 1;
            offset = record.next;
        }
    }

    fn mark_free(&mut self, candidates: &mut BTreeMap<u32, Candidate>) {
        let mut steps = self.size_bytes() / RECORD_HEADER_SIZE;
        let mut regions = Vec::new();
        if let Ok(Some((offset, record))) = self.recovery_area()
            && matches!(record.kind(), Kind::RecoveryArmed | Kind::RecoveryIdle)
        {
            regions.push((offset, record));
        }
        let mut offset = self.read_u32(FREE_LIST_HEAD).unwrap_or(0);
        while self.is_offset(offset) && steps > 0 {
            let Ok(record) = self.read_record(offset) else { break };
            if record.kind() != Kind::Free {
                break;
            }
            regions.push((offset, record));
            steps -= 1;
            offset = record.next;
        }
        for (offset, record) in regions {
            let end = offset.saturating_add(record.total().unwrap_or(u32::MAX));
            for candidate in candidates.range_mut(offset..end).map(|(_, candidate)| candidate) {
                candidate.in_free_space = true;
            }
        }
    }

    fn prefix(&mut self, offset: u32, candidate: &Candidate) -> Result<Prefix, TdbError> {
        let mut prefix = [0; size_of::<Prefix>()];
        let size = prefix.len().min(candidate.key_len as usize);
        self.read_at(Self::key_at(offset), &mut prefix[..size])?;
        Ok(prefix)
    }

    /// Keys are compared in memory. Those of a real database fit there, because they fit the file;
    /// what claims more is made up, and compared only within one hash.
    fn divide(&self, mut group: Vec<(u32, Candidate)>) -> Vec<Vec<(u32, Candidate)>> {
        let claimed: u64 = group.iter().map(|(_, candidate)| u64::from(candidate.key_len)).sum();
        if claimed <= u64::from(self.size_bytes()) {
            return vec![group];
        }
        group.sort_by_key(|(_, candidate)| candidate.hash);
        group.chunk_by(|(_, one), (_, other)| one.hash == other.hash).map(<[_]>::to_vec).collect()
    }

    /// The members of one group to show, key by key.
    fn chosen(&mut self, group: Vec<(u32, Candidate)>) -> Result<Vec<(u32, Candidate)>, TdbError> {
        let mut by_key: BTreeMap<Vec<u8>, Vec<(u32, Candidate)>> = BTreeMap::new();
        for (offset, candidate) in group {
            let mut key = Vec::new();
            self.read_into(Self::key_at(offset), candidate.key_len, &mut key)?;
            by_key.entry(key).or_default().push((offset, candidate));
        }
        let mut chosen = Vec::new();
        for members in by_key.into_values() {
            let any_linked = members.iter().any(|(_, candidate)| candidate.linked);
            chosen.extend(members.into_iter().filter(|(_, candidate)| {
                if any_linked { candidate.linked } else { !candidate.in_free_space }
            }));
        }
        Ok(chosen)
    }
}

/// Keys up to this length are always looked at.
const SHORT_KEY_SIZE_MAX: u64 = 1024;
/// How often the file, at most, is hashed in the form of longer keys.
const LONG_KEYS_FACTOR: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::OpenOptions;
    use crate::store::StoreMode;
    use std::ops::ControlFlow;

    fn rescued(tdb: &mut Tdb) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        tdb.rescue(&mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        keys.sort();
        keys
    }

    #[test]
    fn records_behind_a_broken_link_are_found_and_deleted_ones_are_not() {
        let file = crate::scratch::File::new("rescue");
        let options = OpenOptions { create: true, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for key in [b"a", b"b", b"c", b"d"] {
            tdb.store(key, &[b"data"], StoreMode::Insert).unwrap();
        }
        tdb.delete(b"b").unwrap();
        assert_eq!(rescued(&mut tdb), [b"a", b"c", b"d"]);
        tdb.write_u32(Chain(0).head(), 17).unwrap();
        assert_eq!(rescued(&mut tdb), [b"a", b"c", b"d"]);
    }

    #[test]
    fn a_record_whose_length_or_link_is_damaged_is_found_by_its_key() {
        let file = crate::scratch::File::new("rescue-length");
        let options = OpenOptions { create: true, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        for key in [b"a", b"b", b"c"] {
            tdb.store(key, &[b"data"], StoreMode::Insert).unwrap();
        }
        let head = tdb.read_u32(Chain(0).head()).unwrap();
        let next = tdb.read_u32(head).unwrap();
        for (at, sound, damaged) in [
            (head, next, next + 2),
            (head + 4, 12, 8),
            (head + 4, 12, 0x100),
            (head + 4, 12, 0x8000_000C),
        ] {
            tdb.write_u32(at, damaged).unwrap();
            assert_eq!(rescued(&mut tdb), [b"a", b"b", b"c"], "{at} {damaged:#x}");
            tdb.write_u32(at, sound).unwrap();
        }
        assert!(tdb.check().unwrap().is_clean());
    }

    #[test]
    fn a_file_full_of_made_up_keys_is_read_in_time() {
        let file = crate::scratch::File::new("rescue-hostile");
        let options = OpenOptions { create: true, hash_size: 1, ..OpenOptions::default() };
        let mut tdb = Tdb::open(file.path(), &options).unwrap();
        let made_up = RecordHeader {
            next: 0,
            rec_len: 4 << 20,
            key_len: 4 << 20,
            data_len: 0,
            full_hash: 1,
            magic: MAGIC_LIVE,
        };
        let mut value = made_up.to_bytes(false).repeat((4 << 20) / RECORD_HEADER_SIZE as usize);
        value.resize(8 << 20, 0);
        tdb.store(b"value", &[&value], StoreMode::Insert).unwrap();
        tdb.store(&[b'k'; 1000], &[b"data"], StoreMode::Insert).unwrap();
        // Without a limit this hashes 700 GB.
        assert_eq!(rescued(&mut tdb), [vec![b'k'; 1000], b"value".to_vec()]);
    }
}
