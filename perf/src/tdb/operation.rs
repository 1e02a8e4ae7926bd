//! The operations that are compared, and how many of them make a slice.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::stopwatch::{Stopwatch, Taken};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    Fetch,
    Parse,
    StoreEqual,
    StoreGrowing,
    Delete,
    Traverse,
    Commit,
    Lock,
    /// By two processes.
    LockContended,
}

/// The database that an operation meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) records_count: u32,
    pub(crate) value_size: usize,
}

impl Operation {
    /// Every operation of a slice needs a record of its own.
    fn needs_distinct_records(self) -> bool {
        matches!(self, Operation::StoreGrowing | Operation::Delete)
    }

    pub(crate) fn count_max(self, content: Content) -> u64 {
        match self {
            _ if self.needs_distinct_records() => u64::from(content.records_count / 2).max(1),
            _ => u64::MAX,
        }
    }
}

/// Runs `count` operations on records that `seed` chooses, and puts back what they have changed in the sizes of
/// records; only the operations themselves are timed.
pub(crate) fn run(
    engine: &mut impl Engine,
    operation: Operation,
    content: Content,
    count: u64,
    seed: u64,
) -> Taken {
    let mut choice = Choice::new(seed, content.records_count);
    let mut value = vec![0x5A; content.value_size];
    let grown = vec![0xA5; content.value_size * 3 / 2];
    let mut head = [0; HEAD_SIZE_BYTES];
    let mut operations = count;
    let stopwatch = Stopwatch::start();
    match operation {
        Operation::Fetch => (0..count).for_each(|_| {
            assert!(engine.fetch(&choice.any()) >= content.value_size);
        }),
        Operation::Parse => (0..count).for_each(|_| engine.parse(&choice.any(), &mut head)),
        Operation::StoreEqual => (0..count).for_each(|turn| {
            value[..8].copy_from_slice(&(seed ^ turn).to_le_bytes());
            engine.store(&choice.any(), &value);
        }),
        Operation::StoreGrowing => {
            (0..count).for_each(|turn| engine.store(&choice.distinct(turn), &grown));
        }
        Operation::Delete => (0..count).for_each(|turn| engine.delete(&choice.distinct(turn))),
        Operation::Traverse => operations = (0..count).map(|_| engine.traverse()).sum(),
        Operation::Commit => (0..count).for_each(|turn| {
            value[..8].copy_from_slice(&(seed ^ turn).to_le_bytes());
            engine.commit(&choice.any(), &value);
        }),
        Operation::Lock => (0..count).for_each(|_| engine.lock_and_unlock(&choice.any())),
        Operation::LockContended => unreachable!("two processes measure that (`contender`)"),
    }
    let taken = stopwatch.stop(operations);
    if operation.needs_distinct_records() {
        for turn in 0..count {
            let key = choice.distinct(turn);
            if operation == Operation::StoreGrowing {
                engine.delete(&key);
            }
            engine.store(&key, &value);
        }
    }
    taken
}

/// Chooses records, the same ones for both engines.
struct Choice {
    state: u64,
    first: u64,
    records_count: u32,
}

impl Choice {
    fn new(seed: u64, records_count: u32) -> Choice {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Choice { state, first: state >> 32, records_count }
    }

    fn any(&mut self) -> [u8; KEY_SIZE_BYTES] {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.key_of(self.state >> 32)
    }

    /// Different for every `turn` below the number of records, which the stride does not divide.
    fn distinct(&self, turn: u64) -> [u8; KEY_SIZE_BYTES] {
        self.key_of(self.first + turn * STRIDE)
    }

    fn key_of(&self, number: u64) -> [u8; KEY_SIZE_BYTES] {
        let index = number % u64::from(self.records_count);
        key(u32::try_from(index).expect("below the number of records"))
    }
}

/// Key of a record: as long as that of an open file in `locking.tdb` (device, inode, extension).
pub(crate) fn key(index: u32) -> [u8; KEY_SIZE_BYTES] {
    let mut key = [0; KEY_SIZE_BYTES];
    key[0] = 0x2B;
    key[8..12].copy_from_slice(&index.to_le_bytes());
    key
}

pub(crate) const KEY_SIZE_BYTES: usize = 24;
/// The header of a record of a clustered database.
const HEAD_SIZE_BYTES: usize = 24;
/// A prime, so that walking by it meets every record.
const STRIDE: u64 = 611_953;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn distinct_records_are_distinct() {
        for records_count in [1000, 20_000] {
            let choice = Choice::new(7, records_count);
            let keys: BTreeSet<_> =
                (0..u64::from(records_count)).map(|turn| choice.distinct(turn)).collect();
            assert_eq!(keys.len(), records_count as usize);
        }
    }
}
