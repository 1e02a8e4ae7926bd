//! The LMASTER's directory after a change of members, built from what all nodes report.
//!
//! Who owns a record is written in the files, so nothing has to be agreed on: each member reports
//! its copies to the LMASTERs of the new map, and where nobody owns a record the copy with the
//! highest RSN is told to (`Adopt`). Members report under chain locks while their clients work on;
//! a chain that a client holds is reported later, and only the keys in it wait for that.
//!
//! Only members that carried the last generation report (database semantics §5.7); the others have
//! emptied their files.

use crate::record::key_table::KeyTable;
use crate::record::{Key, OwnedKey};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bateria_wire::report::CopyFlags;
use bateria_wire::{Pnn, Rsn};

/// What is known so far of one database's records, on one shard of their LMASTER.
pub(crate) struct Rebuild {
    reporters: Vec<Reporter>,
    found: KeyTable<Found>,
    wants: Vec<HeldWant>,
    located: bool,
}

struct Reporter {
    pnn: Pnn,
    lanes_count: Option<u32>,
    lanes_ended: BTreeSet<u32>,
    chains_count: u32,
    chains_missing: BTreeSet<u32>,
}

/// The best copy of a record that was reported.
#[derive(Clone, Copy)]
struct Found {
    owner: Option<Pnn>,
    newest: (Rsn, Pnn),
}

pub(crate) struct HeldWant {
    pub(crate) from: Pnn,
    pub(crate) key: OwnedKey,
    pub(crate) only_read: bool,
}

/// Where a record is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) key: OwnedKey,
    pub(crate) owner: Pnn,
    /// The owner does not know it yet; no copy has a higher RSN than this.
    pub(crate) adopts: Option<Rsn>,
}

impl Rebuild {
    pub(crate) fn new(members: &[Pnn]) -> Self {
        let reporters = members.iter().map(|pnn| Reporter {
            pnn: *pnn,
            lanes_count: None,
            lanes_ended: BTreeSet::new(),
            chains_count: 1,
            chains_missing: BTreeSet::new(),
        });
        Self {
            reporters: reporters.collect(),
            found: KeyTable::new(),
            wants: Vec::new(),
            located: false,
        }
    }

    /// A member holds a copy.
    pub(crate) fn add(&mut self, from: Pnn, key: Key<'_>, rsn: Rsn, flags: CopyFlags) {
        let found =
            self.found.get_or_insert_with(key, || Found { owner: None, newest: (rsn, from) });
        if rsn > found.newest.0 {
            found.newest = (rsn, from);
        }
        if flags.contains(CopyFlags::OWNER) {
            found.owner = Some(from);
        }
    }

    /// One lane of a member has reported all chains but `missing`.
    pub(crate) fn end(
        &mut self,
        from: Pnn,
        lane: u32,
        lanes_count: u32,
        chains_count: u32,
        missing: impl Iterator<Item = u32>,
    ) {
        if let Some(reporter) = self.reporters.iter_mut().find(|reporter| reporter.pnn == from) {
            reporter.lanes_count = Some(lanes_count);
            reporter.chains_count = chains_count.max(1);
            reporter.chains_missing.extend(missing);
            reporter.lanes_ended.insert(lane);
        }
    }

    /// A member has reported a chain that was missing.
    pub(crate) fn chain_done(&mut self, from: Pnn, chain: u32) {
        if let Some(reporter) = self.reporters.iter_mut().find(|reporter| reporter.pnn == from) {
            reporter.chains_missing.remove(&chain);
        }
    }

    /// Keeps a request until the record's place is known.
    pub(crate) fn hold(&mut self, from: Pnn, key: Key<'_>, only_read: bool) {
        self.wants.push(HeldWant { from, key: key.to_owned(), only_read });
    }

    pub(crate) fn held_count(&self) -> usize {
        self.wants.len()
    }

    /// Whether all members have reported, busy chains excepted.
    pub(crate) fn all_ended(&self) -> bool {
        self.reporters.iter().all(Reporter::has_ended)
    }

    /// Whether nothing is missing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.located && self.reporters.iter().all(|reporter| reporter.chains_missing.is_empty())
    }

    /// Whether a copy of the key may still be reported.
    pub(crate) fn misses(&self, key: Key<'_>) -> bool {
        !self.located || self.reporters.iter().any(|reporter| reporter.misses(key))
    }

    /// Takes out every record whose place is known now; empty until all members have ended.
    pub(crate) fn locate(&mut self) -> Vec<Located> {
        if !self.all_ended() {
            return Vec::new();
        }
        self.located = true;
        let reporters = &self.reporters;
        let known =
            self.found.extract_if(|key, _| !reporters.iter().any(|reporter| reporter.misses(key)));
        let located = known.map(|(key, found)| match found.owner {
            Some(owner) => Located { key, owner, adopts: None },
            None => Located { key, owner: found.newest.1, adopts: Some(found.newest.0) },
        });
        located.collect()
    }

    /// Takes out the requests that can be answered now.
    pub(crate) fn take_wants(&mut self) -> Vec<HeldWant> {
        let (held, ready) = core::mem::take(&mut self.wants)
            .into_iter()
            .partition(|want| self.misses(want.key.borrow()));
        self.wants = held;
        ready
    }
}

impl Reporter {
    fn has_ended(&self) -> bool {
        self.lanes_count.is_some_and(|count| self.lanes_ended.len() >= count as usize)
    }

    fn misses(&self, key: Key<'_>) -> bool {
        !self.chains_missing.is_empty()
            && self.chains_missing.contains(&(key.hash % self.chains_count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'static> = Key { hash: 5, bytes: b"key" };
    const NODES: [Pnn; 2] = [Pnn(0), Pnn(1)];

    fn ended(rebuild: &mut Rebuild, missing_on_1: &[u32]) {
        rebuild.end(Pnn(0), 0, 1, 10, [].into_iter());
        rebuild.end(Pnn(1), 0, 2, 10, [].into_iter());
        assert!(!rebuild.all_ended(), "node 1 has two lanes");
        rebuild.end(Pnn(1), 1, 2, 10, missing_on_1.iter().copied());
    }

    #[test]
    fn an_owner_stays_owner_whatever_others_hold() {
        let mut rebuild = Rebuild::new(&NODES);
        rebuild.add(Pnn(1), KEY, Rsn(4), CopyFlags::OWNER);
        rebuild.add(Pnn(0), KEY, Rsn(3), CopyFlags::empty());
        ended(&mut rebuild, &[]);
        let located = Located { key: KEY.to_owned(), owner: Pnn(1), adopts: None };
        assert_eq!(rebuild.locate(), [located]);
        assert!(rebuild.is_over());
    }

    #[test]
    fn the_newest_copy_is_adopted_when_the_owner_is_gone() {
        let mut rebuild = Rebuild::new(&NODES);
        rebuild.add(Pnn(0), KEY, Rsn(3), CopyFlags::empty());
        rebuild.add(Pnn(1), KEY, Rsn(8), CopyFlags::TOMBSTONE);
        ended(&mut rebuild, &[]);
        assert_eq!(rebuild.locate()[0].owner, Pnn(1));
    }

    #[test]
    fn a_busy_chain_delays_its_own_keys_only() {
        let mut rebuild = Rebuild::new(&NODES);
        let other = Key { hash: 6, bytes: b"other" };
        rebuild.add(Pnn(0), KEY, Rsn(3), CopyFlags::empty());
        rebuild.add(Pnn(0), other, Rsn(3), CopyFlags::OWNER);
        rebuild.hold(Pnn(0), KEY, false);
        ended(&mut rebuild, &[5]);
        assert_eq!(rebuild.locate().len(), 1);
        assert!(rebuild.misses(KEY) && !rebuild.misses(other) && !rebuild.is_over());
        assert!(rebuild.take_wants().is_empty());
        rebuild.add(Pnn(1), KEY, Rsn(9), CopyFlags::OWNER);
        rebuild.chain_done(Pnn(1), 5);
        assert_eq!(rebuild.locate()[0].owner, Pnn(1));
        assert_eq!(rebuild.take_wants().len(), 1);
        assert!(rebuild.is_over());
    }
}
