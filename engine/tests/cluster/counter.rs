//! The counter: processes on all nodes increment one record as smbd does, and no increment may be lost or doubled,
//! whatever happens to the cluster meanwhile (database semantics §1.5, §10.7, scenario 5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Background, Cell, Plan, repository, until};
use crate::worker;

const DATABASE: &str = "counter.tdb";
const KEY: &str = "the counter";
const RUN: Duration = Duration::from_secs(6);
/// Increments until a worker dies with the lock in its hands: enough to be in the middle of the run.
const DIES_AFTER: &str = "300";

#[test]
fn six_processes_on_three_nodes_lose_no_increment() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    counts_right(&cell, RUN);
    cell.check_files();
}

#[test]
fn no_increment_is_lost_while_recoveries_are_forced() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let workers = Workers::start(&cell);

    let begin = Instant::now();
    let mut recoveries_count = 0;
    while begin.elapsed() < RUN * 2 {
        let node = recoveries_count % 3;
        cell.ctdb(node, &["recover"]).text();
        recoveries_count += 1;
        thread::sleep(Duration::from_millis(200));
    }

    println!("{recoveries_count} recoveries");
    let acknowledged = workers.finish();
    assert_eq!(value(&cell), acknowledged);
    cell.check_files();
}

#[test]
fn no_increment_is_lost_when_a_process_dies_with_the_lock_held() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let mut workers = Workers::start(&cell);

    // One of each kind, on nodes of their own; the others must get past the lock that a dead process holds.
    let dying =
        [Worker::start(&cell, 0, Kind::Libtdb, true), Worker::start(&cell, 2, Kind::Bateria, true)];
    let mut sum = 0;
    for worker in dying {
        sum += worker.acknowledged();
    }
    thread::sleep(RUN / 2);
    cell.ctdb(1, &["recover"]).text();
    workers.list.push(Worker::start(&cell, 0, Kind::Libtdb, false));
    workers.list.push(Worker::start(&cell, 2, Kind::Bateria, false));
    thread::sleep(RUN / 2);

    let acknowledged = workers.finish() + sum;
    assert_eq!(value(&cell), acknowledged);
    cell.check_files();
}

#[test]
fn survivors_go_on_and_count_right_after_a_daemon_is_killed() {
    let Some(cell) = Cell::healthy(Plan::nodes(3)) else { return };
    let on_survivors = [0, 0, 1, 1].map(|node| Worker::start(&cell, node, Kind::Libtdb, false));
    let on_victim = Worker::start(&cell, 2, Kind::Bateria, false);
    thread::sleep(RUN / 4);

    // Smbd ends with its daemon: so does a worker, and what only its node knew is lost with it.
    cell.kill(2);
    drop(on_victim);
    until("the survivors have recovered", Duration::from_secs(30), || {
        let status = cell.ctdb(0, &["status"]).stdout;
        status.contains("Size:2") && status.contains("Recovery mode:NORMAL")
    });
    let at_recovery = value_at(&cell, 0);
    let going_on = AtomicBool::new(true);
    thread::scope(|scope| {
        // The value never goes back again: a copy that lost in the recovery must not return.
        scope.spawn(|| {
            let mut last = at_recovery;
            while going_on.load(Ordering::Relaxed) {
                let now = value_at(&cell, 1);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        thread::sleep(RUN / 2);
        going_on.store(false, Ordering::Relaxed);
    });
    let acknowledged: u64 = on_survivors.map(Worker::finish).iter().sum();
    let before_return = value(&cell);
    assert!(before_return > at_recovery, "the survivors went on");
    assert!(before_return <= acknowledged + at_recovery, "no increment counts twice");

    // The node comes back with nothing, and takes part.
    cell.start(2);
    cell.wait_healthy();
    assert_eq!(value(&cell), before_return);
    let workers = Workers::start(&cell);
    thread::sleep(RUN / 4);
    assert_eq!(value_after(&cell, workers), before_return);
    cell.check_files();
}

/// Two workers on each node increment a new counter for a while; it holds what they say.
pub(crate) fn counts_right(cell: &Cell, run: Duration) {
    let workers = Workers::start(cell);
    thread::sleep(run);
    let acknowledged = workers.finish();
    assert_eq!(value(cell), acknowledged);
}

/// Checks that the workers add exactly what they acknowledge, and returns what was there before them.
fn value_after(cell: &Cell, workers: Workers) -> u64 {
    let acknowledged = workers.finish();
    value(cell) - acknowledged
}

/// The counter at rest: the same as each node reads it under its lock, and as a traverse of the cluster finds it.
fn value(cell: &Cell) -> u64 {
    let first = value_at(cell, 0);
    for node in cell.nodes().skip(1).filter(|&node| cell.daemon_lives(node)) {
        assert_eq!(value_at(cell, node), first, "at node {node}");
    }
    let answer = cell.ctdb(0, &["catdb", DATABASE]).text();
    let escaped = answer
        .lines()
        .find_map(|line| line.strip_prefix("data(8) = \"")?.strip_suffix('"'))
        .unwrap_or_else(|| panic!("no counter in {answer}"));
    assert_eq!(unescape(escaped), first.to_le_bytes(), "in a traverse");
    first
}

/// The counter as a client of one node reads it under the lock, which moves it there.
fn value_at(cell: &Cell, node: u32) -> u64 {
    let socket = cell.socket(node).display().to_string();
    let args = [&socket, DATABASE, KEY, "--read"];
    let answer = cell.run(node, &libtdb_program(), &args).text();
    answer.trim().strip_prefix("value ").expect("it says the value").parse().expect("a number")
}

fn libtdb_program() -> String {
    repository().join("engine/tests/cluster/smbd_like.py").display().to_string()
}

/// Undoes the tool's `\XX` for bytes that are not printable.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\' {
            let hex = std::str::from_utf8(&tail[..2]).expect("two hex digits");
            bytes.push(u8::from_str_radix(hex, 16).expect("two hex digits"));
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    bytes
}

/// Whose TDB implementation a worker uses.
#[derive(Clone, Copy)]
enum Kind {
    Libtdb,
    Bateria,
}

struct Worker(Background);

/// Two workers on each node, one of each kind.
struct Workers {
    list: Vec<Worker>,
}

impl Worker {
    fn start(cell: &Cell, node: u32, kind: Kind, dies: bool) -> Worker {
        let background = match kind {
            Kind::Libtdb => {
                let socket = cell.socket(node).display().to_string();
                let mut args = vec![socket.as_str(), DATABASE, KEY];
                if dies {
                    args.extend(["--die-holding-after", DIES_AFTER]);
                }
                cell.spawn(node, &libtdb_program(), &args)
            }
            Kind::Bateria => worker::spawn(cell, node, DATABASE, KEY, dies.then_some(DIES_AFTER)),
        };
        background.line(Duration::from_secs(30), |line| line.contains("working"));
        Worker(background)
    }

    /// Ends the worker; returns how many increments it has stored.
    fn finish(mut self) -> u64 {
        self.0.say("stop");
        self.acknowledged()
    }

    fn acknowledged(&self) -> u64 {
        let line = self.0.line(Duration::from_secs(60), |line| line.contains("acknowledged "));
        let count = line.split("acknowledged ").nth(1).expect("just matched");
        count.trim().parse().expect("a number of increments")
    }
}

impl Workers {
    fn start(cell: &Cell) -> Workers {
        let start =
            |node| [Kind::Libtdb, Kind::Bateria].map(|kind| Worker::start(cell, node, kind, false));
        Workers { list: cell.nodes().flat_map(start).collect() }
    }

    fn finish(self) -> u64 {
        let counts: Vec<u64> = self.list.into_iter().map(Worker::finish).collect();
        println!("increments of each worker: {counts:?}");
        assert!(counts.iter().all(|&count| count > 0), "nobody starves");
        counts.iter().sum()
    }
}
