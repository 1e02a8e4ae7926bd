//! System calls of the daemons under load, counted by the kernel's tracepoint through `perf stat`, or by `strace`
//! where that is not allowed. A run of its own, because counting costs time.

use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::figures::{Figures, approximate};
use crate::nodes::Nodes;
use crate::ring;

pub(crate) fn measure(nodes: &Nodes, time: Duration) -> Result<Figures, Fault> {
    let daemons = nodes.daemon_pids()?;
    let mut calls = 0;
    let rounds = ring::turn(nodes, time, || {
        calls = match count_by_perf(&daemons, time) {
            Ok(calls) => calls,
            Err(_) => count_by_strace(&daemons, time)?,
        };
        Ok(())
    })?;
    let mut figures = Figures::default();
    figures.set("calls_per_migration", approximate(calls) / approximate(rounds.steps));
    figures.set(
        "migrations_per_s_while_counting",
        approximate(rounds.steps) / rounds.elapsed.as_secs_f64(),
    );
    Ok(figures)
}

/// `perf stat` follows threads and children; its line is `COUNT,,EVENT,…`.
fn count_by_perf(daemons: &[u32], time: Duration) -> Result<u64, Fault> {
    let output = Command::new("perf")
        .args([
            "stat",
            "--field-separator=,",
            "--event=raw_syscalls:sys_enter",
            "--pid",
            &list(daemons),
        ])
        .args(["--", "sleep", &time.as_secs_f64().to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("sys_enter")).ok_or("perf counts nothing")?;
    Ok(line.split(',').next().unwrap_or_default().parse()?)
}

/// `strace -c` ends with a table whose last line is the total; calls are in its fourth column.
fn count_by_strace(daemons: &[u32], time: Duration) -> Result<u64, Fault> {
    let output = Command::new("timeout")
        .args(["--signal=INT", &time.as_secs_f64().to_string(), "strace", "-c", "-f"])
        .args(["-p", &list(daemons)])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let total = text
        .lines()
        .rev()
        .find(|line| line.ends_with(" total"))
        .ok_or("neither perf nor strace counts")?;
    Ok(total.split_whitespace().nth(3).ok_or("strace prints another table")?.parse()?)
}

fn list(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
