//! Processes that outlive their daemon with its files open: an smbd that hangs in a system call, a tool that was stopped.
//! Stock ctdbd refuses to start beside them (database semantics §2.8).

use std::time::Duration;

use crate::harness::{Background, Cell, Plan, repository, until};

const DATABASE: &str = "counter.tdb";
const KEY: &str = "left behind";

#[test]
fn a_node_comes_back_beside_a_process_of_its_past() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut straggler = straggler(&cell, 1);
    straggler.say("let go of the lock");

    cell.kill(1);
    cell.start(1);
    let healthy = || cell.nodes().all(|node| cell.ctdb(node, &["nodestatus"]).success());
    until("node 1 is a member again", Duration::from_secs(5), healthy);

    // What only node 1 knew died with its daemon: the file must not bring it back.
    for node in cell.nodes() {
        let answer = cell.ctdb(node, &["readkey", DATABASE, KEY]).text();
        assert_eq!(answer, "Data: size:0 ptr:[]\n", "at node {node}");
    }
    drop(straggler);
    cell.check_files();
}

#[test]
fn a_node_that_cannot_come_back_yet_keeps_nobody_waiting() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        return;
    }
    let mut straggler = straggler(&cell, 1);
    cell.kill(1);
    cell.start(1);

    // Its file stays locked: it cannot be a member, and node 0 goes on without it.
    until("node 1 has given up for now", Duration::from_secs(5), || {
        cell.log(1).contains("a process of the past holds a lock in it")
    });
    until("node 0 serves alone", Duration::from_secs(5), || {
        let status = cell.ctdb(0, &["status"]).stdout;
        status.contains("Size:1") && status.contains("Recovery mode:NORMAL")
    });
    cell.ctdb(0, &["writekey", DATABASE, "another", "value"]).text();

    straggler.say("let go of the lock");
    cell.wait_healthy();
    let answer = cell.ctdb(1, &["readkey", DATABASE, "another"]).text();
    assert_eq!(answer, "Data: size:5 ptr:[value]\n");
    drop(straggler);
    cell.check_files();
}

/// Holds the lock of the record, which its node owns, and does not look at its connection.
fn straggler(cell: &Cell, node: u32) -> Background {
    let socket = cell.socket(node).display().to_string();
    let program = repository().join("engine/tests/cluster/smbd_like.py").display().to_string();
    let straggler = cell.spawn(node, &program, &[&socket, DATABASE, KEY, "--linger"]);
    straggler.line(Duration::from_secs(30), |line| line.contains("working"));
    straggler
}
