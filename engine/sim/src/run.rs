//! A run: faults first, then everything heals and the cluster must come together.

use crate::chaos::Chaos;
use crate::cluster::SimCluster;
use crate::failure::Failure;
use crate::invariants::records as rules;
use crate::scenario::Scenario;
use bateria_core::cluster::{Cluster, Quorum, RecoveryMode, RunState};
use bateria_wire::{NodeFlags, Pnn};

/// What a run did, for whoever watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    pub steps_count: u64,
    pub fences_count: u64,
    pub generations_count: u64,
    pub versions_count: u64,
    /// From the end of the faults to a whole cluster.
    pub healed_ms: u64,
}

const MS: u64 = 1_000;
const SETTLED_US: u64 = 3_000 * MS;
/// Long work under chain locks takes 60 ms, and queues.
const ANSWERED_US: u64 = 2_000 * MS;

/// Runs the scenario to its end.
///
/// # Errors
/// An invariant is broken, or the cluster does not come together.
pub fn run(scenario: Scenario, verbose: bool) -> Result<Outcome, Failure> {
    let mut cluster = SimCluster::new(scenario);
    cluster.trace.verbose = verbose;
    for pnn in cluster.pnns() {
        let wait_us = cluster.random().between(1, 400 * MS);
        cluster.run_for(wait_us)?;
        cluster.start(pnn);
    }
    let mut chaos = Chaos::default();
    let end_us = cluster.now.0 + scenario.faults_us;
    let mut strike_us = cluster.now.0;
    while cluster.now.0 < end_us {
        if strike_us <= cluster.now.0 {
            chaos.strike(&mut cluster);
            strike_us = cluster.now.0 + cluster.random().between(1, 2 * scenario.fault_every_us);
        }
        let next_us = chaos.next_us().map_or(strike_us, |us| us.min(strike_us)).min(end_us);
        let wait_us = next_us.saturating_sub(cluster.now.0).max(1);
        cluster.run_for(wait_us)?;
        chaos.remedy(&mut cluster);
    }
    chaos.end(&mut cluster);
    let healed_ms = wait_until_whole(&mut cluster)?;
    stays_whole(&mut cluster)?;
    records_come_to_rest(&mut cluster)?;
    let generations = cluster.hosts.values().filter_map(|host| host.machine());
    Ok(Outcome {
        steps_count: cluster.steps_count,
        fences_count: cluster.fences_count,
        generations_count: generations.map(|m| m.view().recoveries_count).max().unwrap_or(0),
        versions_count: cluster.history.versions_count(),
        healed_ms,
    })
}

/// Every node is a healthy member of one generation.
#[must_use]
pub fn is_whole(cluster: &SimCluster) -> bool {
    let pnns = cluster.pnns();
    let mut machines = cluster.hosts.values().map(|host| host.machine());
    let first = cluster.hosts.values().find_map(|host| host.machine());
    machines.all(|machine| {
        machine.zip(first).is_some_and(|(machine, first)| {
            let view = machine.view();
            view.members == pnns
                && view.recovery_mode == RecoveryMode::Normal
                && view.run_state == RunState::Running
                && view.vnn_map == first.view().vnn_map
                && view.vnn_map.lmasters == pnns
                && view.leader.is_some()
                && view.nodes.iter().all(|node| node.flags == NodeFlags::empty())
        })
    })
}

fn wait_until_whole(cluster: &mut SimCluster) -> Result<u64, Failure> {
    let scenario = cluster.scenario;
    // A back-off may have reached its limit, and the lock of a dead holder has to expire.
    let mut limit_us = 4 * scenario.timing.backoff_max_us;
    if scenario.quorum == Quorum::Lock {
        limit_us += scenario.lock_expiry_us + 2 * scenario.timing.leaderless_us;
    }
    let begun_us = cluster.now.0;
    while !is_whole(cluster) {
        if cluster.now.0 - begun_us > limit_us {
            let views: Vec<String> = cluster.hosts.values().map(describe).collect();
            let text = format!(
                "not whole {} ms after the last fault\n{}",
                limit_us / MS,
                views.join("\n")
            );
            return Err(cluster.fail("when faults end, all nodes become one healthy cluster", text));
        }
        cluster.run_for(10 * MS)?;
        // A shutdown may still have been on its way; the service manager starts it again.
        cluster.pnns().into_iter().for_each(|pnn| cluster.start(pnn));
    }
    Ok((cluster.now.0 - begun_us) / MS)
}

/// Clients finish what they began; then the copies of all records must be in order.
fn records_come_to_rest(cluster: &mut SimCluster) -> Result<(), Failure> {
    rules::answered(cluster, ANSWERED_US).map_err(|text| cluster.fail(rules::ANSWERED, text))?;
    cluster.clients_rest = true;
    // Tombstones that were in use are looked at again after their delay.
    cluster.run_for(ANSWERED_US + 3 * cluster.scenario.deletion_delay_us)?;
    rules::answered(cluster, ANSWERED_US / 2)
        .map_err(|text| cluster.fail(rules::ANSWERED, text))?;
    rules::at_rest(cluster).map_err(|(rule, text)| cluster.fail(rule, text))?;
    rules::copies_are_ordered(cluster).map_err(|(rule, text)| cluster.fail(rule, text))
}

fn stays_whole(cluster: &mut SimCluster) -> Result<(), Failure> {
    // Late frames of the faults may still ask for a generation; then there is peace.
    cluster.run_for(SETTLED_US)?;
    let before: Vec<_> = cluster.hosts.values().filter_map(generation).collect();
    let fences_count = cluster.fences_count;
    cluster.run_for(SETTLED_US)?;
    let after: Vec<_> = cluster.hosts.values().filter_map(generation).collect();
    if !is_whole(cluster) || before != after || fences_count != cluster.fences_count {
        let text = format!("{before:?} became {after:?}");
        return Err(cluster.fail("a healthy cluster stays as it is", text));
    }
    Ok(())
}

fn generation(host: &crate::host::Host) -> Option<(Pnn, bateria_wire::Generation)> {
    host.machine().map(|machine| (host.pnn, machine.view().vnn_map.generation))
}

fn describe(host: &crate::host::Host) -> String {
    let view = host.machine().map(Cluster::view);
    format!("{}: {view:?}", host.pnn)
}
