//! Situations that administrators know, with the time they may take.

use bateria_core::cluster::Quorum;
use bateria_sim::SimCluster;
use bateria_sim::run::is_whole;
use bateria_sim::scenario::Scenario;
use bateria_wire::Pnn;

const MS: u64 = 1_000;
const SEEDS: std::ops::Range<u64> = 1..20;

/// A whole cluster of three, and its leader.
fn whole(seed: u64, quorum: Quorum) -> (SimCluster, Pnn) {
    let mut cluster = SimCluster::new(Scenario::calm(seed, 3, quorum));
    cluster.pnns().into_iter().for_each(|pnn| cluster.start(pnn));
    ms_until(&mut cluster, 3_000, is_whole);
    let leader = cluster.hosts[&Pnn(0)].machine().and_then(|machine| machine.view().leader);
    (cluster, leader.expect("a whole cluster has a leader"))
}

fn ms_until(cluster: &mut SimCluster, limit_ms: u64, reached: impl Fn(&SimCluster) -> bool) -> u64 {
    for waited_ms in 0..limit_ms {
        if reached(cluster) {
            return waited_ms;
        }
        if let Err(failure) = cluster.run_for(MS) {
            panic!("{failure}");
        }
    }
    panic!("{}", cluster.fail("reached in time", format!("not in {limit_ms} ms")));
}

/// Whether these nodes, and no others, are in one generation.
fn work_together(cluster: &SimCluster, pnns: &[Pnn]) -> bool {
    pnns.iter().all(|pnn| {
        let active = &cluster.truth.node(*pnn).active;
        active.as_ref().is_some_and(|prospect| prospect.members == pnns)
    })
}

fn others(pnn: Pnn) -> Vec<Pnn> {
    (0..3).map(Pnn).filter(|other| *other != pnn).collect()
}

#[test]
fn three_nodes_are_healthy_well_within_a_second_of_the_last_start() {
    for seed in SEEDS {
        for quorum in [Quorum::Majority, Quorum::Lock, Quorum::None] {
            let mut cluster = SimCluster::new(Scenario::calm(seed, 3, quorum));
            for pnn in cluster.pnns() {
                cluster.start(pnn);
                cluster.run_for(700 * MS).unwrap();
            }
            let mut late = SimCluster::new(Scenario::calm(seed, 3, quorum));
            late.pnns().into_iter().for_each(|pnn| late.start(pnn));
            let together_ms = ms_until(&mut late, 2_000, is_whole);
            assert!(is_whole(&cluster), "seed {seed} {quorum:?}");
            assert!(together_ms < 700, "seed {seed} {quorum:?}: {together_ms} ms");
        }
    }
}

#[test]
fn a_killed_node_is_left_behind_at_once() {
    for seed in SEEDS {
        for quorum in [Quorum::Majority, Quorum::Lock, Quorum::None] {
            let (mut cluster, leader) = whole(seed, quorum);
            for killed in [leader, others(leader)[0]] {
                cluster.kill(killed);
                let rest = others(killed);
                let took_ms = ms_until(&mut cluster, 2_000, |c| work_together(c, &rest));
                assert!(took_ms < 400, "seed {seed} {quorum:?}: {took_ms} ms");
                cluster.start(killed);
                ms_until(&mut cluster, 2_000, is_whole);
            }
            assert_eq!(cluster.fences_count, 0, "seed {seed} {quorum:?}");
        }
    }
}

#[test]
fn a_node_without_power_is_left_behind_within_a_second() {
    for seed in SEEDS {
        let (mut cluster, leader) = whole(seed, Quorum::Majority);
        for lost in [leader, others(leader)[0]] {
            cluster.cut_power(lost);
            let rest = others(lost);
            let took_ms = ms_until(&mut cluster, 2_000, |c| work_together(c, &rest));
            assert!(took_ms < 950, "seed {seed}: {took_ms} ms");
            cluster.give_power(lost);
            ms_until(&mut cluster, 2_000, is_whole);
        }
        assert_eq!(cluster.fences_count, 0, "seed {seed}");
    }
}

#[test]
fn a_reset_link_fences_nobody() {
    for seed in SEEDS {
        let (mut cluster, _) = whole(seed, Quorum::Majority);
        for (left, right) in [(0, 1), (0, 2), (1, 2)] {
            cluster.reset_link(Pnn(left), Pnn(right));
            cluster.run_for(500 * MS).unwrap();
            assert!(is_whole(&cluster), "seed {seed}");
        }
        assert_eq!(cluster.fences_count, 0, "seed {seed}");
    }
}

#[test]
fn frames_that_a_partition_held_back_do_no_harm_when_it_ends() {
    for seed in SEEDS {
        let (mut cluster, leader) = whole(seed, Quorum::Majority);
        for pnn in others(leader) {
            cluster.cut(leader, pnn);
        }
        ms_until(&mut cluster, 2_000, |c| work_together(c, &others(leader)));
        cluster.heal();
        ms_until(&mut cluster, 2_000, is_whole);
        assert_eq!(cluster.fences_count, 1, "seed {seed}");
    }
}

#[test]
fn a_stopped_daemon_comes_back_fresh() {
    for seed in SEEDS {
        let (mut cluster, leader) = whole(seed, Quorum::Majority);
        cluster.stop(leader);
        cluster.run_for(60_000 * MS).unwrap();
        assert!(work_together(&cluster, &others(leader)));
        cluster.resume(leader);
        let took_ms = ms_until(&mut cluster, 2_000, is_whole);
        assert!(took_ms < 800, "seed {seed}: {took_ms} ms");
        assert_eq!(cluster.fences_count, 1, "seed {seed}");
    }
}
