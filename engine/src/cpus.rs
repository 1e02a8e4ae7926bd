//! Which CPUs the shards run on (design §3).

use crate::settings::SHARDS_COUNT_MAX;
use core_affinity::CoreId;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::thread;

/// CPUs by number, ascending: `0-3,8`, as the kernel writes such lists.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CpuList(Vec<usize>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListFault {
    #[error("\"{0}\" is neither a CPU nor a range of CPUs, as in \"0-3,8\"")]
    Part(String),
    #[error("CPU {0} is above the highest possible one, {CPU_MAX}")]
    TooHigh(usize),
}

/// Higher numbers do not fit the set that the system calls for affinity take.
pub const CPU_MAX: usize = 1023;

/// What this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// CPUs of the affinity mask, ascending; empty when the system does not tell.
    pub allowed: Vec<usize>,
    /// CPUs' worth of time: the mask, cut by the quota of the control group (`cpu.max`).
    pub parallelism: usize,
}

/// One shard per entry: the CPU to pin it to, or `None` to let it float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardLayout {
    pub shards: Vec<Option<usize>>,
    /// CPUs that were asked for but are not allowed.
    pub refused: Vec<usize>,
}

impl Usable {
    #[must_use]
    pub fn of_process() -> Self {
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let allowed: Vec<usize> = allowed.into_iter().map(|core| core.id).collect();
        let parallelism = thread::available_parallelism().map_or(1, usize::from);
        Self { allowed, parallelism }
    }
}

impl ShardLayout {
    /// How many shards there are and where.
    ///
    /// - `cpus` names the CPUs, and shards are pinned to them in turn.
    /// - Without it, shards are pinned when there is one for each allowed CPU or more. Fewer
    ///   shards float: several daemons on one host would otherwise all sit on CPU 0.
    /// - `shards` is their number; without it there is one per CPU, bounded by the quota.
    #[must_use]
    pub fn new(usable: &Usable, shards: Option<NonZeroU32>, cpus: Option<&CpuList>) -> Self {
        let (chosen, refused) = match cpus {
            // A system that does not tell what is allowed refuses by itself when it comes to it.
            Some(CpuList(cpus)) if !usable.allowed.is_empty() => {
                cpus.iter().partition(|cpu| usable.allowed.contains(cpu))
            }
            Some(CpuList(cpus)) => (cpus.clone(), Vec::new()),
            None => (usable.allowed.clone(), Vec::new()),
        };
        let cpus_count = if chosen.is_empty() { usable.parallelism } else { chosen.len() };
        let count = match shards {
            Some(count) => count.get() as usize,
            None => cpus_count.min(usable.parallelism).max(1),
        };
        let count = count.min(SHARDS_COUNT_MAX as usize);
        let pinned = !chosen.is_empty() && (cpus.is_some() || count >= chosen.len());
        let cpu_of = |index: usize| pinned.then(|| chosen[index % chosen.len()]);
        Self { shards: (0..count).map(cpu_of).collect(), refused }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.shards.len()
    }
}

/// Pins the calling thread. Containers may forbid it; a shard that floats works as well, only
/// slower, so a refusal is logged and the thread goes on.
pub fn pin_current_thread(cpu: usize) -> bool {
    let pinned = cpu <= CPU_MAX && core_affinity::set_for_current(CoreId { id: cpu });
    if !pinned {
        let name = thread::current().name().unwrap_or("a thread").to_owned();
        tracing::warn!("CPU {cpu} refuses to have {name} pinned to it; it floats");
    }
    pinned
}

impl FromStr for CpuList {
    type Err = CpuListFault;

    fn from_str(text: &str) -> Result<Self, CpuListFault> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                let text = text.trim();
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<usize>().ok().filter(|_| digits)
            };
            let range = number(first).zip(number(last)).filter(|(first, last)| first <= last);
            let (first, last) = range.ok_or_else(|| CpuListFault::Part(part.trim().to_owned()))?;
            if last > CPU_MAX {
                return Err(CpuListFault::TooHigh(last));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus.into_iter().collect()))
    }
}

impl TryFrom<String> for CpuList {
    type Error = CpuListFault;

    fn try_from(text: String) -> Result<Self, CpuListFault> {
        text.parse()
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for run in self.0.chunk_by(|low, high| low + 1 == *high) {
            match run {
                [first, .., last] => write!(f, "{separator}{first}-{last}")?,
                one => write!(f, "{separator}{}", one[0])?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    fn usable(allowed: &str, parallelism: usize) -> Usable {
        Usable { allowed: list(allowed).0, parallelism }
    }

    fn layout(usable: &Usable, shards: Option<u32>, cpus: Option<&str>) -> Vec<Option<usize>> {
        let shards = shards.and_then(NonZeroU32::new);
        ShardLayout::new(usable, shards, cpus.map(list).as_ref()).shards
    }

    #[test]
    fn lists_are_numbers_and_ranges() {
        assert_eq!(list("0-3,8").0, [0, 1, 2, 3, 8]);
        assert_eq!(list(" 8, 2 - 3,3 ").0, [2, 3, 8]);
        assert_eq!(list("2,3,4,8").to_string(), "2-4,8");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", ",", "1,", "3-1", "-1", "+1", "a", "1-2-3", "0x1"] {
            assert!(matches!(text.parse::<CpuList>(), Err(CpuListFault::Part(_))), "{text}");
        }
        let fault = "0-18446744073709551615".parse::<CpuList>();
        assert!(matches!(fault, Err(CpuListFault::TooHigh(_))));
    }

    #[test]
    fn every_allowed_cpu_gets_a_shard_by_default() {
        assert_eq!(layout(&usable("2-3", 2), None, None), [Some(2), Some(3)]);
    }

    #[test]
    fn a_quota_bounds_the_shards_and_lets_them_float() {
        assert_eq!(layout(&usable("0-7", 2), None, None), [None, None]);
        assert_eq!(layout(&usable("0-7", 2), None, Some("0-3")), [Some(0), Some(1)]);
    }

    #[test]
    fn more_shards_than_cpus_take_turns() {
        let got = layout(&usable("0-1", 2), Some(3), None);
        assert_eq!(got, [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn fewer_shards_than_cpus_float_unless_cpus_are_named() {
        assert_eq!(layout(&usable("0-1", 2), Some(1), None), [None]);
        assert_eq!(layout(&usable("0-1", 2), Some(1), Some("1")), [Some(1)]);
    }

    #[test]
    fn cpus_that_are_not_allowed_are_left_out_and_named() {
        let layout = ShardLayout::new(&usable("0-1", 2), None, Some(&list("1,7")));
        assert_eq!(layout, ShardLayout { shards: vec![Some(1)], refused: vec![7] });
        let layout = ShardLayout::new(&usable("0-1", 2), None, Some(&list("7")));
        assert_eq!(layout, ShardLayout { shards: vec![None, None], refused: vec![7] });
    }

    #[test]
    fn without_a_known_mask_shards_float() {
        let unknown = Usable { allowed: Vec::new(), parallelism: 2 };
        assert_eq!(layout(&unknown, None, None), [None, None]);
        assert_eq!(layout(&unknown, None, Some("5")), [Some(5)]);
    }

    #[test]
    fn a_thread_can_be_pinned_to_an_allowed_cpu_and_to_no_other() {
        let allowed = Usable::of_process().allowed;
        let cpu = allowed[0];
        let pinned = thread::spawn(move || {
            let pinned = pin_current_thread(cpu);
            (pinned, Usable::of_process().allowed)
        });
        assert_eq!(pinned.join().unwrap(), (true, vec![cpu]));
        assert!(!pin_current_thread(usize::MAX));
    }
}
