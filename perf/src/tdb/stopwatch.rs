//! Wall time and CPU time of a slice.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::figures::approximate;

/// Runs from `start` to `stop`.
pub(crate) struct Stopwatch {
    start: Instant,
    cpu: Duration,
}

/// What a slice took: operations, wall time and CPU time of this process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) operations: u64,
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { cpu: cpu_time(), start: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn stop(self, operations: u64) -> Taken {
        Taken { operations, time: self.start.elapsed(), cpu: cpu_time().saturating_sub(self.cpu) }
    }
}

impl Taken {
    pub(crate) fn ns_each(&self) -> f64 {
        self.time.as_secs_f64() * 1e9 / approximate(self.operations.max(1))
    }

    pub(crate) fn cpu_ns_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / approximate(self.operations.max(1))
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}
