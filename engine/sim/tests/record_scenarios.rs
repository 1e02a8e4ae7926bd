//! Clients at work in situations that every cluster sees, in which nothing may fail.

use bateria_core::cluster::Quorum;
use bateria_sim::SimCluster;
use bateria_sim::invariants::records::{answered, at_rest, copies_are_ordered};
use bateria_sim::run::is_whole;
use bateria_sim::scenario::{Jobs, Scenario};
use bateria_wire::{Generation, Pnn};

const MS: u64 = 1_000;
const SEEDS: std::ops::Range<u64> = 1..10;

/// Three nodes with different numbers of shards, whose clients have yet to attach the database.
fn whole(seed: u64) -> SimCluster {
    let scenario = Scenario {
        shards_count_max: 4,
        clients_per_node: 4,
        jobs: Jobs { reads: 40, deletes: 20 },
        deletion_delay_us: 5 * MS,
        ..Scenario::calm(seed, 3, Quorum::Majority)
    };
    let mut cluster = SimCluster::new(scenario);
    cluster.pnns().into_iter().for_each(|pnn| cluster.start(pnn));
    for _ in 0..3_000 {
        if is_whole(&cluster) {
            return cluster;
        }
        cluster.run_for(MS).unwrap_or_else(|failure| panic!("{failure}"));
    }
    panic!("{}", cluster.fail("reached in time", "not whole".to_owned()));
}

fn generation(cluster: &SimCluster) -> Generation {
    let machine = cluster.hosts[&Pnn(0)].machine().expect("every node runs");
    machine.view().vnn_map.generation
}

fn comes_to_rest(cluster: &mut SimCluster) {
    cluster.clients_rest = true;
    cluster.run_for(1_000 * MS).unwrap_or_else(|failure| panic!("{failure}"));
    let rest = at_rest(cluster).and_then(|()| copies_are_ordered(cluster));
    if let Err((rule, text)) = rest {
        panic!("{}", cluster.fail(rule, text));
    }
}

#[test]
fn without_faults_no_machine_finds_a_contradiction_and_all_are_served_soon() {
    for seed in SEEDS {
        let mut cluster = whole(seed);
        let before = generation(&cluster);
        for _ in 0..100 {
            cluster.run_for(10 * MS).unwrap_or_else(|failure| panic!("{failure}"));
            if let Err(text) = answered(&cluster, 400 * MS) {
                panic!("{}", cluster.fail("served soon", text));
            }
        }
        assert!(cluster.history.versions_count() > 500, "seed {seed}: clients work");
        assert_eq!(generation(&cluster), before, "seed {seed}");
        comes_to_rest(&mut cluster);
    }
}

#[test]
fn clients_that_are_killed_with_a_chain_locked_keep_nobody_waiting() {
    for seed in SEEDS {
        let mut cluster = whole(seed);
        let before = generation(&cluster);
        for _ in 0..300 {
            cluster.run_for(2 * MS).unwrap_or_else(|failure| panic!("{failure}"));
            let (pnn, some) = (Pnn(u32::from(seed.is_multiple_of(2))), cluster.random().draw());
            cluster.kill_any_client(pnn, some);
            if let Err(text) = answered(&cluster, 400 * MS) {
                panic!("{}", cluster.fail("nobody waits for the dead", text));
            }
        }
        assert_eq!(generation(&cluster), before, "seed {seed}");
        comes_to_rest(&mut cluster);
    }
}
