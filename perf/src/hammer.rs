//! The hammer: several clients on every node want the same record all the time, as many smbd do with a popular file.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Fault;
use crate::figures::{Figures, approximate, latency_histogram};
use crate::load::{HOT_KEY, increment};
use crate::nodes::Nodes;
use crate::usage::CpuTime;

/// What one client did in the time it was watched.
struct Work {
    node: u32,
    increments: u64,
    /// Times that the record was with another node before.
    arrivals: u64,
    /// Of locking a record that was elsewhere, in nanoseconds.
    wait: Histogram<u64>,
}

pub(crate) fn measure(nodes: &Nodes, clients: u32, time: Duration) -> Result<Figures, Fault> {
    let daemons = nodes.daemon_pids()?;
    let (counting, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut cpu = 0.0;
    let mut elapsed = Duration::ZERO;
    let work = thread::scope(|scope| {
        let clients: Vec<_> = nodes
            .all()
            .flat_map(|node| (0..clients).map(move |_| node))
            .map(|node| {
                let (counting, stopped) = (&counting, &stopped);
                scope.spawn(move || client(nodes, node, counting, stopped))
            })
            .collect();
        thread::sleep(time / 10);
        let before = CpuTime::of(&daemons)?;
        counting.store(true, Ordering::Relaxed);
        let begin = Instant::now();
        thread::sleep(time);
        counting.store(false, Ordering::Relaxed);
        elapsed = begin.elapsed();
        cpu = CpuTime::of(&daemons)?.us_since(before);
        stopped.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(figures(nodes, &work, elapsed, cpu))
}

fn figures(nodes: &Nodes, work: &[Work], elapsed: Duration, cpu_us: f64) -> Figures {
    let mut wait = latency_histogram();
    let (mut increments, mut arrivals) = (0, 0);
    let mut arrivals_of = vec![0_u64; nodes.count() as usize];
    for client in work {
        increments += client.increments;
        arrivals += client.arrivals;
        arrivals_of[client.node as usize] += client.arrivals;
        wait.add(&client.wait).expect("the bounds are equal");
    }
    let most = arrivals_of.iter().copied().max().unwrap_or_default();
    let least = arrivals_of.iter().copied().min().unwrap_or_default();
    let mut figures = Figures::default();
    figures.set("migrations_per_s", approximate(arrivals) / elapsed.as_secs_f64());
    figures.set("increments_per_s", approximate(increments) / elapsed.as_secs_f64());
    figures.set("daemon_cpu_us_per_migration", cpu_us / approximate(arrivals.max(1)));
    // 1 when all nodes get the record equally often.
    figures.set("fairness_least_to_most", approximate(least) / approximate(most.max(1)));
    figures.set_latency("wait", &wait);
    figures
}

fn client(
    nodes: &Nodes,
    node: u32,
    counting: &AtomicBool,
    stopped: &AtomicBool,
) -> Result<Work, Fault> {
    let (mut connection, mut database) = nodes.open(node)?;
    let mut work = Work { node, increments: 0, arrivals: 0, wait: latency_histogram() };
    while !stopped.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let before = increment(&mut connection, &mut database, HOT_KEY, node)?;
        if counting.load(Ordering::Relaxed) {
            work.increments += 1;
            if before.last_node != node {
                work.arrivals += 1;
                work.wait.saturating_record(
                    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX),
                );
            }
        }
    }
    Ok(work)
}
