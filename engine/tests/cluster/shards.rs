//! The daemon is right with any number of shards: one, more than there are CPUs, and when it may not pin them.

use std::fs;
use std::time::Duration;

use crate::counter;
use crate::harness::{Cell, Plan, until};

#[test]
fn one_shard_does_all() {
    let Some(cell) = Cell::healthy(Plan::nodes(3).shards(1)) else { return };
    works(&cell);
}

#[test]
fn more_shards_than_cpus_do_as_well() {
    let cpus =
        u32::try_from(std::thread::available_parallelism().map_or(2, usize::from)).expect("few");
    let Some(cell) = Cell::healthy(Plan::nodes(3).shards(2 * cpus + 1)) else { return };
    works(&cell);
}

#[test]
fn nodes_with_different_numbers_of_shards_work_together() {
    let Some(cell) = Cell::new(Plan::nodes(3)) else { return };
    for node in cell.nodes() {
        let toml = format!("[engine]\nshards = {}\n", node + 1);
        fs::write(cell.base(node).join("bateria.toml"), toml)
            .expect("the cell's directory is ours");
    }
    cell.start_all();
    cell.wait_healthy();
    works(&cell);
}

#[test]
fn shards_that_may_only_use_one_cpu_work() {
    let Some(cell) = Cell::new(Plan::nodes(2).shards(3)) else { return };
    for node in cell.nodes() {
        let started = cell.run(
            node,
            "taskset",
            &[
                "--cpu-list",
                "0",
                "timeout",
                "30",
                "sh",
                "-c",
                &format!(
                    "{} </dev/null >>{}/log.stderr 2>&1",
                    cell.daemon(),
                    cell.base(node).display()
                ),
            ],
        );
        assert!(started.success(), "{started}");
    }
    cell.wait_healthy();
    works(&cell);
}

/// Records of many chains move, and a contended one counts right.
fn works(cell: &Cell) {
    cell.ctdb(0, &["attach", "spread.tdb"]).text();
    for serial in 0..30 {
        let key = format!("key {serial}");
        cell.ctdb(serial % 2, &["writekey", "spread.tdb", &key, &key]).text();
    }
    for serial in 0..30 {
        let key = format!("key {serial}");
        let answer = cell.ctdb((serial + 1) % 2, &["readkey", "spread.tdb", &key]).text();
        assert!(answer.contains(&format!("ptr:[{key}]")), "{answer}");
    }
    until("a traverse finds every record once", Duration::from_secs(5), || {
        cell.ctdb(0, &["catdb", "spread.tdb"]).text().ends_with("Dumped 30 records\n")
    });
    counter::counts_right(cell, Duration::from_secs(3));
    cell.check_files();
}
