//! The LMASTER's knowledge: for each record the last node in its queue.
//!
//! That one number is enough. A node is put at the end of the queue by telling the former end whom
//! to hand the record to; whether that one owns the record yet or still waits for it makes no
//! difference. A record that is not listed has no copy on any node.

use crate::record::Key;
use crate::record::key_table::KeyTable;
use crate::record::purge::Purge;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bateria_wire::{Pnn, Rsn};

/// The records of one database for which this node is LMASTER, on one shard.
#[derive(Default)]
pub(crate) struct Directory {
    places: KeyTable<Place>,
}

struct Place {
    last: Pnn,
    /// `last` was told to adopt its copy, with an RSN above this; it may not know yet.
    adopted: Option<Rsn>,
    /// All copies of the record are being deleted.
    purge: Option<Box<Purge>>,
}

/// What to do about a node that wants a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No copy exists, and the node only reads.
    Absent,
    /// No copy exists: the node creates it and owns it.
    Grant,
    /// Tell `at` to hand the record to the node.
    Recall { at: Pnn },
    /// The answer follows when the purge has ended.
    Held,
    /// The node was told to adopt the record and asked before it heard of it: tell it again.
    Adopt { rsn: Rsn },
    /// The node has the record, according to what we know.
    OwnerLost,
}

impl Directory {
    pub(crate) fn want(&mut self, from: Pnn, key: Key<'_>, only_read: bool) -> Answer {
        let Some(place) = self.places.get_mut(key) else {
            if only_read {
                return Answer::Absent;
            }
            self.settle(key, from, None);
            return Answer::Grant;
        };
        if let Some(purge) = &mut place.purge {
            purge.hold(from, only_read);
            return Answer::Held;
        }
        if place.last == from {
            return place.adopted.map_or(Answer::OwnerLost, |rsn| Answer::Adopt { rsn });
        }
        place.adopted = None;
        let at = core::mem::replace(&mut place.last, from);
        Answer::Recall { at }
    }

    /// Notes where a record is, and whether its owner has yet to hear of that.
    pub(crate) fn settle(&mut self, key: Key<'_>, owner: Pnn, adopted: Option<Rsn>) {
        self.places.insert(key, Place { last: owner, adopted, purge: None });
    }

    /// Begins to delete all copies, unless somebody already waits for the record.
    pub(crate) fn begin_purge(&mut self, key: Key<'_>, purge: Purge) -> bool {
        match self.places.get_mut(key) {
            Some(place) if place.last == purge.owner() && place.purge.is_none() => {
                place.purge = Some(Box::new(purge));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn purge_mut(&mut self, key: Key<'_>) -> Option<&mut Purge> {
        self.places.get_mut(key)?.purge.as_deref_mut()
    }

    /// Ends a purge; returns the nodes that came meanwhile.
    pub(crate) fn end_purge(&mut self, key: Key<'_>, deleted: bool) -> Vec<(Pnn, bool)> {
        let Some(purge) = self.places.get_mut(key).and_then(|place| place.purge.take()) else {
            return Vec::new();
        };
        if deleted {
            self.places.remove(key);
        }
        purge.into_held()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets everything: another generation has other LMASTERs.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    #[cfg(test)]
    pub(crate) fn last(&self, key: Key<'_>) -> Option<Pnn> {
        self.places.get(key).map(|place| place.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'static> = Key { hash: 1, bytes: b"key" };

    #[test]
    fn the_first_to_want_a_missing_record_creates_it() {
        let mut directory = Directory::default();
        assert_eq!(directory.want(Pnn(1), KEY, false), Answer::Grant);
        assert_eq!(directory.last(KEY), Some(Pnn(1)));
    }

    #[test]
    fn a_reader_of_a_missing_record_creates_nothing() {
        let mut directory = Directory::default();
        assert_eq!(directory.want(Pnn(1), KEY, true), Answer::Absent);
        assert_eq!(directory.last(KEY), None);
    }

    #[test]
    fn each_node_is_put_behind_the_one_before_it() {
        let mut directory = Directory::default();
        directory.settle(KEY, Pnn(0), None);
        assert_eq!(directory.want(Pnn(1), KEY, false), Answer::Recall { at: Pnn(0) });
        assert_eq!(directory.want(Pnn(2), KEY, true), Answer::Recall { at: Pnn(1) });
        assert_eq!(directory.want(Pnn(0), KEY, false), Answer::Recall { at: Pnn(2) });
    }

    #[test]
    fn the_last_node_cannot_want_what_it_has() {
        let mut directory = Directory::default();
        directory.settle(KEY, Pnn(0), None);
        assert_eq!(directory.want(Pnn(0), KEY, false), Answer::OwnerLost);
    }

    #[test]
    fn a_node_that_asks_for_what_it_was_just_given_is_told_again() {
        let mut directory = Directory::default();
        directory.settle(KEY, Pnn(0), Some(Rsn(5)));
        assert_eq!(directory.want(Pnn(0), KEY, false), Answer::Adopt { rsn: Rsn(5) });
        assert_eq!(directory.want(Pnn(1), KEY, false), Answer::Recall { at: Pnn(0) });
        assert_eq!(directory.want(Pnn(1), KEY, false), Answer::OwnerLost);
    }

    #[test]
    fn a_purge_needs_the_owner_to_be_last_and_holds_who_comes() {
        let mut directory = Directory::default();
        directory.settle(KEY, Pnn(0), None);
        directory.want(Pnn(1), KEY, false);
        assert!(!directory.begin_purge(KEY, Purge::new(Pnn(0), Rsn(3), Vec::new())));
        assert!(directory.begin_purge(KEY, Purge::new(Pnn(1), Rsn(4), Vec::new())));
        assert_eq!(directory.want(Pnn(0), KEY, false), Answer::Held);
        assert_eq!(directory.end_purge(KEY, true), [(Pnn(0), false)]);
        assert_eq!(directory.len(), 0);
    }
}
