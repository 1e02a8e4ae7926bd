//! The ring: one client on each node; who gets the message locks the hot record, changes it, and sends the message to
//! the next node. Every step is one migration and one message, with nobody competing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bateria_client::Connection;
use bateria_wire::{Pnn, Srvid};
use hdrhistogram::Histogram;

use crate::Fault;
use crate::figures::{Figures, approximate, latency_histogram};
use crate::load::{HOT_KEY, HotValue, increment};
use crate::nodes::Nodes;
use crate::usage::CpuTime;

/// What the ring did in the time it was watched.
pub(crate) struct Rounds {
    /// Steps of all nodes: messages, and migrations.
    pub(crate) steps: u64,
    pub(crate) elapsed: Duration,
    /// Of locking the record, migration included, in nanoseconds.
    pub(crate) lock_time: Histogram<u64>,
}

pub(crate) fn measure(nodes: &Nodes, time: Duration) -> Result<Figures, Fault> {
    let daemons = nodes.daemon_pids()?;
    let mut cpu = 0.0;
    let rounds = turn(nodes, time, || {
        let before = CpuTime::of(&daemons)?;
        thread::sleep(time);
        cpu = CpuTime::of(&daemons)?.us_since(before);
        Ok(())
    })?;
    let steps = approximate(rounds.steps);
    let mut figures = Figures::default();
    figures.set("rounds_per_s", steps / f64::from(nodes.count()) / rounds.elapsed.as_secs_f64());
    figures.set("migrations_per_s", steps / rounds.elapsed.as_secs_f64());
    figures.set("daemon_cpu_us_per_migration", cpu / steps);
    figures.set_latency("fetch_lock", &rounds.lock_time);
    Ok(figures)
}

/// Turns the ring while `watch` runs, which is what is counted; `watch` is to take about `time`.
pub(crate) fn turn(
    nodes: &Nodes,
    time: Duration,
    watch: impl FnOnce() -> Result<(), Fault>,
) -> Result<Rounds, Fault> {
    let (counting, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let clients: Vec<_> = nodes
            .all()
            .map(|node| {
                let (counting, stopped) = (&counting, &stopped);
                scope.spawn(move || client(nodes, node, counting, stopped))
            })
            .collect();
        let mut starter = Connection::connect(&nodes.socket(0))?;
        wait_for_listeners(&mut starter, nodes)?;
        starter.send_message(Pnn(0), RING, b"")?;
        // The first rounds create the record and warm everything up.
        thread::sleep(time / 10);

        counting.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        let watched = watch();
        counting.store(false, Ordering::Relaxed);
        let elapsed = begin.elapsed();
        stopped.store(true, Ordering::Relaxed);

        let mut rounds = Rounds { steps: 0, elapsed, lock_time: latency_histogram() };
        for client in clients {
            let (steps, lock_time) = client.join().expect("a client does not panic")?;
            rounds.steps += steps;
            rounds.lock_time.add(lock_time)?;
        }
        watched?;
        if rounds.steps == 0 { Err("the ring does not turn".into()) } else { Ok(rounds) }
    })
}

fn client(
    nodes: &Nodes,
    node: u32,
    counting: &AtomicBool,
    stopped: &AtomicBool,
) -> Result<(u64, Histogram<u64>), Fault> {
    let (mut connection, mut database) = nodes.open(node)?;
    connection.register_srvid(RING)?;
    connection.register_srvid(listening(node))?;
    let next = Pnn((node + 1) % nodes.count());
    let mut lock_time = latency_histogram();
    let mut steps = 0;
    let mut last = HotValue::default();
    while !stopped.load(Ordering::Relaxed) {
        let Some(message) = connection.recv_message(Some(Duration::from_millis(200)))? else {
            continue;
        };
        if message.srvid != RING {
            connection.send_message(Pnn(0), ANSWER, b"")?;
            continue;
        }
        let begin = Instant::now();
        let before = increment(&mut connection, &mut database, HOT_KEY, node)?;
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        assert!(before.increments >= last.increments, "the record went back in time");
        last = before;
        if counting.load(Ordering::Relaxed) {
            steps += 1;
            lock_time.saturating_record(took);
        }
        connection.send_message(next, RING, b"")?;
    }
    Ok((steps, lock_time))
}

/// Asks every client by message whether it listens, until each has answered.
fn wait_for_listeners(starter: &mut Connection, nodes: &Nodes) -> Result<(), Fault> {
    starter.register_srvid(ANSWER)?;
    for node in nodes.all() {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            starter.send_message(Pnn(node), listening(node), b"")?;
            if starter.recv_message_to(ANSWER, Some(Duration::from_millis(100)))?.is_some() {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("no client listens on node {node}").into());
            }
        }
    }
    Ok(())
}

/// The ring's message. Srvids from 0xAE00… on are for tests (client protocol §1.4).
const RING: Srvid = Srvid(0xAE00_0000_0000_0001);
const ANSWER: Srvid = Srvid(0xAE00_0000_0000_0002);

fn listening(node: u32) -> Srvid {
    Srvid(0xAE00_0000_0001_0000 + u64::from(node))
}
