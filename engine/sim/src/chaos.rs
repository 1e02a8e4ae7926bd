//! Faults by chance: everything that may happen to a cluster, and its end.

use crate::cluster::SimCluster;
use bateria_core::cluster::{Capabilities, Input};
use bateria_wire::{NodeFlags, Pnn};

const MS: u64 = 1_000;

/// What ends by itself after a while.
#[derive(Clone, Copy, Debug)]
enum Remedy {
    Start(Pnn),
    Power(Pnn),
    Resume(Pnn),
    Heal,
    Continue(Pnn),
    CalmNetwork,
    CalmDrivers,
    Capable(Pnn),
}

/// The faults of one run.
#[derive(Debug, Default)]
pub struct Chaos {
    remedies: Vec<(u64, Remedy)>,
}

impl Chaos {
    /// Does one thing to the cluster.
    pub fn strike(&mut self, cluster: &mut SimCluster) {
        let pnns = cluster.pnns();
        let pnn = *cluster.random().pick(&pnns);
        let other = *cluster.random().pick(&pnns);
        match cluster.random().between(0, 22) {
            0 | 1 => {
                cluster.kill(pnn);
                self.undo(cluster, Remedy::Start(pnn), 1, 3_000);
            }
            2 => {
                cluster.cut_power(pnn);
                self.undo(cluster, Remedy::Power(pnn), 100, 5_000);
            }
            3 => {
                cluster.stop(pnn);
                self.undo(cluster, Remedy::Resume(pnn), 1, 900);
            }
            4 => {
                cluster.stop(pnn);
                self.undo(cluster, Remedy::Resume(pnn), 300, 8_000);
            }
            5 | 6 => self.partition(cluster, &pnns),
            7 if pnn != other => {
                cluster.cut(pnn, other);
                self.undo(cluster, Remedy::Heal, 10, 2_500);
            }
            8 if pnn != other => {
                cluster.cut_one_way(pnn, other);
                self.undo(cluster, Remedy::Heal, 10, 2_500);
            }
            9 | 10 if pnn != other => cluster.reset_link(pnn, other),
            11 if pnn != other => cluster.lose_end(pnn, other),
            12 if pnn != other => {
                cluster.lose_lanes(pnn, other);
                if cluster.random().chance(50) {
                    cluster.lose_lanes(other, pnn);
                }
            }
            13 => cluster.input(pnn, Input::RecoveryRequested { reason: "chaos" }),
            14 => {
                let set = *cluster.random().pick(&[NodeFlags::STOPPED, NodeFlags::BANNED]);
                cluster.input(pnn, Input::SetFlags { set, clear: NodeFlags::empty() });
                self.undo(cluster, Remedy::Continue(pnn), 1, 3_000);
            }
            15 => {
                cluster.input(pnn, Input::Shutdown);
                self.undo(cluster, Remedy::Start(pnn), 20, 3_000);
            }
            16 => {
                cluster.revoke_lock();
                cluster.lock.broken_until =
                    cluster.now.after(cluster.random().between(1, 500 * MS));
            }
            17 => {
                let slowest_us = cluster.random().between(1_000, 80_000);
                cluster.network.set_latency(50, slowest_us);
                self.undo(cluster, Remedy::CalmNetwork, 10, 3_000);
            }
            18 => {
                cluster.driver_us_max = cluster.random().between(5 * MS, 90 * MS);
                cluster.rebuild_failures = cluster.random().between(0, 60);
                self.undo(cluster, Remedy::CalmDrivers, 10, 3_000);
            }
            19 => {
                let lost = *cluster.random().pick(&[Capabilities::LEADER, Capabilities::LMASTER]);
                let capabilities = Capabilities::default() - lost;
                cluster.input(pnn, Input::SetCapabilities(capabilities));
                self.undo(cluster, Remedy::Capable(pnn), 10, 3_000);
            }
            20 | 21 => {
                let some = cluster.random().draw();
                cluster.kill_any_client(pnn, some);
            }
            _ => {}
        }
    }

    /// When the next remedy is due, in virtual microseconds.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        self.remedies.iter().map(|(at, _)| *at).min()
    }

    /// Applies the remedies that are due.
    pub fn remedy(&mut self, cluster: &mut SimCluster) {
        let now = cluster.now.0;
        let (due, rest) =
            std::mem::take(&mut self.remedies).into_iter().partition(|(at, _)| *at <= now);
        self.remedies = rest;
        for (_, remedy) in due {
            apply(cluster, remedy);
        }
    }

    /// Everything works again.
    pub fn end(mut self, cluster: &mut SimCluster) {
        for (_, remedy) in std::mem::take(&mut self.remedies) {
            apply(cluster, remedy);
        }
        cluster.heal();
        cluster.clients_behave = true;
        for pnn in cluster.pnns() {
            for remedy in [Remedy::Power(pnn), Remedy::Resume(pnn), Remedy::Start(pnn)] {
                apply(cluster, remedy);
            }
            apply(cluster, Remedy::Continue(pnn));
            apply(cluster, Remedy::Capable(pnn));
        }
    }

    fn partition(&mut self, cluster: &mut SimCluster, pnns: &[Pnn]) {
        let (left, right): (Vec<Pnn>, Vec<Pnn>) =
            pnns.iter().partition(|_| cluster.random().chance(50));
        for l in &left {
            for r in &right {
                cluster.cut(*l, *r);
            }
        }
        self.undo(cluster, Remedy::Heal, 10, 6_000);
    }

    fn undo(&mut self, cluster: &mut SimCluster, remedy: Remedy, low_ms: u64, high_ms: u64) {
        let wait_us = cluster.random().between(low_ms * MS, high_ms * MS);
        self.remedies.push((cluster.now.0 + wait_us, remedy));
    }
}

fn apply(cluster: &mut SimCluster, remedy: Remedy) {
    match remedy {
        Remedy::Start(pnn) => cluster.start(pnn),
        Remedy::Power(pnn) => cluster.give_power(pnn),
        Remedy::Resume(pnn) => cluster.resume(pnn),
        Remedy::Heal => cluster.heal(),
        Remedy::Continue(pnn) => {
            let clear = NodeFlags::STOPPED | NodeFlags::BANNED;
            cluster.input(pnn, Input::SetFlags { set: NodeFlags::empty(), clear });
        }
        Remedy::CalmNetwork => cluster.network.set_latency(50, 400),
        Remedy::CalmDrivers => {
            cluster.driver_us_max = 5 * MS;
            cluster.rebuild_failures = 0;
        }
        Remedy::Capable(pnn) => {
            cluster.input(pnn, Input::SetCapabilities(Capabilities::default()));
        }
    }
}
