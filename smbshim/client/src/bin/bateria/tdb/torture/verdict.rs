//! What is left after the torture: is the file sound, and is every increment there?

use crate::tdb::torture::Plan;
use crate::tdb::torture::journal::{COUNTERS, Tally};
use crate::tdb::torture::worker::{counter_key, inspect};
use bateria_tdb::libtdb::{self, Original};
use bateria_tdb::{Advice, Tdb, TdbError};
use rustix::fs::OFlags;
use serde::Serialize;
use std::ops::ControlFlow;

/// How the file was found.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub(super) records: u64,
    /// Sum of all counters.
    pub(super) increments: u64,
    pub(super) bateria: State,
    /// `None` if libtdb is not installed.
    pub(super) libtdb: Option<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Clean,
    Damaged,
}

/// Adds to `faults` whatever is wrong.
pub(super) fn judge(
    mut keeper: Tdb,
    plan: &Plan,
    tallies: &[Tally],
    faults: &mut Vec<String>,
) -> Verdict {
    let bateria = match ours(&mut keeper, plan, faults) {
        Ok(state) => state,
        Err(error) => {
            faults.push(format!("check: {error}"));
            State::Damaged
        }
    };
    let records = look_at_all(&mut keeper, faults);
    let increments =
        (0..COUNTERS).map(|counter| count(&mut keeper, counter, tallies, faults)).sum();
    // Two handles of one process do not know of each other's locks: the first one only rests.
    let libtdb = libtdb::load().is_ok().then(|| theirs(plan, faults));
    drop(keeper);
    Verdict { records, increments, bateria, libtdb }
}

fn ours(keeper: &mut Tdb, plan: &Plan, faults: &mut Vec<String>) -> Result<State, TdbError> {
    // The kills have ended no transaction of ours, but maybe that of a worker.
    keeper.recover()?;
    if plan.kill {
        // What a rollback by libtdb leaves as a hole before other records (P21) may be wrong, no more.
        let found = keeper.mend()?;
        if found.advice() == Some(Advice::Mend) && !keeper.check()?.is_clean() {
            faults.push("what could be put right has not become right".to_owned());
        }
    }
    let report = keeper.check()?;
    for fault in report.faults.iter().take(FAULTS_TOLD) {
        faults.push(format!("bateria's check: offset 0x{:08x}: {}", fault.offset, fault.rule));
    }
    let hidden = report.faults_count.saturating_sub(FAULTS_TOLD as u64);
    if hidden > 0 {
        faults.push(format!("bateria's check: {hidden} more"));
    }
    Ok(if report.is_clean() { State::Clean } else { State::Damaged })
}

fn theirs(plan: &Plan, faults: &mut Vec<String>) -> State {
    let read_write = i32::try_from(OFlags::RDWR.bits()).expect("a small flag");
    let fault = match Original::open(&plan.file, 0, plan.flags().bits(), read_write) {
        Ok(mut original) => {
            if original.check() {
                return State::Clean;
            }
            "libtdb's check finds the file damaged".to_owned()
        }
        Err(errno) => {
            let error = std::io::Error::from_raw_os_error(errno);
            format!("libtdb cannot open the file: {error}")
        }
    };
    faults.push(fault);
    State::Damaged
}

fn look_at_all(keeper: &mut Tdb, faults: &mut Vec<String>) -> u64 {
    let mut torn = None;
    let seen = keeper.traverse(&mut |key, value| {
        if let Err(fault) = inspect(key, value) {
            torn.get_or_insert(fault);
        }
        ControlFlow::Continue(())
    });
    faults.extend(torn);
    seen.unwrap_or_else(|error| {
        faults.push(format!("traverse: {error}"));
        0
    })
}

/// What a killed process had begun may or may not have happened; everything else is exact.
fn count(keeper: &mut Tdb, counter: usize, tallies: &[Tally], faults: &mut Vec<String>) -> u64 {
    let (mut begun, mut finished) = (0, 0);
    for tally in tallies {
        let (more_begun, more_finished) = tally.increments(counter);
        begun += more_begun;
        finished += more_finished;
    }
    let mut value = Vec::new();
    let found = keeper.fetch(&counter_key(counter), &mut value);
    let Some(value) = found.ok().and_then(|_| value.try_into().ok()).map(u64::from_le_bytes) else {
        faults.push(format!("counter {counter} is lost"));
        return 0;
    };
    if !(finished..=begun).contains(&value) {
        faults.push(format!(
            "counter {counter} is {value}; {finished} increments were finished and {begun} begun"
        ));
    }
    value
}

const FAULTS_TOLD: usize = 5;
