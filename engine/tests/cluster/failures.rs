//! Nodes die, hang, return; locks are held by others. The rest of the cluster goes on (database semantics §10).

use std::fs;
use std::time::Duration;

use crate::harness::{Cell, Client, Plan, control, until};

#[test]
fn survivors_recover_from_the_death_of_any_node() {
    let Some(cell) = Cell::healthy(Plan::nodes(3).alone()) else { return };
    store_on_every_node(&cell);
    let leader = leader(&cell, 0);
    let follower = (leader + 1) % 3;

    for victim in [follower, leader] {
        cell.kill(victim);
        let survivors: Vec<u32> = cell.nodes().filter(|&node| cell.daemon_lives(node)).collect();
        let took = until("the survivors have recovered", recovery_limit(&cell), || {
            survivors.iter().all(|&node| is_recovered(&cell, node, 2))
        });
        println!(
            "recovered {took:?} after the death of {}",
            if victim == leader { "the leader" } else { "a follower" }
        );
        for &node in &survivors {
            cell.ctdb(node, &["writekey", "vol.tdb", "after", "death"]).text();
            assert_eq!(cell.ctdb(node, &["pfetch", "per.tdb", "kept"]).text(), "persistent\n");
        }

        cell.start(victim);
        cell.wait_healthy();
        assert_eq!(
            cell.ctdb(victim, &["readkey", "vol.tdb", "after"]).text(),
            "Data: size:5 ptr:[death]\n"
        );
        assert_eq!(cell.ctdb(victim, &["pfetch", "per.tdb", "kept"]).text(), "persistent\n");
    }
    cell.check_files();
}

#[test]
fn records_of_survivors_outlive_a_node() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    cell.ctdb(0, &["attach", "vol.tdb"]).text();
    // Sixty keys: their lmasters are spread over all nodes. Half are owned by node 0, half by node 1.
    for serial in 0..60 {
        let node = serial % 2;
        cell.ctdb(
            node,
            &["writekey", "vol.tdb", &format!("key {serial}"), &format!("value {serial}")],
        )
        .text();
    }

    cell.kill(2);
    until("the survivors have recovered", recovery_limit(&cell), || {
        [0, 1].iter().all(|&node| is_recovered(&cell, node, 2))
    });

    for serial in 0..60 {
        let node = (serial + 1) % 2;
        let answer = cell.ctdb(node, &["readkey", "vol.tdb", &format!("key {serial}")]).text();
        assert!(answer.contains(&format!("ptr:[value {serial}]")), "{answer}");
    }
    let dump = cell.ctdb(0, &["catdb", "vol.tdb"]).text();
    assert!(dump.ends_with("Dumped 60 records\n"), "{dump}");
    cell.check_files();
}

#[test]
fn a_hung_daemon_counts_as_dead_and_may_return() {
    let Some(cell) = Cell::healthy(Plan::nodes(3).alone()) else { return };
    store_on_every_node(&cell);
    let pid = cell.daemon_pid(2).expect("it runs").to_string();
    // Stock needs 25 to 30 s.
    let limit = if cell.is_stock() { Duration::from_secs(50) } else { Duration::from_secs(6) };

    cell.run(0, "kill", &["-STOP", &pid]).text();
    let took = until("the others go on without it", limit, || {
        [0, 1].iter().all(|&node| is_recovered(&cell, node, 2))
    });
    println!("the others went on after {took:?}");
    cell.ctdb(0, &["writekey", "vol.tdb", "while", "away"]).text();

    cell.run(0, "kill", &["-CONT", &pid]).text();
    cell.wait_healthy();
    until("it is a member again", Duration::from_secs(60), || {
        cell.nodes().all(|node| is_recovered(&cell, node, 3))
    });
    assert_eq!(cell.ctdb(2, &["readkey", "vol.tdb", "while"]).text(), "Data: size:4 ptr:[away]\n");
    cell.check_files();
}

#[test]
fn an_acknowledged_transaction_is_on_every_disk() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    cell.ctdb(0, &["attach", "per.tdb", "persistent"]).text();

    for serial in 0..10 {
        let node = serial % 3;
        cell.ctdb(node, &["pstore", "per.tdb", "key", &format!("value {serial}")]).text();
    }
    for node in cell.nodes() {
        cell.kill(node);
    }
    cell.check_files();

    // Each node's own file holds the last commit: look before the nodes have met again.
    for node in cell.nodes() {
        let file =
            cell.base(node).join(format!("db/persistent/per.tdb.{node}")).display().to_string();
        let dump = cell.run(node, "tdbdump", &[&file]).text();
        assert!(dump.contains("value 9"), "node {node}: {dump}");
    }
    cell.start_all();
    cell.wait_healthy();
    for node in cell.nodes() {
        assert_eq!(cell.ctdb(node, &["pfetch", "per.tdb", "key"]).text(), "value 9\n");
    }
    cell.check_files();
}

#[test]
fn nobody_leads_while_a_stranger_holds_the_cluster_lock() {
    let Some(cell) = Cell::new(Plan::nodes(2)) else { return };
    let lock = cell.dir().join("shared/cluster.lock").display().to_string();
    let hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX,1,0); print('held',flush=True); \
                sys.stdin.read()";
    let stranger = cell.spawn(0, "/usr/bin/python3", &["-c", hold, &lock]);
    stranger.line(Duration::from_secs(10), |line| line == "held");

    cell.start_all();
    std::thread::sleep(Duration::from_secs(4));
    for node in cell.nodes() {
        assert!(
            !cell.ctdb(node, &["nodestatus"]).success(),
            "node {node} is healthy without the cluster lock"
        );
    }

    assert!(stranger.finish(Duration::from_secs(10)).success());
    cell.wait_healthy();
}

#[test]
fn a_lock_helper_of_the_stock_contract_decides_who_leads() {
    let Some(cell) = Cell::new(Plan::nodes(3)) else { return };
    // The stock helper, told to us as any program: `!PROGRAM ARGUMENTS` (cluster management §2.9).
    let helper = "/usr/libexec/ctdb/ctdb_mutex_fcntl_helper";
    let lock = cell.dir().join("shared/helper.lock").display().to_string();
    for node in cell.nodes() {
        let conf = cell.base(node).join("ctdb.conf");
        let text = fs::read_to_string(&conf).expect("the cell has made it");
        let line =
            text.lines().find(|line| line.contains("recovery lock")).expect("it names a lock");
        fs::write(&conf, text.replace(line, &format!("\tcluster lock = !{helper} {lock}")))
            .expect("it is ours");
    }

    cell.start_all();
    cell.wait_healthy();
    assert_eq!(cell.ctdb(0, &["getreclock"]).text(), format!("!{helper} {lock}\n"));
    let first = leader(&cell, 0);
    let holders = cell.run(0, "pgrep", &["-f", "-o", &format!("{helper} {lock}")]).text();

    // Without its helper the leader does not lead any more; the cluster finds one that holds the lock.
    cell.run(0, "kill", &["-KILL", holders.trim()]).text();
    until("the lock is held again, and by a leader", Duration::from_secs(30), || {
        let held = cell.run(0, "pgrep", &["-f", &format!("{helper} {lock}")]).success();
        held && cell.nodes().all(|node| is_recovered(&cell, node, 3))
    });
    println!("led by {first}, then by {}", leader(&cell, 0));
}

/// Client protocol §7.7: who asks a stopped node how things are gets an answer; databases it has none to give.
#[test]
fn a_stopped_node_answers_and_can_be_told_to_continue() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    cell.ctdb(0, &["attach", "vol.tdb"]).text();
    cell.ctdb(0, &["writekey", "vol.tdb", "key", "before"]).text();

    // The tool waits for the leader's word at its end, wherever the leader is.
    for node in cell.nodes() {
        cell.ctdb(node, &["-t", "3", "ipreallocate"]).text();
    }
    cell.ctdb(0, &["stop"]).text();
    let status = cell.ctdb(0, &["status"]).text();
    assert!(status.contains("STOPPED|INACTIVE (THIS NODE)"), "{status}");
    assert!(status.contains("Recovery mode:RECOVERY"), "{status}");
    assert!(!cell.ctdb(0, &["attach", "vol.tdb"]).success());
    assert!(!cell.ctdb(0, &["attach", "new.tdb"]).success());
    cell.ctdb(1, &["writekey", "vol.tdb", "key", "while stopped"]).text();

    cell.ctdb(0, &["continue"]).text();
    cell.wait_healthy();
    until("it is a member again", recovery_limit(&cell), || is_recovered(&cell, 0, 3));
    assert_eq!(
        cell.ctdb(0, &["readkey", "vol.tdb", "key"]).text(),
        "Data: size:13 ptr:[while stopped]\n"
    );
    cell.check_files();
}

#[test]
fn a_survivor_answers_for_its_own_records_while_a_node_is_dead() {
    let Some(cell) = Cell::healthy(Plan::nodes(2)) else { return };
    if cell.is_stock() {
        // Stock forms a cluster of one by its lock; what follows is the same there, only later.
        return;
    }
    let mut client = Client::connect(&cell.socket(0)).expect("the daemon listens");
    cell.kill(1);
    for _ in 0..100 {
        let (pnn, _) = client.control(control::GET_PNN, 0, b"").expect("the daemon answers");
        assert_eq!(pnn, 0);
    }
    until("node 0 goes on alone, by the cluster lock", recovery_limit(&cell), || {
        is_recovered(&cell, 0, 1)
    });
    cell.ctdb(0, &["attach", "vol.tdb"]).text();
    cell.ctdb(0, &["writekey", "vol.tdb", "key", "value"]).text();
    cell.start(1);
    cell.wait_healthy();
    assert_eq!(cell.ctdb(1, &["readkey", "vol.tdb", "key"]).text(), "Data: size:5 ptr:[value]\n");
}

fn store_on_every_node(cell: &Cell) {
    cell.ctdb(0, &["attach", "vol.tdb"]).text();
    cell.ctdb(0, &["attach", "per.tdb", "persistent"]).text();
    for node in cell.nodes() {
        cell.ctdb(node, &["writekey", "vol.tdb", &format!("key {node}"), "value"]).text();
    }
    cell.ctdb(0, &["pstore", "per.tdb", "kept", "persistent"]).text();
}

fn leader(cell: &Cell, node: u32) -> u32 {
    cell.ctdb(node, &["leader"]).text().trim().parse().expect("a PNN")
}

/// Whether a node sees a working cluster of so many members.
pub(crate) fn is_recovered(cell: &Cell, node: u32, members: u32) -> bool {
    let status = cell.ctdb(node, &["-t", "2", "status"]).stdout;
    status.contains(&format!("Size:{members}"))
        && status.contains("Recovery mode:NORMAL")
        && !status.contains("UNKNOWN")
}

/// How long the survivors may take: for stock five seconds until an election and what comes after it.
fn recovery_limit(cell: &Cell) -> Duration {
    Duration::from_secs(if cell.is_stock() { 40 } else { 5 })
}
