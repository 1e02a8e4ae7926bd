//! Statistics of one database, and a daemon's recent history (client protocol §4.6).

use crate::fields::{Fields, FixedLayout, Layout, LayoutFault, structure};
use crate::structures::statistics::{LatencyCounter, LockStatistics, Statistics};
use alloc::vec::Vec;

/// Answer to GET_DB_STATISTICS.
///
/// ```text
/// offset  size  field
///      0   220  counters    `DbCounters`; its last field counts the hot keys, always 10
///    220     4  padding     0
///    224  10*24 hot keys    count, padding, 8 bytes of no meaning, size u64
///    464     …  keys        back to back
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DbStatistics {
    pub counters: DbCounters,
    /// At most 10 are encoded; what is missing is filled with empty keys.
    pub hot_keys: Vec<HotKey>,
}

structure! {
    /// The fixed part of a database's statistics.
    #[derive(Clone, Copy, Debug, PartialEq, Default)]
    pub struct DbCounters [216 bytes] {
        0 => locks: LockStatistics,
        112 => vacuum_latency: LatencyCounter,
        144 => ro_delegations: u32,
        148 => ro_revokes: u32,
        152 => hop_count_buckets: [u32; 16],
    }
}

/// A key that travelled often.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HotKey {
    pub count: u32,
    pub key: Vec<u8>,
}

structure! {
    /// An entry of the hot key table; a pointer of the original's memory lies at offset 8.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HotKeyEntry [24 bytes] {
        0 => count: u32,
        16 => key_size_bytes: u64,
    }
}

/// Answer to GET_STAT_HISTORY, the newest first. The reply always has room for 100 entries
/// (pitfall 51), so older ones than that are cut off.
///
/// ```text
/// offset     size  field
///      0        4  count
///      4        4  without meaning
///      8  100*488  entries       zero behind `count`
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StatisticsHistory(pub Vec<Statistics>);

impl Layout<'_> for DbStatistics {
    fn encode(&self, out: &mut Vec<u8>) {
        self.counters.encode(out);
        [HOT_KEYS_COUNT, 0].encode(out);
        let none = HotKey::default();
        let slots = self.hot_keys.iter().chain(core::iter::repeat(&none));
        for hot in slots.take(HOT_KEYS_COUNT as usize) {
            let entry = HotKeyEntry { count: hot.count, key_size_bytes: hot.key.len() as u64 };
            entry.encode(out);
        }
        for hot in self.hot_keys.iter().take(HOT_KEYS_COUNT as usize) {
            out.extend_from_slice(&hot.key);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let counters = fields.read()?;
        let _count_and_padding: [u32; 2] = fields.read()?;
        let entries: Vec<HotKeyEntry> = crate::fields::decode_items(fields, HOT_KEYS_COUNT)?;
        let hot_keys = entries
            .iter()
            .map(|entry| {
                let size = usize::try_from(entry.key_size_bytes).unwrap_or(usize::MAX);
                Ok(HotKey { count: entry.count, key: fields.take(size)?.to_vec() })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { counters, hot_keys })
    }
}

impl Layout<'_> for StatisticsHistory {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let count = self.0.len().min(HISTORY_COUNT);
        crate::fields::put_len(out, count);
        0_u32.encode(out);
        for statistics in &self.0[..count] {
            statistics.encode(out);
        }
        out.resize(start + 8 + HISTORY_COUNT * Statistics::SIZE_BYTES, 0);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, LayoutFault> {
        let [count, _garbage]: [u32; 2] = fields.read()?;
        let entries = fields.take(HISTORY_COUNT * Statistics::SIZE_BYTES)?;
        crate::fields::decode_items(&mut Fields::new(entries), count).map(Self)
    }
}

const HOT_KEYS_COUNT: u32 = 10;
const HISTORY_COUNT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_hot_keys_are_empty_ones() {
        let hot = HotKey { count: 3, key: b"key".to_vec() };
        let statistics = DbStatistics { hot_keys: alloc::vec![hot.clone()], ..Default::default() };
        let bytes = statistics.to_bytes();
        assert_eq!(bytes.len(), 464 + 3);
        assert_eq!(bytes[216], 10);
        let read = DbStatistics::from_bytes(&bytes).unwrap();
        assert_eq!((read.hot_keys.len(), &read.hot_keys[0]), (10, &hot));
    }

    #[test]
    fn a_hot_key_larger_than_the_reply_is_a_fault() {
        let mut bytes = DbStatistics::default().to_bytes();
        bytes[224 + 16..224 + 24].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert!(matches!(DbStatistics::from_bytes(&bytes), Err(LayoutFault::TooShort { .. })));
    }

    #[test]
    fn the_history_always_has_the_same_size() {
        let history = StatisticsHistory(alloc::vec![Statistics::default(); 2]);
        assert_eq!(history.to_bytes().len(), 48_808);
        assert_eq!(StatisticsHistory::from_bytes(&history.to_bytes()), Ok(history));
    }
}
