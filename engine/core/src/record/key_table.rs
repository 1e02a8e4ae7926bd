//! A map from record keys to whatever is known about them.
//!
//! The keys' own hash (Jenkins, computed once where a key enters) finds the slot, so nothing is
//! hashed twice and two runs behave alike.

use alloc::boxed::Box;
use hashbrown::hash_table::{Entry, HashTable};

/// Key bytes and their Jenkins hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    pub hash: u32,
    pub bytes: &'a [u8],
}

/// A key that a table or queue keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedKey {
    pub hash: u32,
    pub bytes: Box<[u8]>,
}

impl OwnedKey {
    #[must_use]
    pub fn borrow(&self) -> Key<'_> {
        Key { hash: self.hash, bytes: &self.bytes }
    }
}

impl Key<'_> {
    #[must_use]
    pub fn to_owned(self) -> OwnedKey {
        OwnedKey { hash: self.hash, bytes: self.bytes.into() }
    }
}

/// Values by key.
pub struct KeyTable<T> {
    slots: HashTable<Slot<T>>,
}

struct Slot<T> {
    hash: u32,
    key: Box<[u8]>,
    value: T,
}

impl<T> KeyTable<T> {
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: HashTable::new() }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[must_use]
    pub fn get(&self, key: Key<'_>) -> Option<&T> {
        self.slots.find(spread(key.hash), |slot| *slot.key == *key.bytes).map(|slot| &slot.value)
    }

    pub fn get_mut(&mut self, key: Key<'_>) -> Option<&mut T> {
        self.slots
            .find_mut(spread(key.hash), |slot| *slot.key == *key.bytes)
            .map(|slot| &mut slot.value)
    }

    /// The key's value, made by `default` when there is none.
    pub fn get_or_insert_with(&mut self, key: Key<'_>, default: impl FnOnce() -> T) -> &mut T {
        let same = |slot: &Slot<T>| *slot.key == *key.bytes;
        let entry = self.slots.entry(spread(key.hash), same, |slot| spread(slot.hash));
        let slot = match entry {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry
                .insert(Slot { hash: key.hash, key: key.bytes.into(), value: default() })
                .into_mut(),
        };
        &mut slot.value
    }

    pub fn insert(&mut self, key: Key<'_>, value: T) {
        let mut value = Some(value);
        let slot = self.get_or_insert_with(key, || value.take().expect("called at most once"));
        if let Some(value) = value {
            *slot = value;
        }
    }

    pub fn remove(&mut self, key: Key<'_>) -> Option<T> {
        let found = self.slots.find_entry(spread(key.hash), |slot| *slot.key == *key.bytes);
        found.ok().map(|entry| entry.remove().0.value)
    }

    pub fn clear(&mut self) {
        self.slots = HashTable::new();
    }

    /// Keys and values, in an order that depends on the keys and their history alone.
    pub fn iter(&self) -> impl Iterator<Item = (Key<'_>, &T)> {
        self.slots.iter().map(|slot| (Key { hash: slot.hash, bytes: &slot.key }, &slot.value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key<'_>, &mut T)> {
        self.slots
            .iter_mut()
            .map(|slot| (Key { hash: slot.hash, bytes: &slot.key }, &mut slot.value))
    }

    /// Takes out everything for which `leaves` says so.
    pub fn extract_if(
        &mut self,
        mut leaves: impl FnMut(Key<'_>, &mut T) -> bool,
    ) -> impl Iterator<Item = (OwnedKey, T)> {
        self.slots
            .extract_if(move |slot| {
                leaves(Key { hash: slot.hash, bytes: &slot.key }, &mut slot.value)
            })
            .map(|slot| (OwnedKey { hash: slot.hash, bytes: slot.key }, slot.value))
    }
}

impl<T> Default for KeyTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The table takes its control bits from the top of 64 bits; a 32-bit hash has none there.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn key(bytes: &[u8]) -> Key<'_> {
        Key { hash: u32::from(bytes.first().copied().unwrap_or(0)), bytes }
    }

    #[test]
    fn keys_of_one_hash_are_kept_apart() {
        let mut table = KeyTable::new();
        table.insert(key(b"aa"), 1);
        table.insert(key(b"ab"), 2);
        table.insert(key(b"aa"), 3);
        assert_eq!((table.get(key(b"aa")), table.get(key(b"ab"))), (Some(&3), Some(&2)));
        assert_eq!((table.remove(key(b"aa")), table.len()), (Some(3), 1));
    }

    #[test]
    fn what_leaves_is_handed_out() {
        let mut table = KeyTable::new();
        (0_u8..10).for_each(|n| table.insert(key(&[n]), n));
        let mut out: Vec<_> = table.extract_if(|_, n| *n % 2 == 0).map(|(_, n)| n).collect();
        out.sort_unstable();
        assert_eq!((out.len(), table.len()), (5, 5));
    }
}
