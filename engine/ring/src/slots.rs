//! Numbered places for things the kernel may still answer about, told apart by generation.

/// Which place, and which of its successive tenants.
///
/// A key that outlives its tenant finds nothing, never the next tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    pub(crate) index: u32,
    /// Counts the tenants of the place modulo [`GENERATIONS_COUNT`].
    pub(crate) generation: u32,
}

/// How many tenants of one place are told apart; what an operation's tag has room for.
pub(crate) const GENERATIONS_COUNT: u32 = 1 << 24;

/// A table of `T`, addressed by index and generation.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    tenant: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, tenant: T) -> SlotKey {
        self.insert_with(|_| tenant)
    }

    /// Inserts what `make` makes, knowing its key.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(SlotKey) -> T) -> SlotKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, tenant: None });
            u32::try_from(self.places.len() - 1).expect("fewer slots than 2^32")
        });
        let place = &mut self.places[index as usize];
        let key = SlotKey { index, generation: place.generation };
        place.tenant = Some(make(key));
        key
    }

    pub(crate) fn get(&self, key: SlotKey) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        if place.generation == key.generation { place.tenant.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: SlotKey) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.tenant.as_mut() } else { None }
    }

    /// Frees the place; the next tenant gets another generation.
    pub(crate) fn remove(&mut self, key: SlotKey) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let tenant = place.tenant.take()?;
        place.generation = (place.generation + 1) % GENERATIONS_COUNT;
        self.free.push(key.index);
        Some(tenant)
    }

    pub(crate) fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_reaches_the_next_tenant() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(second.index, first.index);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
    }

    #[test]
    fn generations_wrap_within_their_field() {
        let mut slots = Slots::new();
        let key = slots.insert(());
        slots.places[0].generation = GENERATIONS_COUNT - 1;
        assert!(slots.remove(SlotKey { generation: GENERATIONS_COUNT - 1, ..key }).is_some());
        assert_eq!(slots.insert(()).generation, 0);
    }

    #[test]
    fn the_count_is_of_tenants() {
        let mut slots = Slots::new();
        let keys = [slots.insert(1), slots.insert(2)];
        slots.remove(keys[0]);
        assert_eq!(slots.count(), 1);
    }
}
