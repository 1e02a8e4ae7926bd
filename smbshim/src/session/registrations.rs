//! Srvids that a connection listens to, each as often as it was registered (pitfall 15).

use super::{REGISTRATIONS_COUNT_MAX, Refusal};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bateria_wire::Srvid;

/// What a registration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The connection did not listen to the srvid before.
    First,
    Again,
}

/// What a deregistration changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deregistered {
    /// The connection does not listen to the srvid any more.
    Last,
    /// Other registrations are left.
    OneOfSeveral,
}

/// Counted registrations. No count is 0.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    counts: BTreeMap<Srvid, u32>,
    total: u32,
}

impl Registrations {
    pub(super) fn add(&mut self, srvid: Srvid) -> Result<Registered, Refusal> {
        if self.total >= REGISTRATIONS_COUNT_MAX {
            return Err(Refusal::Registrations);
        }
        self.total += 1;
        let count = self.counts.entry(srvid).or_default();
        *count += 1;
        Ok(if *count == 1 { Registered::First } else { Registered::Again })
    }

    pub(super) fn remove(&mut self, srvid: Srvid) -> Option<Deregistered> {
        let count = self.counts.get_mut(&srvid)?;
        self.total -= 1;
        *count -= 1;
        if *count > 0 {
            return Some(Deregistered::OneOfSeveral);
        }
        self.counts.remove(&srvid);
        Some(Deregistered::Last)
    }

    pub(super) fn count(&self, srvid: Srvid) -> u32 {
        self.counts.get(&srvid).copied().unwrap_or(0)
    }

    pub(super) fn srvids(&self) -> impl Iterator<Item = Srvid> {
        self.counts.keys().copied()
    }

    pub(super) fn into_counts(self) -> Vec<(Srvid, u32)> {
        assert_eq!(self.counts.values().sum::<u32>(), self.total, "the total is the sum");
        self.counts.into_iter().collect()
    }
}
