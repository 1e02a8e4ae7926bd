//! One node's stay in the queue of one record: from the first client that asks until the record
//! has left again.

use crate::record::{Caller, Function, RecordFlags};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bateria_wire::{Pnn, Rsn};

/// What this node waits for or owes with respect to one record. A record that just lies here, or
/// somewhere else, has none.
#[derive(Default)]
pub(crate) struct Tenure {
    /// Local clients that wait for the record. One migration serves them all.
    pub(crate) waiters: VecDeque<Waiter>,
    /// A `Want` is out and not answered.
    pub(crate) wanted: bool,
    /// The record came, but its chain was busy.
    pub(crate) arrival: Option<Arrival>,
    /// The LMASTER told us whom to hand the record to.
    pub(crate) successor: Option<Pnn>,
    /// The record arrived a moment ago and its clients are about to use it.
    pub(crate) stay: Option<Stay>,
    /// The LMASTER was asked whether this tombstone may be deleted everywhere.
    pub(crate) purge: Option<Rsn>,
    /// The key is in the chain queue.
    pub(crate) parked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) caller: Caller,
    pub(crate) function: Function,
    /// It was here when the `Want` went out. Others may come because they heard of a record that
    /// was made since: they are not content with the answer that there was none.
    pub(crate) asked: bool,
}

impl Waiter {
    pub(crate) fn new(caller: Caller, function: Function) -> Self {
        Self { caller, function, asked: false }
    }
}

/// A record on its way into the file.
pub(crate) enum Arrival {
    /// No copy exists anywhere: an empty record is created.
    Granted,
    /// The former owner handed it over.
    Handed { rsn: Rsn, flags: RecordFlags, body: Vec<u8> },
    /// The local copy turned out to be the newest.
    Adopted { rsn: Rsn },
}

/// How long the record is left alone, and how it looked when it came.
#[derive(Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) until_us: u64,
    pub(crate) print: u64,
}

impl Tenure {
    /// Nothing is waited for or owed any more.
    pub(crate) fn is_over(&self) -> bool {
        self.waiters.is_empty()
            && !self.wanted
            && self.arrival.is_none()
            && self.successor.is_none()
            && self.stay.is_none()
            && self.purge.is_none()
            && !self.parked
    }

    /// Whether a frame is awaited or owed.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.wanted || self.arrival.is_some() || self.successor.is_some() || self.purge.is_some()
    }

    /// Whether the record has to leave now.
    pub(crate) fn leaves(&self, now_us: u64) -> bool {
        self.successor.is_some() && self.stay.is_none_or(|stay| stay.until_us <= now_us)
    }

    /// Whether every waiting client would be content to hear that there is no record.
    pub(crate) fn only_reads(&self) -> bool {
        self.waiters.iter().all(|waiter| waiter.function.only_reads())
    }
}

/// A fingerprint of a body, to see whether a client has changed it. FNV-1a over at most the first
/// KiB: clients change counts and lists at the front of their records.
pub(crate) fn print(body: &[u8]) -> u64 {
    const BYTES_COUNT_MAX: usize = 1024;
    let seed = 0xCBF2_9CE4_8422_2325 ^ body.len() as u64;
    body.iter()
        .take(BYTES_COUNT_MAX)
        .fold(seed, |print, byte| (print ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
}
