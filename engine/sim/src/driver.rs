//! The hands of a node's control thread.

use crate::cluster::SimCluster;
use crate::events::{Event, Happening, ShardMail};
use crate::invariants::records as rules;
use crate::lock_server::Answer;
use crate::network::Payload;
use crate::records::Waiter;
use bateria_core::cluster::{Effect, Input, LockEvent, Prospect, RebuildOrder, Vote};
use bateria_wire::control::DatabaseEntry;
use bateria_wire::{Generation, Pnn};

impl SimCluster {
    pub(crate) fn obey(&mut self, pnn: Pnn, life: u64, effect: Effect) {
        let delay_us = self.random.between(20, self.driver_us_max + 21);
        match effect {
            Effect::Send { to, head } => {
                self.send_control(pnn, to, Payload::Control(head));
            }
            Effect::DropLink { peer } => {
                if let Some(link) = self.network.close_end(pnn, peer) {
                    self.tell_reset(peer, pnn, link);
                }
                self.dial_later(pnn, peer, 1_000, 20_000);
            }
            Effect::TakeLock => {
                let event = match self.lock.take(self.now, pnn, life) {
                    Answer::Taken => LockEvent::Taken,
                    Answer::Contended => LockEvent::Contended,
                    Answer::Error => LockEvent::Error,
                };
                self.later(delay_us, pnn, Happening::Input(Input::Lock(event)));
            }
            Effect::ReleaseLock => self.lock.release(pnn, life),
            Effect::PersistVote { term, voted_for } => {
                let vote = Vote { term, voted_for };
                let at = self.host(pnn).disk_idle_at.max(self.now).after(delay_us);
                self.host(pnn).disk_idle_at = at;
                self.at(at, Event::VoteOnDisk { pnn, life, vote });
            }
            Effect::Quiesce(prospect) => self.begin_quiesce(pnn, prospect),
            Effect::Rebuild(order) => self.begin_rebuild(pnn, order),
            Effect::Commit(_) => self.let_clients_in(pnn),
            Effect::Fence { .. } => {
                self.fences_count += 1;
                self.disconnect(pnn);
                self.later(delay_us, pnn, Happening::Input(Input::Fenced));
            }
            Effect::Log(fact) => self.trace.note(self.now, format_args!("{pnn}    {fact}")),
            Effect::Left => self.kill(pnn),
            Effect::Harmless { .. } | Effect::ViewChanged => {}
        }
    }

    pub(crate) fn shard_quiesced(&mut self, pnn: Pnn, lane: u32, generation: Generation) {
        let Some(process) = self.process(pnn) else { return };
        let work = &mut process.work;
        if !work.prepares(generation) {
            return;
        }
        work.quiesced.insert(lane);
        if work.quiesced.len() == work.shards.len() {
            work.preparing = None;
            let databases = if work.attached { vec![locking_tdb()] } else { Vec::new() };
            self.input(pnn, Input::Quiesced { generation, databases });
        }
    }

    pub(crate) fn shard_rebuilt(&mut self, pnn: Pnn, lane: u32, generation: Generation) {
        let Some(process) = self.process(pnn) else { return };
        let work = &mut process.work;
        let current = work.rebuilding.as_ref();
        if current.is_none_or(|order| order.prospect.generation != generation) {
            return;
        }
        work.rebuilt.insert(lane);
        if work.rebuilt.len() == work.shards.len() {
            work.rebuilding = None;
            let fails = self.random.chance(self.rebuild_failures);
            let input = if fails {
                Input::RebuildFailed { generation }
            } else {
                Input::Rebuilt { generation }
            };
            self.input(pnn, input);
            // From here on the node's copies count.
            for key in 0..self.scenario.keys_count {
                let outcome = rules::one_owner(self, key);
                self.expect(rules::ONE_OWNER, outcome);
            }
        }
    }

    /// Sends on the control connection, if there is one.
    pub(crate) fn send_control(&mut self, pnn: Pnn, to: Pnn, payload: Payload) {
        if let Some((at, packet)) = self.network.send(self.now, pnn, to, payload) {
            self.at(at, Event::Packet(packet));
        }
    }

    fn begin_quiesce(&mut self, pnn: Pnn, prospect: Prospect) {
        let Some(process) = self.process(pnn) else { return };
        process.work.preparing = Some(prospect.clone());
        process.work.quiesced.clear();
        process.work.rebuilding = None;
        process.work.waiting = None;
        self.tell_shards(pnn, &ShardMail::Quiesce(prospect));
    }

    fn begin_rebuild(&mut self, pnn: Pnn, order: RebuildOrder) {
        self.outlive(&order.prospect);
        let Some(process) = self.process(pnn) else { return };
        let needs_database = !order.databases.is_empty();
        process.work.waiting = Some(order);
        if needs_database {
            self.attach(pnn, Waiter::Generation);
        }
        self.rebuild_if_attached(pnn);
    }

    /// Begins the rebuild that waits, when every database of the members is here.
    pub(crate) fn rebuild_if_attached(&mut self, pnn: Pnn) {
        let Some(process) = self.process(pnn) else { return };
        let attached = process.work.attached;
        let ready = |order: &mut RebuildOrder| attached || order.databases.is_empty();
        let Some(order) = process.work.waiting.take_if(ready) else { return };
        process.work.rebuilding = Some(order.clone());
        process.work.rebuilt.clear();
        self.tell_shards(pnn, &ShardMail::Rebuild(order));
    }

    /// From here on, records of nodes outside get new owners. Those that stand still have not
    /// fenced themselves yet; they will before they do anything else.
    fn outlive(&mut self, prospect: &Prospect) {
        for (pnn, host) in self.hosts.iter().filter(|(pnn, _)| !prospect.has(**pnn)) {
            if let Some(process) = host.process.as_ref().filter(|process| process.stopped) {
                self.history.ended((*pnn, process.machine.incarnation()));
            }
        }
    }

    /// Each shard hears it in its own time, but in order.
    pub(crate) fn tell_shards(&mut self, pnn: Pnn, mail: &ShardMail) {
        for lane in 0..self.host(pnn).shards_count {
            let wait_us = self.random.between(20, self.driver_us_max + 21);
            let host = self.hosts.get_mut(&pnn).expect("a configured node");
            let idle_at = host.shards_idle_at.entry(lane).or_default();
            let at = (*idle_at).max(self.now).after(wait_us);
            *idle_at = at;
            let life = self.hosts[&pnn].life().expect("its machine has just spoken");
            let what = Happening::Shard { lane, mail: mail.clone() };
            self.at(at, Event::Process { pnn, life, what });
        }
    }
}

fn locking_tdb() -> DatabaseEntry {
    DatabaseEntry { id: crate::records::DB.0, flags: 0, name: b"locking.tdb".to_vec() }
}
