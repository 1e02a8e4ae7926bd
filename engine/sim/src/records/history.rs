//! Every version of every record, in the order in which they were written.

use bateria_wire::Pnn;
use std::collections::{BTreeMap, BTreeSet};

/// A node between its start or fencing and the next: (node, incarnation).
pub type Life = (Pnn, u64);

/// What clients wrote, and which of it may be lost by now.
#[derive(Debug, Default)]
pub struct History {
    records: BTreeMap<u32, Vec<Version>>,
    ended: BTreeSet<Life>,
    versions_count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    /// 0 is an empty body.
    id: u64,
    serial: u64,
    by: Life,
}

impl History {
    /// The node has lost its clients; what they wrote last may be lost.
    pub fn ended(&mut self, life: Life) {
        self.ended.insert(life);
    }

    /// A new version follows the one that the client has just read.
    pub fn write(&mut self, key: u32, by: Life, empty: bool) -> u64 {
        self.versions_count += 1;
        let id = if empty { 0 } else { self.versions_count };
        let serial = self.versions_count;
        self.records.entry(key).or_default().push(Version { id, serial, by });
        id
    }

    /// Judges what a client reads: the newest version, or an older one if all later ones were
    /// written on nodes that are lost (database semantics §1.6, Theorem L). What was lost stays
    /// lost from then on.
    ///
    /// # Errors
    /// The version that should have been read, and who wrote it.
    pub fn read(&mut self, key: u32, id: u64) -> Result<(), String> {
        let versions = self.records.entry(key).or_default();
        let kept = versions.iter().rposition(|version| !self.ended.contains(&version.by));
        let oldest = kept.unwrap_or(0);
        let found = versions.iter().rposition(|version| version.id == id);
        // Before the first version, every record is empty.
        let nothing = kept.is_none() && id == 0;
        match found {
            Some(index) if index >= oldest || nothing => {
                versions.truncate(index + 1);
                Ok(())
            }
            None if nothing => {
                versions.clear();
                Ok(())
            }
            _ => {
                let last = kept.map(|index| versions[index]);
                Err(format!("key {key} has version {id}, but {last:?} is kept; found {found:?}"))
            }
        }
    }

    /// Names the newest version of a record; 0 when there never was one.
    #[must_use]
    pub fn mark(&self, key: u32) -> u64 {
        let newest = self.records.get(&key).and_then(|versions| versions.last());
        newest.map_or(0, |version| version.serial)
    }

    /// Judges what a client hears that asked at `mark`: there is no such record. That may have been
    /// so at any moment since.
    ///
    /// # Errors
    /// The version that it should have heard of.
    pub fn read_absent(&mut self, key: u32, mark: u64) -> Result<(), String> {
        let versions = self.records.entry(key).or_default();
        let mut may_be_absent = true;
        for version in &*versions {
            if version.serial > mark && may_be_absent {
                break;
            }
            let lost = self.ended.contains(&version.by);
            may_be_absent = version.id == 0 || may_be_absent && lost;
        }
        if may_be_absent { Ok(()) } else { self.read(key, 0) }
    }

    #[must_use]
    pub fn versions_count(&self) -> u64 {
        self.versions_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Life = (Pnn(0), 1);
    const B: Life = (Pnn(1), 1);

    #[test]
    fn a_survivors_version_may_not_be_lost() {
        let mut history = History::default();
        let first = history.write(7, A, false);
        history.write(7, B, false);
        assert!(history.read(7, first).is_err());
        history.ended(B);
        assert_eq!(history.read(7, first), Ok(()));
    }

    #[test]
    fn a_record_that_was_there_all_the_time_is_not_absent() {
        let mut history = History::default();
        let before = history.mark(7);
        history.write(7, A, false);
        let since = history.mark(7);
        history.write(7, B, false);
        assert_eq!(history.read_absent(7, before), Ok(()));
        assert!(history.read_absent(7, since).is_err());
        history.write(7, A, true);
        assert_eq!(history.read_absent(7, since), Ok(()));
    }

    #[test]
    fn what_was_deleted_does_not_come_back() {
        let mut history = History::default();
        let first = history.write(7, A, false);
        history.write(7, B, true);
        assert!(history.read(7, first).is_err());
        assert_eq!(history.read(7, 0), Ok(()));
    }
}
