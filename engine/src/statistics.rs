//! Counters of the daemon: one set per shard, written by its shard alone and summed by the reader.

use crate::clock;
use bateria_smbshim::structures::node::Timeval;
use bateria_smbshim::structures::statistics::{
    ClientPackets, LatencyCounter, LockStatistics, NodePackets, Statistics as Report, Timeouts,
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// All counters.
pub(crate) struct Statistics {
    shards: Vec<ShardCounters>,
    pub(crate) recoveries_count: AtomicU32,
    reset_at_us: AtomicU64,
}

/// What one shard counts.
#[derive(Default)]
pub(crate) struct ShardCounters {
    pub(crate) client_packets_sent: AtomicU32,
    pub(crate) client_packets_recv: AtomicU32,
    pub(crate) node_packets_sent: AtomicU32,
    pub(crate) node_packets_recv: AtomicU32,
    pub(crate) client_calls: AtomicU32,
    pub(crate) client_messages: AtomicU32,
    pub(crate) client_controls: AtomicU32,
    pub(crate) client_tunnels: AtomicU32,
    pub(crate) node_record_frames: AtomicU32,
    pub(crate) node_messages: AtomicU32,
    pub(crate) node_controls: AtomicU32,
    pub(crate) node_control_replies: AtomicU32,
    pub(crate) control_timeouts: AtomicU32,
    pub(crate) migrations: AtomicU32,
    pub(crate) pending_calls: AtomicU32,
    pub(crate) chain_waits: AtomicU32,
    pub(crate) chain_waits_now: AtomicU32,
    pub(crate) chain_wait: Latency,
    pub(crate) call: Latency,
}

/// Count, smallest, largest and sum of durations, in microseconds.
#[derive(Default)]
pub(crate) struct Latency {
    count: AtomicU32,
    min_us: AtomicU64,
    max_us: AtomicU64,
    total_us: AtomicU64,
}

/// Adds one; only the shard that owns the counter does.
pub(crate) fn count(counter: &AtomicU32) {
    counter.fetch_add(1, Relaxed);
}

impl Statistics {
    pub(crate) fn new(shards_count: u32) -> Self {
        Self {
            shards: (0..shards_count).map(|_| ShardCounters::default()).collect(),
            recoveries_count: AtomicU32::new(0),
            reset_at_us: AtomicU64::new(clock::now_us()),
        }
    }

    pub(crate) fn shard(&self, index: u32) -> &ShardCounters {
        &self.shards[index as usize]
    }

    pub(crate) fn reset(&self) {
        self.reset_at_us.store(clock::now_us(), Relaxed);
        self.recoveries_count.store(0, Relaxed);
        for shard in &self.shards {
            shard.reset();
        }
    }

    /// The sums, in the layout of the STATISTICS control.
    pub(crate) fn report(&self, clients_count: usize, recovering: bool) -> Report {
        let sum = |of: fn(&ShardCounters) -> &AtomicU32| {
            self.shards.iter().fold(0_u32, |sum, shard| sum.wrapping_add(of(shard).load(Relaxed)))
        };
        let latency = |of: fn(&ShardCounters) -> &Latency| {
            let mut merged = LatencyCounter::default();
            self.shards.iter().for_each(|shard| merged.merge(&of(shard).report()));
            merged
        };
        Report {
            num_clients: u32::try_from(clients_count).unwrap_or(u32::MAX),
            recovering: u32::from(recovering),
            client_packets_sent: sum(|shard| &shard.client_packets_sent),
            client_packets_recv: sum(|shard| &shard.client_packets_recv),
            node_packets_sent: sum(|shard| &shard.node_packets_sent),
            node_packets_recv: sum(|shard| &shard.node_packets_recv),
            node: NodePackets {
                req_dmaster: sum(|shard| &shard.node_record_frames),
                req_message: sum(|shard| &shard.node_messages),
                req_control: sum(|shard| &shard.node_controls),
                reply_control: sum(|shard| &shard.node_control_replies),
                ..NodePackets::default()
            },
            client: ClientPackets {
                req_call: sum(|shard| &shard.client_calls),
                req_message: sum(|shard| &shard.client_messages),
                req_control: sum(|shard| &shard.client_controls),
                req_tunnel: sum(|shard| &shard.client_tunnels),
            },
            timeouts: Timeouts {
                control: sum(|shard| &shard.control_timeouts),
                ..Timeouts::default()
            },
            locks: LockStatistics {
                calls: sum(|shard| &shard.chain_waits),
                current: sum(|shard| &shard.chain_waits_now),
                latency: latency(|shard| &shard.chain_wait),
                ..LockStatistics::default()
            },
            total_calls: sum(|shard| &shard.client_calls),
            pending_calls: sum(|shard| &shard.pending_calls),
            call_latency: latency(|shard| &shard.call),
            num_recoveries: self.recoveries_count.load(Relaxed),
            start_time: timeval(clock::wall_time_at(self.reset_at_us.load(Relaxed))),
            current_time: timeval(SystemTime::now()),
            ..Report::default()
        }
    }
}

impl ShardCounters {
    fn reset(&self) {
        let counters = [
            &self.client_packets_sent,
            &self.client_packets_recv,
            &self.node_packets_sent,
            &self.node_packets_recv,
            &self.client_calls,
            &self.client_messages,
            &self.client_controls,
            &self.client_tunnels,
            &self.node_record_frames,
            &self.node_messages,
            &self.node_controls,
            &self.node_control_replies,
            &self.control_timeouts,
            &self.migrations,
            &self.chain_waits,
        ];
        counters.iter().for_each(|counter| counter.store(0, Relaxed));
        self.chain_wait.reset();
        self.call.reset();
    }
}

impl Latency {
    pub(crate) fn record(&self, duration_us: u64) {
        let first = self.count.fetch_add(1, Relaxed) == 0;
        if first || duration_us < self.min_us.load(Relaxed) {
            self.min_us.store(duration_us, Relaxed);
        }
        self.max_us.fetch_max(duration_us, Relaxed);
        self.total_us.fetch_add(duration_us, Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds for people to read")]
    fn report(&self) -> LatencyCounter {
        let seconds = |of: &AtomicU64| of.load(Relaxed) as f64 / 1e6;
        LatencyCounter {
            count: i32::try_from(self.count.load(Relaxed)).unwrap_or(i32::MAX),
            min_s: seconds(&self.min_us),
            max_s: seconds(&self.max_us),
            total_s: seconds(&self.total_us),
        }
    }

    fn reset(&self) {
        self.count.store(0, Relaxed);
        [&self.min_us, &self.max_us, &self.total_us].iter().for_each(|of| of.store(0, Relaxed));
    }
}

/// Seconds and microseconds since 1970.
pub(crate) fn timeval(time: SystemTime) -> Timeval {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timeval {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        microseconds: i64::from(since.subsec_micros()),
    }
}
