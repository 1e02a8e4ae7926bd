//! What the daemons use of the machine, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::Fault;

/// CPU time of some daemons with all their threads and children, living and reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime(pub(crate) Duration);

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// utime, stime, cutime and cstime: the process itself and the children that it has waited for.
    ticks: u64,
}

impl CpuTime {
    /// CPU time so far of the given processes and of everything that descends from them.
    pub(crate) fn of(daemons: &[u32]) -> Result<CpuTime, Fault> {
        let processes = processes()?;
        let ticks: u64 = processes
            .iter()
            .filter(|(pid, _)| descends_from(**pid, daemons, &processes))
            .map(|(_, stat)| stat.ticks)
            .sum();
        Ok(CpuTime(Duration::from_millis(ticks * MS_PER_TICK)))
    }

    /// What was used since `earlier`, in microseconds.
    pub(crate) fn us_since(self, earlier: CpuTime) -> f64 {
        self.0.saturating_sub(earlier.0).as_secs_f64() * 1e6
    }
}

fn processes() -> Result<BTreeMap<u32, Stat>, Fault> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between the listing and the look.
        if let Some(stat) =
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse)
        {
            processes.insert(pid, stat);
        }
    }
    Ok(processes)
}

/// Parses `PID (NAME) STATE PPID …`; the name may contain anything, so what follows its last parenthesis counts.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime is field 14 of the line, which is the twelfth after the name.
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { parent, ticks })
}

fn descends_from(mut pid: u32, ancestors: &[u32], processes: &BTreeMap<u32, Stat>) -> bool {
    loop {
        if ancestors.contains(&pid) {
            return true;
        }
        match processes.get(&pid) {
            Some(stat) if stat.parent != 0 => pid = stat.parent,
            _ => return false,
        }
    }
}

/// `USER_HZ` is 100 on every Linux architecture that Samba runs on.
const MS_PER_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let line = "41 (a) b) S 7 41 41 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 0 0";
        assert_eq!(parse(line), Some(Stat { parent: 7, ticks: 100 }));
    }

    #[test]
    fn children_of_children_count_and_strangers_do_not() {
        let stat = |parent| Stat { parent, ticks: 1 };
        let processes =
            BTreeMap::from([(1, stat(0)), (5, stat(1)), (6, stat(5)), (7, stat(6)), (8, stat(1))]);
        let found: Vec<u32> = [1, 5, 6, 7, 8]
            .into_iter()
            .filter(|&pid| descends_from(pid, &[5], &processes))
            .collect();
        assert_eq!(found, [5, 6, 7]);
    }
}
