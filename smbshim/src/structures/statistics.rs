//! Statistics of a daemon (client protocol §4.6).

use crate::fields::structure;
use crate::structures::node::Timeval;

structure! {
    /// Durations of one kind of work, in seconds.
    #[derive(Clone, Copy, Debug, PartialEq, Default)]
    pub struct LatencyCounter [32 bytes] {
        0 => count: i32,
        8 => min_s: f64,
        16 => max_s: f64,
        24 => total_s: f64,
    }
}

structure! {
    /// Packets exchanged with other nodes, by operation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct NodePackets [36 bytes] {
        0 => req_call: u32,
        4 => reply_call: u32,
        8 => req_dmaster: u32,
        12 => reply_dmaster: u32,
        16 => reply_error: u32,
        20 => req_message: u32,
        24 => req_control: u32,
        28 => reply_control: u32,
        32 => req_tunnel: u32,
    }
}

structure! {
    /// Packets received from clients, by operation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ClientPackets [16 bytes] {
        0 => req_call: u32,
        4 => req_message: u32,
        8 => req_control: u32,
        12 => req_tunnel: u32,
    }
}

structure! {
    /// What ran out of time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Timeouts [12 bytes] {
        0 => call: u32,
        4 => control: u32,
        8 => traverse: u32,
    }
}

structure! {
    /// Waits for chain and database locks.
    #[derive(Clone, Copy, Debug, PartialEq, Default)]
    pub struct LockStatistics [112 bytes] {
        0 => calls: u32,
        4 => current: u32,
        8 => pending: u32,
        12 => failed: u32,
        16 => latency: LatencyCounter,
        /// Waits below each of `LOCK_BUCKETS_BELOW_MS`; longer ones in the last bucket in use.
        48 => buckets: [u32; 16],
    }
}

structure! {
    /// Answer to STATISTICS.
    #[derive(Clone, Copy, Debug, PartialEq, Default)]
    pub struct Statistics [488 bytes] {
        0 => num_clients: u32,
        4 => frozen: u32,
        8 => recovering: u32,
        12 => client_packets_sent: u32,
        16 => client_packets_recv: u32,
        20 => node_packets_sent: u32,
        24 => node_packets_recv: u32,
        28 => keepalive_packets_sent: u32,
        32 => keepalive_packets_recv: u32,
        36 => node: NodePackets,
        72 => client: ClientPackets,
        88 => timeouts: Timeouts,
        104 => reclock_daemon: LatencyCounter,
        136 => reclock_recd: LatencyCounter,
        168 => locks: LockStatistics,
        280 => total_calls: u32,
        284 => pending_calls: u32,
        288 => childwrite_calls: u32,
        292 => pending_childwrite_calls: u32,
        296 => memory_used_bytes: u32,
        /// The original's own marker; without meaning.
        300 => marker: u32,
        304 => max_hop_count: u32,
        308 => hop_count_buckets: [u32; 16],
        376 => call_latency: LatencyCounter,
        408 => childwrite_latency: LatencyCounter,
        440 => num_recoveries: u32,
        448 => start_time: Timeval,
        464 => current_time: Timeval,
        480 => total_ro_delegations: u32,
        484 => total_ro_revokes: u32,
    }
}

/// Upper bounds of the lock buckets; the eleventh holds everything above.
pub const LOCK_BUCKETS_BELOW_MS: [u32; 10] =
    [1, 10, 100, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

impl LatencyCounter {
    /// Counts one duration.
    pub fn record(&mut self, duration_s: f64) {
        self.min_s = if self.count == 0 { duration_s } else { self.min_s.min(duration_s) };
        self.max_s = self.max_s.max(duration_s);
        self.total_s += duration_s;
        self.count = self.count.saturating_add(1);
    }

    /// Adds what another shard counted.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_s = if self.count == 0 { other.min_s } else { self.min_s.min(other.min_s) };
        self.max_s = self.max_s.max(other.max_s);
        self.total_s += other.total_s;
        self.count = self.count.saturating_add(other.count);
    }
}

impl LockStatistics {
    /// Counts one wait for a lock.
    pub fn record_wait(&mut self, wait_ms: u32) {
        let bucket = LOCK_BUCKETS_BELOW_MS.partition_point(|below_ms| *below_ms <= wait_ms);
        self.buckets[bucket] = self.buckets[bucket].saturating_add(1);
        self.latency.record(f64::from(wait_ms) / 1_000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Layout;

    #[test]
    fn the_first_duration_is_the_smallest() {
        let mut counter = LatencyCounter::default();
        counter.record(2.0);
        counter.record(1.0);
        let mut merged = LatencyCounter::default();
        merged.merge(&counter);
        assert_eq!(merged, LatencyCounter { count: 2, min_s: 1.0, max_s: 2.0, total_s: 3.0 });
    }

    #[test]
    fn waits_fall_below_their_bucket() {
        let mut locks = LockStatistics::default();
        for wait_ms in [0, 1, 999, 64_000] {
            locks.record_wait(wait_ms);
        }
        assert_eq!(locks.buckets[..4], [1, 1, 0, 1]);
        assert_eq!(locks.buckets[10], 1);
    }

    #[test]
    fn fields_stand_where_the_original_has_them() {
        let statistics = Statistics { num_recoveries: 0xAB, ..Statistics::default() };
        let bytes = statistics.to_bytes();
        assert_eq!((bytes.len(), bytes[440]), (488, 0xAB));
        assert_eq!(Statistics::from_bytes(&bytes), Ok(statistics));
    }
}
