//! Sizes and limits, chosen by whoever makes the ring.

use std::time::{Duration, Instant};

/// Sizes of one ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingConfig {
    /// Operations that one system call can submit; a power of two, at most 32768. More than these
    /// wait in user memory for the next call.
    pub entries: u32,
    /// Completions that the kernel can put down before it must hold some back; a power of two, at
    /// least `entries`.
    pub completions: u32,
    /// Receive buffers shared by all streams; a power of two, at most 32768.
    pub buffers_count: u16,
    /// Size of one of them; a multiple of 16.
    pub buffer_size_bytes: u32,
    /// Completions that one turn handles at most, so that one busy stream cannot hold up timers
    /// and mailboxes.
    pub completions_per_turn_max: usize,
    /// How long a listener rests when the process is out of descriptors or memory.
    pub accept_pause: Duration,
    /// Wait for futexes in the kernel where it can (Linux 6.7).
    pub futex_wait: bool,
    /// Ring the doorbells of other rings by messages that travel with the next submission, not by
    /// an eventfd write each.
    pub ring_messages: bool,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            entries: 512,
            completions: 4096,
            buffers_count: 512,
            buffer_size_bytes: 16 * 1024,
            completions_per_turn_max: 256,
            accept_pause: Duration::from_millis(100),
            futex_wait: true,
            ring_messages: true,
        }
    }
}

/// Limits of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Sends are refused when the queue would grow beyond this. A queue that is empty takes one
    /// frame of any size.
    pub send_queue_bytes_max: usize,
    /// After a refusal, [`crate::Event::Drained`] comes when the queue has fallen to this.
    pub send_queue_bytes_low: usize,
    /// How long [`crate::Ring::close`] goes on sending what is queued.
    pub close_flush_max: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            send_queue_bytes_max: 4 << 20,
            send_queue_bytes_low: 1 << 20,
            close_flush_max: Duration::from_secs(2),
        }
    }
}

/// How long [`crate::Ring::turn`] may wait when nothing is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Asleep until then.
    Until(Instant),
    /// Asleep until something happens.
    Forever,
    /// Awake for a while, then asleep: waking a sleeping core costs far more than a turn. How
    /// long, the ring learns from how long the last waits took; while events come late, or other
    /// work wants the core, it sleeps at once.
    Poll {
        /// The longest look at the completion queue without sleeping.
        for_at_most: Duration,
        /// When to come back even from sleep.
        until: Option<Instant>,
    },
}

impl Wait {
    /// When to come back, if that is known; `None` for never.
    pub(crate) const fn until(self) -> Option<Instant> {
        match self {
            Self::Until(at) => Some(at),
            Self::Poll { until, .. } => until,
            Self::No | Self::Forever => None,
        }
    }
}
