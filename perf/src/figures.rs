//! Named figures: what one measurement of one daemon found.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Figures by name; the unit is the end of the name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(pub(crate) BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    /// Median, 99th percentile and maximum of a histogram of nanoseconds, in microseconds.
    pub(crate) fn set_latency(&mut self, name: &str, nanoseconds: &Histogram<u64>) {
        for (suffix, value) in [
            ("p50_us", nanoseconds.value_at_quantile(0.5)),
            ("p99_us", nanoseconds.value_at_quantile(0.99)),
            ("max_us", nanoseconds.max()),
        ] {
            self.set(&format!("{name}_{suffix}"), approximate(value) / 1000.0);
        }
    }
}

/// A histogram of nanoseconds up to a minute.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are right")
}

/// A count as a figure: exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn approximate(count: u64) -> f64 {
    count as f64
}
