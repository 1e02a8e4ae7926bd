//! Start and end of a daemon, as an administrator and a service manager see them (cluster management §1.2, §8.3).

use std::fs;
use std::time::Duration;

use crate::harness::{Cell, Client, Plan, control, until};

#[test]
fn a_daemon_goes_to_the_background_and_ends_by_sigterm() {
    let Some(cell) = Cell::new(Plan::nodes(1)) else { return };

    cell.start(0);

    assert!(cell.daemon_lives(0), "the pid file names the daemon");
    let mut client =
        Client::connect(&cell.socket(0)).expect("the socket is there when the start returns");
    let (pnn, _) = client.control(control::GET_PNN, 0, b"").expect("the daemon answers");
    assert_eq!(pnn, 0);
    assert!(!cell.log(0).is_empty(), "the log is where ctdb.conf puts it");

    cell.wait_healthy();
    let pid = cell.daemon_pid(0).expect("it runs").to_string();
    assert!(cell.run(0, "kill", &["-TERM", &pid]).success());

    assert!(client.is_closed_within(Duration::from_secs(5)));
    until("the daemon is gone", Duration::from_secs(5), || !cell.daemon_lives(0));
    // Stock leaves it behind, with a dead number in it.
    assert!(cell.is_stock() || !cell.pid_file(0).exists(), "the pid file is gone with the daemon");
    assert!(cell.is_stock() || !cell.socket(0).exists(), "and so is the socket");
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    let first = cell.daemon_pid(0);

    let second = cell.run(0, "timeout", &["20", &cell.daemon(), "--interactive"]);

    assert!(!second.success(), "{second}");
    assert_ne!(second.code(), 124, "it ends by itself, not by the time-out");
    assert_eq!(cell.daemon_pid(0), first);
    assert_eq!(cell.ctdb(0, &["pnn"]).text(), "0\n");
    assert_eq!(cell.ctdb(0, &["runstate"]).text(), "RUNNING\n");
}

#[test]
fn an_interactive_daemon_stays_in_the_foreground_and_logs_to_stderr() {
    let Some(cell) = Cell::new(Plan::nodes(1)) else { return };

    // A pipe as standard input ends a daemon in test mode: sleep holds it open.
    let line =
        format!("sleep 3 | timeout --preserve-status 30 {} --interactive 2>&1", cell.daemon());
    let interactive = cell.run(0, "sh", &["-c", &line]);

    assert!(!interactive.stdout.is_empty(), "the log goes to stderr");
    assert!(!cell.daemon_lives(0), "it ends when its input closes");
    assert_ne!(interactive.code(), 128 + 15, "and not by the time-out");
}

#[test]
fn without_a_nodes_file_the_start_fails_before_the_fork() {
    let Some(cell) = Cell::new(Plan::nodes(1)) else { return };
    fs::remove_file(cell.base(0).join("nodes")).expect("the cell has made it");

    let start = cell.run(0, "timeout", &["20", &cell.daemon()]);

    assert_eq!(start.code(), 1, "{start}");
    assert!(!cell.daemon_lives(0));
}

#[test]
fn a_wrong_ctdb_conf_fails_before_the_fork() {
    let Some(cell) = Cell::new(Plan::nodes(1)) else { return };
    let conf = cell.base(0).join("ctdb.conf");
    let right = fs::read_to_string(&conf).expect("the cell has made it");
    fs::write(&conf, format!("{right}[cluster]\n\tleader timeout = -5\n")).expect("it is ours");

    let start = cell.run(0, "timeout", &["20", &cell.daemon()]);

    assert_eq!(start.code(), 1, "{start}");
    assert!(!cell.daemon_lives(0));
}

#[test]
fn three_nodes_are_healthy_soon_after_the_last_start() {
    let Some(cell) = Cell::new(Plan::nodes(3).alone()) else { return };
    // The figure; stock takes eight seconds. A debug build on a shared machine gets twice the time.
    let limit = if cell.is_stock() { Duration::from_secs(30) } else { Duration::from_secs(2) };

    cell.start_all();
    let took = until("all nodes are healthy", limit, || {
        cell.nodes().all(|node| cell.ctdb(node, &["nodestatus"]).success())
    });

    println!("healthy {took:?} after the last start");
    for node in cell.nodes() {
        assert_eq!(cell.ctdb(node, &["runstate"]).text(), "RUNNING\n");
        assert!(cell.ctdb(node, &["status"]).text().contains("Recovery mode:NORMAL (0)"));
    }
}

#[test]
fn a_daemon_started_again_wipes_volatile_and_keeps_persistent_records() {
    let Some(cell) = Cell::healthy(Plan::nodes(1)) else { return };
    cell.ctdb(0, &["attach", "gone.tdb"]).text();
    cell.ctdb(0, &["writekey", "gone.tdb", "key", "value"]).text();
    cell.ctdb(0, &["attach", "kept.tdb", "persistent"]).text();
    cell.ctdb(0, &["pstore", "kept.tdb", "key", "value"]).text();

    cell.stop(0);
    cell.check_files();
    cell.start(0);
    cell.wait_healthy();

    cell.ctdb(0, &["attach", "gone.tdb"]).text();
    assert_eq!(cell.ctdb(0, &["readkey", "gone.tdb", "key"]).text(), "Data: size:0 ptr:[]\n");
    assert_eq!(cell.ctdb(0, &["pfetch", "kept.tdb", "key"]).text(), "value\n");
    cell.check_files();
}
