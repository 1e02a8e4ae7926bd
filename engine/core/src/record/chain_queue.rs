//! Keys that wait until a client lets go of their hash chain.
//!
//! One lock covers all keys of a chain, and smbd may keep it for as long as its own client likes.
//! Whoever needs it parks here; the driver waits for each busy chain once, however many keys want
//! it.

use crate::record::OwnedKey;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The busy chains of one database.
#[derive(Default)]
pub(crate) struct ChainQueue {
    busy: BTreeMap<u32, Parked>,
}

/// Who waits for one chain.
#[derive(Default)]
pub(crate) struct Parked {
    pub(crate) keys: Vec<OwnedKey>,
    /// The report of this chain waits, too.
    pub(crate) scan: bool,
}

impl ChainQueue {
    /// Parks a key; true when the driver has to begin waiting for the chain.
    pub(crate) fn park_key(&mut self, chain: u32, key: OwnedKey) -> bool {
        let begins = !self.busy.contains_key(&chain);
        self.busy.entry(chain).or_default().keys.push(key);
        begins
    }

    /// Parks the scan of a chain; true when the driver has to begin waiting for it.
    pub(crate) fn park_scan(&mut self, chain: u32) -> bool {
        let begins = !self.busy.contains_key(&chain);
        self.busy.entry(chain).or_default().scan = true;
        begins
    }

    /// The chain may be free: everyone who waited tries again, in the order of arrival.
    pub(crate) fn release(&mut self, chain: u32) -> Parked {
        self.busy.remove(&chain).unwrap_or_default()
    }

    pub(crate) fn is_waited_for(&self, chain: u32) -> bool {
        self.busy.get(&chain).is_some_and(|parked| !parked.keys.is_empty())
    }

    pub(crate) fn len(&self) -> usize {
        self.busy.values().map(|parked| parked.keys.len()).sum()
    }

    pub(crate) fn chains(&self) -> impl Iterator<Item = u32> {
        self.busy.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Key;

    #[test]
    fn one_wait_serves_everyone_parked_on_a_chain_in_order() {
        let mut queue = ChainQueue::default();
        assert!(queue.park_key(7, Key { hash: 7, bytes: b"a" }.to_owned()));
        assert!(!queue.park_key(7, Key { hash: 7, bytes: b"b" }.to_owned()));
        assert!(!queue.park_scan(7));
        let parked = queue.release(7);
        let keys: Vec<_> = parked.keys.iter().map(|key| &*key.bytes).collect();
        assert_eq!((keys, parked.scan), (alloc::vec![&b"a"[..], b"b"], true));
        assert!(queue.park_scan(7), "the wait is over");
    }
}
